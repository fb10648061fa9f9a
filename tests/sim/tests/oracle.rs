//! The oracle against the network: two hosts that punch as well as can be done, in every combination of NATs.
//!
//! ```text
//!   a ── NAT ── site 0 ──┐
//!                        core ── site 2 ── server
//!   b ── NAT ── site 1 ──┘
//! ```
//! Each host registers with the server, learns what the server saw of the other, then sends to every endpoint
//! it knows again and again, answers whatever arrives, and learns from it. They have a direct path where each
//! gets an answer from just the endpoint it asked, and the two agree on which endpoints these are.

// Clippy sees no test in a test's helper.
#![allow(clippy::unwrap_used)]

use ntm_proto::time::Instant;
use ntm_sim::net::{
    Delivery, Dependence, Families, FirewallKind, HostId, NatKind, Network, Place, Ports, RouterConfig, Subnet, V4, V6,
};
use ntm_sim::oracle::{self, Family, Why};
use ntm_sim::rng::Dice;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const PORT: u16 = 5_000;
const SERVER_PORT: u16 = 53;
const ROUND: Duration = Duration::from_millis(100);
const ROUNDS: u32 = 10;

/// Datagrams of the test as text: who sent it, what it is, and endpoints that matter.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Register,
    Ask,
    Answer,
}

struct Message {
    side: usize,
    kind: Kind,
    /// The endpoint that was asked, and the one the question came from.
    asked: SocketAddr,
    seen: SocketAddr,
}

impl Message {
    fn emit(&self) -> Vec<u8> {
        format!("{} {} {} {}", self.side, self.kind as u8, self.asked, self.seen).into_bytes()
    }

    fn parse(payload: &[u8]) -> Self {
        let text = std::str::from_utf8(payload).unwrap();
        let words: Vec<_> = text.split(' ').collect();
        let kind = [Kind::Register, Kind::Ask, Kind::Answer][words[1].parse::<usize>().unwrap()];
        Self {
            side: words[0].parse().unwrap(),
            kind,
            asked: words[2].parse().unwrap(),
            seen: words[3].parse().unwrap(),
        }
    }
}

struct Puncher {
    host: HostId,
    sockets: Vec<(u8, SocketAddr)>,
    known: BTreeSet<SocketAddr>,
    /// The endpoint that answered as asked, and the one it saw the question come from.
    proven: BTreeSet<(SocketAddr, SocketAddr)>,
}

struct Trial {
    network: Network,
    server: HostId,
    punchers: [Puncher; 2],
}

impl Trial {
    fn new(network: Network, hosts: [HostId; 2], server: HostId) -> Self {
        let punchers = hosts.map(|host| {
            let addresses = |iface| network.addresses(host, iface).iter().copied();
            let sockets = network
                .interfaces(host)
                .flat_map(|iface| addresses(iface).map(move |ip| (iface, SocketAddr::new(ip, PORT))))
                .collect();
            Puncher { host, sockets, known: BTreeSet::new(), proven: BTreeSet::new() }
        });
        Self { network, server, punchers }
    }

    /// Punches for a second of virtual time; whether a direct path came of it.
    fn punch(mut self) -> bool {
        for side in 0..2 {
            let own = self.punchers[side].sockets.clone();
            self.punchers[1 - side].known.extend(own.iter().map(|(_, address)| *address));
            for ip in self.network.addresses(self.server, 0).to_vec() {
                self.send_all(Instant::ZERO, side, Kind::Register, SocketAddr::new(ip, SERVER_PORT));
            }
        }
        let mut now = Instant::ZERO;
        for _ in 0..ROUNDS {
            let end = now + ROUND;
            while let Some(at) = self.network.next_event().filter(|at| *at <= end) {
                while let Some(delivery) = self.network.poll(at) {
                    self.handle(at, delivery);
                }
            }
            now = end;
            for side in 0..2 {
                for to in self.punchers[side].known.clone() {
                    self.send_all(now, side, Kind::Ask, to);
                }
            }
        }
        let [a, b] = &self.punchers;
        a.proven.iter().any(|&(x, y)| b.proven.contains(&(y, x)))
    }

    /// From every socket of the side that can reach `to`'s family.
    fn send_all(&mut self, now: Instant, side: usize, kind: Kind, to: SocketAddr) {
        for (iface, from) in self.punchers[side].sockets.clone() {
            if from.is_ipv4() == to.is_ipv4() {
                let payload = Message { side, kind, asked: to, seen: from }.emit();
                self.network.send(now, self.punchers[side].host, iface, from, to, payload).unwrap();
            }
        }
    }

