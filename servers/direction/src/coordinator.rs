//! The coordinator's face: what comes in, what goes out, and which part handles it.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ntm_proto::crypto::{PublicKeyBytes, Secret};
use ntm_proto::id::{Fqdn, NodeId, PathId, RelayId};
use ntm_proto::identity::{NodeRecord, ServerCert};
use ntm_proto::rng::Rng;
use ntm_proto::session::cookie::{CookieJar, LoadMeter};
use ntm_proto::session::fragment::Reassembler;
use ntm_proto::time::{Instant, WallClock};
use ntm_proto::wire::message::Target;
use ntm_proto::wire::outer::{self, OuterType};

use crate::applicants::{Applicants, Application};
use crate::config::Config;
use crate::delivery::Deliveries;
use crate::domains::Domains;
use crate::handshakes::Handshakes;
use crate::limits::{ADDRESS_GRACE, MAX_EVENTS, MAX_LOCALS, MAX_NODES, MAX_REVOKED, MAX_TRANSMITS};
use crate::links::Links;
use crate::paths::{Held, Paths};
use crate::peers::Peers;
use crate::rate::Rate;
use crate::registry::{Registry, State};
use crate::relay_servers::{Reported, TakenBack};
use crate::siblings::Finds;
use crate::stats::{Gauges, Stats};

/// A direction coordinator. See the crate's documentation for how to drive it.
pub struct Coordinator {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) registry: Registry,
    pub(crate) links: Links,
    pub(crate) handshakes: Handshakes,
    pub(crate) applicants: Applicants,
    pub(crate) paths: Paths,
    pub(crate) held: Held,
    pub(crate) deliveries: Deliveries,
    pub(crate) peers: Peers,
    pub(crate) domains: Domains,
    pub(crate) finds: Finds,
    /// What each relay said last.
    pub(crate) reported: BTreeMap<RelayId, Reported>,
    pub(crate) taken_back: TakenBack,
    /// Of cookies given out under load.
    pub(crate) cookies: Rate,
    pub(crate) jar: CookieJar,
    pub(crate) load: LoadMeter,
    /// The coordinator's own addresses, by the numbers the tables hold.
    pub(crate) locals: Vec<SocketAddr>,
    /// By session row.
    pub(crate) reassemblers: BTreeMap<u32, Reassembler>,
    pub(crate) next_fragment: u32,
    /// Revoked before they ever registered here, with their order of arrival.
    pub(crate) revoked: BTreeSet<NodeId>,
    revoked_order: VecDeque<NodeId>,
    /// Makes the nonces by which addresses prove themselves.
    pub(crate) proof_key: Secret,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    pub(crate) stats: Stats,
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The local address to send it from.
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub datagram: Vec<u8>,
}

/// What the driver must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Find the DC and the key of the domain that holds this name, and call
    /// [`Coordinator::handle_domain_found`] with the same name.
    FindDomain(Fqdn),
    /// Find out which DC of this domain has this node, and call [`Coordinator::handle_node_found`] with the same
    /// target.
    FindNode(Target),
    /// A node wants to register that is not stored as it is now: store it durably and call
    /// [`Coordinator::handle_stored`], whatever comes of it; the node waits for its answer. Only where the
    /// configuration says `store_first`.
    Store(Box<Application>),
    /// A node registered for the first time or with a new record, or its wake token changed: to be stored, and
    /// given to [`Coordinator::restore`] after a restart.
    Registered(Box<Stored>),
    /// A node is gone; it keeps its virtual addresses for a time.
    Deregistered { node: NodeId, why: Gone },
    /// A node was away so long that its virtual IPv4 address may go to another: what was stored can go.
    Forgotten { node: NodeId },
    /// Tell the push gateway to wake the node.
    Wake { token: Vec<u8>, node: NodeId, path_id: PathId },
}

/// Why a node is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It said so.
    Left,
    /// It was silent for a whole lease.
    Expired,
    Revoked,
}

