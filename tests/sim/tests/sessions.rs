//! Tunnels over time: keys are renewed under traffic, silence costs nothing, and traffic after a long
//! silence finds its way.

// Clippy sees no test in a test's helper.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::bench::Bench;
use common::{
    MINUTE, MS, RTT, SECOND, Scene, Wire, address, assert_none_missing, assert_whole, count, path_changes, paths,
};
use ntm_node::Event;
use ntm_sim::net::{Drop, LinkProfile, LinkRef, NatKind, Probability};
use ntm_sim::scenarios::spot::Spot;
use ntm_sim::world::{Beat, Family, Who, World};

const NAT: Spot = Spot::V4Nat(NatKind::PORT_RESTRICTED_CONE);

/// Tunes the access links of both nodes.
fn spoil(world: &mut World, nodes: [usize; 2], profile: LinkProfile) {
    for node in nodes {
        let host = world.node(node).host();
        world.net.set_link(LinkRef::Access(host, 0), profile);
    }
}

fn missing(beat: &Beat) -> u64 {
    beat.received_here().missing(beat.sent_there()) + beat.received_there().missing(beat.sent_here())
}

#[test]
fn renewing_keys_for_half_an_hour_loses_nothing_though_datagrams_overtake_each_other_and_come_twice() {
    let (mut scene, a, b) = Scene::connected(1, Spot::V4Global, NAT);
    let world = &mut scene.world;
    let mut profile = LinkProfile::with_latency(5 * MS);
    profile.jitter = 3 * MS;
    profile.reorder = Probability::percent(5.0);
    profile.reorder_delay = 30 * MS;
    profile.duplicate = Probability::percent(2.0);
    spoil(world, [a, b], profile);
    let until = world.now() + 30 * MINUTE;
    let beat = world.beat(a, b, Family::V4, 20 * MS, until);
    world.run_for(30 * MINUTE + SECOND);
    assert_whole(&beat);
    assert!(beat.sent_here() > 80_000);
    let begun: u64 = [a, b].iter().map(|&node| world.node(node).engine().stats().handshakes_begun).sum();
    assert!((14..=60).contains(&begun), "{begun} handshakes in thirty minutes");
}

#[test]
fn renewing_keys_on_lossy_links_loses_only_what_the_network_loses() {
    for seed in 2..5 {
        let (mut scene, a, b) = Scene::connected(seed, Spot::V4Global, Spot::V4Global);
        let world = &mut scene.world;
        let mut profile = LinkProfile::with_latency(5 * MS);
        profile.loss = Probability::percent(2.0);
        profile.reorder = Probability::percent(2.0);
        profile.reorder_delay = 20 * MS;
        spoil(world, [a, b], profile);
        let dropped = world.net.counters().dropped(Drop::Loss);
        let until = world.now() + 30 * MINUTE;
        let beat = world.beat(a, b, Family::V6, 40 * MS, until);
        world.run_for(30 * MINUTE + SECOND);
        let dropped = world.net.counters().dropped(Drop::Loss) - dropped;
        assert!(missing(&beat) <= dropped, "seed {seed}: {} missing, {dropped} dropped", missing(&beat));
        assert_eq!(beat.received_here().duplicates + beat.received_there().duplicates, 0);
        assert_eq!(count(world, a, |event| matches!(event, Event::PeerLost { .. })), 0, "seed {seed}");
        let changes = path_changes(world, a, ntm_proto::time::Instant::ZERO);
        assert!(changes <= 12, "seed {seed}: {changes} changes of path");
    }
}

