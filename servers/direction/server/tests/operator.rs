//! What an operator is told when something is wrong: one line, with the way out.

mod support;

use std::net::UdpSocket;
use std::process::{Command, Output};

use support::{Dc, Domain, Folder};

fn run(dc: &Dc) -> Output {
    let config = dc.config_path();
    Command::new(env!("CARGO_BIN_EXE_ntm-dc")).arg("--config").arg(config).output().expect("runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_wrong_configuration_is_named_with_file_and_line_and_ends_with_status_2() {
    let domain = Domain::new("ntm.example");
    let dc = Dc::prepare(&domain, "dc1", "[nodes]\nkeep_alive = 1");
    let output = run(&dc);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("ntm-dc.toml:6: nodes keep alive"), "{}", said(&output));
    dc.configure("\"r\"", "nonsense = 1");
    let output = run(&dc);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("ntm-dc.toml:5: unknown field `nonsense`"), "{}", said(&output));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let domain = Domain::new("ntm.example");
    let dc = Dc::prepare(&domain, "dc1", "");
    let _taken = UdpSocket::bind(dc.address()).expect("free until now");
    let output = run(&dc);
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.contains(&dc.address().to_string()) && said.contains("another program has it"), "{said}");
}

#[test]
fn a_registry_that_another_process_has_is_named() {
    let domain = Domain::new("ntm.example");
    let one = Dc::start(&domain, "dc1", "");
    let two = Dc::prepare(&domain, "dc2", "");
    two.configure(&format!("{:?}", one.folder.join("registry.redb")), "");
    let output = run(&two);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("stop the other ntm-dc"), "{}", said(&output));
}

#[test]
fn a_certificate_that_ended_is_named_with_both_ways_out() {
    let domain = Domain::new("ntm.example");
    let mut dc = Dc::prepare(&domain, "dc1", "");
    dc.expire(&domain);
    let output = run(&dc);
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.contains("by this host's clock") && said.contains("set the clock, or have"), "{said}");
}

#[test]
fn credentials_of_another_server_are_named() {
    let domain = Domain::new("ntm.example");
    let (one, two) = (Dc::prepare(&domain, "dc1", ""), Dc::prepare(&domain, "dc2", ""));
    std::fs::copy(two.folder.join("credentials.bin"), one.folder.join("credentials.bin")).expect("copies");
    let output = run(&one);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("another server's key"), "{}", said(&output));
    support::write_secret(&one.folder.join("credentials.bin"), b"garbage");
    assert!(said(&run(&one)).contains("ntm-as server add"), "{}", said(&run(&one)));
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let domain = Domain::new("ntm.example");
    let dc = Dc::prepare(&domain, "dc1", "");
    let key = dc.folder.join("noise.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("may");
    let output = run(&dc);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("chmod 600"), "{}", said(&output));
}

#[test]
fn init_makes_a_key_a_request_and_a_configuration_that_is_sound() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let init = |name: &str| {
        Command::new(env!("CARGO_BIN_EXE_ntm-dc"))
            .args(["init", "--domain", "ntm.example", "--name", name, "--address", "192.0.2.1:4500"])
            .args(["--address", "[2001:db8::1]:4500", "--directory"])
            .arg(folder.path())
            .arg("--config")
            .arg(folder.join("ntm-dc.toml"))
            .output()
            .expect("runs")
    };
    let output = init("dc1.ntm.example");
    assert!(output.status.success(), "{}", said(&output));
    let mode = std::fs::metadata(folder.join("noise.key")).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let request: ntm_server::credentials::Request =
        serde_json::from_slice(&std::fs::read(folder.join("request.json")).expect("a request")).expect("JSON");
    assert_eq!((request.name.as_str(), request.addresses.len()), ("dc1.ntm.example", 2));
    let check = Command::new(env!("CARGO_BIN_EXE_ntm-dc"))
        .arg("--config")
        .arg(folder.join("ntm-dc.toml"))
        .arg("--check")
        .output()
        .expect("runs");
    assert!(check.status.success(), "{}", said(&check));
    // A key is never overwritten, and a name outside the domain is a mistake.
    assert_eq!(init("dc1.ntm.example").status.code(), Some(1));
    assert_eq!(init("dc1.other.example").status.code(), Some(2));
}
