//! kill -9 at random moments under load: what was acknowledged is there afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ntm_proto::rng::Rng;
use serde_json::json;

use super::harness::{Client, Domain, Node, PASSWORD, Session, Setting, wait_for};

/// How often the server is killed; `make crash-as` asks for 50.
const KILLS: u32 = 8;
const SEED: u64 = 0x6173;
const WORKERS: usize = 3;

/// What the server has acknowledged.
#[derive(Debug, Default)]
struct Acknowledged {
    accounts: Vec<String>,
    keys: Vec<(String, String)>,
    nodes: Vec<(String, String)>,
    revoked: Vec<String>,
}

#[test]
fn nothing_that_was_acknowledged_is_lost_by_kill_9() {
    let number = |name: &str, otherwise: u64| match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => otherwise,
    };
    let kills = number("NTM_AS_KILLS", u64::from(KILLS));
    let seed = number("NTM_AS_SEED", SEED);
    println!("replay with NTM_AS_SEED={seed} NTM_AS_KILLS={kills}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let mut rng = Rng::from_seed(bytes);
    let domain = Domain::new(&generous());
    let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));
    for round in 0..kills {
        let server = domain.start();
        let client = Client::new(&domain, server.addresses[0]);
        everything_is_there(&client, &acknowledged.lock().expect("whole"));
        let stop = Arc::new(AtomicBool::new(false));
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (client, stop) = (Client::new(&domain, server.addresses[0]), Arc::clone(&stop));
                let acknowledged = Arc::clone(&acknowledged);
                std::thread::spawn(move || work(&client, &format!("r{round}w{worker}"), &stop, &acknowledged))
            })
            .collect();
        if round == 0 {
            // So that on any machine there is something of every kind to be lost.
            wait_for("a revocation", || (!acknowledged.lock().expect("whole").revoked.is_empty()).then_some(()));
        }
        let until = Duration::from_millis(50 + rng.below(950));
        // The kill's moment is what is random here; nothing is waited for.
        std::thread::sleep(until);
        server.kill();
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().for_each(|worker| worker.join().expect("a worker ended well"));
    }
    let server = domain.start();
    let acknowledged = acknowledged.lock().expect("whole");
    everything_is_there(&Client::new(&domain, server.addresses[0]), &acknowledged);
    println!(
        "{kills} kills: {} accounts, {} keys, {} nodes, {} revocations acknowledged, none lost",
        acknowledged.accounts.len(),
        acknowledged.keys.len(),
        acknowledged.nodes.len(),
        acknowledged.revoked.len()
    );
}

fn generous() -> Setting {
    let limits = "[limits]\nrequests_burst = 1000000\nrequests_per_minute = 60000000\nlogins_burst = 1000000\n\
                  logins_per_minute = 60000000\n";
    Setting { tables: limits.into(), ..Default::default() }
}

/// Signs up, makes keys, enrols and revokes until the server is gone. Notes only what was acknowledged.
fn work(client: &Client, tag: &str, stop: &AtomicBool, acknowledged: &Mutex<Acknowledged>) {
    let note = |write: &dyn Fn(&mut Acknowledged)| write(&mut acknowledged.lock().expect("whole"));
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let account = format!("{tag}t{turn}");
        let sign_up = client.ask("POST", "/v1/accounts").json(&json!({ "account": account, "password": PASSWORD }));
        let Ok(answer) = sign_up.try_send() else { return };
        assert_eq!(answer.status, 201, "{}", answer.text());
        note(&|known| known.accounts.push(account.clone()));
        let sign_in = client.ask("POST", "/v1/session").json(&json!({ "account": account, "password": PASSWORD }));
        let Ok(answer) = sign_in.try_send() else { return };
        let cookie = answer.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
        let csrf = answer.json()["csrf"].as_str().expect("a word").to_owned();
        let session = Session { client: client.clone(), cookie, csrf };
        let Ok(answer) = session.ask("POST", "/v1/enrolment-keys").json(&json!({ "uses": 9 })).try_send() else {
            return;
        };
        let key = answer.json()["key"].as_str().expect("a key").to_owned();
        note(&|known| known.keys.push((account.clone(), key.clone())));
        let node = Node::new(&account);
        let login = json!({ "account": account, "enrolment_key": key, "record": node.record_text() });
        let Ok(answer) = client.ask("POST", "/v1/login").json(&login).try_send() else { return };
        assert_eq!(answer.status, 201, "{}", answer.text());
        let name = node.record.fqdn.to_string();
        note(&|known| known.nodes.push((account.clone(), name.clone())));
        let Ok(answer) = session.ask("DELETE", &format!("/v1/nodes/{name}")).try_send() else { return };
        assert_eq!(answer.status, 204, "{}", answer.text());
        note(&|known| known.revoked.push(node.id()));
    }
}

fn everything_is_there(client: &Client, acknowledged: &Acknowledged) {
    let admin = client.admin();
    let mut accounts = std::collections::BTreeSet::new();
    let mut after = String::new();
    loop {
        let page = admin.get(&format!("/v1/admin/accounts?after={after}")).json();
        let names: Vec<_> = page["accounts"].as_array().expect("a list").iter().collect();
        let names: Vec<String> = names.iter().map(|entry| entry["account"].as_str().expect("a name").into()).collect();
        let Some(last) = names.last() else { break };
        after = last.clone();
        accounts.extend(names);
    }
    acknowledged.accounts.iter().for_each(|account| assert!(accounts.contains(account), "account {account} is lost"));
    let revoked = client.get("/v1/revocations").json();
    let revoked: Vec<_> = revoked["nodes"].as_array().into_iter().flatten().filter_map(|id| id.as_str()).collect();
    let revoked: std::collections::BTreeSet<_> = revoked.into_iter().collect();
    acknowledged.revoked.iter().for_each(|id| assert!(revoked.contains(id.as_str()), "revocation of {id} is lost"));
    // Keys and nodes of the last accounts: each look costs a sign-in.
    for (account, key) in acknowledged.keys.iter().rev().take(12) {
        let session = client.sign_in(account, PASSWORD);
        let keys = session.get("/v1/enrolment-keys").text();
        let id = key.split('-').nth(1).expect("an id");
        assert!(keys.contains(id), "key {id} of {account} is lost: {keys}");
        let nodes = session.get("/v1/nodes").text();
        let known = acknowledged.nodes.iter().filter(|(owner, _)| owner == account);
        known.for_each(|(_, name)| assert!(nodes.contains(name), "node {name} is lost: {nodes}"));
    }
}
