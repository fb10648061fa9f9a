//! The virtual internet by itself: who is reached, as whom, when, and what stops a datagram.
// Clippy sees no test in a test's helper.
#![allow(clippy::unwrap_used)]

use ntm_proto::time::Instant;
use ntm_sim::net::{
    Delivery, Dependence, Drop, Families, FirewallKind, HostId, LinkProfile, LinkRef, NatKind, Network, Place, Ports,
    Probability, RouterConfig, SendError, V4, V6, What,
};
use ntm_sim::rng::Dice;
use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

const PORT: u16 = 5_000;

fn seconds(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1_000)
}

fn host(network: &mut Network, place: Place, families: Families) -> (HostId, Vec<SocketAddr>) {
    let host = network.add_host();
    let addresses = network.attach(host, 0, place, families);
    (host, addresses.into_iter().map(|ip| SocketAddr::new(ip, PORT)).collect())
}

/// A host with one IPv4 address.
fn host4(network: &mut Network, place: Place) -> (HostId, SocketAddr) {
    let (id, addresses) = host(network, place, Families::V4);
    (id, addresses[0])
}

fn send(network: &mut Network, now: Instant, (host, from): (HostId, SocketAddr), to: SocketAddr) {
    network.send(now, host, 0, from, to, vec![1, 2, 3]).unwrap();
}

/// Everything that arrives from now on.
fn drain(network: &mut Network) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while let Some(at) = network.next_event() {
        deliveries.extend(std::iter::from_fn(|| network.poll(at)));
    }
    deliveries
}

/// The source that `to` sees, where the datagram gets there.
fn seen_as(network: &mut Network, now: Instant, from: (HostId, SocketAddr), to: SocketAddr) -> Option<SocketAddr> {
    send(network, now, from, to);
    let deliveries = drain(network);
    assert!(deliveries.len() <= 1);
    deliveries.first().map(|delivery| delivery.from)
}

fn reaches(network: &mut Network, now: Instant, from: (HostId, SocketAddr), to: SocketAddr) -> bool {
    seen_as(network, now, from, to).is_some()
}

/// One host behind a NAT, three outside: two at one site, one at another.
struct Home {
    network: Network,
    inside: Place,
    laptop: (HostId, SocketAddr),
    servers: [(HostId, SocketAddr); 3],
}

fn home(kind: NatKind) -> Home {
    let mut network = Network::new(1);
    let sites = [0; 3].map(|_| network.add_site(Families::V4));
    let inside = network.add_nat(sites[0], kind);
    let laptop = host4(&mut network, inside);
    let servers = [sites[1], sites[1], sites[2]].map(|site| host4(&mut network, site));
    Home { network, inside, laptop, servers }
}

#[test]
fn every_global_address_is_reached_from_everywhere_at_the_latency_of_the_way() {
    let mut network = Network::new(1);
    let sites = [0; 3].map(|_| network.add_site(Families::DUAL));
    network.set_core_latency(sites[0], sites[1], Duration::from_millis(10));
    network.set_core_latency(sites[0], sites[2], Duration::from_millis(20));
    network.set_core_latency(sites[1], sites[2], Duration::from_millis(40));
    let hosts = sites.map(|site| host(&mut network, site, Families::DUAL));
    network.set_link(LinkRef::Access(hosts[0].0, 0), LinkProfile::with_latency(Duration::from_millis(3)));
    let expected = [[3 + 3, 13, 23], [13, 0, 40], [23, 40, 0]];
    let mut now = seconds(0);
    for (a, (from, sources)) in hosts.iter().enumerate() {
        for (b, (to, destinations)) in hosts.iter().enumerate() {
            for (source, destination) in sources.iter().zip(destinations) {
                now += Duration::from_secs(1);
                network.send(now, *from, 0, *source, *destination, b"x".to_vec()).unwrap();
                let arrived = drain(&mut network);
                let [delivery] = arrived.as_slice() else { panic!("{arrived:?}") };
                assert_eq!((delivery.host, delivery.local, delivery.from), (*to, *destination, *source));
                assert_eq!(delivery.at.since(now), Duration::from_millis(expected[a][b]), "{a} to {b}");
            }
        }
    }
}

