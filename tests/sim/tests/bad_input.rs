//! What strangers and people on the path may send to a node: nothing comes of it, each datagram is counted by
//! why it was dropped, nobody is sent more than three times what he sent, and honest traffic goes on.

// Clippy sees no test in a test's helper.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::bench::{Bench, DIRECTOR, LOCAL, NODE4, Puppet, packet4, v4};
use common::{MS, SECOND};
use ntm_node::{DropReason, Event};
use ntm_proto::crypto::{self, Secret};
use ntm_proto::id::{PathId, RelayId, RelayIndex, SessionIndex};
use ntm_proto::identity::NoiseKey;
use ntm_proto::session::relay_token::{RelayToken, bind_mac};
use ntm_proto::wire::frame::Frame;
use ntm_proto::wire::message::{RelayGrant, Side};
use ntm_proto::wire::outer::{self, CookieReply, Outer};
use ntm_sim::rng::Dice;

const STRANGER: SocketAddr = v4(66, 6, 6, 6, 666);

/// Delivers a datagram of which nothing may come, and gives the reason that was counted.
fn refuse(bench: &mut Bench, from: SocketAddr, datagram: &[u8]) -> DropReason {
    refuse_at(bench, LOCAL, from, datagram)
}

fn refuse_at(bench: &mut Bench, local: SocketAddr, from: SocketAddr, datagram: &[u8]) -> DropReason {
    let before: Vec<u64> = DropReason::ALL.iter().map(|&reason| bench.dropped(reason)).collect();
    let sent = bench.sent.len();
    let packet = bench.deliver_at(local, from, datagram);
    assert_eq!(packet, None);
    assert_eq!(bench.events, [], "no event");
    assert_eq!(bench.sent.len(), sent, "no answer to {:02x?}", &datagram[..datagram.len().min(16)]);
    let after = DropReason::ALL.iter().zip(before).filter(|&(&reason, before)| bench.dropped(reason) > before);
    let reasons: Vec<DropReason> = after.map(|(&reason, _)| reason).collect();
    assert_eq!(reasons.len(), 1, "counted once: {reasons:?} for {:02x?}", &datagram[..datagram.len().min(16)]);
    reasons[0]
}

/// One datagram of every outer type, as well formed as a stranger can make it.
fn one_of_each() -> Vec<(Vec<u8>, DropReason)> {
    let noise = [7; 200];
    let index = SessionIndex(12_345);
    let mut data = vec![0; 80];
    outer::write_data_header(&mut data, index, 0);
    let cookie = CookieReply { receiver: index, nonce: &[1; 24], sealed: &[2; 32] }.emit();
    vec![
        (outer::emit_handshake_init(index, &noise), DropReason::Unauthentic),
        (outer::emit_handshake_response(index, index, &noise), DropReason::UnknownIndex),
        (cookie, DropReason::UnknownIndex),
        (data.clone(), DropReason::UnknownIndex),
        (outer::emit_relayed(RelayIndex(1), &data), DropReason::UnknownIndex),
        (
            outer::emit_relay_bind(Side::Initiator, 1, &RelayToken::from_bytes([1; 56]), None, |_| [0; 16]),
            DropReason::Unexpected,
        ),
        (
            outer::emit_relay_bound(Side::Initiator, RelayIndex(1), 1, LOCAL, false, |_| [0; 16]),
            DropReason::UnknownIndex,
        ),
        (outer::emit_relay_ping(1), DropReason::Unexpected),
        (outer::emit_relay_pong(1, LOCAL), DropReason::Unauthentic),
    ]
}

#[test]
fn strangers_datagrams_of_every_type_are_dropped_and_counted() {
    let mut bench = Bench::new(1);
    let mut peer = bench.peer(1);
    for (datagram, reason) in one_of_each() {
        assert_eq!(refuse(&mut bench, STRANGER, &datagram), reason, "type {}", datagram[0]);
        assert_eq!(refuse(&mut bench, peer.address, &datagram), reason, "type {} from a peer's address", datagram[0]);
        assert_eq!(refuse(&mut bench, DIRECTOR, &datagram), reason, "type {} from the director's", datagram[0]);
    }
    bench.assert_works(&mut peer);
}

#[test]
fn punches_are_taken_in_silence() {
    let mut bench = Bench::new(2);
    assert_eq!(bench.deliver(STRANGER, &outer::PUNCH), None);
    assert!(bench.sent.is_empty() && bench.events.is_empty());
}

