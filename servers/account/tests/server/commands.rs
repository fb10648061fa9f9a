//! The command line: what it does while the server runs and while it does not, and how it complains.

use std::os::unix::fs::PermissionsExt as _;

use super::harness::{ADMIN_PASSWORD, Client, Domain, PASSWORD, Setting, World};

#[test]
fn init_makes_a_domain_whose_secrets_nobody_else_can_read() {
    let domain = Domain::new(&Setting::default());
    for secret in ["domain.key", "service.keys", "tls.key", "tls-ca.key", "account.redb"] {
        let mode = std::fs::metadata(domain.path("data").join(secret)).expect(secret).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let (status, complaint) = domain.fails(&["init", "--domain", "ntm.example", "--metrics", ""]);
    assert_eq!(status, 1);
    assert!(complaint.contains("exists already (move it away"), "{complaint}");
}

#[test]
fn the_printed_example_is_a_file_that_passes_the_check() {
    let domain = Domain::new(&Setting::default());
    let example = domain.done(&["config"]);
    std::fs::write(domain.config(), example).expect("written");
    assert!(domain.done(&["--check"]).contains("no faults found"));
    assert!(domain.done(&["man"]).contains("ntm-as"));
    assert!(domain.done(&["completions", "bash"]).contains("_ntm"));
}

#[test]
fn commands_work_on_the_store_and_through_the_running_server_alike() {
    let domain = Domain::new(&Setting::default());
    let password = domain.path("password");
    ntm_server::files::create_secret(&password, PASSWORD.as_bytes()).expect("written");
    let password = password.to_str().expect("text");
    domain.done(&["account", "add", "before", "--password-file", password]);
    let server = domain.start();
    let client = Client::new(&domain, server.addresses[0]);
    client.sign_in("before", PASSWORD);
    domain.done(&["account", "add", "during", "--admin", "--password-file", password]);
    assert_eq!(client.sign_in("during", PASSWORD).get("/v1/admin/audit").status, 200);
    let made_up = domain.done(&["account", "add", "gifted"]);
    let made_up = made_up.trim().strip_prefix("password: ").expect("is shown once").to_owned();
    let session = client.sign_in("gifted", &made_up);
    domain.done(&["account", "disable", "gifted"]);
    assert_eq!(session.get("/v1/session").status, 401, "its sessions end at once");
    assert_eq!(client.try_sign_in("gifted", &made_up).error(), "credentials");
    domain.done(&["account", "enable", "gifted"]);
    client.sign_in("gifted", &made_up);
    assert_eq!(domain.done(&["account", "list"]), "admin admin\nbefore\nduring admin\ngifted\n");
    let (status, complaint) = domain.fails(&["account", "add", "before", "--password-file", password]);
    assert_eq!((status, complaint.as_str()), (1, "ntm-as: this account name is taken\n"));
    assert_eq!(server.stop(), Some(0));
    assert_eq!(domain.done(&["account", "list"]).lines().count(), 4);
    assert!(!domain.path("data/operator.sock").exists());
}

#[test]
fn the_operators_socket_is_the_operators_alone() {
    let world = World::new();
    let socket = std::fs::metadata(world.domain.path("data/operator.sock")).expect("is there");
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let folder = std::fs::metadata(world.domain.path("data")).expect("is there");
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_wrong_configuration_is_named_by_file_and_line_and_ends_with_status_2() {
    let domain = Domain::new(&Setting::default());
    let right = std::fs::read_to_string(domain.config()).expect("the file");
    let file = domain.config().display().to_string();
    let line = |word: &str| 1 + right.lines().position(|line| line.contains(word)).expect(word);
    let cases = [
        (right.replace("domain = \"ntm.example\"", "domain = \"no domain\""), line("domain ="), "is no domain name"),
        (right.replace("url = \"https", "url = \"http"), line("url ="), "is not https://HOST[:PORT]"),
        (right.replace("listen = [", "listen = 1 # ["), line("listen ="), "invalid type"),
        (right.replace("memory_kib = 64", "memory_kib = 1"), line("memory_kib"), "argon2 does not take this"),
        (right.replace("metrics =", "metrix ="), line("metrics ="), "unknown field `metrix`"),
    ];
    for (text, line, what) in cases {
        std::fs::write(domain.config(), text).expect("written");
        let (status, complaint) = domain.fails(&["run"]);
        assert_eq!(status, 2, "{complaint}");
        assert!(complaint.starts_with(&format!("ntm-as: {file}:{line}: ")) && complaint.contains(what), "{complaint}");
    }
}

#[test]
fn what_keeps_the_server_from_starting_is_said_in_one_line_with_the_way_out() {
    let domain = Domain::new(&Setting::default());
    let right = std::fs::read_to_string(domain.config()).expect("the file");
    let fails = |what: &str, way_out: &str| {
        let (status, complaint) = domain.fails(&["run"]);
        let said: Vec<_> = complaint.lines().filter(|line| line.starts_with("ntm-as: ")).collect();
        assert_eq!((status, said.len()), (1, 1), "{complaint}");
        assert!(said[0].contains(what) && said[0].contains(way_out), "{complaint}");
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    std::fs::write(domain.config(), right.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))).expect("written");
    fails("Address already in use", "stop that or choose another");
    std::fs::write(domain.config(), &right).expect("written");

    let server = domain.start();
    fails("open in another process", "stop that process");
    drop(server);

    let at = domain.path("data/tls.crt");
    let certificate = std::fs::read(&at).expect("the certificate");
    std::fs::write(&at, "no PEM").expect("written");
    fails("bad certificate", "ntm-as init");
    std::fs::copy(domain.path("data/tls-ca.crt"), &at).expect("copied");
    fails("bad certificate", "ntm-as init");
    std::fs::write(&at, certificate).expect("written");

    let key = domain.path("data/tls.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("changed");
    fails("can be read by others", "chmod 600");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("changed");

    remember_the_future(&domain);
    fails("clock stands", "timedatectl set-ntp true");
}

/// Leaves the store as if it had been used a day from now.
fn remember_the_future(domain: &Domain) {
    use ntm_account::store::{self, Table};
    let store = store::open(domain.path("data/account.redb").to_str().expect("text")).expect("opens");
    let tomorrow = super::harness::now() + 24 * 3_600_000;
    store::write(&*store, |tx| tx.save(Table::Meta, "last_seen", &tomorrow)).expect("writes");
}

#[test]
fn a_reload_takes_new_rules_and_keeps_sessions() {
    let world = World::new();
    let session = world.client.member("alice");
    let text = std::fs::read_to_string(world.domain.config()).expect("the file");
    std::fs::write(world.domain.config(), format!("{text}\n[sign_up]\nopen = false\n")).expect("written");
    world.server.signal("-HUP");
    super::harness::wait_for("the reload", || world.server.said().contains("read again").then_some(()));
    assert_eq!(world.client.sign_up("bob").error(), "closed");
    assert_eq!(session.get("/v1/session").status, 200);
    std::fs::write(world.domain.config(), "nonsense").expect("written");
    world.server.signal("-HUP");
    super::harness::wait_for("the complaint", || world.server.said().contains("going on as before").then_some(()));
    assert_eq!(session.get("/v1/session").status, 200);
    world.client.sign_in("admin", ADMIN_PASSWORD);
}

#[test]
fn what_is_refused_is_counted_by_reason_and_the_health_is_told() {
    use std::io::Write as _;
    let domain = Domain::new(&Setting::default());
    let text = std::fs::read_to_string(domain.config()).expect("the file");
    std::fs::write(domain.config(), text.replace("metrics = \"\"", "metrics = \"127.0.0.1:0\"")).expect("written");
    let server = domain.start();
    let said = server.said();
    let at = said.split("metrics at http://").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("said");
    let get = |path: &str| {
        let mut stream = std::net::TcpStream::connect(at).expect("connects");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        super::harness::read_to_end(&mut stream)
    };
    let client = Client::new(&domain, server.addresses[0]);
    assert_eq!(client.try_sign_in("nobody1", "a wrong password").status, 401);
    let metrics = get("/metrics");
    for line in [
        "ntm_as_refusals_total{reason=\"credentials\"} 1",
        "ntm_as_refusals_total{reason=\"too_many\"} 0",
        "ntm_as_requests_total 1",
        "ntm_as_password_seconds_count 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    assert!(get("/healthz").ends_with("ok\n"));
}