#[test]
fn an_idle_tunnel_falls_silent() {
    let (mut scene, a, b) = Scene::connected(6, Spot::V4Global, Spot::V4Global);
    let wire = Wire::tap(&mut scene.world);
    let world = &mut scene.world;
    let until = world.now() + SECOND;
    let beat = world.beat(a, b, Family::V4, 20 * MS, until);
    world.run_for(10 * MINUTE);
    assert_whole(&beat);
    let quiet = world.now();
    world.run_for(60 * MINUTE);
    let (here, there) = (address(world, a, 0), address(world, b, 0));
    assert_eq!(wire.between(here, there, quiet, world.now()), 0);
    let relay = world.net.addresses(world.relay(scene.relay).host(), 0)[0];
    // Six surveys of the relay, answered.
    let to_relay = wire.between(here, relay, quiet, world.now());
    assert!(to_relay <= 14, "{to_relay} datagrams between node and relay in an hour");
    let director = world.net.addresses(world.director(scene.director).host(), 0)[0];
    let to_director = wire.between(here, director, quiet, world.now());
    // A keep-alive each 25 s and its answer; a new key each two minutes with confirmation and its answer.
    assert!(to_director <= 2 * 144 + 4 * 30 + 30, "{to_director} datagrams between node and coordinator in an hour");
}

/// Traffic for a second, silence for `pause`, traffic again.
fn sleep_and_wake(here: Spot, there: Spot, pause: Duration) {
    let (mut scene, a, b) = Scene::connected(7, here, there);
    let world = &mut scene.world;
    let until = world.now() + SECOND;
    world.beat(a, b, Family::V4, 20 * MS, until);
    world.run_for(pause);
    let woken = world.now();
    let beat = world.beat(a, b, Family::V4, 20 * MS, woken + 5 * SECOND);
    world.run_for(8 * SECOND);
    let named = format!("{pause:?} {} {}", here.name(), there.name());
    let got = beat.received_there();
    assert_eq!(got.missing(beat.sent_here()), 0, "{named}");
    assert_eq!(beat.received_here().missing(beat.sent_there()), 0, "{named}");
    // Keys and paths have to be made anew, by way of the coordinator where NATs have closed.
    let first = got.first_at.unwrap().since(woken);
    assert!(first <= 6 * RTT, "{named}: the first packet took {first:?}");
}

#[test]
fn an_idle_tunnel_wakes_with_the_first_packet() {
    for pause in [6 * MINUTE, 20 * MINUTE, 180 * MINUTE] {
        sleep_and_wake(Spot::V4Global, Spot::V4Global, pause);
        sleep_and_wake(NAT, Spot::V4Global, pause);
        sleep_and_wake(NAT, NAT, pause);
    }
    sleep_and_wake(Spot::V6Only, NAT, 20 * MINUTE);
}

#[test]
fn a_relayed_tunnel_wakes_though_its_grant_has_expired() {
    sleep_and_wake(Spot::V6Only, NAT, 180 * MINUTE);
}

#[test]
fn an_idle_tunnel_wakes_though_the_coordinator_is_dead() {
    let (mut scene, a, b) = Scene::connected(8, Spot::V4Global, Spot::V4Global);
    let world = &mut scene.world;
    let until = world.now() + SECOND;
    world.beat(a, b, Family::V4, 20 * MS, until);
    world.set_up(Who::Director(scene.director), false);
    world.run_for(30 * MINUTE);
    let woken = world.now();
    let beat = world.beat(a, b, Family::V4, 20 * MS, woken + 5 * SECOND);
    world.run_for(8 * SECOND);
    assert_none_missing(&beat);
    assert!(beat.received_there().first_at.unwrap().since(woken) <= 3 * RTT);
}

#[test]
fn a_peer_that_restarted_is_met_again() {
    let (mut scene, a, b) = Scene::connected(9, Spot::V4Global, NAT);
    let world = &mut scene.world;
    let until = world.now() + 60 * SECOND;
    let beat = world.beat(a, b, Family::V4, 20 * MS, until);
    world.run_for(5 * SECOND);
    world.restart(Who::Node(b));
    world.run_for(40 * SECOND);
    let before = beat.received_there().received;
    world.run_for(10 * SECOND);
    let since = beat.received_there().received - before;
    assert!(since >= 495, "{since} of 500 arrive again: {:?}", world.events(a));
}

