//! What attackers send, and that others are served meanwhile.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::harness::{Client, PASSWORD, Setting, World, raw, read_to_end};

#[test]
fn tls_before_1_3_is_not_spoken() {
    let world = World::new();
    let mut old =
        raw(&world.domain, world.server.addresses[0], &[&rustls::version::TLS12]).map_err(|why| why.to_string());
    let refused = match &mut old {
        Err(_) => true,
        Ok(stream) => {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").is_err() || stream.read(&mut [0]).is_err()
        }
    };
    assert!(refused);
    let mut new = world.raw();
    new.write_all(b"GET /v1/session HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("sent");
    assert!(read_to_end(&mut new).starts_with("HTTP/1.1 401"));
}

#[test]
fn oversized_requests_are_refused_and_not_read() {
    let world = World::new();
    let big = world.client.ask("POST", "/v1/session").header("content-type", "application/json");
    assert_eq!(big.bytes(vec![b' '; 200_000]).send().error(), "too_large");
    let huge = world.client.ask("POST", "/v1/session").header("content-type", "application/json");
    // The server does not read on; a client that insists finds the connection closed.
    let answer = huge.bytes(vec![b' '; 8_000_000]).try_send();
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 413));
    let mut stream = world.raw();
    let declared = "POST /v1/session HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                    content-length: 999999999999\r\n\r\n{";
    stream.write_all(declared.as_bytes()).expect("sent");
    assert!(read_to_end(&mut stream).starts_with("HTTP/1.1 413"));
    let mut stream = world.raw();
    let head = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    let _ = stream.write_all(head.as_bytes());
    let answer = read_to_end(&mut stream);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let mut stream = world.raw();
    let many: String = (0..200).map(|number| format!("x{number}: y\r\n")).collect();
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: localhost\r\n{many}\r\n").as_bytes()).expect("sent");
    assert!(read_to_end(&mut stream).starts_with("HTTP/1.1 431"));
}

#[test]
fn nonsense_is_refused_and_harms_nobody() {
    let world = World::new();
    for nonsense in ["\r\n\r\n\r\n\r\n", "GET\r\n\r\n", "\0\u{1}\u{2}\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let mut stream = world.raw();
        let _ = stream.write_all(nonsense.as_bytes());
        stream.sock.shutdown(std::net::Shutdown::Write).expect("shut");
        assert!(!read_to_end(&mut stream).starts_with("HTTP/1.1 2"), "{nonsense:?}");
    }
    for body in ["", "{", "[]", "null", "{\"account\":1}", "{\"account\":\"\u{0}\",\"password\":\"\u{0}\"}"] {
        let ask = world.client.ask("POST", "/v1/session").header("content-type", "application/json");
        let answer = ask.bytes(body.as_bytes().to_vec()).send();
        assert_eq!((answer.status, answer.error()), (400, "invalid".into()), "{body}");
    }
    let nul = json!({ "account": "a\u{0}b", "password": "x\u{0}yyyyyyyyy" });
    assert_eq!(world.client.post("/v1/session", &nul).error(), "credentials");
    assert_eq!(world.client.post("/v1/accounts", &nul).error(), "invalid");
    assert_eq!(world.client.sign_up("alice").status, 201);
    assert!(!world.server.said().contains("panicked"), "{}", world.server.said());
}

