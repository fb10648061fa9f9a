//! The same seed gives the same run, datagram for datagram.

mod common;

use common::{MS, SECOND, Scene};
use ntm_sim::net::{LinkProfile, LinkRef, NatKind, Probability};
use ntm_sim::scenarios::spot::Spot;
use ntm_sim::stream::Source;
use ntm_sim::world::{Family, Who};

/// A busy run: loss, a transfer, a move, a restart. Gives its fingerprint.
fn run(seed: u64) -> (u64, String) {
    let nat = Spot::V4Nat(NatKind::PORT_RESTRICTED_CONE);
    let (mut scene, a, b) = Scene::connected(seed, nat, Spot::Dual);
    let host = scene.world.node(a).host();
    let mut profile = LinkProfile::with_latency(5 * MS);
    profile.loss = Probability::percent(1.0);
    profile.jitter = 4 * MS;
    profile.duplicate = Probability::percent(1.0);
    scene.world.net.set_link(LinkRef::Access(host, 0), profile);
    let up = Source::steady(1, 100_000, 1_000);
    let transfer = scene.world.transfer(a, b, Family::V4, Source { length: 500_000, ..up }, Source::bulk(2, 100_000));
    scene.world.run_for(2 * SECOND);
    let place = Spot::Dual.build(&mut scene.world);
    scene.world.attach(a, 0, place, Spot::Dual.families(), 10);
    scene.world.run_for(2 * SECOND);
    scene.world.restart(Who::Director(scene.director));
    scene.world.run_for(60 * SECOND);
    let told = [a, b].map(|node| (scene.world.events(node).to_vec(), scene.world.node(node).engine().stats().clone()));
    (scene.world.net.digest(), format!("{told:?} {:?}", transfer.server_progress()))
}

#[test]
fn one_seed_is_one_run() {
    assert_eq!(run(1), run(1));
}

#[test]
fn another_seed_is_another_run() {
    assert_ne!(run(1).0, run(2).0);
}
