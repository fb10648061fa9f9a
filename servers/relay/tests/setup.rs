//! Two nodes meet at a relay.

use core::time::Duration;

use ntm_proto::wire::message::Side;
use ntm_proto::wire::outer::{self, Outer, PUNCH, RELAY_BIND, RELAYED_HEADER};
use ntm_relay::testing::{Client, RELAY4, RELAY6, Rig, address, config, deliver, inner, join, token_body};
use ntm_relay::{DropReason, limits};

/// Says `datagram` and gives everybody what comes of it.
fn say(rig: &mut Rig, datagram: &[u8], speaker: &mut Client, other: &mut Client) {
    let sent = rig.say(speaker, datagram);
    deliver(&sent, &mut [speaker, other]);
}

fn both_orders(first_is_initiator: bool) {
    let mut rig = Rig::new(config());
    let (a, b) = Client::pair(1);
    let (mut first, mut second) = if first_is_initiator { (a, b) } else { (b, a) };

    let bind = first.bind(Some(&inner(1, 200)));
    say(&mut rig, &bind, &mut first, &mut second);
    assert_eq!(first.observed, Some(first.address));
    assert!(second.received.is_empty(), "nobody has said yet where the other is");

    let bind = second.bind(Some(&inner(2, 200)));
    say(&mut rig, &bind, &mut second, &mut first);
    assert_eq!(first.received, [inner(2, 200)]);
    assert_eq!(second.received, [inner(1, 200)], "what came with the first bind has waited");

    let datagram = first.relayed(&inner(3, 1_400));
    say(&mut rig, &datagram, &mut first, &mut second);
    assert_eq!(second.received.len(), 1, "too much for an address that may be forged");
    let datagram = second.relayed(&inner(4, 1_400));
    say(&mut rig, &datagram, &mut second, &mut first);
    assert_eq!(first.received.last(), Some(&inner(4, 1_400)));
    assert_eq!(second.received.last(), Some(&inner(3, 1_400)), "it has shown where it is");
}

#[test]
fn the_initiator_may_come_first() {
    both_orders(true);
}

#[test]
fn the_responder_may_come_first() {
    both_orders(false);
}

#[test]
fn a_datagram_that_comes_with_a_bind_goes_on_at_once_where_the_peer_is_there() {
    let mut rig = Rig::new(config());
    let (mut a, mut b) = Client::pair(1);
    let bind = b.bind(None);
    say(&mut rig, &bind, &mut b, &mut a);
    let punch = b.relayed(&PUNCH);
    say(&mut rig, &punch, &mut b, &mut a);
    assert!(a.received.is_empty(), "a punch is for the relay alone");

    let bind = a.bind(Some(&inner(1, 300)));
    let sent = rig.say(&a, &bind);
    assert_eq!(sent.len(), 2);
    deliver(&sent, &mut [&mut a, &mut b]);
    assert!(a.index.is_some());
    assert_eq!(b.received, [inner(1, 300)]);
    assert_eq!(sent[1].datagram.len(), RELAYED_HEADER + 300);
    assert!(matches!(Outer::parse(&sent[1].datagram), Ok(Outer::Relayed { index, .. }) if Some(index) == b.index));
}

#[test]
fn a_padded_bind_makes_room_for_a_handshake_that_waits() {
    let mut rig = Rig::new(config());
    let (mut a, mut b) = Client::pair(1);
    let bind = a.bind(Some(&inner(1, 600)));
    say(&mut rig, &bind, &mut a, &mut b);

    let mut padding = vec![0; 200];
    padding[..PUNCH.len()].copy_from_slice(&PUNCH);
    let bind = b.bind(Some(&padding));
    say(&mut rig, &bind, &mut b, &mut a);
    assert_eq!(b.received, [inner(1, 600)]);
    assert!(a.received.is_empty());
}

#[test]
fn a_node_on_ipv4_and_a_node_on_ipv6_reach_each_other() {
    let mut rig = Rig::new(config());
    let body = token_body(1);
    let mut a = Client::new(&body, Side::Initiator, "192.0.2.1:1000");
    let mut b = Client::new(&body, Side::Responder, "[2001:db8:2::2]:2000");
    join(&mut rig, &mut a, &mut b);

    let sent = rig.say(&a, &a.relayed(&inner(1, 1_400)));
    assert_eq!((sent[0].from, sent[0].to), (address(RELAY6), b.address));
    deliver(&sent, &mut [&mut a, &mut b]);
    let sent = rig.say(&b, &b.relayed(&inner(2, 1_400)));
    assert_eq!((sent[0].from, sent[0].to), (address(RELAY4), a.address));
    deliver(&sent, &mut [&mut a, &mut b]);
    assert_eq!((a.received, b.received), (vec![inner(2, 1_400)], vec![inner(1, 1_400)]));
}

