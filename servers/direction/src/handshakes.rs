//! Handshakes that others begin.
//!
//! ```text
//! first message ── mac1, cookie under load ── two DHs ── ticket, record, sequence ── answer ── half-open
//!                                                                                        │
//!          the first authentic datagram on the new keys: the registration is committed ◀─┘
//! ```
//!
//! A first message may be a replay: it can be answered at no harm and is, but until its sender has shown
//! that it holds the keys, all it gets is a row here. The same first message again gets the same answer
//! again, without any computation.
//!
//! Invariant: a node has at most one half-open handshake, the one with the highest sequence number.

use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};

use ntm_proto::crypto::Secret;
use ntm_proto::id::{AccountPseudonym, NodeId, SessionIndex, TransactionId};
use ntm_proto::identity::Ticket;
use ntm_proto::session::cookie::Verdict;
use ntm_proto::session::handshake::{Incoming, REFUSAL_PSK};
use ntm_proto::time::Instant;
use ntm_proto::wire::message::{
    Envelope, ErrorCode, ErrorMessage, MAX_RELAYS, Message, RegistrationRequest, RegistrationResponse, RelayInfo,
};
use ntm_proto::wire::outer::HandshakeInit;

use crate::applicants::Applicant;
use crate::coordinator::{Arrival, Coordinator};
use crate::limits::{
    AMPLIFICATION, CONFIRM_WITHIN, COOKIE_BURST, COOKIE_INTERVAL, MAX_HALF_OPEN, REGISTRATION_BURST,
    REGISTRATION_INTERVAL,
};
use crate::links::{Links, Owner};
use crate::registry::{Full, State};
use crate::sending::error;
use crate::slab::Slab;

/// The ephemeral key of a first message: names it among its retransmissions.
pub(crate) type Ephemeral = [u8; 32];

#[derive(Debug)]
pub(crate) struct HalfOpen {
    pub(crate) request: RegistrationRequest,
    pub(crate) id: NodeId,
    pub(crate) account: AccountPseudonym,
    /// Where the answer went, if nowhere else: who has read it there is there.
    pub(crate) answered: Option<SocketAddr>,
    /// The row of its keys.
    pub(crate) link: u32,
    ephemeral: Ephemeral,
    response: Vec<u8>,
    expires: Instant,
}

/// The handshakes that were answered and not confirmed.
#[derive(Debug)]
pub(crate) struct Handshakes {
    rows: Slab<HalfOpen>,
    by_node: BTreeMap<NodeId, u32>,
    by_ephemeral: BTreeMap<Ephemeral, u32>,
    /// By time of expiry, which is the order of arrival. An entry may be out of date.
    order: VecDeque<(Instant, u32)>,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            rows: Slab::new(MAX_HALF_OPEN),
            by_node: BTreeMap::new(),
            by_ephemeral: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl Handshakes {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.order.front().map(|&(expires, _)| expires)
    }

    pub(crate) fn get(&self, row: u32) -> Option<&HalfOpen> {
        self.rows.get(row)
    }

    pub(crate) fn has(&self, node: &NodeId) -> bool {
        self.by_node.contains_key(node)
    }

    pub(crate) fn take(&mut self, row: u32) -> Option<HalfOpen> {
        let half_open = self.rows.remove(row)?;
        self.by_node.remove(&half_open.id);
        self.by_ephemeral.remove(&half_open.ephemeral);
        Some(half_open)
    }

    /// The row that has waited longest.
    fn oldest(&mut self) -> Option<u32> {
        while let Some(&(expires, row)) = self.order.front() {
            if self.rows.get(row).is_some_and(|half_open| half_open.expires == expires) {
                return Some(row);
            }
            self.order.pop_front();
        }
        None
    }

    fn insert(&mut self, half_open: HalfOpen) -> Option<u32> {
        let (id, ephemeral, expires) = (half_open.id, half_open.ephemeral, half_open.expires);
        let row = self.rows.insert(half_open).ok()?;
        self.by_node.insert(id, row);
        self.by_ephemeral.insert(ephemeral, row);
        self.order.push_back((expires, row));
        Some(row)
    }
}

impl Coordinator {
    pub(crate) fn handle_handshake_init(&mut self, at: &Arrival, datagram: &[u8]) {
        let Ok(init) = HandshakeInit::parse(datagram) else {
            self.stats.dropped.malformed += 1;
            return;
        };
        if self.repeat_answer(at, &init) {
            return;
        }
        let under_load = self.load.note(at.now) || self.handshakes.len() > MAX_HALF_OPEN / 2;
        if under_load
            && !self.cookies.permits(at.now, COOKIE_INTERVAL, COOKIE_BURST)
            && !self.jar.has_given(&init, at.from)
        {
            self.stats.dropped.too_many_handshakes += 1;
            return;
        }
        match self.jar.check(at.now, &mut self.rng, datagram, at.from, under_load) {
            Verdict::Process => {}
            Verdict::Reply(reply) => {
                self.stats.cookies_sent += 1;
                self.transmit(at.local, at.from, reply);
                return;
            }
            Verdict::Drop => {
                self.stats.dropped.bad_mac += 1;
                return;
            }
        }
        let incoming = match Incoming::read(self.config.provider, &mut self.rng, &self.config.noise, &init) {
            Ok(incoming) => incoming,
            Err(_) => {
                self.stats.dropped.bad_handshake += 1;
                return;
            }
        };
        match Envelope::parse(incoming.payload()) {
            Ok(Envelope { transaction, message: Message::RegistrationRequest(request) }) => {
                self.handle_registration_handshake(at, &init, incoming, transaction, request);
            }
            Ok(Envelope { transaction, message: Message::ServerHello(hello) }) => {
                self.handle_server_handshake(at, incoming, transaction, &hello);
            }
            Ok(_) | Err(_) => self.stats.dropped.bad_payload += 1,
        }
    }

