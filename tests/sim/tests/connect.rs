//! Asking for the way to a node: by which name, what comes back, and how soon.

// Clippy sees no test in a test's helper.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{MS, RTT, SECOND, Scene, assert_none_missing, assert_whole, connect, count, first};
use ntm_node::{Event, FailReason};
use ntm_proto::id::{Fqdn, PathId};
use ntm_proto::time::Instant;
use ntm_proto::wire::message::{ErrorCode, Target};
use ntm_sim::net::NatKind;
use ntm_sim::scenarios::spot::Spot;
use ntm_sim::world::{Family, Who, World};

const NAT: Spot = Spot::V4Nat(NatKind::PORT_RESTRICTED_CONE);

fn ask(world: &mut World, node: usize, target: Target) -> PathId {
    world.engine(node, |now, engine| engine.connect(now, target)).unwrap()
}

fn name(text: &str) -> Target {
    Target::Name(Fqdn::parse(text).unwrap())
}

/// When and why a request failed.
fn failure(world: &World, node: usize, path_id: PathId) -> Option<(Instant, FailReason)> {
    world.events(node).iter().find_map(|(at, event)| match event {
        Event::ConnectFailed { path_id: failed, reason } if *failed == path_id => Some((*at, *reason)),
        _ => None,
    })
}

fn is_resolved(world: &World, node: usize, path_id: PathId) -> bool {
    count(world, node, |event| matches!(event, Event::Resolved { path_id: resolved, .. } if *resolved == path_id)) > 0
}

#[test]
fn an_unknown_name_is_refused_in_one_round_trip() {
    let (mut scene, a, _) = Scene::with_pair(1, Spot::V4Global, NAT);
    let asked = scene.world.now();
    let path_id = ask(&mut scene.world, a, name("nobody.ntm.example"));
    scene.world.run_for(SECOND);
    let failed = failure(&scene.world, a, path_id);
    assert_eq!(failed, Some((asked + RTT, FailReason::Refused(ErrorCode::NoSuchNode))));
    scene.world.run_for(20 * SECOND);
    assert_eq!(count(&scene.world, a, |event| matches!(event, Event::ConnectFailed { .. })), 1, "told once");
}

#[test]
fn a_node_that_is_off_is_said_to_be_offline() {
    let (mut scene, a, b) = Scene::with_pair(2, Spot::V4Global, NAT);
    let host = scene.world.node(b).host();
    scene.world.net.set_host_up(host, false);
    scene.world.run_for(180 * SECOND);
    let asked = scene.world.now();
    let path_id = ask(&mut scene.world, a, name("b.ntm.example"));
    scene.world.run_for(SECOND);
    let failed = failure(&scene.world, a, path_id);
    assert_eq!(failed, Some((asked + RTT, FailReason::Refused(ErrorCode::NodeOffline))));
}

#[test]
fn an_unknown_domain_is_refused_and_not_waited_for() {
    let (mut scene, a, _) = Scene::with_pair(3, Spot::V4Global, NAT);
    let path_id = ask(&mut scene.world, a, name("b.elsewhere.example"));
    scene.world.run_for(13 * SECOND);
    let failed = failure(&scene.world, a, path_id);
    assert!(matches!(failed, Some((_, FailReason::Refused(ErrorCode::DomainUnreachable)))), "{failed:?}");
}

#[test]
fn a_node_that_asks_for_itself_is_told_so_soon() {
    let (mut scene, a, _) = Scene::with_pair(4, Spot::V4Global, NAT);
    let path_id = ask(&mut scene.world, a, name("a.ntm.example"));
    scene.world.run_for(SECOND);
    assert!(failure(&scene.world, a, path_id).is_some(), "{:?}", scene.world.events(a));
    assert!(scene.world.is_registered(a), "and stays registered");
}

#[test]
fn without_a_coordinator_connecting_ends_within_twelve_seconds() {
    let mut scene = Scene::new(5);
    scene.world.set_up(Who::Director(scene.director), false);
    let a = scene.node("a", Spot::V4Global);
    let path_id = ask(&mut scene.world, a, name("b.ntm.example"));
    scene.world.run_for(13 * SECOND);
    let failed = failure(&scene.world, a, path_id);
    assert_eq!(failed, Some((Instant::ZERO + 12 * SECOND, FailReason::NoDirector)));
}

