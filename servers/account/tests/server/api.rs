//! The API is what `docs/api/as.openapi.json` says: every route, verb and answer of the file is provoked at the
//! running server and held to its schema, and the server has no route that the file has not.

use std::collections::BTreeSet;

use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::identity::NoiseKey;
use ntm_server::clock::random;
use ntm_server::hex;
use serde_json::{Value, json};

use super::harness::{Client, Domain, Node, PASSWORD, Session, Setting, World, now};
use super::schema::{Checked, OpenApi};

#[test]
fn the_file_and_the_server_have_the_same_routes() {
    let served = ntm_account::web::api_routes();
    let served: BTreeSet<_> = served.into_iter().map(|(verb, path, _)| format!("{verb} {path}")).collect();
    assert_eq!(OpenApi::load().routes(), served);
}

#[test]
fn every_answer_of_the_file_can_be_had_and_is_what_the_file_says() {
    let world = World::with(&roomy(""));
    let checked = Checked { api: OpenApi::load(), client: world.client.clone() };
    let admin = world.client.admin();
    let alice = accounts(&checked);
    nodes(&checked, &alice);
    keys(&checked, &alice);
    logins(&checked, &alice);
    servers(&checked, &admin);
    administration(&checked, &admin, &alice);
    hand_ins(&checked, &alice, &admin);
    the_rest(&checked.api);
    let missing: Vec<_> = checked.api.answers().difference(&checked.api.seen()).cloned().collect();
    assert!(missing.is_empty(), "not provoked: {missing:#?}");
}

/// A server on which nothing but what a test is about runs out.
fn roomy(tables: &str) -> Setting {
    let limits = "[limits]\nlogins_burst = 100000\nrequests_burst = 100000\n";
    Setting { tables: format!("{limits}{tables}"), ..Default::default() }
}

fn same(path: &str) -> (&str, &str) {
    (path, path)
}

fn accounts(checked: &Checked) -> Session {
    let body = json!({ "account": "Alice", "password": PASSWORD });
    let sign_up = |body: &Value, status| checked.open("POST", same("/v1/accounts"), Some(body), status);
    assert_eq!(sign_up(&body, 201).json()["account"], "alice");
    sign_up(&body, 409);
    sign_up(&json!({ "account": "bob", "password": "short" }), 400);
    sign_up(&json!({ "account": "bob", "password": PASSWORD, "admin": true }), 400);
    sign_up(&json!({ "account": "bob", "password": "x".repeat(20_000) }), 413);
    let sign_in = |body: &Value, status| checked.open("POST", same("/v1/session"), Some(body), status);
    sign_in(&json!({ "account": "alice", "password": "not this one" }), 401);
    sign_in(&json!({ "account": "alice" }), 400);
    sign_in(&body, 200);
    let foreign = checked.client.ask("POST", "/v1/session").header("origin", "https://evil.example").json(&body);
    checked.api.ask(foreign, "POST", "/v1/session", 403);
    checked.open("GET", same("/.well-known/ntmobile"), None, 200);

    let session = checked.client.sign_in("alice", PASSWORD);
    checked.signed(&session, "GET", same("/v1/session"), None, 200);
    checked.open("GET", same("/v1/session"), None, 401);
    checked.open("DELETE", same("/v1/session"), None, 401);
    checked.signed(&without_word(&session), "DELETE", same("/v1/session"), None, 403);
    checked.signed(&session, "DELETE", same("/v1/session"), None, 204);

    let session = checked.client.sign_in("alice", PASSWORD);
    let change = |session: &Session, old: &str, new: &str, status| {
        checked.signed(session, "PUT", same("/v1/password"), Some(&json!({ "old": old, "new": new })), status)
    };
    change(&session, PASSWORD, "short", 400);
    change(&session, "not this one", "a fine new password", 401);
    change(&without_word(&session), PASSWORD, "a fine new password", 403);
    change(&session, PASSWORD, "a fine new password", 204);
    let session = checked.client.sign_in("alice", "a fine new password");
    change(&session, "a fine new password", PASSWORD, 204);
    checked.client.sign_in("alice", PASSWORD)
}

fn without_word(session: &Session) -> Session {
    Session { csrf: "0".repeat(64), ..session.clone() }
}