#[test]
fn a_host_sends_only_from_addresses_it_has_and_only_while_it_is_up() {
    let Home { mut network, laptop: (laptop, address), servers, .. } = home(NatKind::FULL_CONE);
    let to = servers[0].1;
    let send = |network: &mut Network, iface, from| network.send(seconds(0), laptop, iface, from, to, vec![]);
    assert_eq!(send(&mut network, 0, servers[1].1), Err(SendError::BadSource));
    assert_eq!(send(&mut network, 0, "[2400::1]:1".parse().unwrap()), Err(SendError::BadSource));
    assert_eq!(send(&mut network, 1, address), Err(SendError::Down));
    network.set_host_up(laptop, false);
    assert_eq!(send(&mut network, 0, address), Err(SendError::Down));
    network.set_host_up(laptop, true);
    assert_eq!(send(&mut network, 0, address), Ok(()));
    network.detach(laptop, 0);
    assert_eq!(send(&mut network, 0, address), Err(SendError::Down));
}

#[test]
fn addresses_come_and_go_and_what_is_under_way_to_one_that_went_is_lost() {
    let Home { mut network, laptop, servers, .. } = home(NatKind::FULL_CONE);
    let (server, address) = servers[0];
    let second = SocketAddr::new(network.add_address(server, 0, Families::V4).unwrap(), PORT);
    assert_eq!(network.addresses(server, 0), [address.ip(), second.ip()]);
    assert!(reaches(&mut network, seconds(0), laptop, second));
    send(&mut network, seconds(1), laptop, second);
    assert!(network.remove_address(server, 0, second.ip()));
    assert!(!network.remove_address(server, 0, second.ip()));
    assert_eq!(drain(&mut network), []);
    assert!(reaches(&mut network, seconds(2), laptop, address));
    assert_eq!(network.counters().dropped(Drop::NoRoute), 1);
}

#[test]
fn a_host_that_moves_gets_a_new_address_and_its_old_one_is_dead() {
    let Home { mut network, inside, laptop, servers, .. } = home(NatKind::FULL_CONE);
    let elsewhere = network.place(servers[2].0, 0).unwrap();
    let old = seen_as(&mut network, seconds(0), laptop, servers[0].1).unwrap();
    let new = network.attach(laptop.0, 0, elsewhere, Families::V4)[0];
    assert_ne!(new, laptop.1.ip());
    assert_eq!(network.place(laptop.0, 0), Some(elsewhere));
    assert!(!reaches(&mut network, seconds(1), servers[0], old));
    assert!(reaches(&mut network, seconds(1), servers[0], SocketAddr::new(new, PORT)));
    assert_eq!(network.nat_mappings(inside, seconds(1)), 1, "the NAT knows nothing of the move");
}

#[test]
fn a_host_that_moves_to_a_faster_network_does_not_wait_for_the_slower_one() {
    let Home { mut network, laptop, servers, .. } = home(NatKind::FULL_CONE);
    let (slow, fast) = (Duration::from_millis(300), Duration::from_millis(1));
    network.set_link(LinkRef::Access(laptop.0, 0), LinkProfile::with_latency(slow));
    let place = network.place(servers[2].0, 0).unwrap();
    send(&mut network, seconds(0), laptop, servers[2].1);
    let address = network.attach(laptop.0, 0, place, Families::V4)[0];
    send(&mut network, seconds(0), (laptop.0, SocketAddr::new(address, PORT)), servers[2].1);
    network.set_link(LinkRef::Access(laptop.0, 0), LinkProfile::with_latency(fast));
    send(&mut network, seconds(0), (laptop.0, SocketAddr::new(address, PORT)), servers[2].1);
    let arrivals: Vec<_> = drain(&mut network).iter().map(|delivery| delivery.at.since(seconds(0))).collect();
    assert_eq!(arrivals, [fast, slow, slow + Duration::from_millis(10)]);
}

#[test]
fn addresses_are_given_again_only_after_all_the_others() {
    let Home { mut network, inside, laptop, .. } = home(NatKind::FULL_CONE);
    let first = laptop.1.ip();
    let again = (0..300).position(|_| network.attach(laptop.0, 0, inside, Families::V4) == [first]);
    assert_eq!(again, Some(252), "a /24 has 253 hosts besides the gateway");
}