#[test]
fn when_the_coordinator_dies_after_registration_connecting_ends_within_twelve_seconds() {
    let (mut scene, a, _) = Scene::with_pair(6, Spot::V4Global, NAT);
    scene.world.set_up(Who::Director(scene.director), false);
    let asked = scene.world.now();
    let path_id = ask(&mut scene.world, a, name("b.ntm.example"));
    scene.world.run_for(13 * SECOND);
    assert_eq!(failure(&scene.world, a, path_id), Some((asked + 12 * SECOND, FailReason::NoDirector)));
}

#[test]
fn a_name_asked_for_before_registration_is_resolved_after_it() {
    let (mut scene, _, _) = Scene::with_pair(7, Spot::V4Global, NAT);
    let c = scene.node("c", Spot::V4Global);
    let path_id = ask(&mut scene.world, c, name("b.ntm.example"));
    scene.world.run_for(SECOND);
    assert!(is_resolved(&scene.world, c, path_id), "{:?}", scene.world.events(c));
}

#[test]
fn a_name_is_resolved_soon_though_the_askers_router_has_just_been_given_another_address() {
    let mut scene = Scene::new(9);
    let behind = NAT.build(&mut scene.world);
    let a = scene.node_at("a", behind, NAT.families());
    scene.node("b", Spot::V4Global);
    scene.world.run_for(3 * SECOND);
    scene.world.net.renumber_nat(behind);
    let path_id = ask(&mut scene.world, a, name("b.ntm.example"));
    scene.world.run_for(SECOND);
    assert!(is_resolved(&scene.world, a, path_id), "{:?}", scene.world.events(a));
}

#[test]
fn a_request_goes_through_though_the_coordinator_has_just_forgotten_the_asker() {
    let (mut scene, a, b) = Scene::with_pair(8, Spot::V4Global, NAT);
    scene.world.restart(Who::Director(scene.director));
    let path_id = ask(&mut scene.world, a, name("b.ntm.example"));
    // Both must find out and register anew before the request can be answered.
    scene.world.run_for(60 * SECOND);
    let told = is_resolved(&scene.world, a, path_id) || failure(&scene.world, a, path_id).is_some();
    assert!(told, "the application is not left waiting");
    connect(&mut scene.world, a, b);
}

#[test]
fn a_virtual_address_and_a_node_id_lead_to_the_node_as_its_name_does() {
    for kind in 0..3 {
        let (mut scene, a, b) = Scene::with_pair(9, Spot::V4Global, NAT);
        let (v4, v6) = scene.world.node(b).addresses().unwrap();
        let target = match kind {
            0 => Target::Virtual4(v4),
            1 => Target::Virtual6(v6),
            _ => Target::Node(scene.world.node(b).id()),
        };
        let path_id = ask(&mut scene.world, a, target);
        scene.world.run_for(SECOND);
        let b_id = scene.world.node(b).id();
        let resolved = scene.world.events(a).iter().find_map(|(_, event)| match event {
            Event::Resolved { path_id: of, peer, name, virtual4, virtual6 } if *of == path_id => {
                Some((*peer, name.as_str().to_owned(), *virtual4, *virtual6))
            }
            _ => None,
        });
        assert_eq!(resolved, Some((b_id, "b.ntm.example".to_owned(), v4, v6)));
        assert_eq!(count(&scene.world, a, |event| *event == Event::PeerUp { peer: b_id }), 1);
    }
}

#[test]
fn two_nodes_that_connect_to_each_other_at_once_have_one_tunnel_that_carries_both_ways() {
    for seed in 10..20 {
        for spots in [[Spot::V4Global, Spot::V4Global], [NAT, NAT], [Spot::V6Only, NAT]] {
            let (mut scene, a, b) = Scene::with_pair(seed, spots[0], spots[1]);
            let world = &mut scene.world;
            world.connect(a, b);
            world.connect(b, a);
            let until = world.now() + 8 * SECOND;
            world.run_while(SECOND, |world| !world.node(a).has_resolved() || !world.node(b).has_resolved());
            let beat = world.beat(a, b, Family::V4, 10 * MS, until);
            world.run_for(10 * SECOND);
            for (here, there) in [(a, b), (b, a)] {
                let peer = world.node(there).id();
                assert_eq!(count(world, here, |event| *event == Event::PeerUp { peer }), 1, "{:?}", world.events(here));
                assert_eq!(count(world, here, |event| matches!(event, Event::PeerLost { .. })), 0);
            }
            assert_none_missing(&beat);
        }
    }
}

