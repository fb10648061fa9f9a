//! IPv4 NATs as RFC 4787 tells them apart, and stateful firewalls.
//!
//! ```text
//!            inside                     outside
//!  10.0.0.2:5000 ──┐  mapping: which outside port a packet gets    (RFC 4787 §4.1)
//!                  ├── 20.0.0.2:41000 ── filtering: who may answer  (RFC 4787 §5)
//!  10.0.0.2:5000 ──┘
//! ```
//!
//! Invariant: only a packet from the inside makes state. One from the outside is answered from the table
//! or dropped; at most it refreshes what it used, where the NAT is of that kind.

use crate::hash::FixedMap;
use crate::net::trace::Drop;
use crate::rng::Dice;
use ntm_proto::time::Instant;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

/// The lowest and highest outside port a NAT gives of its own choice.
const PORTS: std::ops::RangeInclusive<u16> = 1_024..=65_535;
/// RFC 4787 §4.3, REQ-5: a UDP mapping must not expire in less than two minutes. Many real ones do at 30 s.
pub const RFC_TIMEOUT: Duration = Duration::from_secs(120);
pub const DEFAULT_NAT_CAPACITY: usize = 4_096;
/// Filter entries a mapping may have on average before the NAT drops new ones.
const PERMITS_PER_MAPPING: usize = 16;
/// Ports tried at random before the search becomes a scan.
const RANDOM_TRIES: usize = 64;

/// What a mapping or a filter looks at: nothing, the remote address, or the remote address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependence {
    EndpointIndependent,
    AddressDependent,
    AddressAndPortDependent,
}

impl Dependence {
    pub const ALL: [Self; 3] = [Self::EndpointIndependent, Self::AddressDependent, Self::AddressAndPortDependent];

    /// As much of `remote` as matters, the rest blank.
    fn of(self, remote: SocketAddr) -> SocketAddr {
        match (self, remote.ip()) {
            (Self::EndpointIndependent, _) => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
            (Self::AddressDependent, ip) => SocketAddr::new(ip, 0),
            (Self::AddressAndPortDependent, ip) => SocketAddr::new(ip, remote.port()),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "ei",
            Self::AddressDependent => "ad",
            Self::AddressAndPortDependent => "apd",
        }
    }
}

/// How a NAT chooses outside ports (RFC 4787 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// The inside port where it is free, else the next one up from the last choice.
    Preserve,
    /// Counting up.
    Sequential,
    Random,
    /// The inside port even where another destination's mapping has it, as Linux's netfilter does. Mapping
    /// and filtering are by address and port whatever the kind says; alone behind it, a host sees what
    /// looks like an endpoint-independent mapping.
    Overload,
}

/// A NAT's behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatKind {
    pub mapping: Dependence,
    pub filtering: Dependence,
    pub ports: Ports,
    /// Whether a packet from the inside to an outside endpoint of this NAT is turned round (RFC 4787 §6).
    pub hairpin: bool,
    /// How long an unused mapping lives.
    pub timeout: Duration,
    /// Whether packets from the outside keep a mapping alive too. Those from the inside always do.
    pub inbound_refresh: bool,
    /// Mappings at a time; beyond, packets that need a new one are dropped.
    pub capacity: usize,
}

impl NatKind {
    pub const fn new(mapping: Dependence, filtering: Dependence) -> Self {
        Self {
            mapping,
            filtering,
            ports: Ports::Random,
            hairpin: false,
            timeout: RFC_TIMEOUT,
            inbound_refresh: false,
            capacity: DEFAULT_NAT_CAPACITY,
        }
    }

    pub const FULL_CONE: Self = Self::new(Dependence::EndpointIndependent, Dependence::EndpointIndependent);
    pub const RESTRICTED_CONE: Self = Self::new(Dependence::EndpointIndependent, Dependence::AddressDependent);
    pub const PORT_RESTRICTED_CONE: Self =
        Self::new(Dependence::EndpointIndependent, Dependence::AddressAndPortDependent);
    pub const SYMMETRIC: Self = Self::new(Dependence::AddressAndPortDependent, Dependence::AddressAndPortDependent);
    /// Linux's `MASQUERADE`.
    pub const NETFILTER: Self = Self::SYMMETRIC.with_ports(Ports::Overload);