#[test]
fn a_nat_maps_by_what_its_kind_looks_at() {
    for mapping in Dependence::ALL {
        let Home { mut network, laptop, servers, .. } = home(NatKind::new(mapping, mapping));
        let seen = servers.map(|server| seen_as(&mut network, seconds(0), laptop, server.1).unwrap());
        let again = servers.map(|server| seen_as(&mut network, seconds(1), laptop, server.1).unwrap());
        assert_eq!(seen, again, "a mapping stays");
        let other_port = SocketAddr::new(servers[0].1.ip(), PORT + 1);
        let to_other_port = seen_as(&mut network, seconds(1), laptop, other_port).unwrap();
        let same = (to_other_port == seen[0], seen[1] == seen[0]);
        let expected = match mapping {
            Dependence::EndpointIndependent => (true, true),
            Dependence::AddressDependent => (true, false),
            Dependence::AddressAndPortDependent => (false, false),
        };
        assert_eq!(same, expected, "{mapping:?}");
    }
}

#[test]
fn a_nat_filters_by_what_its_kind_looks_at() {
    for mapping in Dependence::ALL {
        for filtering in Dependence::ALL {
            let Home { mut network, laptop, servers, .. } = home(NatKind::new(mapping, filtering));
            let mapped = seen_as(&mut network, seconds(0), laptop, servers[0].1).unwrap();
            let other_port = (servers[0].0, SocketAddr::new(servers[0].1.ip(), PORT + 1));
            let got = [servers[0], other_port, servers[1]].map(|from| reaches(&mut network, seconds(1), from, mapped));
            let expected = match filtering {
                Dependence::EndpointIndependent => [true, true, true],
                Dependence::AddressDependent => [true, true, false],
                Dependence::AddressAndPortDependent => [true, false, false],
            };
            assert_eq!(got, expected, "{mapping:?} {filtering:?}");
        }
    }
}

#[test]
fn a_packet_from_outside_makes_no_state_in_a_nat() {
    // What a Linux router gets wrong: the stranger's packet would take the port that the laptop wants next.
    for kind in NatKind::nine().chain([NatKind::NETFILTER]) {
        let Home { mut network, inside, laptop, servers, .. } = home(kind.with_ports(match kind.ports {
            Ports::Overload => Ports::Overload,
            _ => Ports::Preserve,
        }));
        let outside = SocketAddr::new(network.nat_address(inside).unwrap(), PORT);
        for server in servers {
            assert!(!reaches(&mut network, seconds(0), server, outside));
        }
        assert_eq!(network.nat_mappings(inside, seconds(0)), 0);
        assert_eq!(seen_as(&mut network, seconds(1), laptop, servers[0].1), Some(outside), "the port is still free");
        assert_eq!(network.nat_mappings(inside, seconds(1)), 1);
    }
}

#[test]
fn mappings_expire_unless_the_inside_keeps_them_alive() {
    let kind = NatKind::PORT_RESTRICTED_CONE.with_timeout(Duration::from_secs(30));
    let Home { mut network, inside, laptop, servers, .. } = home(kind);
    let mapped = seen_as(&mut network, seconds(0), laptop, servers[0].1).unwrap();
    assert_eq!(seen_as(&mut network, seconds(25), laptop, servers[0].1), Some(mapped));
    assert!(reaches(&mut network, seconds(54), servers[0], mapped));
    assert!(!reaches(&mut network, seconds(55), servers[0], mapped), "what comes in keeps nothing alive");
    assert_eq!(network.nat_mappings(inside, seconds(55)), 0);
    assert_ne!(seen_as(&mut network, seconds(56), laptop, servers[0].1), Some(mapped), "a new mapping, a new port");
}

