//! The engine itself: takes what the driver and the application bring and hands it to its parts.

mod coordination;
mod datagrams;
mod streams;

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::sync::atomic::AtomicU64;

use ntm_proto::id::{InterfaceId, NodeId, PathId};
use ntm_proto::identity::NodeRecord;
use ntm_proto::session::Psk;
use ntm_proto::session::cookie::{CookieJar, LoadMeter};
use ntm_proto::time::{Instant, WallClock};
use ntm_proto::wire::frame::MAX_FRAGMENTED;
use ntm_proto::wire::message::Target;
use ntm_proto::wire::outer::{self, Outer, OuterType};

use crate::config::Config;
use crate::context::{Context, Transmit};
use crate::direction::{Directions, Purpose};
use crate::director::DirectorLink;
use crate::event::{Event, PathView, PeerView, RelayView};
use crate::fallback::Fallback;
use crate::held::Held;
use crate::interface::{Change, Endpoint, Interfaces, LocalInterface};
use crate::keys::PeerKey;
use crate::path::Remote;
use crate::peer::{Arrival, Need, Peer, Route};
use crate::policy::{FlowKey, FlowPolicy};
use crate::stats::{DropReason, Stats};
use crate::survey::Survey;
use crate::tunnel_table::TunnelTable;

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
        let fallback = Fallback::new(&config);
        let mut ctx = Context::new(config.provider, config.noise.clone(), config.wall, seed, fallback);
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
        self.ctx.now = now;
        let change = self.interfaces.set(interface);
        if change.is_empty() || self.director.is_superseded() {
            return;
        }
        self.ctx.fallback.handle_change(&change);
        self.interfaces_changed(now, &change);
    }

    pub(super) fn interfaces_changed(&mut self, now: Instant, change: &Change) {
        for key in self.peers.keys() {
            self.with_peer(now, key, |peer, ctx, interfaces| peer.handle_change(now, ctx, interfaces, change));
        }
        self.survey.restart(now);
        self.director.handle_change(now, &mut self.ctx, &self.interfaces, self.survey.rtts());
        self.refresh_directions(now);
    }

    /// An interface is about to go: traffic leaves it while it still works.
    pub fn handle_interface_ending(&mut self, now: Instant, id: InterfaceId) {
        self.ctx.now = now;
        if !self.interfaces.set_ending(id) {
            return;
        }
        for key in self.peers.keys() {
            self.with_peer(now, key, |peer, ctx, interfaces| peer.handle_ending(now, ctx, interfaces));
        }
    }

    /// A datagram arrived at `local`, an address of `interface`: two interfaces may have the same one, on
    /// private networks that are numbered alike. Gives the virtual packet it carried, if it carried one.
    pub fn handle_datagram<'a>(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        local: SocketAddr,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Option<Received<'a>> {
        self.ctx.now = now;
        self.ctx.stats.datagrams_received += 1;
        if self.director.is_superseded() {
            self.ctx.stats.drop(DropReason::Unexpected);
            return None;
        }
        let Some(endpoint) = self.interfaces.endpoint(interface, local) else {
            self.ctx.stats.drop(DropReason::UnknownEndpoint);
            return None;
        };
        self.handle_arrived(now, endpoint, from, datagram)
    }

    /// What came to an endpoint, by UDP or by a stream.
    fn handle_arrived<'a>(
        &mut self,
        now: Instant,
        endpoint: Endpoint,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Option<Received<'a>> {
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

    /// Time has come: see [`Node::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.ctx.now = now;
        self.run_fallback(now);
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

    /// The node goes: its coordinator is told, and the engine stays silent from now on.
    pub fn handle_leaving(&mut self, now: Instant) {
        self.ctx.now = now;
        self.director.leave(now, &mut self.ctx, &self.interfaces);
        self.ctx.fallback.end();
    }

    /// A push message said that somebody asks for this node: see that the coordinator reaches it.
    pub fn handle_wake(&mut self, now: Instant) {
        self.ctx.now = now;
        self.director.wake(now, &mut self.ctx, &self.interfaces, self.survey.rtts());
    }
}

