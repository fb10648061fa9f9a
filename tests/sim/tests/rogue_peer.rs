//! A peer that has its keys rightly and uses them wrongly: it hurts nobody but itself.

// Clippy sees no test in a test's helper.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::{Ipv4Addr, SocketAddr};

use common::bench::{Bench, LOCAL, NODE4, Puppet, packet4, v4};
use common::{MS, SECOND};
use ntm_node::{DropReason, Event, PathKind};
use ntm_proto::id::InterfaceId;
use ntm_proto::wire::frame::{Fragment, Frame, InterfaceNotice, LiveInterface, PathChallenge, PathResponse};

/// A victim's address that never sent anything itself.
fn victim(number: usize) -> SocketAddr {
    let [.., high, low] = number.to_be_bytes();
    v4(77, 7, high, low, 53)
}

fn tell(bench: &mut Bench, puppet: &Puppet, frame: &Frame<'_>) -> Option<Vec<u8>> {
    let datagram = puppet.frame(bench.now, frame);
    bench.deliver(puppet.address, &datagram)
}

fn challenge(nonce: u64, generation: u16) -> Frame<'static> {
    Frame::PathChallenge(PathChallenge { nonce, interface: InterfaceId(0), generation })
}

fn notice(sequence: u64, live: &[(u8, u16, bool)]) -> Frame<'static> {
    let live = live.iter().map(|&(id, generation, ending)| LiveInterface { id: InterfaceId(id), generation, ending });
    Frame::InterfaceNotice(InterfaceNotice { sequence, live: live.collect() })
}

fn active(bench: &Bench, puppet: &Puppet) -> PathKind {
    bench.paths(puppet)[0].kind
}

#[test]
fn packets_with_others_addresses_are_dropped() {
    let mut bench = Bench::new(1);
    let mut rogue = bench.peer(1);
    let mut honest = bench.peer(2);
    let elsewhere = Ipv4Addr::new(8, 8, 8, 8);
    let wrong = [
        (honest.virtual4, NODE4),
        (NODE4, NODE4),
        (elsewhere, NODE4),
        (Ipv4Addr::UNSPECIFIED, NODE4),
        (Ipv4Addr::LOCALHOST, NODE4),
        (rogue.virtual4, honest.virtual4),
        (rogue.virtual4, elsewhere),
        (rogue.virtual4, Ipv4Addr::BROADCAST),
        (rogue.virtual4, Ipv4Addr::LOCALHOST),
        (NODE4, rogue.virtual4),
    ];
    for (number, (from, to)) in (1..).zip(wrong) {
        let packet = packet4(from, to, 100);
        assert_eq!(tell(&mut bench, &rogue, &Frame::Packet(&packet)), None, "{from} to {to}");
        assert_eq!(bench.dropped(DropReason::Spoofed), number);
    }
    // The same within fragments.
    let packet = packet4(honest.virtual4, NODE4, 100);
    let (first, second) = packet.split_at(50);
    for (offset, data) in [(0, first), (50, second)] {
        assert_eq!(tell(&mut bench, &rogue, &Frame::Fragment(Fragment { id: 1, offset, total: 100, data })), None);
    }
    assert_eq!(bench.dropped(DropReason::Spoofed), 11);
    bench.assert_works(&mut rogue);
    bench.assert_works(&mut honest);
}

#[test]
fn packets_without_a_whole_header_are_dropped() {
    let mut bench = Bench::new(2);
    let mut rogue = bench.peer(1);
    let packet = packet4(rogue.virtual4, NODE4, 100);
    for length in 1..20 {
        assert_eq!(tell(&mut bench, &rogue, &Frame::Packet(&packet[..length])), None);
    }
    assert_eq!(tell(&mut bench, &rogue, &Frame::Packet(&[0x60; 39])), None);
    assert_eq!(bench.dropped(DropReason::Spoofed) + bench.dropped(DropReason::Malformed), 20);
    bench.assert_works(&mut rogue);
}