#[test]
fn a_nat_that_refreshes_inbound_keeps_what_is_used_from_outside() {
    let kind = NatKind::PORT_RESTRICTED_CONE.with_timeout(Duration::from_secs(30)).with_inbound_refresh(true);
    let Home { mut network, laptop, servers, .. } = home(kind);
    let mapped = seen_as(&mut network, seconds(0), laptop, servers[0].1).unwrap();
    for at in [20, 40, 60] {
        assert!(reaches(&mut network, seconds(at), servers[0], mapped));
        assert!(!reaches(&mut network, seconds(at), servers[1], mapped), "a stranger's packet refreshes nothing");
    }
    assert!(!reaches(&mut network, seconds(91), servers[0], mapped));
}

#[test]
fn the_filter_forgets_a_peer_while_the_mapping_lives_on() {
    let kind = NatKind::PORT_RESTRICTED_CONE.with_timeout(Duration::from_secs(30));
    let Home { mut network, laptop, servers, .. } = home(kind);
    let mapped = seen_as(&mut network, seconds(0), laptop, servers[0].1).unwrap();
    assert_eq!(seen_as(&mut network, seconds(20), laptop, servers[1].1), Some(mapped));
    assert!(!reaches(&mut network, seconds(40), servers[0], mapped));
    assert!(reaches(&mut network, seconds(40), servers[1], mapped));
}

#[test]
fn a_nat_gives_ports_as_its_kind_says() {
    let ports = |ports: Ports| {
        let Home { mut network, laptop, servers, .. } = home(NatKind::SYMMETRIC.with_ports(ports));
        servers.map(|server| seen_as(&mut network, seconds(0), laptop, server.1).unwrap().port())
    };
    assert_eq!(ports(Ports::Overload), [PORT; 3]);
    assert_eq!(ports(Ports::Sequential), [1_024, 1_025, 1_026]);
    let preserved = ports(Ports::Preserve);
    assert_eq!(preserved[0], PORT);
    assert!(preserved[1] != PORT && preserved[2] != preserved[1]);
    let random = ports(Ports::Random);
    assert!(random[0] != random[1] && random[1] != random[2] && random[0] != PORT);
}

#[test]
fn two_hosts_never_share_a_port_towards_one_peer() {
    for ports in [Ports::Preserve, Ports::Overload] {
        let Home { mut network, inside, laptop, servers, .. } = home(NatKind::PORT_RESTRICTED_CONE.with_ports(ports));
        let phone = host4(&mut network, inside);
        let a = seen_as(&mut network, seconds(0), laptop, servers[0].1).unwrap();
        let b = seen_as(&mut network, seconds(0), phone, servers[0].1).unwrap();
        assert_eq!(a.port(), PORT);
        assert_ne!(a, b);
        for (mapped, owner) in [(a, laptop.0), (b, phone.0)] {
            send(&mut network, seconds(1), servers[0], mapped);
            assert_eq!(drain(&mut network)[0].host, owner);
        }
    }
}

#[test]
fn a_full_nat_refuses_new_mappings_until_old_ones_expire() {
    let kind = NatKind::SYMMETRIC.with_capacity(2).with_timeout(Duration::from_secs(30));
    let Home { mut network, inside, laptop, servers, .. } = home(kind);
    let got = servers.map(|server| reaches(&mut network, seconds(0), laptop, server.1));
    assert_eq!(got, [true, true, false]);
    assert_eq!(network.counters().dropped(Drop::NatFull), 1);
    assert!(reaches(&mut network, seconds(20), laptop, servers[0].1), "those it has work on");
    assert!(reaches(&mut network, seconds(30), laptop, servers[2].1));
    assert_eq!(network.nat_mappings(inside, seconds(30)), 2);
}

#[test]
fn a_hairpin_turns_packets_round_and_shows_the_outside_address() {
    for hairpin in [false, true] {
        let Home { mut network, inside, laptop, servers, .. } = home(NatKind::FULL_CONE.with_hairpin(hairpin));
        let phone = host4(&mut network, inside);
        let mapped = seen_as(&mut network, seconds(0), phone, servers[0].1).unwrap();
        let seen = seen_as(&mut network, seconds(1), laptop, mapped);
        assert_eq!(seen.map(|seen| seen.ip()), hairpin.then_some(mapped.ip()));
        assert_eq!(network.counters().dropped(Drop::NoHairpin), u64::from(!hairpin));
        assert_eq!(network.nat_mappings(inside, seconds(1)), 1 + usize::from(hairpin), "a refused packet maps nothing");
        assert!(reaches(&mut network, seconds(2), laptop, phone.1), "by the private address always");
    }
}

