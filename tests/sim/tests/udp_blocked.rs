//! Networks that let no UDP through: nodes there go by streams to the relay, and by UDP again where they can.

// Clippy sees no test in a test's helper.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;

use common::{MINUTE, MS, SECOND, Scene, address, assert_none_missing, connect, is_direct, paths};
use ntm_node::{DropReason, StreamId, StreamOrder};
use ntm_proto::id::InterfaceId;
use ntm_proto::wire::outer;
use ntm_proto::wire::stream::Carried;
use ntm_sim::net::{Families, NatKind, Place, RouterConfig};
use ntm_sim::scenarios::spot::Spot;
use ntm_sim::stream::Source;
use ntm_sim::world::{Family, NODE_PORT, RELAY_PORT, Who, World};

const CONE: NatKind = NatKind::PORT_RESTRICTED_CONE;
const NAT: Spot = Spot::V4Nat(CONE);

/// A hotel: NAT, and nothing but the web.
fn hotel(world: &mut World) -> Place {
    let site = world.net.add_site(Families::DUAL);
    world.net.add_router(site, RouterConfig { udp_blocked: true, ..RouterConfig::home(CONE) })
}

/// A node in a network of its own without UDP, registered.
fn guest(scene: &mut Scene, label: &str, families: Families) -> usize {
    let place = hotel(&mut scene.world);
    let node = scene.node_at(label, place, families);
    let world = &mut scene.world;
    assert!(world.run_while(6 * SECOND, |world| !world.is_registered(node)), "{label} registers");
    node
}

/// A transfer of some length, both ways, from one to the other.
fn assert_transfers(scene: &mut Scene, from: usize, to: usize, family: Family) {
    let world = &mut scene.world;
    connect(world, from, to);
    let transfer = world.transfer(from, to, family, Source::bulk(1, 200_000), Source::bulk(2, 200_000));
    world.run_while(MINUTE, |_| !transfer.is_complete() && transfer.verdict().is_ok());
    assert!(transfer.is_complete() && transfer.verdict().is_ok(), "{:?}", transfer.verdict());
}

#[test]
fn a_node_without_udp_registers_and_talks_to_nodes_of_every_kind() {
    for (seed, families) in (1..).zip([Families::V4, Families::V6, Families::DUAL]) {
        for spot in [Spot::V4Global, NAT, Spot::V4Nat(NatKind::SYMMETRIC), Spot::V6Only, Spot::Dual] {
            let mut scene = Scene::new(seed);
            let caged = guest(&mut scene, "caged", families);
            let free = scene.node("free", spot);
            scene.world.run_for(3 * SECOND);
            assert_transfers(&mut scene, caged, free, Family::V4);
            assert_transfers(&mut scene, free, caged, Family::V6);
            assert!(!is_direct(&paths(&scene.world, caged, free)[0]), "{spot:?}");
        }
    }
}

#[test]
fn two_nodes_without_udp_talk_to_each_other_for_as_long_as_a_grant_lasts() {
    let mut scene = Scene::new(2);
    let [a, b] = ["a", "b"].map(|label| guest(&mut scene, label, Families::V4));
    connect(&mut scene.world, a, b);
    let until = scene.world.now() + 50 * MINUTE;
    let beat = scene.world.beat(a, b, Family::V4, SECOND, until);
    scene.world.run_for(51 * MINUTE);
    assert_none_missing(&beat);
}

#[test]
fn a_conversation_goes_on_into_a_network_without_udp_and_out_again() {
    for seed in 3..8 {
        let (mut scene, a, b) = Scene::connected(seed, NAT, Spot::V4Global);
        let world = &mut scene.world;
        let source = Source { length: 1_800_000, ..Source::steady(1, 60_000, 1_000) };
        let transfer = world.transfer(a, b, Family::V4, source, Source::bulk(2, 500));
        world.run_for(5 * SECOND);
        let caged = hotel(world);
        world.attach(a, 0, caged, Families::V4, 10);
        let before = transfer.server_progress().received;
        world.run_for(10 * SECOND);
        assert!(transfer.server_progress().received > before, "seed {seed}: it goes on without UDP");
        assert!(world.is_registered(a) && !is_direct(&paths(world, a, b)[0]));
        let free = Spot::V4Global.build(world);
        world.attach(a, 0, free, Families::V4, 10);
        world.run_for(8 * SECOND);
        assert!(is_direct(&paths(world, a, b)[0]), "seed {seed}: {:?}", paths(world, a, b));
        world.run_while(3 * MINUTE, |_| !transfer.is_complete() && transfer.verdict().is_ok());
        assert!(transfer.is_complete(), "seed {seed}: {:?}", transfer.verdict());
    }
}