#[test]
fn asking_twice_for_one_name_asks_the_network_once() {
    let (mut scene, a, _) = Scene::with_pair(21, Spot::V4Global, NAT);
    let before = scene.world.director(0).core().stats().directions_asked;
    let one = ask(&mut scene.world, a, name("b.ntm.example"));
    let two = ask(&mut scene.world, a, name("b.ntm.example"));
    assert_eq!(one, two);
    scene.world.run_for(3 * SECOND);
    let three = ask(&mut scene.world, a, name("b.ntm.example"));
    assert!(is_resolved(&scene.world, a, three));
    assert_eq!(count(&scene.world, a, |event| matches!(event, Event::Resolved { .. })), 2, "the second at once");
    assert_eq!(scene.world.director(0).core().stats().directions_asked, before + 1);
}

#[test]
fn fifty_names_are_asked_for_at_once_and_all_come_up() {
    let mut scene = Scene::new(22);
    let a = scene.node("a", Spot::V4Global);
    let site = scene.world.net.add_site(ntm_sim::net::Families::DUAL);
    let others: Vec<usize> =
        (0..50).map(|number| scene.node_at(&format!("n{number}"), site, ntm_sim::net::Families::DUAL)).collect();
    scene.world.run_for(3 * SECOND);
    let asked = scene.world.now();
    for &other in &others {
        scene.world.connect(a, other);
    }
    scene.world.run_for(3 * SECOND);
    let up: BTreeSet<_> = scene
        .world
        .events(a)
        .iter()
        .filter_map(|(at, event)| match event {
            Event::PeerUp { peer } if *at < asked + SECOND => Some(*peer),
            _ => None,
        })
        .collect();
    assert_eq!(up.len(), 50);
    assert_eq!(count(&scene.world, a, |event| matches!(event, Event::ConnectFailed { .. })), 0);
    let last = others[49];
    let until = scene.world.now() + SECOND;
    let beat = scene.world.beat(a, last, Family::V6, 20 * MS, until);
    scene.world.run_for(2 * SECOND);
    assert_whole(&beat);
}

#[test]
fn more_names_than_the_bound_are_told_so_and_the_others_still_answered() {
    let (mut scene, a, _) = Scene::with_pair(23, Spot::V4Global, NAT);
    let asked: Vec<_> = (0..300)
        .map(|number| scene.world.engine(a, |now, node| node.connect(now, name(&format!("n{number}.ntm.example")))))
        .collect();
    let taken: Vec<PathId> = asked.iter().filter_map(|asked| asked.ok()).collect();
    assert!(taken.len() < 300 && taken.len() >= 200, "{} taken", taken.len());
    scene.world.run_for(15 * SECOND);
    for path_id in taken {
        assert!(failure(&scene.world, a, path_id).is_some());
    }
    let path_id = ask(&mut scene.world, a, name("b.ntm.example"));
    scene.world.run_for(SECOND);
    assert!(is_resolved(&scene.world, a, path_id));
}

#[test]
fn the_first_packet_waits_for_the_tunnel_and_is_not_lost() {
    let (mut scene, a, b) = Scene::with_pair(24, NAT, NAT);
    let world = &mut scene.world;
    world.connect(a, b);
    world.run_while(SECOND, |world| !world.node(a).has_resolved());
    let peer = world.node(b).id();
    assert_eq!(first(world, a, |event| *event == Event::PeerUp { peer }), None);
    let until = world.now() + Duration::from_millis(200);
    let beat = world.beat(a, b, Family::V4, 10 * MS, until);
    world.run_for(3 * SECOND);
    assert_none_missing(&beat);
}