#[test]
fn a_router_that_restarts_or_is_renumbered_forgets_its_mappings() {
    let Home { mut network, inside, laptop, servers, .. } = home(NatKind::FULL_CONE);
    let mapped = seen_as(&mut network, seconds(0), laptop, servers[0].1).unwrap();
    network.reboot_router(inside);
    assert!(!reaches(&mut network, seconds(1), servers[0], mapped));
    let mapped = seen_as(&mut network, seconds(2), laptop, servers[0].1).unwrap();
    send(&mut network, seconds(3), servers[0], mapped);
    let renumbered = network.renumber_nat(inside);
    assert_eq!(drain(&mut network), [], "not even what was under way");
    assert_ne!(renumbered, mapped.ip());
    assert_eq!(seen_as(&mut network, seconds(4), laptop, servers[0].1).map(|seen| seen.ip()), Some(renumbered));
}

#[test]
fn behind_two_nats_the_outer_one_shows() {
    let Home { mut network, inside: carrier, servers, .. } = home(NatKind::SYMMETRIC);
    let home = network.add_nat(carrier, NatKind::FULL_CONE);
    let tablet = host4(&mut network, home);
    let seen = seen_as(&mut network, seconds(0), tablet, servers[0].1).unwrap();
    assert_eq!(Some(seen.ip()), network.nat_address(carrier));
    assert_ne!(network.nat_address(home), network.nat_address(carrier));
    assert!(reaches(&mut network, seconds(1), servers[0], seen));
    assert!(!reaches(&mut network, seconds(1), servers[2], seen));
}

#[test]
fn ipv6_is_never_translated_and_a_firewall_lets_only_answers_in() {
    let mut network = Network::new(1);
    let sites = [0; 2].map(|_| network.add_site(Families::DUAL));
    let inside = network.add_router(sites[0], RouterConfig::home(NatKind::FULL_CONE));
    let deeper =
        network.add_router(inside, RouterConfig { v6: V6::Routed(None), ..RouterConfig::home(NatKind::FULL_CONE) });
    let (server, server_address) = host(&mut network, sites[1], Families::V6);
    let server = (server, server_address[0]);
    for place in [inside, deeper] {
        let (node, addresses) = host(&mut network, place, Families::V6);
        let node = (node, addresses[0]);
        assert!(!reaches(&mut network, seconds(0), server, node.1));
        assert_eq!(seen_as(&mut network, seconds(1), node, server.1), Some(node.1));
        assert!(reaches(&mut network, seconds(2), server, node.1));
        assert!(!reaches(&mut network, seconds(2), (server.0, SocketAddr::new(server.1.ip(), 1)), node.1));
        network.reboot_router(inside);
        assert!(!reaches(&mut network, seconds(3), server, node.1));
    }
}

#[test]
fn a_firewall_holds_so_many_flows_and_forgets_the_idle_ones() {
    let mut network = Network::new(1);
    let sites = [0; 2].map(|_| network.add_site(Families::V4));
    let kind = FirewallKind { capacity: 1, timeout: Duration::from_secs(30), ..FirewallKind::STATEFUL };
    let config = RouterConfig { v4: V4::Routed(Some(kind)), ..RouterConfig::nat(NatKind::FULL_CONE) };
    let inside = network.add_router(sites[0], config);
    let node = host4(&mut network, inside);
    let servers = [0; 2].map(|_| host4(&mut network, sites[1]));
    assert_eq!(seen_as(&mut network, seconds(0), node, servers[0].1), Some(node.1), "a global address");
    assert!(!reaches(&mut network, seconds(1), node, servers[1].1));
    assert!(reaches(&mut network, seconds(29), servers[0], node.1));
    assert!(reaches(&mut network, seconds(58), servers[0], node.1), "an answer keeps the flow open");
    assert!(!reaches(&mut network, seconds(89), servers[0], node.1));
    assert!(reaches(&mut network, seconds(89), node, servers[1].1));
}

