//! Streams between nodes and relays: what TLS connections to port 443 are to the real ones, without TLS and without
//! TCP's repeats. Datagrams travel one a packet, and a lost one stays lost, as a relay may drop it anyway.
//!
//! ```text
//! [CONNECT]           node to relay, repeated until answered
//! [ACCEPT]            relay to node
//! [FRAME] frame …     either way (`docs/protocol/tls.md`, 2)
//! [CLOSE]             either way: the stream is over, or there is none
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ntm_node::{StreamId, StreamOrder};
use ntm_proto::time::Instant;
use ntm_proto::wire::stream::{self, Carried};

use crate::net::{Delivery, HostId, Network, TLS_PORT};

const CONNECT: u8 = 0;
const ACCEPT: u8 = 1;
const FRAME: u8 = 2;
const CLOSE: u8 = 3;

/// A node's streams leave from these ports on.
const FIRST_NODE_PORT: u16 = 40_000;
/// A relay speaks to coordinators from these, one a stream.
const FIRST_DIRECTOR_PORT: u16 = 50_000;
/// How many of either there are before they are used again.
const PORTS: u16 = 10_000;
/// Between repeats of a connection that is not answered.
const REPEAT: Duration = Duration::from_millis(500);
const TRIES: u8 = 6;

/// A node's ends.
#[derive(Debug, Default)]
pub(crate) struct NodeEnds(BTreeMap<StreamId, NodeEnd>);

#[derive(Debug)]
struct NodeEnd {
    iface: u8,
    local: SocketAddr,
    relay: SocketAddr,
    /// When it is connecting: tries, and when the next is due.
    connecting: Option<(u8, Instant)>,
}

/// What came to a node by its streams.
pub(crate) enum Arrived {
    Up(StreamId),
    Down(StreamId),
    Frame(StreamId, Vec<u8>),
}

impl NodeEnds {
    pub(crate) fn obey(&mut self, now: Instant, order: &StreamOrder, net: &mut Network, host: HostId) {
        match *order {
            StreamOrder::Open { id, interface, from, relay } => {
                let port = FIRST_NODE_PORT + u16::try_from(id.0 % u32::from(PORTS)).unwrap_or_default();
                let end = NodeEnd {
                    iface: interface.0,
                    local: SocketAddr::new(from.ip(), port),
                    relay: SocketAddr::new(relay.ip(), TLS_PORT),
                    connecting: Some((0, now)),
                };
                self.0.insert(id, end);
            }
            StreamOrder::Close(id) => {
                if let Some(end) = self.0.remove(&id) {
                    end.say(now, net, host, CLOSE, &[]);
                }
            }
        }
    }

    /// Sends a frame; into nothing where the stream has ended.
    pub(crate) fn send(&self, now: Instant, net: &mut Network, host: HostId, id: StreamId, frame: &[u8]) {
        if let Some(end) = self.0.get(&id) {
            end.say(now, net, host, FRAME, frame);
        }
    }

    pub(crate) fn deliver(&mut self, delivery: &Delivery) -> Option<Arrived> {
        let (&id, end) =
            self.0.iter_mut().find(|(_, end)| (end.local, end.relay) == (delivery.local, delivery.from))?;
        match delivery.payload.split_first()? {
            (&ACCEPT, _) => end.connecting.take().map(|_| Arrived::Up(id)),
            (&FRAME, frame) => Some(Arrived::Frame(id, frame.to_vec())),
            (&CLOSE, _) => {
                self.0.remove(&id);
                Some(Arrived::Down(id))
            }
            _ => None,
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.0.values().filter_map(|end| end.connecting.map(|(_, at)| at)).min()
    }

    /// Repeats what is due; gives the streams that came to nothing.
    pub(crate) fn run(&mut self, now: Instant, net: &mut Network, host: HostId) -> Vec<StreamId> {
        let mut failed = Vec::new();
        for (&id, end) in &mut self.0 {
            let Some((tries, at)) = end.connecting.filter(|(_, at)| *at <= now) else { continue };
            if tries == TRIES {
                failed.push(id);
                continue;
            }
            end.connecting = Some((tries + 1, at + REPEAT));
            end.say(now, net, host, CONNECT, &[]);
        }
        self.0.retain(|id, _| !failed.contains(id));
        failed
    }

    /// The process was killed: its kernel closes what it had open.
    pub(crate) fn clear(&mut self, now: Instant, net: &mut Network, host: HostId) {
        std::mem::take(&mut self.0).values().for_each(|end| end.say(now, net, host, CLOSE, &[]));
    }
}

impl NodeEnd {
    fn say(&self, now: Instant, net: &mut Network, host: HostId, what: u8, frame: &[u8]) {
        let _ = net.send(now, host, self.iface, self.local, self.relay, [&[what], frame].concat());
    }
}

/// A relay's ends: by the address a stream comes from, the port by which it speaks to coordinators.
#[derive(Debug, Default)]
pub(crate) struct RelayEnds {
    open: BTreeMap<SocketAddr, u16>,
    opened: u16,
}

/// What the relay is to do with what came.
pub(crate) enum Taken {
    /// It is for the relay itself.
    Relay(Vec<u8>),
    /// It goes on: from this port, to there.
    Forward(u16, SocketAddr, Vec<u8>),
    /// It is answered.
    Answer(Vec<u8>),
}

impl RelayEnds {
    /// Something came to the port of streams.
    pub(crate) fn deliver(&mut self, delivery: &Delivery) -> Option<Taken> {
        match delivery.payload.split_first()? {
            (&CONNECT, _) => {
                let port = FIRST_DIRECTOR_PORT + self.opened % PORTS;
                self.opened = self.opened.wrapping_add(1);
                self.open.entry(delivery.from).or_insert(port);
                Some(Taken::Answer(vec![ACCEPT]))
            }
            (&FRAME, frame) => {
                let Some(&port) = self.open.get(&delivery.from) else { return Some(Taken::Answer(vec![CLOSE])) };
                match stream::parse(frame) {
                    Ok(Some((Carried::Relay(datagram), _))) => Some(Taken::Relay(datagram.to_vec())),
                    Ok(Some((Carried::Director(to, datagram), _))) => Some(Taken::Forward(port, to, datagram.to_vec())),
                    _ => None,
                }
            }
            _ => {
                self.open.remove(&delivery.from);
                None
            }
        }
    }

    /// A coordinator said something: to whom it goes, and as what.
    pub(crate) fn answer(&self, delivery: &Delivery) -> Option<(SocketAddr, Vec<u8>)> {
        let (&to, _) = self.open.iter().find(|(_, port)| **port == delivery.local.port())?;
        Some((to, frame(&Carried::Director(delivery.from, &delivery.payload))))
    }
}

/// What the relay sends through a stream, as it travels.
pub(crate) fn frame(carried: &Carried<'_>) -> Vec<u8> {
    [&[FRAME], &carried.emit()[..]].concat()
}