#[test]
fn frames_that_make_no_sense_are_dropped_and_counted() {
    let mut bench = Bench::new(3);
    let mut rogue = bench.peer(1);
    let now = bench.now;
    let mut counted = 0;
    let mut nonsense: Vec<Vec<u8>> = vec![vec![]];
    // Types nobody assigned, and the assigned ones cut short. A keep-alive is as short as can be.
    nonsense.extend(
        (0_u8..=255)
            .filter(|first| !matches!(first >> 4, 4 | 6) && !(1..=6).contains(first))
            .map(|first| vec![first; 40]),
    );
    nonsense.extend([
        vec![1],
        vec![1, 1, 2, 3],
        vec![2],
        vec![2; 11],
        vec![3; 20],
        vec![4; 13],
        vec![5, 0],
        vec![6; 9],
    ]);
    for plaintext in nonsense {
        let datagram = rogue.seal(now, &plaintext);
        assert_eq!(bench.deliver(rogue.address, &datagram), None);
        counted += 1;
        assert_eq!(bench.all_dropped(), counted, "{plaintext:02x?}");
    }
    assert_eq!(bench.events, []);
    bench.assert_works(&mut rogue);
}

#[test]
fn a_peer_cannot_play_the_coordinator() {
    use ntm_proto::id::TransactionId;
    use ntm_proto::wire::message::{Envelope, ErrorCode, ErrorMessage, Message};
    let mut bench = Bench::new(4);
    let mut rogue = bench.peer(1);
    let error = Message::Error(ErrorMessage::new(ErrorCode::Superseded, "", None));
    let bytes = Envelope { transaction: TransactionId(1), message: error }.emit();
    assert_eq!(tell(&mut bench, &rogue, &Frame::Signal(&bytes)), None);
    assert_eq!(bench.dropped(DropReason::Unexpected), 1);
    assert!(bench.node.is_registered());
    assert_eq!(bench.events, []);
    bench.assert_works(&mut rogue);
}

#[test]
fn a_flood_of_unfinished_fragments_passes() {
    let mut bench = Bench::new(5);
    let mut rogue = bench.peer(1);
    let mut honest = bench.peer(2);
    let data = [0x45; 1_200];
    for id in 0..20_000 {
        tell(&mut bench, &rogue, &Frame::Fragment(Fragment { id, offset: 0, total: 65_535, data: &data }));
    }
    // Another peer's fragments are not even delayed.
    let packet = packet4(honest.virtual4, NODE4, 1_400);
    let (first, second) = packet.split_at(700);
    fn part(offset: u32, data: &[u8]) -> Frame<'_> {
        Frame::Fragment(Fragment { id: 1, offset, total: 1_400, data })
    }
    assert_eq!(tell(&mut bench, &honest, &part(0, first)), None);
    assert_eq!(tell(&mut bench, &honest, &part(700, second)), Some(packet.clone()));
    bench.assert_works(&mut honest);
    // And its own work again when the flood has passed.
    bench.advance(3 * SECOND);
    let packet = packet4(rogue.virtual4, NODE4, 1_400);
    let (first, second) = packet.split_at(700);
    assert_eq!(tell(&mut bench, &rogue, &part(700, second)), None);
    assert_eq!(tell(&mut bench, &rogue, &part(0, first)), Some(packet));
    bench.assert_works(&mut rogue);
}

#[test]
fn fragments_that_overlap_or_contradict_each_other_never_make_a_wrong_packet() {
    let mut bench = Bench::new(6);
    let mut rogue = bench.peer(1);
    let packet = packet4(rogue.virtual4, NODE4, 1_000);
    let evil = packet4(Ipv4Addr::new(8, 8, 8, 8), NODE4, 1_000);
    let part = |id, from: usize, to: usize, total, packet: &[u8]| -> (u32, u32, u32, Vec<u8>) {
        (id, from as u32, total, packet[from..to].to_vec())
    };
    let parts = [
        part(1, 0, 500, 1_000, &packet),
        part(1, 0, 500, 1_000, &evil),
        part(1, 400, 1_000, 1_000, &packet),
        part(2, 0, 600, 1_000, &packet),
        part(2, 0, 600, 900, &packet),
        part(2, 600, 1_000, 1_000, &evil),
        part(3, 10, 20, 1_000, &evil),
        part(3, 0, 1_000, 1_000, &packet),
    ];
    for (id, offset, total, data) in &parts {
        let came =
            tell(&mut bench, &rogue, &Frame::Fragment(Fragment { id: *id, offset: *offset, total: *total, data }));
        assert!(came.is_none_or(|came| came[12..16] == rogue.virtual4.octets()), "the source is the peer's");
    }
    bench.advance(3 * SECOND);
    bench.assert_works(&mut rogue);
}