fn nodes(checked: &Checked, alice: &Session) {
    let printer = Node::new("printer");
    assert_eq!(checked.client.login("alice", ("password", PASSWORD), &printer).status, 201);
    checked.signed(alice, "GET", same("/v1/nodes"), None, 200);
    checked.open("GET", same("/v1/nodes"), None, 401);
    let path = "/v1/nodes/{name}";
    let rename = |session: &Session, name: &str, to: &str, status| {
        let actual = format!("/v1/nodes/{name}");
        checked.signed(session, "PATCH", (path, &actual), Some(&json!({ "name": to })), status)
    };
    rename(alice, "printer.ntm.example", "press.ntm.example", 200);
    rename(alice, "press.ntm.example", "press.evil.example", 400);
    rename(alice, "printer.ntm.example", "other.ntm.example", 404);
    assert_eq!(checked.client.login("alice", ("password", PASSWORD), &Node::new("taken")).status, 201);
    rename(alice, "press.ntm.example", "taken.ntm.example", 409);
    rename(&without_word(alice), "press.ntm.example", "taken.ntm.example", 403);
    let actual = "/v1/nodes/press.ntm.example";
    checked.open("PATCH", (path, actual), Some(&json!({ "name": "x" })), 401);
    checked.open("DELETE", (path, actual), None, 401);
    checked.signed(&without_word(alice), "DELETE", (path, actual), None, 403);
    checked.signed(alice, "DELETE", (path, "/v1/nodes/no..name"), None, 400);
    checked.signed(alice, "DELETE", (path, "/v1/nodes/nobody.ntm.example"), None, 404);
    checked.signed(alice, "DELETE", (path, actual), None, 204);
    checked.open("GET", ("/v1/revocations", "/v1/revocations"), None, 200);
    checked.open("GET", ("/v1/revocations", "/v1/revocations?after=1"), None, 204);
    checked.open("GET", ("/v1/revocations", "/v1/revocations?after=2"), None, 400);
    checked.open("GET", ("/v1/revocations", "/v1/revocations?after=minus"), None, 400);
}

fn keys(checked: &Checked, alice: &Session) {
    let path = same("/v1/enrolment-keys");
    let made = checked.signed(alice, "POST", path, Some(&json!({ "label": "door", "uses": 1, "days": 1 })), 201);
    checked.signed(alice, "POST", path, Some(&json!({ "uses": 0 })), 400);
    checked.open("POST", path, Some(&json!({})), 401);
    checked.signed(&without_word(alice), "POST", path, Some(&json!({})), 403);
    checked.signed(alice, "GET", path, None, 200);
    checked.open("GET", path, None, 401);
    let actual = format!("/v1/enrolment-keys/{}", made.json()["id"].as_str().expect("an id"));
    let one = ("/v1/enrolment-keys/{id}", actual.as_str());
    checked.open("DELETE", one, None, 401);
    checked.signed(&without_word(alice), "DELETE", one, None, 403);
    checked.signed(alice, "DELETE", one, None, 204);
    checked.signed(alice, "DELETE", one, None, 404);
    for number in 0..100 {
        let answer = alice.ask("POST", "/v1/enrolment-keys").json(&json!({ "label": format!("{number}") })).send();
        assert_eq!(answer.status, 201);
    }
    checked.signed(alice, "POST", path, Some(&json!({})), 409);
}

fn logins(checked: &Checked, alice: &Session) {
    let path = same("/v1/login");
    let scanner = Node::new("scanner");
    let body = |node: &Node| json!({ "account": "alice", "password": PASSWORD, "record": node.record_text() });
    checked.open("POST", path, Some(&body(&scanner)), 201);
    checked.open("POST", path, Some(&body(&scanner)), 200);
    checked.open("POST", path, Some(&body(&Node::new("scanner"))), 409);
    checked.open("POST", path, Some(&json!({ "account": "alice", "record": scanner.record_text() })), 400);
    let wrong = json!({ "account": "alice", "password": "not this one", "record": scanner.record_text() });
    checked.open("POST", path, Some(&wrong), 401);
    checked.client.member("bob");
    let stolen = json!({ "account": "bob", "password": PASSWORD, "record": scanner.record_text() });
    checked.open("POST", path, Some(&stolen), 403);
    let long = json!({ "account": "alice", "password": PASSWORD, "record": "A".repeat(20_000) });
    checked.open("POST", path, Some(&long), 413);

    let path = same("/v1/tickets");
    let renewal = scanner.renewal(now(), random());
    checked.open("POST", path, Some(&renewal), 200);
    checked.open("POST", path, Some(&renewal), 409);
    checked.open("POST", path, Some(&scanner.renewal(0, random())), 400);
    let mut forged = scanner.renewal(now(), random());
    forged["signature"] = json!(hex::encode(&[0; 64]));
    checked.open("POST", path, Some(&forged), 401);
    checked.open("POST", path, Some(&Node::new("stranger").renewal(now(), random())), 404);
    assert_eq!(alice.ask("DELETE", "/v1/nodes/scanner.ntm.example").send().status, 204);
    checked.open("POST", path, Some(&scanner.renewal(now(), random())), 403);
}