/// What of a node outlives a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub record: NodeRecord,
    pub virtual4: Ipv4Addr,
    pub virtual6: Ipv6Addr,
    pub sequence: u64,
    pub wake_token: Option<Vec<u8>>,
}

/// Another domain's DC, as the driver found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignDc {
    pub cert: ServerCert,
    pub domain_key: PublicKeyBytes,
}

/// The driver found no DC for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookupFailed;

/// What the coordinator wants to be woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// The lease of a node, or the time its addresses are kept.
    Lease,
    /// A handshake that was not confirmed.
    Handshake,
    /// A message that was not acknowledged.
    Delivery,
    /// A direction that waits for a node to wake, or for another domain.
    Waiting,
    /// A session with another server.
    Peer,
}

/// Where and how a datagram came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) now: Instant,
    pub(crate) local: SocketAddr,
    pub(crate) from: SocketAddr,
    pub(crate) bytes: usize,
}

impl Coordinator {
    pub fn new(now: Instant, config: Config, seed: [u8; 32]) -> Self {
        let mut rng = Rng::from_seed(seed);
        let keys = [rng.u64(), rng.u64()];
        let bound = config.max_nodes.min(MAX_NODES);
        let mut locals = config.addresses.clone();
        locals.truncate(MAX_LOCALS);
        Self {
            registry: Registry::new(now, config.domain.clone(), config.prefix6, config.pool4, bound, keys),
            links: Links::new(),
            handshakes: Handshakes::default(),
            applicants: Applicants::default(),
            paths: Paths::new([rng.u64(), rng.u64()]),
            held: Held::default(),
            deliveries: Deliveries::new(),
            peers: Peers::default(),
            domains: Domains::default(),
            finds: Finds::default(),
            reported: BTreeMap::new(),
            taken_back: TakenBack::default(),
            cookies: Rate::default(),
            jar: CookieJar::new(config.noise.public(), now, &mut rng),
            load: LoadMeter::new(config.handshakes_per_second),
            locals,
            reassemblers: BTreeMap::new(),
            next_fragment: rng.u32(),
            revoked: BTreeSet::new(),
            revoked_order: VecDeque::new(),
            proof_key: Secret::new(rng.array()),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            stats: Stats::default(),
            rng,
            config,
        }
    }

    /// A datagram came to the local address `local`. It is opened in place.
    pub fn handle_datagram(&mut self, now: Instant, local: SocketAddr, from: SocketAddr, datagram: &mut [u8]) {
        self.stats.datagrams += 1;
        let at = Arrival { now, local, from, bytes: datagram.len() };
        match outer::peek(datagram) {
            Ok(OuterType::Data) => self.handle_data(&at, datagram),
            Ok(OuterType::HandshakeInit) => self.handle_handshake_init(&at, datagram),
            Ok(OuterType::HandshakeResponse) => self.handle_handshake_response(&at, datagram),
            Ok(OuterType::CookieReply) => self.handle_cookie_reply(&at, datagram),
            Ok(_) => self.stats.dropped.unexpected += 1,
            Err(_) => self.stats.dropped.malformed += 1,
        }
    }

