//! TCP, UDP and ICMP over virtual addresses.
//!
//! Every TCP connection has a smoltcp interface of its own with one socket in it: what a packet costs must not
//! grow with the number of connections. A table finds the connection; a SYN to a port that listens makes one.
//! UDP uses smoltcp for nothing: a datagram is a header and bytes.

pub(crate) mod bindings;
pub(crate) mod buffers;
mod cork;
pub(crate) mod endpoint;
mod fault;
pub(crate) mod icmp;
pub(crate) mod ip;
pub(crate) mod listener;
pub(crate) mod mirror;
mod pages;
pub(crate) mod pair;
pub(crate) mod parker;
pub(crate) mod readiness;
mod recovery;
mod remains;
mod segment;
pub(crate) mod tcp;
pub(crate) mod timers;
pub(crate) mod udp;
mod wire;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ntm_proto::time::Instant;

use crate::capture;
use crate::runtime::Core;
use crate::stack::bindings::Bindings;
use crate::stack::endpoint::Endpoint;
use crate::stack::ip::Packet;
use crate::stack::listener::Listener;
use crate::stack::recovery::PathMemories;
use crate::stack::remains::{Remains, Reply};
use crate::stack::segment::Segment;
use crate::stack::tcp::Connection;
use crate::sync::Shared;

/// Connections in the table; what comes on top is refused.
const MAX_CONNECTIONS: usize = 1 << 20;

/// The two ends of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlowId {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

#[derive(Debug, Default)]
pub(crate) struct Stack {
    connections: Shared<HashMap<FlowId, Arc<Connection>>>,
    remains: Remains,
    pub(crate) tcp: Bindings<Listener>,
    pub(crate) udp: Bindings<Endpoint>,
    /// Of ICMP echoes; their identifiers are ports here.
    pub(crate) echo: Bindings<Endpoint>,
    pub(crate) memories: PathMemories,
}

impl Stack {
    /// Hands out virtual packets that came in one go; those that follow one another in one flow go together.
    pub(crate) fn handle_packets(&self, core: &Core, now: Instant, packets: &[&[u8]]) {
        capture::received(packets);
        let mut run: Option<(FlowId, Vec<&[u8]>)> = None;
        for bytes in packets {
            let Some(packet) = Packet::parse(bytes) else { continue };
            if packet.protocol == ip::TCP
                && let Some((remote, local)) = packet.endpoints()
            {
                let flow = FlowId { local, remote };
                match &mut run {
                    Some((of, segments)) if *of == flow => segments.push(packet.whole),
                    _ => {
                        self.handle_segments(core, now, run.take());
                        run = Some((flow, vec![packet.whole]));
                    }
                }
                continue;
            }
            match packet.protocol {
                ip::UDP if !udp::deliver(core, &packet) => icmp::send_unreachable(core, now, &packet),
                ip::ICMP | ip::ICMPV6 => icmp::handle(core, now, &packet),
                _ => {}
            }
        }
        self.handle_segments(core, now, run);
    }

    fn handle_segments(&self, core: &Core, now: Instant, run: Option<(FlowId, Vec<&[u8]>)>) {
        let Some((flow, segments)) = run else { return };
        let mut segments = &segments[..];
        if let Some(connection) = self.connection(&flow) {
            let begins = segments.first().and_then(|packet| Segment::parse(packet)).is_some_and(|one| one.is_first());
            if begins && connection.is_over() {
                // A new connection with the ports of one that only waits out its time.
                self.forget(&connection);
            } else {
                if begins {
                    connection.challenge(core, now, segments[0]);
                }
                connection.receive(core, now, segments);
                return;
            }
        }
        while let Some((first, rest)) = segments.split_first() {
            segments = rest;
            if listener::accept(core, now, flow, first) {
                if let Some(connection) = self.connection(&flow)
                    && !rest.is_empty()
                {
                    connection.receive(core, now, rest);
                }
                return;
            }
            self.handle_stray(core, now, flow, first);
        }
    }

    /// A segment that belongs to no connection: to one that was, or to none.
    fn handle_stray(&self, core: &Core, now: Instant, flow: FlowId, bytes: &[u8]) {
        let Some(packet) = Packet::parse(bytes) else { return };
        let Some(segment) = Segment::of(&packet) else { return };
        match self.remains.reply(now, flow, &segment) {
            Some(Reply::Nothing) => {}
            Some(Reply::Acknowledge(last)) => {
                segment::answer(core, now, &packet, last.sequence, last.acknowledge, ip::TCP_ACK);
            }
            Some(Reply::Reset(last)) => segment::answer(core, now, &packet, last.sequence, 0, ip::TCP_RST),
            None => segment::refuse(core, now, &packet, &segment),
        }
    }

    pub(crate) fn connection(&self, flow: &FlowId) -> Option<Arc<Connection>> {
        self.connections.read().get(flow).cloned()
    }

    /// Whether a connection that was closed had these ends: the other end may not be through with it.
    pub(crate) fn remembers(&self, now: Instant, flow: &FlowId) -> bool {
        self.remains.has(now, flow)
    }

    pub(crate) fn connections(&self) -> Vec<Arc<Connection>> {
        self.connections.read().values().cloned().collect()
    }

    /// Takes a new connection in; false where the ports are in use or the table is full.
    pub(crate) fn add(&self, connection: &Arc<Connection>) -> bool {
        let mut connections = self.connections.write();
        if connections.len() >= MAX_CONNECTIONS {
            return false;
        }
        match connections.get(&connection.flow) {
            Some(old) if !old.is_over() => false,
            _ => {
                connections.insert(connection.flow, connection.clone());
                drop(connections);
                self.remains.forget(&connection.flow);
                true
            }
        }
    }

    /// Whether some connection that was closed still has something to send: bytes, or that it ends.
    pub(crate) fn has_unsent(&self) -> bool {
        self.connections().iter().any(|connection| connection.has_unsent())
    }

    pub(crate) fn forget(&self, connection: &Arc<Connection>) {
        let mut connections = self.connections.write();
        if connections.get(&connection.flow).is_some_and(|held| Arc::ptr_eq(held, connection)) {
            connections.remove(&connection.flow);
        }
    }
}
