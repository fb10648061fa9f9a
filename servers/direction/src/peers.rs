//! Sessions with other servers: the DCs of other domains, this domain's other DCs, and its relays.
//!
//! ```text
//!  ServerHello in the first message:   certificate ── the domain's key ── sequence ── answer with our own
//!  ServerHello in the answer to ours:  the key is the one the certificate named, so it is who we called
//! ```
//!
//! Servers are few, so each has a whole [`Session`]. A DC of another domain is called when a direction needs
//! it, and its session ends when nothing has; relays call us. Between DCs there is no shared secret, so their
//! PSK is all zeros and what authenticates them is their static keys, which the domains certify.
//!
//! Invariant: a row stands in the timer at the instant its `due` says; a certificate is verified before its
//! holder gets a row.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};

use ntm_proto::crypto::{PublicKeyBytes, Secret};
use ntm_proto::id::{Fqdn, RelayId, SessionIndex, TransactionId};
use ntm_proto::identity::{Role, ServerCert};
use ntm_proto::session::fragment::{Reassembler, split};
use ntm_proto::session::handshake::Incoming;
use ntm_proto::session::pair::{REKEY_AFTER, Session, SessionTimer};
use ntm_proto::session::replay::SIGNAL_WINDOW_WORDS;
use ntm_proto::session::transport::OpenError;
use ntm_proto::time::Instant;
use ntm_proto::wire::frame::{Frame, PathResponse};
use ntm_proto::wire::message::{Envelope, Message, ServerHello};
use ntm_proto::wire::outer::{CookieReply, Data, HandshakeResponse};

use crate::coordinator::{Arrival, Coordinator};
use crate::limits::{
    AMPLIFICATION, HANDSHAKE_RETRY, HANDSHAKE_TRIES, MAX_PEERS, MAX_PLAINTEXT, MAX_RELAY_SERVERS, MAX_WAITING_PER_PEER,
};
use crate::links::Owner;
use crate::rate::Rate;
use crate::sending::signal;
use crate::slab::Slab;

/// The PSK between servers of different domains.
const NO_PSK: Secret = Secret::new([0; 32]);

/// Which server it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// The DC of another domain, by the domain's name; or another DC of this domain, by its own name.
    Domain(Fqdn),
    Relay(RelayId),
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) who: Who,
    cert: ServerCert,
    session: Session<SIGNAL_WINDOW_WORDS>,
    /// Our address and its, as of the last handshake or datagram that proved it.
    route: Option<(SocketAddr, SocketAddr)>,
    /// The session index that the last handshake was answered with and where the answer went, if nowhere else:
    /// proven once it is confirmed.
    answered: Option<(SessionIndex, (SocketAddr, SocketAddr))>,
    /// Of the last hello that was answered.
    sequence: u64,
    tries: u8,
    retry_at: Option<Instant>,
    /// Communications that wait for the session.
    pub(crate) waiting: Vec<u32>,
    pub(crate) asks: Rate,
    /// When a message last went either way: an idle session is not renewed.
    used: Instant,
    reassembler: Reassembler,
    due: Option<Instant>,
}

/// Who is a server, by row.
#[derive(Debug)]
pub(crate) struct Peers {
    rows: Slab<Peer>,
    by_who: BTreeMap<Who, u32>,
    timer: BTreeSet<(Instant, u32)>,
    /// Of the last hello sent.
    sequence: u64,
}

impl Default for Peers {
    fn default() -> Self {
        Self {
            rows: Slab::new(MAX_PEERS + MAX_RELAY_SERVERS),
            by_who: BTreeMap::new(),
            timer: BTreeSet::new(),
            sequence: 0,
        }
    }
}

impl Peers {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn get(&self, row: u32) -> Option<&Peer> {
        self.rows.get(row)
    }

    pub(crate) fn get_mut(&mut self, row: u32) -> Option<&mut Peer> {
        self.rows.get_mut(row)
    }

    pub(crate) fn find(&self, who: &Who) -> Option<u32> {
        self.by_who.get(who).copied()
    }