    /// The time that [`Coordinator::poll_timeout`] gave has come. Calling early or late does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire_handshakes(now);
        while let Some(row) = self.registry.pop_due(now) {
            self.handle_node_due(now, row);
        }
        self.handle_deliveries_due(now);
        self.handle_peers_due(now);
        self.handle_waiting_due(now);
        self.reassemblers.retain(|_, reassembler| {
            reassembler.handle_timeout(now);
            reassembler.buffered() > 0
        });
    }

    /// The account server or the operator revoked a node: its session ends, it cannot register again, and
    /// what relays were granted for it is taken back.
    pub fn handle_revocation(&mut self, now: Instant, node: NodeId) {
        self.stats.revocations += 1;
        match self.registry.by_id(&node) {
            Some(row) => self.revoke(now, row),
            None => {
                if self.revoked.insert(node) {
                    self.revoked_order.push_back(node);
                }
                if self.revoked_order.len() > MAX_REVOKED
                    && let Some(oldest) = self.revoked_order.pop_front()
                {
                    self.revoked.remove(&oldest);
                    self.stats.evicted += 1;
                }
            }
        }
    }

    /// The calendar clock stepped.
    pub fn handle_clock(&mut self, wall: WallClock) {
        self.config.wall = wall;
    }

    /// The operator changed the configuration. The domain, this server's key and the virtual address ranges stay
    /// as they were.
    pub fn handle_config(&mut self, config: Config) {
        let Config { domain, noise, prefix6, pool4, .. } = self.config.clone();
        self.config = Config { domain, noise, prefix6, pool4, ..config };
        self.reported.retain(|relay, _| self.config.relays.contains_key(relay));
    }

    /// A node that was stored before a restart: it gets the same virtual addresses when it registers, and
    /// nobody else gets them meanwhile. False where they are taken or no row is free.
    pub fn restore(&mut self, now: Instant, stored: &Stored) -> bool {
        match self.registry.restore(&stored.record, stored.virtual4, now + ADDRESS_GRACE) {
            Ok(row) => {
                if let Some(node) = self.registry.get_mut(row) {
                    node.sequence = stored.sequence;
                    node.wake_token = stored.wake_token.clone().map(Vec::into_boxed_slice);
                    node.announced = true;
                }
                true
            }
            Err(_) => false,
        }
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Coordinator::handle_timeout`], and what for.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        [
            (self.registry.deadline(), Timer::Lease),
            (self.handshakes.deadline(), Timer::Handshake),
            (self.deliveries.deadline(), Timer::Delivery),
            (self.paths.deadline(), Timer::Waiting),
            (self.peers.deadline(), Timer::Peer),
        ]
        .into_iter()
        .filter_map(|(at, timer)| Some((at?, timer)))
        .min_by_key(|(at, _)| *at)
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    pub fn gauges(&self) -> Gauges {
        Gauges {
            nodes: self.registry.len(),
            online: self.registry.online(),
            sessions: self.links.len(),
            half_open: self.handshakes.len(),
            applicants: self.applicants.len(),
            paths: self.paths.len(),
            deliveries: self.deliveries.len(),
            held: self.held.len(),
            peers: self.peers.len(),
            lookups: self.domains.len() + self.finds.len(),
            reassemblers: self.reassemblers.len(),
            transmits: self.transmits.len(),
            events: self.events.len(),
        }
    }

    pub(crate) fn transmit(&mut self, from: SocketAddr, to: SocketAddr, datagram: Vec<u8>) {
        if self.transmits.len() >= MAX_TRANSMITS {
            self.stats.overflowed += 1;
            return;
        }
        self.stats.sent += 1;
        self.transmits.push_back(Transmit { from, to, datagram });
    }

    pub(crate) fn event(&mut self, event: Event) {
        if self.events.len() >= MAX_EVENTS {
            self.stats.overflowed += 1;
            return;
        }
        self.events.push_back(event);
    }

    pub(crate) fn is_revoked(&self, node: &NodeId) -> bool {
        self.revoked.contains(node)
            || self
                .registry
                .by_id(node)
                .and_then(|row| self.registry.get(row))
                .is_some_and(|node| node.state == State::Revoked)
    }

    /// The number of a local address; a new one is remembered while there is room.
    pub(crate) fn local_number(&mut self, local: SocketAddr) -> u8 {
        if let Some(number) = self.locals.iter().position(|known| *known == local) {
            return number as u8;
        }
        if self.locals.len() < MAX_LOCALS {
            self.locals.push(local);
            return (self.locals.len() - 1) as u8;
        }
        let same_family = self.locals.iter().position(|known| known.is_ipv4() == local.is_ipv4());
        same_family.unwrap_or(0) as u8
    }
}

impl core::fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Coordinator")
            .field("domain", &self.config.domain)
            .field("gauges", &self.gauges())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