/// What the application asks.
impl Node {
    /// Asks for the way to a node. [`Event::Resolved`] or [`Event::ConnectFailed`] will name the path id.
    pub fn connect(&mut self, now: Instant, target: Target) -> Result<PathId, ConnectError> {
        self.ctx.now = now;
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
        self.ctx.now = now;
        if packet.len() > MAX_FRAGMENTED as usize {
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

    /// Where packets of this flow go, for a thread that seals and sends them by itself. `None` where only
    /// [`Node::send`] will do. To be asked again when [`Node::route_version`] changes.
    pub fn route(&mut self, now: Instant, flow: &FlowKey) -> Option<Route> {
        if !self.my_addresses().contains(&flow.source) {
            return None;
        }
        let key = self.peers.by_virtual(flow.destination)?;
        let policy = self.policy.take();
        let route = self.with_peer(now, key, |peer, _, _| {
            let routes = peer.routes_of(now, policy.as_deref(), flow);
            peer.route(now, routes)
        });
        self.policy = policy;
        route.flatten().filter(|route| {
            let from = Endpoint { interface: route.interface, address: route.from };
            !self.ctx.fallback.carries(from, route.to)
        })
    }

    /// A number that changes whenever a route given out may have become wrong. Threads read it without asking
    /// the engine: read it before asking for a route, and again before each use.
    pub fn route_version(&self) -> Arc<AtomicU64> {
        self.ctx.route_version().clone()
    }

    /// Whether packets to this virtual address find a peer.
    pub fn knows(&self, address: IpAddr) -> bool {
        self.peers.by_virtual(address).is_some()
    }

    /// From now on flows take the paths this policy chooses for them.
    pub fn set_flow_policy(&mut self, policy: Option<Box<dyn FlowPolicy>>) {
        self.policy = policy;
        self.ctx.routes_changed();
    }

    /// The peers in the tunnel table, with the names and virtual addresses they have.
    pub fn peers(&self) -> impl Iterator<Item = PeerView<'_>> {
        self.peers.iter().map(|peer| PeerView {
            node: peer.node,
            name: &peer.description.record.fqdn,
            virtual4: peer.virtual4(),
            virtual6: peer.virtual6(),
        })
    }

    /// The peer with this virtual address.
    pub fn peer_at(&self, address: IpAddr) -> Option<NodeId> {
        self.peers.by_virtual(address).and_then(|key| self.peers.get(key)).map(|peer| peer.node)
    }

    /// The paths to a peer, the one in use first.
    pub fn paths(&self, peer: &NodeId) -> Vec<PathView> {
        self.peers.by_node(peer).and_then(|key| self.peers.get(key)).map_or_else(Vec::new, |peer| peer.views())
    }

    /// The relays that the coordinator told of.
    pub fn relays(&self) -> Vec<RelayView> {
        self.survey.views()
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
            (self.ctx.fallback.next_timeout(), Timer::Fallback),
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
    /// Whether UDP gets through, and the streams where it does not.
    Fallback,
}

/// What several parts need.
impl Node {
    pub(super) fn my_addresses(&self) -> [IpAddr; 2] {
        let (virtual4, virtual6) = self.director.addresses().unwrap_or((Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED));
        [IpAddr::V4(virtual4), IpAddr::V6(virtual6)]
    }

    /// Lets a row act, then settles its timer and indexes.
    pub(super) fn with_peer<T>(
        &mut self,
        now: Instant,
        key: PeerKey,
        act: impl FnOnce(&mut Peer, &mut Context, &Interfaces) -> T,
    ) -> Option<T> {
        let result = act(self.peers.get_mut(key)?, &mut self.ctx, &self.interfaces);
        self.peers.settle(now, &mut self.ctx, key);
        Some(result)
    }
}
