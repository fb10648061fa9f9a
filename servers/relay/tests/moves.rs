//! A node changes its network while its traffic goes through a relay.

use core::time::Duration;

use ntm_proto::id::RelayIndex;
use ntm_proto::wire::outer::{self, PUNCH};
use ntm_relay::testing::{Client, Rig, config, deliver, inner, join};
use ntm_relay::{DropReason, limits};

fn joined() -> (Rig, Client, Client) {
    let mut rig = Rig::new(config());
    let (mut a, mut b) = Client::pair(1);
    join(&mut rig, &mut a, &mut b);
    (rig, a, b)
}

/// Moves `a`, with or without a datagram in its bind.
fn rebind(rig: &mut Rig, a: &mut Client, b: &mut Client, to: &str, inner: Option<&[u8]>) -> RelayIndex {
    let before = a.index.expect("bound");
    a.move_to(to);
    let bind = a.bind(inner);
    let sent = rig.say(a, &bind);
    deliver(&sent, &mut [a, b]);
    before
}

#[test]
fn traffic_goes_to_the_new_address_as_soon_as_it_has_bound() {
    let (mut rig, mut a, mut b) = joined();
    let old_index = rebind(&mut rig, &mut a, &mut b, "198.18.0.77:999", Some(&inner(1, 200)));
    assert_ne!(a.index, Some(old_index), "a new address has a new index");
    assert_eq!(b.received, [inner(1, 200)], "what came with the bind went on");

    let sent = rig.say(&b, &b.relayed(&inner(2, 100)));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].to, a.address);
    let sent = rig.say(&a, &a.relayed(&inner(3, 1_400)));
    deliver(&sent, &mut [&mut a, &mut b]);
    let sent = rig.say(&b, &b.relayed(&inner(4, 1_400)));
    assert_eq!(sent[0].to, a.address);
    assert_eq!(b.received.last(), Some(&inner(3, 1_400)));
}

#[test]
fn a_node_may_move_from_ipv4_to_ipv6() {
    let (mut rig, mut a, mut b) = joined();
    rebind(&mut rig, &mut a, &mut b, "[2001:db8:9::9]:999", None);
    let sent = rig.say(&a, &a.relayed(&inner(1, 1_400)));
    deliver(&sent, &mut [&mut a, &mut b]);
    let sent = rig.say(&b, &b.relayed(&inner(2, 1_400)));
    deliver(&sent, &mut [&mut a, &mut b]);
    assert_eq!((a.received, b.received), (vec![inner(2, 1_400)], vec![inner(1, 1_400)]));
}

#[test]
fn a_node_that_turns_to_another_address_of_the_relay_is_answered_from_there() {
    let (mut rig, mut a, mut b) = joined();
    let other = "198.51.100.1:443".parse().unwrap();
    a.relay = other;
    let bind = a.bind(None);
    let sent = rig.say(&a, &bind);
    assert_eq!(sent[0].from, other);
    deliver(&sent, &mut [&mut a, &mut b]);
    let sent = rig.say(&b, &b.relayed(&inner(1, 100)));
    assert_eq!((sent[0].from, sent[0].to), (other, a.address));
}

#[test]
fn what_was_on_its_way_when_the_node_moved_still_arrives_within_the_grace() {
    let (mut rig, mut a, mut b) = joined();
    let (old_address, late) = (a.address, a.relayed(&inner(1, 1_400)));
    rebind(&mut rig, &mut a, &mut b, "198.18.0.77:999", None);

    rig.advance(limits::REBIND_GRACE - Duration::from_nanos(1));
    let sent = rig.input(a.relay, old_address, &late);
    deliver(&sent, &mut [&mut a, &mut b]);
    assert_eq!(b.received, [inner(1, 1_400)]);

    assert!(rig.input(a.relay, a.address, &late).is_empty(), "the old index belongs to the old address");
    assert_eq!(rig.relay.stats().dropped(DropReason::WrongSource), 1);

    rig.advance(Duration::from_nanos(1));
    assert!(rig.input(a.relay, old_address, &late).is_empty());
    assert_eq!(rig.relay.stats().dropped(DropReason::UnknownIndex), 1, "the index is forgotten");
}

#[test]
fn the_grace_is_over_in_time_even_where_the_driver_is_late() {
    let (mut rig, mut a, mut b) = joined();
    let (old_address, late) = (a.address, a.relayed(&inner(1, 1_400)));
    rebind(&mut rig, &mut a, &mut b, "198.18.0.77:999", None);
    rig.now += limits::REBIND_GRACE;
    assert!(rig.input(a.relay, old_address, &late).is_empty());
    assert_eq!(rig.relay.stats().dropped(DropReason::LeftIndex), 1);
}

