//! Networks that let no UDP through: finding that out, and going by streams to relays meanwhile
//! (`docs/protocol/tls.md`).
//!
//! ```text
//!            servers are silent            pings as well                   the stream is up
//!  Heard ─────────────────────▶ Asking ──────────────────▶ Blocked ────────────────────▶ Blocked, carried
//!    ▲                            │                        ▲  │ ▲                             │      │
//!    ├────── any answer ──────────┘                 failed └──┘ └────────── it ended ─────────┘      │
//!    └──────────────────────────────── a pong came by UDP ───────────────────────────────────────────┘
//! ```
//! Each endpoint by itself. Nothing counts as an answer that did not authenticate: nobody who forges datagrams can
//! keep a node from its streams. For the rest of the engine an endpoint that begins or ends to be carried
//! has moved to another network that is numbered alike: sessions stay, paths are proven anew.

mod stream;
mod watch;

use alloc::collections::vec_deque::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use ntm_proto::rng::Rng;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::RelayInfo;
use ntm_proto::wire::outer::{self, OuterType};
use ntm_proto::wire::stream::{Carried, MAX_DATAGRAM};

use crate::config::Config;
use crate::context::Transmit;
use crate::interface::{Change, Endpoint};
use stream::{Due, Stream};
pub use stream::{StreamId, StreamOrder};
use watch::{Blocked, State, Watch};

/// Relays known at a time.
const MAX_KNOWN: usize = 64;
/// Relays that one ping goes to.
const MAX_ASKED: usize = 2;
/// Pings whose answers may still come.
const MAX_PINGS: usize = 64;
/// Orders that wait for the driver; the oldest go first.
const MAX_ORDERS: usize = 64;
/// Streams at a time, those that are being opened counted.
const MAX_STREAMS: usize = 16;

/// A ping by UDP.
#[derive(Debug)]
struct Ping {
    nonce: u64,
    endpoint: Endpoint,
    server: SocketAddr,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Fallback {
    directors: Vec<SocketAddr>,
    relays: Vec<SocketAddr>,
    watches: Vec<Watch>,
    streams: Vec<Stream>,
    pings: VecDeque<Ping>,
    orders: VecDeque<StreamOrder>,
    /// Endpoints whose datagrams go another way than before.
    changed: Vec<Endpoint>,
    last_stream: u32,
}

/// What the engine's parts ask and tell.
impl Fallback {
    pub(crate) fn new(config: &Config) -> Self {
        let directors = config.directors.iter().flat_map(|director| director.addresses.iter().copied()).collect();
        let mut relays = config.relays.clone();
        relays.truncate(MAX_KNOWN);
        Self { directors, relays, ..Self::default() }
    }

    /// The coordinator named the relays there are.
    pub(crate) fn set_relays(&mut self, relays: &[RelayInfo]) {
        if !relays.is_empty() {
            self.relays = relays.iter().flat_map(|relay| relay.addresses.iter().copied()).take(MAX_KNOWN).collect();
        }
    }

    /// Endpoints came and went.
    pub(crate) fn handle_change(&mut self, change: &Change) {
        for gone in &change.gone {
            self.watches.retain(|watch| watch.endpoint != *gone);
            self.close_all(*gone);
        }
        self.watches.extend(change.come.iter().copied().map(Watch::new));
    }

    /// A datagram is about to leave: as it is, or as a frame of the stream that carries it.
    pub(crate) fn wrap(&mut self, now: Instant, transmit: Transmit) -> Transmit {
        let from = Endpoint { interface: transmit.interface, address: transmit.from };
        if transmit.datagram.len() <= MAX_DATAGRAM
            && let Some((stream, frame)) = self.frame(now, from, transmit.to, &transmit.datagram)
        {
            return Transmit { stream: Some(stream), datagram: frame, ..transmit };
        }
        let is_server = self.relays.contains(&transmit.to) || self.directors.contains(&transmit.to);
        let is_bind = matches!(outer::peek(&transmit.datagram), Ok(OuterType::RelayBind));
        let Some(watch) = self.watches.iter_mut().find(|watch| watch.endpoint == from) else { return transmit };
        match watch.state {
            State::Heard if is_server && now >= watch.believed_until => {
                watch.unanswered.get_or_insert(now);
            }
            // A relay that is not the one that carries the rest.
            State::Blocked(Blocked { carried: true, .. }) if is_bind => {
                self.begin(now, from, transmit.to, false);
            }
            _ => {}
        }
        transmit
    }