#[test]
fn challenges_from_a_thousand_addresses_keep_the_path_and_draw_no_flood() {
    let mut bench = Bench::new(7);
    let mut rogue = bench.peer(1);
    let mut honest = bench.peer(2);
    let home = active(&bench, &rogue);
    for number in 0..1_000 {
        let datagram = rogue.frame(bench.now, &challenge(number as u64, 1));
        bench.deliver(victim(number), &datagram);
        bench.send(&rogue, 1_000);
    }
    assert!(bench.paths(&rogue).len() <= 32, "{}", bench.paths(&rogue).len());
    assert_eq!(active(&bench, &rogue), home);
    bench.converse(&mut rogue);
    bench.advance_with(20 * SECOND, |bench, _| {
        bench.converse(&mut rogue);
        bench.converse(&mut honest);
    });
    bench.assert_no_amplification(&[rogue.address, honest.address]);
    assert_eq!(active(&bench, &rogue), home);
    bench.assert_works(&mut rogue);
    bench.assert_works(&mut honest);
    // There is still room for an address that is honestly new.
    rogue.address = v4(20, 1, 0, 99, 4_500);
    let datagram = rogue.frame(bench.now, &challenge(5, 1));
    bench.deliver(rogue.address, &datagram);
    bench.converse(&mut rogue);
    let there = bench.paths(&rogue).into_iter().find(|path| path.kind == PathKind::Direct(rogue.address));
    assert!(there.is_some_and(|path| path.proven), "{:?}", bench.paths(&rogue));
}

#[test]
fn traffic_is_not_turned_on_an_address_that_has_not_proven_itself() {
    // A download runs; the peer falls silent at home and names a victim instead, by a challenge or by data.
    for by_data in [false, true] {
        let mut bench = Bench::new(8);
        let rogue = bench.peer(1);
        for round in 0..50 {
            let frame = if by_data { Frame::Packet(&packet4(rogue.virtual4, NODE4, 40)) } else { challenge(round, 1) };
            let datagram = rogue.frame(bench.now, &frame);
            bench.deliver(victim(1), &datagram);
            for _ in 0..40 {
                bench.send(&rogue, 1_400);
            }
            bench.advance(50 * MS);
        }
        let (from, to) = bench.bytes[&victim(1)];
        assert!(to <= 3 * from, "by data {by_data}: the victim was sent {to} bytes for {from}");
    }
}

#[test]
fn a_new_generation_ends_only_the_peers_own_paths() {
    let mut bench = Bench::new(9);
    let rogue = bench.peer(1);
    let mut honest = bench.peer(2);
    for generation in [2, 9, 0x8001, 1, 0xffff] {
        let datagram = rogue.frame(bench.now, &challenge(u64::from(generation), generation));
        bench.deliver(victim(usize::from(generation)), &datagram);
        bench.assert_works(&mut honest);
    }
    bench.assert_no_amplification(&[rogue.address, honest.address]);
    let mut rogue = rogue;
    let datagram = rogue.frame(bench.now, &challenge(77, 0));
    bench.deliver(rogue.address, &datagram);
    bench.converse(&mut rogue);
    bench.assert_works(&mut rogue);
}

#[test]
fn a_notice_that_lies_hurts_only_its_sender() {
    let mut bench = Bench::new(10);
    let mut liar = bench.peer(1);
    let mut honest = bench.peer(2);
    let others = bench.paths(&honest);
    tell(&mut bench, &liar, &notice(5_000, &[]));
    assert_eq!(bench.paths(&honest), others);
    bench.assert_works(&mut honest);
    bench.advance_with(SECOND, |bench, _| {
        bench.converse(&mut honest);
    });
    // It comes back as any node does.
    let datagram = liar.frame(bench.now, &challenge(1, 3));
    bench.deliver(liar.address, &datagram);
    bench.converse(&mut liar);
    bench.assert_works(&mut liar);
    bench.assert_works(&mut honest);
}

#[test]
fn an_older_notice_is_ignored() {
    let mut bench = Bench::new(11);
    let mut peer = bench.peer(1);
    let old = peer.frame(bench.now, &notice(10, &[]));
    tell(&mut bench, &peer, &notice(11, &[(0, 1, false)]));
    let paths = bench.paths(&peer);
    bench.deliver(peer.address, &old);
    assert_eq!(bench.paths(&peer).len(), paths.len());
    tell(&mut bench, &peer, &notice(11, &[]));
    assert_eq!(bench.paths(&peer).len(), paths.len(), "nor one with the same number");
    bench.assert_works(&mut peer);
}

