//! Making and renewing the session with a peer.
//!
//! Both ends begin as soon as they are directed: the first message of each opens its own NAT for the
//! other's, and whichever completes first carries data. Both key pairs that come of it are valid.

use alloc::vec::Vec;
use core::time::Duration;

use ntm_proto::id::{InterfaceId, TransactionId};
use ntm_proto::session::handshake::{HandshakeError, Incoming};
use ntm_proto::session::pair::SessionTimer;
use ntm_proto::time::Instant;
use ntm_proto::wire::frame::Frame;
use ntm_proto::wire::message::{Envelope, Message, TunnelRequest, TunnelResponse};
use ntm_proto::wire::outer::{CookieReply, HandshakeResponse};

use super::{Arrival, Peer};
use crate::context::Context;
use crate::event::Event;
use crate::keys::IndexOwner;
use crate::path::{Proof, Remote};
use crate::stats::DropReason;

/// When a first message that got no answer is repeated. Early repeats meet a NAT the other end has
/// opened in the meantime.
const RETRY: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1_600),
    Duration::from_millis(3_200),
];
/// A handshake is given up after this (WireGuard's REKEY_ATTEMPT_TIME).
const GIVE_UP: Duration = Duration::from_secs(90);

/// A handshake this node began.
#[derive(Debug)]
pub(crate) struct Attempt {
    began: Instant,
    tries: usize,
    last_sent: Instant,
    pub(crate) next_at: Instant,
    retransmitted: bool,
}

impl Peer {
    /// Begins a handshake under the newest communication and sends it over everything there is.
    pub(super) fn begin_handshake(&mut self, now: Instant, ctx: &mut Context) {
        let Some(newest) = self.communications.last() else { return };
        let request = TunnelRequest {
            path_id: newest.path_id,
            sequence: ctx.sequence(now),
            interface: self.paths.iter().next().map_or(InterfaceId(0), |path| path.local.interface),
        };
        let payload = envelope(Message::TunnelRequest(request));
        let local = ctx.allocate_index(IndexOwner::Peer(self.key));
        let datagram = self.session.begin(
            now,
            &mut ctx.rng,
            &ctx.noise,
            &self.description.record.noise_key,
            &newest.psk,
            local,
            &payload,
        );
        ctx.stats.handshakes_begun += 1;
        self.attempt =
            Some(Attempt { began: now, tries: 0, last_sent: now, next_at: now + RETRY[0], retransmitted: false });
        self.send_handshake(now, ctx, &datagram);
    }

