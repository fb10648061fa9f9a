//! Everything random for ten virtual minutes: nodes that move, lose and gain interfaces, NATs that reboot
//! and change their addresses, links that lose, delay, reorder, duplicate and die, servers that crash,
//! vanish and come back, and an attacker who replays, mutates and invents datagrams.
//!
//! The oracles: no byte is ever lost, doubled, moved or changed; no plaintext leaves a node; the attacker
//! gets no more than three times what it sent; and once the trouble ends, every stream moves again.

use std::time::Duration;

use ntm_proto::time::Instant;

use super::spot::Spot;
use crate::cli::Report;
use crate::net::{Burst, Families, HostId, LinkProfile, LinkRef, Place, Probability};
use crate::stream::Source;
use crate::world::{Family, Transfer, Who, World};

const TROUBLE: Duration = Duration::from_secs(570);
/// After the trouble: what backed off may take this long to notice that all is well.
const CALM: Duration = Duration::from_secs(30);
/// Then streams must move for this long: TCP's own timer may have backed off to a minute.
const PROOF: Duration = Duration::from_secs(90);
/// Links are as bad before the trouble as in it: a slow sender may lose five datagrams to one burst.
const SETTLING: Duration = Duration::from_secs(90);
const ASKS: usize = 4;
const ASK_AGAIN: Duration = Duration::from_secs(20);
const MAX_NODES: u64 = 4;
const RATE: u64 = 1_500;
const CHUNK: usize = 500;
const ATTACKER_PORT: u16 = 666;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub digest: u64,
    /// How long the seed took, in virtual time.
    pub time: Duration,
    pub troubles: u64,
    pub bytes: u64,
    pub datagrams: u64,
    /// Of the attacker.
    pub attacks: u64,
}

struct Home {
    /// Networks nodes have lived in, by number: their routers may be rebooted.
    nats: Vec<Place>,
}

struct Chaos {
    world: World,
    nodes: Vec<usize>,
    directors: Vec<usize>,
    relays: Vec<usize>,
    home: Home,
    transfers: Vec<Transfer>,
    attacker: (HostId, std::net::SocketAddr),
    troubles: u64,
    attacks: u64,
}

pub fn run_seed(seed: u64, report: &Report) -> Result<Outcome, String> {
    let mut chaos = set_up(seed, report)?;
    let end = chaos.world.now() + TROUBLE;
    while chaos.world.now() < end {
        let pause = Duration::from_millis(chaos.world.dice.between(50, 12_000));
        let until = (chaos.world.now() + pause).min(end);
        chaos.world.run_until(until);
        chaos.trouble();
        chaos.check()?;
    }
    chaos.make_peace();
    chaos.world.run_for(CALM);
    chaos.check()?;
    let before: Vec<(u64, u64)> = chaos.transfers.iter().map(received).collect();
    let transfers = chaos.transfers.clone();
    let moved = |_: &mut World| {
        transfers.iter().zip(&before).any(|(transfer, before)| {
            let now = received(transfer);
            now.0 <= before.0 || now.1 <= before.1
        })
    };
    if !chaos.world.run_while(PROOF, moved) {
        let stuck: Vec<String> = chaos
            .transfers
            .iter()
            .zip(&before)
            .filter(|(transfer, before)| {
                let now = received(transfer);
                now.0 <= before.0 || now.1 <= before.1
            })
            .map(|(transfer, before)| format!("{before:?} → {:?}", received(transfer)))
            .collect();
        return Err(format!("after the trouble these streams stand still: {}", stuck.join(", ")));
    }
    chaos.check()?;
    let bytes = chaos.transfers.iter().map(received).map(|(there, back)| there + back).sum();
    Ok(Outcome {
        digest: chaos.world.net.digest(),
        time: chaos.world.now().since(Instant::ZERO),
        troubles: chaos.troubles,
        bytes,
        datagrams: chaos.world.net.counters().sent,
        attacks: chaos.attacks,
    })
}

fn received(transfer: &Transfer) -> (u64, u64) {
    (transfer.server_progress().received, transfer.client_progress().received)
}