    fn handle(&mut self, now: Instant, delivery: Delivery) {
        let Delivery { host, iface, local, from, payload, .. } = delivery;
        let message = Message::parse(&payload);
        if host == self.server {
            // What the server saw of one goes to the other, as a route direction does.
            self.punchers[1 - message.side].known.insert(from);
            return;
        }
        // One's own packet comes back where both have the same private address.
        let Some(side) = self
            .punchers
            .iter()
            .position(|puncher| puncher.host == host && puncher.host == self.punchers[1 - message.side].host)
        else {
            return;
        };
        match message.kind {
            Kind::Ask => {
                self.punchers[side].known.insert(from);
                let answer = Message { side, kind: Kind::Answer, asked: message.asked, seen: from };
                self.network.send(now, host, iface, local, from, answer.emit()).unwrap();
            }
            Kind::Answer if message.asked == from => {
                self.punchers[side].proven.insert((from, message.seen));
            }
            Kind::Answer | Kind::Register => {}
        }
    }
}

/// Three sites, a server at the third.
fn world(families: Families) -> (Network, [Place; 2], HostId) {
    let mut network = Network::new(1);
    let sites = [network.add_site(families), network.add_site(families)];
    let third = network.add_site(Families::DUAL);
    let server = network.add_host();
    network.attach(server, 0, third, Families::DUAL);
    (network, sites, server)
}

fn attach(network: &mut Network, places: [Place; 2], families: Families) -> [HostId; 2] {
    places.map(|place| {
        let host = network.add_host();
        network.attach(host, 0, place, families);
        host
    })
}

/// Punches and asks the oracle; a description where they disagree.
fn compare(network: Network, hosts: [HostId; 2], server: HostId, what: &str) -> Result<bool, String> {
    let verdict = oracle::direct_path_possible(&network, hosts[0], hosts[1]);
    let reverse = oracle::direct_path_possible(&network, hosts[1], hosts[0]);
    let punched = Trial::new(network, hosts, server).punch();
    if verdict.possible == punched && reverse.possible == punched {
        return Ok(punched);
    }
    Err(format!("{what}: punched {punched}, oracle says {verdict:?}, the other way round {reverse:?}"))
}

fn assert_agreement(disagreements: &[String]) {
    assert!(disagreements.is_empty(), "{} disagreements:\n{}", disagreements.len(), disagreements.join("\n"));
}

/// The nine kinds, with and without hairpinning and port preservation, and what Linux does.
fn kinds() -> Vec<NatKind> {
    let mut kinds = vec![NatKind::NETFILTER, NatKind::NETFILTER.with_hairpin(true)];
    for kind in NatKind::nine() {
        for ports in [Ports::Random, Ports::Preserve] {
            kinds.extend([false, true].map(|hairpin| kind.with_ports(ports).with_hairpin(hairpin)));
        }
    }
    kinds
}

/// Derived by hand from RFC 4787 for one NAT at each end; see the oracle's documentation.
fn by_hand(a: NatKind, b: NatKind) -> bool {
    use Dependence::{AddressAndPortDependent, EndpointIndependent};
    let strict = |kind: NatKind| kind.filtering == AddressAndPortDependent;
    let open = |kind: NatKind| kind.filtering == EndpointIndependent;
    let cone = |kind: NatKind| kind.mapping == EndpointIndependent || kind.ports == Ports::Overload;
    let by_port = |kind: NatKind| kind.mapping == AddressAndPortDependent;
    match (cone(a), cone(b)) {
        (true, true) => true,
        (true, false) => !strict(a),
        (false, true) => !strict(b),
        (false, false) => !(strict(a) || strict(b) || (by_port(a) && by_port(b))) && (open(a) || open(b)),
    }
}

#[test]
fn two_nats_let_each_other_through_just_where_the_oracle_and_rfc_4787_say() {
    let (mut disagreements, mut direct, mut pairs) = (Vec::new(), 0, 0);
    for a in kinds() {
        for b in kinds() {
            let (mut network, sites, server) = world(Families::V4);
            let insides = [network.add_nat(sites[0], a), network.add_nat(sites[1], b)];
            let hosts = attach(&mut network, insides, Families::V4);
            let what = format!("{} | {}", a.name(), b.name());
            match compare(network, hosts, server, &what) {
                Ok(punched) if punched == by_hand(a, b) => direct += u32::from(punched),
                Ok(punched) => disagreements.push(format!("{what}: punched {punched}, by hand {}", by_hand(a, b))),
                Err(disagreement) => disagreements.push(disagreement),
            }
            pairs += 1;
        }
    }
    assert_agreement(&disagreements);
    assert!(direct > pairs / 4 && direct < pairs, "{direct} of {pairs}: the matrix shows both outcomes");
}

