//! Measuring the way to each relay: the direction coordinator chooses relays by these times, and what
//! two servers see of one socket tells what its NAT does.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use ntm_proto::id::RelayId;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::{MAX_RELAYS, RelayInfo, RelayRtt};
use ntm_proto::wire::outer;

use crate::context::Context;
use crate::interface::{Endpoint, Interfaces};

/// A survey ends when every ping is answered, or after this.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Pings that got no answer are sent a second time after this.
const REPEAT_AFTER: Duration = Duration::from_millis(500);
/// Round-trip times are measured again this often.
const EVERY: Duration = Duration::from_secs(600);
/// Pings in one survey.
const MAX_PINGS: usize = 64;

#[derive(Debug)]
struct Ping {
    nonce: u64,
    relay: RelayId,
    local: Endpoint,
    server: SocketAddr,
    sent: Instant,
    rtt: Option<Duration>,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Measuring { began: Instant, repeated: bool },
}

#[derive(Debug)]
pub(crate) struct Survey {
    relays: Vec<RelayInfo>,
    pings: Vec<Ping>,
    phase: Phase,
    next: Instant,
    rtts: Vec<RelayRtt>,
}

impl Survey {
    pub(crate) fn new() -> Self {
        Self { relays: Vec::new(), pings: Vec::new(), phase: Phase::Idle, next: Instant::FAR_FUTURE, rtts: Vec::new() }
    }

    /// The best round-trip time to each relay that answered.
    pub(crate) fn rtts(&self) -> Vec<RelayRtt> {
        self.rtts.clone()
    }

    pub(crate) fn set_relays(&mut self, now: Instant, relays: Vec<RelayInfo>) {
        if self.relays != relays {
            self.relays = relays;
            self.relays.truncate(MAX_RELAYS);
            self.next = now;
        }
    }

    /// The interfaces changed: what was measured is no longer true.
    pub(crate) fn restart(&mut self, now: Instant) {
        if !self.relays.is_empty() {
            self.next = now;
        }
    }

    pub(crate) fn next_timeout(&self) -> Instant {
        match self.phase {
            Phase::Idle => self.next,
            Phase::Measuring { began, repeated: false } => self.next.min(began + REPEAT_AFTER),
            Phase::Measuring { began, repeated: true } => self.next.min(began + PATIENCE),
        }
    }

    /// Says whether a survey came to its end.
    pub(crate) fn handle_timeout(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces) -> bool {
        if now >= self.next {
            self.begin(now, ctx, interfaces);
            return false;
        }
        match &mut self.phase {
            Phase::Measuring { began, repeated } if !*repeated && now >= *began + REPEAT_AFTER => {
                *repeated = true;
                for ping in self.pings.iter_mut().filter(|ping| ping.rtt.is_none()) {
                    ping.sent = now;
                    ctx.transmit(ping.local, ping.server, outer::emit_relay_ping(ping.nonce));
                }
                false
            }
            Phase::Measuring { began, .. } if now >= *began + PATIENCE => {
                self.finish();
                true
            }
            _ => false,
        }
    }

    fn begin(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces) {
        self.next = now + EVERY;
        self.pings.clear();
        for local in interfaces.endpoints() {
            for relay in &self.relays {
                let server = relay.addresses.iter().find(|server| server.is_ipv4() == local.address.is_ipv4());
                let Some(&server) = server else { continue };
                if self.pings.len() >= MAX_PINGS {
                    break;
                }
                let nonce = ctx.rng.u64();
                self.pings.push(Ping { nonce, relay: relay.relay, local, server, sent: now, rtt: None });
                ctx.transmit(local, server, outer::emit_relay_ping(nonce));
            }
        }
        self.phase = if self.pings.is_empty() { Phase::Idle } else { Phase::Measuring { began: now, repeated: false } };
    }

    /// Takes a pong. Gives the endpoint it is about where it answers a ping, and whether it was the last.
    pub(crate) fn handle_pong(&mut self, now: Instant, from: SocketAddr, nonce: u64) -> Option<(Endpoint, bool)> {
        let ping =
            self.pings.iter_mut().find(|ping| ping.nonce == nonce && ping.server == from && ping.rtt.is_none())?;
        ping.rtt = Some(now.since(ping.sent));
        let local = ping.local;
        let done = matches!(self.phase, Phase::Measuring { .. }) && self.pings.iter().all(|ping| ping.rtt.is_some());
        if done {
            self.finish();
        }
        Some((local, done))
    }

    fn finish(&mut self) {
        self.phase = Phase::Idle;
        self.rtts = self
            .relays
            .iter()
            .filter_map(|relay| {
                let pings = self.pings.iter().filter(|ping| ping.relay == relay.relay);
                let rtt = pings.filter_map(|ping| ping.rtt).min()?;
                Some(RelayRtt { relay: relay.relay, rtt })
            })
            .collect();
    }
}
