//! Being registered: how fast, and what happens when the coordinator restarts, dies, refuses or forgets.
//!
//! ```text
//!   a, b ── 10 ms ── DC ── (a second DC)
//! ```

// Clippy sees no test in a test's helper.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{MINUTE, RTT, SECOND, Scene, assert_whole, connect, count, first, path_changes};
use ntm_direction::DEFAULT_KEEP_ALIVE;
use ntm_node::Event;
use ntm_proto::crypto::Secret;
use ntm_proto::time::{Instant, UnixTime, WallClock};
use ntm_proto::wire::message::ErrorCode;
use ntm_sim::net::Families;
use ntm_sim::scenarios::spot::Spot;
use ntm_sim::world::{Family, Who, World};

fn registrations(scene: &Scene, node: usize) -> usize {
    count(&scene.world, node, |event| matches!(event, Event::Registered { .. }))
}

/// A twin of `node` at a site of its own.
fn start_twin(world: &mut World, node: usize, change: impl FnOnce(&mut ntm_node::Config)) -> usize {
    let twin = world.add_twin(node, change);
    let place = world.net.add_site(Families::V4);
    world.attach(twin, 0, place, Families::V4, 10);
    twin
}

#[test]
fn a_ticket_registers_in_one_round_trip() {
    let mut scene = Scene::new(1);
    let node = scene.node("a", Spot::V4Global);
    scene.world.run_for(RTT);
    assert!(scene.world.is_registered(node));
    let at = first(&scene.world, node, |event| matches!(event, Event::Registered { .. }));
    assert_eq!(at, Some(Instant::ZERO + RTT));
}

#[test]
fn the_virtual_addresses_survive_moves_and_restarts_of_both() {
    let mut scene = Scene::new(2);
    let node = scene.node("a", Spot::V4Global);
    scene.world.run_for(SECOND);
    let before = scene.world.node(node).addresses();
    assert!(before.is_some());
    scene.world.restart(Who::Node(node));
    scene.world.run_for(SECOND);
    let place = scene.world.net.add_site(Families::V6);
    scene.world.attach(node, 0, place, Families::V6, 10);
    scene.world.run_for(SECOND);
    assert!(scene.world.is_registered(node));
    assert_eq!(scene.world.node(node).addresses(), before);
}

#[test]
fn after_a_coordinators_restart_nodes_come_back_and_live_tunnels_never_notice() {
    let (mut scene, a, b) = Scene::connected(3, Spot::V4Global, Spot::V4Global);
    let world = &mut scene.world;
    let began = world.now();
    let beat = world.beat(a, b, Family::V4, Duration::from_millis(20), began + 3 * MINUTE);
    world.run_for(10 * SECOND);
    world.restart(Who::Director(scene.director));
    world.run_for(3 * MINUTE);
    assert_whole(&beat);
    assert_eq!((path_changes(world, a, began), path_changes(world, b, began)), (0, 0));
    assert!(world.is_registered(a) && world.is_registered(b));
    // The coordinator knows both again: a third node reaches them.
    let c = scene.node("c", Spot::V4Global);
    scene.world.run_for(SECOND);
    connect(&mut scene.world, c, a);
    connect(&mut scene.world, c, b);
}

#[test]
fn a_coordinator_that_lost_its_memory_knows_its_nodes_again_within_a_minute() {
    let mut scene = Scene::new(4);
    let a = scene.node("a", Spot::V4Global);
    scene.world.run_for(3 * SECOND);
    scene.world.restart(Who::Director(scene.director));
    scene.world.run_for(MINUTE);
    let c = scene.node("c", Spot::V4Global);
    scene.world.run_for(SECOND);
    connect(&mut scene.world, c, a);
    assert_eq!(count(&scene.world, a, |event| *event == Event::Superseded), 0);
}

#[test]
fn with_the_coordinator_dead_live_tunnels_go_on_through_rekeys() {
    let (mut scene, a, b) = Scene::connected(5, Spot::V4Global, Spot::V4Global);
    let world = &mut scene.world;
    world.set_up(Who::Director(scene.director), false);
    let began = world.now();
    let beat = world.beat(a, b, Family::V6, Duration::from_millis(20), began + 12 * MINUTE);
    let handshakes = world.node(a).engine().stats().handshakes_begun + world.node(b).engine().stats().handshakes_begun;
    world.run_for(12 * MINUTE + SECOND);
    assert_whole(&beat);
    let later = world.node(a).engine().stats().handshakes_begun + world.node(b).engine().stats().handshakes_begun;
    assert!(later - handshakes >= 5, "keys were renewed {} times in twelve minutes", later - handshakes);
    assert_eq!(count(world, a, |event| matches!(event, Event::PeerLost { .. })), 0);
    assert_eq!(count(world, a, |event| *event == Event::RegistrationLost), 1, "told once: {:?}", world.events(a));
}