fn servers(checked: &Checked, admin: &Session) {
    let path = same("/v1/admin/servers");
    let request = |name: &str| {
        let key = NoiseKey::from_secret(default_provider(), Secret::new(random()));
        json!({
            "role": "direction", "domain": "ntm.example", "name": name, "addresses": ["192.0.2.1:4500"],
            "noise_key": hex::encode(key.public()),
        })
    };
    let dc1 = request("dc1.ntm.example");
    checked.signed(admin, "POST", path, Some(&dc1), 201);
    checked.signed(admin, "POST", path, Some(&request("dc1.ntm.example")), 409);
    checked.signed(admin, "POST", path, Some(&request("dc1.evil.example")), 400);
    checked.open("POST", path, Some(&dc1), 401);
    checked.signed(&without_word(admin), "POST", path, Some(&dc1), 403);
    let mut relay = request("rs1.ntm.example");
    relay["role"] = json!("relay");
    checked.signed(admin, "POST", path, Some(&relay), 201);
    checked.signed(admin, "GET", path, None, 200);
    checked.open("GET", path, None, 401);
    checked.open("GET", same("/.well-known/ntmobile"), None, 200);

    let credentials = "/v1/servers/{name}/credentials";
    checked.open("GET", (credentials, "/v1/servers/dc1.ntm.example/credentials"), None, 200);
    checked.open("GET", (credentials, "/v1/servers/dc1.ntm.example/credentials?after=999"), None, 204);
    checked.open("GET", (credentials, "/v1/servers/nobody.ntm.example/credentials"), None, 404);
    checked.open("GET", (credentials, "/v1/servers/no..name/credentials"), None, 400);

    let one = "/v1/admin/servers/{name}";
    checked.open("DELETE", (one, "/v1/admin/servers/rs1.ntm.example"), None, 401);
    checked.signed(&without_word(admin), "DELETE", (one, "/v1/admin/servers/rs1.ntm.example"), None, 403);
    checked.signed(admin, "DELETE", (one, "/v1/admin/servers/no..name"), None, 400);
    checked.signed(admin, "DELETE", (one, "/v1/admin/servers/nobody.ntm.example"), None, 404);
    checked.signed(admin, "DELETE", (one, "/v1/admin/servers/rs1.ntm.example"), None, 204);
}

fn administration(checked: &Checked, admin: &Session, alice: &Session) {
    checked.signed(admin, "GET", same("/v1/admin/accounts"), None, 200);
    checked.open("GET", same("/v1/admin/accounts"), None, 401);
    checked.signed(admin, "GET", same("/v1/admin/audit"), None, 200);
    checked.signed(admin, "GET", ("/v1/admin/audit", "/v1/admin/audit?before=x"), None, 400);
    checked.open("GET", same("/v1/admin/audit"), None, 401);
    for path in ["/v1/admin/accounts", "/v1/admin/audit", "/v1/admin/servers"] {
        checked.signed(alice, "GET", same(path), None, 403);
    }
    let path = "/v1/admin/accounts/{name}";
    let change = |session: &Session, name: &str, body: Value, status| {
        let actual = format!("/v1/admin/accounts/{name}");
        checked.signed(session, "PATCH", (path, &actual), Some(&body), status)
    };
    assert_eq!(change(admin, "bob", json!({ "disabled": true }), 200).json()["disabled"], true);
    change(admin, "bob", json!({ "disabled": "yes" }), 400);
    change(admin, "nobody-here", json!({ "disabled": true }), 404);
    change(alice, "admin", json!({ "disabled": true }), 403);
    checked.open("PATCH", (path, "/v1/admin/accounts/bob"), Some(&json!({})), 401);
}

