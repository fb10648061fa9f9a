//! One stream to a relay: that it is there, that it works, and that somebody needs it.

use core::net::SocketAddr;
use core::time::Duration;

use ntm_proto::id::InterfaceId;
use ntm_proto::rng::Rng;
use ntm_proto::time::Instant;
use ntm_proto::wire::outer;
use ntm_proto::wire::stream::Carried;

use crate::context::Transmit;
use crate::interface::Endpoint;

/// How long the driver may take to open a stream.
const OPENING: Duration = Duration::from_secs(10);
/// A stream that was silent for so long is asked whether it works; relays close those that say nothing.
const PING_EVERY: Duration = Duration::from_secs(15);
/// A stream through which nothing came for so long is over.
const DEAD: Duration = Duration::from_secs(40);
/// A stream beside the one for the coordinator is closed when nobody has used it for so long.
const UNUSED: Duration = Duration::from_secs(60);

/// Names a stream between engine and driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// What the driver is to do with streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamOrder {
    /// Connect from this local address (the port is free to choose) to this relay, whose address for UDP is given, and
    /// tell the engine what becomes of it.
    Open { id: StreamId, interface: InterfaceId, from: SocketAddr, relay: SocketAddr },
    /// Nothing more is to be told of it.
    Close(StreamId),
}

#[derive(Debug)]
enum State {
    Opening { until: Instant },
    Up { heard: Instant, used: Instant, ping_at: Instant, ping: Option<u64> },
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) endpoint: Endpoint,
    /// Its address for UDP, which is its name here as well.
    pub(super) relay: SocketAddr,
    /// Also carries what is for the coordinators.
    pub(super) is_home: bool,
    state: State,
}

/// What is to be done for a stream now.
pub(super) enum Due {
    Nothing,
    Ping(Transmit),
    Over,
}

impl Stream {
    pub(super) fn new(now: Instant, id: StreamId, endpoint: Endpoint, relay: SocketAddr, is_home: bool) -> Self {
        Self { id, endpoint, relay, is_home, state: State::Opening { until: now + OPENING } }
    }

    pub(super) fn open(&mut self, now: Instant) {
        self.state = State::Up { heard: now, used: now, ping_at: now + PING_EVERY, ping: None };
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    pub(super) fn used(&mut self, now: Instant) {
        if let State::Up { used, .. } = &mut self.state {
            *used = now;
        }
    }

    pub(super) fn hear(&mut self, now: Instant) {
        if let State::Up { heard, .. } = &mut self.state {
            *heard = now;
        }
    }

    pub(super) fn awaits(&self, nonce: u64) -> bool {
        matches!(self.state, State::Up { ping: Some(sent), .. } if sent == nonce)
    }

    pub(super) fn next_timeout(&self) -> Instant {
        match self.state {
            State::Opening { until } => until,
            State::Up { heard, used, ping_at, .. } => {
                let unused = if self.is_home { Instant::FAR_FUTURE } else { used + UNUSED };
                (heard + DEAD).min(unused).min(ping_at)
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, rng: &mut Rng) -> Due {
        if now < self.next_timeout() {
            return Due::Nothing;
        }
        match &mut self.state {
            State::Up { heard, used, ping_at, ping } => {
                if now >= *heard + DEAD || (!self.is_home && now >= *used + UNUSED) {
                    return Due::Over;
                }
                let nonce = rng.u64();
                (*ping, *ping_at) = (Some(nonce), now + PING_EVERY);
                let frame = Carried::Relay(&outer::emit_relay_ping(nonce)).emit();
                let transmit = Transmit::by_udp(self.endpoint, self.relay, frame);
                Due::Ping(Transmit { stream: Some(self.id), ..transmit })
            }
            State::Opening { .. } => Due::Over,
        }
    }
}