#[test]
fn connections_that_dawdle_are_cut_off_and_others_served_meanwhile() {
    let world = World::new();
    let began = Instant::now();
    let heads: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = world.raw();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: loc").expect("sent");
            stream
        })
        .collect();
    let bodies: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = world.raw();
            let head = "POST /v1/session HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                        content-length: 100\r\n\r\n{";
            stream.write_all(head.as_bytes()).expect("sent");
            stream
        })
        .collect();
    let silent: Vec<_> =
        (0..20).map(|_| std::net::TcpStream::connect(world.server.addresses[0]).expect("connects")).collect();
    assert_eq!(world.client.sign_up("alice").status, 201);
    for mut stream in heads {
        let answer = read_to_end(&mut stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    for mut stream in bodies {
        let answer = read_to_end(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    for mut stream in silent {
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        let mut left = Vec::new();
        assert!(stream.read_to_end(&mut left).is_ok(), "closed, not left open");
    }
    println!("60 dawdling connections were gone after {:?}", began.elapsed());
    assert_eq!(world.client.sign_up("bob").status, 201);
}

#[test]
fn one_address_cannot_take_all_connections() {
    let setting = Setting { tables: "[limits]\nconnections_per_address = 8\n".into(), ..Default::default() };
    let world = World::with(&setting);
    let held: Vec<_> = (0..50).filter_map(|_| std::net::TcpStream::connect(world.server.addresses[0]).ok()).collect();
    assert_eq!(world.elsewhere().sign_up("alice").status, 201);
    drop(held);
}

#[test]
fn guessing_a_password_locks_the_guesser_and_not_the_owner() {
    let world = World::new();
    world.client.member("alice");
    let statuses: Vec<_> = (0..7).map(|_| world.client.try_sign_in("alice", "a wrong password").status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429]);
    let right = world.client.try_sign_in("alice", PASSWORD);
    assert_eq!(right.status, 429, "the right one is not told from the wrong ones while locked");
    assert!((1..=30).contains(&right.header("retry-after").parse::<u64>().expect("seconds")));
    world.elsewhere().sign_in("alice", PASSWORD);
    let admin = world.elsewhere().admin();
    super::harness::wait_for("the lock in the log", || {
        admin.get("/v1/admin/audit").text().contains("locked after wrong secrets").then_some(())
    });
}

#[test]
fn a_name_that_does_not_exist_is_answered_like_one_that_does() {
    let world = World::new();
    world.client.member("alice");
    let answers = |account: &str| -> Vec<_> {
        let guess = |_| world.client.try_sign_in(account, "a wrong password");
        (0..7).map(guess).map(|answer| (answer.status, answer.text())).collect()
    };
    let (exists, invented) = (answers("alice"), answers("nobody-here"));
    assert_eq!(exists, invented);
}

#[test]
fn guesses_sent_all_at_once_are_no_better() {
    let world = World::new();
    world.client.member("alice");
    let address = world.server.addresses[0];
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let guess = || Client::new(&world.domain, address).try_sign_in("alice", "a wrong password").status;
        let guesses: Vec<_> = (0..24).map(|_| scope.spawn(guess)).collect();
        guesses.into_iter().map(|guess| guess.join().expect("asked")).collect()
    });
    let tried = statuses.iter().filter(|status| **status == 401).count();
    assert!((1..=5).contains(&tried), "{statuses:?}");
}

#[test]
fn guessing_enrolment_keys_locks_as_well() {
    let world = World::new();
    let key = world.client.member("alice").new_key(5);
    let node = super::harness::Node::new("printer");
    let wrong = format!("ntm-{}-{}", "0".repeat(12), "0".repeat(64));
    let guess = |secret: &str| world.client.login("alice", ("enrolment_key", secret), &node).status;
    let statuses: Vec<_> = (0..6).map(|_| guess(&wrong)).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
    assert_eq!(guess(&key), 429);
}