#[test]
fn answers_to_challenges_nobody_sent_prove_nothing() {
    let mut bench = Bench::new(12);
    let mut rogue = bench.peer(1);
    let datagram = rogue.frame(bench.now, &challenge(1, 1));
    bench.deliver(victim(1), &datagram);
    for nonce in 0..1_000 {
        let response =
            Frame::PathResponse(PathResponse { nonce, interface: InterfaceId(0), generation: 1, observed: LOCAL });
        let datagram = rogue.frame(bench.now, &response);
        bench.deliver(victim(1), &datagram);
    }
    let path = bench.paths(&rogue).into_iter().find(|path| path.kind == PathKind::Direct(victim(1))).unwrap();
    assert!(!path.proven);
    bench.assert_works(&mut rogue);
}

#[test]
fn an_answer_to_an_old_challenge_counts_once() {
    let mut bench = Bench::new(13);
    let mut peer = bench.peer(1);
    // The path is asked within the next heartbeats.
    let mut nonces = Vec::new();
    bench.advance_with(20 * SECOND, |bench, _| {
        for datagram in bench.take_sent_to(peer.address) {
            let Some(plaintext) = peer.open(bench.now, &datagram) else { continue };
            if let Ok(Frame::PathChallenge(challenge)) = Frame::parse(&plaintext) {
                nonces.push(challenge.nonce);
            }
        }
        for &nonce in &nonces {
            let response =
                Frame::PathResponse(PathResponse { nonce, interface: InterfaceId(0), generation: 1, observed: LOCAL });
            for _ in 0..2 {
                tell(bench, &peer, &response);
            }
        }
    });
    assert!(!nonces.is_empty());
    let before = bench.paths(&peer)[0];
    bench.advance(5 * MS);
    for nonce in nonces {
        let response =
            Frame::PathResponse(PathResponse { nonce, interface: InterfaceId(0), generation: 1, observed: LOCAL });
        tell(&mut bench, &peer, &response);
    }
    assert_eq!(bench.paths(&peer)[0].rtt, before.rtt, "an old answer makes no round-trip time");
    bench.assert_works(&mut peer);
}

#[test]
fn a_storm_of_handshakes_by_a_peer_leaves_the_newest_keys_working_and_other_peers_alone() {
    let mut bench = Bench::new(14);
    let mut rogue = bench.peer(1);
    let mut honest = bench.peer(2);
    for round in 0..300 {
        bench.advance(20 * MS);
        let init = rogue.begin(bench.now, bench.key.public());
        bench.deliver(rogue.address, &init);
        let answers = bench.take_sent_to(rogue.address);
        // Only now and then does it go on to use what was agreed.
        if round % 10 == 0 {
            assert!(answers.iter().any(|answer| rogue.finish(bench.now, answer)), "round {round}");
            bench.assert_works(&mut honest);
        }
        bench.converse(&mut honest);
    }
    bench.assert_works(&mut honest);
    bench.assert_no_amplification(&[rogue.address, honest.address]);
    assert_eq!(bench.events.iter().filter(|event| matches!(event, Event::PeerUp { .. })).count(), 0);
    let init = rogue.begin(bench.now, bench.key.public());
    bench.deliver(rogue.address, &init);
    let answers = bench.take_sent_to(rogue.address);
    assert!(answers.iter().any(|answer| rogue.finish(bench.now, answer)));
    bench.assert_works(&mut rogue);
}

#[test]
fn packets_for_a_peer_that_never_answers_are_bounded_and_so_are_the_handshakes() {
    let mut bench = Bench::new(15);
    let silent = Puppet::new(1);
    bench.direct(&silent, Vec::new());
    for _ in 0..10_000 {
        bench.send(&silent, 1_400);
    }
    assert!(bench.node.stats().packets_dropped >= 9_900);
    bench.advance(60 * SECOND);
    let sent = bench.take_sent_to(silent.address);
    assert!(sent.len() < 60, "{} datagrams to somebody who never answered", sent.len());
    // Some six, and each again while the coordinator does not answer.
    assert!(bench.asked.len() < 40, "{} directions asked for in a minute", bench.asked.len());
    assert!(bench.events.contains(&Event::PeerLost { peer: silent.record.node_id() }));
}