    pub(crate) fn expire_handshakes(&mut self, now: Instant) {
        while let Some(row) = self.handshakes.oldest() {
            if self.handshakes.get(row).is_none_or(|half_open| half_open.expires > now) {
                break;
            }
            self.drop_half_open(row);
        }
    }

    /// The same first message once more: its answer was lost, or somebody replays it.
    fn repeat_answer(&mut self, at: &Arrival, init: &HandshakeInit<'_>) -> bool {
        let Some(ephemeral) = init.noise.first_chunk::<32>() else { return false };
        if self.applicants.has(ephemeral) {
            self.stats.dropped.awaiting_store += 1;
            return true;
        }
        let Some(&row) = self.handshakes.by_ephemeral.get(ephemeral) else { return false };
        let Some(half_open) = self.handshakes.rows.get_mut(row) else { return false };
        if half_open.response.len() > AMPLIFICATION * at.bytes {
            self.stats.dropped.too_long_to_answer += 1;
        } else {
            // Who reads it in one place can pretend to be in the other.
            half_open.answered = half_open.answered.filter(|&answered| answered == at.from);
            let response = half_open.response.clone();
            self.stats.handshakes_repeated += 1;
            self.transmit(at.local, at.from, response);
        }
        true
    }

    fn handle_registration_handshake(
        &mut self,
        at: &Arrival,
        init: &HandshakeInit<'_>,
        incoming: Incoming,
        transaction: TransactionId,
        request: RegistrationRequest,
    ) {
        let sealed = request.ticket.as_deref().unwrap_or_default();
        let Some(ticket) = self.config.service_keys.iter().find_map(|key| Ticket::open(key, sealed).ok()) else {
            let unreadable = error(ErrorCode::TicketExpired, "this ticket was not made for this server");
            self.refuse(at, incoming, &REFUSAL_PSK, transaction, unreadable);
            return;
        };
        if let Err(refusal) = self.judge(at, &incoming, &ticket, &request) {
            self.refuse(at, incoming, &ticket.key, transaction, refusal);
            return;
        }
        let ephemeral = init.noise.first_chunk().copied().unwrap_or_default();
        let applicant = Applicant { at: *at, ephemeral, incoming, transaction, request, ticket, asked: at.now };
        if self.config.store_first && !self.is_stored(&applicant.ticket.node, &applicant.request.record) {
            self.hold_applicant(applicant);
        } else {
            self.answer_applicant(applicant);
        }
    }

    /// Answers the handshake of a node that may register.
    pub(crate) fn answer_applicant(&mut self, applicant: Applicant) {
        let Applicant { at, ephemeral, incoming, transaction, request, ticket, .. } = applicant;
        let at = &at;
        let (id, account) = (ticket.node, ticket.account);
        if let Some(&row) = self.handshakes.by_node.get(&id) {
            if self.handshakes.get(row).is_some_and(|other| other.request.sequence >= request.sequence) {
                self.stats.dropped.stale_sequence += 1;
                return;
            }
            self.drop_half_open(row);
        }
        let node = match self.admit(at, &request, &id) {
            Ok(Some(node)) => node,
            Ok(None) => return,
            Err(refusal) => {
                self.refuse(at, incoming, &ticket.key, transaction, refusal);
                return;
            }
        };
        if self.handshakes.rows.is_full()
            && let Some(oldest) = self.handshakes.oldest()
        {
            self.stats.evicted += 1;
            self.drop_half_open(oldest);
        }
        let Some(local) = self.links.reserve(Owner::HalfOpen(0)) else {
            self.stats.dropped.too_many_handshakes += 1;
            return;
        };
        let link = Links::row_of(local);
        let response = self.registration_response(at, node);
        let payload = Envelope { transaction, message: Message::RegistrationResponse(response) }.emit();
        let Ok((established, response)) = incoming.respond(&ticket.key, local, &payload) else {
            self.stats.dropped.bad_handshake += 1;
            self.links.remove(link);
            return;
        };
        self.links.establish(at.now, link, &established);
        let expires = at.now + CONFIRM_WITHIN;
        let half_open = HalfOpen {
            request,
            id,
            account,
            answered: Some(at.from),
            link,
            ephemeral,
            response: response.clone(),
            expires,
        };
        let Some(row) = self.handshakes.insert(half_open) else {
            self.links.remove(link);
            return;
        };
        self.links.set_owner(link, Owner::HalfOpen(row));
        if response.len() > AMPLIFICATION * at.bytes {
            self.stats.dropped.too_long_to_answer += 1;
            return;
        }
        self.stats.handshakes_answered += 1;
        self.transmit(at.local, at.from, response);
    }

