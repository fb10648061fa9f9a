//! A relay among strangers: whatever datagrams come, from wherever and whenever, and whatever one
//! node with a grant of its own does with it, two honest nodes go on hearing each other; nobody
//! else is sent more than three times what came from there; the relay's state stays within bounds.
//!
//! The input is whether there is a direction server, then a list of actions: one byte that chooses, then what the action takes.
#![no_main]

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use libfuzzer_sys::fuzz_target;
use ntm_proto::id::RelayIndex;
use ntm_proto::session::TokenBody;
use ntm_proto::wire::message::Side;
use ntm_proto::wire::outer;
use ntm_relay::testing::{
    Client, DIRECTOR, DirectionServer, EPOCH, RELAY4, Rig, address, config, inner, join, token_body,
};
use ntm_relay::{Config, Transmit, limits};

const GRANTS: usize = 8;
/// Addresses that exist only as somebody's forgery: nobody there ever answers.
const VICTIMS: u8 = 4;

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let len = usize::from(self.byte().unwrap_or(0)).min(self.0.len()).min(most);
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }
}

struct World {
    rig: Rig,
    dc: DirectionServer,
    honest: [Client; 2],
    /// Has a grant, both sides of it, and no manners.
    rogue: [Client; 2],
    indices: Vec<RelayIndex>,
    received: [usize; VICTIMS as usize],
    sent: [usize; VICTIMS as usize],
    tag: u64,
}

fn victim(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 100 + number % VICTIMS)), 53)
}

impl World {
    fn new(directed: bool) -> Self {
        let dc = DirectionServer::default();
        let directors = if directed { vec![dc.director()] } else { Vec::new() };
        let mut config = Config { directors, ..config() };
        config.capacity.grants = GRANTS;
        let body = |number| TokenBody { expires: EPOCH + Duration::from_secs(86_000), ..token_body(number) };
        let both = |number, at: [&str; 2]| {
            [Client::new(&body(number), Side::Initiator, at[0]), Client::new(&body(number), Side::Responder, at[1])]
        };
        let mut rig = Rig::new(config);
        let mut honest = both(1, ["192.0.2.1:1000", "[2001:db8:2::2]:2000"]);
        let [a, b] = &mut honest;
        join(&mut rig, a, b);
        Self {
            rig,
            dc,
            honest,
            rogue: both(2, ["198.18.66.6:6666", "198.18.66.7:6667"]),
            indices: Vec::new(),
            received: [0; VICTIMS as usize],
            sent: [0; VICTIMS as usize],
            tag: 0,
        }
    }

    fn input(&mut self, from: SocketAddr, datagram: &[u8]) {
        let sent = self.rig.input(address(RELAY4), from, datagram);
        for number in 0..VICTIMS {
            if from == victim(number) {
                self.received[usize::from(number)] += datagram.len();
            }
        }
        self.take(sent);
    }

    fn take(&mut self, sent: Vec<Transmit>) {
        for transmit in &sent {
            for number in 0..VICTIMS {
                if transmit.to == victim(number) {
                    self.sent[usize::from(number)] += transmit.datagram.len();
                }
            }
            for client in &mut self.rogue {
                if transmit.to == client.address {
                    client.handle(transmit.from, &transmit.datagram);
                    self.indices.extend(client.index);
                }
            }
        }
        self.dc.converse(&mut self.rig, sent);
    }

    fn act(&mut self, input: &mut Input<'_>) -> Option<()> {
        match input.byte()? % 8 {
            0 => {
                let from = self.place(input.byte()?);
                let datagram = input.bytes(255).to_vec();
                self.input(from, &datagram);
            }
            1 => {
                let number = u64::from(input.byte()?);
                let sent = self.rig.advance(Duration::from_millis(number * number));
                self.take(sent);
            }
            // A good bind, from anywhere, with anything inside.
            2 => {
                let (side, from) = (usize::from(input.byte()? % 2), self.place(input.byte()?));
                let inner = input.bytes(255);
                let bind = self.rogue[side].bind((!inner.is_empty()).then_some(inner));
                self.input(from, &bind);
            }
            // One that is good but for a bit.
            3 => {
                let (side, from, at) = (usize::from(input.byte()? % 2), self.place(input.byte()?), input.byte()?);
                let mut bind = self.rogue[side].bind(None);
                let at = usize::from(at) % bind.len();
                bind[at] ^= 1 << (input.byte()? % 8);
                self.input(from, &bind);
            }
            // An index that the rogue has or had.
            4 => {
                let (which, from) = (usize::from(input.byte()?), self.place(input.byte()?));
                let size = usize::from(input.byte()?) * 40;
                self.tag += 1;
                if !self.indices.is_empty() {
                    let index = self.indices[which % self.indices.len()];
                    self.input(from, &outer::emit_relayed(index, &inner(self.tag, size)));
                }
            }
            5 => {
                let from = self.place(input.byte()?);
                self.input(from, &outer::emit_relay_ping(7));
            }
            // Somebody else's grant, one of many.
            6 => {
                let (number, from) = (100 + u64::from(input.byte()?), self.place(input.byte()?));
                let mut stranger = Client::new(&token_body(number), Side::Initiator, "198.18.66.8:1");
                let bind = stranger.bind(Some(&inner(number, 1_000)));
                self.input(from, &bind);
            }
            // What the direction server might say, touched.
            _ => {
                let path_id = token_body(2).path_id;
                if let Some(mut order) = self.dc.revoke(self.rig.now, 1, path_id) {
                    let at = usize::from(input.byte()?) % order.len();
                    order[at] ^= 1 << (input.byte()? % 8);
                    self.input(address(DIRECTOR), &order);
                }
            }
        }
        Some(())
    }

    fn place(&self, number: u8) -> SocketAddr {
        match number % 8 {
            0 => self.rogue[0].address,
            1 => self.rogue[1].address,
            2 => self.honest[0].address,
            3 => address(DIRECTOR),
            victims => victim(victims),
        }
    }

    fn check(&mut self) {
        let stats = self.rig.relay.stats();
        assert!(stats.grants <= GRANTS);
        assert!(stats.held_bytes <= GRANTS * 2 * limits::MAX_HELD_BYTES);
        for (sent, received) in self.sent.iter().zip(self.received) {
            assert!(*sent <= 3 * received, "{sent} bytes for {received}");
        }
        for speaker in [0, 1] {
            self.tag += 1;
            let words = inner(self.tag, 500);
            let client = &self.honest[speaker];
            let sent = self.rig.input(client.relay, client.address, &client.relayed(&words));
            let other = &self.honest[1 - speaker];
            assert!(
                sent.iter().any(|transmit| transmit.to == other.address && transmit.datagram.ends_with(&words)),
                "the honest nodes do not hear each other"
            );
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    // Public-key work is a hundred times slower than all else here, so few inputs have it.
    let directed = input.byte().is_some_and(|first| first % 16 == 1);
    let mut world = World::new(directed);
    while world.act(&mut input).is_some() {
        world.check();
        if world.rig.now.since(ntm_proto::time::Instant::ZERO) > Duration::from_secs(80_000) {
            return;
        }
    }
});
