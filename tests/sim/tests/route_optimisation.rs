//! Relayed first, direct as soon as a direct path proves itself, and nothing lost in between.

mod common;

use common::{MS, SECOND, Scene, assert_none_missing, connect, is_direct, paths};
use ntm_sim::net::NatKind;
use ntm_sim::scenarios::spot::Spot;
use ntm_sim::stream::Source;
use ntm_sim::world::{Family, Who};

const NAT: Spot = Spot::V4Nat(NatKind::PORT_RESTRICTED_CONE);
const SYMMETRIC: Spot = Spot::V4Nat(NatKind::SYMMETRIC);

#[test]
fn traffic_between_cone_nats_leaves_the_relay_and_loses_nothing() {
    for seed in 1..6 {
        let (mut scene, a, b) = Scene::with_pair(seed, NAT, NAT);
        let world = &mut scene.world;
        world.connect(a, b);
        world.run_while(SECOND, |world| !(world.node(a).has_resolved()));
        let until = world.now() + 10 * SECOND;
        let beat = world.beat(a, b, Family::V4, 5 * MS, until);
        world.run_for(3 * SECOND);
        for (here, there) in [(a, b), (b, a)] {
            let active = paths(world, here, there)[0];
            assert!(is_direct(&active) && active.proven, "seed {seed}: {:?}", paths(world, here, there));
        }
        let forwarded = world.relay(scene.relay).forwarded();
        world.run_for(8 * SECOND);
        assert_none_missing(&beat);
        // Only probes keep the relayed path warm.
        let more = world.relay(scene.relay).forwarded() - forwarded;
        assert!(more < 4_000, "seed {seed}: {more} bytes through the relay beside 700,000 of traffic");
    }
}

#[test]
fn traffic_between_symmetric_nats_stays_on_the_relay_and_loses_nothing() {
    let (mut scene, a, b) = Scene::with_pair(6, SYMMETRIC, SYMMETRIC);
    let world = &mut scene.world;
    connect(world, a, b);
    let until = world.now() + 30 * SECOND;
    let beat = world.beat(a, b, Family::V4, 20 * MS, until);
    world.run_for(32 * SECOND);
    assert_none_missing(&beat);
    assert!(!is_direct(&paths(world, a, b)[0]));
    assert!(world.relay(scene.relay).forwarded() > 2 * 1_400 * 200);
}

#[test]
fn a_transfer_survives_the_switch_and_the_death_of_the_relay_after_it() {
    let (mut scene, a, b) = Scene::with_pair(7, NAT, NAT);
    let world = &mut scene.world;
    world.connect(a, b);
    world.run_while(SECOND, |world| !(world.node(a).has_resolved() && world.node(b).has_resolved()));
    let source = Source { length: 3_000_000, ..Source::steady(1, 300_000, 1_000) };
    let transfer = world.transfer(a, b, Family::V4, source, Source::bulk(2, 100_000));
    world.run_for(3 * SECOND);
    world.set_up(Who::Relay(scene.relay), false);
    world.run_while(60 * SECOND, |_| !transfer.is_complete() && transfer.verdict().is_ok());
    assert_eq!(transfer.verdict(), Ok(()));
    assert!(transfer.is_complete());
}

#[test]
fn when_the_direct_path_breaks_traffic_falls_back_to_the_relay_and_returns_later() {
    let (mut scene, a, b) = Scene::connected(8, NAT, NAT);
    let world = &mut scene.world;
    let until = world.now() + 200 * SECOND;
    let beat = world.beat(a, b, Family::V4, 20 * MS, until);
    world.run_for(5 * SECOND);
    assert!(is_direct(&paths(world, a, b)[0]));
    let sites = [a, b].map(|node| world.net.place(world.node(node).host(), 0).expect("attached"));
    let core = ntm_sim::net::LinkRef::Core(sites[0], sites[1]);
    world.net.set_link_up(core, false);
    beat.forget_gaps(world.now());
    world.run_for(20 * SECOND);
    assert!(!is_direct(&paths(world, a, b)[0]));
    let gap = beat.received_here().longest_gap(world.now()).max(beat.received_there().longest_gap(world.now()));
    assert!(gap < SECOND, "{gap:?} without anything");
    world.net.set_link_up(core, true);
    // A failed path is tried again after a minute, and has to live its losses down.
    world.run_for(150 * SECOND);
    assert!(is_direct(&paths(world, a, b)[0]), "{:?}", paths(world, a, b));
}