fn set_up(seed: u64, report: &Report) -> Result<Chaos, String> {
    let mut world = World::new(seed);
    report.watch(&mut world);
    let domain = world.add_domain("ntm.example");
    let relays: Vec<usize> = (0..2)
        .map(|_| {
            let site = world.net.add_site(Families::DUAL);
            world.add_relay(domain, site, Families::DUAL)
        })
        .collect();
    let servers = world.net.add_site(Families::DUAL);
    let directors = vec![world.add_director(domain, servers, Families::DUAL)];
    let attacker = world.net.add_host();
    let attacker_site = world.net.add_site(Families::DUAL);
    let address = world.net.attach(attacker, 0, attacker_site, Families::DUAL)[0];
    let count = world.dice.between(2, MAX_NODES + 1);
    let nodes: Vec<usize> = (0..count).map(|number| world.add_node(domain, &format!("node{number}"))).collect();
    let mut chaos = Chaos {
        world,
        nodes,
        directors,
        relays,
        home: Home { nats: Vec::new() },
        transfers: Vec::new(),
        attacker: (attacker, (address, ATTACKER_PORT).into()),
        troubles: 0,
        attacks: 0,
    };
    for node in chaos.nodes.clone() {
        chaos.settle_somewhere(node, 0);
    }
    let nodes = chaos.nodes.clone();
    let registered = |world: &mut World| !nodes.iter().all(|&node| world.is_registered(node));
    if !chaos.world.run_while(SETTLING, registered) {
        return Err(format!("a node did not register in {SETTLING:?}"));
    }
    // The coordinator counts a node as there once it has heard the new keys.
    chaos.world.run_for(Duration::from_secs(2));
    for pair in 0..chaos.nodes.len() - 1 {
        let (a, b) = (chaos.nodes[pair], chaos.nodes[pair + 1]);
        // A request is given up after 12 s, and a link may lose one burst after the other: ask again.
        let resolved = (0..ASKS).any(|_| {
            chaos.world.connect(a, b);
            chaos.world.run_while(ASK_AGAIN, |world| !world.node(a).has_resolved())
        });
        if !resolved {
            return Err(format!("a name did not resolve, asked for {ASKS} times"));
        }
        let family = if chaos.world.dice.chance(1, 2) { Family::V4 } else { Family::V6 };
        let source = |salt: u64| Source::steady(seed ^ salt, RATE, CHUNK);
        let salt = pair as u64 * 2;
        chaos.transfers.push(chaos.world.transfer(a, b, family, source(salt), source(salt + 1)));
    }
    Ok(chaos)
}

impl Chaos {
    fn check(&self) -> Result<(), String> {
        for transfer in &self.transfers {
            transfer.verdict()?;
        }
        for &node in &self.nodes {
            if self.world.node(node).leaks() > 0 {
                return Err("plaintext left a node".into());
            }
        }
        let (received, sent) = self.world.stranger_traffic(self.attacker.0);
        if received > 3 * sent {
            return Err(format!("an attacker who sent {sent} bytes was sent {received}"));
        }
        Ok(())
    }

    fn random_node(&mut self) -> usize {
        let nodes = self.nodes.clone();
        *self.world.dice.pick(&nodes)
    }

    /// Attaches a node's interface somewhere: a new network, or a NAT where somebody lives already.
    fn settle_somewhere(&mut self, node: usize, iface: u8) {
        let shared = !self.home.nats.is_empty() && self.world.dice.chance(1, 4);
        let (place, families) = if shared {
            let nats = self.home.nats.clone();
            (*self.world.dice.pick(&nats), Families::V4)
        } else {
            let spot = Spot::random(&mut self.world.dice);
            let place = spot.build(&mut self.world);
            if matches!(spot, Spot::V4Nat(_)) {
                self.home.nats.push(place);
            }
            (place, spot.families())
        };
        let cost = if iface == 0 { 10 } else { 20 };
        let latency = Duration::from_millis(self.world.dice.between(1, 80));
        self.world.attach_afar(node, iface, place, families, cost, latency);
        let host = self.world.host_of(Who::Node(node));
        let profile = self.random_profile(latency);
        self.world.net.set_link(LinkRef::Access(host, iface), profile);
    }

    fn random_profile(&mut self, latency: Duration) -> LinkProfile {
        let dice = &mut self.world.dice;
        let mut profile = LinkProfile::with_latency(latency);
        if dice.chance(1, 2) {
            profile.jitter = Duration::from_millis(dice.below(20));
        }
        if dice.chance(1, 3) {
            profile.loss = Probability::percent(dice.below(50) as f64 / 10.0);
        }
        if dice.chance(1, 6) {
            profile.burst = Some(Burst {
                enter: Probability::percent(1.0),
                leave: Probability::percent(20.0),
                loss: Probability::percent(80.0),
            });
        }
        if dice.chance(1, 4) {
            profile.duplicate = Probability::percent(2.0);
        }
        if dice.chance(1, 4) {
            profile.reorder = Probability::percent(5.0);
            profile.reorder_delay = Duration::from_millis(dice.between(1, 40));
        }
        if dice.chance(1, 6) {
            profile.mtu = *dice.pick(&[1_280, 1_400, 1_420, 1_492]);
        }
        profile
    }

