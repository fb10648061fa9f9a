//! DCs and RSs: certified by the operator, told of each other, and of new keys, through the client they all use.

use std::path::PathBuf;
use std::time::Duration;

use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::id::Fqdn;
use ntm_proto::identity::{NoiseKey, Role, Ticket};
use ntm_proto::time::UnixTime;
use ntm_server::account_server::{AccountServer, Revocations};
use ntm_server::clock::{random, unix_now};
use ntm_server::credentials::{Credentials, Request, RoleCredentials};

use super::harness::{DOMAIN, Node, PASSWORD, World};

/// A server that an operator adds with `ntm-as server add`.
#[derive(Debug)]
pub(crate) struct DirectionServer {
    pub(crate) key: NoiseKey,
    name: Fqdn,
    file: PathBuf,
    account_server: AccountServer,
}

impl DirectionServer {
    pub(crate) fn add(world: &World, label: &str) -> Self {
        Self::with_role(world, label, Role::Direction)
    }

    pub(crate) fn with_role(world: &World, label: &str, role: Role) -> Self {
        let key = NoiseKey::from_secret(default_provider(), Secret::new(random()));
        let name = Fqdn::parse(&format!("{label}.{DOMAIN}")).expect("a name");
        let account_server = AccountServer::new(&world.server.url(), Some(&world.domain.ca())).expect("a client");
        let file = world.domain.path(&format!("{label}.bin"));
        let server = Self { key, name, file, account_server };
        server.certify(world, role);
        server
    }

    fn certify(&self, world: &World, role: Role) {
        let request = Request {
            role,
            domain: Fqdn::parse(DOMAIN).expect("a name"),
            name: self.name.clone(),
            noise_key: *self.key.public(),
            addresses: vec!["192.0.2.1:4500".parse().expect("an address")],
        };
        let path = world.domain.path("request.json");
        std::fs::write(&path, serde_json::to_vec(&request).expect("JSON")).expect("written");
        let (request, out) = (path.display().to_string(), self.file.display().to_string());
        world.domain.done(&["server", "add", "--request", &request, "--out", &out]);
    }

    /// What the operator carried here.
    fn carried(&self) -> Credentials {
        let sealed = std::fs::read(&self.file).expect("the file");
        Credentials::open(&sealed, &self.key, None).expect("made for this server")
    }

    /// What the account server says now, if it is newer than `after`.
    pub(crate) fn credentials(&self, after: u64) -> Option<Credentials> {
        self.wait_for_credentials(after, Duration::ZERO)
    }

    fn wait_for_credentials(&self, after: u64, wait: Duration) -> Option<Credentials> {
        let sealed = self.account_server.credentials(&self.name, after, wait).expect("answers")?;
        Some(Credentials::open(&sealed, &self.key, None).expect("made for this server"))
    }

    pub(crate) fn revocations(&self, after: u64, seconds: u64) -> Option<Revocations> {
        self.account_server.revocations(after, Duration::from_secs(seconds)).expect("answers")
    }
}

fn direction(credentials: &Credentials) -> &ntm_server::credentials::Direction {
    match &credentials.role {
        RoleCredentials::Direction(direction) => direction,
        RoleCredentials::Relay(_) => panic!("these are a relay's"),
    }
}

fn relay(credentials: &Credentials) -> &ntm_server::credentials::Relay {
    match &credentials.role {
        RoleCredentials::Relay(relay) => relay,
        RoleCredentials::Direction(_) => panic!("these are a DC's"),
    }
}

#[test]
fn servers_are_certified_and_told_of_each_other() {
    let world = World::new();
    let dc1 = DirectionServer::add(&world, "dc1");
    let carried = dc1.carried();
    let genuine = carried.cert.verify(default_provider(), &carried.domain_key, Role::Direction, unix_now());
    assert_eq!(genuine, Ok(()));
    assert!(direction(&carried).relays.is_empty() && direction(&carried).siblings.is_empty());
    assert!(dc1.credentials(carried.version).is_none(), "nothing new");

    let rs1 = DirectionServer::with_role(&world, "rs1", Role::Relay);
    let told = dc1.credentials(carried.version).expect("a relay came");
    let granted = &direction(&told).relays[&relay(&rs1.carried()).id];
    assert_eq!(granted.grant_key, relay(&rs1.carried()).grant_keys[0]);
    assert_eq!(granted.psk, relay(&rs1.carried()).psk);
    assert_eq!(relay(&rs1.carried()).directors[0].noise_key, *dc1.key.public());

    let dc2 = DirectionServer::add(&world, "dc2");
    assert_eq!(direction(&dc2.carried()).siblings.len(), 1);
    assert_eq!(direction(&dc1.credentials(told.version).expect("a sibling came")).siblings.len(), 1);
    assert_eq!(relay(&rs1.credentials(rs1.carried().version).expect("a DC came")).directors.len(), 2);

    world.domain.done(&["server", "remove", "dc2.ntm.example"]);
    let left = dc1.credentials(told.version).expect("it went");
    assert!(direction(&left).siblings.is_empty());
    assert!(left.version > told.version + 1, "versions only grow");
    let list = world.domain.done(&["server", "list"]);
    assert!(list.contains("dc1.ntm.example") && list.contains("relay 1") && !list.contains("dc2"), "{list}");
    let gone = world.client.get("/v1/servers/dc2.ntm.example/credentials");
    assert_eq!((gone.status, gone.error()), (404, "not_found".into()));
}

