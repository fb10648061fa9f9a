//! The link to the direction coordinator: registration, keep-alive, and what is said over it.
//!
//! ```text
//!  Offline ──interface──▶ Registering ──response──▶ Registered ──silent──▶ Registered, and a Rescue
//!     ▲                       ▲  │                     ▲  ▲                    │  │ │
//!     └──no interface / refused──┘                     │  └────it speaks again─┘  │ │
//!                             ▲                        └───another answers────────┘ │
//!                             └──────── nobody answers, session over ───────────────┘
//! ```
//! Live tunnels do not depend on it: losing the coordinator costs new names and re-punching only.

mod keepers;
mod rescue;
mod signals;

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use ntm_proto::id::{SessionIndex, TransactionId};
use ntm_proto::identity::NodeRecord;
use ntm_proto::session::Psk;
use ntm_proto::session::fragment::Reassembler;
use ntm_proto::session::handshake::HandshakeError;
use ntm_proto::session::pair::{Session, SessionTimer};
use ntm_proto::session::replay::SIGNAL_WINDOW_WORDS;
use ntm_proto::time::Instant;
use ntm_proto::wire::frame::Frame;
use ntm_proto::wire::message::{
    Deregistration, Envelope, ErrorCode, ErrorMessage, KeepAlive, Message, RegistrationRequest, RegistrationResponse,
    RelayRtt,
};
use ntm_proto::wire::outer::{CookieReply, HandshakeResponse};

use crate::config::{Config, Director};
use crate::context::Context;
use crate::event::Event;
use crate::interface::{Endpoint, Interfaces};
use crate::keys::IndexOwner;
use crate::peer;
use keepers::Keepers;
use rescue::Rescue;

/// Pauses between registrations that get no answer.
const REGISTER_RETRY: [Duration; 7] = [
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1_200),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
];
/// Registrations one coordinator may leave unanswered before the next one is tried.
const TRIES_A_DIRECTOR: usize = 3;
/// Pauses between repeats of an update that gets no answer; after the last, register anew.
const UPDATE_RETRY: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1_600),
    Duration::from_millis(1_600),
];
/// Repeats of an update without answer after which the coordinator is doubted.
const UPDATES_BEFORE_DOUBT: usize = 3;
/// The ticket was refused: ask again this much later, in case the operator mended it.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// No interface, or superseded: nothing to be done.
    Offline,
    Registering {
        tries: usize,
        next_at: Instant,
    },
    Registered,
}

/// A registration request inside the session that waits for its answer.
#[derive(Debug)]
struct Update {
    transaction: TransactionId,
    next_at: Instant,
    tries: usize,
}

/// What the coordinator said that others than the link must act on.
#[derive(Debug)]
pub(crate) enum Heard {
    Registered {
        response: RegistrationResponse,
        /// The coordinator did not know this node before, or this node thought so.
        anew: bool,
    },
    Signal(Envelope),
    /// It will not have this node.
    Refused(ErrorMessage),
}

pub(crate) struct DirectorLink {
    directors: Vec<Director>,
    current: usize,
    record: NodeRecord,
    ticket: Vec<u8>,
    ticket_key: Psk,
    wake_token: Option<Vec<u8>>,
    session: Session<SIGNAL_WINDOW_WORDS>,
    phase: Phase,
    superseded: bool,
    keepers: Keepers,
    /// Only while registered.
    rescue: Option<Rescue>,
    update: Option<Update>,
    /// Where the coordinator was last heard.
    home: Option<Endpoint>,
    addresses: Option<(Ipv4Addr, Ipv6Addr)>,
    next_transaction: u32,
    reassembler: Reassembler,
    /// Indices of sessions that ended, to be released.
    retired: Vec<SessionIndex>,
}

