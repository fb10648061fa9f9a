//! Applications over a bare pipe: what they report is what happened to their packets.

// Clippy sees no test in a test's helper.
#![allow(clippy::unwrap_used)]

use ntm_proto::time::Instant;
use ntm_sim::rng::Dice;
use ntm_sim::stream::{Cbr, CbrConfig, Role, Source, TcpConfig, TcpPeer, VIRTUAL_MTU};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

const LATENCY: Duration = Duration::from_millis(20);

fn endpoint(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn v4() -> (SocketAddr, SocketAddr) {
    (endpoint("198.18.0.1:40000"), endpoint("198.18.0.2:80"))
}

fn v6() -> (SocketAddr, SocketAddr) {
    (endpoint("[fd00::1]:40000"), endpoint("[fd00::2]:80"))
}

/// What the pipe does to a packet: when it arrives, if ever, and what as.
type Fate<'a> = &'a mut dyn FnMut(Instant, usize, &mut Vec<u8>) -> Vec<Duration>;

/// Runs two peers over a pipe until nothing is left to do or `end`; the time it ended.
fn run(peers: &mut [TcpPeer; 2], start: Instant, end: Instant, fate: Fate<'_>) -> Instant {
    let mut now = start;
    let mut flying: BTreeMap<(Instant, u64), (usize, Vec<u8>)> = BTreeMap::new();
    let mut sequence = 0;
    loop {
        for side in 0..2 {
            while let Some(mut packet) = peers[side].poll_packet(now) {
                assert!(packet.len() <= VIRTUAL_MTU);
                assert!(peers[1 - side].owns(&packet));
                for delay in fate(now, side, &mut packet) {
                    flying.insert((now + delay, sequence), (1 - side, packet.clone()));
                    sequence += 1;
                }
            }
        }
        for peer in &mut *peers {
            assert!(
                peer.poll_timeout(now).is_none_or(|at| at > now),
                "it has nothing to say and wants to be asked again"
            );
        }
        if peers.iter().all(TcpPeer::is_complete) {
            return now;
        }
        let next_packet = flying.first_key_value().map(|((at, _), _)| *at);
        let timers = [peers[0].poll_timeout(now), peers[1].poll_timeout(now)];
        let Some(next) = timers.into_iter().chain([next_packet]).flatten().min().filter(|next| *next <= end) else {
            return end;
        };
        now = next;
        while let Some(entry) = flying.first_entry().filter(|entry| entry.key().0 <= now) {
            let (side, packet) = entry.remove();
            peers[side].handle_packet(now, &packet);
        }
    }
}

fn pair(client: TcpConfig) -> [TcpPeer; 2] {
    [TcpPeer::new(client), TcpPeer::new(client.mirrored())]
}

fn ends() -> Instant {
    Instant::from_millis(600_000)
}

#[test]
fn bytes_flow_both_ways_over_ipv4_and_ipv6_and_both_ends_close() {
    for (local, remote) in [v4(), v6()] {
        let config = TcpConfig::new(Role::Connect, local, remote)
            .send(Source::bulk(1, 3_000_000))
            .expect(Source::bulk(2, 1_000_001));
        let mut peers = pair(config);
        run(&mut peers, Instant::ZERO, ends(), &mut |_, _, _| vec![LATENCY]);
        for peer in &peers {
            assert_eq!(peer.verdict(), Ok(()));
            assert!(peer.is_complete(), "{peer:?}");
            assert_eq!(peer.progress().received, peer.config().expect.length);
        }
        assert_eq!(peers[0].progress().connected_at, Some(Instant::ZERO + 2 * LATENCY));
        assert_eq!(peers[1].progress().first_byte_at, Some(Instant::ZERO + 3 * LATENCY), "with the handshake's end");
    }
}

#[test]
fn loss_duplication_and_reordering_do_not_reach_the_application() {
    for seed in 0..20 {
        let mut dice = Dice::new(seed);
        let (local, remote) = v4();
        let config = TcpConfig::new(Role::Connect, local, remote)
            .send(Source::bulk(seed, 300_000))
            .expect(Source::bulk(!seed, 300_000))
            .seed(seed);
        let mut peers = pair(config);
        run(&mut peers, Instant::ZERO, ends(), &mut |_, _, _| {
            let copies = [1, 1, 1, 1, 1, 1, 1, 1, 0, 2][dice.below(10) as usize];
            (0..copies).map(|_| LATENCY + dice.duration_below(LATENCY)).collect()
        });
        for peer in &peers {
            assert_eq!(peer.verdict(), Ok(()), "seed {seed}");
            assert!(peer.is_complete(), "seed {seed}: {peers:?}");
        }
    }
}

#[test]
fn a_network_that_changes_bytes_is_found_out_at_the_offset() {
    let (local, remote) = v4();
    let mut peers = pair(TcpConfig::new(Role::Connect, local, remote).send(Source::bulk(1, 100_000)));
    run(&mut peers, Instant::ZERO, ends(), &mut |_, side, packet| {
        if side == 0 && packet.len() == VIRTUAL_MTU {
            let last = packet.len() - 1;
            packet[last] ^= 0x80;
        }
        vec![LATENCY]
    });
    let corruption = peers[1].progress().corruption.expect("the receiver looks at every byte");
    let per_segment = (VIRTUAL_MTU - 40) as u64;
    assert_eq!(corruption.offset % per_segment, per_segment - 1);
    assert!(peers[1].verdict().is_err());
    assert_eq!(peers[0].verdict(), Ok(()));
}

#[test]
fn an_end_that_sends_too_little_is_a_broken_connection() {
    let (local, remote) = v4();
    let client = TcpConfig::new(Role::Connect, local, remote).send(Source::bulk(1, 1_000));
    let mut server = client.mirrored();
    server.expect = Source::bulk(1, 1_001);
    let mut peers = [TcpPeer::new(client), TcpPeer::new(server)];
    run(&mut peers, Instant::ZERO, ends(), &mut |_, _, _| vec![LATENCY]);
    assert!(peers[1].verdict().is_err_and(|text| text.contains("1000 of 1001")), "{:?}", peers[1].verdict());
}

#[test]
fn a_steady_source_keeps_its_rate_and_its_stalls_are_those_of_the_network() {
    let (local, remote) = v4();
    let steady = Source::steady(1, 100_000, 1_000);
    let mut peers = pair(TcpConfig::new(Role::Connect, local, remote).send(steady).expect(steady));
    let seconds = |seconds: u64| Instant::from_millis(seconds * 1_000);
    let now = run(&mut peers, Instant::ZERO, seconds(10), &mut |_, _, _| vec![LATENCY]);
    for peer in &peers {
        assert!((980_000..=1_001_000).contains(&peer.progress().received), "{}", peer.progress().received);
        assert!(peer.longest_stall(now) <= LATENCY + Duration::from_millis(10), "{:?}", peer.longest_stall(now));
    }
    // Nothing for 300 ms: the next timer of the sender is later, so its receiver waits for longer.
    let outage = seconds(11)..Instant::from_millis(11_300);
    let now =
        run(&mut peers, now, seconds(20), &mut |now, _, _| if outage.contains(&now) { vec![] } else { vec![LATENCY] });
    assert!(peers[1].longest_stall(now) > Duration::from_millis(300));
    peers[1].forget_stalls(now);
    assert_eq!(peers[1].longest_stall(now), Duration::ZERO);
}

#[test]
fn a_steady_source_waits_while_the_network_takes_nothing() {
    let (local, remote) = v4();
    let config = TcpConfig::new(Role::Connect, local, remote).send(Source::steady(1, 100_000, 512)).buffer(65_536);
    let mut peers = pair(config);
    let now = run(&mut peers, Instant::ZERO, Instant::from_millis(1_000), &mut |_, _, _| vec![LATENCY]);
    let now = run(&mut peers, now, Instant::from_millis(30_000), &mut |_, _, _| vec![]);
    let now = run(&mut peers, now, Instant::from_millis(40_000), &mut |_, _, _| vec![LATENCY]);
    assert!(peers[1].progress().received > 3_900_000, "it has caught up: {:?}", peers[1].progress());
    assert!(peers[1].longest_stall(now) > Duration::from_secs(29));
    assert_eq!(peers[1].verdict(), Ok(()));
}

#[test]
fn after_a_path_change_everything_lost_is_sent_again_at_once() {
    let (local, remote) = v6();
    let mut peers = pair(TcpConfig::new(Role::Connect, local, remote).send(Source::bulk(1, u64::MAX)));
    let cut = Instant::from_millis(1_000);
    let mended = Instant::from_millis(1_500);
    let now = run(&mut peers, Instant::ZERO, cut, &mut |_, _, _| vec![LATENCY]);
    let now = run(&mut peers, now, mended, &mut |_, _, _| vec![]);
    let before = peers[1].progress().received;
    peers[1].forget_stalls(now);
    peers[0].path_changed(now);
    let now = run(&mut peers, now, mended + 10 * LATENCY, &mut |_, _, _| vec![LATENCY]);
    assert!(peers[1].progress().received > before + 1_000_000, "{}", peers[1].progress().received - before);
    assert!(peers[1].longest_stall(now) <= 2 * LATENCY, "{:?}", peers[1].longest_stall(now));
    assert_eq!(peers[1].verdict(), Ok(()));
}

#[test]
fn a_connection_request_lost_in_a_path_change_is_repeated_at_once() {
    let (local, remote) = v4();
    let mut peers =
        pair(TcpConfig::new(Role::Connect, local, remote).send(Source::bulk(1, 10)).expect(Source::bulk(2, 10)));
    let mended = Instant::from_millis(100);
    let now = run(&mut peers, Instant::ZERO, mended, &mut |_, _, _| vec![]);
    peers[0].path_changed(now);
    run(&mut peers, now, mended + 3 * LATENCY, &mut |_, _, _| vec![LATENCY]);
    assert_eq!(peers[0].progress().connected_at, Some(mended + 2 * LATENCY));
}

#[test]
fn the_same_seed_makes_the_same_packets() {
    let record = || {
        let (local, remote) = v4();
        let mut dice = Dice::new(3);
        let mut peers = pair(TcpConfig::new(Role::Connect, local, remote).send(Source::bulk(1, 50_000)));
        let mut packets = Vec::new();
        run(&mut peers, Instant::ZERO, ends(), &mut |now, side, packet| {
            packets.push((now, side, packet.clone()));
            if dice.chance(1, 10) { vec![] } else { vec![LATENCY] }
        });
        packets
    };
    assert_eq!(record(), record());
}

fn flow(fate: &mut dyn FnMut(u64) -> Vec<Duration>, datagrams: u64) -> Cbr {
    let (local, remote) = v6();
    let config = CbrConfig::voice(local, remote, 7);
    let mut sender = Cbr::new(config);
    let mut receiver = Cbr::new(config.mirrored().interval(None));
    let mut arrivals: BTreeMap<(Instant, u64), Vec<u8>> = BTreeMap::new();
    for sequence in 0..datagrams {
        let now = sender.poll_timeout(Instant::ZERO).unwrap();
        assert_eq!(now, Instant::from_millis(20 * sequence));
        let packet = sender.poll_packet(now).unwrap();
        assert!(receiver.owns(&packet));
        assert_eq!(sender.poll_packet(now), None);
        for delay in fate(sequence) {
            arrivals.insert((now + delay, arrivals.len() as u64), packet.clone());
        }
    }
    for ((at, _), packet) in arrivals {
        receiver.handle_packet(at, &packet);
    }
    assert_eq!(receiver.poll_timeout(Instant::ZERO), None, "it only receives");
    receiver
}

#[test]
fn a_flow_counts_what_is_lost_doubled_and_late() {
    let receiver = flow(
        &mut |sequence| match sequence {
            10..=14 => vec![],
            20 => vec![LATENCY, LATENCY],
            30 => vec![LATENCY + Duration::from_millis(50)],
            99 => vec![],
            _ => vec![LATENCY],
        },
        100,
    );
    let reception = receiver.reception();
    assert_eq!((reception.received, reception.lost(), reception.missing(100)), (94, 5, 6));
    assert_eq!((reception.duplicates, reception.late, reception.alien), (1, 1, 0));
    assert_eq!(reception.longest_gap, Duration::from_millis(6 * 20));
    assert_eq!(reception.least_delay, Some(LATENCY));
    assert_eq!(reception.greatest_delay, Some(LATENCY + Duration::from_millis(50)));
}

#[test]
fn a_flow_takes_no_strangers_datagram() {
    let (local, remote) = v4();
    let config = CbrConfig::voice(local, remote, 7);
    let mut stranger = Cbr::new(CbrConfig { flow: 8, ..config });
    let mut receiver = Cbr::new(config.mirrored());
    let mut packet = stranger.poll_packet(Instant::ZERO).unwrap();
    receiver.handle_packet(Instant::ZERO, &packet);
    packet.truncate(30);
    receiver.handle_packet(Instant::ZERO, &packet);
    receiver.handle_packet(Instant::ZERO, &[]);
    let mut own = Cbr::new(config).poll_packet(Instant::ZERO).unwrap();
    *own.last_mut().unwrap() ^= 1;
    receiver.handle_packet(Instant::ZERO, &own);
    assert_eq!((receiver.reception().received, receiver.reception().alien), (0, 4));
}