#[test]
fn another_sites_page_changes_nothing() {
    let world = World::new();
    let alice = world.client.member("alice");
    let make = || alice.ask("POST", "/v1/enrolment-keys").json(&json!({}));
    assert_eq!(make().header("origin", "https://evil.example").send().error(), "cross_site");
    assert_eq!(make().header("origin", "null").send().error(), "cross_site");
    assert_eq!(make().header("sec-fetch-site", "cross-site").send().error(), "cross_site");
    assert_eq!(make().header("sec-fetch-site", "same-site").send().error(), "cross_site");
    let no_word = world.client.ask("POST", "/v1/enrolment-keys").header("cookie", &alice.cookie).json(&json!({}));
    assert_eq!(no_word.send().error(), "cross_site");
    let bob = world.client.member("bob");
    let others_word = world.client.ask("POST", "/v1/enrolment-keys").header("cookie", &alice.cookie);
    assert_eq!(others_word.header("x-csrf-token", &bob.csrf).json(&json!({})).send().error(), "cross_site");
    let form = world.client.ask("POST", "/keys").header("cookie", &alice.cookie);
    assert_eq!(form.form(&[("uses", "1"), ("days", "1"), ("csrf", "guessed")]).send().status, 403);
    let as_text = alice.ask("POST", "/v1/enrolment-keys").header("content-type", "text/plain").bytes(b"{}".to_vec());
    assert_eq!(as_text.send().error(), "invalid", "a form without scripts cannot send JSON");
    assert_eq!(alice.get("/v1/enrolment-keys").json()["keys"], json!([]));
    let own = make().header("origin", &world.server.url()).header("sec-fetch-site", "same-origin").send();
    assert_eq!(own.status, 201);
}

#[test]
fn a_session_that_was_planted_is_not_the_one_that_begins() {
    let world = World::new();
    let mallory = world.client.member("mallory");
    world.client.sign_up("alice");
    let victim = world.client.ask("POST", "/v1/session").header("cookie", &mallory.cookie);
    let answer = victim.json(&json!({ "account": "alice", "password": PASSWORD })).send();
    let cookie = answer.header("set-cookie");
    assert!(!cookie.starts_with(&mallory.cookie), "a fresh token");
    for attribute in ["; Secure", "; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(cookie.starts_with("__Host-ntm=") && !cookie.contains("Domain"), "{cookie}");
    assert_eq!(mallory.get("/v1/session").status, 401, "the planted one is over");
    let invented = format!("__Host-ntm=alice.{}", "0".repeat(64));
    assert_eq!(world.client.ask("GET", "/v1/session").header("cookie", &invented).send().status, 401);
}

#[test]
fn every_answer_forbids_what_no_page_needs() {
    let world = World::new();
    for path in ["/sign-in", "/v1/session", "/nowhere", "/style.css"] {
        let answer = world.client.get(path);
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert!(answer.header("strict-transport-security").contains("max-age"), "{path}");
    }
    assert_eq!(world.client.get("/v1/session").header("cache-control"), "no-store");
}

#[test]
fn a_flood_of_logins_leaves_a_good_client_served() {
    let world = World::with(&Setting { honest_hashes: true, ..Default::default() });
    let good = world.elsewhere();
    good.member("alice");
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicU64::new(0));
    let flood: Vec<_> = (0..8)
        .map(|thread| {
            let client = Client::new(&world.domain, world.server.addresses[0]);
            let (stop, asked) = (Arc::clone(&stop), Arc::clone(&asked));
            std::thread::spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let refused = client.try_sign_in(&format!("user{thread}x{number}"), "a wrong password");
                    assert!([401, 429, 503].contains(&refused.status), "{}", refused.status);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    super::harness::wait_for("the flood", || (asked.load(Ordering::Relaxed) > 100).then_some(()));
    let mut took: Vec<_> = (0..20)
        .map(|_| {
            let began = Instant::now();
            let served = good.try_sign_in("alice", PASSWORD).status;
            (began.elapsed(), served)
        })
        .collect();
    stop.store(true, Ordering::Relaxed);
    flood.into_iter().for_each(|thread| thread.join().expect("flooded"));
    assert!(took.iter().all(|(_, served)| *served == 200), "{took:?}");
    took.sort();
    println!(
        "{} refused logins meanwhile; a good client's sign-in took {:?} in the middle, {:?} at p99",
        asked.load(Ordering::Relaxed),
        took[took.len() / 2].0,
        took[took.len() - 1].0
    );
}
