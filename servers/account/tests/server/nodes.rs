//! Nodes log in, renew, are renamed and revoked; through the client that the library will use.

use ntm_login::{Credential, Error};
use ntm_proto::crypto::default_provider;
use ntm_proto::identity::{Role, Ticket};
use ntm_proto::time::UnixTime;
use ntm_server::clock::random;
use ntm_server::credentials::{Credentials, RoleCredentials};
use ntm_server::hex;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::harness::{Node, PASSWORD, Setting, World, now};
use super::postgres::Postgres;
use super::servers::DirectionServer;

fn password() -> Credential {
    Credential::Password(Zeroizing::new(PASSWORD.into()))
}

fn refused(outcome: Result<ntm_login::Login, Error>) -> String {
    match outcome {
        Err(Error::Refused { error, .. }) => error,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_node_logs_in_and_renews_and_its_dc_opens_the_tickets() {
    in_and_again(&World::new());
}

#[test]
fn a_node_logs_in_and_renews_at_a_server_on_postgresql() {
    let postgres = Postgres::start();
    let setting = super::harness::Setting { store: Some(postgres.url()), ..Default::default() };
    in_and_again(&World::with(&setting));
}

fn in_and_again(world: &World) {
    let dc = DirectionServer::add(world, "dc1");
    let rs = DirectionServer::with_role(world, "rs1", Role::Relay);
    world.client.member("alice");
    let (client, node) = (world.login_client(), Node::new("printer"));
    let login = client.login("alice", &password(), &node.record).expect("logs in");
    let Credentials { domain_key, role: RoleCredentials::Direction(known), .. } = dc.credentials(0).expect("are there")
    else {
        panic!("a DC has a DC's credentials");
    };
    assert_eq!(login.domain_key, domain_key);
    assert_eq!(login.directions.len(), 1);
    assert_eq!(login.directions[0].noise_key, *dc.key.public());
    let relays: Vec<_> = login.relays.iter().map(|relay| relay.noise_key).collect();
    assert_eq!(relays, [*rs.key.public()]);
    let ticket = Ticket::open(&known.service_keys[0].0, &login.ticket).expect("sealed to the DCs");
    assert_eq!((ticket.node, ticket.record_digest), (node.record.node_id(), node.record.digest()));
    assert_eq!((&ticket.key, ticket.expires), (&login.key, login.expires));
    assert!(ticket.is_valid(UnixTime::from_millis(now())));

    let client = client.pinned(domain_key);
    let renewed = client.renew(&node.identity, &node.record, random()).expect("renews");
    let again = Ticket::open(&known.service_keys[0].0, &renewed.ticket).expect("sealed to the DCs");
    assert_eq!((again.node, again.key == ticket.key), (ticket.node, false), "each ticket has a key of its own");
    assert_eq!(again.account, ticket.account);
    let other = world.login_client().pinned([9; 32]);
    assert_eq!(other.renew(&node.identity, &node.record, random()), Err(Error::OtherDomainKey));
}

#[test]
fn the_tickets_of_one_accounts_nodes_name_one_account_and_those_of_two_accounts_two() {
    let world = World::new();
    let dc = DirectionServer::add(&world, "dc1");
    let Credentials { role: RoleCredentials::Direction(known), .. } = dc.credentials(0).expect("are there") else {
        panic!("a DC has a DC's credentials");
    };
    let client = world.login_client();
    let account = |owner: &str, credential: &Credential, node: &str| {
        let login = client.login(owner, credential, &Node::new(node).record).expect("logs in");
        Ticket::open(&known.service_keys[0].0, &login.ticket).expect("sealed to the DCs").account
    };
    let key = world.client.member("alice").new_key(1);
    world.client.member("bob");
    let of_alice = account("alice", &password(), "printer");
    assert_eq!(account("alice", &Credential::EnrolmentKey(Zeroizing::new(key)), "scanner"), of_alice);
    assert_ne!(account("bob", &password(), "desk"), of_alice);
}

#[test]
fn a_node_that_comes_too_soon_waits_for_its_turn_and_logs_in() {
    let tables = "[limits]\nlogins_burst = 3\nlogins_per_minute = 6\n".into();
    let world = World::with(&Setting { tables, ..Setting::default() });
    world.client.member("alice");
    let node = Node::new("printer");
    super::harness::wait_for("the rate to be used up", || {
        (world.client.login("alice", ("password", PASSWORD), &node).status == 429).then_some(())
    });
    let login = world.login_client().login("alice", &password(), &node.record);
    assert_eq!(login.map(|login| login.name), Ok(node.record.fqdn));
}

#[test]
fn a_server_with_an_unknown_certificate_is_not_talked_to() {
    let world = World::new();
    let client = ntm_login::Client::new(&world.server.url(), None).expect("a client");
    let outcome = client.login("alice", &password(), &Node::new("printer").record);
    assert!(matches!(outcome, Err(Error::Unreachable(_))), "{outcome:?}");
}

#[test]
fn an_enrolment_key_brings_as_many_nodes_as_it_says_and_no_more() {
    let world = World::new();
    let key = world.client.member("alice").new_key(2);
    let credential = Credential::EnrolmentKey(Zeroizing::new(key.clone()));
    let (client, first) = (world.login_client(), Node::new("first"));
    client.login("alice", &credential, &first.record).expect("the first");
    client.login("alice", &credential, &first.record).expect("the first again, whose answer was lost");
    client.login("alice", &credential, &Node::new("second").record).expect("the second");
    assert_eq!(refused(client.login("alice", &credential, &Node::new("third").record)), "not_allowed");
    world.client.member("mallory");
    assert_eq!(refused(client.login("mallory", &credential, &Node::new("third").record)), "credentials");
    let forged = format!("{}{}", &key[..key.len() - 1], if key.ends_with('0') { '1' } else { '0' });
    let forged = Credential::EnrolmentKey(Zeroizing::new(forged));
    assert_eq!(refused(client.login("alice", &forged, &Node::new("third").record)), "credentials");
}

#[test]
fn a_revoked_node_gets_no_ticket_and_servers_hear_of_it_at_once() {
    let world = World::new();
    let alice = world.client.member("alice");
    let (client, node) = (world.login_client(), Node::new("printer"));
    client.login("alice", &password(), &node.record).expect("logs in");
    let dc = DirectionServer::add(&world, "dc1");
    let waiting = std::thread::spawn(move || dc.revocations(0, 20));
    assert_eq!(alice.ask("DELETE", "/v1/nodes/printer.ntm.example").send().status, 204);
    let signed = waiting.join().expect("asked").expect("heard of it");
    let domain_key =
        hex::decode_array(world.client.get("/.well-known/ntmobile").json()["domain_key"].as_str().expect("a key"));
    assert_eq!(signed.verify(&domain_key.expect("hex")), Some(vec![node.record.node_id()]));
    assert_eq!(refused(client.renew(&node.identity, &node.record, random())), "revoked");
    assert_eq!(refused(client.login("alice", &password(), &node.record)), "revoked");
    let listed = alice.get("/v1/nodes").json();
    assert!(listed["nodes"][0]["revoked"].is_u64(), "{listed}");
}

#[test]
fn a_node_that_was_renamed_is_told_its_new_name() {
    let world = World::new();
    let alice = world.client.member("alice");
    let (client, node) = (world.login_client(), Node::new("printer"));
    client.login("alice", &password(), &node.record).expect("logs in");
    let renamed = alice.ask("PATCH", "/v1/nodes/printer.ntm.example").json(&json!({ "name": "press.ntm.example" }));
    assert_eq!(renamed.send().json()["name"], "press.ntm.example");
    match client.renew(&node.identity, &node.record, random()) {
        Err(Error::Refused { error, message, .. }) => {
            assert_eq!(error, "renamed");
            assert!(message.contains("press.ntm.example"), "{message}");
        }
        other => panic!("not refused: {other:?}"),
    }
    let press = Node::of(node.identity.clone(), "press.ntm.example", "ntm.example");
    client.renew(&press.identity, &press.record, random()).expect("under the new name");
}

#[test]
fn a_forged_or_replayed_renewal_is_refused() {
    let world = World::new();
    world.client.member("alice");
    let (client, node) = (&world.client, Node::new("printer"));
    assert_eq!(client.login("alice", ("password", PASSWORD), &node).status, 201);
    let renew = |body: &Value| {
        let answer = client.post("/v1/tickets", body);
        (answer.status, answer.error())
    };
    let genuine = node.renewal(now(), random());
    assert_eq!(renew(&genuine).0, 200);
    assert_eq!(renew(&genuine), (409, "replayed".into()));

    let mut forged = genuine.clone();
    forged["nonce"] = json!(hex::encode(&[7; 16]));
    assert_eq!(renew(&forged), (401, "credentials".into()), "another nonce");
    let mut forged = genuine.clone();
    forged["issued"] = json!(now() + 1);
    assert_eq!(renew(&forged), (401, "credentials".into()), "another time");
    let thief = Node::new("thief");
    let mut forged = thief.renewal(now(), random());
    forged["record"] = json!(node.record_text());
    assert_eq!(renew(&forged), (401, "credentials".into()), "another's record");
    assert_eq!(renew(&thief.renewal(now(), random())), (404, "not_found".into()), "who never logged in");
    let foreign = Node::of(node.identity.clone(), "printer.evil.example", "evil.example");
    assert_eq!(renew(&foreign.renewal(now(), random())).1, "invalid", "another domain's record");
    let elsewhere =
        ntm_login::message::renewal_signed_part(&"evil.example".parse_name(), now(), &[1; 16], &node.record);
    let signature = node.identity.sign(default_provider(), &elsewhere);
    let forged = json!({
        "record": node.record_text(), "issued": now(), "nonce": hex::encode(&[1; 16]),
        "signature": hex::encode(&signature),
    });
    assert_eq!(renew(&forged), (401, "credentials".into()), "signed for another domain");
}

#[test]
fn a_node_whose_clock_is_wrong_is_told_the_servers() {
    let world = World::new();
    world.client.member("alice");
    let node = Node::new("printer");
    assert_eq!(world.client.login("alice", ("password", PASSWORD), &node).status, 201);
    for issued in [now() - 6 * 60_000, now() + 6 * 60_000, 0, u64::MAX] {
        let answer = world.client.post("/v1/tickets", &node.renewal(issued, random()));
        assert_eq!((answer.status, answer.error()), (400, "clock".into()), "{issued}");
        assert!(answer.json()["now"].as_u64().expect("the server's clock").abs_diff(now()) < 60_000);
    }
}

#[test]
fn a_renewal_that_was_used_stays_used_over_a_crash() {
    let domain = super::harness::Domain::new(&Default::default());
    let (server, node) = (domain.start(), Node::new("printer"));
    let client = super::harness::Client::new(&domain, server.addresses[0]);
    client.member("alice");
    assert_eq!(client.login("alice", ("password", PASSWORD), &node).status, 201);
    let renewal = node.renewal(now(), random());
    assert_eq!(client.post("/v1/tickets", &renewal).status, 200);
    server.kill();
    let server = domain.start();
    let client = super::harness::Client::new(&domain, server.addresses[0]);
    assert_eq!(client.post("/v1/tickets", &renewal).error(), "replayed");
}

#[test]
fn records_that_are_not_in_order_are_refused() {
    let world = World::new();
    world.client.member("alice");
    let refused = |node: &Node| world.client.login("alice", ("password", PASSWORD), node).error();
    let identity = || Node::new("x").identity;
    assert_eq!(refused(&Node::of(identity(), "a.b.ntm.example", "ntm.example")), "invalid");
    assert_eq!(refused(&Node::of(identity(), "ntm.example", "ntm.example")), "invalid");
    assert_eq!(refused(&Node::of(identity(), "as.ntm.example", "ntm.example")), "invalid");
    assert_eq!(refused(&Node::of(identity(), "printer.other.example", "ntm.example")), "invalid");
    let mut forged = Node::new("printer");
    forged.record.noise_key = [6; 32];
    assert_eq!(refused(&forged), "invalid");
    let mut revoked = Node::new("printer");
    revoked.record = ntm_proto::identity::NodeRecord::sign(
        default_provider(),
        &revoked.identity,
        revoked.record.fqdn.clone(),
        [5; 32],
        revoked.record.manager.clone(),
        true,
        UnixTime::from_millis(now()),
    );
    assert_eq!(refused(&revoked), "revoked");
    let at = |millis: u64| {
        let mut node = Node::new("printer");
        node.identity = world_identity();
        node.record = ntm_proto::identity::NodeRecord::sign(
            default_provider(),
            &node.identity,
            node.record.fqdn.clone(),
            [5; 32],
            node.record.manager.clone(),
            false,
            UnixTime::from_millis(millis),
        );
        node
    };
    assert_eq!(refused(&at(now() + 3_600_000)), "clock");
    assert_eq!(refused(&at(now())), "");
    assert_eq!(refused(&at(now() - 3_600_000)), "invalid", "an older record of the same node");
}

fn world_identity() -> ntm_proto::identity::IdentityKey {
    ntm_proto::identity::IdentityKey::from_seed(default_provider(), ntm_proto::crypto::Secret::new([42; 32]))
}

trait ParseName {
    fn parse_name(&self) -> ntm_proto::id::Fqdn;
}

impl ParseName for str {
    fn parse_name(&self) -> ntm_proto::id::Fqdn {
        ntm_proto::id::Fqdn::parse(self).expect("a name")
    }
}
