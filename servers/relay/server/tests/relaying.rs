//! What nodes get from a relay server: the real program, real sockets.

mod common;

use std::time::Instant;

use common::{Dc, Node, Rs, body, exchange, pair, until};
use ntm_proto::session::{Payer, TokenBody};
use ntm_proto::wire::message::Side;
use ntm_relay::limits::RATE_BURST_BYTES;
use ntm_relay::testing::inner;

#[test]
fn two_nodes_reach_each_other_whatever_family_each_of_them_has() {
    let rs = Rs::start(&[]);
    let ways = [(rs.udp4, rs.udp4), (rs.udp4, rs.udp6), (rs.udp6, rs.udp4), (rs.udp6, rs.udp6)];
    for (number, (here, there)) in (0..).zip(ways) {
        let (mut a, mut b) = pair(number, here, there);
        exchange(&mut a, &mut b, &inner(1, 1_200));
        exchange(&mut b, &mut a, &inner(2, 64));
    }
    until("each communication is counted", || rs.metric("grants") == 4);
}

#[test]
fn many_communications_go_on_side_by_side_on_all_workers() {
    let mut rs = Rs::prepare(&[]);
    rs.configure(&["workers = 3"]);
    rs.run();
    let mut pairs: Vec<_> = (0..30).map(|number| pair(number, rs.udp4, rs.udp6)).collect();
    for (tag, (a, b)) in (0..).zip(&mut pairs) {
        exchange(a, b, &inner(tag, 300));
        exchange(b, a, &inner(tag + 100, 300));
    }
    until("all of it is counted", || rs.metric("forwarded_datagrams_total") >= 60);
    assert_eq!(rs.metric("handed_over_total"), 0, "the kernel gives each datagram to its worker");
}

#[test]
fn one_socket_may_carry_communications_of_several_workers() {
    let mut rs = Rs::prepare(&[]);
    rs.configure(&["workers = 2"]);
    rs.run();
    let (mut a, mut b) = pair(0, rs.udp4, rs.udp4);
    let (mut c, mut d) = (Node::new(&body(1), Side::Initiator, rs.udp4), Node::new(&body(1), Side::Responder, rs.udp4));
    // The same node speaks to two others.
    c.socket = a.socket.try_clone().expect("a socket");
    c.bind();
    d.bind();
    for tag in 0..50 {
        for node in [&a, &c] {
            let datagram = node.client.relayed(&inner(tag, 1_000));
            node.send(&datagram);
        }
    }
    until("all arrives at both", || {
        b.listen();
        d.listen();
        b.client.received.len() >= 50 && d.client.received.len() >= 50
    });
    exchange(&mut b, &mut a, &inner(200, 99));
    exchange(&mut d, &mut c, &inner(201, 99));
}

#[test]
fn all_that_one_account_pays_for_shares_its_rate_on_a_relay_of_several_workers() {
    let mut rs = Rs::prepare(&[]);
    rs.configure(&["workers = 2", "rate_per_account = 1"]);
    rs.run();
    let began = Instant::now();
    // Their serial numbers agree modulo the workers, as the relay's report asks for.
    let pairs = [2, 4].map(|number| pair(number, rs.udp4, rs.udp6));
    until("far more is refused than may go at once", || {
        for (a, b) in &pairs {
            for node in [a, b] {
                node.send(&node.client.relayed(&inner(1, 1_000)));
            }
        }
        rs.metric("account_limited_bytes_total") > 300_000
    });
    let carried = rs.metric("forwarded_bytes_total") as f64;
    assert!(carried <= RATE_BURST_BYTES as f64 + 1_000.0 * began.elapsed().as_secs_f64(), "{carried} bytes");
    assert!(rs.dropped("account_rate_limited") > 290);

    let body = TokenBody { payer: Payer([1; 3]), ..body(6) };
    let [mut a, mut b] = [Side::Initiator, Side::Responder].map(|side| Node::new(&body, side, rs.udp4));
    a.bind();
    b.bind();
    exchange(&mut a, &mut b, &inner(2, 1_000));
}

#[test]
fn a_relay_that_was_killed_and_started_again_serves_nodes_as_soon_as_they_bind() {
    let dc = Dc::start();
    let mut rs = Rs::start_at_fixed_ports(&[&dc]);
    let (mut a, mut b) = pair(5, rs.udp4, rs.udp6);
    exchange(&mut a, &mut b, &inner(1, 500));
    until("the direction server hears of it", || dc.has_report(|_| true));
    rs.kill();
    dc.server.lock().expect("no panic").reports.clear();
    rs.run();
    a.bind();
    b.bind();
    exchange(&mut a, &mut b, &inner(2, 500));
    exchange(&mut b, &mut a, &inner(3, 500));
    until("the direction server hears of it again", || dc.has_report(|_| true));
}
