//! TCP, UDP and ICMP over virtual addresses.
//!
//! Every TCP connection has a smoltcp interface of its own with one socket in it: what a packet costs must not
//! grow with the number of connections. A table finds the connection; a SYN to a port that listens makes one.
//! UDP uses smoltcp for nothing: a datagram is a header and bytes.

pub(crate) mod bindings;
pub(crate) mod icmp;
pub(crate) mod ip;
pub(crate) mod mirror;
pub(crate) mod parker;
pub(crate) mod readiness;
pub(crate) mod tcp;
pub(crate) mod timers;
pub(crate) mod udp;
mod wire;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ntm_proto::time::Instant;

use crate::runtime::Core;
use crate::stack::bindings::Bindings;
use crate::stack::ip::Packet;
use crate::stack::tcp::{Connection, Listener};
use crate::stack::udp::UdpEndpoint;
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
    pub(crate) tcp: Bindings<Listener>,
    pub(crate) udp: Bindings<UdpEndpoint>,
}

impl Stack {
    /// Hands out virtual packets that came in one go; those that follow one another in one flow go together.
    pub(crate) fn handle_packets(&self, core: &Core, now: Instant, packets: &[&[u8]]) {
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
                ip::UDP => self.handle_udp(core, now, &packet),
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
            if !connection.is_over() || !tcp::is_first(segments) {
                connection.receive(core, now, segments);
                return;
            }
            // A new connection with the ports of one that only waits out its time.
            self.forget(&connection);
        }
        while let Some((first, rest)) = segments.split_first() {
            segments = rest;
            if tcp::accept(core, now, flow, first) {
                if let Some(connection) = self.connection(&flow)
                    && !rest.is_empty()
                {
                    connection.receive(core, now, rest);
                }
                return;
            }
            tcp::refuse(core, now, first);
        }
    }

    fn handle_udp(&self, core: &Core, now: Instant, packet: &Packet<'_>) {
        let Some((remote, local)) = packet.endpoints() else { return };
        let Some(data) = udp::data(packet.payload) else { return };
        match self.udp.find(local, Some(remote)) {
            Some(endpoint) => endpoint.receive(remote, data),
            None => icmp::send_unreachable(core, now, packet),
        }
    }

    pub(crate) fn connection(&self, flow: &FlowId) -> Option<Arc<Connection>> {
        self.connections.read().get(flow).cloned()
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
                true
            }
        }
    }

    /// Whether some connection that was closed still has something to send: bytes, or that it ends.
    pub(crate) fn has_unsent(&self) -> bool {
        let connections: Vec<_> = self.connections.read().values().cloned().collect();
        connections.iter().any(|connection| connection.has_unsent())
    }

    pub(crate) fn forget(&self, connection: &Arc<Connection>) {
        let mut connections = self.connections.write();
        if connections.get(&connection.flow).is_some_and(|held| Arc::ptr_eq(held, connection)) {
            connections.remove(&connection.flow);
        }
    }
}
