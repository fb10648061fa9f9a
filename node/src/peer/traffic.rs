//! Virtual packets: out over the paths, in to the application.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::ops::Range;

use ntm_proto::session::fragment;
use ntm_proto::session::transport::OpenError;
use ntm_proto::time::Instant;
use ntm_proto::wire::frame::Frame;
use ntm_proto::wire::outer;

use super::paths::Routes;
use super::{Arrival, MAX_WAITING, Peer};
use crate::context::Context;
use crate::path::{BASE_DATAGRAM, Remote};
use crate::policy::{FlowKey, FlowPolicy, FlowPreference};
use crate::stats::DropReason;

/// What a bind is longer than a relay's header.
pub(super) const BIND_EXCESS: usize = outer::RELAY_BIND - outer::RELAYED_HEADER;

/// A datagram that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) plaintext: Range<usize>,
    /// It came by a known path under keys in use: it changes no timer by itself.
    pub(crate) routine: bool,
}

/// What an opened frame means for the application.
#[derive(Debug)]
pub(crate) enum Inbound<'a> {
    Packet(Cow<'a, [u8]>),
    Nothing,
}

impl Peer {
    /// Sends a virtual packet, or keeps it until a path is there.
    pub(crate) fn send_packet(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        policy: Option<&dyn FlowPolicy>,
        packet: &[u8],
    ) {
        let was_dormant = self.is_dormant(now);
        self.last_traffic = now;
        if was_dormant {
            self.wake(now);
        }
        ctx.stats.packets_sent += 1;
        let routes = self.flow_routes(now, policy, packet);
        if routes.is_empty() || self.session.sealing(now).is_none() {
            self.keep_waiting(ctx, packet);
            if self.session.sealing(now).is_none() && !self.is_handshaking() {
                self.begin_handshake(now, ctx);
            }
            return;
        }
        self.send_packet_over(now, ctx, routes, packet);
        // What goes out on nothing better than hope is also kept, for the first path that is proven.
        if self.paths.active().is_none() {
            self.keep_waiting(ctx, packet);
        }
    }