    /// The nine combinations of mapping and filtering.
    pub fn nine() -> impl Iterator<Item = Self> {
        let filterings = |mapping| Dependence::ALL.into_iter().map(move |filtering| Self::new(mapping, filtering));
        Dependence::ALL.into_iter().flat_map(filterings)
    }

    pub const fn with_ports(mut self, ports: Ports) -> Self {
        self.ports = ports;
        self
    }

    pub const fn with_hairpin(mut self, hairpin: bool) -> Self {
        self.hairpin = hairpin;
        self
    }

    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub const fn with_inbound_refresh(mut self, inbound_refresh: bool) -> Self {
        self.inbound_refresh = inbound_refresh;
        self
    }

    pub const fn with_capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Short and unique among the kinds that differ in what a peer can see: `ei/apd preserve hairpin`.
    pub fn name(&self) -> String {
        let ports = match self.ports {
            Ports::Preserve => " preserve",
            Ports::Sequential => " sequential",
            Ports::Random => "",
            Ports::Overload => " overload",
        };
        let hairpin = if self.hairpin { " hairpin" } else { "" };
        format!("{}/{}{ports}{hairpin}", self.mapping.name(), self.filtering.name())
    }
}

/// A stateful firewall's behaviour: packets from the inside open it for answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirewallKind {
    pub filtering: Dependence,
    pub timeout: Duration,
    pub inbound_refresh: bool,
    pub capacity: usize,
}

impl FirewallKind {
    /// What home routers do for IPv6 (RFC 6092): only the endpoint that was sent to may answer.
    pub const STATEFUL: Self = Self {
        filtering: Dependence::AddressAndPortDependent,
        timeout: RFC_TIMEOUT,
        inbound_refresh: true,
        capacity: DEFAULT_NAT_CAPACITY,
    };
}

#[derive(Clone, Copy, Debug)]
struct Mapping {
    inside: SocketAddr,
    out_key: OutKey,
    in_key: InKey,
    port: u16,
    /// Tells this use of the slot from earlier ones, so that filter entries die with their mapping.
    generation: u64,
    expires: Instant,
}

/// Inside endpoint, and as much of the destination as the mapping depends on.
type OutKey = (SocketAddr, SocketAddr);
/// Outside port, and the remote endpoint where ports are overloaded.
type InKey = (u16, SocketAddr);
/// Mapping's generation, and as much of the remote endpoint as the filter depends on.
type PermitKey = (u64, SocketAddr);

#[derive(Debug)]
pub(crate) struct Nat {
    pub(crate) kind: NatKind,
    pub(crate) outside: Ipv4Addr,
    mappings: Vec<Option<Mapping>>,
    free: Vec<usize>,
    by_inside: FixedMap<OutKey, usize>,
    by_port: FixedMap<InKey, usize>,
    permits: FixedMap<PermitKey, Instant>,
    next_port: u16,
    next_generation: u64,
    /// Nothing expires before: a full table is not searched again in vain for every packet.
    sweep_mappings_at: Instant,
    sweep_permits_at: Instant,
}

impl Nat {
    pub(crate) fn new(mut kind: NatKind, outside: Ipv4Addr) -> Self {
        if kind.ports == Ports::Overload {
            kind.mapping = Dependence::AddressAndPortDependent;
            kind.filtering = Dependence::AddressAndPortDependent;
        }
        Self {
            kind,
            outside,
            mappings: Vec::new(),
            free: Vec::new(),
            by_inside: FixedMap::default(),
            by_port: FixedMap::default(),
            permits: FixedMap::default(),
            next_port: *PORTS.start(),
            next_generation: 0,
            sweep_mappings_at: Instant::ZERO,
            sweep_permits_at: Instant::ZERO,
        }
    }

    /// Forgets everything, as a router does that is switched off and on.
    pub(crate) fn reboot(&mut self) {
        *self = Self {
            next_port: self.next_port,
            next_generation: self.next_generation,
            ..Self::new(self.kind, self.outside)
        };
    }

