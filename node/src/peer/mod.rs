//! One row of the tunnel table: a peer, the session with it, and the paths to it.
//!
//! - [`paths`]: finding and choosing among the paths;
//! - [`handshake`]: making and renewing the session;
//! - [`links`]: the relays the peer can be reached through;
//! - [`traffic`]: virtual packets out and in;
//! - [`route`]: where packets go that the engine does not see;
//! - [`mobility`]: probes, notices, and what happens when an interface of either end changes.
//!
//! Invariant: keys belong to the pair of nodes, paths only say where sealed datagrams go; losing every
//! path loses no key, and no path ever carries anything that is not sealed.

mod handshake;
mod links;
mod mobility;
pub(crate) mod paths;
mod route;
mod traffic;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use ntm_proto::crypto::PublicKeyBytes;
use ntm_proto::id::{InterfaceId, NodeId, PathId, RelayIndex};
use ntm_proto::session::Psk;
use ntm_proto::session::fragment::Reassembler;
use ntm_proto::session::pair::Session;
use ntm_proto::session::replay::DATA_WINDOW_WORDS;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::{CandidatePair, Interface, NodeDescription, RouteDirection};
use ntm_proto::wire::outer;

use crate::context::Context;
use crate::event::{Event, PathView};
use crate::interface::{Change, Endpoint, Interfaces};
use crate::keys::{LinkId, PeerKey};
use crate::path::Remote;
use crate::relay::RelayLink;

pub(crate) use handshake::envelope;
pub(crate) use route::RouteMark;
pub use route::{ROUTE_LIFETIME, Route};
pub(crate) use traffic::{Inbound, Opened};

use handshake::Attempt;

use paths::{Paths, Routes};

/// Path ids one pair of nodes may have in use; the oldest goes first.
const MAX_COMMUNICATIONS: usize = 4;
/// Virtual packets that wait for a path; the oldest go first.
const MAX_WAITING: usize = 64;
/// Without virtual packets for this long, a tunnel stops probing and holding NAT mappings.
const DORMANT_AFTER: Duration = Duration::from_secs(300);
/// Traffic this recent makes an active path worth the faster heartbeat.
const BUSY_WITHIN: Duration = Duration::from_secs(5);
/// How long a stream of datagrams may flow before timers are looked at again.
const UNSETTLED: Duration = Duration::from_millis(20);
/// Without any usable path for this long, the peer is reported lost.
const LOST_AFTER: Duration = Duration::from_secs(15);
/// Pauses between asking for a new direction while no path works.
const RECOVER_PAUSES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_secs(30),
];
/// Remote addresses remembered to be tried from new local endpoints.
const MAX_REMEMBERED: usize = 8;

/// One communication with the peer, as the direction coordinator set it up.
#[derive(Debug)]
pub(crate) struct Communication {
    pub(crate) path_id: PathId,
    pub(crate) psk: Psk,
    /// The highest handshake sequence the peer used.
    peer_sequence: u64,
}

/// Where a datagram came from: which own endpoint, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) local: Endpoint,
    pub(crate) remote: Remote,
}

/// What the engine must do for the peer, because it needs more than the peer owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Ask the direction coordinator again with this path id.
    Direction(PathId),
}

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) key: PeerKey,
    pub(crate) node: NodeId,
    pub(crate) description: NodeDescription,
    pub(crate) session: Session<DATA_WINDOW_WORDS>,
    pub(crate) paths: Paths,
    pub(crate) links: Vec<RelayLink>,
    /// The indexes of links that were given up, the oldest first.
    left: VecDeque<(SocketAddr, RelayIndex, LinkId)>,
    communications: Vec<Communication>,
    attempt: Option<Attempt>,
    waiting: VecDeque<Vec<u8>>,
    reassembler: Reassembler,
    next_fragment: u32,
    next_link: u32,
    last_traffic: Instant,
    /// The last notice taken from the peer.
    notice_taken: u64,
    /// Until then probes go with a notice of my interfaces.
    notice_until: Option<Instant>,
    /// Since when no path is usable.
    stranded_since: Option<Instant>,
    lost_reported: bool,
    up_reported: bool,
    recoveries: usize,
    next_recovery: Instant,
    /// Remote addresses that worked or were named, best first: what a new local endpoint tries.
    remembered: Vec<(Remote, Option<(InterfaceId, u16)>)>,
    /// What the routes that were given out are made of.
    pub(crate) routed: RouteMark,
    settled: Instant,
}

impl Peer {
    pub(crate) fn new(now: Instant, ctx: &Context, key: PeerKey, description: NodeDescription) -> Self {
        Self {
            key,
            node: description.record.node_id(),
            description,
            session: Session::new(ctx.provider),
            paths: Paths::default(),
            links: Vec::new(),
            left: VecDeque::new(),
            communications: Vec::new(),
            attempt: None,
            waiting: VecDeque::new(),
            reassembler: Reassembler::default(),
            next_fragment: 0,
            next_link: 0,
            last_traffic: now,
            notice_taken: 0,
            notice_until: None,
            stranded_since: Some(now),
            lost_reported: false,
            up_reported: false,
            recoveries: 0,
            next_recovery: now + RECOVER_PAUSES[1],
            remembered: Vec::new(),
            routed: RouteMark::default(),
            settled: now,
        }
    }