    /// The domains there is a row for.
    pub(crate) fn domains(&self) -> impl Iterator<Item = &Fqdn> {
        self.by_who.keys().filter_map(|who| match who {
            Who::Domain(domain) => Some(domain),
            Who::Relay(_) => None,
        })
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timer.first().map(|&(due, _)| due)
    }

    fn insert(&mut self, who: Who, cert: ServerCert, session: Session<SIGNAL_WINDOW_WORDS>) -> Option<u32> {
        let peer = Peer {
            who: who.clone(),
            cert,
            session,
            route: None,
            answered: None,
            sequence: 0,
            tries: 0,
            retry_at: None,
            waiting: Vec::new(),
            asks: Rate::default(),
            used: Instant::ZERO,
            reassembler: Reassembler::new(),
            due: None,
        };
        let row = self.rows.insert(peer).ok()?;
        self.by_who.insert(who, row);
        Some(row)
    }

    fn arm(&mut self, row: u32) {
        let Some(peer) = self.rows.get_mut(row) else { return };
        let session = peer.session.poll_timeout().map(|(at, _)| at);
        let due = session.into_iter().chain(peer.retry_at).min();
        if let Some(before) = core::mem::replace(&mut peer.due, due) {
            self.timer.remove(&(before, row));
        }
        if let Some(due) = due {
            self.timer.insert((due, row));
        }
    }
}

impl Peer {
    /// The certificate names this key: who holds a session by it is the one it certifies.
    pub(crate) fn key(&self) -> &PublicKeyBytes {
        &self.cert.noise_key
    }

    pub(crate) fn domain(&self) -> Option<&Fqdn> {
        match &self.who {
            Who::Domain(domain) => Some(domain),
            Who::Relay(_) => None,
        }
    }
}

impl Coordinator {
    /// The row of another domain's DC whose certificate has been verified.
    pub(crate) fn peer_row(&mut self, who: Who, cert: &ServerCert) -> Option<u32> {
        let row = match self.peers.find(&who) {
            Some(row) => row,
            None => {
                let session = Session::new(self.config.provider);
                self.peers.insert(who, cert.clone(), session)?
            }
        };
        let peer = self.peers.get_mut(row)?;
        if peer.cert != *cert {
            // A server with a new key is a new server: what was agreed with the old one is void.
            if peer.cert.noise_key != cert.noise_key {
                let indices: Vec<SessionIndex> = peer.session.indices().collect();
                peer.session = Session::new(self.config.provider);
                (peer.route, peer.answered, peer.retry_at) = (None, None, None);
                indices.into_iter().for_each(|index| self.links.remove_index(index));
            }
            if let Some(peer) = self.peers.get_mut(row) {
                peer.cert = cert.clone();
            }
        }
        Some(row)
    }

    /// Whether messages to the server can be sent now; if not, it is being called.
    pub(crate) fn reach_peer(&mut self, now: Instant, row: u32) -> bool {
        let Some(peer) = self.peers.get(row) else { return false };
        if peer.route.is_some() && peer.session.is_confirmed(now) {
            return true;
        }
        if peer.session.in_flight().is_none() || peer.retry_at.is_none() {
            self.call_peer(now, row);
        }
        false
    }

    /// Puts a communication in the queue for a session that is being made.
    pub(crate) fn wait_for_peer(&mut self, row: u32, path: u32) -> bool {
        let Some(peer) = self.peers.get_mut(row) else { return false };
        if peer.waiting.contains(&path) {
            return true;
        }
        if peer.waiting.len() >= MAX_WAITING_PER_PEER {
            return false;
        }
        peer.waiting.push(path);
        true
    }

    /// Begins a handshake with another domain's DC.
    pub(crate) fn call_peer(&mut self, now: Instant, row: u32) {
        let Some(local) = self.links.reserve(Owner::Peer(row)) else { return };
        let payload = self.hello(now);
        let Some(peer) = self.peers.get_mut(row).filter(|peer| peer.domain().is_some()) else {
            self.links.remove_index(local);
            return;
        };
        let key = *peer.key();
        peer.session.begin(now, &mut self.rng, &self.config.noise, &key, &NO_PSK, local, &payload);
        peer.tries = 0;
        self.send_handshake(now, row);
    }