    fn keep_waiting(&mut self, ctx: &mut Context, packet: &[u8]) {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
            ctx.stats.packets_dropped += 1;
        }
        self.waiting.push_back(packet.to_vec());
    }

    /// Sends what waited, once a path can take it.
    pub(super) fn flush(&mut self, now: Instant, ctx: &mut Context) {
        if self.session.sealing(now).is_none() {
            return;
        }
        let routes = self.paths.routes(now);
        let proven = self.paths.active().is_some();
        if routes.is_empty() || (self.waiting.is_empty()) {
            return;
        }
        // Packets sent on hope stay for the first proven path: a copy in place of a loss.
        let packets: Vec<Vec<u8>> =
            if proven { self.waiting.drain(..).collect() } else { self.waiting.iter().cloned().collect() };
        for packet in packets {
            self.send_packet_over(now, ctx, routes, &packet);
        }
    }

    fn flow_routes(&self, now: Instant, policy: Option<&dyn FlowPolicy>, packet: &[u8]) -> Routes {
        match policy.and(FlowKey::of(packet)) {
            Some(flow) => self.routes_of(now, policy, &flow),
            None => self.paths.routes(now),
        }
    }

    /// The paths that packets of this flow take now.
    pub(crate) fn routes_of(&self, now: Instant, policy: Option<&dyn FlowPolicy>, flow: &FlowKey) -> Routes {
        let Some(policy) = policy else { return self.paths.routes(now) };
        let usable: Vec<usize> = (0..self.paths.len()).filter(|&at| self.paths.at(at).rank().is_usable()).collect();
        let views: Vec<_> = usable.iter().map(|&at| self.paths.at(at).view()).collect();
        match policy.choose(flow, &views) {
            FlowPreference::Path(place) if place < usable.len() => Routes::one(usable[place]),
            _ => self.paths.routes(now),
        }
    }

    fn send_packet_over(&mut self, now: Instant, ctx: &mut Context, routes: Routes, packet: &[u8]) {
        routes.places().iter().for_each(|&at| self.paths.at_mut(at).sent_data(now));
        let capacity = routes.places().iter().map(|&at| self.capacity_of(at)).min().unwrap_or(BASE_DATAGRAM);
        if Self::sealed_len(packet.len()) <= capacity {
            self.send_frame(now, ctx, routes, packet);
            return;
        }
        let room = capacity - Self::sealed_len(0);
        let id = self.next_fragment;
        self.next_fragment = self.next_fragment.wrapping_add(1);
        for part in fragment::split(packet, id, room) {
            let mut bytes = Vec::with_capacity(room);
            Frame::Fragment(part).emit(&mut bytes);
            self.send_frame(now, ctx, routes, &bytes);
        }
    }

    /// What the path carries, in bytes of a datagram with a relay's header: a bind in its place takes more.
    pub(super) fn capacity_of(&self, at: usize) -> usize {
        let capacity = self.paths.at(at).capacity();
        if self.is_unbound(at) { capacity.min(BASE_DATAGRAM) - BIND_EXCESS } else { capacity }
    }

    /// Whether what goes over the path rides on binds, because the relay has given no index yet.
    pub(super) fn is_unbound(&self, at: usize) -> bool {
        let Remote::Relayed(id) = self.paths.at(at).remote else { return false };
        self.link(id).is_none_or(|link| link.index().is_none())
    }

    /// Opens a data datagram and notes that the path it came by is alive.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        datagram: &mut [u8],
        arrival: Arrival,
    ) -> Result<Opened, OpenError> {
        let length = datagram.len();
        let opened = self.session.open_in_place(now, datagram)?;
        let known = self.paths.find(arrival.local, arrival.remote);
        let path = match known {
            Some(at) => Some(at),
            // Only the newest datagram moves a path: an old one delayed or replayed elsewhere does not.
            None if opened.highest => self.path_of(now, arrival),
            None => None,
        };
        if let Some(at) = path {
            let path = self.paths.at_mut(at);
            path.heard(length);
            if known.is_none() {
                path.promise = 0;
                self.paths.echo(now, at);
            }
        }
        if opened.confirmed {
            self.flush(now, ctx);
        }
        Ok(Opened { plaintext: opened.plaintext, routine: known.is_some() && !opened.confirmed })
    }

    /// Checks a virtual packet against who may send it to whom, and gives it to the application.
    pub(crate) fn receive_packet<'a>(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        mine: &[IpAddr],
        packet: Cow<'a, [u8]>,
    ) -> Inbound<'a> {
        self.last_traffic = now;
        let permitted = FlowKey::of(&packet).is_some_and(|flow| {
            let theirs = match flow.source {
                IpAddr::V4(source) => source == self.virtual4(),
                IpAddr::V6(source) => source == self.virtual6(),
            };
            theirs && mine.contains(&flow.destination)
        });
        if !permitted {
            ctx.stats.drop(DropReason::Spoofed);
            return Inbound::Nothing;
        }
        ctx.stats.packets_received += 1;
        Inbound::Packet(packet)
    }

    pub(crate) fn join_fragment(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        part: &ntm_proto::wire::frame::Fragment<'_>,
    ) -> Option<Vec<u8>> {
        match self.reassembler.handle(now, part) {
            Ok(whole) => whole,
            Err(_) => {
                ctx.stats.drop(DropReason::Malformed);
                None
            }
        }
    }

    /// No path to the peer is usable.
    pub(crate) fn is_stranded(&self) -> bool {
        self.stranded_since.is_some()
    }

    /// Traffic after a long silence: NAT mappings may be gone, so every path is asked again.
    fn wake(&mut self, now: Instant) {
        self.paths.iter_mut().for_each(|path| path.distrust(now));
        self.paths.forget_active();
        for link in &mut self.links {
            link.doubt_index(now);
        }
        self.next_recovery = now;
        self.recoveries = 0;
        self.stranded_since.get_or_insert(now);
    }
}