    /// Whether what goes from here to there goes through a stream.
    pub(crate) fn carries(&self, from: Endpoint, to: SocketAddr) -> bool {
        self.streams.iter().any(|stream| stream.is_up() && stream.endpoint == from && stream.relay == to)
    }

    /// Something authentic came from a server.
    pub(crate) fn heard(&mut self, now: Instant, endpoint: Endpoint) {
        let Some(watch) = self.watches.iter_mut().find(|watch| watch.endpoint == endpoint) else { return };
        match watch.state {
            State::Heard => watch.unanswered = None,
            State::Asking { .. } => watch.believe(now),
            // It may have come by the stream; what came by UDP the pings will tell.
            State::Blocked(_) if self.streams.iter().any(|stream| stream.is_up() && stream.endpoint == endpoint) => {}
            State::Blocked(_) => self.unblock(now, endpoint),
        }
    }

    /// Whether the pong answers a ping of this module.
    pub(crate) fn handle_pong(&mut self, now: Instant, from: SocketAddr, nonce: u64) -> bool {
        if self.streams.iter().any(|stream| stream.relay == from && stream.awaits(nonce)) {
            return true;
        }
        let Some(at) = self.pings.iter().position(|ping| ping.nonce == nonce && ping.server == from) else {
            return false;
        };
        let Some(Ping { endpoint, .. }) = self.pings.remove(at) else { return false };
        self.unblock(now, endpoint);
        true
    }

    /// The node does no more: its streams are closed.
    pub(crate) fn end(&mut self) {
        let open = core::mem::take(&mut self.streams);
        open.iter().for_each(|stream| self.order(StreamOrder::Close(stream.id)));
        for watch in &mut self.watches {
            (watch.state, watch.unanswered) = (State::Heard, None);
        }
    }

    /// The endpoints that go another way than when this was last asked.
    pub(crate) fn take_changed(&mut self) -> Vec<Endpoint> {
        core::mem::take(&mut self.changed)
    }

    pub(crate) fn is_director(&self, address: SocketAddr) -> bool {
        self.directors.contains(&address)
    }

    pub(crate) fn poll_order(&mut self) -> Option<StreamOrder> {
        self.orders.pop_front()
    }

    pub(crate) fn next_timeout(&self) -> Instant {
        if !self.changed.is_empty() {
            return Instant::ZERO;
        }
        if self.relays.is_empty() {
            return Instant::FAR_FUTURE;
        }
        let watches = self.watches.iter().map(Watch::next_timeout);
        watches.chain(self.streams.iter().map(Stream::next_timeout)).fold(Instant::FAR_FUTURE, Instant::min)
    }

    /// Does what is due; gives the pings to be sent.
    pub(crate) fn handle_timeout(&mut self, now: Instant, rng: &mut Rng) -> Vec<Transmit> {
        let mut pings = self.run_streams(now, rng);
        for at in 0..self.watches.len() {
            let due = self.watches[at].handle_timeout(now);
            let endpoint = self.watches[at].endpoint;
            if due.ask {
                self.ask(endpoint, rng, &mut pings);
            }
            if let Some(attempt) = due.connect {
                let relays: Vec<SocketAddr> = self.reachable(endpoint).collect();
                match relays.get(attempt % relays.len().max(1)) {
                    Some(&relay) => self.begin(now, endpoint, relay, true),
                    None => self.connect_again(now, endpoint),
                }
            }
        }
        pings
    }
}

/// What the driver tells of its streams.
impl Fallback {
    pub(crate) fn handle_up(&mut self, now: Instant, id: StreamId) {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) else { return };
        stream.open(now);
        let (endpoint, is_home) = (stream.endpoint, stream.is_home);
        if let Some(blocked) = self.blocked(endpoint).filter(|_| is_home) {
            blocked.carried_from(now);
            self.changed.push(endpoint);
        }
    }

    pub(crate) fn handle_down(&mut self, now: Instant, id: StreamId) {
        let Some(at) = self.streams.iter().position(|stream| stream.id == id) else { return };
        let Stream { endpoint, is_home, .. } = self.streams.swap_remove(at);
        if is_home {
            self.connect_again(now, endpoint);
        }
    }

    /// A frame came: gives where the stream is from, and the relay at its other end.
    pub(crate) fn handle_frame(&mut self, now: Instant, id: StreamId) -> Option<(Endpoint, SocketAddr)> {
        let stream = self.streams.iter_mut().find(|stream| stream.id == id && stream.is_up())?;
        stream.hear(now);
        let (endpoint, relay, is_home) = (stream.endpoint, stream.relay, stream.is_home);
        if let Some(blocked) = self.blocked(endpoint).filter(|_| is_home) {
            blocked.attempts = 0;
        }
        Some((endpoint, relay))
    }
}