#[test]
fn a_relay_that_starts_anew_is_connected_to_again() {
    let mut scene = Scene::new(9);
    let a = guest(&mut scene, "a", Families::V4);
    let b = scene.node("b", Spot::V4Global);
    scene.world.run_for(3 * SECOND);
    connect(&mut scene.world, a, b);
    scene.world.restart(Who::Relay(scene.relay));
    scene.world.run_for(30 * SECOND);
    assert_transfers(&mut scene, a, b, Family::V4);
}

#[test]
fn with_one_relay_dead_another_carries_what_is_for_the_coordinator() {
    let mut scene = Scene::new(10);
    let site = scene.world.net.add_site(Families::DUAL);
    scene.world.add_relay(scene.domain, site, Families::DUAL);
    scene.world.set_up(Who::Relay(scene.relay), false);
    let place = hotel(&mut scene.world);
    let a = scene.node_at("a", place, Families::V4);
    assert!(scene.world.run_while(MINUTE, |world| !world.is_registered(a)));
}

#[test]
fn with_udp_and_a_dead_coordinator_no_stream_is_opened() {
    let (mut scene, a, _) = Scene::with_pair(11, NAT, NAT);
    scene.world.set_up(Who::Director(scene.director), false);
    let mut opened = 0;
    for _ in 0..300 {
        scene.world.run_for(SECOND);
        scene.world.engine(a, |_, engine| {
            opened += usize::from(matches!(engine.poll_stream(), Some(StreamOrder::Open { .. })));
        });
    }
    assert_eq!(opened, 0, "the relay answers by UDP");
}

/// What nobody but the relay may say: whoever forges it must not keep a node from its stream.
#[test]
fn forged_answers_keep_nobody_from_going_by_a_stream() {
    let mut scene = Scene::new(12);
    let place = hotel(&mut scene.world);
    let node = scene.node_at("a", place, Families::V4);
    let world = &mut scene.world;
    let local = SocketAddr::new(address(world, node, 0), NODE_PORT);
    let relay = world.net.addresses(world.host_of(Who::Relay(scene.relay)), 0)[0];
    let relay = SocketAddr::new(relay, RELAY_PORT);
    for number in 0_u64..300 {
        world.run_for(20 * MS);
        let mut forged = outer::emit_relay_pong(number, local);
        world.engine(node, |now, engine| {
            engine.handle_datagram(now, InterfaceId(0), local, relay, &mut forged);
        });
    }
    assert!(world.is_registered(node));
}

/// Whoever has the relay's end of a stream can say what comes from the relay and the coordinators, and nothing else.
#[test]
fn a_stream_speaks_for_nobody_but_its_relay_and_the_coordinators() {
    let mut scene = Scene::new(13);
    let node = guest(&mut scene, "a", Families::V4);
    let peer: SocketAddr = "20.9.9.9:4500".parse().unwrap();
    let whole = Carried::Relay(&outer::PUNCH).emit();
    for (stream, frame, reason) in [
        (1, Carried::Director(peer, &outer::PUNCH).emit(), DropReason::Unexpected),
        (1, vec![0, 0], DropReason::Malformed),
        (1, vec![0, 2, 9, 9], DropReason::Malformed),
        (1, vec![0xff, 0xff, 0], DropReason::Malformed),
        (1, [&whole[..], &[0]].concat(), DropReason::Malformed),
        (99, whole.clone(), DropReason::UnknownEndpoint),
    ] {
        let mut frame = frame;
        scene.world.engine(node, |now, engine| {
            let before = engine.stats().dropped(reason);
            assert!(engine.handle_frame(now, StreamId(stream), &mut frame).is_none());
            assert_eq!(engine.stats().dropped(reason), before + 1, "{frame:?}");
        });
    }
    assert!(scene.world.is_registered(node));
}
