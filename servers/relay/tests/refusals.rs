//! What a stranger, or a node with another's grant, cannot do. Everything refused is counted by its
//! reason and changes nothing else.

use core::time::Duration;

use ntm_proto::crypto::Secret;
use ntm_proto::id::RelayIndex;
use ntm_proto::session::{GrantKey, bind_mac};
use ntm_proto::wire::message::Side;
use ntm_proto::wire::outer::{self, PUNCH, RELAY_BIND};
use ntm_relay::testing::{Client, EPOCH, RELAY4, Rig, address, config, deliver, grant_key, inner, join, token_body};
use ntm_relay::{DropReason, Stats, limits};

fn joined() -> (Rig, Client, Client) {
    let mut rig = Rig::new(config());
    let (mut a, mut b) = Client::pair(1);
    join(&mut rig, &mut a, &mut b);
    (rig, a, b)
}

/// Hands in what must be refused for `reason`, and for nothing else.
fn refuse(rig: &mut Rig, from: &str, datagram: &[u8], reason: DropReason) {
    let before = rig.relay.stats().clone();
    let sent = rig.input(address(RELAY4), address(from), datagram);
    assert_eq!(sent, [], "nothing is said to it");
    let after = rig.relay.stats();
    assert_eq!(after.dropped(reason), before.dropped(reason) + 1, "{reason:?}");
    assert_eq!(without_drops(after), without_drops(&before));
    assert_eq!(after.dropped_total(), before.dropped_total() + 1);
}

fn without_drops(stats: &Stats) -> impl PartialEq + core::fmt::Debug + use<> {
    let Stats { grants, held_bytes, forwarded_datagrams, binds, rebinds, proven, grants_made, .. } = stats.clone();
    (grants, held_bytes, forwarded_datagrams, binds, rebinds, proven, grants_made)
}