/// Answers that need a session which has just ended.
fn hand_ins(checked: &Checked, alice: &Session, admin: &Session) {
    let disable = admin.ask("PATCH", "/v1/admin/accounts/alice").json(&json!({ "disabled": true })).send();
    assert_eq!(disable.status, 200);
    checked.signed(alice, "PUT", same("/v1/password"), Some(&json!({ "old": "x", "new": "y" })), 401);
}

/// What takes a server of its own: limits that are reached, sign-up that is closed, a queue that is full.
fn the_rest(api: &OpenApi) {
    let closed = World::with(&roomy("\n[sign_up]\nopen = false\n"));
    let checked = Checked { api: api.clone(), client: closed.client.clone() };
    let body = json!({ "account": "bob", "password": PASSWORD });
    checked.open("POST", same("/v1/accounts"), Some(&body), 403);

    let narrow = World::with(&Setting {
        tables: "[limits]\nlogins_burst = 1\nlogins_per_minute = 1\n".into(),
        ..Default::default()
    });
    let checked = Checked { api: api.clone(), client: narrow.client.clone() };
    checked.open("POST", same("/v1/accounts"), Some(&body), 201);
    let node = Node::new("printer");
    let login = json!({ "account": "bob", "password": PASSWORD, "record": node.record_text() });
    for (path, body) in [("/v1/accounts", &body), ("/v1/session", &body), ("/v1/login", &login)] {
        let refused = checked.open("POST", same(path), Some(body), 429);
        assert!(refused.header("retry-after").parse::<u64>().expect("seconds") >= 1);
    }
    let narrower = World::with(&Setting {
        tables: "[limits]\nrequests_burst = 1\nrequests_per_minute = 1\n".into(),
        ..Default::default()
    });
    let checked = Checked { api: api.clone(), client: narrower.client.clone() };
    super::harness::wait_for("the bucket to be empty", || {
        (narrower.client.get("/v1/session").status == 429).then_some(())
    });
    checked.open("POST", same("/v1/tickets"), Some(&node.renewal(now(), random())), 429);

    // With a hash that takes its time and room for one to wait, others' passwords keep the queue full.
    let busy = Domain::new(&roomy("\n"));
    let text = std::fs::read_to_string(busy.config()).expect("the file");
    let slow = "memory_kib = 65536\niterations = 4\nconcurrency = 1\nqueue = 1";
    let text = text.replace("memory_kib = 64\niterations = 1", slow);
    std::fs::write(busy.config(), text).expect("written");
    let server = busy.start();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (client, stop) = (Client::new(&busy, server.addresses[0]), &stop);
            scope.spawn(move || {
                let mut names = (0..).map(|number| format!("nobody{thread}x{number}"));
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    client.try_sign_in(&names.next().expect("no end"), "whatever it is");
                }
            });
        }
        let _stop = SetOnDrop(&stop);
        let checked = Checked { api: api.clone(), client: Client::new(&busy, server.addresses[0]) };
        // Always somebody else: one who exists, or is locked out, is refused before anything is hashed.
        let mut names = (0..).map(|number| format!("somebody{number}"));
        for (path, mut body) in [("/v1/accounts", body.clone()), ("/v1/session", body), ("/v1/login", login)] {
            let refused = super::harness::wait_for("the queue to be full", || {
                body["account"] = names.next().expect("no end").into();
                let answer = checked.client.post(path, &body);
                (answer.status == 503).then_some(answer)
            });
            assert!(refused.header("retry-after").parse::<u64>().expect("seconds") >= 1);
            checked.api.hold(&refused, "POST", path, 503);
        }
    });
}

/// Ends other threads also where this one fails.
struct SetOnDrop<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn what_is_no_route_and_no_verb_is_said_to_be_none() {
    let world = World::new();
    let answer = world.client.get("/v1/nothing");
    assert_eq!((answer.status, answer.error()), (404, "not_found".into()));
    let answer = world.client.ask("PUT", "/v1/accounts").send();
    assert_eq!((answer.status, answer.error()), (405, "method".into()));
}