    /// Mappings that have not expired at `now`.
    pub(crate) fn live(&self, now: Instant) -> usize {
        self.mappings.iter().flatten().filter(|mapping| now < mapping.expires).count()
    }

    /// A packet from the inside: the source it gets.
    pub(crate) fn outbound(
        &mut self,
        now: Instant,
        inside: SocketAddr,
        remote: SocketAddr,
        dice: &mut Dice,
    ) -> Result<SocketAddr, Drop> {
        let key = (inside, self.kind.mapping.of(remote));
        let slot = match self.by_inside.get(&key) {
            Some(&slot) if self.is_live(slot, now) => slot,
            Some(&slot) => {
                self.remove(slot);
                self.create(now, key, remote, dice)?
            }
            None => self.create(now, key, remote, dice)?,
        };
        let expires = now + self.kind.timeout;
        let (port, generation) = match &mut self.mappings[slot] {
            Some(mapping) => {
                mapping.expires = expires;
                (mapping.port, mapping.generation)
            }
            None => return Err(Drop::NatUnmapped),
        };
        self.permit(now, generation, remote, expires)?;
        Ok(SocketAddr::V4(SocketAddrV4::new(self.outside, port)))
    }

    /// A packet from the outside to `port`: the inside endpoint it goes to.
    pub(crate) fn inbound(&mut self, now: Instant, remote: SocketAddr, port: u16) -> Result<SocketAddr, Drop> {
        let slot = *self.by_port.get(&self.in_key(port, remote)).ok_or(Drop::NatUnmapped)?;
        let timeout = self.kind.timeout;
        let mapping = self.mappings[slot].as_mut().filter(|mapping| now < mapping.expires).ok_or(Drop::NatUnmapped)?;
        if self.kind.filtering != Dependence::EndpointIndependent {
            let permit = (mapping.generation, self.kind.filtering.of(remote));
            let permit = self.permits.get_mut(&permit).filter(|expires| now < **expires).ok_or(Drop::NatFiltered)?;
            if self.kind.inbound_refresh {
                *permit = now + timeout;
            }
        }
        if self.kind.inbound_refresh {
            mapping.expires = now + timeout;
        }
        Ok(mapping.inside)
    }

    fn in_key(&self, port: u16, remote: SocketAddr) -> InKey {
        match self.kind.ports {
            Ports::Overload => (port, remote),
            _ => (port, Dependence::EndpointIndependent.of(remote)),
        }
    }

    fn is_live(&self, slot: usize, now: Instant) -> bool {
        self.mappings[slot].is_some_and(|mapping| now < mapping.expires)
    }