#[test]
fn what_is_too_much_for_the_unproven_address_waits_and_then_goes_to_the_old_one() {
    let (mut rig, mut a, mut b) = joined();
    let old_address = a.address;
    rebind(&mut rig, &mut a, &mut b, "198.18.0.77:999", None);
    let mut to_old = 0;
    for tag in 0..20 {
        for transmit in rig.say(&b, &b.relayed(&inner(tag, 1_400))) {
            assert_eq!(transmit.to, old_address);
            to_old += 1;
        }
    }
    assert_eq!(to_old, 20 - limits::MAX_HELD);
    let sent = rig.say(&a, &a.relayed(&PUNCH));
    deliver(&sent, &mut [&mut a, &mut b]);
    assert_eq!(a.received.len(), limits::MAX_HELD, "what waited comes when the address is proven");
    let sent = rig.say(&b, &b.relayed(&inner(99, 1_400)));
    assert_eq!(sent[0].to, a.address);
}

#[test]
fn a_node_may_go_back_to_where_it_was() {
    let (mut rig, mut a, mut b) = joined();
    let home = a.address.to_string();
    rebind(&mut rig, &mut a, &mut b, "198.18.0.77:999", None);
    rebind(&mut rig, &mut a, &mut b, &home, None);
    let sent = rig.say(&a, &a.relayed(&inner(1, 1_400)));
    deliver(&sent, &mut [&mut a, &mut b]);
    let sent = rig.say(&b, &b.relayed(&inner(2, 1_400)));
    deliver(&sent, &mut [&mut a, &mut b]);
    assert_eq!((a.received, b.received), (vec![inner(2, 1_400)], vec![inner(1, 1_400)]));
}

#[test]
fn both_nodes_may_move_at_once() {
    let (mut rig, mut a, mut b) = joined();
    a.move_to("198.18.0.1:1");
    b.move_to("[2001:db8:9::9]:2");
    let (bind_a, bind_b) = (a.bind(Some(&inner(1, 100))), b.bind(Some(&inner(2, 100))));
    let mut sent = rig.say(&a, &bind_a);
    sent.extend(rig.say(&b, &bind_b));
    for client in [&mut a, &mut b] {
        deliver(&sent, &mut [client]);
    }
    assert_eq!(a.received, [inner(2, 100)]);
    let sent = rig.say(&b, &b.relayed(&PUNCH));
    deliver(&sent, &mut [&mut a, &mut b]);
    // The first went to where the other had been: its index there is not the one it has now.
    for (tag, from_a) in [(3, true), (4, false)] {
        let speaker = if from_a { &a } else { &b };
        let sent = rig.say(speaker, &speaker.relayed(&inner(tag, 1_400)));
        deliver(&sent, &mut [&mut a, &mut b]);
    }
    let sent = rig.say(&a, &a.relayed(&PUNCH));
    deliver(&sent, &mut [&mut a, &mut b]);
    assert_eq!(a.received.last(), Some(&inner(4, 1_400)));
    assert_eq!(b.received.last(), Some(&inner(3, 1_400)));
}

#[test]
fn a_bind_that_arrives_after_a_newer_one_moves_nobody_back() {
    let (mut rig, mut a, b) = joined();
    let old_address = a.address;
    let slow = a.bind(None);
    a.move_to("198.18.0.77:999");
    let quick = a.bind(None);
    let sent = rig.say(&a, &quick);
    deliver(&sent, &mut [&mut a]);
    assert!(rig.input(a.relay, old_address, &slow).is_empty());
    assert_eq!(rig.relay.stats().dropped(DropReason::Replayed), 1);
    let sent = rig.say(&b, &b.relayed(&inner(1, 100)));
    assert_eq!(sent[0].to, a.address);
}

#[test]
fn many_moves_leave_no_index_behind() {
    let (mut rig, mut a, mut b) = joined();
    let mut indices = Vec::new();
    for port in 1_000..1_100 {
        indices.push(rebind(&mut rig, &mut a, &mut b, &format!("198.18.0.77:{port}"), None));
    }
    rig.advance(limits::REBIND_GRACE);
    let before = rig.relay.stats().dropped(DropReason::UnknownIndex);
    for index in &indices {
        rig.input(a.relay, a.address, &outer::emit_relayed(*index, &inner(1, 100)));
    }
    assert_eq!(rig.relay.stats().dropped(DropReason::UnknownIndex) - before, indices.len() as u64);
}
