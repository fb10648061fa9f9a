//! What those get who have no right to the relay, and what its nodes notice of it.

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Node, Rs, body, exchange, pair, until};
use ntm_proto::crypto::Secret;
use ntm_proto::session::{GrantKey, TokenBody};
use ntm_proto::time::UnixTime;
use ntm_proto::wire::message::Side;
use ntm_proto::wire::outer::{self, PUNCH};
use ntm_relay::testing::{Client, grant_key, inner};
use ntm_server::clock::unix_now;

/// Sends what `make` makes from sockets of its own, until it is dropped.
struct Flood {
    ended: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Flood {
    fn start(to: SocketAddr, mut make: impl FnMut(u64) -> Vec<u8> + Send + 'static) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let [sent, received] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let thread = std::thread::spawn({
            let (ended, sent, received) = (ended.clone(), sent.clone(), received.clone());
            move || {
                // Addresses of 127.0.0.0/8 stand for so many sources.
                let sockets: Vec<_> = (0..32)
                    .map(|number| {
                        let socket = UdpSocket::bind((format!("127.9.{number}.1"), 0)).expect("a socket");
                        socket.set_nonblocking(true).expect("a socket");
                        socket
                    })
                    .collect();
                let mut answer = [0; 2_048];
                for number in 0_u64.. {
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    let datagram = make(number);
                    let socket = &sockets[number as usize % sockets.len()];
                    if socket.send_to(&datagram, to).is_ok() {
                        sent.fetch_add(datagram.len() as u64, Ordering::Relaxed);
                    }
                    while let Ok((length, _)) = socket.recv_from(&mut answer) {
                        received.fetch_add(length as u64, Ordering::Relaxed);
                    }
                }
            }
        });
        Self { ended, sent, received, thread: Some(thread) }
    }

    fn bytes(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A bind that is right in form.
fn forged_bind(key: &GrantKey, body: &TokenBody, side: Side, sequence: u64) -> Vec<u8> {
    outer::emit_relay_bind(side, sequence, &key.mint(body), Some(&[&PUNCH[..], &[0; 200]].concat()), |_| [7; 16])
}

/// How long datagrams of a node that behaves take through the relay: the median, and what 99 of 100 stay below.
fn crossings(a: &mut Node, b: &mut Node, count: u64) -> (Duration, Duration) {
    let mut times = Vec::new();
    let mut buffer = [0; 2_048];
    b.socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a socket");
    for tag in 0..count {
        let wanted = inner(1_000 + tag, 200);
        let start = Instant::now();
        until("a good node's datagram arrives through the flood", || {
            a.send(&a.client.relayed(&wanted));
            b.socket.recv_from(&mut buffer).is_ok_and(|(length, _)| buffer[..length].ends_with(&wanted))
        });
        times.push(start.elapsed());
    }
    times.sort();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

#[test]
fn a_flood_of_forged_binds_is_counted_and_answered_with_nothing_while_good_nodes_go_on() {
    let rs = Rs::start(&[]);
    let (mut a, mut b) = pair(1, rs.udp4, rs.udp4);
    exchange(&mut a, &mut b, &inner(1, 200));
    let quiet = crossings(&mut a, &mut b, 300);
    let stranger = GrantKey { key_id: 7, key: Secret::new([0xee; 32]) };
    let flood = Flood::start(rs.udp4, move |number| forged_bind(&stranger, &body(number), Side::Initiator, 1));
    until("the flood is there", || rs.dropped("bad_token") > 1_000);
    let flooded = crossings(&mut a, &mut b, 300);
    // New nodes are still let in.
    Node::new(&body(2), Side::Initiator, rs.udp6).bind();
    let (sent, received) = flood.bytes();
    println!("forged binds: {sent} bytes sent, {received} answered; a good node's datagrams, median and p99:");
    println!("  quiet {quiet:?}, flooded {flooded:?}");
    assert_eq!(received, 0);
    // Each worker tells its figures once in a while.
    until("both communications are held", || rs.metric("grants") == 2);
}

#[test]
fn tokens_that_are_expired_too_long_or_used_with_another_key_are_refused_each_for_its_reason() {
    let rs = Rs::start(&[]);
    let node = Node::new(&body(1), Side::Initiator, rs.udp4);
    let key = grant_key();
    // A minute ago: the server reads its calendar clock once in a while only.
    let past = UnixTime::from_millis(unix_now().as_millis() - 60_000);
    let expired = TokenBody { expires: past, ..body(1) };
    let too_long = TokenBody { expires: unix_now() + Duration::from_secs(48 * 3_600), ..body(2) };
    for (body, right_mac, reason) in
        [(expired, true, "token_expired"), (too_long, true, "token_too_long"), (body(3), false, "bad_mac")]
    {
        let mut client = Client::new(&body, Side::Initiator, "127.0.0.1:1");
        let bind = if right_mac { client.bind(None) } else { forged_bind(&key, &body, Side::Initiator, u64::MAX) };
        node.send(&bind);
        until(reason, || rs.dropped(reason) == 1);
    }
    assert_eq!(rs.metric("grants"), 0);
}

#[test]
fn a_replayed_bind_moves_nobody() {
    let rs = Rs::start(&[]);
    let (mut a, mut b) = pair(1, rs.udp4, rs.udp4);
    let overheard = a.client.bind(None);
    a.send(&overheard);
    until("it is answered", || {
        a.listen();
        a.client.observed.is_some() && rs.metric("binds_total") >= 3
    });
    let thief = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    thief.send_to(&overheard, rs.udp4).expect("sends");
    until("it is refused", || rs.dropped("replayed") == 1);
    exchange(&mut b, &mut a, &inner(1, 100));
}

#[test]
fn an_index_is_worth_nothing_at_another_address() {
    let rs = Rs::start(&[]);
    let (a, mut b) = pair(1, rs.udp4, rs.udp4);
    let thief = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    thief.send_to(&a.client.relayed(&inner(66, 100)), rs.udp4).expect("sends");
    until("it is refused", || rs.dropped("wrong_source") == 1);
    b.listen();
    assert!(b.client.received.is_empty());
}

#[test]
fn an_address_that_proves_nothing_gets_at_most_three_times_what_its_binds_weighed() {
    let rs = Rs::start(&[]);
    let body = body(1);
    // The one who floods is a node; the other has bound with the address of a victim, which says nothing.
    let mut speaker = Node::new(&body, Side::Initiator, rs.udp4);
    speaker.bind();
    let mut victim = Node::new(&body, Side::Responder, rs.udp4);
    let mut sent = 0;
    let mut received = 0;
    let mut buffer = [0; 2_048];
    until("its binds are answered", || {
        let bind = victim.client.bind(None);
        sent += bind.len();
        victim.send(&bind);
        received += victim.socket.recv_from(&mut buffer).map_or(0, |(length, _)| length);
        received > 0
    });
    for round in 0..40_u64 {
        if round % 10 == 0 {
            let bind = victim.client.bind(None);
            sent += bind.len();
            victim.send(&bind);
        }
        for tag in 0..10 {
            speaker.send(&speaker.client.relayed(&inner(tag, 700)));
        }
        while let Ok((length, _)) = victim.socket.recv_from(&mut buffer) {
            received += length;
        }
    }
    println!("the victim's address sent {sent} bytes and got {received}: {:.2} times", received as f64 / sent as f64);
    assert!(received <= 3 * sent, "{received} of {sent}");
}

#[test]
fn a_ping_is_answered_with_no_more_bytes_than_it_has_and_a_flood_of_them_not_at_all() {
    let rs = Rs::start(&[]);
    let flood = Flood::start(rs.udp4, outer::emit_relay_ping);
    until("they are too many", || rs.dropped("ping_flood") > 1_000);
    let (sent, received) = flood.bytes();
    println!("pings: {sent} bytes sent, {received} answered");
    assert!(received <= sent);
}

#[test]
fn garbage_is_dropped_and_nothing_else_happens() {
    let rs = Rs::start(&[]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut state = 1_u32;
    for round in 0..2_000_u32 {
        let datagram: Vec<u8> = (0..round % 200)
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Every known type, then anything.
                if at == 0 { (round % 12) as u8 } else { (state >> 24) as u8 }
            })
            .collect();
        socket.send_to(&datagram, rs.udp4).expect("sends");
    }
    let (mut a, mut b) = pair(1, rs.udp4, rs.udp6);
    exchange(&mut a, &mut b, &inner(1, 100));
    until("what was dropped shows", || rs.dropped("malformed") > 0 && rs.dropped("unexpected_type") > 0);
    until("what was not garbage shows", || rs.metric("grants") == 1);
}
