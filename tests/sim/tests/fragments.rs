//! Virtual packets that are larger than what the path carries.

// Clippy sees no test in a test's helper.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::Ipv4Addr;

use common::{MINUTE, MS, SECOND, Scene, Wire, address, assert_whole, connect};
use ntm_node::SendError;
use ntm_sim::net::{Drop, LinkProfile, LinkRef, NatKind, Way};
use ntm_sim::scenarios::spot::Spot;
use ntm_sim::stream::Source;
use ntm_sim::world::{Family, World};

const NAT: Spot = Spot::V4Nat(NatKind::PORT_RESTRICTED_CONE);
/// The payload that makes a virtual IPv4 packet of exactly the virtual MTU.
const FULL: usize = ntm_node::VIRTUAL_MTU - 28;

fn set_mtu(world: &mut World, node: usize, ways: &[Way], mtu: u16) {
    let host = world.node(node).host();
    for &way in ways {
        let profile = LinkProfile { mtu, ..LinkProfile::IDEAL };
        world.net.set_link_way(LinkRef::Access(host, 0), way, profile);
    }
}

/// Registers two nodes, of which `a` is behind a link with this MTU, and connects them.
fn narrow(seed: u64, spots: [Spot; 2], ways: &[Way], mtu: u16) -> (Scene, usize, usize) {
    let (mut scene, a, b) = Scene::with_pair(seed, spots[0], spots[1]);
    set_mtu(&mut scene.world, a, ways, mtu);
    connect(&mut scene.world, a, b);
    scene.world.run_for(5 * SECOND);
    (scene, a, b)
}

#[test]
fn full_size_packets_cross_a_path_of_1280_bytes_both_ways() {
    for spots in [[Spot::V4Global, Spot::V4Global], [NAT, NAT], [Spot::V6Only, Spot::V6Only], [Spot::V6Only, NAT]] {
        for ways in [&[Way::Up, Way::Down][..], &[Way::Up], &[Way::Down]] {
            let (mut scene, a, b) = narrow(1, spots, ways, 1_280);
            let world = &mut scene.world;
            let (start, stop) = (world.now(), world.now() + 10 * SECOND);
            let beat = world.beat_of(a, b, Family::V4, |mut voice| {
                voice.size = FULL;
                voice.interval(Some(10 * MS)).between(start, stop)
            });
            world.run_for(12 * SECOND);
            assert_whole(&beat);
        }
    }
}

#[test]
fn on_an_ethernet_path_full_size_packets_travel_whole() {
    for spots in [[Spot::V4Global, Spot::V4Global], [Spot::V6Only, Spot::V6Only], [Spot::V6Only, NAT]] {
        let (mut scene, a, b) = Scene::connected(2, spots[0], spots[1]);
        let world = &mut scene.world;
        let before = world.node(a).sent();
        let (start, stop) = (world.now(), world.now() + 10 * SECOND);
        let beat = world.beat_of(a, b, Family::V4, |mut voice| {
            voice.size = FULL;
            voice.interval(Some(10 * MS)).between(start, stop)
        });
        world.run_for(12 * SECOND);
        assert_whole(&beat);
        let sent = world.node(a).sent() - before;
        assert!(sent < beat.sent_here() * 11 / 10, "{sent} datagrams for {} packets", beat.sent_here());
    }
}

#[test]
fn a_path_that_narrows_under_a_transfer_is_noticed() {
    let (mut scene, a, b) = Scene::connected(3, Spot::V4Global, Spot::V4Global);
    let world = &mut scene.world;
    let (start, stop) = (world.now(), world.now() + 60 * SECOND);
    let beat = world.beat_of(a, b, Family::V4, |mut voice| {
        voice.size = FULL;
        voice.interval(Some(20 * MS)).between(start, stop)
    });
    world.run_for(5 * SECOND);
    set_mtu(world, a, &[Way::Up, Way::Down], 1_280);
    world.run_for(30 * SECOND);
    let before = [beat.received_here().received, beat.received_there().received];
    world.run_for(10 * SECOND);
    let since = [beat.received_here().received - before[0], beat.received_there().received - before[1]];
    assert!(since.iter().all(|since| *since >= 495), "{since:?} of 500 after half a minute");
}

