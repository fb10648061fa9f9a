//! The relay's sessions with its direction servers.
//!
//! The relay calls, each direction server listens: `HandshakeInit` with a `ServerHello` inside, then
//! a `RelayReport` at once and at intervals. A report is repeated until its transaction is
//! acknowledged (`RelayAck`); where that does not happen the direction server has lost the session,
//! and the relay makes a new one. So a direction server that restarts knows its relays again within
//! `REPORT_EVERY + REPORT_TRIES * REPORT_RETRY`, without keeping anything.
//!
//! ```text
//!            attempt due                    response
//!  Calling ──────────────► HandshakeInit ──────────────► Reporting
//!     ▲                    (again, backing off)              │
//!     └──────────────────────────────────────────────────────┘
//!                 reports unanswered, or the keys too old
//! ```
//! A rekey is the same loop: the old keys go on until the new ones are there.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};

use ntm_proto::id::{PathId, SessionIndex, TransactionId};
use ntm_proto::rng::Rng;
use ntm_proto::session::{SIGNAL_WINDOW_WORDS, Session, SessionTimer};
use ntm_proto::time::Instant;
use ntm_proto::wire::frame::Frame;
use ntm_proto::wire::message::{Envelope, Message, RelayReport, ServerHello};
use ntm_proto::wire::outer::Outer;

use crate::config::{Config, Director};
use crate::limits;
use crate::relay::Transmit;
use crate::stats::{DropReason, Stats};

/// All direction servers.
#[derive(Debug)]
pub(crate) struct Links {
    rng: Rng,
    links: Vec<Link>,
    by_session: BTreeMap<SessionIndex, usize>,
    /// Of the last `ServerHello`; it rises even where the calendar clock does not.
    sequence: u64,
    transmits: VecDeque<Transmit>,
}

/// One direction server.
#[derive(Debug)]
struct Link {
    director: Director,
    /// The relay's own address and the direction server's, for each that have a family in common.
    routes: Vec<(SocketAddr, SocketAddr)>,
    /// Which of them the last handshake went, or goes, by.
    route: usize,
    session: Session<SIGNAL_WINDOW_WORDS>,
    /// While calling: when the next handshake is due.
    call_at: Option<Instant>,
    /// Handshakes begun since the last report that was answered.
    calls: u32,
    /// No handshake is begun before this.
    quiet_until: Instant,
    /// While there are keys: when the next report is due.
    report_at: Option<Instant>,
    /// Reports sent since the last that was answered.
    unanswered: u32,
    /// Of the reports since the last that was answered.
    transaction: TransactionId,
}

impl Links {
    pub(crate) fn new(now: Instant, config: &Config, rng: Rng) -> Self {
        let mut links =
            Self { rng, links: Vec::new(), by_session: BTreeMap::new(), sequence: 0, transmits: VecDeque::new() };
        links.adopt(now, config);
        links
    }

