//! Datagrams, by kind: to whom each belongs and what it means there.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;

use ntm_proto::id::RelayIndex;
use ntm_proto::session::cookie::Verdict;
use ntm_proto::session::handshake::{HandshakeError, Incoming};
use ntm_proto::session::transport::OpenError;
use ntm_proto::time::Instant;
use ntm_proto::wire::frame::Frame;
use ntm_proto::wire::message::{Envelope, Message, TunnelRequest};
use ntm_proto::wire::outer::{self, CookieReply, HandshakeInit, HandshakeResponse, Outer, OuterType, RelayBound};

use super::{Node, Received};
use crate::context::Context;
use crate::interface::{Endpoint, Interfaces};
use crate::keys::IndexOwner;
use crate::keys::PeerKey;
use crate::path::Remote;
use crate::peer::{Arrival, Inbound, Opened, Peer};
use crate::stats::DropReason;

impl Node {
    pub(super) fn handle_relayed<'a>(
        &mut self,
        now: Instant,
        endpoint: Endpoint,
        from: SocketAddr,
        index: RelayIndex,
        datagram: &'a mut [u8],
    ) -> Option<Received<'a>> {
        let Some((key, link)) = self.peers.by_relay_index(from, index) else {
            self.ctx.stats.drop(DropReason::UnknownIndex);
            return None;
        };
        let inner = &mut datagram[outer::RELAYED_HEADER..];
        // What was on its way when the link moved still comes to the old endpoint; it is the same path.
        let leg = self.peers.get(key).and_then(|peer| peer.link(link)).map(|link| link.leg.local);
        let arrival = Arrival { local: leg.unwrap_or(endpoint), remote: Remote::Relayed(link) };
        match outer::peek(inner) {
            Ok(
                kind @ (OuterType::HandshakeInit
                | OuterType::HandshakeResponse
                | OuterType::CookieReply
                | OuterType::Data),
            ) => self.handle_inner(now, arrival, from, Some(key), kind, inner),
            _ => {
                self.ctx.stats.drop(DropReason::Unexpected);
                None
            }
        }
    }

    pub(super) fn handle_inner<'a>(
        &mut self,
        now: Instant,
        arrival: Arrival,
        from: SocketAddr,
        relayed_by: Option<PeerKey>,
        kind: OuterType,
        datagram: &'a mut [u8],
    ) -> Option<Received<'a>> {
        if kind == OuterType::Data {
            return self.handle_data(now, arrival, from, datagram);
        }
        let outer = match Outer::parse(datagram) {
            Ok(outer) => outer,
            Err(_) => {
                self.ctx.stats.drop(DropReason::Malformed);
                return None;
            }
        };
        match outer {
            Outer::HandshakeInit(init) => self.handle_init(now, arrival, from, relayed_by, &init),
            Outer::HandshakeResponse(response) => self.handle_response(now, arrival, &response),
            Outer::CookieReply(reply) => self.handle_cookie_reply(now, arrival, from, &reply),
            Outer::RelayBound(bound) => self.handle_bound(now, from, &bound),
            Outer::RelayPong { nonce, observed } => self.handle_pong(now, from, nonce, observed),
            // A punch has done its work when the NAT let it in.
            Outer::Punch => {}
            Outer::RelayBind(_) | Outer::RelayPing { .. } | Outer::Relayed { .. } | Outer::Data(_) => {
                self.ctx.stats.drop(DropReason::Unexpected);
            }
        }
        None
    }

    pub(super) fn handle_init(
        &mut self,
        now: Instant,
        arrival: Arrival,
        from: SocketAddr,
        relayed_by: Option<PeerKey>,
        init: &HandshakeInit<'_>,
    ) {
        let Some(ephemeral) = init.noise.first_chunk::<32>().copied() else {
            self.ctx.stats.drop(DropReason::Malformed);
            return;
        };
        if let Some(response) = self.held.answer_to(now, &ephemeral) {
            let response = response.to_vec();
            self.answer_copy(now, arrival, from, relayed_by, response);
            return;
        }
        if self.held.holds(&ephemeral) {
            return;
        }
        let under_load = self.load.note(now);
        match self.jar.check(now, &mut self.ctx.rng, init.datagram, from, under_load) {
            Verdict::Process => {}
            Verdict::Reply(reply) => {
                self.answer_copy(now, arrival, from, relayed_by, reply);
                self.ctx.stats.drop(DropReason::NoCookie);
                return;
            }
            Verdict::Drop => {
                self.ctx.stats.drop(DropReason::Unauthentic);
                return;
            }
        }
        let incoming = match Incoming::read(self.ctx.provider, &mut self.ctx.rng, &self.ctx.noise, init) {
            Ok(incoming) => incoming,
            Err(_) => {
                self.ctx.stats.drop(DropReason::Unauthentic);
                return;
            }
        };
        let Ok(Envelope { message: Message::TunnelRequest(request), .. }) = Envelope::parse(incoming.payload()) else {
            self.ctx.stats.drop(DropReason::Malformed);
            return;
        };
        let received = init.datagram.len();
        match self.peers.by_path(request.path_id) {
            Some(key) => self.accept(now, key, incoming, &request, arrival, received, ephemeral),
            None => self.held.hold(now, incoming, request, arrival, received, ephemeral),
        }
    }

    /// Sends what answers a handshake back the way it came.
    pub(super) fn answer_copy(
        &mut self,
        now: Instant,
        arrival: Arrival,
        from: SocketAddr,
        relayed_by: Option<PeerKey>,
        datagram: Vec<u8>,
    ) {
        match arrival.remote {
            Remote::Direct(to) => self.ctx.transmit(arrival.local, to, datagram),
            Remote::Relayed(link) => {
                let owner = relayed_by.and_then(|key| self.peers.get_mut(key));
                let Some(link) = owner.and_then(|peer| peer.link_mut(link)) else { return };
                let Some(wrapped) = link.wrap(now, &mut self.ctx, &datagram) else { return };
                self.ctx.transmit(arrival.local, from, wrapped);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one handshake is all of this")]
    pub(super) fn accept(
        &mut self,
        now: Instant,
        key: PeerKey,
        incoming: Incoming,
        request: &TunnelRequest,
        arrival: Arrival,
        received: usize,
        ephemeral: [u8; 32],
    ) {
        let known = self.peers.get(key).is_some_and(|peer| peer.noise_key() == incoming.peer_key());
        if !known {
            self.ctx.stats.drop(DropReason::UnknownPeer);
            return;
        }
        let accepted = self.with_peer(now, key, |peer, ctx, interfaces| {
            let response = peer.accept(now, ctx, incoming, request, arrival, received)?;
            peer.run_probes(now, ctx, interfaces);
            Ok::<_, DropReason>(response)
        });
        match accepted {
            Some(Ok(response)) => self.held.answered(now, ephemeral, response),
            Some(Err(reason)) => self.ctx.stats.drop(reason),
            None => {}
        }
    }

    pub(super) fn handle_response(&mut self, now: Instant, arrival: Arrival, response: &HandshakeResponse<'_>) {
        match self.ctx.index_owner(response.receiver) {
            Some(IndexOwner::Director) => {
                match self.director.handle_response(now, &mut self.ctx, &self.interfaces, response, arrival.local) {
                    Ok(heard) => {
                        self.ctx.fallback.heard(now, arrival.local);
                        heard.into_iter().for_each(|heard| self.heard(now, heard));
                    }
                    Err(_) => self.ctx.stats.drop(DropReason::Unauthentic),
                }
            }
            Some(IndexOwner::Peer(key)) => {
                let done = self.with_peer(now, key, |peer, ctx, interfaces| {
                    peer.handle_response(now, ctx, response, arrival)?;
                    peer.run_probes(now, ctx, interfaces);
                    Ok::<_, HandshakeError>(())
                });
                if !matches!(done, Some(Ok(()))) {
                    self.ctx.stats.drop(DropReason::Unauthentic);
                }
            }
            None => self.ctx.stats.drop(DropReason::UnknownIndex),
        }
    }

    pub(super) fn handle_cookie_reply(
        &mut self,
        now: Instant,
        arrival: Arrival,
        from: SocketAddr,
        reply: &CookieReply<'_>,
    ) {
        let done = match self.ctx.index_owner(reply.receiver) {
            Some(IndexOwner::Director) => {
                self.director.handle_cookie_reply(now, &mut self.ctx, reply, arrival.local, from)
            }
            Some(IndexOwner::Peer(key)) => self
                .with_peer(now, key, |peer, ctx, _| peer.handle_cookie_reply(now, ctx, reply))
                .unwrap_or(Err(HandshakeError::Unauthentic)),
            None => {
                self.ctx.stats.drop(DropReason::UnknownIndex);
                return;
            }
        };
        if done.is_err() {
            self.ctx.stats.drop(DropReason::Unauthentic);
        }
    }

    pub(super) fn handle_bound(&mut self, now: Instant, from: SocketAddr, bound: &RelayBound<'_>) {
        let Some((key, id)) = self.ctx.binder(bound.sequence) else {
            self.ctx.stats.drop(DropReason::UnknownIndex);
            return;
        };
        let taken = self.with_peer(now, key, |peer, ctx, _| {
            let link = peer.link_mut(id).filter(|link| link.leg.server == from)?;
            let new = link.handle_bound(now, bound)?;
            ctx.fallback.heard(now, link.leg.local);
            if new.learned.is_some()
                && let Some(proof) = link.proof()
            {
                ctx.transmit(link.leg.local, link.leg.server, proof);
            }
            Some(new)
        });
        match taken.flatten() {
            Some(new) => {
                self.ctx.forget_bind(bound.sequence);
                self.peers.note_relay_index(key, id, new.learned, new.outdated);
                let path_id = self.peers.get(key).and_then(|peer| peer.path_ids().last());
                if let Some(path_id) = path_id.filter(|_| new.leave) {
                    self.refresh_direction(now, key, path_id);
                }
            }
            None => self.ctx.stats.drop(DropReason::Unauthentic),
        }
    }

    pub(super) fn handle_pong(&mut self, now: Instant, from: SocketAddr, nonce: u64, observed: SocketAddr) {
        if self.ctx.fallback.handle_pong(now, from, nonce) {
            return;
        }
        let Some((endpoint, done)) = self.survey.handle_pong(now, from, nonce) else {
            self.ctx.stats.drop(DropReason::Unauthentic);
            return;
        };
        self.ctx.fallback.heard(now, endpoint);
        self.interfaces.note_sighting(endpoint, from, observed);
        if done {
            self.report_survey(now);
        }
    }

    pub(super) fn handle_data<'a>(
        &mut self,
        now: Instant,
        arrival: Arrival,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Option<Received<'a>> {
        let Ok(Outer::Data(data)) = Outer::parse(datagram) else {
            self.ctx.stats.drop(DropReason::Malformed);
            return None;
        };
        match self.ctx.index_owner(data.receiver) {
            Some(IndexOwner::Director) => {
                self.handle_director_data(now, arrival, from, datagram);
                None
            }
            Some(IndexOwner::Peer(key)) => self.handle_peer_data(now, key, arrival, datagram),
            None => {
                self.ctx.stats.drop(DropReason::UnknownIndex);
                None
            }
        }
    }

    pub(super) fn handle_director_data(
        &mut self,
        now: Instant,
        arrival: Arrival,
        from: SocketAddr,
        datagram: &mut [u8],
    ) {
        let heard = self.director.handle_data(now, &mut self.ctx, &mut self.interfaces, datagram, arrival.local, from);
        match heard {
            Ok(heard) => {
                self.ctx.fallback.heard(now, arrival.local);
                heard.into_iter().for_each(|heard| self.heard(now, heard));
            }
            Err(error) => self.ctx.stats.drop(reason(error)),
        }
    }

    pub(super) fn handle_peer_data<'a>(
        &mut self,
        now: Instant,
        key: PeerKey,
        arrival: Arrival,
        datagram: &'a mut [u8],
    ) -> Option<Received<'a>> {
        let mine = self.my_addresses();
        let peer = self.peers.get_mut(key)?;
        let node = peer.node;
        let opened = match peer.open(now, &mut self.ctx, datagram, arrival) {
            Ok(opened) => opened,
            Err(error) => {
                self.ctx.stats.drop(reason(error));
                return None;
            }
        };
        let Opened { plaintext, routine } = opened;
        let received = handle_frame(now, &mut self.ctx, &self.interfaces, peer, arrival, &mine, datagram, plaintext);
        // Of the datagrams of a fast stream, one in a while is enough for the timers.
        if !routine || matches!(received, Inbound::Nothing) || peer.is_unsettled(now) {
            self.peers.settle(now, &mut self.ctx, key);
        }
        match received {
            Inbound::Packet(packet) => Some(Received { peer: node, packet }),
            Inbound::Nothing => None,
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "an opened datagram is all of this")]
fn handle_frame<'a>(
    now: Instant,
    ctx: &mut Context,
    interfaces: &Interfaces,
    peer: &mut Peer,
    arrival: Arrival,
    mine: &[IpAddr],
    datagram: &'a [u8],
    plaintext: Range<usize>,
) -> Inbound<'a> {
    let frame = match Frame::parse(&datagram[plaintext]) {
        Ok(frame) => frame,
        Err(_) => {
            ctx.stats.drop(DropReason::Malformed);
            return Inbound::Nothing;
        }
    };
    match frame {
        Frame::Packet(packet) => return peer.receive_packet(now, ctx, mine, Cow::Borrowed(packet)),
        Frame::Fragment(part) => {
            if let Some(whole) = peer.join_fragment(now, ctx, &part) {
                return peer.receive_packet(now, ctx, mine, Cow::Owned(whole));
            }
        }
        Frame::PathChallenge(challenge) => peer.handle_challenge(now, ctx, interfaces, arrival, &challenge),
        Frame::PathResponse(response) => peer.handle_path_response(now, ctx, interfaces, &response),
        Frame::InterfaceNotice(notice) => peer.handle_notice(now, ctx, interfaces, &notice),
        Frame::KeepAlive => {}
        Frame::Signal(_) => ctx.stats.drop(DropReason::Unexpected),
    }
    Inbound::Nothing
}

fn reason(error: OpenError) -> DropReason {
    match error {
        OpenError::Unauthentic => DropReason::Unauthentic,
        OpenError::Replayed => DropReason::Replayed,
        OpenError::Malformed => DropReason::Malformed,
        OpenError::UnknownIndex => DropReason::UnknownIndex,
    }
}
