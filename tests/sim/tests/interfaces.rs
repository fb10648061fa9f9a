//! Several interfaces at once: which paths there are, which of them carries what, and what happens when
//! an interface goes.
//!
//! ```text
//!   a/0 ── site ──┐        ┌── site ── b/0
//!                 core ────┤
//!   a/1 ── site ──┘        └── site ── b/1
//! ```

// Clippy sees no test in a test's helper.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{MS, SECOND, Scene, Wire, address, assert_whole, connect, is_direct, path_changes, paths};
use ntm_node::{FlowKey, FlowPolicy, FlowPreference, PathView};
use ntm_proto::id::InterfaceId;
use ntm_proto::time::Instant;
use ntm_sim::net::{Families, LinkProfile, LinkRef, Place};
use ntm_sim::world::{Family, World};

/// Two nodes with two interfaces each, every interface at a site of its own; costs by node and interface.
fn set_up(seed: u64, costs: [[u8; 2]; 2]) -> (Scene, [usize; 2], [[Place; 2]; 2]) {
    let mut scene = Scene::new(seed);
    let world = &mut scene.world;
    let places = [[(); 2]; 2].map(|side| side.map(|()| world.net.add_site(Families::V4)));
    let nodes = ["a", "b"].map(|label| world.add_node(scene.domain, label));
    for (node, (places, costs)) in nodes.into_iter().zip(places.iter().zip(costs)) {
        for (iface, (&place, cost)) in (0u8..).zip(places.iter().zip(costs)) {
            world.attach(node, iface, place, Families::V4, cost);
        }
    }
    world.run_for(3 * SECOND);
    connect(world, nodes[0], nodes[1]);
    world.run_for(5 * SECOND);
    (scene, nodes, places)
}

fn unplug_silently(world: &mut World, node: usize, iface: u8) {
    let host = world.node(node).host();
    world.net.set_link_up(LinkRef::Access(host, iface), false);
}

#[test]
fn every_pair_of_interfaces_becomes_a_path_at_both_ends() {
    let (scene, nodes, _) = set_up(1, [[10, 10], [10, 10]]);
    for (here, there) in [(nodes[0], nodes[1]), (nodes[1], nodes[0])] {
        let direct: Vec<PathView> = paths(&scene.world, here, there).into_iter().filter(is_direct).collect();
        for own in 0..2 {
            for remote in 0..2 {
                let to = address(&scene.world, there, remote);
                let found = direct.iter().find(|path| {
                    path.interface == InterfaceId(own)
                        && matches!(path.kind, ntm_node::PathKind::Direct(peer) if peer.ip() == to)
                });
                assert!(found.is_some_and(|path| path.proven), "{own} to {remote}: {direct:?}");
            }
        }
        assert_eq!(direct.len(), 4);
    }
}

/// Flows to odd ports leave by interface 1, all others by interface 0, where there is such a path.
struct ByPort;

impl FlowPolicy for ByPort {
    fn choose(&self, flow: &FlowKey, paths: &[PathView]) -> FlowPreference {
        let wanted = InterfaceId((flow.destination_port % 2) as u8);
        let place = paths.iter().position(|path| path.interface == wanted && is_direct(path));
        place.map_or(FlowPreference::Best, FlowPreference::Path)
    }
}

/// Datagrams of a beat that left one interface of `node` since `since`; probes and the like are fewer.
fn left(world: &World, wire: &Wire, node: usize, iface: u8, other: usize, since: Instant) -> usize {
    let from = address(world, node, iface);
    (0..2).map(|remote| wire.one_way(from, address(world, other, remote), since).0).sum()
}

#[test]
fn flows_take_the_interface_their_policy_names_and_another_when_that_goes() {
    let (mut scene, [a, b], _) = set_up(2, [[10, 10], [10, 10]]);
    let world = &mut scene.world;
    let wire = Wire::tap(world);
    world.engine(a, |_, node| node.set_flow_policy(Some(Box::new(ByPort))));
    let until = world.now() + 20 * SECOND;
    // Ports count up from 20,001: the first flow is odd, the second even.
    let odd = world.beat(a, b, Family::V4, 20 * MS, until);
    let since = world.now();
    world.run_for(5 * SECOND);
    let (by_0, by_1) = (left(world, &wire, a, 0, b, since), left(world, &wire, a, 1, b, since));
    assert!(by_1 >= 245 && by_0 < 60, "the odd flow: {by_0} by interface 0, {by_1} by interface 1");
    let even = world.beat(a, b, Family::V4, 20 * MS, until);
    let since = world.now();
    world.run_for(5 * SECOND);
    let (by_0, by_1) = (left(world, &wire, a, 0, b, since), left(world, &wire, a, 1, b, since));
    assert!(by_0 >= 245 && by_1 >= 245, "both flows: {by_0} by interface 0, {by_1} by interface 1");

    let since = world.now();
    world.interface_ending(a, 1);
    world.run_for(100 * MS);
    world.detach(a, 1);
    world.run_for(12 * SECOND);
    assert!(left(world, &wire, a, 0, b, since) >= 950, "both by interface 0");
    assert_whole(&odd);
    assert_whole(&even);
}

