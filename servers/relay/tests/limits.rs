//! Rates, bounds and lives.

use core::time::Duration;

use ntm_proto::wire::message::Side;
use ntm_proto::wire::outer::{self, Outer, PUNCH, RELAY_PING};
use ntm_relay::testing::{Client, EPOCH, RELAY4, Rig, address, config, deliver, inner, join, token_body};
use ntm_relay::{DropReason, Timer, limits};

#[test]
fn a_grant_carries_its_rate_and_no_more() {
    let mut rig = Rig::new(config());
    let mut body = token_body(1);
    body.rate = 1_000;
    let mut a = Client::new(&body, Side::Initiator, "192.0.2.1:1000");
    let mut b = Client::new(&body, Side::Responder, "203.0.113.2:2000");
    join(&mut rig, &mut a, &mut b);
    rig.advance(Duration::from_secs(10));

    // Each direction asks for two and a half times the rate, which is that of each.
    let before = rig.relay.stats().forwarded_bytes;
    for tag in 0..1_000 {
        rig.say(&a, &a.relayed(&inner(tag, 1_242)));
        rig.say(&b, &b.relayed(&inner(tag, 1_242)));
        rig.advance(Duration::from_micros(500));
    }
    let carried = rig.relay.stats().forwarded_bytes - before;
    let permitted = 2 * (500_000 + 250_000);
    assert!((permitted - 10_000..permitted + 2_500).contains(&carried), "{carried} of {permitted}");
    assert!(rig.relay.stats().dropped(DropReason::RateLimited) > 500);

    rig.advance(Duration::from_secs(1));
    let sent = rig.say(&a, &a.relayed(&inner(9, 1_242)));
    assert_eq!(sent.len(), 1, "after a pause it goes on");
}

#[test]
fn one_grants_rate_does_not_slow_another() {
    let mut rig = Rig::new(config());
    let mut body = token_body(1);
    body.rate = 1;
    let mut a = Client::new(&body, Side::Initiator, "192.0.2.1:1000");
    let mut b = Client::new(&body, Side::Responder, "203.0.113.2:2000");
    join(&mut rig, &mut a, &mut b);
    let (mut c, mut d) = Client::pair(2);
    c.move_to("192.0.2.3:3");
    d.move_to("192.0.2.4:4");
    join(&mut rig, &mut c, &mut d);
    for tag in 0..500 {
        rig.say(&a, &a.relayed(&inner(tag, 1_400)));
        assert_eq!(rig.say(&c, &c.relayed(&inner(tag, 1_400))).len(), 1);
    }
    assert!(rig.relay.stats().dropped(DropReason::RateLimited) > 400);
}

#[test]
fn a_grant_that_nobody_uses_is_forgotten() {
    let mut rig = Rig::new(config());
    let (mut a, mut b) = Client::pair(1);
    join(&mut rig, &mut a, &mut b);
    rig.advance(limits::GRANT_IDLE - Duration::from_nanos(1));
    assert_eq!(rig.relay.stats().grants, 1);
    rig.advance(Duration::from_nanos(1));
    assert_eq!((rig.relay.stats().grants, rig.relay.stats().grants_idle), (0, 1));
    assert!(rig.say(&a, &a.relayed(&inner(1, 100))).is_empty());
    assert_eq!(rig.relay.stats().dropped(DropReason::UnknownIndex), 1);

    // The token is still good: the nodes bind again and go on.
    (a.index, b.index) = (None, None);
    join(&mut rig, &mut a, &mut b);
    deliver(&rig.say(&a, &a.relayed(&inner(2, 100))), &mut [&mut b]);
    assert_eq!(b.received, [inner(2, 100)]);
}

#[test]
fn traffic_binds_and_punches_each_keep_a_grant() {
    let mut rig = Rig::new(config());
    let mut body = token_body(1);
    body.expires = EPOCH + Duration::from_secs(7_200);
    let mut a = Client::new(&body, Side::Initiator, "192.0.2.1:1000");
    let mut b = Client::new(&body, Side::Responder, "203.0.113.2:2000");
    join(&mut rig, &mut a, &mut b);
    for turn in 0..12 {
        rig.advance(limits::GRANT_IDLE - Duration::from_secs(1));
        let datagram = match turn % 3 {
            0 => a.relayed(&inner(turn, 100)),
            1 => a.bind(None),
            _ => a.relayed(&PUNCH),
        };
        rig.say(&a, &datagram);
    }
    assert_eq!((rig.relay.stats().grants, rig.relay.stats().grants_made), (1, 1));
}

#[test]
fn a_grant_ends_with_its_token_however_busy_it_is() {
    let mut rig = Rig::new(config());
    let (mut a, mut b) = Client::pair(1);
    join(&mut rig, &mut a, &mut b);
    for tag in 0..36 {
        rig.advance(Duration::from_secs(99));
        assert_eq!(rig.say(&a, &a.relayed(&inner(tag, 100))).len(), 1);
    }
    // The driver is late with the timer, and the grant is over all the same.
    rig.now += Duration::from_secs(36);
    assert!(rig.say(&a, &a.relayed(&inner(99, 100))).is_empty());
    assert_eq!(rig.relay.stats().dropped(DropReason::TokenExpired), 1);
    rig.advance(Duration::ZERO);
    assert_eq!((rig.relay.stats().grants, rig.relay.stats().grants_expired), (0, 1));
    assert_eq!(rig.relay.poll_timeout(), None, "an empty relay sleeps");
}