#[test]
fn where_udp_is_blocked_nothing_gets_out_or_in_but_the_lan_works() {
    let Home { mut network, servers, .. } = home(NatKind::FULL_CONE);
    let site = network.place(servers[2].0, 0).unwrap();
    let config = RouterConfig { udp_blocked: true, v4: V4::Routed(None), ..RouterConfig::nat(NatKind::FULL_CONE) };
    let hotel = network.add_router(site, config);
    let guests = [0; 2].map(|_| host4(&mut network, hotel));
    assert!(!reaches(&mut network, seconds(0), guests[0], servers[0].1));
    assert!(!reaches(&mut network, seconds(0), servers[0], guests[0].1));
    assert!(reaches(&mut network, seconds(0), guests[0], guests[1].1));
    assert_eq!(network.counters().dropped(Drop::UdpBlocked), 2);
}

#[test]
fn private_addresses_of_elsewhere_lead_nowhere() {
    let Home { mut network, laptop, servers, .. } = home(NatKind::FULL_CONE);
    let site = network.place(servers[2].0, 0).unwrap();
    let other = network.add_nat(site, NatKind::FULL_CONE);
    let stranger = host4(&mut network, other);
    assert_eq!(stranger.1, laptop.1, "both homes have the same addresses");
    send(&mut network, seconds(0), laptop, stranger.1);
    assert_eq!(drain(&mut network)[0].host, laptop.0, "so this comes back to the sender");
    assert!(!reaches(&mut network, seconds(0), servers[0], laptop.1));
    assert!(!reaches(&mut network, seconds(0), servers[0], "198.18.0.1:1".parse().unwrap()));
}

#[test]
fn an_attacker_may_claim_any_source_but_passes_no_nat_with_it_unless_the_nat_expects_it() {
    let Home { mut network, inside, laptop, servers, .. } = home(NatKind::PORT_RESTRICTED_CONE);
    let core = network.place(servers[2].0, 0).unwrap();
    let mapped = seen_as(&mut network, seconds(0), laptop, servers[0].1).unwrap();
    network.inject(seconds(1), core, servers[1].1, mapped, b"forged".to_vec());
    assert_eq!(drain(&mut network), []);
    network.inject(seconds(2), core, servers[0].1, mapped, b"forged".to_vec());
    let arrived = drain(&mut network);
    assert_eq!((arrived[0].host, arrived[0].from), (laptop.0, servers[0].1));
    assert_eq!(network.nat_mappings(inside, seconds(2)), 1);
}

#[test]
fn a_sleeping_host_gets_nothing_and_keeps_its_address() {
    let Home { mut network, laptop, servers, .. } = home(NatKind::FULL_CONE);
    network.set_host_up(servers[0].0, false);
    assert!(!reaches(&mut network, seconds(0), laptop, servers[0].1));
    network.set_host_up(servers[0].0, true);
    assert!(reaches(&mut network, seconds(0), laptop, servers[0].1));
    assert_eq!(network.counters().dropped(Drop::HostDown), 1);
}

#[test]
fn a_link_is_cut_for_good_or_for_a_while() {
    let Home { mut network, inside, laptop, servers, .. } = home(NatKind::FULL_CONE);
    let sites = [&servers[0], &servers[2]].map(|server| network.place(server.0, 0).unwrap());
    network.set_link_up(LinkRef::Uplink(inside), false);
    assert!(!reaches(&mut network, seconds(0), laptop, servers[0].1));
    network.set_link_up(LinkRef::Uplink(inside), true);
    network.add_outage(LinkRef::Core(sites[0], sites[1]), seconds(10), seconds(20));
    for (at, up) in [(9, true), (10, false), (19, false), (20, true)] {
        assert_eq!(reaches(&mut network, seconds(at), servers[0], servers[2].1), up);
        assert!(reaches(&mut network, seconds(at), laptop, servers[0].1), "the other way round is untouched");
    }
}

