//! What the authority decides is the same on both stores.

use ntm_account::authority::{AccountChange, Authority, Caller, NewKey, Rules};
use ntm_account::config::SignUp;
use ntm_account::passwords::{Cost, hash_now};
use ntm_account::refusal::{Code, Refusal};
use ntm_account::secrets::Secrets;
use ntm_account::store;
use ntm_proto::crypto::default_provider;
use ntm_proto::id::Fqdn;
use ntm_server::clock::unix_now;

use super::harness::{DOMAIN, Folder, Node};
use super::postgres::Postgres;

const CHEAP: Cost = Cost { memory_kib: 64, iterations: 1, lanes: 1 };

#[test]
fn the_authority_decides_on_the_embedded_store() {
    let folder = Folder::new();
    decisions(&folder.path().join("store.redb").display().to_string());
}

#[test]
fn the_authority_decides_alike_on_postgresql() {
    let postgres = Postgres::start();
    decisions(&postgres.url());
}

fn decisions(place: &str) {
    let folder = Folder::new();
    let secrets = Secrets::create(folder.path(), unix_now()).expect("keys");
    let hour = std::time::Duration::from_secs(3600);
    let rules = Rules {
        url: "https://as.ntm.example".into(),
        ticket_life: hour,
        session_life: hour,
        certificate_life: hour * 24,
        key_lead: hour,
        sign_up: SignUp { open: true, max_accounts: 4, max_nodes: 3, max_keys: 2 },
    };
    let domain = Fqdn::parse(DOMAIN).expect("a name");
    let store = store::open(place).expect("opens");
    let authority = Authority::new(domain, store.clone(), secrets, rules.clone()).expect("takes up the domain");
    accounts(&authority);
    sessions(&authority);
    nodes(&authority);
    keys(&authority);
    authority.housekeeping().expect("keeps house");
    assert!(authority.audit_log(None, 1_000).expect("reads").len() > 10);

    let other = Folder::new();
    let secrets = Secrets::create(other.path(), unix_now()).expect("keys");
    let elsewhere = Fqdn::parse("other.example").expect("a name");
    let why = Authority::new(elsewhere, store, secrets, rules).expect_err("the store is another domain's").to_string();
    assert!(why.contains("the store is that of ntm.example"), "{why}");
}

fn caller(account: &str) -> Caller {
    Caller { account: account.into(), admin: false, from: "192.0.2.1".into() }
}

fn code<T>(outcome: Result<T, Refusal>) -> Option<Code> {
    outcome.err().map(|refusal| refusal.code)
}

