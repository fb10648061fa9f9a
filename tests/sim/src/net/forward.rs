//! How a packet travels: a heap of events, one for each stretch of the way that takes time.

use crate::net::host::{HostId, Neighbour, Place, V4Edge, V6Edge};
use crate::net::link::{Passage, Way};
use crate::net::trace::{Drop, TraceEvent, What};
use crate::net::{FIRST_GLOBAL, Network, ROUTED_HALF, TLS_PORT, V6_TOP};
use crate::rng::mix;
use ntm_proto::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// IP and UDP headers.
const V4_OVERHEAD: usize = 28;
const V6_OVERHEAD: usize = 48;

/// A datagram that got to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When it got there; not after the `now` of the poll.
    pub at: Instant,
    pub host: HostId,
    pub iface: u8,
    /// The destination as it was on arrival: an address of the interface.
    pub local: SocketAddr,
    /// The source as the receiver sees it, translated by the NATs in the way.
    pub from: SocketAddr,
    pub payload: Vec<u8>,
}

/// Why a host could not even send: what its kernel would say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The interface is attached nowhere, or the host is off.
    Down,
    /// The source is no address of the interface, or not of the destination's family.
    BadSource,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Down => "the interface is down",
            Self::BadSource => "the source address is not the interface's",
        })
    }
}

impl std::error::Error for SendError {}

#[derive(Debug)]
struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    payload: Vec<u8>,
}

/// Where a packet is about to be.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// In a place, coming from above or from one of its hosts or routers.
    Place {
        place: Place,
        descending: bool,
    },
    /// At the outside of the router whose inside is that place.
    Outside(Place),
    Host(HostId, u8),
}

#[derive(Debug)]
struct Flight {
    stage: Stage,
    packet: Packet,
}

/// Packets under way. The heap holds small keys, the packets stay in their slots.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    slots: Vec<Option<Flight>>,
    free: Vec<u32>,
    sequence: u64,
}

impl Queue {
    fn push(&mut self, at: Instant, flight: Flight) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(flight);
                slot
            }
            None => {
                self.slots.push(Some(flight));
                self.slots.len() as u32 - 1
            }
        };
        self.heap.push(Reverse((at, self.sequence, slot)));
        self.sequence += 1;
    }

    fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    fn pop(&mut self, now: Instant) -> Option<(Instant, Flight)> {
        self.next().filter(|at| *at <= now)?;
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        self.slots[slot as usize].take().map(|flight| (at, flight))
    }
}

/// Running: datagrams in, datagrams out.
impl Network {
    /// A host sends a datagram from one of its interface's addresses.
    ///
    /// What happens to it on the way is nobody's error: that only shows in the counters and the trace.
    pub fn send(
        &mut self,
        now: Instant,
        host: HostId,
        iface: u8,
        from: SocketAddr,
        to: SocketAddr,
        payload: Vec<u8>,
    ) -> Result<(), SendError> {
        let sender = &mut self.hosts[host.0 as usize];
        let interface = sender.interfaces.get_mut(usize::from(iface)).ok_or(SendError::Down)?;
        let place = interface.place.filter(|_| sender.up).ok_or(SendError::Down)?;
        if from.is_ipv4() != to.is_ipv4() || !interface.addresses.contains(&from.ip()) {
            return Err(SendError::BadSource);
        }
        let packet = Packet { from, to, payload };
        let passage = interface.link.carry(Way::Up, now, packet.size(), &mut self.dice);
        self.counters.sent += 1;
        self.note(now, What::Sent { host, iface }, &packet);
        self.pass(now, passage, Stage::Place { place, descending: false }, packet);
        Ok(())
    }

    /// Puts a datagram with any source into a place, as an attacker there could.
    pub fn inject(&mut self, now: Instant, place: Place, from: SocketAddr, to: SocketAddr, payload: Vec<u8>) {
        let packet = Packet { from, to, payload };
        self.note(now, What::Injected { place }, &packet);
        self.queue.push(now, Flight { stage: Stage::Place { place, descending: false }, packet });
    }