#[test]
fn a_host_with_a_global_address_is_reached_from_behind_every_nat() {
    for kind in kinds() {
        let (mut network, sites, server) = world(Families::V4);
        let inside = network.add_nat(sites[0], kind);
        let hosts = attach(&mut network, [inside, sites[1]], Families::V4);
        assert_eq!(compare(network, hosts, server, &kind.name()), Ok(true), "{}", kind.name());
    }
}

#[test]
fn hosts_behind_one_nat_meet_by_their_private_addresses() {
    for kind in kinds() {
        let (mut network, sites, server) = world(Families::V4);
        let inside = network.add_nat(sites[0], kind);
        let hosts = attach(&mut network, [inside; 2], Families::V4);
        assert_eq!(oracle::direct_path_possible(&network, hosts[0], hosts[1]).why, Why::SameNetwork);
        assert_eq!(compare(network, hosts, server, &kind.name()), Ok(true), "{}", kind.name());
    }
}

/// A home's NAT that hands out 10.0.0.0/24, below a provider's NAT.
fn below(network: &mut Network, parent: Place, kind: NatKind, third_octet: u8) -> Place {
    let inside = Subnet::new(Ipv4Addr::new(10, 0, third_octet, 0), 24);
    network.add_router(parent, RouterConfig { inside: Some(inside), ..RouterConfig::nat(kind) })
}

#[test]
fn behind_one_carrier_nat_it_takes_a_hairpin() {
    let mut disagreements = Vec::new();
    let mut by_hairpin = [0, 0];
    for outer in kinds() {
        for inner in NatKind::nine() {
            let (mut network, sites, server) = world(Families::V4);
            let carrier = network.add_nat(sites[0], outer);
            // The same private addresses in both homes, as it goes.
            let homes = [below(&mut network, carrier, inner, 0), below(&mut network, carrier, inner, 0)];
            let hosts = attach(&mut network, homes, Families::V4);
            match compare(network, hosts, server, &format!("{} above {} twice", outer.name(), inner.name())) {
                Ok(punched) => by_hairpin[usize::from(outer.hairpin)] += u32::from(punched),
                Err(disagreement) => disagreements.push(disagreement),
            }
        }
    }
    assert_agreement(&disagreements);
    assert_eq!(by_hairpin[0], 0);
    assert!(by_hairpin[1] > 0);
}

#[test]
fn nats_behind_nats_let_each_other_through_just_where_the_oracle_says() {
    let (kinds, mut dice, mut disagreements) = (kinds(), Dice::new(4787), Vec::new());
    let mut outcomes = [0, 0];
    for trial in 0..2_000 {
        let (mut network, sites, server) = world(Families::V4);
        let mut what = format!("trial {trial}:");
        let places = sites.map(|site| {
            let mut place = site;
            for level in 0..dice.between(1, 3) {
                let kind = *dice.pick(&kinds);
                what.push_str(&format!(" {}", kind.name()));
                place = below(&mut network, place, kind, level as u8);
            }
            what.push_str(" |");
            place
        });
        let hosts = attach(&mut network, places, Families::V4);
        match compare(network, hosts, server, &what) {
            Ok(punched) => outcomes[usize::from(punched)] += 1,
            Err(disagreement) => disagreements.push(disagreement),
        }
    }
    assert_agreement(&disagreements);
    assert!(outcomes.iter().all(|count| *count > 100), "{outcomes:?}");
}

