//! The least time to the first byte: two nodes that could not do better.
//!
//! ```text
//!   initiator ── request ──> coordinator ── direction ──> both ends, at once
//!   initiator <══ hello, directly and over the relay, all the time ══> responder
//! ```
//! Ideal nodes are registered and seen by the coordinator and by the relay, as real ones are. From the
//! instant they are directed they send to every endpoint they know and to the relay, every quarter of a millisecond,
//! and learn endpoints from what arrives. What arrives early is kept. They guess no ports.
//!
//! The first byte has arrived when the responder gets something that the initiator sent after it had heard from
//! the directed responder: data goes only under keys to which both ends have contributed. That counts
//! whichever end speaks first, and the ways there and back may differ: the responder's hello may come straight
//! through while the answer takes the relay. They live in the same [`Network`] as real
//! nodes, so what a NAT lets through, and when, is not modelled a second time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use ntm_proto::time::Instant;

use crate::net::{Delivery, HostId, Network};
use crate::world::{DIRECTOR_PORT, NODE_PORT, RELAY_PORT};

const TICK: Duration = Duration::from_micros(250);
/// By then everybody has been seen by the servers.
const ASKED: Instant = Instant::from_millis(2_000);
const PATIENCE: Duration = Duration::from_secs(2);

/// Kinds of datagrams. All but directions go on with the number of the end that sends, which a real server knows by
/// its keys, and hellos then with whether it has heard from the other.
const REGISTER: u8 = 0;
const REQUEST: u8 = 1;
const DIRECTION: u8 = 2;
const HELLO: u8 = 3;

/// An end: where it is, and what it knows.
struct End {
    host: HostId,
    sockets: Vec<SocketAddr>,
    directed: bool,
    /// Of the other end; looked at once directed.
    known: BTreeSet<SocketAddr>,
    heard: bool,
}

struct Server {
    host: HostId,
    sockets: Vec<SocketAddr>,
    /// From which endpoints it knows each end.
    seen: [BTreeSet<SocketAddr>; 2],
    /// Where each end sent hellos for the other from.
    bound: [BTreeSet<SocketAddr>; 2],
}

/// Two ideal nodes in a network of their own.
struct Ideal<'a> {
    network: &'a mut Network,
    now: Instant,
    ends: [End; 2],
    director: Server,
    relay: Server,
    arrived: Option<Instant>,
}

/// The least time from the initiator's request to the first byte at the responder, where nothing else happens
/// in `network`; `None` where none arrives. `hosts` are the ends, the coordinator and the relay, all attached.
pub fn least_first_byte(network: &mut Network, ends: [HostId; 2], director: HostId, relay: HostId) -> Option<Duration> {
    let end = |host| End {
        host,
        sockets: sockets(network, host, NODE_PORT),
        directed: false,
        known: BTreeSet::new(),
        heard: false,
    };
    let server = |host, port| Server {
        host,
        sockets: sockets(network, host, port),
        seen: Default::default(),
        bound: Default::default(),
    };
    let ends = ends.map(end);
    let (director, relay) = (server(director, DIRECTOR_PORT), server(relay, RELAY_PORT));
    let mut ideal = Ideal { network, now: Instant::ZERO, ends, director, relay, arrived: None };
    ideal.register();
    ideal.run(ASKED);
    ideal.ask();
    while ideal.arrived.is_none() && ideal.now < ASKED + PATIENCE {
        ideal.run(ideal.now + TICK);
        (0..2).for_each(|end| ideal.say_hello(end));
    }
    ideal.arrived.map(|at| at.since(ASKED))
}

fn sockets(network: &Network, host: HostId, port: u16) -> Vec<SocketAddr> {
    network.addresses(host, 0).iter().map(|&address| SocketAddr::new(address, port)).collect()
}

