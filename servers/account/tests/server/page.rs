//! The page without a browser: forms and what comes back.

use super::harness::{Answer, Node, PASSWORD, Session, World};

fn word(page: &str) -> String {
    let after = page.split("name=\"csrf\" value=\"").nth(1).expect("a form with the word");
    after.split('"').next().expect("an end").to_owned()
}

fn cookie(answer: &Answer) -> String {
    answer.header("set-cookie").split(';').next().unwrap_or_default().to_owned()
}

fn submit(session: &Session, path: &str, fields: &[(&str, &str)]) -> Answer {
    session.client.ask("POST", path).header("cookie", &session.cookie).form(fields).send()
}

#[test]
fn signing_up_by_the_form_leads_to_ones_nodes() {
    let world = World::new();
    let form = world.client.ask("POST", "/sign-up").form(&[("account", "alice"), ("password", PASSWORD)]).send();
    assert_eq!((form.status, form.header("location").as_str()), (303, "/nodes"));
    let session = Session { client: world.client.clone(), cookie: cookie(&form), csrf: String::new() };
    let nodes = session.get("/nodes");
    assert!(nodes.text().contains("No nodes yet."), "{}", nodes.text());
    assert_eq!(world.client.get("/nodes").header("location"), "/sign-in");
    assert_eq!(session.get("/").header("location"), "/nodes");
    let out = submit(&session, "/sign-out", &[("csrf", &word(&nodes.text()))]);
    assert_eq!((out.status, out.header("location").as_str()), (303, "/sign-in"));
    assert_eq!(session.get("/nodes").header("location"), "/sign-in");
}

#[test]
fn a_wrong_password_says_so_and_keeps_the_name() {
    let world = World::new();
    let form =
        world.client.ask("POST", "/sign-in").form(&[("account", "a\"><b>"), ("password", "wrong password")]).send();
    assert_eq!(form.status, 401);
    assert!(form.text().contains("Wrong account or secret") && form.text().contains("a&quot;&gt;&lt;b&gt;"));
}

#[test]
fn a_key_is_shown_once_and_brings_a_node_that_can_be_renamed_and_revoked() {
    let world = World::new();
    let session = world.client.member("alice");
    let csrf = word(&session.get("/keys").text());
    let made = submit(&session, "/keys", &[("csrf", &csrf), ("label", "<door>"), ("uses", "1"), ("days", "1")]).text();
    let key = made.split("id=\"new-key\">").nth(1).and_then(|rest| rest.split('<').next()).expect("the key");
    assert!(made.contains("&lt;door&gt;") && !session.get("/keys").text().contains(key));
    let node = Node::new("printer");
    assert_eq!(world.client.login("alice", ("enrolment_key", key), &node).status, 201);
    let fields = [("csrf", csrf.as_str()), ("name", "printer.ntm.example"), ("to", "press.ntm.example")];
    assert!(submit(&session, "/nodes/rename", &fields).text().contains("press.ntm.example from its next login on"));
    let fields = [("csrf", csrf.as_str()), ("name", "press.ntm.example")];
    let revoked = submit(&session, "/nodes/revoke", &fields).text();
    assert!(revoked.contains("press.ntm.example is revoked.") && revoked.contains("tag bad"), "{revoked}");
    let gone = submit(&session, "/nodes/revoke", &[("csrf", csrf.as_str()), ("name", "other.ntm.example")]);
    assert_eq!(gone.status, 404);
    let forged = submit(&session, "/nodes/revoke", &[("csrf", "0"), ("name", "press.ntm.example")]);
    assert_eq!(forged.status, 403);
}

#[test]
fn a_changed_password_signs_out_everywhere() {
    let world = World::new();
    let (session, other) = (world.client.member("alice"), world.client.sign_in("alice", PASSWORD));
    let csrf = word(&session.get("/account").text());
    let new = "an entirely new one";
    let change =
        |old: &str| submit(&session, "/account/password", &[("csrf", csrf.as_str()), ("old", old), ("new", new)]);
    assert_eq!(change("not the old one").status, 401);
    assert!(change(PASSWORD).text().contains("The password is changed"));
    assert_eq!(other.get("/nodes").header("location"), "/sign-in");
    world.client.sign_in("alice", new);
}

#[test]
fn administrators_see_users_servers_and_the_log_and_others_do_not() {
    let world = World::new();
    super::servers::DirectionServer::add(&world, "dc1");
    let (admin, alice) = (world.client.admin(), world.client.member("alice"));
    for path in ["/admin/accounts", "/admin/servers", "/admin/audit"] {
        assert_eq!(admin.get(path).status, 200, "{path}");
        assert_eq!(alice.get(path).status, 403, "{path}");
        assert_eq!(world.client.get(path).status, 303, "{path}");
    }
    assert!(!alice.get("/nodes").text().contains("/admin/"));
    let csrf = word(&admin.get("/admin/accounts").text());
    let act = |action: &str| {
        submit(&admin, "/admin/accounts", &[("csrf", csrf.as_str()), ("name", "alice"), ("action", action)]).status
    };
    assert_eq!((act("disable"), alice.get("/nodes").status), (200, 303));
    assert_eq!((act("enable"), act("admin"), act("ordinary"), act("crown")), (200, 200, 200, 400));
    assert!(admin.get("/admin/servers").text().contains("dc1.ntm.example"));
    let fields = [("csrf", csrf.as_str()), ("name", "dc1.ntm.example")];
    assert!(submit(&admin, "/admin/servers/remove", &fields).text().contains("is removed"));
    let log = admin.get("/admin/audit").text();
    for line in ["server added", "server removed", "account disabled", "made administrator", "signed in"] {
        assert!(log.contains(line), "{line}");
    }
}