fn accounts(authority: &Authority) {
    let operator = Caller::operator();
    let hash = hash_now(CHEAP, "some password").expect("hashes");
    for name in ["alice", "bob", "carol", "dora"] {
        authority.add_account(&operator, name, &hash, name == "dora").expect("adds");
    }
    assert_eq!(code(authority.add_account(&operator, "alice", &hash, false)), Some(Code::Taken));
    assert_eq!(code(authority.add_account(&operator, "operator", &hash, false)), Some(Code::Taken));
    assert_eq!(code(authority.add_account(&operator, "erin", &hash, false)), Some(Code::Full));
    let names = |after: &str| -> Vec<String> {
        authority.accounts(after, 2).expect("lists").into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!((names(""), names("bob")), (vec!["alice".into(), "bob".into()], vec!["carol".into(), "dora".into()]));
    let disable = AccountChange { disabled: Some(true), admin: None };
    assert_eq!(code(authority.change_account(&caller("carol"), "carol", disable)), Some(Code::NotAllowed));
    assert!(authority.change_account(&operator, "carol", disable).expect("changes").disabled);
    assert_eq!(code(authority.sign_in(&caller("carol"), None)), Some(Code::Credentials));
    assert_eq!(code(authority.change_account(&operator, "nobody1", disable)), Some(Code::NotFound));
}

fn sessions(authority: &Authority) {
    let session = authority.sign_in(&caller("alice"), None).expect("signs in");
    let who = |token: &str| authority.session(token, String::new()).expect("asks").map(|caller| caller.account);
    assert_eq!(who(&session.token), Some("alice".into()));
    assert_eq!(who(&session.token.replace("alice", "bob")), None);
    let next = authority.sign_in(&caller("alice"), Some(&session.token)).expect("signs in");
    assert_eq!((who(&session.token), who(&next.token)), (None, Some("alice".into())));
    for _ in 0..40 {
        authority.sign_in(&caller("alice"), None).expect("signs in");
    }
    assert_eq!(who(&next.token), None, "the oldest session makes room");
    let last = authority.sign_in(&caller("alice"), None).expect("signs in");
    let hash = hash_now(CHEAP, "another password").expect("hashes");
    authority.set_password(&caller("alice"), "alice", &hash).expect("sets");
    assert_eq!(who(&last.token), None, "a new password ends all sessions");
}

fn nodes(authority: &Authority) {
    let (alice, bob) = (caller("alice"), caller("bob"));
    let printer = Node::new("printer");
    let ticketed = authority.login(&alice, &printer.record).expect("logs in");
    assert!(ticketed.is_new);
    assert!(!authority.login(&alice, &printer.record).expect("logs in again").is_new);
    assert_eq!(code(authority.login(&bob, &Node::new("printer").record)), Some(Code::Taken));
    assert_eq!(code(authority.login(&alice, &Node::new("printer").record)), Some(Code::Taken));
    assert_eq!(code(authority.login(&bob, &printer.record)), Some(Code::NotAllowed));
    let renamed = Node::of(printer.identity.clone(), "press.ntm.example", DOMAIN);
    assert_eq!(code(authority.login(&alice, &renamed.record)), Some(Code::Renamed));
    assert_eq!(code(authority.login(&caller("carol"), &Node::new("hers").record)), Some(Code::Credentials));

    let (from, to) = (printer.record.fqdn.clone(), renamed.record.fqdn.clone());
    assert_eq!(code(authority.rename(&bob, &from, &to)), Some(Code::NotFound));
    authority.rename(&alice, &from, &to).expect("renames");
    assert_eq!(code(authority.login(&alice, &printer.record)), Some(Code::Renamed));
    authority.login(&alice, &renamed.record).expect("under its new name");
    let squatter = Node::new("printer");
    authority.login(&bob, &squatter.record).expect("the old name is free");

    assert_eq!(code(authority.revoke(&bob, &to)), Some(Code::NotFound));
    assert!(authority.revocations(0).expect("reads").is_none());
    authority.revoke(&alice, &to).expect("revokes");
    authority.revoke(&alice, &to).expect("once more is the same");
    let signed = authority.revocations(0).expect("reads").expect("there is one");
    let domain_key = ntm_server::hex::decode_array(&authority.domain_key()).expect("a key");
    assert_eq!(signed.verify(&domain_key), Some(vec![printer.record.node_id()]));
    assert!(authority.revocations(1).expect("reads").is_none());
    assert_eq!(code(authority.revocations(2)), Some(Code::Invalid));
    assert_eq!(code(authority.login(&alice, &renamed.record)), Some(Code::Revoked));
    let successor = Node::new("press");
    assert_eq!(code(authority.login(&bob, &successor.record)), Some(Code::Taken));
    assert!(authority.login(&alice, &successor.record).expect("the owner may use the name again").is_new);

    for label in ["one", "two"] {
        authority.login(&alice, &Node::new(label).record).expect("has room");
    }
    assert_eq!(code(authority.login(&alice, &Node::new("four").record)), Some(Code::Full));
    authority.revoke(&alice, &Fqdn::parse("two.ntm.example").expect("a name")).expect("revokes");
    authority.login(&alice, &Node::new("four").record).expect("a revoked one makes room");
    assert_eq!(authority.nodes("alice").expect("lists").len(), 3);
    assert_eq!(code(authority.login(&alice, &renamed.record)), Some(Code::Revoked), "and stays revoked");
    assert!(renamed.record.verify(default_provider()).is_ok());
}

fn keys(authority: &Authority) {
    let bob = caller("bob");
    let wanted = |uses| NewKey { label: "door".into(), uses, days: 1 };
    let (id, key, _) = authority.add_key(&bob, &wanted(1)).expect("makes a key");
    let (door, window) = (Node::new("door"), Node::new("window"));
    assert!(authority.login_with_key(&bob, &key, &door.record).expect("enrols").is_new);
    assert!(!authority.login_with_key(&bob, &key, &door.record).expect("again, for nothing").is_new);
    assert_eq!(code(authority.login_with_key(&bob, &key, &window.record)), Some(Code::NotAllowed));
    assert_eq!(code(authority.login_with_key(&caller("alice"), &key, &window.record)), Some(Code::Credentials));
    assert_eq!(code(authority.remove_key(&caller("alice"), &id)), Some(Code::NotFound));
    for wrong in [0, 10_001] {
        assert_eq!(code(authority.add_key(&bob, &wanted(wrong))), Some(Code::Invalid));
    }
    let bad_label = NewKey { label: "two\nlines".into(), uses: 1, days: 1 };
    assert_eq!(code(authority.add_key(&bob, &bad_label)), Some(Code::Invalid));
    let (second, _, _) = authority.add_key(&bob, &wanted(2)).expect("makes a key");
    let (third, _, _) = authority.add_key(&bob, &wanted(2)).expect("the one that is used up makes room");
    assert_eq!(code(authority.add_key(&bob, &wanted(2))), Some(Code::Full));
    let mut held: Vec<_> = authority.keys("bob").expect("lists").into_iter().map(|(id, _)| id).collect();
    let mut expected = vec![second, third.clone()];
    held.sort();
    expected.sort();
    assert_eq!(held, expected);
    authority.remove_key(&bob, &third).expect("removes");
    assert_eq!(authority.keys("bob").expect("lists").len(), 1);
}