impl Ideal<'_> {
    fn run(&mut self, until: Instant) {
        while let Some(at) = self.network.next_event().filter(|at| *at <= until) {
            while let Some(delivery) = self.network.poll(at) {
                self.now = at;
                self.deliver(&delivery);
            }
        }
        self.now = until;
    }

    /// Both servers see every endpoint of both ends.
    fn register(&mut self) {
        for server in [&self.director, &self.relay] {
            for (number, end) in (0..).zip(&self.ends) {
                for &to in &server.sockets {
                    send(self.network, self.now, end.host, &end.sockets, to, vec![REGISTER, number]);
                }
            }
        }
    }

    fn ask(&mut self) {
        for to in self.director.sockets.clone() {
            send(self.network, self.now, self.ends[0].host, &self.ends[0].sockets, to, vec![REQUEST]);
        }
    }

    fn deliver(&mut self, delivery: &Delivery) {
        if let Some(end) = self.ends.iter().position(|end| end.host == delivery.host) {
            self.deliver_to_end(end, delivery);
        } else if delivery.host == self.director.host {
            self.deliver_to_director(delivery);
        } else {
            self.deliver_to_relay(delivery);
        }
    }

    fn deliver_to_director(&mut self, delivery: &Delivery) {
        match delivery.payload[..] {
            [REGISTER, end] => {
                self.director.seen[usize::from(end)].insert(delivery.from);
            }
            [REQUEST] => {
                for to in self.director.seen.iter().flatten().copied() {
                    send(self.network, self.now, self.director.host, &self.director.sockets, to, vec![DIRECTION]);
                }
            }
            _ => {}
        }
    }

    fn deliver_to_relay(&mut self, delivery: &Delivery) {
        match delivery.payload[..] {
            [REGISTER, end] => {
                self.relay.seen[usize::from(end)].insert(delivery.from);
            }
            [HELLO, end, _] => {
                let end = usize::from(end);
                self.relay.bound[end].insert(delivery.from);
                for to in self.relay.bound[1 - end].clone() {
                    let payload = delivery.payload.clone();
                    send(self.network, self.now, self.relay.host, &self.relay.sockets, to, payload);
                }
            }
            _ => {}
        }
    }

    fn deliver_to_end(&mut self, end: usize, delivery: &Delivery) {
        let before = (self.ends[end].directed, self.ends[end].heard, self.ends[end].known.len());
        match delivery.payload[..] {
            [DIRECTION] if !self.ends[end].directed => {
                let other = self.ends[1 - end].sockets.clone();
                let seen = [&self.director, &self.relay].map(|server| server.seen[1 - end].clone());
                self.ends[end].directed = true;
                self.ends[end].known.extend(other.into_iter().chain(seen.into_iter().flatten()));
            }
            // Many private networks have the same addresses: a hello may come to whoever sent it.
            [HELLO, from, heard] if usize::from(from) != end => {
                self.ends[end].heard = true;
                if !self.relay.sockets.contains(&delivery.from) {
                    self.ends[end].known.insert(delivery.from);
                }
                if end == 1 && heard != 0 {
                    self.arrived.get_or_insert(self.now);
                }
            }
            _ => {}
        }
        if before != (self.ends[end].directed, self.ends[end].heard, self.ends[end].known.len()) {
            self.say_hello(end);
        }
    }

    fn say_hello(&mut self, end: usize) {
        let End { host, sockets, known, heard, .. } = &self.ends[end];
        if self.ends[end].directed {
            for &to in known.iter().chain(&self.relay.sockets) {
                send(self.network, self.now, *host, sockets, to, vec![HELLO, end as u8, u8::from(*heard)]);
            }
        }
    }
}

/// From the socket of the destination's family, if there is one.
fn send(network: &mut Network, now: Instant, host: HostId, sockets: &[SocketAddr], to: SocketAddr, payload: Vec<u8>) {
    if let Some(from) = sockets.iter().find(|from| from.is_ipv4() == to.is_ipv4()) {
        // What cannot be sent arrives nowhere, which is all that matters here.
        let _ = network.send(now, host, 0, *from, to, payload);
    }
}
