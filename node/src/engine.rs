//! The engine itself: takes what the driver and the application bring and hands it to its parts.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::ops::Range;

use ntm_proto::id::{InterfaceId, NodeId, PathId, RelayIndex};
use ntm_proto::identity::NodeRecord;
use ntm_proto::session::Psk;
use ntm_proto::session::cookie::{CookieJar, LoadMeter, Verdict};
use ntm_proto::session::handshake::{HandshakeError, Incoming};
use ntm_proto::session::transport::OpenError;
use ntm_proto::time::{Instant, WallClock};
use ntm_proto::wire::frame::Frame;
use ntm_proto::wire::message::{
    DirectionRequest, Envelope, ErrorCode, ErrorMessage, Message, RegistrationResponse, RouteDirection, Target,
    TunnelRequest,
};
use ntm_proto::wire::outer::{self, CookieReply, HandshakeInit, HandshakeResponse, Outer, OuterType, RelayBound};

use crate::config::Config;
use crate::context::{Context, IndexOwner, Transmit};
use crate::direction::{Directions, Pending, Purpose};
use crate::director::{DirectorLink, Heard};
use crate::event::{Event, FailReason, PathView};
use crate::held::Held;
use crate::interface::{Endpoint, Interfaces, LocalInterface};
use crate::path::Remote;
use crate::peer::{Arrival, Inbound, Need};
use crate::policy::{FlowKey, FlowPolicy};
use crate::stats::{DropReason, Stats};
use crate::survey::Survey;
use crate::tunnel_table::{PeerKey, TunnelTable};

/// A virtual packet for the application's stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    pub peer: NodeId,
    pub packet: Cow<'a, [u8]>,
}

/// Why a virtual packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// It is no IPv4 or IPv6 packet.
    Malformed,
    /// Its source is not this node's virtual address.
    NotMine,
    /// Its destination is no peer: `connect` first.
    NoSuchPeer,
    TooLong,
}

/// Why a communication was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// Too many requests wait already.
    Busy,
    /// The same identity runs elsewhere and took over.
    Superseded,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not an IP packet",
            Self::NotMine => "the source address is not this node's",
            Self::NoSuchPeer => "the destination address is no known node's",
            Self::TooLong => "longer than an IP packet may be",
        })
    }
}

impl core::error::Error for SendError {}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "too many names are being asked for",
            Self::Superseded => "this identity was taken over by another node",
        })
    }
}

impl core::error::Error for ConnectError {}

/// The node engine. See the [crate documentation](crate) for the loop that drives it.
pub struct Node {
    ctx: Context,
    id: NodeId,
    interfaces: Interfaces,
    director: DirectorLink,
    directions: Directions,
    survey: Survey,
    peers: TunnelTable,
    held: Held,
    jar: CookieJar,
    load: LoadMeter,
    policy: Option<Box<dyn FlowPolicy>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What the driver and the network bring.
impl Node {
    /// A node that does nothing until it is told of an interface. `seed` must be fresh from the
    /// operating system; two engines with one seed and one input do the same.
    pub fn new(now: Instant, config: Config, seed: [u8; 32]) -> Self {
        let mut ctx = Context::new(config.provider, config.noise.clone(), config.wall, seed);
        let jar = CookieJar::new(config.noise.public(), now, &mut ctx.rng);
        Self {
            id: config.record.node_id(),
            ctx,
            interfaces: Interfaces::default(),
            director: DirectorLink::new(config),
            directions: Directions::default(),
            survey: Survey::new(),
            peers: TunnelTable::default(),
            held: Held::default(),
            jar,
            load: LoadMeter::default(),
            policy: None,
        }
    }

    /// An interface came, changed, or (without addresses) went.
    pub fn handle_interface(&mut self, now: Instant, interface: LocalInterface) {
        let change = self.interfaces.set(interface);
        if change.gone.is_empty() && change.come.is_empty() {
            return;
        }
        if self.director.is_superseded() {
            return;
        }
        for key in self.peers.keys() {
            self.with_peer(now, key, |peer, ctx, interfaces| peer.handle_change(now, ctx, interfaces, &change));
        }
        self.survey.restart(now);
        self.director.handle_change(now, &mut self.ctx, &self.interfaces, self.survey.rtts());
        self.refresh_directions(now);
    }