#[test]
fn a_peer_that_is_gone_is_reported_within_half_a_minute_and_met_when_it_is_back() {
    let (mut scene, a, b) = Scene::connected(10, Spot::V4Global, NAT);
    let world = &mut scene.world;
    let until = world.now() + 10 * MINUTE;
    let beat = world.beat(a, b, Family::V4, 100 * MS, until);
    world.run_for(5 * SECOND);
    let host = world.node(b).host();
    world.net.set_link_up(LinkRef::Access(host, 0), false);
    world.run_for(30 * SECOND);
    let peer = world.node(b).id();
    assert_eq!(count(world, a, |event| *event == Event::PeerLost { peer }), 1, "{:?}", world.events(a));
    world.run_for(2 * MINUTE);
    assert_eq!(count(world, a, |event| *event == Event::PeerLost { peer }), 1, "told once");
    world.net.set_link_up(LinkRef::Access(host, 0), true);
    let back = world.now();
    let before = beat.received_there().received;
    world.run_while(60 * SECOND, |_| beat.received_there().received == before);
    let waited = world.now().since(back);
    assert!(waited <= Duration::from_secs(35), "{waited:?} until the first packet");
}

/// No path works for longer than keys last; gives how long the first packet after that took.
fn outlast_the_keys(seed: u64, outage: Duration, coordinator: bool) -> Duration {
    let (mut scene, a, b) = Scene::connected(seed, Spot::V6Only, NAT);
    let (relay, director) = (Who::Relay(scene.relay), Who::Director(scene.director));
    let world = &mut scene.world;
    let until = world.now() + outage + 3 * MINUTE;
    let beat = world.beat(a, b, Family::V4, 100 * MS, until);
    world.run_for(5 * SECOND);
    world.set_up(relay, false);
    world.set_up(director, coordinator);
    world.run_for(outage);
    world.set_up(relay, true);
    let back = world.now();
    let before = (beat.received_here().received, beat.received_there().received);
    let met = world.run_while(2 * MINUTE, |_| {
        beat.received_here().received == before.0 || beat.received_there().received == before.1
    });
    assert!(met, "no packet in two minutes after {outage:?}: {:?}", paths(world, a, b));
    world.now().since(back)
}

#[test]
fn peers_meet_again_though_no_path_worked_for_longer_than_keys_last() {
    // Found by chaos, seeds 559 and 1024: without keys nobody asked the paths that had failed, not even with a handshake.
    for (seed, outage) in (11..).zip([4 * MINUTE, 5 * MINUTE + 17 * SECOND, 20 * MINUTE]) {
        let waited = outlast_the_keys(seed, outage, true);
        assert!(waited <= 5 * SECOND, "{waited:?} after {outage:?}");
    }
}

#[test]
fn peers_meet_again_after_the_keys_are_gone_though_the_coordinator_is_dead() {
    for (seed, outage) in (21..).zip([4 * MINUTE, 5 * MINUTE + 17 * SECOND, 20 * MINUTE]) {
        let waited = outlast_the_keys(seed, outage, false);
        assert!(waited <= 5 * SECOND, "{waited:?} after {outage:?}");
    }
}

#[test]
fn a_silent_peer_that_comes_back_after_the_keys_are_gone_is_talked_to_at_once() {
    for silence in (182..290).step_by(9) {
        let mut bench = Bench::new(30);
        let mut peer = bench.peer(1);
        bench.send(&peer, 100);
        bench.advance(Duration::from_secs(silence));
        bench.take_sent_to(peer.address);
        let init = peer.begin(bench.now, bench.key.public());
        bench.deliver(peer.address, &init);
        let sent = bench.sent.clone();
        assert!(sent.iter().any(|sent| peer.finish(bench.now, &sent.datagram)), "after {silence} s");
        bench.converse(&mut peer);
        bench.assert_works(&mut peer);
    }
}
