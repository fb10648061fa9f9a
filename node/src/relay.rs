//! A peer's relayed paths: the grant, the bind, the index the relay gave.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use ntm_proto::crypto::equal;
use ntm_proto::id::RelayIndex;
use ntm_proto::session::relay_token::bind_mac;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::RelayGrant;
use ntm_proto::wire::outer::{self, RelayBound};

use crate::context::Context;
use crate::interface::{Endpoint, Interfaces};
use crate::keys::{LinkId, PeerKey};

/// Holds the NAT's mapping towards the relay and the relay's soft state.
const REFRESH: Duration = Duration::from_secs(15);
/// When a bind that got no answer is repeated.
const RETRY: [Duration; 5] = [
    Duration::from_millis(150),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1_500),
    Duration::from_millis(3_000),
];

/// What a bind's answer changes in the table of relay indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewIndex {
    pub(crate) learned: Option<(SocketAddr, RelayIndex)>,
    pub(crate) outdated: Option<(SocketAddr, RelayIndex)>,
}

/// One relay grant in use, from one local endpoint.
#[derive(Debug)]
pub(crate) struct RelayLink {
    peer: PeerKey,
    pub(crate) id: LinkId,
    pub(crate) grant: RelayGrant,
    pub(crate) leg: Leg,
    /// The newest direction holds this grant.
    pub(crate) is_current: bool,
    index: Option<RelayIndex>,
    /// The newest index and, until another comes, the one before it: datagrams may still be on their
    /// way under it.
    previous: Option<(SocketAddr, RelayIndex)>,
    /// The newest bind's sequence number; each is made once and only rises.
    sequence: u64,
    bound_sequence: u64,
    unanswered: usize,
    next_bind: Instant,
}

impl RelayLink {
    pub(crate) fn new(now: Instant, peer: PeerKey, number: u32, grant: RelayGrant, leg: Leg) -> Self {
        Self {
            peer,
            id: LinkId { relay: grant.relay, number },
            grant,
            leg,
            is_current: true,
            index: None,
            previous: None,
            sequence: 0,
            bound_sequence: 0,
            unanswered: 0,
            next_bind: now,
        }
    }

    /// Takes the link to another leg: what the relay knew of the old one is worth nothing.
    pub(crate) fn move_to(&mut self, now: Instant, leg: Leg) {
        self.leg = leg;
        self.forget_index(now);
    }

    /// The relay no longer seems to know the index: bind again.
    pub(crate) fn forget_index(&mut self, now: Instant) {
        self.index = None;
        self.unanswered = 0;
        self.next_bind = now;
    }

    pub(crate) fn index(&self) -> Option<RelayIndex> {
        self.index
    }

    /// Whether the relay has let several binds go unanswered.
    pub(crate) fn is_silent(&self) -> bool {
        self.unanswered >= RETRY.len()
    }

    /// `datagram` as it must go to the relay: under the index, or riding on a bind until there is one.
    pub(crate) fn wrap(&mut self, now: Instant, ctx: &mut Context, datagram: &[u8]) -> Vec<u8> {
        match self.index {
            Some(index) => outer::emit_relayed(index, datagram),
            None => self.bind(now, ctx, datagram),
        }
    }

    fn bind(&mut self, now: Instant, ctx: &mut Context, inner: &[u8]) -> Vec<u8> {
        self.sequence = ctx.note_bind(now, self.peer, self.id);
        // A bind that carries data is a bind like any other: none of its own is due for a while.
        self.next_bind = self.next_bind.max(now + RETRY[self.unanswered.min(RETRY.len() - 1)]);
        let RelayGrant { side, token, bind_key, .. } = &self.grant;
        let inner = (!inner.is_empty()).then_some(inner);
        outer::emit_relay_bind(*side, self.sequence, token, inner, |covered| bind_mac(bind_key, covered))
    }

    /// Takes the relay's answer; `None` where it is not authentic or old.
    pub(crate) fn handle_bound(&mut self, now: Instant, bound: &RelayBound<'_>) -> Option<NewIndex> {
        if bound.sequence <= self.bound_sequence || bound.sequence > self.sequence {
            return None;
        }
        if !equal(&bind_mac(&self.grant.bind_key, bound.covered()), bound.mac) {
            return None;
        }
        self.bound_sequence = bound.sequence;
        self.unanswered = 0;
        self.next_bind = now + REFRESH;
        let known = (self.leg.server, bound.index);
        if self.index == Some(bound.index) {
            return Some(NewIndex { learned: None, outdated: None });
        }
        self.index = Some(bound.index);
        let outdated = self.previous.replace(known);
        Some(NewIndex { learned: Some(known), outdated: outdated.filter(|old| *old != known) })
    }

    /// Under the index, and ends at the relay: proves to it that this address is where the index was sent.
    pub(crate) fn proof(&self) -> Option<Vec<u8>> {
        Some(outer::emit_relayed(self.index?, &outer::PUNCH))
    }

    pub(crate) fn next_timeout(&self) -> Instant {
        self.next_bind
    }

    /// The bind that is due, if one is.
    pub(crate) fn handle_timeout(&mut self, now: Instant, ctx: &mut Context) -> Option<Vec<u8>> {
        if now < self.next_bind {
            return None;
        }
        if self.unanswered >= 2 {
            // The relay may have restarted and forgotten the index: what follows rides on binds again.
            self.index = None;
        }
        let bind = self.bind(now, ctx, &[]);
        self.unanswered = self.unanswered.saturating_add(1);
        Some(bind)
    }
}

/// The way between this node and a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) local: Endpoint,
    pub(crate) server: SocketAddr,
}

/// The legs to a relay, one an interface, the preferred first.
pub(crate) fn legs(addresses: &[SocketAddr], interfaces: &Interfaces) -> Vec<Leg> {
    let mut legs: Vec<Leg> = Vec::new();
    for local in interfaces.endpoints() {
        let server = addresses.iter().find(|server| server.is_ipv4() == local.address.is_ipv4());
        let taken = legs.iter().any(|leg| leg.local.interface == local.interface);
        if let (Some(&server), false) = (server, taken) {
            legs.push(Leg { local, server });
        }
    }
    legs
}