#[test]
fn datagrams_of_no_known_form_are_malformed() {
    let mut bench = Bench::new(3);
    assert_eq!(refuse(&mut bench, STRANGER, &[]), DropReason::Malformed);
    for first in (0..=255).filter(|first| !(1..=10).contains(first)) {
        assert_eq!(refuse(&mut bench, STRANGER, &[first; 100]), DropReason::Malformed);
    }
}

#[test]
fn datagrams_that_end_early_or_late_are_refused_at_every_length() {
    let mut bench = Bench::new(4);
    for (datagram, _) in one_of_each() {
        for length in 1..datagram.len() {
            let reason = refuse(&mut bench, STRANGER, &datagram[..length]);
            let known =
                [DropReason::Malformed, DropReason::Unauthentic, DropReason::UnknownIndex, DropReason::Unexpected];
            assert!(known.contains(&reason), "{reason:?}");
        }
        for longer in [datagram.len() + 1, 1_500, 9_000, 65_507] {
            let mut datagram = datagram.clone();
            datagram.resize(longer, 0);
            refuse(&mut bench, STRANGER, &datagram);
        }
    }
}

#[test]
fn a_datagram_for_an_address_the_node_does_not_have_is_dropped() {
    let mut bench = Bench::new(5);
    let mut peer = bench.peer(1);
    let datagram = peer.frame(bench.now, &Frame::Packet(&packet4(peer.virtual4, NODE4, 100)));
    let elsewhere = v4(20, 0, 0, 3, 4_500);
    assert_eq!(refuse_at(&mut bench, elsewhere, peer.address, &datagram), DropReason::UnknownEndpoint);
    assert!(bench.deliver(peer.address, &datagram).is_some());
    bench.assert_works(&mut peer);
}

#[test]
fn a_flipped_bit_anywhere_in_a_packet_changes_nothing() {
    let mut bench = Bench::new(6);
    let mut peer = bench.peer(1);
    let packet = packet4(peer.virtual4, NODE4, 60);
    let genuine = peer.frame(bench.now, &Frame::Packet(&packet));
    let paths = bench.paths(&peer);
    for bit in 0..genuine.len() * 8 {
        let mut flipped = genuine.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refuse(&mut bench, peer.address, &flipped);
        refuse(&mut bench, STRANGER, &flipped);
    }
    assert_eq!(bench.paths(&peer), paths);
    assert_eq!(bench.deliver(peer.address, &genuine), Some(packet));
    bench.assert_works(&mut peer);
}

#[test]
fn a_cut_packet_changes_nothing() {
    let mut bench = Bench::new(7);
    let mut peer = bench.peer(1);
    let packet = packet4(peer.virtual4, NODE4, 60);
    let genuine = peer.frame(bench.now, &Frame::Packet(&packet));
    for length in 0..genuine.len() {
        refuse(&mut bench, peer.address, &genuine[..length]);
    }
    let longer = [&genuine[..], &[0]].concat();
    assert_eq!(refuse(&mut bench, peer.address, &longer), DropReason::Unauthentic);
    assert_eq!(bench.deliver(peer.address, &genuine), Some(packet));
    bench.assert_works(&mut peer);
}

#[test]
fn a_replayed_packet_is_dropped_wherever_it_comes_from() {
    let mut bench = Bench::new(8);
    let mut peer = bench.peer(1);
    let packet = packet4(peer.virtual4, NODE4, 60);
    let genuine = peer.frame(bench.now, &Frame::Packet(&packet));
    assert!(bench.deliver(peer.address, &genuine).is_some());
    let paths = bench.paths(&peer);
    for from in [peer.address, STRANGER, DIRECTOR] {
        assert_eq!(refuse(&mut bench, from, &genuine), DropReason::Replayed);
    }
    bench.advance(SECOND);
    assert_eq!(refuse(&mut bench, STRANGER, &genuine), DropReason::Replayed);
    assert_eq!(bench.paths(&peer).len(), paths.len());
    bench.assert_works(&mut peer);
}

