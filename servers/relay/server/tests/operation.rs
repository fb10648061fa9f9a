//! What an operator gets: start, reload, drain, stop, and complaints that say the way out.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use common::{Dc, Node, RS, Rs, body, exchange, pair, until};
use ntm_proto::crypto::Secret;
use ntm_proto::session::GrantKey;
use ntm_proto::wire::message::Side;
use ntm_relay::testing::{Client, grant_key, inner};
use ntm_server::clock::unix_now;

/// What the program says and ends with.
fn complaint(rs: &Rs) -> (String, i32) {
    let output = Command::new(RS).arg("--config").arg(rs.config()).output().expect("ntm-rs runs");
    let said = String::from_utf8(output.stderr).expect("text");
    (said.lines().last().unwrap_or_default().to_owned(), output.status.code().expect("it ended by itself"))
}

#[test]
fn init_makes_secrets_that_nobody_else_reads_and_a_file_that_is_right() {
    let rs = Rs::prepare(&[]);
    for secret in ["noise.key", "tls.key"] {
        let mode = fs::metadata(rs.directory.join(secret)).expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let again = Command::new(RS)
        .args(["init", "--domain", "ntm.example", "--name", "rs1.ntm.example", "--address", "192.0.2.1:4501"])
        .arg("--directory")
        .arg(&rs.directory)
        .output()
        .expect("ntm-rs runs");
    assert!(!again.status.success());
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("exists already"), "keys are not overwritten: {said}");

    let example = Command::new(RS).arg("config").output().expect("ntm-rs runs");
    let file = rs.directory.join("example.toml");
    fs::write(&file, example.stdout).expect("written");
    let checked = Command::new(RS).arg("--config").arg(&file).arg("--check").status().expect("ntm-rs runs");
    assert!(checked.success(), "the example is a valid file");
}

#[test]
fn a_wrong_configuration_is_told_by_file_line_and_matter() {
    let rs = Rs::prepare(&[]);
    let wrong = [
        ("worker = 3", ":5: unknown field `worker`"),
        ("workers = 1000", ":5: at most 256 workers"),
        ("max_grants = 0", ":5: max_grants must be 1 to 1048576"),
        ("account_server = \"http://as.ntm.example\"", ":5: the account server's address must begin with https://"),
        ("grace_seconds = \"long\"", ":5: invalid type"),
    ];
    for (line, expected) in wrong {
        rs.configure(&[line]);
        let (said, status) = complaint(&rs);
        assert!(said.contains(expected) && said.contains("ntm-rs.toml"), "{line}: {said}");
        assert_eq!(status, 2, "{said}");
    }
    fs::remove_file(rs.config()).expect("it was there");
    let (said, status) = complaint(&rs);
    assert!(said.contains("the `config` command prints an example"), "{said}");
    assert_eq!(status, 2);
}

#[test]
fn what_hinders_the_start_is_told_in_one_line_with_the_way_out() {
    let mut rs = Rs::start(&[]);
    let mut second = Rs::prepare(&[]);
    (second.udp4, second.udp6) = (rs.udp4, rs.udp6);
    second.configure(&[]);
    let (said, status) = complaint(&second);
    assert!(said.contains("another program has it") && said.contains(&rs.udp4.to_string()), "{said}");
    assert_eq!(status, 1);
    rs.kill();

    fs::write(second.directory.join("tls.crt"), "no certificate").expect("written");
    let (said, status) = complaint(&second);
    assert!(said.contains("tls.crt") && said.contains("`ntm-rs init` makes"), "{said}");
    assert_eq!(status, 1);

    fs::set_permissions(second.directory.join("noise.key"), fs::Permissions::from_mode(0o644)).expect("ours");
    let (said, _) = complaint(&second);
    assert!(said.contains("can be read by others") && said.contains("chmod 600"), "{said}");

    let mut third = Rs::prepare(&[]);
    third.give_credentials_until(&[], &[grant_key()], unix_now());
    let (said, status) = complaint(&third);
    assert!(said.contains("is this host's clock right?"), "{said}");
    assert_eq!(status, 1);

    fs::copy(rs.directory.join("credentials.bin"), third.directory.join("credentials.bin")).expect("copied");
    let (said, _) = complaint(&third);
    assert!(said.contains("made for another server's key"), "{said}");
    fs::remove_file(third.directory.join("credentials.bin")).expect("it was there");
    let (said, _) = complaint(&third);
    assert!(said.contains("ntm-as server add"), "{said}");
}

#[test]
fn a_clock_that_is_wrong_is_suspected_when_no_token_is_in_its_time() {
    let rs = Rs::start(&[]);
    let body = ntm_proto::session::TokenBody { expires: unix_now(), ..body(1) };
    let mut node = Node::new(&body, Side::Initiator, rs.udp4);
    until("the log speaks of the clock", || {
        let bind = node.client.bind(None);
        node.send(&bind);
        rs.logged("clock").is_some()
    });
}

#[test]
fn metrics_and_health_are_served() {
    let rs = Rs::start(&[]);
    assert!(rs.http("/healthz").contains("200 OK"));
    let (mut a, mut b) = pair(1, rs.udp4, rs.udp6);
    exchange(&mut a, &mut b, &inner(1, 100));
    until("the counters show it", || rs.metric("forwarded_datagrams_total") >= 1 && rs.metric("grants") == 1);
    a.send(&[99; 40]);
    until("a drop shows under its reason", || rs.dropped("malformed") == 1);
}