#[test]
fn binding_again_from_the_same_address_keeps_the_index() {
    let mut rig = Rig::new(config());
    let (mut a, mut b) = Client::pair(1);
    join(&mut rig, &mut a, &mut b);
    let index = a.index;
    let bind = a.bind(None);
    say(&mut rig, &bind, &mut a, &mut b);
    assert_eq!(a.index, index);
    assert_eq!(rig.relay.stats().rebinds, 0);
}

#[test]
fn what_waits_too_long_is_forgotten() {
    let mut rig = Rig::new(config());
    let (mut a, mut b) = Client::pair(1);
    let bind = a.bind(Some(&inner(1, 200)));
    say(&mut rig, &bind, &mut a, &mut b);
    assert_eq!(rig.relay.stats().held_bytes, RELAYED_HEADER + 200);
    rig.advance(limits::HELD_FOR);
    assert_eq!(rig.relay.stats().held_bytes, 0);
    assert_eq!(rig.relay.stats().dropped(DropReason::HoldExpired), 1);
    let bind = b.bind(None);
    say(&mut rig, &bind, &mut b, &mut a);
    assert!(b.received.is_empty());
}

#[test]
fn only_a_few_datagrams_wait_for_one_side() {
    let mut rig = Rig::new(config());
    let (mut a, mut b) = Client::pair(1);
    let bind = a.bind(None);
    say(&mut rig, &bind, &mut a, &mut b);
    for tag in 0..10 {
        let datagram = a.relayed(&inner(tag, 60));
        say(&mut rig, &datagram, &mut a, &mut b);
    }
    assert_eq!(rig.relay.stats().dropped(DropReason::HoldFull), 10 - limits::MAX_HELD as u64);
    let large = a.relayed(&inner(99, limits::MAX_HELD_BYTES));
    say(&mut rig, &large, &mut a, &mut b);
    assert_eq!(rig.relay.stats().dropped(DropReason::HoldFull), 11 - limits::MAX_HELD as u64);
    let bind = b.bind(None);
    say(&mut rig, &bind, &mut b, &mut a);
    let punch = b.relayed(&PUNCH);
    say(&mut rig, &punch, &mut b, &mut a);
    let expected: Vec<_> = (0..limits::MAX_HELD as u64).map(|tag| inner(tag, 60)).collect();
    assert_eq!(b.received, expected);
}

#[test]
fn an_inner_datagram_a_relay_does_not_forward_leaves_the_bind_good() {
    let mut rig = Rig::new(config());
    let (mut a, mut b) = Client::pair(1);
    join(&mut rig, &mut a, &mut b);
    let nested = b.relayed(&inner(1, 100));
    let ping = outer::emit_relay_ping(1);
    let bind = b.bind(None);
    for forbidden in [&nested, &ping, &bind] {
        let bind = a.bind(Some(forbidden));
        assert_eq!(bind.len(), RELAY_BIND + forbidden.len());
        say(&mut rig, &bind, &mut a, &mut b);
        let datagram = a.relayed(forbidden);
        say(&mut rig, &datagram, &mut a, &mut b);
    }
    assert!(b.received.is_empty());
    assert_eq!(rig.relay.stats().dropped(DropReason::InnerForbidden), 6);
    assert_eq!(rig.relay.stats().binds, 2 + 3);
}

#[test]
fn several_communications_do_not_touch_each_other() {
    let mut rig = Rig::new(config());
    let mut pairs: Vec<_> = (0..50).map(Client::pair).collect();
    for (number, (a, b)) in pairs.iter_mut().enumerate() {
        a.move_to(&format!("192.0.2.1:{}", 1_000 + number));
        b.move_to(&format!("203.0.113.2:{}", 2_000 + number));
        join(&mut rig, a, b);
    }
    rig.advance(Duration::from_secs(60));
    for (number, (a, b)) in pairs.iter_mut().enumerate() {
        let datagram = a.relayed(&inner(number as u64, 500));
        say(&mut rig, &datagram, a, b);
        assert_eq!(b.received, [inner(number as u64, 500)]);
    }
    assert_eq!(rig.relay.stats().grants, 50);
}