impl DirectorLink {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            directors: config.directors,
            current: 0,
            record: config.record,
            ticket: config.ticket,
            ticket_key: config.ticket_key,
            wake_token: config.wake_token,
            session: Session::new(config.provider),
            phase: Phase::Offline,
            superseded: false,
            keepers: Keepers::default(),
            rescue: None,
            update: None,
            home: None,
            addresses: None,
            next_transaction: 1,
            reassembler: Reassembler::default(),
            retired: Vec::new(),
        }
    }

    /// The virtual addresses, from the first registration on.
    pub(crate) fn addresses(&self) -> Option<(Ipv4Addr, Ipv6Addr)> {
        self.addresses
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.phase == Phase::Registered
    }

    pub(crate) fn is_superseded(&self) -> bool {
        self.superseded
    }

    pub(crate) fn transaction(&mut self) -> TransactionId {
        let transaction = TransactionId(self.next_transaction);
        self.next_transaction = self.next_transaction.wrapping_add(1).max(1);
        transaction
    }

    pub(crate) fn set_ticket(&mut self, now: Instant, ticket: Vec<u8>, key: Psk) {
        self.ticket = ticket;
        self.ticket_key = key;
        self.superseded = false;
        self.leave_phase(Phase::Registering { tries: 0, next_at: now });
    }

    pub(crate) fn set_record(&mut self, record: NodeRecord) {
        self.record = record;
    }

    /// Interfaces came, changed or went.
    pub(crate) fn handle_change(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        interfaces: &Interfaces,
        rtts: Vec<RelayRtt>,
    ) {
        self.sync_keepers(now, interfaces);
        if self.superseded {
            return;
        }
        if interfaces.is_empty() {
            self.end_rescue();
            self.phase = match self.phase {
                Phase::Registering { .. } => Phase::Offline,
                Phase::Offline | Phase::Registered => return,
            };
            return;
        }
        match self.phase {
            Phase::Offline | Phase::Registering { .. } => {
                self.phase = Phase::Registering { tries: 0, next_at: now };
                self.register(now, ctx, interfaces, rtts);
            }
            Phase::Registered => self.begin_update(now, ctx, interfaces, rtts),
        }
    }

    /// Tells the coordinator what changed, without a new handshake.
    pub(crate) fn begin_update(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        interfaces: &Interfaces,
        rtts: Vec<RelayRtt>,
    ) {
        if !self.is_registered() {
            return;
        }
        let transaction = self.transaction();
        self.update = Some(Update { transaction, next_at: now, tries: 0 });
        self.run_update(now, ctx, interfaces, rtts);
    }

    /// Somebody asks for this node: the coordinator must hear from it at once, whatever was waited for.
    pub(crate) fn wake(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces, rtts: Vec<RelayRtt>) {
        if self.is_registered() && self.session.sealing(now).is_some() {
            self.begin_update(now, ctx, interfaces, rtts);
        } else if !self.superseded && !interfaces.is_empty() {
            if self.is_registered() {
                self.lose(now, ctx);
            }
            self.phase = Phase::Registering { tries: 0, next_at: now };
            self.register(now, ctx, interfaces, rtts);
        }
    }

    fn sync_keepers(&mut self, now: Instant, interfaces: &Interfaces) {
        self.keepers.sync(now, interfaces.endpoints());
        if self.home.is_some_and(|home| !self.keepers.has(home)) {
            self.home = None;
        }
    }

    fn server_for(&self, endpoint: Endpoint) -> Option<SocketAddr> {
        address_for(self.directors.get(self.current)?, endpoint)
    }

    /// The endpoints that can reach the coordinator, the preferred first.
    fn reachable(&self, interfaces: &Interfaces) -> Vec<(Endpoint, SocketAddr)> {
        self.directors.get(self.current).map_or_else(Vec::new, |director| ways_to(director, interfaces))
    }

    fn best(&self, interfaces: &Interfaces) -> Option<(Endpoint, SocketAddr)> {
        let home = self.home.and_then(|home| Some((home, self.server_for(home)?)));
        home.or_else(|| self.reachable(interfaces).first().copied())
    }

    fn request(
        &self,
        now: Instant,
        ctx: &mut Context,
        interfaces: &Interfaces,
        from: Endpoint,
        rtts: Vec<RelayRtt>,
    ) -> RegistrationRequest {
        RegistrationRequest {
            record: self.record.clone(),
            ticket: None,
            sequence: ctx.sequence(now),
            from: from.interface,
            interfaces: interfaces.describe(),
            relay_rtts: rtts,
            wake_token: self.wake_token.clone(),
        }
    }

    /// One registration by handshake. Each try leaves from the next endpoint: which of them works is
    /// not known, and the coordinator must learn which one it sees.
    fn register(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces, rtts: Vec<RelayRtt>) {
        let Phase::Registering { tries, .. } = self.phase else { return };
        if tries > 0 && tries % TRIES_A_DIRECTOR == 0 && self.directors.len() > 1 {
            self.current = (self.current + 1) % self.directors.len();
        }
        let next_at = now + REGISTER_RETRY[tries.min(REGISTER_RETRY.len() - 1)];
        self.phase = Phase::Registering { tries: tries + 1, next_at };
        let reachable = self.reachable(interfaces);
        if reachable.is_empty() {
            self.current = (self.current + 1) % self.directors.len().max(1);
            return;
        }
        let (endpoint, server) = reachable[tries % reachable.len()];
        self.begin_handshake(now, ctx, interfaces, rtts, endpoint, server);
    }

    fn begin_handshake(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        interfaces: &Interfaces,
        rtts: Vec<RelayRtt>,
        endpoint: Endpoint,
        server: SocketAddr,
    ) {
        let Some(key) = self.directors.get(self.current).map(|director| director.noise_key) else { return };
        let payload = self.ticketed(now, ctx, interfaces, endpoint, rtts);
        let index: SessionIndex = ctx.allocate_index(IndexOwner::Director);
        let datagram = self.session.begin(now, &mut ctx.rng, &ctx.noise, &key, &self.ticket_key, index, &payload);
        self.release_retired(ctx);
        ctx.transmit(endpoint, server, datagram);
    }

    /// What a handshake carries: the request, and the ticket that says who may register.
    fn ticketed(
        &self,
        now: Instant,
        ctx: &mut Context,
        interfaces: &Interfaces,
        from: Endpoint,
        rtts: Vec<RelayRtt>,
    ) -> Vec<u8> {
        let mut request = self.request(now, ctx, interfaces, from, rtts);
        request.ticket = Some(self.ticket.clone());
        peer::envelope(Message::RegistrationRequest(request))
    }

    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        interfaces: &Interfaces,
        response: &HandshakeResponse<'_>,
        endpoint: Endpoint,
    ) -> Result<Option<Heard>, HandshakeError> {
        if self.is_of_rescue(response.receiver) {
            return self.handle_rescue_response(now, ctx, interfaces, response, endpoint);
        }
        let payload = match self.session.handle_response(now, response) {
            Ok(payload) => payload,
            // A coordinator that cannot open the ticket has no key of this node's to answer with.
            Err(error) => self.session.handle_refusal(response).map_err(|_| error)?,
        };
        self.release_retired(ctx);
        self.home = Some(endpoint);
        let Ok(envelope) = Envelope::parse(&payload) else { return Ok(None) };
        match envelope.message {
            Message::RegistrationResponse(registered) => {
                self.update = None;
                let anew = self.phase != Phase::Registered;
                let heard = self.registered(now, ctx, registered, anew);
                // Confirms the keys to the coordinator, which commits nothing before.
                self.keep_alive_from(now, ctx, interfaces, endpoint);
                Ok(Some(heard))
            }
            Message::Error(error) => Ok(Some(Heard::Refused(error))),
            _ => Ok(None),
        }
    }

    pub(crate) fn handle_cookie_reply(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        reply: &CookieReply<'_>,
        endpoint: Endpoint,
        from: SocketAddr,
    ) -> Result<(), HandshakeError> {
        let (session, director) = match &mut self.rescue {
            Some(rescue) if rescue.session.in_flight() == Some(reply.receiver) => {
                (&mut rescue.session, rescue.director)
            }
            _ => (&mut self.session, self.current),
        };
        // Whoever has seen the handshake can answer it with a cookie, and it goes nowhere new for that.
        if !self.directors.get(director).is_some_and(|director| director.addresses.contains(&from)) {
            return Err(HandshakeError::Unauthentic);
        }
        let datagram = session.handle_cookie_reply(now, reply)?;
        ctx.transmit(endpoint, from, datagram);
        Ok(())
    }

    /// `anew`: with a coordinator that did not know this node, or that it had given up.
    fn registered(&mut self, now: Instant, ctx: &mut Context, response: RegistrationResponse, anew: bool) -> Heard {
        let first = self.phase != Phase::Registered;
        self.phase = Phase::Registered;
        self.keepers.set_period(response.keep_alive, self.directors.len() > 1);
        let addresses = (response.virtual4, response.virtual6);
        if first || self.addresses != Some(addresses) {
            self.addresses = Some(addresses);
            ctx.emit(Event::Registered { virtual4: addresses.0, virtual6: addresses.1 });
        }
        if anew {
            self.keepers.restart(now, self.home);
        }
        Heard::Registered { response, anew }
    }

    /// The coordinator will not have this node.
    pub(crate) fn refused(&mut self, now: Instant, ctx: &mut Context, error: &ErrorMessage) {
        let code = error.code;
        match code {
            ErrorCode::Superseded => {
                self.superseded = true;
                self.leave_phase(Phase::Offline);
                ctx.emit(Event::Superseded);
            }
            ErrorCode::NotRegistered => self.leave_phase(Phase::Registering { tries: 0, next_at: now }),
            ErrorCode::TicketExpired | ErrorCode::Revoked | ErrorCode::Forbidden => {
                self.leave_phase(Phase::Registering { tries: 0, next_at: now + REFUSED_PAUSE });
                ctx.emit(Event::TicketRefused(code));
            }
            ErrorCode::NoSuchNode
            | ErrorCode::NodeOffline
            | ErrorCode::Busy
            | ErrorCode::DomainUnreachable
            | ErrorCode::BadMessage => self.refused_for_now(now, ctx, error),
        }
    }

    fn refused_for_now(&mut self, now: Instant, ctx: &mut Context, error: &ErrorMessage) {
        let Phase::Registering { tries, next_at } = &mut self.phase else { return };
        if *tries <= 1 && error.sequence.is_some_and(|known| ctx.count_from(now, known)) {
            *next_at = now;
        } else {
            ctx.emit(Event::RegistrationRefused(error.text.clone()));
        }
    }

    /// The node goes: the coordinator is told, once, and nothing more is done. Should it not hear, the lease ends.
    pub(crate) fn leave(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces) {
        if self.is_registered() {
            let sequence = ctx.sequence(now);
            let transaction = self.transaction();
            let message = Message::Deregistration(Deregistration { sequence });
            self.say(now, ctx, interfaces, Envelope { transaction, message });
        }
        self.superseded = true;
        self.leave_phase(Phase::Offline);
    }

    /// The coordinator leaves a question unanswered. It may be answering to where a NAT has stopped listening: it learns
    /// from keep-alives where else the node is.
    pub(crate) fn handle_silence(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces) {
        self.keepers.hurry(now);
        self.run_keepers(now, ctx, interfaces);
    }

    /// Says something to the coordinator from the endpoint that works best.
    pub(crate) fn say(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces, envelope: Envelope) {
        if let Some((endpoint, server)) = self.best(interfaces) {
            self.say_from(now, ctx, endpoint, server, envelope);
        }
    }

    fn say_from(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        endpoint: Endpoint,
        server: SocketAddr,
        envelope: Envelope,
    ) {
        let bytes = envelope.emit();
        let mut frame = Vec::with_capacity(bytes.len() + 1);
        Frame::Signal(&bytes).emit(&mut frame);
        if let Ok(sealed) = self.session.seal(now, &frame) {
            ctx.transmit(endpoint, server, sealed);
        }
    }

    fn keep_alive_from(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces, endpoint: Endpoint) {
        let Some(server) = self.server_for(endpoint) else { return };
        let fresh = self.transaction();
        let Some(transaction) = self.keepers.sending(now, endpoint, fresh) else { return };
        let message = Message::KeepAlive(KeepAlive {
            from: endpoint.interface,
            generation: interfaces.generation(endpoint.interface),
            relay_rtts: Vec::new(),
        });
        self.say_from(now, ctx, endpoint, server, Envelope { transaction, message });
    }

    pub(crate) fn next_timeout(&self) -> Instant {
        match self.phase {
            Phase::Offline => Instant::FAR_FUTURE,
            Phase::Registering { next_at, .. } => next_at,
            Phase::Registered => {
                let session = self.session.poll_timeout().map_or(Instant::FAR_FUTURE, |(at, _)| at);
                let update = self.update.as_ref().map_or(Instant::FAR_FUTURE, |update| update.next_at);
                let rescue = self.rescue.as_ref().map_or(Instant::FAR_FUTURE, |rescue| rescue.next_at);
                let keepers = self.keepers.next_timeout(|endpoint| self.server_for(endpoint).is_some());
                session.min(update).min(rescue).min(keepers)
            }
        }
    }

    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        interfaces: &Interfaces,
        rtts: Vec<RelayRtt>,
    ) {
        match self.phase {
            Phase::Offline => {}
            Phase::Registering { next_at, .. } => {
                if now >= next_at {
                    self.register(now, ctx, interfaces, rtts);
                }
            }
            Phase::Registered => {
                self.run_session(now, ctx, interfaces, &rtts);
                self.run_update(now, ctx, interfaces, rtts.clone());
                self.run_keepers(now, ctx, interfaces);
                self.run_rescue(now, ctx, interfaces, rtts);
            }
        }
    }

    fn run_session(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces, rtts: &[RelayRtt]) {
        match self.session.handle_timeout(now) {
            Some(SessionTimer::Rekey) => {
                if let Some((endpoint, server)) = self.best(interfaces) {
                    self.begin_handshake(now, ctx, interfaces, rtts.to_vec(), endpoint, server);
                }
            }
            Some(SessionTimer::Expire) if self.session.sealing(now).is_none() => self.lose(now, ctx),
            _ => {}
        }
        self.release_retired(ctx);
    }

    fn run_update(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces, rtts: Vec<RelayRtt>) {
        let Some(update) = &mut self.update else { return };
        if now < update.next_at {
            return;
        }
        let Some(&pause) = UPDATE_RETRY.get(update.tries) else {
            self.update = None;
            self.lose(now, ctx);
            return;
        };
        update.next_at = now + pause;
        let (tries, transaction) = (update.tries, update.transaction);
        update.tries += 1;
        if tries >= UPDATES_BEFORE_DOUBT {
            self.doubt(now, ctx);
        }
        let reachable = self.reachable(interfaces);
        if reachable.is_empty() {
            return;
        }
        let (endpoint, server) = reachable[tries % reachable.len()];
        let request = self.request(now, ctx, interfaces, endpoint, rtts);
        self.say_from(
            now,
            ctx,
            endpoint,
            server,
            Envelope { transaction, message: Message::RegistrationRequest(request) },
        );
    }

    fn run_keepers(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces) {
        for endpoint in self.keepers.due(now) {
            self.keep_alive_from(now, ctx, interfaces, endpoint);
        }
        let reachable = self.reachable(interfaces);
        let endpoints = || reachable.iter().map(|(endpoint, _)| *endpoint);
        if self.keepers.have_given_up(endpoints()) {
            self.lose(now, ctx);
        } else if self.keepers.doubt(endpoints()) {
            self.doubt(now, ctx);
        }
    }

    /// The coordinator is gone or has forgotten this node.
    fn lose(&mut self, now: Instant, ctx: &mut Context) {
        self.leave_phase(Phase::Registering { tries: 0, next_at: now });
        self.home = None;
        ctx.emit(Event::RegistrationLost);
    }

    /// From being registered, or from wherever the link was, to another phase.
    fn leave_phase(&mut self, next: Phase) {
        self.end_rescue();
        self.phase = next;
    }

    fn release_retired(&mut self, ctx: &mut Context) {
        while let Some(index) = self.session.take_retired().or_else(|| self.retired.pop()) {
            ctx.release_index(index);
        }
    }
}

/// Where an endpoint reaches a coordinator.
fn address_for(director: &Director, endpoint: Endpoint) -> Option<SocketAddr> {
    director.addresses.iter().copied().find(|server| server.is_ipv4() == endpoint.address.is_ipv4())
}

/// The endpoints that reach a coordinator, the preferred first.
fn ways_to(director: &Director, interfaces: &Interfaces) -> Vec<(Endpoint, SocketAddr)> {
    let ways = interfaces.endpoints().into_iter();
    ways.filter_map(|endpoint| Some((endpoint, address_for(director, endpoint)?))).collect()
}