    /// Takes the configuration's direction servers; the links to those it had already stay as they are.
    pub(crate) fn adopt(&mut self, now: Instant, config: &Config) {
        let mut before: Vec<_> = core::mem::take(&mut self.links).into_iter().map(Some).collect();
        let mut moved = BTreeMap::new();
        for director in config.directors.iter().take(limits::MAX_DIRECTORS) {
            let known = before.iter().position(|link| link.as_ref().is_some_and(|link| link.director == *director));
            let link = known.and_then(|at| {
                moved.insert(at, self.links.len());
                before[at].take()
            });
            self.links.push(link.unwrap_or_else(|| Link::new(now, config, director)));
        }
        self.by_session.retain(|_, number| match moved.get(number) {
            Some(to) => {
                *number = *to;
                true
            }
            None => false,
        });
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.links.iter().filter_map(Link::next_timeout).min()
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// Makes a report due for every direction server that can be reported to.
    pub(crate) fn report_at(&mut self, now: Instant) {
        for link in &mut self.links {
            link.report_at = link.report_at.and(Some(now));
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, config: &Config, report: &RelayReport) {
        for number in 0..self.links.len() {
            let link = &mut self.links[number];
            match link.session.handle_timeout(now) {
                Some(SessionTimer::Rekey | SessionTimer::Expire) => link.call(now),
                None => {}
            }
            if link.report_at.is_some_and(|at| at <= now) {
                self.report(now, number, report);
            }
            if self.links[number].call_at.is_some_and(|at| at <= now) {
                self.handshake(now, number, config);
            }
            self.forget_retired(number);
        }
    }

    /// Takes in a handshake response, a cookie reply or data. A path that was revoked is handed back.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        datagram: &mut [u8],
        stats: &mut Stats,
    ) -> Result<Option<PathId>, DropReason> {
        let outer = Outer::parse(datagram).map_err(|_| DropReason::Malformed)?;
        match outer {
            Outer::HandshakeResponse(response) => {
                let number = self.find(response.receiver)?;
                let link = &mut self.links[number];
                link.session.handle_response(now, &response).map_err(|_| DropReason::Unauthentic)?;
                (link.call_at, link.unanswered) = (None, 0);
                link.report_at = Some(now);
                stats.director_sessions += 1;
                self.forget_retired(number);
                Ok(None)
            }
            Outer::CookieReply(reply) => {
                let number = self.find(reply.receiver)?;
                let link = &mut self.links[number];
                let again = link.session.handle_cookie_reply(now, &reply).map_err(|_| DropReason::Unauthentic)?;
                self.send(number, again);
                Ok(None)
            }
            Outer::Data(data) => {
                let number = self.find(data.receiver)?;
                let opened = self.links[number].session.open_in_place(now, datagram);
                let opened = opened.map_err(|_| DropReason::Unauthentic)?;
                match Frame::parse(&datagram[opened.plaintext]) {
                    Ok(Frame::Signal(signal)) => self.handle_signal(now, number, signal, stats),
                    Ok(Frame::KeepAlive) => Ok(None),
                    _ => Err(DropReason::UnexpectedMessage),
                }
            }
            _ => Err(DropReason::UnexpectedType),
        }
    }

    fn handle_signal(
        &mut self,
        now: Instant,
        number: usize,
        signal: &[u8],
        stats: &mut Stats,
    ) -> Result<Option<PathId>, DropReason> {
        let Envelope { transaction, message } = Envelope::parse(signal).map_err(|_| DropReason::UnexpectedMessage)?;
        let link = &mut self.links[number];
        match message {
            Message::RelayDirection(direction) => {
                self.signal(now, number, &Envelope { transaction, message: Message::RelayAck });
                Ok(Some(direction.revoke))
            }
            Message::RelayAck if transaction == link.transaction && link.unanswered > 0 => {
                link.transaction = TransactionId(transaction.0.wrapping_add(1));
                (link.calls, link.unanswered, link.quiet_until) = (0, 0, now);
                link.report_at = Some(now + limits::REPORT_EVERY);
                stats.reports_answered += 1;
                Ok(None)
            }
            // The answer to an earlier sending of a report that is answered.
            Message::RelayAck if transaction.0.wrapping_sub(link.transaction.0) > u32::MAX / 2 => Ok(None),
            _ => Err(DropReason::UnexpectedMessage),
        }
    }

    /// Sends a report, or, where too many went unanswered, begins a new session.
    fn report(&mut self, now: Instant, number: usize, report: &RelayReport) {
        let link = &mut self.links[number];
        link.report_at = Some(now + limits::REPORT_RETRY);
        if link.unanswered >= limits::REPORT_TRIES {
            link.unanswered = 0;
            link.report_at = Some(now + limits::REPORT_EVERY);
            link.call(now);
        }
        // Until one is answered they share a transaction, so any answer will do.
        link.unanswered += 1;
        let envelope = Envelope { transaction: link.transaction, message: Message::RelayReport(report.clone()) };
        self.signal(now, number, &envelope);
    }

    /// Begins a handshake by the next route, and sets the time for the one after it.
    fn handshake(&mut self, now: Instant, number: usize, config: &Config) {
        let sequence = config.wall.unix(now).as_millis().max(self.sequence + 1);
        self.sequence = sequence;
        let hello = ServerHello { cert: config.cert.clone(), sequence };
        let payload = Envelope { transaction: TransactionId(0), message: Message::ServerHello(hello) }.emit();
        let index = self.fresh_index(number);
        let backoff = self.backoff(self.links[number].calls);
        let link = &mut self.links[number];
        if link.calls > 0 {
            link.route = (link.route + 1) % link.routes.len().max(1);
        }
        link.calls = link.calls.saturating_add(1);
        link.quiet_until = now + backoff;
        link.call_at = Some(link.quiet_until);
        let Director { noise_key, psk, .. } = &link.director;
        let datagram = link.session.begin(now, &mut self.rng, &config.noise_key, noise_key, psk, index, &payload);
        self.forget_retired(number);
        self.send(number, datagram);
    }

    /// Doubles with every call up to the most, and strays by a quarter, so that relays which lost
    /// a direction server together do not call it together for ever.
    fn backoff(&mut self, calls: u32) -> Duration {
        let doubled = limits::HANDSHAKE_RETRY.saturating_mul(1 << calls.min(16)).min(limits::HANDSHAKE_RETRY_MAX);
        let stray = self.rng.below(doubled.as_nanos() as u64 / 4);
        doubled - Duration::from_nanos(stray)
    }

    fn fresh_index(&mut self, number: usize) -> SessionIndex {
        loop {
            let index = SessionIndex(self.rng.u32());
            if let Entry::Vacant(vacant) = self.by_session.entry(index) {
                vacant.insert(number);
                return index;
            }
        }
    }

    fn find(&self, index: SessionIndex) -> Result<usize, DropReason> {
        self.by_session.get(&index).copied().ok_or(DropReason::UnknownSession)
    }

    fn forget_retired(&mut self, number: usize) {
        while let Some(index) = self.links[number].session.take_retired() {
            self.by_session.remove(&index);
        }
    }

    fn signal(&mut self, now: Instant, number: usize, envelope: &Envelope) {
        let mut plaintext = Vec::new();
        Frame::Signal(&envelope.emit()).emit(&mut plaintext);
        let link = &mut self.links[number];
        match link.session.seal(now, &plaintext) {
            Ok(datagram) => self.send(number, datagram),
            // The keys are used up or too old; the new ones come with a report.
            Err(_) => {
                link.report_at = None;
                link.call(now);
            }
        }
    }

    fn send(&mut self, number: usize, datagram: Vec<u8>) {
        let link = &self.links[number];
        if let Some((from, to)) = link.routes.get(link.route).copied()
            && self.transmits.len() < limits::MAX_TRANSMITS
        {
            self.transmits.push_back(Transmit { from, to, datagram });
        }
    }
}

impl Link {
    fn new(now: Instant, config: &Config, director: &Director) -> Self {
        let route = |to: &SocketAddr| {
            let from = config.addresses.iter().find(|from| from.is_ipv4() == to.is_ipv4())?;
            Some((*from, *to))
        };
        let routes: Vec<_> = director.addresses.iter().filter_map(route).collect();
        Self {
            director: director.clone(),
            // A direction server that cannot be reached is never called.
            call_at: (!routes.is_empty()).then_some(now),
            routes,
            route: 0,
            session: Session::new(config.provider),
            calls: 0,
            quiet_until: now,
            report_at: None,
            unanswered: 0,
            transaction: TransactionId(0),
        }
    }

    /// Makes a handshake due, unless one is under way.
    fn call(&mut self, now: Instant) {
        if self.call_at.is_none() && !self.routes.is_empty() {
            self.call_at = Some(self.quiet_until.max(now));
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let session = self.session.poll_timeout().map(|(at, _)| at);
        [self.call_at, session, self.report_at].into_iter().flatten().min()
    }
}
