//! Several account servers on one PostgreSQL, and a PostgreSQL that goes away.

use std::time::Duration;

use ntm_server::account_server::AccountServer;

use super::harness::{Client, Domain, Node, PASSWORD, Setting, World, wait_for};
use super::postgres::Postgres;

fn on(postgres: &Postgres) -> Setting {
    Setting { store: Some(postgres.url()), ..Default::default() }
}

#[test]
fn two_servers_on_one_postgresql_are_one_account_server() {
    let postgres = Postgres::start();
    let first = World::with(&on(&postgres));
    // The second host: its own folder, the domain's keys copied there.
    let folder = super::harness::Folder::new();
    let second = Domain { folder };
    std::fs::create_dir(second.path("data")).expect("a folder");
    for file in ["domain.key", "service.keys", "tls.crt", "tls.key", "tls-ca.crt"] {
        std::fs::copy(first.domain.path("data").join(file), second.path("data").join(file)).expect(file);
    }
    let text = std::fs::read_to_string(first.domain.config()).expect("the file");
    let (from, to) = (first.domain.path("data"), second.path("data"));
    let text = text.replace(from.to_str().expect("text"), to.to_str().expect("text"));
    std::fs::write(second.config(), text).expect("written");
    let server = second.start();
    let client = Client::new(&second, server.addresses[0]);

    let alice = first.client.member("alice");
    assert_eq!(client.ask("GET", "/v1/session").header("cookie", &alice.cookie).send().status, 200);
    assert_eq!(client.sign_up("alice").error(), "taken");
    let node = Node::new("printer");
    assert_eq!(client.login("alice", ("password", PASSWORD), &node).status, 201);
    let asking = AccountServer::new(&server.url(), Some(&second.ca())).expect("a client");
    let waiting = std::thread::spawn(move || asking.revocations(0, Duration::from_secs(25)).expect("answers"));
    assert_eq!(alice.ask("DELETE", "/v1/nodes/printer.ntm.example").send().status, 204);
    assert_eq!(waiting.join().expect("asked").expect("heard of it through the other server").upto, 1);
}

#[test]
fn a_database_that_goes_away_is_said_to_be_away_and_used_again_when_it_is_back() {
    let mut postgres = Postgres::start();
    let world = World::with(&on(&postgres));
    let alice = world.client.member("alice");
    postgres.restart(|| {
        let refused = alice.get("/v1/session");
        assert_eq!((refused.status, refused.error()), (503, "unavailable".into()));
        assert!(!refused.text().contains("postgres"), "what is behind is not told to strangers");
        assert!(refused.header("retry-after").parse::<u64>().is_ok());
    });
    wait_for("the server to reach it again", || (alice.get("/v1/session").status == 200).then_some(()));
}