#[test]
fn packets_that_overtake_each_other_all_arrive_once() {
    let mut bench = Bench::new(9);
    let mut peer = bench.peer(1);
    let packets: Vec<Vec<u8>> = (0..5_000).map(|number| packet4(peer.virtual4, NODE4, 40 + number % 900)).collect();
    let mut sealed: Vec<(usize, Vec<u8>)> = packets
        .iter()
        .enumerate()
        .map(|(number, packet)| (number, peer.frame(bench.now, &Frame::Packet(packet))))
        .collect();
    sealed.reverse();
    for (number, datagram) in &sealed {
        assert_eq!(bench.deliver(peer.address, datagram).as_ref(), Some(&packets[*number]));
    }
    for (_, datagram) in &sealed {
        assert_eq!(bench.deliver(peer.address, datagram), None);
    }
    assert_eq!(bench.dropped(DropReason::Replayed), 5_000);
    bench.assert_works(&mut peer);
}

#[test]
fn an_old_packet_held_back_and_sent_from_elsewhere_moves_no_path() {
    let mut bench = Bench::new(10);
    let mut peer = bench.peer(1);
    let held_back = peer.frame(bench.now, &Frame::Packet(&packet4(peer.virtual4, NODE4, 60)));
    let newer = peer.frame(bench.now, &Frame::Packet(&packet4(peer.virtual4, NODE4, 61)));
    assert!(bench.deliver(peer.address, &newer).is_some());
    let paths = bench.paths(&peer);
    // It is genuine and was never delivered, so the packet is taken; its source address is not.
    assert!(bench.deliver(STRANGER, &held_back).is_some());
    assert_eq!(bench.paths(&peer), paths);
    assert_eq!(bench.bytes[&STRANGER].1, 0);
    bench.assert_works(&mut peer);
}

#[test]
fn a_spoiled_handshake_answer_leaves_the_handshake_usable() {
    let mut bench = Bench::new(11);
    let mut peer = Puppet::new(1);
    bench.direct(&peer, Vec::new());
    let init = bench.take_sent_to(peer.address).remove(0);
    let answer = peer.answer(bench.now, &init);
    bench.events.clear();
    // All but mac2, which means nothing where no cookie was asked for.
    for bit in 0..(answer.len() - outer::MAC) * 8 {
        let mut flipped = answer.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // A punch may carry anything and does nothing.
        if flipped[0] != outer::PUNCH[0] {
            refuse(&mut bench, peer.address, &flipped);
        }
    }
    for length in 0..answer.len() {
        refuse(&mut bench, peer.address, &answer[..length]);
    }
    bench.deliver(peer.address, &answer);
    assert_eq!(bench.events.first(), Some(&Event::PeerUp { peer: peer.record.node_id() }));
    bench.converse(&mut peer);
    bench.assert_works(&mut peer);
}

#[test]
fn a_spoiled_first_message_makes_no_session() {
    let mut bench = Bench::new(12);
    let mut peer = bench.peer(1);
    let init = peer.begin(bench.now, bench.key.public());
    for bit in 0..(init.len() - outer::MAC) * 8 {
        let mut flipped = init.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refuse(&mut bench, peer.address, &flipped);
    }
    for length in 0..init.len() {
        refuse(&mut bench, peer.address, &init[..length]);
    }
    // So many at one instant were a load; it passes.
    bench.advance_with(3 * SECOND, |bench, _| {
        bench.converse(&mut peer);
    });
    bench.deliver(peer.address, &init);
    let answer = bench.take_sent_to(peer.address).remove(0);
    assert!(peer.finish(bench.now, &answer));
    bench.assert_works(&mut peer);
}

#[test]
fn a_first_message_replayed_from_elsewhere_makes_no_path_and_draws_at_most_one_answer() {
    for later in [Duration::ZERO, 5 * SECOND, 15 * SECOND, 100 * SECOND] {
        let mut bench = Bench::new(13);
        let mut peer = bench.peer(1);
        let init = peer.begin(bench.now, bench.key.public());
        bench.deliver(peer.address, &init);
        let answer = bench.take_sent_to(peer.address).remove(0);
        assert!(peer.finish(bench.now, &answer));
        bench.assert_works(&mut peer);
        bench.advance_with(later, |bench, _| {
            bench.converse(&mut peer);
        });
        bench.events.clear();
        let paths = bench.paths(&peer);
        for number in 0..200_u8 {
            bench.deliver(v4(66, 6, 6, number, 666), &init);
        }
        assert_eq!(bench.paths(&peer).len(), paths.len(), "{later:?}: {:?}", bench.paths(&peer));
        assert_eq!(bench.events, [], "{later:?}");
        bench.assert_no_amplification(&[peer.address]);
        assert!(bench.sent.len() <= 200, "{later:?}: {} datagrams", bench.sent.len());
        bench.assert_works(&mut peer);
    }
}