#[test]
fn a_coordinator_that_comes_back_is_found_again() {
    let mut scene = Scene::new(6);
    let a = scene.node("a", Spot::V4Global);
    scene.world.run_for(SECOND);
    scene.world.set_up(Who::Director(scene.director), false);
    scene.world.run_for(10 * MINUTE);
    assert!(!scene.world.is_registered(a));
    scene.world.set_up(Who::Director(scene.director), true);
    scene.world.run_for(30 * SECOND);
    assert!(scene.world.is_registered(a));
    assert_eq!(registrations(&scene, a), 2);
}

/// A second coordinator of the same domain.
fn add_second_director(scene: &mut Scene) -> usize {
    let place = scene.world.net.add_site(Families::DUAL);
    scene.world.add_director(scene.domain, place, Families::DUAL)
}

#[test]
fn a_node_that_finds_the_first_coordinator_dead_registers_with_the_second() {
    let mut scene = Scene::new(7);
    let second = add_second_director(&mut scene);
    scene.world.set_up(Who::Director(scene.director), false);
    let a = scene.node("a", Spot::V4Global);
    let b = scene.node("b", Spot::V4Global);
    scene.world.run_for(5 * SECOND);
    assert!(scene.world.is_registered(a), "registered with the second coordinator");
    connect(&mut scene.world, a, b);
    assert!(scene.world.director(second).core().stats().registrations >= 2);
}

#[test]
fn when_the_coordinator_dies_its_nodes_meet_again_at_the_next() {
    let mut scene = Scene::new(8);
    add_second_director(&mut scene);
    let a = scene.node("a", Spot::V4Global);
    let b = scene.node("b", Spot::V4Global);
    scene.world.run_for(3 * SECOND);
    scene.world.set_up(Who::Director(scene.director), false);
    scene.world.run_for(MINUTE);
    assert!(scene.world.is_registered(a) && scene.world.is_registered(b));
    connect(&mut scene.world, a, b);
}

/// The nodes that a coordinator serves.
fn served(world: &World, director: usize) -> usize {
    world.director(director).core().gauges().online
}

#[test]
fn whenever_a_coordinator_dies_its_node_is_with_the_next_within_a_keep_alive_period() {
    for tenth in 0..10 {
        let mut scene = Scene::new(20 + u64::from(tenth));
        let second = add_second_director(&mut scene);
        let a = scene.node("a", Spot::V4Global);
        scene.world.run_for(3 * SECOND + DEFAULT_KEEP_ALIVE * tenth / 10);
        scene.world.set_up(Who::Director(scene.director), false);
        let there = scene.world.run_while(DEFAULT_KEEP_ALIVE, |world| served(world, second) == 0);
        assert!(there, "{tenth} tenths of a period after a keep-alive");
        assert_eq!(
            count(&scene.world, a, |event| *event == Event::RegistrationLost),
            0,
            "it was registered all the time"
        );
    }
}

#[test]
fn a_coordinator_that_answers_before_the_other_does_keeps_its_node() {
    let mut scene = Scene::new(30);
    let far = scene.world.net.add_site(Families::DUAL);
    let place = Spot::V4Global.build(&mut scene.world);
    scene.world.net.set_core_latency(place, far, 2 * SECOND);
    let second = scene.world.add_director(scene.domain, far, Families::DUAL);
    let [a, b] = ["a", "b"].map(|label| scene.node_at(label, place, Spot::V4Global.families()));
    scene.world.run_for(3 * SECOND);
    for silence in 0..DEFAULT_KEEP_ALIVE.as_secs() {
        scene.world.set_up(Who::Director(scene.director), false);
        scene.world.run_for(Duration::from_millis(1_200));
        scene.world.set_up(Who::Director(scene.director), true);
        scene.world.run_for(DEFAULT_KEEP_ALIVE - Duration::from_millis(200));
        assert_eq!((served(&scene.world, scene.director), served(&scene.world, second)), (2, 0), "silence {silence}");
    }
    assert!(scene.world.director(second).core().stats().handshakes_answered > 0, "it was asked");
    connect(&mut scene.world, b, a);
}

