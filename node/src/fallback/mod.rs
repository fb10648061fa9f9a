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

use alloc::collections::vec_deque::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

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

/// How long servers may leave an endpoint without any answer before it asks whether UDP works at all.
const SILENT: Duration = Duration::from_millis(700);
/// Pauses after the pings that ask; after the last, UDP counts as blocked.
const ASK: [Duration; 3] = [Duration::from_millis(300), Duration::from_millis(300), Duration::from_millis(400)];
/// After an answer UDP is not doubted again for so long: it may be the coordinator that is gone.
const BELIEVED: Duration = Duration::from_secs(10);
/// Pauses between pings that ask whether UDP works again.
const ASK_AGAIN: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(40),
];
/// Pauses between streams that came to nothing.
const CONNECT_AGAIN: [Duration; 6] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(40),
];
/// Relays known at a time.
const MAX_KNOWN: usize = 64;
/// Relays that one ping goes to.
const MAX_ASKED: usize = 2;
/// Pings whose answers may still come.
const MAX_PINGS: usize = 64;
/// Streams at a time, those that are being opened counted.
const MAX_STREAMS: usize = 16;

/// What an endpoint knows of its network.
#[derive(Debug)]
struct Watch {
    endpoint: Endpoint,
    /// Since when servers have been sent to without any answer.
    unanswered: Option<Instant>,
    believed_until: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    Heard,
    Asking { sent: usize, next_at: Instant },
    Blocked(Blocked),
}

#[derive(Debug)]
struct Blocked {
    asked: usize,
    ask_at: Instant,
    /// Streams begun since one last proved good.
    attempts: usize,
    /// When the next is begun; far in the future while there is one.
    connect_at: Instant,
    /// Some stream was up, so that the rest of the engine has been told.
    carried: bool,
}

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
        let watch =
            |&endpoint| Watch { endpoint, unanswered: None, believed_until: Instant::ZERO, state: State::Heard };
        self.watches.extend(change.come.iter().map(watch));
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
        self.orders.extend(self.streams.drain(..).map(|stream| StreamOrder::Close(stream.id)));
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
                match relays.len() {
                    0 => self.blocked(endpoint).into_iter().for_each(|blocked| blocked.connect_again(now)),
                    known => self.begin(now, endpoint, relays[attempt % known], true),
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
            (blocked.carried, blocked.asked, blocked.ask_at) = (true, 0, now + ASK_AGAIN[0]);
            self.changed.push(endpoint);
        }
    }

    pub(crate) fn handle_down(&mut self, now: Instant, id: StreamId) {
        let Some(at) = self.streams.iter().position(|stream| stream.id == id) else { return };
        let Stream { endpoint, is_home, .. } = self.streams.swap_remove(at);
        if let Some(blocked) = self.blocked(endpoint).filter(|_| is_home) {
            blocked.connect_again(now);
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
        let is_there = self.streams.iter().any(|stream| stream.endpoint == endpoint && stream.relay == relay);
        if is_there || self.streams.len() >= MAX_STREAMS {
            return;
        }
        self.last_stream = self.last_stream.wrapping_add(1);
        let id = StreamId(self.last_stream);
        self.streams.push(Stream::new(now, id, endpoint, relay, is_home));
        self.orders.push_back(StreamOrder::Open { id, interface: endpoint.interface, from: endpoint.address, relay });
    }

    fn close_all(&mut self, endpoint: Endpoint) {
        let closing = self.streams.iter().filter(|stream| stream.endpoint == endpoint);
        self.orders.extend(closing.map(|stream| StreamOrder::Close(stream.id)));
        self.streams.retain(|stream| stream.endpoint != endpoint);
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
            self.orders.push_back(StreamOrder::Close(id));
            self.handle_down(now, id);
        }
        pings
    }
}

/// What is to be done for an endpoint now.
#[derive(Default)]
struct Todo {
    ask: bool,
    /// Begin a stream: the how manyeth since one was good.
    connect: Option<usize>,
}

impl Watch {
    fn next_timeout(&self) -> Instant {
        match &self.state {
            State::Heard => self.unanswered.map_or(Instant::FAR_FUTURE, |since| since + SILENT),
            State::Asking { next_at, .. } => *next_at,
            State::Blocked(blocked) => blocked.ask_at.min(blocked.connect_at),
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Todo {
        if now < self.next_timeout() {
            return Todo::default();
        }
        match &mut self.state {
            State::Heard => {
                self.state = State::Asking { sent: 1, next_at: now + ASK[0] };
                Todo { ask: true, connect: None }
            }
            State::Asking { sent, next_at } => match ASK.get(*sent) {
                Some(&pause) => {
                    (*sent, *next_at) = (*sent + 1, now + pause);
                    Todo { ask: true, connect: None }
                }
                None => {
                    let (ask_at, connect_at) = (now + ASK_AGAIN[0], Instant::FAR_FUTURE);
                    let blocked = Blocked { asked: 0, ask_at, attempts: 1, connect_at, carried: false };
                    self.state = State::Blocked(blocked);
                    Todo { ask: false, connect: Some(0) }
                }
            },
            State::Blocked(blocked) => blocked.handle_timeout(now),
        }
    }

    /// UDP works.
    fn believe(&mut self, now: Instant) {
        self.state = State::Heard;
        self.unanswered = None;
        self.believed_until = now + BELIEVED;
    }
}

impl Blocked {
    fn handle_timeout(&mut self, now: Instant) -> Todo {
        let mut todo = Todo::default();
        if now >= self.ask_at {
            todo.ask = true;
            self.asked += 1;
            self.ask_at = now + ASK_AGAIN[self.asked.min(ASK_AGAIN.len() - 1)];
        }
        if now >= self.connect_at {
            // Where UDP works again, its pong is there before the stream is.
            todo.ask = true;
            todo.connect = Some(self.attempts);
            self.attempts += 1;
            self.connect_at = Instant::FAR_FUTURE;
        }
        todo
    }

    fn connect_again(&mut self, now: Instant) {
        self.connect_at = now + CONNECT_AGAIN[self.attempts.saturating_sub(1).min(CONNECT_AGAIN.len() - 1)];
    }
}

#[cfg(test)]
mod tests;