#[test]
fn random_topologies_agree_with_the_oracle() {
    let (kinds, mut dice, mut disagreements) = (kinds(), Dice::new(6092), Vec::new());
    let mut outcomes = [0, 0];
    for trial in 0..2_000 {
        let families = [Families::V4, Families::V6, Families::DUAL];
        let (mut network, sites, server) = world(*dice.pick(&families));
        let mut places = sites.to_vec();
        for level in 0..dice.between(0, 6) {
            let firewall = dice
                .chance(2, 3)
                .then_some(FirewallKind { filtering: *dice.pick(&Dependence::ALL), ..FirewallKind::STATEFUL });
            let parent = *dice.pick(&places);
            let v4 = match dice.below(8) {
                0 => V4::Off,
                1 if sites.contains(&parent) => V4::Routed(firewall),
                _ => V4::Nat(*dice.pick(&kinds)),
            };
            let config = RouterConfig {
                v4,
                v6: if dice.chance(3, 4) { V6::Routed(firewall) } else { V6::Off },
                udp_blocked: dice.chance(1, 12),
                inside: Some(Subnet::new(Ipv4Addr::new(10, 0, level as u8, 0), 24)),
                ..RouterConfig::nat(NatKind::SYMMETRIC)
            };
            places.push(network.add_router(parent, config));
        }
        let hosts = [network.add_host(), network.add_host()];
        for host in hosts {
            for iface in 0..dice.between(1, 2) {
                network.attach(host, iface as u8, *dice.pick(&places), *dice.pick(&families));
            }
        }
        match compare(network, hosts, server, &format!("trial {trial}")) {
            Ok(punched) => outcomes[usize::from(punched)] += 1,
            Err(disagreement) => disagreements.push(disagreement),
        }
    }
    assert_agreement(&disagreements);
    assert!(outcomes.iter().all(|count| *count > 100), "{outcomes:?}");
}

#[test]
fn stateful_firewalls_stop_no_ipv6_pair_that_punches() {
    let (mut network, sites, server) = world(Families::DUAL);
    let insides = sites.map(|site| network.add_router(site, RouterConfig::home(NatKind::SYMMETRIC)));
    let hosts = attach(&mut network, insides, Families::DUAL);
    let verdict = oracle::direct_path_possible(&network, hosts[0], hosts[1]);
    assert_eq!(verdict.best.map(|best| best.family), Some(Family::V6), "the symmetric NATs leave no way by IPv4");
    assert_eq!(verdict.why, Why::Untranslated);
    assert_eq!(compare(network, hosts, server, "two home routers"), Ok(true));
}

#[test]
fn the_oracle_says_why_not() {
    let (mut network, sites, _) = world(Families::DUAL);
    let blocked =
        network.add_router(sites[0], RouterConfig { udp_blocked: true, ..RouterConfig::home(NatKind::FULL_CONE) });
    let symmetric = network.add_nat(sites[0], NatKind::SYMMETRIC);
    let host = |network: &mut Network, place, families| {
        let host = network.add_host();
        network.attach(host, 0, place, families);
        host
    };
    let caged = host(&mut network, blocked, Families::DUAL);
    let narrow = host(&mut network, symmetric, Families::V4);
    let (v4, v6) = (host(&mut network, sites[1], Families::V4), host(&mut network, sites[1], Families::V6));
    let strict = network.add_nat(sites[1], NatKind::PORT_RESTRICTED_CONE);
    let strict = host(&mut network, strict, Families::V4);
    let lost = network.add_host();
    let why = |a, b| oracle::direct_path_possible(&network, a, b).why;
    assert_eq!(why(v4, v6), Why::NoCommonFamily);
    assert_eq!(why(caged, v4), Why::UdpBlocked);
    assert_eq!(why(lost, v4), Why::Detached);
    assert_eq!(why(narrow, strict), Why::Refused);
    assert_eq!(why(narrow, v4), Why::Punched);
}

#[test]
fn the_least_round_trip_is_the_sum_of_the_links_both_ways() {
    use ntm_sim::net::{LinkProfile, LinkRef};
    let (mut network, sites, relay) = world(Families::V4);
    let millis = Duration::from_millis;
    let third = network.place(relay, 0).unwrap();
    network.set_core_latency(sites[0], sites[1], millis(40));
    network.set_core_latency(sites[0], third, millis(11));
    network.set_core_latency(sites[1], third, millis(13));
    let home = network.add_nat(sites[0], NatKind::FULL_CONE);
    network.set_link(LinkRef::Uplink(home), LinkProfile::with_latency(millis(5)));
    let hosts = attach(&mut network, [home, sites[1]], Families::V4);
    network.set_link(LinkRef::Access(hosts[0], 0), LinkProfile::with_latency(millis(2)));
    assert_eq!(oracle::direct_rtt(&network, hosts[0], hosts[1]), Some(millis(2 * (2 + 5 + 40))));
    assert_eq!(oracle::relayed_rtt(&network, hosts[0], hosts[1], relay), Some(millis(2 * (2 + 5 + 11 + 13))));
    network.set_link_up(LinkRef::Uplink(home), false);
    assert_eq!(oracle::direct_rtt(&network, hosts[0], hosts[1]), None);
}