    fn create(&mut self, now: Instant, out_key: OutKey, remote: SocketAddr, dice: &mut Dice) -> Result<usize, Drop> {
        if self.by_inside.len() >= self.kind.capacity {
            self.sweep(now);
            if self.by_inside.len() >= self.kind.capacity {
                return Err(Drop::NatFull);
            }
        }
        let port = self.choose_port(now, out_key.0.port(), remote, dice).ok_or(Drop::NatFull)?;
        let in_key = self.in_key(port, remote);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.mappings.push(None);
            self.mappings.len() - 1
        });
        let generation = self.next_generation;
        self.next_generation += 1;
        let inside = out_key.0;
        self.mappings[slot] = Some(Mapping { inside, out_key, in_key, port, generation, expires: now });
        self.by_inside.insert(out_key, slot);
        self.by_port.insert(in_key, slot);
        Ok(slot)
    }

    fn remove(&mut self, slot: usize) {
        if let Some(mapping) = self.mappings[slot].take() {
            self.by_inside.remove(&mapping.out_key);
            self.by_port.remove(&mapping.in_key);
            self.free.push(slot);
        }
    }

    fn choose_port(&mut self, now: Instant, inside: u16, remote: SocketAddr, dice: &mut Dice) -> Option<u16> {
        if matches!(self.kind.ports, Ports::Preserve | Ports::Overload) && self.take_port(now, inside, remote) {
            return Some(inside);
        }
        if self.kind.ports == Ports::Random {
            for _ in 0..RANDOM_TRIES {
                let port = dice.between(u64::from(*PORTS.start()), u64::from(*PORTS.end())) as u16;
                if self.take_port(now, port, remote) {
                    return Some(port);
                }
            }
        }
        for _ in PORTS {
            let port = self.next_port;
            self.next_port = if port == *PORTS.end() { *PORTS.start() } else { port + 1 };
            if self.take_port(now, port, remote) {
                return Some(port);
            }
        }
        None
    }

    /// Whether `port` may be used, after an expired mapping that still held it is gone.
    fn take_port(&mut self, now: Instant, port: u16, remote: SocketAddr) -> bool {
        match self.by_port.get(&self.in_key(port, remote)) {
            Some(&slot) if self.is_live(slot, now) => false,
            Some(&slot) => {
                self.remove(slot);
                true
            }
            None => true,
        }
    }

    fn permit(&mut self, now: Instant, generation: u64, remote: SocketAddr, expires: Instant) -> Result<(), Drop> {
        if self.kind.filtering == Dependence::EndpointIndependent {
            return Ok(());
        }
        let bound = self.kind.capacity.saturating_mul(PERMITS_PER_MAPPING);
        let key = (generation, self.kind.filtering.of(remote));
        if self.permits.len() >= bound && !self.permits.contains_key(&key) {
            if self.sweep_permits_at <= now {
                self.sweep_permits_at = sweep(&mut self.permits, now);
            }
            if self.permits.len() >= bound {
                return Err(Drop::NatFull);
            }
        }
        self.permits.insert(key, expires);
        Ok(())
    }

    fn sweep(&mut self, now: Instant) {
        if now < self.sweep_mappings_at {
            return;
        }
        for slot in 0..self.mappings.len() {
            if self.mappings[slot].is_some_and(|mapping| mapping.expires <= now) {
                self.remove(slot);
            }
        }
        let first = self.mappings.iter().flatten().map(|mapping| mapping.expires).min();
        self.sweep_mappings_at = first.unwrap_or(now);
    }
}

/// Takes out what has expired; the result is when the first of the rest will.
fn sweep<K>(entries: &mut FixedMap<K, Instant>, now: Instant) -> Instant {
    let mut first = Instant::FAR_FUTURE;
    entries.retain(|_, expires| {
        let alive = now < *expires;
        if alive {
            first = first.min(*expires);
        }
        alive
    });
    first
}

#[derive(Debug)]
pub(crate) struct Firewall {
    pub(crate) kind: FirewallKind,
    /// Inside endpoint and as much of the remote one as matters, to when the opening closes.
    flows: FixedMap<(SocketAddr, SocketAddr), Instant>,
    sweep_at: Instant,
}

impl Firewall {
    pub(crate) fn new(kind: FirewallKind) -> Self {
        Self { kind, flows: FixedMap::default(), sweep_at: Instant::ZERO }
    }

    pub(crate) fn reboot(&mut self) {
        *self = Self::new(self.kind);
    }

    pub(crate) fn outbound(&mut self, now: Instant, inside: SocketAddr, remote: SocketAddr) -> Result<(), Drop> {
        let key = (inside, self.kind.filtering.of(remote));
        if self.flows.len() >= self.kind.capacity && !self.flows.contains_key(&key) {
            if self.sweep_at <= now {
                self.sweep_at = sweep(&mut self.flows, now);
            }
            if self.flows.len() >= self.kind.capacity {
                return Err(Drop::FirewallFull);
            }
        }
        self.flows.insert(key, now + self.kind.timeout);
        Ok(())
    }

    pub(crate) fn inbound(&mut self, now: Instant, remote: SocketAddr, inside: SocketAddr) -> Result<(), Drop> {
        let key = (inside, self.kind.filtering.of(remote));
        let expires = self.flows.get_mut(&key).filter(|expires| now < **expires).ok_or(Drop::Firewall)?;
        if self.kind.inbound_refresh {
            *expires = now + self.kind.timeout;
        }
        Ok(())
    }
}