#[test]
fn new_grant_keys_hold_after_a_reload_and_old_ones_no_longer() {
    let mut rs = Rs::start(&[]);
    let (mut a, mut b) = pair(1, rs.udp4, rs.udp4);
    let newer = GrantKey { key_id: 8, key: Secret::new([8; 32]) };
    rs.give_credentials(&[], std::slice::from_ref(&newer));
    rs.signal("-HUP");
    until("it says so", || rs.logged("credentials of version 2").is_some());

    let body = body(2);
    let token = newer.mint(&body);
    let bind_key = newer.bind_key(&token, Side::Initiator);
    let mut node = Node::new(&body, Side::Initiator, rs.udp4);
    node.client = Client { token, bind_key, ..node.client };
    node.bind();
    exchange(&mut a, &mut b, &inner(1, 200));
    // Each worker takes the news in its own time.
    let mut number = 2;
    until("tokens that the old key made are refused, and counted", || {
        number += 1;
        !Node::new(&common::body(number), Side::Initiator, rs.udp4).is_answered() && rs.dropped("unknown_key") > 0
    });
}

#[test]
fn a_reload_of_a_file_that_is_wrong_changes_nothing() {
    let rs = Rs::start(&[]);
    let (mut a, mut b) = pair(1, rs.udp4, rs.udp4);
    rs.configure(&["max_grants = 0"]);
    rs.signal("-HUP");
    until("it says so", || rs.logged("not reloaded").is_some_and(|line| line.contains(":5: max_grants")));
    exchange(&mut a, &mut b, &inner(1, 200));
}

#[test]
fn a_direction_server_that_a_reload_brings_is_called_and_revokes() {
    let dc = Dc::start();
    let mut rs = Rs::prepare(&[]);
    rs.configure(&["workers = 2"]);
    rs.run();
    rs.give_credentials(&[&dc], &[grant_key()]);
    rs.signal("-HUP");
    until("it reports", || dc.has_report(|report| !report.draining));
    // One grant on each worker; only the first worker hears of revocations.
    let mut pairs = [pair(10, rs.udp4, rs.udp4), pair(11, rs.udp4, rs.udp4)];
    pairs.iter_mut().for_each(|(a, b)| exchange(a, b, &inner(1, 200)));
    until("both are held", || rs.metric("grants") == 2);
    (10..12).for_each(|number| dc.revoke(body(number).path_id));
    until("both are forgotten", || rs.metric("grants") == 0);
    assert!(!pairs[0].0.is_answered() && !pairs[1].0.is_answered(), "and make no grant again");
    until("it is counted", || rs.dropped("revoked") > 0);
    until("it says that it has", || !dc.server.lock().expect("no panic").acknowledged.is_empty());
}

#[test]
fn a_relay_that_is_to_stop_tells_everybody_and_goes_on_until_the_second_time() {
    let dc = Dc::start();
    let mut rs = Rs::start(&[&dc]);
    let (mut a, mut b) = pair(1, rs.udp4, rs.udp6);
    until("it reports", || dc.has_report(|report| !report.draining));
    rs.signal("-TERM");
    until("the direction server hears that it leaves", || dc.has_report(|report| report.draining));
    let mut number = 1;
    until("no new communication is let in", || {
        number += 1;
        !Node::new(&body(number), Side::Initiator, rs.udp4).is_answered()
    });
    exchange(&mut a, &mut b, &inner(1, 300));
    until("its nodes hear it with the answer to their next bind", || {
        let bind = a.client.bind(None);
        a.send(&bind);
        let mut answer = [0; 2_048];
        let received = a.socket.recv_from(&mut answer).map_or(0, |(length, _)| length);
        ntm_proto::wire::outer::RelayBound::parse(&answer[..received]).is_ok_and(|bound| bound.leaving)
    });
    assert!(rs.http("/healthz").contains("draining"));
    assert!(!rs.has_ended());
    rs.signal("-TERM");
    assert!(rs.wait().success());
}

#[test]
fn a_draining_relay_ends_by_itself_when_it_is_empty_or_the_grace_is_over() {
    let dc = Dc::start();
    let mut rs = Rs::start(&[&dc]);
    until("it reports", || dc.has_report(|_| true));
    let (_a, _b) = pair(1, rs.udp4, rs.udp4);
    until("it is counted", || rs.metric("grants") == 1);
    rs.signal("-TERM");
    until("it drains", || dc.has_report(|report| report.draining));
    dc.revoke(body(1).path_id);
    assert!(rs.wait().success(), "its last grant is gone");

    let mut rs = Rs::prepare(&[]);
    rs.configure(&["grace_seconds = 1"]);
    rs.run();
    let (_a, _b) = pair(1, rs.udp4, rs.udp4);
    until("it is counted", || rs.metric("grants") == 1);
    rs.signal("-TERM");
    assert!(rs.wait().success(), "the grace is over");
    until("it says so", || rs.logged("stopped with 1 grants").is_some());
}

#[test]
fn memory_is_not_taken_for_grants_that_are_gone() {
    let dc = Dc::start();
    let mut rs = Rs::prepare(&[&dc]);
    rs.configure(&["max_grants = 4", "workers = 1"]);
    rs.run();
    until("it reports", || dc.has_report(|_| true));
    for number in 0..4 {
        Node::new(&body(number), Side::Initiator, rs.udp4).bind();
    }
    assert!(!Node::new(&body(4), Side::Initiator, rs.udp4).is_answered(), "the table is full");
    until("it is counted", || rs.dropped("table_full") > 0);
    dc.revoke(body(0).path_id);
    until("there is room again", || Node::new(&body(4), Side::Initiator, rs.udp4).is_answered());
}