    pub(crate) fn noise_key(&self) -> &PublicKeyBytes {
        &self.description.record.noise_key
    }

    pub(crate) fn virtual4(&self) -> Ipv4Addr {
        self.description.virtual4
    }

    pub(crate) fn virtual6(&self) -> Ipv6Addr {
        self.description.virtual6
    }

    pub(crate) fn last_traffic(&self) -> Instant {
        self.last_traffic
    }

    pub(crate) fn path_ids(&self) -> impl Iterator<Item = PathId> + '_ {
        self.communications.iter().map(|communication| communication.path_id)
    }

    /// The paths as the application may see them, the active one first.
    pub(crate) fn views(&self) -> Vec<PathView> {
        let active = self.paths.active();
        let mut views: Vec<PathView> = active.iter().map(|&at| self.paths.at(at).view()).collect();
        views.extend(self.paths.iter().enumerate().filter(|&(at, _)| Some(at) != active).map(|(_, path)| path.view()));
        views
    }

    /// Takes a direction for this peer: keys, candidate paths, relays. Says which path id was forgotten
    /// to make room, if one was.
    pub(crate) fn direct(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        interfaces: &Interfaces,
        direction: RouteDirection,
    ) -> Option<PathId> {
        let RouteDirection { path_id, psk, peer, pairs, grants, .. } = direction;
        if peer.record.timestamp >= self.description.record.timestamp {
            self.description = peer;
        }
        let rekeyed = self.communications.iter().any(|known| known.path_id == path_id && known.psk != psk);
        // Without a working path for this long, the keys themselves may be what the ends disagree on.
        let in_vain = self.stranded_since.is_some_and(|since| now.since(since) >= RECOVER_PAUSES[1]);
        let forgotten = self.remember_communication(path_id, psk);
        self.mark_current(&grants);
        for grant in grants {
            self.add_grant(now, ctx, interfaces, grant);
        }
        self.spread_links(now, interfaces, &Change::default());
        for (promise, pair) in pairs.iter().enumerate() {
            self.add_pair(now, interfaces, pair, promise);
        }
        self.update_costs(interfaces);
        self.stranded_since.get_or_insert(now);
        if self.session.sealing(now).is_some() {
            self.paths.restart_unproven(now);
            self.run_probes(now, ctx, interfaces);
        }
        if self.session.sealing(now).is_none() || rekeyed || in_vain {
            self.begin_handshake(now, ctx);
        }
        forgotten
    }

    fn remember_communication(&mut self, path_id: PathId, psk: Psk) -> Option<PathId> {
        let peer_sequence = match self.communications.iter().position(|known| known.path_id == path_id) {
            Some(at) => self.communications.remove(at).peer_sequence,
            None => 0,
        };
        self.communications.push(Communication { path_id, psk, peer_sequence });
        if self.communications.len() > MAX_COMMUNICATIONS {
            return Some(self.communications.remove(0).path_id);
        }
        None
    }

    fn add_pair(&mut self, now: Instant, interfaces: &Interfaces, pair: &CandidatePair, promise: usize) {
        let generation = self.remote_interface(pair.remote_interface).map(|remote| remote.generation);
        let remote_interface = generation.map(|generation| (pair.remote_interface, generation));
        self.remember(Remote::Direct(pair.remote), remote_interface);
        let locals = interfaces
            .endpoints()
            .into_iter()
            .filter(|local| local.interface == pair.local && local.address.is_ipv4() == pair.remote.is_ipv4());
        for local in locals {
            if let Some(at) = self.paths.add(now, local, Remote::Direct(pair.remote)) {
                let path = self.paths.at_mut(at);
                path.vouch();
                path.promise = path.promise.min(u8::try_from(promise).unwrap_or(u8::MAX));
                path.remote_interface = path.remote_interface.or(remote_interface);
            }
        }
    }

    fn remember(&mut self, remote: Remote, interface: Option<(InterfaceId, u16)>) {
        if self.remembered.iter().any(|(known, _)| *known == remote) {
            return;
        }
        if self.remembered.len() >= MAX_REMEMBERED {
            self.remembered.remove(0);
        }
        self.remembered.push((remote, interface));
    }

    fn remote_interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.description.interfaces.iter().find(|interface| interface.id == id)
    }

    /// What each path costs is what its two interfaces say.
    fn update_costs(&mut self, interfaces: &Interfaces) {
        let remotes = &self.description.interfaces;
        for path in self.paths.iter_mut() {
            let local = interfaces.cost(path.local.interface);
            let remote = path.remote_interface.and_then(|(id, _)| remotes.iter().find(|remote| remote.id == id));
            path.cost = u16::from(local) + remote.map_or(0, |remote| u16::from(remote.cost));
        }
    }

    /// The path a datagram came by, made if it is new. What was on its way over a link that was given up
    /// came by none: nothing can be sent back over that.
    fn path_of(&mut self, now: Instant, arrival: Arrival) -> Option<usize> {
        match arrival.remote {
            Remote::Relayed(link) if self.link(link).is_none() => None,
            remote => self.paths.add(now, arrival.local, remote),
        }
    }

    /// Sends one outer datagram over one path, if what its address has sent permits that.
    fn send_over(&mut self, now: Instant, ctx: &mut Context, at: usize, datagram: &[u8]) {
        if !self.paths.at(at).allowance.permits(datagram.len()) {
            return;
        }
        let path = self.paths.at(at);
        let (local, remote) = (path.local, path.remote);
        match remote {
            Remote::Direct(to) => ctx.transmit(local, to, datagram.to_vec()),
            Remote::Relayed(id) => {
                let Some(link) = self.link_mut(id) else { return };
                let Some(wrapped) = link.wrap(now, ctx, datagram) else { return };
                let leg = link.leg;
                ctx.transmit(leg.local, leg.server, wrapped);
            }
        }
        self.paths.at_mut(at).sent(datagram.len());
    }

    fn send_over_all(&mut self, now: Instant, ctx: &mut Context, routes: Routes, datagram: &[u8]) {
        for &at in routes.places() {
            self.send_over(now, ctx, at, datagram);
        }
    }

    /// Seals a frame and sends it over the routes.
    fn send_frame(&mut self, now: Instant, ctx: &mut Context, routes: Routes, frame: &[u8]) {
        if let Ok(sealed) = self.session.seal(now, frame) {
            self.send_over_all(now, ctx, routes, &sealed);
        }
    }

    /// Chooses the active path anew and tells the application what that changed.
    pub(crate) fn rechoose(&mut self, now: Instant, ctx: &mut Context) {
        if let Some(path) = self.paths.rechoose() {
            ctx.emit(Event::PathChanged { peer: self.node, path });
        }
        if self.paths.any_usable() {
            self.stranded_since = None;
            self.lost_reported = false;
            self.recoveries = 0;
            self.flush(now, ctx);
        } else {
            self.stranded_since.get_or_insert(now);
        }
    }

    pub(crate) fn is_dormant(&self, now: Instant) -> bool {
        now.since(self.last_traffic) >= DORMANT_AFTER && self.waiting.is_empty()
    }

    /// Whether timers and routes were looked at too long ago.
    pub(crate) fn is_unsettled(&self, now: Instant) -> bool {
        now.since(self.settled) >= UNSETTLED
    }

    pub(crate) fn note_settled(&mut self, now: Instant) {
        self.settled = now;
    }

    fn is_busy(&self, now: Instant) -> bool {
        now.since(self.last_traffic) < BUSY_WITHIN
    }

    /// When [`Peer::handle_timeout`] has something to do.
    pub(crate) fn next_timeout(&self, now: Instant) -> Instant {
        let mut next = self.session.poll_timeout().map_or(Instant::FAR_FUTURE, |(at, _)| at);
        if let Some(attempt) = &self.attempt {
            next = next.min(attempt.next_at);
        }
        if self.is_dormant(now) {
            return next;
        }
        if self.session.sealing(now).is_some() {
            next = self.paths.iter().map(crate::path::Path::next_timeout).fold(next, Instant::min);
        }
        next = self.links.iter().map(RelayLink::next_timeout).fold(next, Instant::min);
        if self.stranded_since.is_some() {
            next = next.min(self.next_recovery);
        }
        next
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces) -> Option<Need> {
        self.run_session(now, ctx);
        if self.is_dormant(now) {
            return None;
        }
        self.run_links(now, ctx);
        self.run_probes(now, ctx, interfaces);
        self.run_recovery(now, ctx)
    }

    /// While nothing works: ask for a new direction, ever more rarely, and say so after a while.
    fn run_recovery(&mut self, now: Instant, ctx: &mut Context) -> Option<Need> {
        let since = self.stranded_since?;
        if !self.lost_reported && now.since(since) >= LOST_AFTER {
            self.lost_reported = true;
            ctx.emit(Event::PeerLost { peer: self.node });
        }
        if now < self.next_recovery {
            return None;
        }
        self.next_recovery = now + RECOVER_PAUSES[self.recoveries.min(RECOVER_PAUSES.len() - 1)];
        self.recoveries += 1;
        self.communications.last().map(|newest| Need::Direction(newest.path_id))
    }

    /// Everything a datagram of this length costs on top, to see whether a path carries it whole.
    fn sealed_len(plaintext: usize) -> usize {
        plaintext + outer::DATA_OVERHEAD + outer::RELAYED_HEADER
    }
}