    /// An interface is about to go: traffic leaves it while it still works.
    pub fn handle_interface_ending(&mut self, now: Instant, id: InterfaceId) {
        if !self.interfaces.set_ending(id) {
            return;
        }
        for key in self.peers.keys() {
            self.with_peer(now, key, |peer, ctx, interfaces| peer.handle_ending(now, ctx, interfaces));
        }
    }

    /// A datagram arrived at `local`, one of the interfaces' addresses. Gives the virtual packet it
    /// carried, if it carried one.
    pub fn handle_datagram<'a>(
        &mut self,
        now: Instant,
        local: SocketAddr,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Option<Received<'a>> {
        self.ctx.stats.datagrams_received += 1;
        if self.director.is_superseded() {
            self.ctx.stats.drop(DropReason::Unexpected);
            return None;
        }
        let Some(endpoint) = self.interfaces.endpoint(local) else {
            self.ctx.stats.drop(DropReason::UnknownEndpoint);
            return None;
        };
        let Ok(kind) = outer::peek(datagram) else {
            self.ctx.stats.drop(DropReason::Malformed);
            return None;
        };
        if kind != OuterType::Relayed {
            let arrival = Arrival { local: endpoint, remote: Remote::Direct(from) };
            return self.handle_inner(now, arrival, from, None, kind, datagram);
        }
        let Ok(Outer::Relayed { index, .. }) = Outer::parse(datagram) else {
            self.ctx.stats.drop(DropReason::Malformed);
            return None;
        };
        self.handle_relayed(now, endpoint, from, index, datagram)
    }

    fn handle_relayed<'a>(
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

    /// Time has come: see [`Node::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.survey.next_timeout() <= now && self.survey.handle_timeout(now, &mut self.ctx, &self.interfaces) {
            self.report_survey(now);
        }
        if self.director.next_timeout() <= now {
            let rtts = self.survey.rtts();
            self.director.handle_timeout(now, &mut self.ctx, &self.interfaces, rtts);
        }
        self.run_directions(now);
        let mut due = Vec::new();
        while let Some(key) = self.peers.pop_due(now) {
            due.push(key);
        }
        for key in due {
            let need =
                self.with_peer(now, key, |peer, ctx, interfaces| peer.handle_timeout(now, ctx, interfaces)).flatten();
            if let Some(Need::Direction(path_id)) = need {
                self.refresh_direction(now, key, path_id);
            }
        }
    }

    /// The calendar clock of the host was set.
    pub fn handle_clock(&mut self, wall: WallClock) {
        self.ctx.wall = wall;
    }

    /// A new login gave a new ticket.
    pub fn handle_ticket(&mut self, now: Instant, record: NodeRecord, ticket: Vec<u8>, key: Psk) {
        self.director.set_record(record);
        self.director.set_ticket(now, ticket, key);
    }

    /// A push message said that somebody asks for this node: see that the coordinator reaches it.
    pub fn handle_wake(&mut self, now: Instant) {
        self.director.wake(now, &mut self.ctx, &self.interfaces, self.survey.rtts());
    }
}

/// What the application asks.
impl Node {
    /// Asks for the way to a node. [`Event::Resolved`] or [`Event::ConnectFailed`] will name the path id.
    pub fn connect(&mut self, now: Instant, target: Target) -> Result<PathId, ConnectError> {
        if self.director.is_superseded() {
            return Err(ConnectError::Superseded);
        }
        if let Some(path_id) = self.directions.waits_for(&target) {
            return Ok(path_id);
        }
        if let Some(key) = self.peers.by_target(&target)
            && let Some(peer) = self.peers.get(key)
            && let Some(path_id) = peer.path_ids().last()
            && !peer.is_dormant(now)
        {
            self.emit_resolved(key, path_id);
            return Ok(path_id);
        }
        let path_id = PathId(self.ctx.rng.array());
        let transaction = self.director.transaction();
        if !self.directions.ask(now, path_id, target, Purpose::Connect, transaction) {
            return Err(ConnectError::Busy);
        }
        self.run_directions(now);
        Ok(path_id)
    }

