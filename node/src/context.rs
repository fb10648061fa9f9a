//! What every part of the engine shares: keys, randomness, and the queues to the driver.

use alloc::collections::btree_map::{BTreeMap, Entry};
use alloc::collections::vec_deque::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};

use ntm_proto::crypto::Provider;
use ntm_proto::id::{InterfaceId, SessionIndex};
use ntm_proto::identity::NoiseKey;
use ntm_proto::rng::Rng;
use ntm_proto::time::{Instant, UnixTime, WallClock};

use crate::event::Event;
use crate::fallback::{Fallback, StreamId};
use crate::interface::Endpoint;
use crate::keys::{IndexOwner, LinkId, PeerKey};
use crate::stats::Stats;

/// Datagrams that wait for the driver; what comes on top is dropped and counted.
const MAX_TRANSMITS: usize = 65_536;
/// Events that wait for the driver; the oldest go first.
const MAX_EVENTS: usize = 4_096;
/// The year 10889: who says that this node counted beyond that is mistaken.
const MAX_SEQUENCE: u64 = 1 << 48;
/// Binds whose answer may still come; the oldest go first.
const MAX_BINDS: usize = 4_096;

/// A datagram for the driver to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    pub interface: InterfaceId,
    /// The local address, one of those the driver gave the interface.
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub datagram: Vec<u8>,
    /// The stream that carries it to the relay; `datagram` is then a frame, to be written as it is.
    pub stream: Option<StreamId>,
}

impl Transmit {
    pub(crate) fn by_udp(from: Endpoint, to: SocketAddr, datagram: Vec<u8>) -> Self {
        Self { interface: from.interface, from: from.address, to, datagram, stream: None }
    }
}

pub(crate) struct Context {
    pub(crate) provider: &'static dyn Provider,
    pub(crate) noise: NoiseKey,
    pub(crate) rng: Rng,
    pub(crate) wall: WallClock,
    pub(crate) stats: Stats,
    pub(crate) fallback: Fallback,
    /// When the engine was last called.
    pub(crate) now: Instant,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    last_sequence: u64,
    /// What is added to the calendar clock's milliseconds: it was set back since the node counted last.
    ahead: u64,
    last_bind: u64,
    route_version: Arc<AtomicU64>,
    indices: BTreeMap<SessionIndex, IndexOwner>,
    binds: BTreeMap<u64, (PeerKey, LinkId)>,
}

impl Context {
    pub(crate) fn new(
        provider: &'static dyn Provider,
        noise: NoiseKey,
        wall: WallClock,
        seed: [u8; 32],
        fallback: Fallback,
    ) -> Self {
        Self {
            provider,
            noise,
            rng: Rng::from_seed(seed),
            wall,
            stats: Stats::default(),
            fallback,
            now: Instant::ZERO,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            last_sequence: 0,
            ahead: 0,
            last_bind: 0,
            route_version: Arc::new(AtomicU64::new(1)),
            indices: BTreeMap::new(),
            binds: BTreeMap::new(),
        }
    }

    pub(crate) fn transmit(&mut self, from: Endpoint, to: SocketAddr, datagram: Vec<u8>) {
        let transmit = self.fallback.wrap(self.now, Transmit::by_udp(from, to, datagram));
        self.transmit_as_it_is(transmit);
    }

    pub(crate) fn transmit_as_it_is(&mut self, transmit: Transmit) {
        if self.transmits.len() >= MAX_TRANSMITS {
            self.stats.transmits_dropped += 1;
            return;
        }
        self.transmits.push_back(transmit);
    }

    pub(crate) fn pop_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub(crate) fn emit(&mut self, event: Event) {
        if self.events.len() >= MAX_EVENTS {
            self.events.pop_front();
            self.stats.events_dropped += 1;
        }
        self.events.push_back(event);
    }

    pub(crate) fn pop_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Routes given out before are outdated.
    pub(crate) fn routes_changed(&self) {
        self.route_version.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn route_version(&self) -> &Arc<AtomicU64> {
        &self.route_version
    }

    pub(crate) fn unix(&self, now: Instant) -> UnixTime {
        self.wall.unix(now)
    }

    /// A number greater than every one before it, also across restarts: calendar milliseconds
    /// where the clock has moved on, one more than the last where it has not.
    pub(crate) fn sequence(&mut self, now: Instant) -> u64 {
        self.last_sequence = self.unix(now).as_millis().saturating_add(self.ahead).max(self.last_sequence + 1);
        self.last_sequence
    }

    /// Counts on from `known`, which this node used before it lost its memory. Whether that changes anything.
    pub(crate) fn count_from(&mut self, now: Instant, known: u64) -> bool {
        let changes = (self.last_sequence..=MAX_SEQUENCE).contains(&known);
        if changes {
            self.ahead = known.saturating_sub(self.unix(now).as_millis());
            self.last_sequence = known;
        }
        changes
    }

    /// A fresh index, unlike every other in use and not to be guessed.
    pub(crate) fn allocate_index(&mut self, owner: IndexOwner) -> SessionIndex {
        loop {
            let index = SessionIndex(self.rng.u32());
            if let Entry::Vacant(free) = self.indices.entry(index) {
                free.insert(owner);
                return index;
            }
        }
    }

    pub(crate) fn release_index(&mut self, index: SessionIndex) {
        self.indices.remove(&index);
    }

    pub(crate) fn release_indices_of(&mut self, owner: IndexOwner) {
        self.indices.retain(|_, held_by| *held_by != owner);
    }

    pub(crate) fn index_owner(&self, index: SessionIndex) -> Option<IndexOwner> {
        self.indices.get(&index).copied()
    }

    /// A sequence number for a bind, under which its answer will be found. Binds can be many, and what the
    /// coordinator and peers count must never run ahead of the clock for their sake, so theirs are microseconds.
    pub(crate) fn note_bind(&mut self, now: Instant, peer: PeerKey, link: LinkId) -> u64 {
        let sequence = self.unix(now).as_millis().saturating_mul(1_000).max(self.last_bind + 1);
        self.last_bind = sequence;
        if self.binds.len() >= MAX_BINDS {
            self.binds.pop_first();
        }
        self.binds.insert(sequence, (peer, link));
        sequence
    }

    pub(crate) fn binder(&self, sequence: u64) -> Option<(PeerKey, LinkId)> {
        self.binds.get(&sequence).copied()
    }

    pub(crate) fn forget_bind(&mut self, sequence: u64) {
        self.binds.remove(&sequence);
    }
}