    pub(crate) fn handle_server_handshake(
        &mut self,
        at: &Arrival,
        incoming: Incoming,
        transaction: TransactionId,
        hello: &ServerHello,
    ) {
        let domain = &hello.cert.domain;
        if hello.cert.role == Role::Direction && *domain != self.config.domain && self.domain_key(domain).is_none() {
            self.hold_caller(at, incoming, transaction, hello);
            return;
        }
        let Some((who, psk)) = self.certify(at.now, &incoming, hello) else { return };
        let Some(row) = self.peer_row(who, &hello.cert) else {
            self.stats.dropped.too_many_handshakes += 1;
            return;
        };
        let Some(local) = self.links.reserve(Owner::Peer(row)) else {
            self.stats.dropped.too_many_handshakes += 1;
            return;
        };
        let payload = Envelope { transaction, message: Message::ServerHello(self.next_hello(at.now)) }.emit();
        let Some(peer) = self.peers.get_mut(row) else { return };
        let is_repeat = peer.session.is_repeat(&incoming);
        if hello.sequence <= peer.sequence && !is_repeat {
            self.stats.dropped.stale_sequence += 1;
            self.links.remove_index(local);
            return;
        }
        peer.sequence = peer.sequence.max(hello.sequence);
        let response = peer.session.accept(at.now, incoming, &psk, local, &payload);
        // Who reads a repeated answer in one place can pretend to be in the other.
        let here = (at.local, at.from);
        peer.answered = match is_repeat {
            true => peer.answered.filter(|(_, there)| *there == here),
            false => Some((local, here)),
        };
        self.tidy_peer(row);
        match response {
            Ok(response) if response.len() <= AMPLIFICATION * at.bytes => {
                self.stats.handshakes_answered += 1;
                self.transmit(at.local, at.from, response);
            }
            Ok(_) => self.stats.dropped.too_long_to_answer += 1,
            Err(_) => self.stats.dropped.bad_handshake += 1,
        }
    }

    /// The answer to one of our handshakes.
    pub(crate) fn handle_handshake_response(&mut self, at: &Arrival, datagram: &[u8]) {
        let Ok(response) = HandshakeResponse::parse(datagram) else {
            self.stats.dropped.malformed += 1;
            return;
        };
        let Some(Owner::Peer(row)) = self.links.owner(response.receiver) else {
            self.stats.dropped.unknown_session += 1;
            return;
        };
        let Some(peer) = self.peers.get_mut(row) else { return };
        if peer.session.handle_response(at.now, &response).is_err() {
            self.stats.dropped.bad_handshake += 1;
            return;
        }
        // It knows what was in the handshake that was sent there.
        peer.route = Some((at.local, at.from));
        (peer.tries, peer.retry_at) = (0, None);
        self.tidy_peer(row);
        self.handle_peer_up(at.now, row);
    }

    pub(crate) fn handle_cookie_reply(&mut self, at: &Arrival, datagram: &[u8]) {
        let Ok(reply) = CookieReply::parse(datagram) else {
            self.stats.dropped.malformed += 1;
            return;
        };
        let Some(Owner::Peer(row)) = self.links.owner(reply.receiver) else {
            self.stats.dropped.unknown_session += 1;
            return;
        };
        let Some(peer) = self.peers.get_mut(row) else { return };
        // Whoever has seen the handshake can answer it with a cookie, and it goes nowhere new for that.
        if !peer.cert.addresses.contains(&at.from) {
            self.stats.dropped.unexpected += 1;
            return;
        }
        match peer.session.handle_cookie_reply(at.now, &reply) {
            Ok(datagram) => self.transmit(at.local, at.from, datagram),
            Err(_) => self.stats.dropped.bad_handshake += 1,
        }
    }