#[test]
fn a_transfer_over_a_narrow_path_arrives_whole_and_little_of_it_is_dropped() {
    let (mut scene, a, b) = narrow(4, [NAT, Spot::V6Only], &[Way::Up, Way::Down], 1_280);
    let world = &mut scene.world;
    let dropped = world.net.counters().dropped(Drop::TooBig);
    let transfer = world.transfer(a, b, Family::V6, Source::bulk(1, 400_000), Source::bulk(2, 400_000));
    world.run_while(MINUTE, |_| !transfer.is_complete() && transfer.verdict().is_ok());
    assert_eq!(transfer.verdict(), Ok(()));
    assert!(transfer.is_complete());
    // Probes for more capacity, no data.
    assert!(world.net.counters().dropped(Drop::TooBig) - dropped < 10);
}

/// A virtual IPv4 packet of `length` bytes with a payload that shows every misplaced byte.
fn jumbo(from: Ipv4Addr, to: Ipv4Addr, length: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    packet[..20].fill(0);
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    packet[8] = 64;
    packet[9] = 253;
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    packet
}

#[test]
fn a_packet_may_have_any_length_up_to_65535() {
    for spots in [[Spot::V4Global, Spot::V4Global], [Spot::V6Only, NAT]] {
        let (mut scene, a, b) = Scene::connected(5, spots[0], spots[1]);
        let world = &mut scene.world;
        let (from, to) = (world.node(a).addresses().unwrap().0, world.node(b).addresses().unwrap().0);
        for length in [20, 21, 1_399, 1_400, 1_401, 2_800, 9_000, 65_534, 65_535] {
            let packet = jumbo(from, to, length);
            world.engine(a, |now, node| node.send(now, &packet)).unwrap();
            world.run_for(100 * MS);
            assert_eq!(world.node_mut(b).take_stray(), Some(packet), "{length} bytes");
            assert_eq!(world.node_mut(b).take_stray(), None);
        }
        let too_long = vec![0x45; 65_576];
        assert_eq!(world.engine(a, |now, node| node.send(now, &too_long)), Err(SendError::TooLong));
    }
}

#[test]
fn packets_the_node_cannot_send_are_refused_by_reason() {
    let (mut scene, a, b) = Scene::connected(6, Spot::V4Global, Spot::V4Global);
    let world = &mut scene.world;
    let wire = Wire::tap(world);
    let (from, to) = (world.node(a).addresses().unwrap().0, world.node(b).addresses().unwrap().0);
    let since = world.now();
    let mut send = |packet: &[u8]| world.engine(a, |now, node| node.send(now, packet));
    assert_eq!(send(&[]), Err(SendError::Malformed));
    assert_eq!(send(&jumbo(from, to, 40)[..19]), Err(SendError::Malformed));
    assert_eq!(send(&[0x60; 39]), Err(SendError::Malformed));
    assert_eq!(send(&[0x10; 60]), Err(SendError::Malformed));
    assert_eq!(send(&jumbo(to, from, 40)), Err(SendError::NotMine));
    assert_eq!(send(&jumbo(Ipv4Addr::UNSPECIFIED, to, 40)), Err(SendError::NotMine));
    assert_eq!(send(&jumbo(from, Ipv4Addr::new(198, 18, 0, 1), 40)), Err(SendError::NoSuchPeer));
    assert_eq!(send(&jumbo(from, from, 40)), Err(SendError::NoSuchPeer));
    let (here, there) = (address(world, a, 0), address(world, b, 0));
    assert_eq!(wire.between(here, there, since, world.now() + MS), 0);
}