#[test]
fn an_older_first_message_is_refused_after_a_newer_one() {
    let mut bench = Bench::new(14);
    let mut peer = bench.peer(1);
    let older = peer.begin(bench.now, bench.key.public());
    let newer = peer.begin(bench.now, bench.key.public());
    bench.deliver(peer.address, &newer);
    let answer = bench.take_sent_to(peer.address).remove(0);
    assert!(peer.finish(bench.now, &answer));
    assert_eq!(refuse(&mut bench, STRANGER, &older), DropReason::Replayed);
    bench.assert_works(&mut peer);
}

#[test]
fn who_is_not_the_node_that_a_direction_named_gets_no_answer() {
    let mut bench = Bench::new(15);
    let mut peer = bench.peer(1);
    let mut impostor = Puppet::new(2);
    impostor.path_id = peer.path_id;
    impostor.psk = peer.psk.clone();
    impostor.sequence = 1 << 40;
    let init = impostor.begin(bench.now, bench.key.public());
    assert_eq!(refuse(&mut bench, impostor.address, &init), DropReason::UnknownPeer);
    bench.assert_works(&mut peer);
}

#[test]
fn a_request_that_no_direction_named_is_held_in_silence_and_forgotten() {
    let mut bench = Bench::new(16);
    let mut stranger = Puppet::new(2);
    let init = stranger.begin(bench.now, bench.key.public());
    bench.deliver(stranger.address, &init);
    assert!(bench.sent.is_empty() && bench.events.is_empty());
    bench.advance(6 * SECOND);
    bench.direct(&stranger, Vec::new());
    let sent = bench.take_sent_to(stranger.address);
    assert!(sent.iter().all(|sent| matches!(Outer::parse(sent), Ok(Outer::HandshakeInit(_)))), "not the answer");
}

#[test]
fn a_request_that_comes_before_its_direction_is_answered_when_that_comes() {
    let mut bench = Bench::new(17);
    let mut peer = Puppet::new(2);
    let init = peer.begin(bench.now, bench.key.public());
    bench.deliver(peer.address, &init);
    bench.advance(500 * MS);
    bench.direct(&peer, Vec::new());
    let sent = bench.take_sent_to(peer.address);
    let answered = sent.iter().any(|sent| peer.finish(bench.now, sent));
    assert!(answered, "{} datagrams", sent.len());
}