    /// Sends a virtual packet to the peer it is addressed to.
    pub fn send(&mut self, now: Instant, packet: &[u8]) -> Result<(), SendError> {
        if packet.len() > usize::from(u16::MAX) {
            return Err(SendError::TooLong);
        }
        let flow = FlowKey::of(packet).ok_or(SendError::Malformed)?;
        if !self.my_addresses().contains(&flow.source) {
            return Err(SendError::NotMine);
        }
        let key = self.peers.by_virtual(flow.destination).ok_or(SendError::NoSuchPeer)?;
        let policy = self.policy.take();
        let stranded = self.with_peer(now, key, |peer, ctx, _| peer.send_packet(now, ctx, policy.as_deref(), packet));
        self.policy = policy;
        stranded.ok_or(SendError::NoSuchPeer)
    }

    /// From now on flows take the paths this policy chooses for them.
    pub fn set_flow_policy(&mut self, policy: Option<Box<dyn FlowPolicy>>) {
        self.policy = policy;
    }

    /// The paths to a peer, the one in use first.
    pub fn paths(&self, peer: &NodeId) -> Vec<PathView> {
        self.peers.by_node(peer).and_then(|key| self.peers.get(key)).map_or_else(Vec::new, |peer| peer.views())
    }

    pub fn id(&self) -> NodeId {
        self.id
    }

    pub fn is_registered(&self) -> bool {
        self.director.is_registered()
    }

    pub fn stats(&self) -> &Stats {
        &self.ctx.stats
    }
}

/// What the driver takes.
impl Node {
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.ctx.pop_transmit()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.ctx.pop_event()
    }

    /// When to call [`Node::handle_timeout`], and for what.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let next = [
            (self.director.next_timeout(), Timer::Director),
            (self.directions.next_timeout(), Timer::Direction),
            (self.survey.next_timeout(), Timer::Survey),
            (self.peers.next_timeout(), Timer::Peer),
        ];
        next.into_iter().min().filter(|(at, _)| *at < Instant::FAR_FUTURE)
    }
}

/// Why the engine wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Registration or keep-alive.
    Director,
    /// A direction asked for.
    Direction,
    /// Measuring relays.
    Survey,
    /// A peer's session, paths or relays.
    Peer,
}

/// Datagrams, by kind.
impl Node {
    fn handle_inner<'a>(
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