#[test]
fn the_timer_says_when_the_next_grant_lapses_and_why() {
    let mut rig = Rig::new(config());
    let (mut a, _) = Client::pair(1);
    let bind = a.bind(None);
    rig.say(&a, &bind);
    assert_eq!(rig.relay.poll_timeout(), Some((rig.now + limits::GRANT_IDLE, Timer::Grants)));
}

#[test]
fn a_full_relay_takes_no_new_grant_and_keeps_those_it_has() {
    let mut config = config();
    config.capacity.grants = 10;
    let mut rig = Rig::new(config);
    let (mut a, mut b) = Client::pair(0);
    join(&mut rig, &mut a, &mut b);
    for number in 1..100 {
        let (mut c, _) = Client::pair(number);
        let bind = c.bind(Some(&inner(number, 1_000)));
        rig.say(&c, &bind);
    }
    let stats = rig.relay.stats();
    assert_eq!((stats.grants, stats.dropped(DropReason::TableFull)), (10, 90));
    let bind = a.bind(None);
    assert_eq!(rig.say(&a, &bind).len(), 1);
    deliver(&rig.say(&a, &a.relayed(&inner(1, 1_000))), &mut [&mut b]);
    assert_eq!(b.received.len(), 1);
}

#[test]
fn what_waits_for_all_sides_together_stays_within_its_bound() {
    let mut config = config();
    config.capacity.grants = 5_000;
    let mut rig = Rig::new(config);
    let size = limits::MAX_HELD_BYTES - 8;
    for number in 0..3_000 {
        let (mut a, _) = Client::pair(number);
        let bind = a.bind(Some(&inner(number, size)));
        rig.say(&a, &bind);
        assert!(rig.relay.stats().held_bytes <= limits::MAX_HELD_TOTAL);
    }
    assert_eq!(rig.relay.stats().held_bytes, limits::MAX_HELD_TOTAL);
    rig.advance(limits::HELD_FOR);
    assert_eq!(rig.relay.stats().held_bytes, 0);
}

#[test]
fn a_flood_of_binds_from_one_place_keeps_nobody_else_out() {
    let mut rig = Rig::new(config());
    let (mut flooder, _) = Client::pair(66);
    flooder.move_to("198.18.66.6:6666");
    let mut garbage = flooder.bind(None);
    garbage[80] ^= 1;
    for _ in 0..limits::BIND_BURST + 1_000 {
        rig.say(&flooder, &garbage);
    }
    let refused = rig.relay.stats().dropped(DropReason::BindFlood);
    assert_eq!(refused, 1_000 - limits::SOURCE_BIND_BURST);
    let (mut a, mut b) = Client::pair(1);
    join(&mut rig, &mut a, &mut b);
    deliver(&rig.say(&a, &a.relayed(&inner(1, 100))), &mut [&mut b]);
    assert_eq!(b.received.len(), 1);

    rig.advance(Duration::from_secs(1));
    let bind = flooder.bind(None);
    assert_eq!(rig.say(&flooder, &bind).len(), 1, "once it stops it is welcome again");
}

#[test]
fn a_ping_is_answered_in_as_many_bytes_with_where_it_came_from() {
    let mut rig = Rig::new(config());
    let ping = outer::emit_relay_ping(0x0123_4567_89ab_cdef);
    for from in ["192.0.2.1:1000", "[2001:db8:2::2]:2000"] {
        let sent = rig.input(address(RELAY4), address(from), &ping);
        assert_eq!((sent.len(), sent[0].to, sent[0].from), (1, address(from), address(RELAY4)));
        assert_eq!(sent[0].datagram.len(), RELAY_PING);
        let pong = Outer::RelayPong { nonce: 0x0123_4567_89ab_cdef, observed: address(from) };
        assert_eq!(Outer::parse(&sent[0].datagram), Ok(pong));
    }
    assert_eq!((rig.relay.stats().pings, rig.relay.stats().grants), (2, 0));
}

#[test]
fn pings_are_answered_only_so_often_to_one_place() {
    let mut rig = Rig::new(config());
    let ping = outer::emit_relay_ping(1);
    for _ in 0..1_000 {
        rig.input(address(RELAY4), address("192.0.2.1:1000"), &ping);
    }
    assert_eq!(rig.relay.stats().pings, limits::SOURCE_PING_BURST);
    assert_eq!(rig.input(address(RELAY4), address("192.0.2.2:1000"), &ping).len(), 1);
    rig.advance(Duration::from_secs(1));
    assert_eq!(rig.input(address(RELAY4), address("192.0.2.1:1000"), &ping).len(), 1);
}

#[test]
fn a_draining_relay_serves_what_it_has_and_takes_nothing_new() {
    let mut rig = Rig::new(config());
    let (mut a, mut b) = Client::pair(1);
    join(&mut rig, &mut a, &mut b);
    rig.relay.drain(rig.now);
    let (mut c, _) = Client::pair(2);
    let bind = c.bind(None);
    assert!(rig.say(&c, &bind).is_empty());
    assert_eq!(rig.relay.stats().dropped(DropReason::Draining), 1);
    a.move_to("198.18.0.77:999");
    let bind = a.bind(None);
    deliver(&rig.say(&a, &bind), &mut [&mut a]);
    deliver(&rig.say(&a, &a.relayed(&inner(1, 100))), &mut [&mut b]);
    assert_eq!(b.received.len(), 1);
}