#[test]
fn the_older_of_two_with_one_identity_is_told_and_stays_silent() {
    let mut scene = Scene::new(9);
    let older = scene.node("a", Spot::V4Global);
    let other = scene.node("b", Spot::V4Global);
    scene.world.run_for(3 * SECOND);
    let newer = start_twin(&mut scene.world, older, |_| ());
    scene.world.run_for(MINUTE);
    assert_eq!(count(&scene.world, older, |event| *event == Event::Superseded), 1);
    assert!(!scene.world.is_registered(older));
    assert!(scene.world.is_registered(newer));
    assert_eq!(count(&scene.world, newer, |event| *event == Event::Superseded), 0);
    let sent = scene.world.node(older).sent();
    scene.world.run_for(30 * MINUTE);
    let place = scene.world.net.add_site(Families::V4);
    scene.world.attach(older, 0, place, Families::V4, 10);
    scene.world.run_for(MINUTE);
    assert_eq!(scene.world.node(older).sent(), sent, "not a datagram more");
    let refused = scene.world.engine(older, |now, node| {
        let name = ntm_proto::id::Fqdn::parse("b.ntm.example").unwrap();
        node.connect(now, ntm_proto::wire::message::Target::Name(name))
    });
    assert_eq!(refused, Err(ntm_node::ConnectError::Superseded));
    connect(&mut scene.world, other, newer);
}

#[test]
fn a_node_that_starts_again_with_its_clock_set_back_registers_all_the_same() {
    let mut scene = Scene::new(14);
    let before = scene.node("a", Spot::V4Global);
    let other = scene.node("b", Spot::V4Global);
    scene.world.run_for(3 * SECOND);
    // The world begins in 2026.
    let years_ago = UnixTime::from_secs(1_700_000_000);
    let after = start_twin(&mut scene.world, before, |config| config.wall = WallClock::new(Instant::ZERO, years_ago));
    scene.world.run_for(SECOND);
    assert!(scene.world.is_registered(after));
    let refused = |event: &Event| matches!(event, Event::RegistrationRefused(_));
    assert_eq!(count(&scene.world, after, refused), 0);
    connect(&mut scene.world, other, after);

    let elsewhere = scene.world.net.add_site(Families::V4);
    scene.world.attach(after, 0, elsewhere, Families::V4, 10);
    scene.world.run_for(MINUTE);
    assert!(scene.world.is_registered(after), "what it counts later rises too");
}

#[test]
fn an_expired_ticket_is_reported_and_a_new_login_mends_it() {
    let mut scene = Scene::new(10);
    // The world begins in 2026.
    let long_ago = UnixTime::from_secs(1_700_000_000);
    let key = Secret::new([7; 32]);
    let node = scene.world.add_node_with(scene.domain, "late", |domain, config| {
        config.ticket = domain.ticket(&config.record, &key, long_ago, [1; 24]);
        config.ticket_key = key.clone();
    });
    let place = scene.world.net.add_site(Families::V4);
    scene.world.attach(node, 0, place, Families::V4, 10);
    scene.world.run_for(10 * SECOND);
    assert!(!scene.world.is_registered(node));
    let told = |event: &Event| *event == Event::TicketRefused(ErrorCode::TicketExpired);
    assert_eq!(count(&scene.world, node, told), 1, "{:?}", scene.world.events(node));
    assert!(scene.world.node(node).sent() < 5, "it does not insist: {} datagrams", scene.world.node(node).sent());

    let record = scene.world.node(node).config().record.clone();
    let key = Secret::new([8; 32]);
    let ticket = scene.world.domains[scene.domain].ticket(&record, &key, UnixTime::from_secs(1_800_000_000), [2; 24]);
    scene.world.engine(node, |now, engine| engine.handle_ticket(now, record, ticket, key));
    scene.world.run_for(SECOND);
    assert!(scene.world.is_registered(node));
}

#[test]
fn a_sleeping_node_is_woken_for_whoever_asks() {
    let mut scene = Scene::new(11);
    let asker = scene.node("asker", Spot::V4Global);
    let sleeper =
        scene.world.add_node_with(scene.domain, "sleeper", |_, config| config.wake_token = Some(vec![1, 2, 3]));
    let place = scene.world.net.add_site(Families::V4);
    scene.world.attach(sleeper, 0, place, Families::V4, 10);
    scene.world.run_for(3 * SECOND);
    let host = scene.world.node(sleeper).host();
    scene.world.net.set_host_up(host, false);
    scene.world.run_for(10 * MINUTE);

    scene.world.connect(asker, sleeper);
    let woken = scene.world.run_while(SECOND, |world| world.director(0).wakes() == 0);
    assert!(woken, "the coordinator asks the push gateway: {:?}", scene.world.events(asker));
    // The push gateway takes half a second.
    scene.world.run_for(Duration::from_millis(500));
    scene.world.net.set_host_up(host, true);
    scene.world.engine(sleeper, |now, node| node.handle_wake(now));
    let peer = scene.world.node(sleeper).id();
    let up =
        scene.world.run_while(5 * SECOND, |world| count(world, asker, |event| *event == Event::PeerUp { peer }) == 0);
    assert!(up, "{:?} {:?}", scene.world.events(asker), scene.world.events(sleeper));
}