#[test]
fn the_cheaper_interface_carries_everything_until_it_goes_and_again_when_it_is_back() {
    let (mut scene, [a, b], places) = set_up(3, [[50, 1], [10, 10]]);
    let world = &mut scene.world;
    // The dearer way is much faster, and yet not taken.
    world.net.set_core_latency(places[0][1], places[1][0], 60 * MS);
    world.net.set_core_latency(places[0][1], places[1][1], 60 * MS);
    world.run_for(5 * SECOND);
    let active = |world: &World| paths(world, a, b)[0];
    assert_eq!(active(world).interface, InterfaceId(1), "{:?}", paths(world, a, b));
    let until = world.now() + 30 * SECOND;
    let beat = world.beat(a, b, Family::V4, 20 * MS, until);
    world.run_for(3 * SECOND);
    assert_eq!(active(world).interface, InterfaceId(1));
    world.interface_ending(a, 1);
    world.run_for(200 * MS);
    assert_eq!(active(world).interface, InterfaceId(0));
    world.detach(a, 1);
    world.run_for(5 * SECOND);
    world.attach(a, 1, places[0][1], Families::V4, 1);
    world.run_for(5 * SECOND);
    assert_eq!(active(world).interface, InterfaceId(1), "{:?}", paths(world, a, b));
    world.run_for(20 * SECOND);
    assert_whole(&beat);
}

#[test]
fn traffic_leaves_an_interface_that_becomes_dearer_at_both_ends_and_loses_nothing() {
    let (mut scene, [a, b], _) = set_up(16, [[1, 10], [10, 10]]);
    let world = &mut scene.world;
    let until = world.now() + 10 * SECOND;
    let beat = world.beat(a, b, Family::V4, 5 * MS, until);
    world.run_for(2 * SECOND);
    assert_eq!(paths(world, a, b)[0].interface, InterfaceId(0));
    let addresses = vec![std::net::SocketAddr::new(address(world, a, 0), ntm_sim::world::NODE_PORT)];
    world.engine(a, |now, node| {
        let name = ntm_proto::id::DeviceName::parse("sim0").unwrap();
        let metered = ntm_node::LocalInterface { id: InterfaceId(0), name, addresses, cost: 200, network: 1 };
        node.handle_interface(now, metered);
    });
    let since = world.now();
    world.run_for(5 * SECOND);
    assert_eq!(paths(world, a, b)[0].interface, InterfaceId(1), "{:?}", paths(world, a, b));
    let there = paths(world, b, a)[0].kind;
    let expected = address(world, a, 1);
    assert!(matches!(there, ntm_node::PathKind::Direct(peer) if peer.ip() == expected), "{there:?}");
    assert!(path_changes(world, a, since) <= 2);
    world.run_for(5 * SECOND);
    assert_whole(&beat);
}

#[test]
fn an_interface_that_dies_without_notice_costs_less_than_a_second() {
    for seed in 4..9 {
        let (mut scene, [a, b], _) = set_up(seed, [[1, 10], [1, 10]]);
        let world = &mut scene.world;
        let until = world.now() + 20 * SECOND;
        let beat = world.beat(a, b, Family::V4, 5 * MS, until);
        world.run_for(5 * SECOND);
        let broken = world.now();
        beat.forget_gaps(broken);
        unplug_silently(world, a, 0);
        world.run_for(10 * SECOND);
        let gaps = [beat.received_here(), beat.received_there()].map(|got| got.longest_gap(world.now()));
        assert!(gaps.iter().all(|gap| *gap < Duration::from_secs(1)), "seed {seed}: {gaps:?}");
        assert!(path_changes(world, a, broken) <= 2, "seed {seed}: {:?}", world.events(a));
    }
}

#[test]
fn a_peer_whose_interface_dies_without_notice_is_followed() {
    let (mut scene, [a, b], _) = set_up(9, [[1, 10], [1, 10]]);
    let world = &mut scene.world;
    let until = world.now() + 20 * SECOND;
    let beat = world.beat(a, b, Family::V4, 5 * MS, until);
    world.run_for(5 * SECOND);
    beat.forget_gaps(world.now());
    unplug_silently(world, b, 0);
    world.run_for(10 * SECOND);
    let gaps = [beat.received_here(), beat.received_there()].map(|got| got.longest_gap(world.now()));
    assert!(gaps.iter().all(|gap| *gap < Duration::from_secs(1)), "{gaps:?}");
}

#[test]
fn two_paths_that_are_nearly_alike_do_not_take_turns() {
    for seed in 10..14 {
        let (mut scene, [a, b], places) = set_up(seed, [[10, 10], [10, 10]]);
        let world = &mut scene.world;
        for (here, there, latency) in [(0, 0, 20), (0, 1, 21), (1, 0, 19), (1, 1, 22)] {
            world.net.set_core_latency(places[0][here], places[1][there], latency * MS);
        }
        for node in [a, b] {
            for iface in 0..2 {
                let host = world.node(node).host();
                let mut profile = LinkProfile::with_latency(1 * MS);
                profile.jitter = 8 * MS;
                world.net.set_link(LinkRef::Access(host, iface), profile);
            }
        }
        world.run_for(10 * SECOND);
        let since = world.now();
        let beat = world.beat(a, b, Family::V4, 20 * MS, since + 300 * SECOND);
        world.run_for(302 * SECOND);
        assert_whole(&beat);
        let changes = [path_changes(world, a, since), path_changes(world, b, since)];
        assert!(changes.iter().all(|changes| *changes <= 3), "seed {seed}: {changes:?} changes in five minutes");
    }
}

#[test]
fn a_much_faster_path_is_taken_when_it_appears() {
    let (mut scene, [a, b], places) = set_up(15, [[10, 10], [10, 10]]);
    let world = &mut scene.world;
    let until = world.now() + 60 * SECOND;
    let beat = world.beat(a, b, Family::V4, 20 * MS, until);
    for here in 0..2 {
        for there in 0..2 {
            world.net.set_core_latency(places[0][here], places[1][there], 60 * MS);
        }
    }
    world.run_for(30 * SECOND);
    world.net.set_core_latency(places[0][1], places[1][1], 5 * MS);
    world.run_for(32 * SECOND);
    let active = paths(world, a, b)[0];
    assert_eq!(active.interface, InterfaceId(1), "{:?}", paths(world, a, b));
    assert_whole(&beat);
}