    pub(crate) fn handle_peer_data(&mut self, at: &Arrival, row: u32, datagram: &mut [u8]) {
        let Some(peer) = self.peers.get_mut(row) else { return };
        let receiver = Data::parse(datagram).map(|data| data.receiver);
        let opened = match peer.session.open_in_place(at.now, datagram) {
            Ok(opened) => opened,
            Err(why) => {
                self.count_unopened(why);
                return;
            }
        };
        let here = (at.local, at.from);
        // Servers stay where they are: an address is taken over only where a handshake proved it, or the
        // domain vouches for it.
        let proven = receiver.is_ok_and(|receiver| peer.answered == Some((receiver, here)));
        if opened.confirmed && (proven || peer.cert.addresses.contains(&at.from)) {
            peer.route = Some(here);
        }
        self.tidy_peer(row);
        if opened.confirmed {
            self.handle_peer_up(at.now, row);
        }
        self.handle_peer_frame(at, row, &datagram[opened.plaintext]);
    }

    /// Answers a server on its session, where it asked from.
    pub(crate) fn answer_peer(&mut self, at: &Arrival, row: u32, transaction: TransactionId, message: Message) {
        let plaintext = signal(&Envelope { transaction, message });
        let proven = self.peers.get(row).is_some_and(|peer| peer.route == Some((at.local, at.from)));
        if proven || plaintext.len() + 64 <= AMPLIFICATION * at.bytes {
            self.seal_to_peer(at.now, row, (at.local, at.from), &plaintext);
        } else {
            self.stats.withheld += 1;
        }
    }

    /// Sends a server a frame at its proven address.
    pub(crate) fn push_to_peer(&mut self, now: Instant, row: u32, plaintext: &[u8]) -> Option<SocketAddr> {
        let peer = self.peers.get_mut(row)?;
        peer.used = now;
        let route = peer.route?;
        self.seal_to_peer(now, row, route, plaintext)
    }

    pub(crate) fn handle_peers_due(&mut self, now: Instant) {
        while let Some(&(due, row)) = self.peers.timer.first() {
            if due > now {
                break;
            }
            self.handle_peer_due(now, row);
        }
    }

    pub(crate) fn count_unopened(&mut self, why: OpenError) {
        *match why {
            OpenError::Malformed => &mut self.stats.dropped.malformed,
            OpenError::UnknownIndex => &mut self.stats.dropped.unknown_session,
            OpenError::Replayed => &mut self.stats.dropped.replayed,
            OpenError::Unauthentic => &mut self.stats.dropped.unauthentic,
        } += 1;
    }

    /// Who a hello is from, and the key of the session with it; counted where it does not hold.
    fn certify(&mut self, now: Instant, incoming: &Incoming, hello: &ServerHello) -> Option<(Who, Secret)> {
        let cert = &hello.cert;
        let certified = match cert.role {
            Role::Relay => {
                let relay = self.config.relays.iter().find(|(_, relay)| relay.name == cert.name);
                relay
                    .filter(|_| cert.domain == self.config.domain)
                    .map(|(&id, relay)| (Who::Relay(id), self.config.domain_key, relay.psk.clone()))
            }
            Role::Direction if cert.domain == self.config.domain => {
                let sibling = self.config.siblings.get(&cert.name).filter(|known| known.noise_key == cert.noise_key);
                sibling.map(|_| (Who::Domain(cert.name.clone()), self.config.domain_key, NO_PSK))
            }
            Role::Direction => self.domain_key(&cert.domain).map(|key| (Who::Domain(cert.domain.clone()), key, NO_PSK)),
        };
        let held = certified.filter(|(who, key, _)| {
            let known = self.peers.find(who).and_then(|row| self.peers.get(row));
            let unix = self.config.wall.unix(now);
            let verified = known.is_some_and(|peer| peer.cert == *cert && unix < cert.not_after)
                || cert.verify(self.config.provider, key, cert.role, unix).is_ok();
            verified && incoming.peer_key() == &cert.noise_key
        });
        if held.is_none() {
            self.stats.dropped.bad_certificate += 1;
        }
        held.map(|(who, _, psk)| (who, psk))
    }