impl Fallback {
    fn blocked(&mut self, endpoint: Endpoint) -> Option<&mut Blocked> {
        let watch = self.watches.iter_mut().find(|watch| watch.endpoint == endpoint)?;
        if let State::Blocked(blocked) = &mut watch.state { Some(blocked) } else { None }
    }

    fn connect_again(&mut self, now: Instant, endpoint: Endpoint) {
        if let Some(blocked) = self.blocked(endpoint) {
            blocked.connect_again(now);
        }
    }

    /// UDP works from this endpoint.
    fn unblock(&mut self, now: Instant, endpoint: Endpoint) {
        let Some(watch) = self.watches.iter_mut().find(|watch| watch.endpoint == endpoint) else { return };
        let was_carried = matches!(watch.state, State::Blocked(Blocked { carried: true, .. }));
        watch.believe(now);
        self.close_all(endpoint);
        if was_carried {
            self.changed.push(endpoint);
        }
    }

    fn frame(&mut self, now: Instant, from: Endpoint, to: SocketAddr, datagram: &[u8]) -> Option<(StreamId, Vec<u8>)> {
        let to_director = self.directors.contains(&to);
        let mut streams = self.streams.iter_mut().filter(|stream| stream.is_up() && stream.endpoint == from);
        let stream = streams.find(|stream| if to_director { stream.is_home } else { stream.relay == to })?;
        stream.used(now);
        let carried = if to_director { Carried::Director(to, datagram) } else { Carried::Relay(datagram) };
        Some((stream.id, carried.emit()))
    }

    fn reachable(&self, endpoint: Endpoint) -> impl Iterator<Item = SocketAddr> {
        self.relays.iter().copied().filter(move |relay| relay.is_ipv4() == endpoint.address.is_ipv4())
    }

    fn ask(&mut self, endpoint: Endpoint, rng: &mut Rng, pings: &mut Vec<Transmit>) {
        let servers: Vec<SocketAddr> = self.reachable(endpoint).take(MAX_ASKED).collect();
        for server in servers {
            let nonce = rng.u64();
            if self.pings.len() >= MAX_PINGS {
                self.pings.pop_front();
            }
            self.pings.push_back(Ping { nonce, endpoint, server });
            pings.push(Transmit::by_udp(endpoint, server, outer::emit_relay_ping(nonce)));
        }
    }

    fn begin(&mut self, now: Instant, endpoint: Endpoint, relay: SocketAddr, is_home: bool) {
        let mut streams = self.streams.iter_mut();
        if let Some(stream) = streams.find(|stream| stream.endpoint == endpoint && stream.relay == relay) {
            // One that was opened for a bind takes what is for the coordinators as well.
            if is_home && !stream.is_home {
                stream.is_home = true;
                self.changed.extend(stream.is_up().then_some(endpoint));
            }
            return;
        }
        if self.streams.len() >= MAX_STREAMS {
            if is_home {
                self.connect_again(now, endpoint);
            }
            return;
        }
        self.last_stream = self.last_stream.wrapping_add(1);
        let id = StreamId(self.last_stream);
        self.streams.push(Stream::new(now, id, endpoint, relay, is_home));
        self.order(StreamOrder::Open { id, interface: endpoint.interface, from: endpoint.address, relay });
    }

    fn close_all(&mut self, endpoint: Endpoint) {
        let closing: Vec<Stream> = self.streams.extract_if(.., |stream| stream.endpoint == endpoint).collect();
        closing.iter().for_each(|stream| self.order(StreamOrder::Close(stream.id)));
    }

    fn order(&mut self, order: StreamOrder) {
        if self.orders.len() >= MAX_ORDERS {
            self.orders.pop_front();
        }
        self.orders.push_back(order);
    }

    fn run_streams(&mut self, now: Instant, rng: &mut Rng) -> Vec<Transmit> {
        let mut pings = Vec::new();
        let mut over = Vec::new();
        for stream in &mut self.streams {
            match stream.handle_timeout(now, rng) {
                Due::Nothing => {}
                Due::Ping(ping) => pings.push(ping),
                Due::Over => over.push(stream.id),
            }
        }
        for id in over {
            self.order(StreamOrder::Close(id));
            self.handle_down(now, id);
        }
        pings
    }
}

#[cfg(test)]
mod tests;