    /// Over every path that may work: while a session is up, only over what its traffic takes. Without keys that
    /// the peer holds no probe is answered, and nothing but this finds out whether a path that failed works again.
    fn send_handshake(&mut self, now: Instant, ctx: &mut Context, datagram: &[u8]) {
        let has_keys = self.session.is_confirmed(now);
        if has_keys && self.paths.active().is_some() {
            let routes = self.paths.routes(now);
            self.send_over_all(now, ctx, routes, datagram);
            return;
        }
        for at in 0..self.paths.len() {
            if !has_keys || self.paths.at(at).proof() != Proof::Failed {
                self.send_over(now, ctx, at, datagram);
            }
        }
    }

    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        response: &HandshakeResponse<'_>,
        arrival: Arrival,
    ) -> Result<(), HandshakeError> {
        self.session.handle_response(now, response)?;
        let attempt = self.attempt.take();
        if let Some(at) = self.path_of(now, arrival) {
            // Which of several copies was answered is not known: then the round trip is not either.
            let sent = attempt.filter(|attempt| !attempt.retransmitted).map(|attempt| attempt.last_sent);
            let path = self.paths.at_mut(at);
            path.heard(response.datagram.len());
            path.handshake_answered(now, sent);
        }
        self.session_up(now, ctx);
        // The responder holds on to its older keys until it has heard the new ones.
        let routes = self.paths.routes(now);
        let mut keep_alive = Vec::new();
        Frame::KeepAlive.emit(&mut keep_alive);
        self.send_frame(now, ctx, routes, &keep_alive);
        Ok(())
    }

    pub(crate) fn handle_cookie_reply(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        reply: &CookieReply<'_>,
    ) -> Result<(), HandshakeError> {
        let datagram = self.session.handle_cookie_reply(now, reply)?;
        self.send_handshake(now, ctx, &datagram);
        Ok(())
    }

    /// Answers the peer's handshake; gives the answer, for copies that come another way.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        incoming: Incoming,
        request: &TunnelRequest,
        arrival: Arrival,
        received: usize,
    ) -> Result<Vec<u8>, DropReason> {
        let repeat = self.session.is_repeat(&incoming);
        let known = self.communications.iter_mut().find(|known| known.path_id == request.path_id);
        let Some(communication) = known.filter(|known| repeat || known.peer_sequence < request.sequence) else {
            return Err(DropReason::Replayed);
        };
        let payload = envelope(Message::TunnelResponse(TunnelResponse { path_id: request.path_id }));
        let local = ctx.allocate_index(IndexOwner::Peer(self.key));
        let response = self.session.accept(now, incoming, &communication.psk, local, &payload);
        let Ok(response) = response else {
            ctx.release_index(local);
            return Err(DropReason::Unauthentic);
        };
        if repeat {
            // Anybody who saw the message may send it again, from anywhere: it says nothing of a path.
            self.answer_where_it_came_from(now, ctx, arrival, &response);
            return Ok(response);
        }
        communication.peer_sequence = communication.peer_sequence.max(request.sequence);
        ctx.stats.handshakes_answered += 1;
        let came_by = self.path_of(now, arrival);
        if let Some(at) = came_by {
            self.paths.at_mut(at).heard(received);
            self.send_over(now, ctx, at, &response);
        }
        // The way it came may be open in one direction only: the answer must get there before the data
        // that will be sealed with what it agrees on, so it takes the ways the data will take.
        for &other in self.paths.routes(now).places().iter().filter(|&&other| Some(other) != came_by) {
            self.send_over(now, ctx, other, &response);
        }
        self.session_up(now, ctx);
        Ok(response)
    }

    /// One answer, shorter than what it answers, leaves by the way that came by, known or not.
    fn answer_where_it_came_from(&mut self, now: Instant, ctx: &mut Context, arrival: Arrival, response: &[u8]) {
        match arrival.remote {
            Remote::Direct(to) => ctx.transmit(arrival.local, to, response.to_vec()),
            Remote::Relayed(id) => {
                let Some(link) = self.link_mut(id) else { return };
                let Some(wrapped) = link.wrap(now, ctx, response) else { return };
                let server = link.leg.server;
                ctx.transmit(arrival.local, server, wrapped);
            }
        }
    }

    /// A session stands: everything that waited for it goes.
    fn session_up(&mut self, now: Instant, ctx: &mut Context) {
        if !self.up_reported {
            self.up_reported = true;
            ctx.emit(Event::PeerUp { peer: self.node });
        }
        if self.is_stranded() {
            // New keys open what nothing could open before: what failed for want of them may work.
            self.paths.restart_unproven(now);
        }
        self.rechoose(now, ctx);
        self.flush(now, ctx);
    }

    /// Rekeying, retransmission, giving up.
    pub(super) fn run_session(&mut self, now: Instant, ctx: &mut Context) {
        let wants_rekey = matches!(self.session.handle_timeout(now), Some(SessionTimer::Rekey));
        if wants_rekey && self.attempt.is_none() && !self.is_dormant(now) {
            self.begin_handshake(now, ctx);
            return;
        }
        let Some(attempt) = &mut self.attempt else { return };
        if now < attempt.next_at {
            return;
        }
        if now.since(attempt.began) >= GIVE_UP {
            self.attempt = None;
            return;
        }
        attempt.tries += 1;
        attempt.retransmitted = true;
        attempt.last_sent = now;
        attempt.next_at = now + RETRY[attempt.tries.min(RETRY.len() - 1)];
        if let Some(datagram) = self.session.handshake_datagram() {
            self.send_handshake(now, ctx, &datagram);
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.attempt.is_some()
    }
}

/// A message as a handshake carries it: outside of any transaction.
pub(crate) fn envelope(message: Message) -> Vec<u8> {
    Envelope { transaction: TransactionId(0), message }.emit()
}