    /// A session with the server can be used: what waited for it goes out.
    fn handle_peer_up(&mut self, now: Instant, row: u32) {
        let Some(peer) = self.peers.get_mut(row) else { return };
        let waiting = core::mem::take(&mut peer.waiting);
        let route = peer.route;
        let mut keep_alive = Vec::new();
        Frame::KeepAlive.emit(&mut keep_alive);
        // The first datagram on the new keys, so that the other end may use them too.
        if let Some(route) = route {
            self.seal_to_peer(now, row, route, &keep_alive);
        }
        for path in waiting {
            self.go_on(now, path);
        }
        self.resend_to_peer(now, row);
        if let Some(Who::Relay(relay)) = self.peers.get(row).map(|peer| peer.who.clone()) {
            self.handle_relay_up(now, relay);
        }
    }

    fn handle_peer_frame(&mut self, at: &Arrival, row: u32, plaintext: &[u8]) {
        match Frame::parse(plaintext) {
            Ok(Frame::Signal(bytes)) => match Envelope::parse(bytes) {
                Ok(envelope) => self.handle_peer_message(at, row, envelope),
                Err(_) => self.stats.dropped.bad_message += 1,
            },
            Ok(Frame::KeepAlive) => {}
            Ok(Frame::PathChallenge(challenge)) => {
                let mut frame = Vec::new();
                let nonce = challenge.nonce;
                let (interface, generation) = (challenge.interface, challenge.generation);
                Frame::PathResponse(PathResponse { nonce, interface, generation, observed: at.from }).emit(&mut frame);
                self.seal_to_peer(at.now, row, (at.local, at.from), &frame);
            }
            Ok(Frame::Fragment(fragment)) => {
                let Some(peer) = self.peers.get_mut(row) else { return };
                match peer.reassembler.handle(at.now, &fragment) {
                    Ok(None) => {}
                    Ok(Some(whole)) if matches!(Frame::parse(&whole), Ok(Frame::Signal(_))) => {
                        self.handle_peer_frame(at, row, &whole);
                    }
                    Ok(Some(_)) | Err(_) => self.stats.dropped.bad_fragment += 1,
                }
            }
            Ok(Frame::Packet(_) | Frame::InterfaceNotice(_) | Frame::PathResponse(_)) => {
                self.stats.dropped.unexpected_message += 1;
            }
            Err(_) => self.stats.dropped.bad_message += 1,
        }
    }

    fn handle_peer_message(&mut self, at: &Arrival, row: u32, envelope: Envelope) {
        let Envelope { transaction, message } = envelope;
        let Some(peer) = self.peers.get_mut(row) else { return };
        peer.used = at.now;
        let is_relay = peer.domain().is_none();
        match message {
            Message::RelayReport(report) if is_relay => self.handle_relay_report(at, row, transaction, report),
            Message::RelayAck if is_relay => self.handle_relay_ack(row, transaction),
            Message::NodeInformationRequest(request) if !is_relay => {
                self.handle_information_request(at, row, transaction, *request);
            }
            Message::NodeInformationResponse(response) if !is_relay => {
                self.handle_information_response(at, row, transaction, *response);
            }
            Message::Error(error) if !is_relay => self.handle_peer_error(at, row, transaction, &error),
            Message::Error(_) => self.stats.errors_received += 1,
            _ => self.stats.dropped.unexpected_message += 1,
        }
    }

    fn handle_peer_due(&mut self, now: Instant, row: u32) {
        let Some(peer) = self.peers.get_mut(row) else { return };
        peer.reassembler.handle_timeout(now);
        let timer = peer.session.handle_timeout(now);
        let (is_domain, retry) = (peer.domain().is_some(), peer.retry_at.is_some_and(|at| at <= now));
        match timer {
            // Relays call us; other DCs are called as long as something waits for them, or again when needed.
            Some(SessionTimer::Rekey) if is_domain && now.since(peer.used) < REKEY_AFTER => self.call_peer(now, row),
            Some(SessionTimer::Expire) if is_domain && !retry => self.forget_peer(row),
            Some(SessionTimer::Rekey | SessionTimer::Expire) | None => {}
        }
        if retry {
            let tries = self.peers.get(row).map_or(0, |peer| peer.tries);
            if tries < HANDSHAKE_TRIES {
                self.send_handshake(now, row);
            } else {
                self.handle_peer_unreachable(now, row);
            }
        }
        self.tidy_peer(row);
    }