/// That the communication still works both ways.
fn still_works(rig: &mut Rig, a: &mut Client, b: &mut Client) {
    for turn in [true, false] {
        let (speaker, other) = if turn { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
        let heard = other.received.len();
        let sent = rig.say(speaker, &speaker.relayed(&inner(1, 1_000)));
        deliver(&sent, &mut [speaker, other]);
        assert_eq!(other.received.len(), heard + 1);
    }
}

#[test]
fn a_replayed_bind_from_elsewhere_moves_nobody() {
    let (mut rig, mut a, mut b) = joined();
    let bind = a.bind(Some(&inner(1, 100)));
    deliver(&rig.say(&a, &bind), &mut [&mut a, &mut b]);
    refuse(&mut rig, "198.18.66.6:6666", &bind, DropReason::Replayed);
    still_works(&mut rig, &mut a, &mut b);
}

#[test]
fn a_bind_with_a_token_that_was_touched_is_refused() {
    let (mut rig, mut a, mut b) = joined();
    let good = a.bind(None);
    // The first byte of the token says which key it is under.
    for byte in 12..RELAY_BIND - 16 {
        let mut bad = good.clone();
        bad[byte] ^= 1;
        let before = rig.relay.stats().clone();
        assert_eq!(rig.input(a.relay, a.address, &bad), []);
        let count = |reason| rig.relay.stats().dropped(reason) - before.dropped(reason);
        assert_eq!(count(DropReason::BadToken) + count(DropReason::UnknownKey), 1, "byte {byte}");
    }
    still_works(&mut rig, &mut a, &mut b);
}

#[test]
fn a_bind_without_the_bind_key_is_refused() {
    let (mut rig, mut a, mut b) = joined();
    let good = a.bind(None);
    for byte in (4..12).chain(RELAY_BIND - 16..RELAY_BIND) {
        let mut bad = good.clone();
        bad[byte] ^= 0x80;
        refuse(&mut rig, "198.18.66.6:6666", &bad, DropReason::BadMac);
    }
    still_works(&mut rig, &mut a, &mut b);
}

#[test]
fn one_side_cannot_bind_as_the_other() {
    let (mut rig, mut a, mut b) = joined();
    let mut bind = a.bind(None);
    bind[1] = b.bind(None)[1];
    refuse(&mut rig, "192.0.2.1:1000", &bind, DropReason::BadMac);
    bind[1] = 0xff;
    refuse(&mut rig, "192.0.2.1:1000", &bind, DropReason::Malformed);
    still_works(&mut rig, &mut a, &mut b);
}

#[test]
fn a_token_past_its_time_makes_no_grant() {
    let mut rig = Rig::new(config());
    let (mut a, _) = Client::pair(1);
    rig.advance(Duration::from_secs(3_600));
    refuse(&mut rig, "192.0.2.1:1000", &a.bind(None), DropReason::TokenExpired);
}

#[test]
fn a_token_that_would_live_too_long_makes_no_grant() {
    let mut rig = Rig::new(config());
    let mut body = token_body(1);
    body.expires = EPOCH + limits::MAX_TOKEN_LIFE + Duration::from_millis(1);
    let mut a = Client::new(&body, Side::Initiator, "192.0.2.1:1000");
    refuse(&mut rig, "192.0.2.1:1000", &a.bind(None), DropReason::TokenTooLong);
}

#[test]
fn a_token_under_a_key_the_relay_does_not_have_makes_no_grant() {
    let mut rig = Rig::new(config());
    let (mut a, _) = Client::pair(1);
    for (key, reason) in [
        (GrantKey { key_id: 8, key: Secret::new([7; 32]) }, DropReason::UnknownKey),
        (GrantKey { key_id: 7, key: Secret::new([8; 32]) }, DropReason::BadToken),
    ] {
        a.token = key.mint(&token_body(1));
        a.bind_key = key.bind_key(&a.token, a.side);
        refuse(&mut rig, "192.0.2.1:1000", &a.bind(None), reason);
    }
}

#[test]
fn tokens_under_the_old_and_the_new_key_are_good_while_both_are_there() {
    let new = GrantKey { key_id: 8, key: Secret::new([8; 32]) };
    let mut rig = Rig::new(config());
    rig.relay.set_grant_keys(vec![new.clone(), grant_key()]);
    let (mut a, mut b) = Client::pair(1);
    join(&mut rig, &mut a, &mut b);
    let (mut c, mut d) = Client::pair(2);
    for client in [&mut c, &mut d] {
        client.token = new.mint(&token_body(2));
        client.bind_key = new.bind_key(&client.token, client.side);
    }
    c.move_to("192.0.2.3:3");
    d.move_to("192.0.2.4:4");
    join(&mut rig, &mut c, &mut d);

    rig.relay.set_grant_keys(vec![new]);
    still_works(&mut rig, &mut a, &mut b);
    still_works(&mut rig, &mut c, &mut d);
    refuse(&mut rig, "192.0.2.1:1000", &a.bind(None), DropReason::UnknownKey);
}

#[test]
fn an_index_is_of_no_use_from_another_address() {
    let (mut rig, mut a, mut b) = joined();
    let stolen = a.relayed(&inner(1, 500));
    refuse(&mut rig, "198.18.66.6:6666", &stolen, DropReason::WrongSource);
    refuse(&mut rig, "192.0.2.1:1001", &stolen, DropReason::WrongSource);
    refuse(&mut rig, "203.0.113.2:2000", &stolen, DropReason::WrongSource);
    still_works(&mut rig, &mut a, &mut b);
}

#[test]
fn a_guessed_index_leads_nowhere() {
    let (mut rig, mut a, mut b) = joined();
    let index = a.index.unwrap().0;
    for guess in [0, 1, index ^ 1, index.wrapping_add(1), u32::MAX] {
        let datagram = outer::emit_relayed(RelayIndex(guess), &inner(1, 100));
        refuse(&mut rig, "192.0.2.1:1000", &datagram, DropReason::UnknownIndex);
    }
    still_works(&mut rig, &mut a, &mut b);
}

#[test]
fn a_wrong_source_does_not_prove_an_address() {
    let mut rig = Rig::new(config());
    let (mut a, _) = Client::pair(1);
    let bind = a.bind(None);
    deliver(&rig.say(&a, &bind), &mut [&mut a]);
    refuse(&mut rig, "198.18.66.6:6666", &a.relayed(&PUNCH), DropReason::WrongSource);
    assert_eq!(rig.relay.stats().proven, 0);
    rig.say(&a, &a.relayed(&PUNCH));
    assert_eq!(rig.relay.stats().proven, 1);
}

#[test]
fn nothing_is_bound_to_where_nothing_can_be_sent_nor_to_the_relay_itself() {
    let mut rig = Rig::new(config());
    let (mut a, _) = Client::pair(1);
    for from in [
        "192.0.2.1:0",
        "0.0.0.0:7",
        "224.0.0.1:7",
        "255.255.255.255:7",
        "[::]:7",
        "[ff02::1]:7",
        "[::ffff:224.0.0.1]:7",
        "198.51.100.1:4500",
        "[::ffff:198.51.100.1]:4500",
        "[2001:db8:100::1]:4500",
    ] {
        refuse(&mut rig, from, &a.bind(None), DropReason::UnusableSource);
    }
    let unlisted = address("10.0.0.1:4500");
    assert_eq!(rig.input(unlisted, unlisted, &a.bind(None)), []);
}

#[test]
fn a_mac_of_the_other_direction_is_no_bind() {
    let (mut rig, a, _) = joined();
    // A `RelayBound` sent back to the relay, and the bytes of one as a bind.
    let bound =
        outer::emit_relay_bound(a.side, a.index.unwrap(), 9, a.address, false, |part| bind_mac(&a.bind_key, part));
    refuse(&mut rig, "192.0.2.1:1000", &bound, DropReason::UnexpectedType);
    let mut bind = bound;
    bind[0] = 6;
    refuse(&mut rig, "192.0.2.1:1000", &bind, DropReason::Malformed);
}

#[test]
fn datagrams_for_others_have_no_business_at_a_relay() {
    let (mut rig, mut a, mut b) = joined();
    let init = outer::emit_handshake_init(ntm_proto::id::SessionIndex(1), &[0; 200]);
    refuse(&mut rig, "192.0.2.1:1000", &init, DropReason::UnexpectedType);
    refuse(&mut rig, "192.0.2.1:1000", &PUNCH, DropReason::UnexpectedType);
    refuse(&mut rig, "192.0.2.1:1000", &inner(1, 100), DropReason::UnknownSession);
    refuse(&mut rig, "192.0.2.1:1000", &[], DropReason::Malformed);
    refuse(&mut rig, "192.0.2.1:1000", &[0], DropReason::Malformed);
    refuse(&mut rig, "192.0.2.1:1000", &[0xff; 1_500], DropReason::Malformed);
    still_works(&mut rig, &mut a, &mut b);
}

#[test]
fn every_truncation_of_every_datagram_is_refused() {
    let (mut rig, mut a, mut b) = joined();
    let relayed = a.relayed(&inner(1, 64));
    let bind = a.bind(None);
    let ping = outer::emit_relay_ping(5);
    for whole in [&relayed[..8], &bind, &ping] {
        for len in 0..whole.len() {
            let sent = rig.input(a.relay, a.address, &whole[..len]);
            assert_eq!(sent, [], "{len} bytes of {whole:?}");
        }
    }
    let stats = rig.relay.stats();
    assert_eq!((stats.binds, stats.pings), (2, 0));
    still_works(&mut rig, &mut a, &mut b);
}

#[test]
fn tokens_of_one_path_with_other_serial_numbers_are_other_grants() {
    let (mut rig, mut a, mut b) = joined();
    // Somebody who saw the path id had a token made for it.
    let mut body = token_body(1);
    body.serial = 0xbad;
    let mut thief = Client::new(&body, Side::Initiator, "198.18.66.6:6666");
    let bind = thief.bind(Some(&inner(6, 100)));
    deliver(&rig.say(&thief, &bind), &mut [&mut thief, &mut b]);
    assert!(b.received.is_empty());
    let sent = rig.say(&b, &b.relayed(&inner(1, 100)));
    assert_eq!(sent[0].to, a.address);
    still_works(&mut rig, &mut a, &mut b);
}