    /// One random misfortune.
    fn trouble(&mut self) {
        self.troubles += 1;
        match self.world.dice.below(16) {
            0..=3 => {
                let node = self.random_node();
                self.world.detach(node, 0);
                let gap = Duration::from_millis(self.world.dice.below(3_000));
                self.world.run_for(gap);
                self.settle_somewhere(node, 0);
            }
            4 => {
                let movers = [self.random_node(), self.random_node()];
                movers.into_iter().for_each(|node| self.world.detach(node, 0));
                self.world.run_for(Duration::from_millis(300));
                movers.into_iter().for_each(|node| self.settle_somewhere(node, 0));
            }
            5 | 6 => {
                let node = self.random_node();
                self.settle_somewhere(node, 1);
            }
            7 => {
                let node = self.random_node();
                self.world.interface_ending(node, 1);
                self.world.run_for(Duration::from_millis(200));
                self.world.detach(node, 1);
            }
            8 => self.router_trouble(),
            9 | 10 => self.link_trouble(),
            11 | 12 => self.server_trouble(),
            _ => self.attack(),
        }
    }

    fn router_trouble(&mut self) {
        let nats = self.home.nats.clone();
        if nats.is_empty() {
            return;
        }
        let nat = *self.world.dice.pick(&nats);
        if self.world.dice.chance(1, 2) {
            self.world.net.reboot_router(nat);
        } else {
            self.world.net.renumber_nat(nat);
        }
    }

    fn link_trouble(&mut self) {
        let node = self.random_node();
        let host = self.world.host_of(Who::Node(node));
        let link = LinkRef::Access(host, 0);
        let now = self.world.now();
        if self.world.dice.chance(1, 2) {
            let length = Duration::from_millis(self.world.dice.between(10, 8_000));
            self.world.net.add_outage(link, now, now + length);
        } else {
            let latency = Duration::from_millis(self.world.dice.between(1, 150));
            let profile = self.random_profile(latency);
            self.world.net.set_link(link, profile);
        }
    }

    fn server_trouble(&mut self) {
        let mut servers: Vec<Who> = self.directors.iter().map(|&at| Who::Director(at)).collect();
        servers.extend(self.relays.iter().map(|&at| Who::Relay(at)));
        let who = *self.world.dice.pick(&servers);
        match self.world.dice.below(3) {
            0 => self.world.restart(who),
            1 => self.world.set_up(who, false),
            _ => servers.into_iter().for_each(|who| self.world.set_up(who, true)),
        }
    }

    /// The attacker sends what it has seen, what it has seen with bits flipped, and noise.
    fn attack(&mut self) {
        let node = self.random_node();
        let host = self.world.host_of(Who::Node(node));
        let Some(&to) = self.world.net.addresses(host, 0).first() else { return };
        let to = std::net::SocketAddr::new(to, crate::world::NODE_PORT);
        for _ in 0..8 {
            let Some(mut datagram) = self.world.overheard() else { return };
            match self.world.dice.below(3) {
                0 => {}
                1 => {
                    let at = self.world.dice.below(datagram.len().max(1) as u64) as usize;
                    if let Some(byte) = datagram.get_mut(at) {
                        *byte ^= 1 << self.world.dice.below(8);
                    }
                }
                _ => {
                    let length = self.world.dice.between(1, 200) as usize;
                    datagram.resize(length, 0);
                    let kind = self.world.dice.between(1, 11) as u8;
                    self.world.dice.fill(&mut datagram);
                    datagram[0] = kind;
                }
            }
            self.attacks += 1;
            self.world.attack(self.attacker.0, self.attacker.1, to, datagram);
        }
    }

    /// Servers up, links whole, everybody attached.
    fn make_peace(&mut self) {
        for &director in &self.directors {
            self.world.set_up(Who::Director(director), true);
        }
        for &relay in &self.relays {
            self.world.set_up(Who::Relay(relay), true);
        }
        for node in self.nodes.clone() {
            let host = self.world.host_of(Who::Node(node));
            for iface in self.world.net.interfaces(host).collect::<Vec<_>>() {
                let profile = LinkProfile::with_latency(Duration::from_millis(10));
                self.world.net.set_link(LinkRef::Access(host, iface), profile);
            }
            if self.world.net.interfaces(host).next().is_none() {
                self.settle_somewhere(node, 0);
                self.world.net.set_link(LinkRef::Access(host, 0), LinkProfile::with_latency(Duration::from_millis(10)));
            }
        }
    }
}

/// Runs a seed twice and compares: a failure that does not replay cannot be mended.
pub fn replays(seed: u64) -> Result<(), String> {
    let [first, second] = [run_seed(seed, &Report::silent())?, run_seed(seed, &Report::silent())?];
    if first != second {
        return Err("the same seed took two courses".into());
    }
    Ok(())
}