    /// Nobody answered at any address.
    fn handle_peer_unreachable(&mut self, now: Instant, row: u32) {
        let Some(peer) = self.peers.get_mut(row) else { return };
        let waiting = core::mem::take(&mut peer.waiting);
        if let Some(domain) = peer.domain().cloned() {
            self.forget_domain(&domain);
        }
        for path in waiting {
            self.fail_waiting(now, path);
        }
        self.forget_peer(row);
    }

    fn forget_peer(&mut self, row: u32) {
        let Some(peer) = self.peers.rows.remove(row) else { return };
        self.peers.by_who.remove(&peer.who);
        if let Some(due) = peer.due {
            self.peers.timer.remove(&(due, row));
        }
        self.deliveries.remove_all(crate::delivery::Receiver::Peer(row));
        let mut session = peer.session;
        let indices: Vec<SessionIndex> = session.indices().collect();
        indices.into_iter().for_each(|index| self.links.remove_index(index));
        while let Some(index) = session.take_retired() {
            self.links.remove_index(index);
        }
    }

    /// After anything that may have changed the session: its retired indices go, its timer is set.
    fn tidy_peer(&mut self, row: u32) {
        while let Some(index) = self.peers.get_mut(row).and_then(|peer| peer.session.take_retired()) {
            self.links.remove_index(index);
        }
        self.peers.arm(row);
    }

    /// Sends the handshake in flight to the next of the server's addresses.
    fn send_handshake(&mut self, now: Instant, row: u32) {
        let Some(peer) = self.peers.get_mut(row) else { return };
        let routes: Vec<(SocketAddr, SocketAddr)> = peer
            .cert
            .addresses
            .iter()
            .filter_map(|&to| {
                let own = self.locals.iter().find(|own| own.is_ipv4() == to.is_ipv4())?;
                Some((*own, to))
            })
            .collect();
        let route = routes.get(usize::from(peer.tries) % routes.len().max(1)).copied();
        let datagram = peer.session.handshake_datagram();
        peer.retry_at = Some(now + HANDSHAKE_RETRY * (1 << peer.tries.min(4)));
        peer.tries += 1;
        self.peers.arm(row);
        self.tidy_peer(row);
        if let (Some((from, to)), Some(datagram)) = (route, datagram) {
            self.transmit(from, to, datagram);
        }
    }

    fn seal_to_peer(
        &mut self,
        now: Instant,
        row: u32,
        (from, to): (SocketAddr, SocketAddr),
        plaintext: &[u8],
    ) -> Option<SocketAddr> {
        self.next_fragment = self.next_fragment.wrapping_add(1);
        let peer = self.peers.get(row)?;
        let datagrams: Vec<Vec<u8>> = if plaintext.len() <= MAX_PLAINTEXT {
            vec![peer.session.seal(now, plaintext).ok()?]
        } else {
            let fragments = split(plaintext, self.next_fragment, MAX_PLAINTEXT);
            fragments
                .filter_map(|fragment| {
                    let mut frame = Vec::with_capacity(MAX_PLAINTEXT);
                    Frame::Fragment(fragment).emit(&mut frame);
                    peer.session.seal(now, &frame).ok()
                })
                .collect()
        };
        for datagram in datagrams {
            self.transmit(from, to, datagram);
        }
        Some(to)
    }

    fn hello(&mut self, now: Instant) -> Vec<u8> {
        let message = Message::ServerHello(self.next_hello(now));
        Envelope { transaction: TransactionId(0), message }.emit()
    }

    fn next_hello(&mut self, now: Instant) -> ServerHello {
        self.peers.sequence = self.config.wall.unix(now).as_millis().max(self.peers.sequence + 1);
        ServerHello { cert: self.config.cert.clone(), sequence: self.peers.sequence }
    }
}