    fn handle_init(
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
    fn answer_copy(
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
                let wrapped = link.wrap(now, &mut self.ctx, &datagram);
                self.ctx.transmit(arrival.local, from, wrapped);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one handshake is all of this")]
    fn accept(
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

    fn handle_response(&mut self, now: Instant, arrival: Arrival, response: &HandshakeResponse<'_>) {
        match self.ctx.index_owner(response.receiver) {
            Some(IndexOwner::Director) => {
                match self.director.handle_response(now, &mut self.ctx, &self.interfaces, response, arrival.local) {
                    Ok(Some(heard)) => self.heard(now, heard),
                    Ok(None) => {}
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

    fn handle_cookie_reply(&mut self, now: Instant, arrival: Arrival, from: SocketAddr, reply: &CookieReply<'_>) {
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

    fn handle_bound(&mut self, now: Instant, from: SocketAddr, bound: &RelayBound<'_>) {
        let Some((key, id)) = self.ctx.binder(bound.sequence) else {
            self.ctx.stats.drop(DropReason::UnknownIndex);
            return;
        };
        let taken = self.with_peer(now, key, |peer, ctx, _| {
            let link = peer.link_mut(id).filter(|link| link.leg.server == from)?;
            let new = link.handle_bound(now, bound)?;
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
            }
            None => self.ctx.stats.drop(DropReason::Unauthentic),
        }
    }

    fn handle_pong(&mut self, now: Instant, from: SocketAddr, nonce: u64, observed: SocketAddr) {
        let Some((endpoint, done)) = self.survey.handle_pong(now, from, nonce) else {
            self.ctx.stats.drop(DropReason::Unauthentic);
            return;
        };
        self.interfaces.note_sighting(endpoint, from, observed);
        if done {
            self.report_survey(now);
        }
    }

    fn handle_data<'a>(
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

    fn handle_director_data(&mut self, now: Instant, arrival: Arrival, from: SocketAddr, datagram: &mut [u8]) {
        let heard = self.director.handle_data(now, &mut self.ctx, &mut self.interfaces, datagram, arrival.local, from);
        match heard {
            Ok(Some(heard)) => self.heard(now, heard),
            Ok(None) => {}
            Err(error) => self.ctx.stats.drop(reason(error)),
        }
    }

    fn handle_peer_data<'a>(
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
        let received = handle_frame(now, &mut self.ctx, &self.interfaces, peer, arrival, &mine, datagram, opened);
        self.peers.settle(now, &mut self.ctx, key);
        match received {
            Inbound::Packet(packet) => Some(Received { peer: node, packet }),
            Inbound::Nothing => None,
        }
    }
}

/// What the coordinator says, and asking it.
impl Node {
    fn heard(&mut self, now: Instant, heard: Heard) {
        match heard {
            Heard::Registered(response) => self.registered(now, response),
            Heard::Signal(envelope) => self.handle_signal(now, envelope),
            Heard::Refused(code) => self.refused(now, code),
        }
    }

    fn registered(&mut self, now: Instant, response: RegistrationResponse) {
        self.survey.set_relays(now, response.relays);
        self.directions.restart(now);
        self.run_directions(now);
    }

    fn handle_signal(&mut self, now: Instant, envelope: Envelope) {
        let transaction = envelope.transaction;
        match envelope.message {
            Message::RouteDirection(direction) => {
                let ack = Envelope { transaction, message: Message::RouteDirectionAck };
                self.director.say(now, &mut self.ctx, &self.interfaces, ack);
                self.handle_direction(now, *direction);
            }
            Message::Error(error) => self.handle_error(now, envelope.transaction, &error),
            Message::Wake(_) => self.handle_wake(now),
            _ => self.ctx.stats.drop(DropReason::Unexpected),
        }
    }

    fn handle_direction(&mut self, now: Instant, direction: RouteDirection) {
        let path_id = direction.path_id;
        let asked = self.directions.take(path_id);
        let wanted = asked.is_some_and(|pending| pending.purpose == Purpose::Connect);
        let record = &direction.peer.record;
        let node = record.node_id();
        let known = self.peers.by_node(&node).and_then(|key| self.peers.get(key));
        let verified = known.is_some_and(|peer| peer.description.record == *record);
        if node == self.id || record.revoked || !(verified || record.verify(self.ctx.provider).is_ok()) {
            if wanted {
                self.ctx.emit(Event::ConnectFailed { path_id, reason: FailReason::Unauthentic });
            }
            return;
        }
        let Some(key) = self.peers.row_for(now, &mut self.ctx, &direction.peer) else {
            self.ctx.emit(Event::ConnectFailed { path_id, reason: FailReason::Full });
            return;
        };
        let forgotten =
            self.with_peer(now, key, |peer, ctx, interfaces| peer.direct(now, ctx, interfaces, direction)).flatten();
        self.peers.note_path(path_id, key, forgotten);
        if wanted {
            self.emit_resolved(key, path_id);
        }
        if let Some(held) = self.held.take(now, path_id) {
            self.accept(now, key, held.incoming, &held.request, held.arrival, held.received, held.ephemeral);
        }
    }

    fn handle_error(&mut self, now: Instant, transaction: ntm_proto::id::TransactionId, error: &ErrorMessage) {
        // Registering again answers this one; what was asked for then is asked for again.
        if error.code == ErrorCode::NotRegistered {
            self.director.refused(now, &mut self.ctx, error.code);
            return;
        }
        let pending = match error.path_id {
            Some(path_id) => self.directions.take(path_id),
            None => self.directions.take_transaction(transaction),
        };
        match pending {
            Some(pending) => self.fail(&pending, FailReason::Refused(error.code)),
            // About this node itself: no request of this transaction waits.
            None if error.path_id.is_none() => self.refused(now, error.code),
            None => {}
        }
    }

    fn fail(&mut self, pending: &Pending, reason: FailReason) {
        if pending.purpose == Purpose::Connect {
            self.ctx.emit(Event::ConnectFailed { path_id: pending.path_id, reason });
        }
    }

    /// The coordinator refused this node itself. Where another engine took its identity over, nothing is
    /// left to do or to hold.
    fn refused(&mut self, now: Instant, code: ErrorCode) {
        self.director.refused(now, &mut self.ctx, code);
        if self.director.is_superseded() {
            for pending in self.directions.take_all() {
                self.fail(&pending, FailReason::Refused(code));
            }
            for key in self.peers.keys() {
                self.peers.remove(&mut self.ctx, key);
            }
            self.survey = Survey::new();
            self.held = Held::default();
        }
    }

    fn emit_resolved(&mut self, key: PeerKey, path_id: PathId) {
        let Some(peer) = self.peers.get(key) else { return };
        let event = Event::Resolved {
            path_id,
            peer: peer.node,
            name: peer.description.record.fqdn.clone(),
            virtual4: peer.virtual4(),
            virtual6: peer.virtual6(),
        };
        self.ctx.emit(event);
    }

    /// Sends the requests that are due, if the coordinator can be asked.
    fn run_directions(&mut self, now: Instant) {
        for over in self.directions.give_up(now) {
            self.fail(&over, FailReason::NoDirector);
        }
        for (path_id, target, transaction) in self.directions.due(now) {
            if !self.director.is_registered() {
                continue;
            }
            let message = Message::DirectionRequest(DirectionRequest { path_id, target });
            self.director.say(now, &mut self.ctx, &self.interfaces, Envelope { transaction, message });
        }
    }

    /// After a move: new directions for every tunnel in use, so that NATs are punched anew.
    fn refresh_directions(&mut self, now: Instant) {
        let live: Vec<(PeerKey, PathId)> = self
            .peers
            .iter()
            .filter(|peer| !peer.is_dormant(now))
            .filter_map(|peer| Some((peer.key, peer.path_ids().last()?)))
            .collect();
        for (key, path_id) in live {
            self.ask_again(now, key, path_id);
        }
        self.run_directions(now);
    }

    fn refresh_direction(&mut self, now: Instant, key: PeerKey, path_id: PathId) {
        self.ask_again(now, key, path_id);
        self.run_directions(now);
    }

    fn ask_again(&mut self, now: Instant, key: PeerKey, path_id: PathId) {
        let Some(peer) = self.peers.get(key) else { return };
        let target = Target::Name(peer.description.record.fqdn.clone());
        let transaction = self.director.transaction();
        self.directions.ask(now, path_id, target, Purpose::Refresh, transaction);
    }

    fn report_survey(&mut self, now: Instant) {
        let rtts = self.survey.rtts();
        self.director.begin_update(now, &mut self.ctx, &self.interfaces, rtts);
    }

    fn my_addresses(&self) -> [IpAddr; 2] {
        let (virtual4, virtual6) =
            self.director.addresses().unwrap_or((core::net::Ipv4Addr::UNSPECIFIED, core::net::Ipv6Addr::UNSPECIFIED));
        [IpAddr::V4(virtual4), IpAddr::V6(virtual6)]
    }

    /// Lets a row act, then settles its timer and indexes.
    fn with_peer<T>(
        &mut self,
        now: Instant,
        key: PeerKey,
        act: impl FnOnce(&mut crate::peer::Peer, &mut Context, &Interfaces) -> T,
    ) -> Option<T> {
        let result = act(self.peers.get_mut(key)?, &mut self.ctx, &self.interfaces);
        self.peers.settle(now, &mut self.ctx, key);
        Some(result)
    }
}

#[expect(clippy::too_many_arguments, reason = "an opened datagram is all of this")]
fn handle_frame<'a>(
    now: Instant,
    ctx: &mut Context,
    interfaces: &Interfaces,
    peer: &mut crate::peer::Peer,
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