#[test]
fn what_is_larger_than_the_smallest_mtu_on_the_way_vanishes() {
    let Home { mut network, inside, laptop, servers, .. } = home(NatKind::FULL_CONE);
    network.set_link(LinkRef::Uplink(inside), LinkProfile { mtu: 1_454, ..LinkProfile::IDEAL });
    for (size, arrives) in [(1_454 - 28, true), (1_454 - 27, false)] {
        network.send(seconds(0), laptop.0, 0, laptop.1, servers[0].1, vec![0; size]).unwrap();
        assert_eq!(!drain(&mut network).is_empty(), arrives);
    }
    assert_eq!(network.counters().dropped(Drop::TooBig), 1);
}

/// A busy network in which everything may happen to a packet; what its trace says.
fn busy(seed: u64) -> (u64, Vec<String>) {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let mut network = Network::new(seed);
    let sink = Rc::clone(&lines);
    network.set_trace(move |event| sink.borrow_mut().push(event.to_string()));
    network.set_default_core(LinkProfile {
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(10),
        loss: Probability::percent(5.0),
        duplicate: Probability::percent(5.0),
        reorder: Probability::percent(5.0),
        reorder_delay: Duration::from_millis(30),
        ..LinkProfile::IDEAL
    });
    let mut dice = Dice::new(seed);
    let hosts: Vec<_> = (0..8)
        .map(|_| {
            let site = network.add_site(Families::V4);
            let inside = network.add_nat(site, NatKind::FULL_CONE);
            let place = *dice.pick(&[site, inside]);
            host4(&mut network, place)
        })
        .collect();
    for millis in 0..500 {
        let (from, to) = (*dice.pick(&hosts), dice.pick(&hosts).1);
        network.send(Instant::from_millis(millis), from.0, 0, from.1, to, vec![millis as u8; 64]).unwrap();
        while network.poll(Instant::from_millis(millis)).is_some() {}
    }
    drain(&mut network);
    let counters = *network.counters();
    assert_eq!(counters.sent + counters.duplicated, counters.delivered + counters.all_dropped());
    (network.digest(), lines.take())
}

#[test]
fn one_seed_is_one_run_to_the_last_event() {
    let (first, again, other) = (busy(1), busy(1), busy(2));
    assert_eq!(first, again);
    assert_ne!(first.0, other.0);
    assert_ne!(first.1, other.1);
}

#[test]
fn the_trace_tells_a_datagrams_story_a_line_an_event() {
    let Home { mut network, inside, laptop, servers, .. } = home(NatKind::FULL_CONE.with_ports(Ports::Preserve));
    let (lines, kinds) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(Vec::new())));
    let (text, what) = (Rc::clone(&lines), Rc::clone(&kinds));
    network.set_trace(move |event| {
        text.borrow_mut().push(event.to_string());
        what.borrow_mut().push(event.what);
    });
    send(&mut network, seconds(1), laptop, servers[0].1);
    drain(&mut network);
    let delivered = What::Delivered { host: servers[0].0, iface: 0 };
    let expected = [What::Sent { host: laptop.0, iface: 0 }, What::Translated { place: inside }, delivered];
    assert_eq!(kinds.take(), expected);
    let lines = lines.take();
    assert!(lines.iter().all(|line| !line.contains('\n')));
    assert!(
        lines[0].contains("1.000000000 sent") && lines[0].contains("192.168.1.2:5000 > 20.1.0.2:5000"),
        "{lines:?}"
    );
    assert!(lines[2].contains("1.010000000 delivered") && lines[2].contains("20.0.0.2:5000 >"), "{lines:?}");
}

#[test]
fn families_are_given_where_the_place_has_them() {
    let mut network = Network::new(1);
    let (v4, v6) = (network.add_site(Families::V4), network.add_site(Families::V6));
    let families = |network: &mut Network, place| {
        let id = network.add_host();
        let addresses = network.attach(id, 0, place, Families::DUAL);
        addresses.iter().map(IpAddr::is_ipv4).collect::<Vec<_>>()
    };
    assert_eq!(families(&mut network, v4), [true]);
    assert_eq!(families(&mut network, v6), [false]);
    let home = network.add_router(v6, RouterConfig::home(NatKind::FULL_CONE));
    assert_eq!(families(&mut network, home), [false], "no NAT without an outside address");
}
