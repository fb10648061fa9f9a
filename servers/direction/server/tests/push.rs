//! Sleeping nodes are woken through the push gateway.

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ntm_node::Event;
use ntm_proto::crypto::{Secret, derive};
use ntm_proto::wire::message::Target;
use ntm_raw_node::{Fleet, Happened};
use ntm_server::hex;
use support::{Dc, Domain, PATIENCE, fqdn, loopback, register_all, write_secret};

/// A call of the gateway: time, signature, body.
type Call = (u64, String, String);

/// A gateway that fails at first, and gives every call.
fn gateway() -> (SocketAddr, Receiver<Call>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let (calls, received) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let mut reader = BufReader::new(stream.try_clone().expect("clones"));
            let (mut length, mut time, mut signature) = (0, 0, String::new());
            for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                let Some((name, value)) = line.split_once(": ") else { continue };
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.parse().expect("a number"),
                    "ntm-time" => time = value.parse().expect("a number"),
                    "ntm-signature" => signature = value.to_owned(),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("the body");
            let status = if number == 0 { "503 Busy" } else { "204 No Content" };
            let _ = write!(&stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            if calls.send((time, signature, String::from_utf8(body).expect("JSON"))).is_err() {
                return;
            }
        }
    });
    (address, received)
}

#[test]
fn a_node_that_sleeps_through_a_restart_is_woken_and_found() {
    let domain = Domain::new("ntm.example");
    let (address, calls) = gateway();
    let mut dc = Dc::prepare(&domain, "dc1", "");
    let key = [7; 32];
    write_secret(&dc.folder.join("push.key"), hex::encode(&key).as_bytes());
    let push = format!("[push]\nurl = \"http://{address}/wake\"\nkey = {:?}", dc.folder.join("push.key"));
    dc.configure(&format!("{:?}", dc.folder.join("registry.redb")), &push);
    dc.run();
    let mut fleet = Fleet::new().expect("a poll");
    let awake = fleet.add(&domain.node("a", std::slice::from_ref(&dc.cert)), loopback()).expect("a socket");
    let mut identity = domain.node("b", std::slice::from_ref(&dc.cert));
    identity.wake_token = Some(b"token of b".to_vec());
    let asleep = fleet.add(&identity, loopback()).expect("a socket");
    register_all(&mut fleet);
    fleet.stop(asleep);
    dc.kill();
    dc.run();

    let back = fleet.drive_until(PATIENCE * 2, |_, _| dc.metric("nodes_online") == 1);
    assert!(back.expect("drives"));
    fleet.connect(awake, Target::Name(fqdn("b.ntm.example"))).expect("asks");
    let mut called = Vec::new();
    let heard = fleet.drive_until(PATIENCE, |_, _| {
        called.extend(calls.try_iter());
        called.len() >= 2
    });
    assert!(heard.expect("drives"), "the gateway was not called again after it failed");
    let (time, signature, body) = called.remove(1);
    let expected = derive(&Secret::new(key), &[b"NTM wake", &time.to_be_bytes(), body.as_bytes()]);
    assert_eq!(signature, hex::encode(expected.expose()));
    assert!(body.contains("dG9rZW4gb2YgYg=="), "{body}");
    fleet.wake(asleep);
    let up = fleet.drive_until(PATIENCE + Duration::from_secs(1), |_, happened| {
        happened.iter().any(|(node, what)| *node == awake && matches!(what, Happened::Event(Event::PeerUp { .. })))
    });
    assert!(up.expect("drives"), "woken and not found");
}