    /// Whether the node may register with this request.
    pub(crate) fn judge(
        &mut self,
        at: &Arrival,
        incoming: &Incoming,
        ticket: &Ticket,
        request: &RegistrationRequest,
    ) -> Result<(), ErrorMessage> {
        let record = &request.record;
        // The account server verified the record and named its digest in the ticket, so no signature is
        // checked here.
        if ticket.record_digest != record.digest()
            || ticket.node != record.node_id()
            || incoming.peer_key() != &record.noise_key
        {
            return Err(error(ErrorCode::Forbidden, "the ticket is for another node record"));
        }
        if ticket.expires <= self.config.wall.unix(at.now) {
            return Err(error(ErrorCode::TicketExpired, "the ticket has expired"));
        }
        if record.manager != self.config.domain || !record.fqdn.is_within(&self.config.domain) {
            return Err(error(ErrorCode::TicketExpired, "the record is for another domain"));
        }
        if record.revoked || self.is_revoked(&ticket.node) {
            return Err(error(ErrorCode::Revoked, "the node was revoked"));
        }
        if !request.interfaces.iter().any(|interface| interface.id == request.from) {
            return Err(error(ErrorCode::BadMessage, "the sending interface is not among the interfaces"));
        }
        let known = self.registry.by_id(&ticket.node).and_then(|row| self.registry.get(row));
        if let Some(node) = known {
            if node.state != State::Tentative && request.sequence <= node.sequence {
                self.stats.dropped.stale_sequence += 1;
                let refusal = error(ErrorCode::BadMessage, "the sequence number does not rise");
                return Err(ErrorMessage { sequence: Some(node.sequence), ..refusal });
            }
            if record.timestamp < node.record_timestamp() {
                return Err(error(ErrorCode::BadMessage, "a newer record of this node is known"));
            }
        }
        Ok(())
    }

    /// The node's row, new if need be. `None`: it asks too often.
    fn admit(&mut self, at: &Arrival, request: &RegistrationRequest, id: &NodeId) -> Result<Option<u32>, ErrorMessage> {
        let until = at.now + CONFIRM_WITHIN + CONFIRM_WITHIN;
        let row = match self.registry.by_id(id) {
            Some(row) => row,
            None => self.registry.insert(&request.record, until).map_err(|full| {
                let text = match full {
                    Full::Nodes => "no room for another node",
                    Full::Pool => "no virtual IPv4 address is left",
                    Full::Collision => "another node has this virtual IPv6 address",
                };
                error(ErrorCode::Busy, text)
            })?,
        };
        let Some(node) = self.registry.get_mut(row) else { return Ok(None) };
        if !node.registrations.permits(at.now, REGISTRATION_INTERVAL, REGISTRATION_BURST) {
            self.stats.dropped.rate_limited += 1;
            return Ok(None);
        }
        if node.state == State::Tentative {
            self.registry.set_state(row, State::Tentative, until);
        }
        Ok(Some(row))
    }

    pub(crate) fn registration_response(&self, at: &Arrival, node: u32) -> RegistrationResponse {
        let (virtual4, virtual6) = self
            .registry
            .get(node)
            .map_or((core::net::Ipv4Addr::UNSPECIFIED, core::net::Ipv6Addr::UNSPECIFIED), |node| {
                (node.virtual4, self.registry.virtual6(&node.id))
            });
        RegistrationResponse {
            virtual4,
            virtual6,
            lease: self.config.lease,
            keep_alive: self.config.keep_alive,
            observed: at.from,
            relays: self
                .usable_relays(at.now)
                .take(MAX_RELAYS)
                .map(|relay| RelayInfo { relay: relay.relay, addresses: relay.addresses.to_vec() })
                .collect(),
            time: self.config.wall.unix(at.now),
        }
    }

    /// Answers a handshake with an error. The keys it makes are nobody's.
    pub(crate) fn refuse(
        &mut self,
        at: &Arrival,
        incoming: Incoming,
        psk: &Secret,
        transaction: TransactionId,
        refusal: ErrorMessage,
    ) {
        let payload = Envelope { transaction, message: Message::Error(refusal) }.emit();
        if let Ok((_, response)) = incoming.respond(psk, SessionIndex(u32::MAX), &payload)
            && response.len() <= AMPLIFICATION * at.bytes
        {
            self.stats.handshakes_refused += 1;
            self.transmit(at.local, at.from, response);
        }
    }

    /// Forgets a handshake that nobody confirmed. A tentative node goes when its row comes due.
    fn drop_half_open(&mut self, row: u32) {
        if let Some(half_open) = self.handshakes.take(row) {
            self.links.remove(half_open.link);
        }
    }
}