#[test]
fn a_server_that_waits_is_told_at_once_and_one_that_waited_in_vain_asks_again() {
    let world = World::new();
    let dc1 = DirectionServer::add(&world, "dc1");
    let version = dc1.carried().version;
    assert!(dc1.wait_for_credentials(version, Duration::from_secs(1)).is_none());
    let waiting = std::thread::spawn(move || dc1.wait_for_credentials(version, Duration::from_secs(25)));
    DirectionServer::with_role(&world, "rs1", Role::Relay);
    let told = waiting.join().expect("asked").expect("heard of the relay");
    assert_eq!(direction(&told).relays.len(), 1);
}

#[test]
fn a_new_service_key_reaches_the_dcs_before_a_ticket_is_sealed_with_it() {
    let world = World::new();
    let dc = DirectionServer::add(&world, "dc1");
    let before = dc.carried();
    world.client.member("alice");
    let ticket = |label: &str| {
        let answer = world.client.login("alice", ("password", PASSWORD), &Node::new(label));
        let text = answer.json()["ticket"].as_str().expect("a ticket").to_owned();
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).expect("base64")
    };
    world.domain.done(&["key", "rotate"]);
    let told = dc.credentials(before.version).expect("a key came");
    let keys = &direction(&told).service_keys;
    assert_eq!((keys.len(), &keys[1]), (2, &direction(&before).service_keys[0]));
    let sealed = ticket("first");
    assert!(Ticket::open(&keys[1].0, &sealed).is_ok(), "the old one is in use until the lead is over");
    world.domain.done(&["key", "rotate", "--now"]);
    let newest = dc.credentials(told.version).expect("a key came");
    assert!(Ticket::open(&direction(&newest).service_keys[0].0, &ticket("second")).is_ok());
    let old = &direction(&newest).service_keys[2].0;
    let opened = Ticket::open(old, &sealed).expect("the DC still opens the old ticket");
    assert!(opened.is_valid(UnixTime::from_millis(super::harness::now())));
}

#[test]
fn a_new_grant_key_reaches_the_relay_before_a_dc_mints_with_it_and_the_old_one_stays() {
    let world = World::new();
    let dc = DirectionServer::add(&world, "dc1");
    let rs = DirectionServer::with_role(&world, "rs1", Role::Relay);
    let minting = || {
        let told = dc.credentials(0).expect("are there");
        let granted = direction(&told).relays.values().next().expect("a relay");
        granted.grant_key.clone()
    };
    let held = || relay(&rs.credentials(0).expect("are there")).grant_keys.clone();
    let first = minting();
    assert_eq!(held(), std::slice::from_ref(&first));
    world.domain.done(&["key", "rotate", "--relay", "rs1.ntm.example"]);
    assert_eq!((held().len(), &held()[1], minting()), (2, &first, first.clone()), "until the lead is over");
    world.domain.done(&["key", "rotate", "--relay", "rs1.ntm.example", "--now"]);
    assert_eq!((held().len(), minting()), (3, held()[0].clone()));
    assert!(held().contains(&first), "its tokens hold");
    world.domain.done(&["key", "rotate", "--relay", "rs1.ntm.example", "--now"]);
    let (status, complaint) = world.domain.fails(&["key", "rotate", "--relay", "rs1.ntm.example"]);
    assert!(status == 1 && complaint.contains("tokens of the oldest still hold"), "{complaint}");
    let (_, complaint) = world.domain.fails(&["key", "rotate", "--relay", "dc1.ntm.example"]);
    assert!(complaint.contains("is no relay"), "{complaint}");
}

#[test]
fn a_request_that_is_not_in_order_is_refused_with_a_reason() {
    let world = World::new();
    let dc = DirectionServer::add(&world, "dc1");
    dc.certify(&world, Role::Direction);
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let text = std::fs::read(world.domain.path("request.json")).expect("the last request");
        let mut request = serde_json::from_slice(&text).expect("JSON");
        change(&mut request);
        let path = world.domain.path("wrong.json");
        std::fs::write(&path, request.to_string()).expect("written");
        let out = world.domain.path("out.bin");
        world.domain.fails(&[
            "server",
            "add",
            "--request",
            path.to_str().expect("text"),
            "--out",
            out.to_str().expect("text"),
        ])
    };
    type Change<'a> = (&'a str, &'a dyn Fn(&mut serde_json::Value), i32);
    let cases: [Change<'_>; 6] = [
        ("is another server", &|request| request["noise_key"] = "11".repeat(32).into(), 1),
        ("is another server", &|request| request["role"] = "relay".into(), 1),
        ("this is ntm.example", &|request| request["domain"] = "evil.example".into(), 1),
        ("must stand below", &|request| request["name"] = "dc1.evil.example".into(), 1),
        ("1 to 16 addresses", &|request| request["addresses"] = serde_json::json!(["0.0.0.0:4500"]), 1),
        ("is no role", &|request| request["role"] = "emperor".into(), 2),
    ];
    for (reason, change, status) in cases {
        let (code, complaint) = refused(change);
        assert!(complaint.contains(reason) && complaint.lines().count() == 1, "{complaint}");
        assert_eq!(code, status, "{complaint}");
    }
    world.client.member("alice");
    let taken = Node::new("dc1");
    assert_eq!(world.client.login("alice", ("password", PASSWORD), &taken).error(), "taken");
}