    /// The next datagram that gets to a host by `now`. Call until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Delivery> {
        while let Some((at, flight)) = self.queue.pop(now) {
            if let Some(delivery) = self.step(at, flight.stage, flight.packet) {
                return Some(delivery);
            }
        }
        None
    }

    /// When [`Network::poll`] has something to do next. It may still deliver nothing then.
    pub fn next_event(&self) -> Option<Instant> {
        self.queue.next()
    }

    fn step(&mut self, at: Instant, stage: Stage, mut packet: Packet) -> Option<Delivery> {
        let mut stage = stage;
        loop {
            let next = match stage {
                Stage::Host(host, iface) => return self.arrive(at, host, iface, packet),
                Stage::Outside(inside) => self.enter(at, inside, &mut packet),
                Stage::Place { place, descending } => self.cross(at, place, descending, &mut packet),
            };
            match next {
                Ok(Hop::At(following)) => stage = following,
                Ok(Hop::Over(passage, following)) => {
                    // What takes no time is done here and now: most of a typical path.
                    match passage {
                        Passage::Arrives { at: arrival, late: false, copy: None } if arrival == at => stage = following,
                        passage => {
                            self.pass(at, passage, following, packet);
                            return None;
                        }
                    }
                }
                Err(reason) => {
                    self.lose(at, reason, &packet);
                    return None;
                }
            }
        }
    }

    /// From a place to whoever has the destination there, down to a router that leads to it, or up.
    fn cross(&mut self, at: Instant, place: Place, descending: bool, packet: &mut Packet) -> Result<Hop, Drop> {
        match self.places[place.0 as usize].neighbours.get(&packet.to.ip()) {
            Some(&Neighbour::Host(host, iface)) => {
                let link = &mut self.hosts[host.0 as usize].interfaces[usize::from(iface)].link;
                let passage = link.carry(Way::Down, at, packet.size(), &mut self.dice);
                return Ok(Hop::Over(passage, Stage::Host(host, iface)));
            }
            Some(&Neighbour::Router(inside)) => return self.descend(at, inside, packet),
            None => {}
        }
        let target = self.locate(packet.to.ip());
        if let Some(inside) = target.and_then(|target| self.child_towards(place, target)) {
            return self.descend(at, inside, packet);
        }
        if descending || target == Some(place) {
            return Err(Drop::NoRoute);
        }
        if self.places[place.0 as usize].router.is_some() {
            return self.leave(at, place, packet);
        }
        let from_site = usize::from(self.places[place.0 as usize].site);
        let to_site = usize::from(self.places[target.ok_or(Drop::NoRoute)?.0 as usize].site);
        if from_site == to_site {
            return Err(Drop::NoRoute);
        }
        let way = if from_site > to_site { Way::Up } else { Way::Down };
        let index = self.core_index(from_site, to_site);
        let passage = self.core[index].carry(way, at, packet.size(), &mut self.dice);
        Ok(Hop::Over(passage, Stage::Place { place: self.sites[to_site].place, descending: true }))
    }

    fn descend(&mut self, at: Instant, inside: Place, packet: &Packet) -> Result<Hop, Drop> {
        let router = self.places[inside.0 as usize].router.as_mut().ok_or(Drop::NoRoute)?;
        let passage = router.uplink.carry(Way::Down, at, packet.size(), &mut self.dice);
        Ok(Hop::Over(passage, Stage::Outside(inside)))
    }

    /// From the inside of a router out.
    fn leave(&mut self, at: Instant, inside: Place, packet: &mut Packet) -> Result<Hop, Drop> {
        let router = self.places[inside.0 as usize].router.as_mut().ok_or(Drop::NoRoute)?;
        if router.udp_blocked && !packet.is_of_stream() {
            return Err(Drop::UdpBlocked);
        }
        let mut translated = false;
        let mut turned = false;
        match (&mut router.v4, &mut router.v6, packet.to.is_ipv4()) {
            (V4Edge::Nat(nat), _, true) => {
                turned = packet.to.ip() == IpAddr::V4(nat.outside);
                if turned && !nat.kind.hairpin {
                    return Err(Drop::NoHairpin);
                }
                packet.from = nat.outbound(at, packet.from, packet.to, &mut self.dice)?;
                if turned {
                    packet.to = nat.inbound(at, packet.from, packet.to.port())?;
                }
                translated = true;
            }
            (V4Edge::Routed(Some(firewall)), _, true) | (_, V6Edge::Routed(Some(firewall)), false) => {
                firewall.outbound(at, packet.from, packet.to)?;
            }
            (V4Edge::Routed(None), _, true) | (_, V6Edge::Routed(None), false) => {}
            (V4Edge::Off, _, true) | (_, V6Edge::Off, false) => return Err(Drop::FamilyOff),
        }
        let hop = if turned {
            Hop::At(Stage::Place { place: inside, descending: true })
        } else {
            let passage = router.uplink.carry(Way::Up, at, packet.size(), &mut self.dice);
            Hop::Over(passage, Stage::Place { place: router.parent, descending: false })
        };
        if translated {
            self.note(at, What::Translated { place: inside }, packet);
        }
        Ok(hop)
    }

    /// From the outside of a router in.
    fn enter(&mut self, at: Instant, inside: Place, packet: &mut Packet) -> Result<Hop, Drop> {
        let router = self.places[inside.0 as usize].router.as_mut().ok_or(Drop::NoRoute)?;
        if router.udp_blocked && !packet.is_of_stream() {
            return Err(Drop::UdpBlocked);
        }
        match (&mut router.v4, &mut router.v6, packet.to.is_ipv4()) {
            (V4Edge::Nat(nat), _, true) if packet.to.ip() == IpAddr::V4(nat.outside) => {
                packet.to = nat.inbound(at, packet.from, packet.to.port())?;
                self.note(at, What::Translated { place: inside }, packet);
            }
            // The address was the NAT's when the packet took this link, and is not any more.
            (V4Edge::Nat(_), _, true) => return Err(Drop::NoRoute),
            (V4Edge::Routed(Some(firewall)), _, true) | (_, V6Edge::Routed(Some(firewall)), false) => {
                firewall.inbound(at, packet.from, packet.to)?;
            }
            (V4Edge::Routed(None), _, true) | (_, V6Edge::Routed(None), false) => {}
            (V4Edge::Off, _, true) | (_, V6Edge::Off, false) => return Err(Drop::FamilyOff),
        }
        Ok(Hop::At(Stage::Place { place: inside, descending: true }))
    }

    fn arrive(&mut self, at: Instant, host: HostId, iface: u8, packet: Packet) -> Option<Delivery> {
        let receiver = &self.hosts[host.0 as usize];
        if !receiver.up {
            self.lose(at, Drop::HostDown, &packet);
            return None;
        }
        if !receiver.interfaces[usize::from(iface)].addresses.contains(&packet.to.ip()) {
            self.lose(at, Drop::NoRoute, &packet);
            return None;
        }
        self.counters.delivered += 1;
        self.note(at, What::Delivered { host, iface }, &packet);
        Some(Delivery { at, host, iface, local: packet.to, from: packet.from, payload: packet.payload })
    }

    /// Puts a packet that a link took or lost where it belongs.
    fn pass(&mut self, now: Instant, passage: Passage, stage: Stage, packet: Packet) {
        match passage {
            Passage::Lost(reason) => self.lose(now, reason, &packet),
            Passage::Arrives { at, late, copy } => {
                self.counters.held_back += u64::from(late);
                if let Some(copy) = copy {
                    self.counters.duplicated += 1;
                    self.note(now, What::Duplicated, &packet);
                    let twin = Packet { payload: packet.payload.clone(), ..packet };
                    self.queue.push(at, Flight { stage, packet });
                    self.queue.push(copy, Flight { stage, packet: twin });
                } else {
                    self.queue.push(at, Flight { stage, packet });
                }
            }
        }
    }

    fn lose(&mut self, at: Instant, reason: Drop, packet: &Packet) {
        self.counters.count_drop(reason);
        self.note(at, What::Dropped(reason), packet);
    }

    /// The place that a global address belongs to.
    pub(crate) fn locate(&self, address: IpAddr) -> Option<Place> {
        match address {
            IpAddr::V4(address) => {
                let offset = address.to_bits().checked_sub(FIRST_GLOBAL)?;
                let site = self.sites.get((offset >> 16) as usize)?;
                let host = offset & 0xffff;
                match host.checked_sub(ROUTED_HALF) {
                    Some(routed) => site.routed.get((routed >> 8) as usize).copied(),
                    None => Some(site.place),
                }
            }
            IpAddr::V6(address) => {
                let prefix = ((address.to_bits() >> 64) as u64).checked_sub(V6_TOP)?;
                self.sites.get((prefix >> 32) as usize)?.v6.get((prefix & 0xffff_ffff) as usize).copied()
            }
        }
    }

    /// The router directly below `place` that leads to `target`; `None` where none does.
    pub(crate) fn child_towards(&self, place: Place, target: Place) -> Option<Place> {
        let mut below = target;
        loop {
            let parent = self.places[below.0 as usize].router.as_ref()?.parent;
            if parent == place {
                return Some(below);
            }
            below = parent;
        }
    }

    fn note(&mut self, at: Instant, what: What, packet: &Packet) {
        let kind = match what {
            What::Sent { host, iface } => 1 << 40 | u64::from(host.0) << 8 | u64::from(iface),
            What::Injected { place } => 2 << 40 | u64::from(place.0),
            What::Translated { place } => 3 << 40 | u64::from(place.0),
            What::Duplicated => 4 << 40,
            What::Delivered { host, iface } => 5 << 40 | u64::from(host.0) << 8 | u64::from(iface),
            What::Dropped(reason) => 6 << 40 | reason as u64,
        };
        let ends = u64::from(packet.from.port()) << 48 | u64::from(packet.to.port()) << 32;
        let content = ends | packet.payload.len() as u64 ^ packet.edges();
        self.digest = mix(mix(mix(self.digest ^ at.as_nanos()) ^ kind) ^ content);
        if let Some(trace) = &mut self.trace {
            trace(&TraceEvent { at, what, from: packet.from, to: packet.to, payload: &packet.payload });
        }
    }
}

enum Hop {
    /// There already.
    At(Stage),
    /// Over a link.
    Over(Passage, Stage),
}

impl Packet {
    /// The size of the IP packet.
    fn size(&self) -> usize {
        self.payload.len() + if self.to.is_ipv4() { V4_OVERHEAD } else { V6_OVERHEAD }
    }

    fn is_of_stream(&self) -> bool {
        self.from.port() == TLS_PORT || self.to.port() == TLS_PORT
    }

    /// The last bytes of the payload: under encryption the tag, which depends on all the others.
    fn edges(&self) -> u64 {
        self.payload.last_chunk().map_or(0, |last| u64::from_le_bytes(*last))
    }
}