/// First messages with a valid mac1, each from a key of its own, as fast as somebody likes to make them.
fn forge(bench: &Bench, number: u32, path_id: PathId) -> Vec<u8> {
    let mut one = Puppet::new(3);
    let mut secret = [77; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    one.reseed(secret);
    one.noise = NoiseKey::from_secret(crypto::default_provider(), Secret::new(secret));
    one.path_id = path_id;
    one.begin(bench.now, bench.key.public())
}

#[test]
fn a_flood_of_handshakes_is_met_with_cookies_and_an_honest_peer_still_gets_in() {
    let mut bench = Bench::new(18);
    let mut peer = bench.peer(1);
    let mut honest = Puppet::new(2);
    bench.direct(&honest, Vec::new());
    bench.sent.clear();
    let forged: Vec<Vec<u8>> = (0..2_000).map(|number| forge(&bench, number, PathId([66; 16]))).collect();
    for (number, init) in (0_u32..).zip(&forged) {
        let [.., high, low] = number.to_be_bytes();
        bench.deliver(v4(66, 6, high, low, 666), init);
    }
    assert!(bench.dropped(DropReason::NoCookie) >= 1_400, "{}", bench.dropped(DropReason::NoCookie));
    let all_but = [peer.address, honest.address];
    bench.assert_no_amplification(&all_but);
    for sent in &bench.sent {
        assert!(matches!(Outer::parse(&sent.datagram), Ok(Outer::CookieReply(_))), "only cookies leave");
    }
    bench.sent.clear();
    // An honest peer is asked for a cookie as well, takes it and gets in.
    let init = honest.begin(bench.now, bench.key.public());
    bench.deliver(honest.address, &init);
    let reply = bench.take_sent_to(honest.address).remove(0);
    let Ok(Outer::CookieReply(reply)) = Outer::parse(&reply) else { panic!("a cookie was expected") };
    let again = honest.session.handle_cookie_reply(bench.now, &reply).unwrap();
    bench.deliver(honest.address, &again);
    let answer = bench.take_sent_to(honest.address).remove(0);
    assert!(honest.finish(bench.now, &answer));
    let hello = honest.frame(bench.now, &Frame::KeepAlive);
    bench.deliver(honest.address, &hello);
    bench.converse(&mut honest);
    bench.assert_works(&mut honest);
    bench.assert_works(&mut peer);
    // A cookie stolen for another address is worth nothing there.
    let stolen = honest.begin(bench.now, bench.key.public());
    assert_eq!(bench.deliver(STRANGER, &stolen), None);
    let to_thief = bench.take_sent_to(STRANGER);
    assert!(to_thief.iter().all(|sent| matches!(Outer::parse(sent), Ok(Outer::CookieReply(_)))));
}

#[test]
fn a_cookie_reply_that_is_not_the_peers_changes_nothing() {
    let mut bench = Bench::new(19);
    let mut peer = Puppet::new(1);
    bench.direct(&peer, Vec::new());
    bench.events.clear();
    let init = bench.take_sent_to(peer.address).remove(0);
    let Ok(Outer::HandshakeInit(parsed)) = Outer::parse(&init) else { panic!("a first message was expected") };
    let forged = CookieReply { receiver: parsed.sender, nonce: &[1; 24], sealed: &[2; 32] }.emit();
    assert_eq!(refuse(&mut bench, peer.address, &forged), DropReason::Unauthentic);
    let answer = peer.answer(bench.now, &init);
    bench.deliver(peer.address, &answer);
    bench.converse(&mut peer);
    bench.assert_works(&mut peer);
}

#[test]
fn what_comes_from_the_director_counts_only_in_its_session_and_once() {
    let mut bench = Bench::new(20);
    let mut peer = bench.peer(1);
    let other = Puppet::new(2);
    bench.direct(&other, Vec::new());
    bench.sent.clear();
    bench.events.clear();
    // The same direction again, byte for byte: whoever recorded it gains nothing.
    let transaction = ntm_proto::id::TransactionId(7);
    let error = ntm_proto::wire::message::ErrorMessage::new(ntm_proto::wire::message::ErrorCode::Superseded, "", None);
    let genuine = bench.director_says(transaction, ntm_proto::wire::message::Message::Error(error));
    for bit in 0..genuine.len() * 8 {
        let mut flipped = genuine.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refuse(&mut bench, DIRECTOR, &flipped);
    }
    assert!(bench.node.is_registered());
    bench.assert_works(&mut peer);
}

#[test]
fn an_error_about_a_direction_is_no_error_about_the_node() {
    use ntm_proto::wire::message::{ErrorCode, ErrorMessage, Message};
    let mut bench = Bench::new(21);
    for code in [ErrorCode::Forbidden, ErrorCode::Revoked, ErrorCode::NoSuchNode, ErrorCode::Busy] {
        let about = Message::Error(ErrorMessage::new(code, "", Some(PathId([5; 16]))));
        let datagram = bench.director_says(ntm_proto::id::TransactionId(7), about);
        bench.deliver(DIRECTOR, &datagram);
        assert!(bench.node.is_registered(), "{code:?}");
        assert_eq!(bench.events, []);
    }
}

#[test]
fn noise_of_all_kinds_for_a_minute_leaves_no_trace() {
    let mut bench = Bench::new(22);
    let mut peer = bench.peer(1);
    let mut dice = Dice::new(22);
    let mut heard: Vec<Vec<u8>> = one_of_each().into_iter().map(|(datagram, _)| datagram).collect();
    heard.push(peer.frame(bench.now, &Frame::Packet(&packet4(peer.virtual4, NODE4, 300))));
    let init = peer.begin(bench.now, bench.key.public());
    let covered = &init[..init.len() - 2 * outer::MAC];
    heard.push(init.clone());
    for _ in 0..20_000 {
        let mut datagram = dice.pick(&heard).clone();
        for _ in 0..dice.between(1, 4) {
            match dice.below(4) {
                0 if !datagram.is_empty() => {
                    let at = dice.below(datagram.len() as u64) as usize;
                    datagram[at] ^= 1 << dice.below(8);
                }
                1 => datagram.truncate(dice.below(datagram.len() as u64 + 1) as usize),
                2 => datagram.resize(datagram.len() + dice.below(64) as usize, 0xaa),
                _ => dice.fill(&mut datagram),
            }
        }
        let from = v4(66, 6, dice.below(256) as u8, dice.below(256) as u8, 666);
        if heard.contains(&datagram) {
            continue;
        }
        // A first message in which only mac2 was touched is the genuine one.
        if matches!(Outer::parse(&datagram), Ok(Outer::HandshakeInit(spoiled)) if spoiled.covered() == covered) {
            continue;
        }
        assert_eq!(bench.deliver(from, &datagram), None);
        bench.advance_with(3 * MS, |bench, _| {
            bench.converse(&mut peer);
        });
    }
    assert_eq!(bench.events, []);
    assert_eq!(bench.paths(&peer).len(), 1);
    bench.assert_no_amplification(&[peer.address]);
    assert!(bench.all_dropped() > 15_000);
    bench.assert_works(&mut peer);
}

#[test]
fn what_claims_to_come_from_a_relay_counts_only_with_its_keys_and_its_index() {
    let relay = v4(20, 8, 0, 1, 4_601);
    let key = Secret::new([44; 32]);
    let mut bench = Bench::new(23);
    let mut peer = Puppet::new(1);
    let grant = RelayGrant {
        relay: RelayId(1),
        addresses: vec![relay],
        side: Side::Initiator,
        token: RelayToken::from_bytes([5; RelayToken::LEN]),
        bind_key: key.clone(),
    };
    bench.direct(&peer, vec![grant]);
    bench.events.clear();
    let binds = bench.take_sent_to(relay);
    let sequences: Vec<u64> = binds
        .iter()
        .filter_map(|bind| match Outer::parse(bind) {
            Ok(Outer::RelayBind(bind)) => Some(bind.sequence),
            _ => None,
        })
        .collect();
    let bound = |sequence, index, key: &Secret| {
        outer::emit_relay_bound(Side::Initiator, RelayIndex(index), sequence, LOCAL, false, |covered| {
            bind_mac(key, covered)
        })
    };
    let (oldest, newest) = (sequences[0], sequences[sequences.len() - 1]);
    let genuine = bound(newest, 7, &key);
    for bit in 0..genuine.len() * 8 {
        let mut flipped = genuine.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // A punch may carry anything; reserved bytes are under the MAC.
        if flipped[0] != outer::PUNCH[0] {
            refuse(&mut bench, relay, &flipped);
        }
    }
    assert_eq!(refuse(&mut bench, relay, &bound(newest, 7, &Secret::new([45; 32]))), DropReason::Unauthentic);
    assert_eq!(refuse(&mut bench, STRANGER, &genuine), DropReason::Unauthentic, "not from the relay's address");
    bench.deliver(relay, &genuine);
    bench.sent.clear();
    assert_ne!(refuse(&mut bench, relay, &genuine), DropReason::Malformed, "a second time");
    if oldest != newest {
        assert_eq!(refuse(&mut bench, relay, &bound(oldest, 66, &key)), DropReason::Unauthentic, "an older one");
    }

    // A session over the relay; then what a relay, or somebody who plays it, could do with it.
    let init = peer.begin(bench.now, bench.key.public());
    bench.deliver(relay, &outer::emit_relayed(RelayIndex(7), &init));
    let answered = bench.take_sent_to(relay).iter().any(|sent| match Outer::parse(sent) {
        Ok(Outer::Relayed { inner, .. }) => peer.finish(bench.now, inner),
        _ => false,
    });
    assert!(answered);
    let packet = packet4(peer.virtual4, NODE4, 80);
    let data = peer.frame(bench.now, &Frame::Packet(&packet));
    bench.events.clear();
    let wrapped = outer::emit_relayed(RelayIndex(7), &data);
    assert_eq!(refuse(&mut bench, STRANGER, &wrapped), DropReason::UnknownIndex);
    assert_eq!(refuse(&mut bench, relay, &outer::emit_relayed(RelayIndex(8), &data)), DropReason::UnknownIndex);
    for length in 0..wrapped.len() {
        refuse(&mut bench, relay, &wrapped[..length]);
    }
    for bit in 64..wrapped.len() * 8 {
        let mut flipped = wrapped.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if flipped[8] != outer::PUNCH[0] {
            refuse(&mut bench, relay, &flipped);
        }
    }
    let nested = outer::emit_relayed(RelayIndex(7), &wrapped);
    assert!(matches!(refuse(&mut bench, relay, &nested), DropReason::Malformed | DropReason::Unexpected));
    assert_eq!(bench.deliver(relay, &wrapped), Some(packet));
    assert_eq!(refuse(&mut bench, relay, &wrapped), DropReason::Replayed);
}
