//! What one coordinator costs with a thousand to a million registered nodes.
//!
//! `cargo run --release -p ntm-direction --features testing --example scale`
//!
//! Each size runs in a process of its own. Nodes are registered by an inner shortcut; what is measured goes
//! through `handle_datagram` with datagrams that stand-ins for the nodes have sealed beforehand, and ends
//! when every answer has been sealed and taken. Keep-alives are measured a second time with `handle_batch`, as a
//! driver hands them over that receives many at once. Every size does the same number of operations in the same
//! batches, on nodes picked at random, so at a million the caches are cold as they are in life. Times are the
//! coordinator's alone, the median of all batches; memory is what the process grew by while the nodes registered,
//! by `/proc/self/statm`.
#![allow(clippy::print_stdout, reason = "a program that prints a table")]

use core::time::Duration;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant as Clock;

use ntm_direction::testing::{BEGIN, Domain, fqdn};
use ntm_direction::{Coordinator, Datagram, Transmit};
use ntm_proto::crypto::{self, Secret, Suite};
use ntm_proto::id::{DeviceName, InterfaceId, NodeId, PathId, SessionIndex, TransactionId};
use ntm_proto::identity::NodeRecord;
use ntm_proto::rng::Rng;
use ntm_proto::session::handshake::Established;
use ntm_proto::session::transport::{OpeningKey, SealingKey};
use ntm_proto::time::Instant;
use ntm_proto::wire::frame::{Frame, PathChallenge, PathResponse};
use ntm_proto::wire::message::{
    DirectionRequest, Envelope, Interface, KeepAlive, Message, NatMapping, RegistrationRequest, Target,
};

const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Nodes that are picked, at most.
const SAMPLE: usize = 20_000;
/// Operations in a batch: so few that another process seldom comes between.
const BATCH: usize = 50;
/// Batches of each kind.
const BATCHES: usize = 800;
/// Longer than everything before the leases are to end.
const LEASE: Duration = Duration::from_secs(900);
/// Between two batches: no node exceeds the rate it may move at.
const STEP: Duration = Duration::from_millis(20);

fn main() {
    if let Some(size) = std::env::args().nth(1).and_then(|text| text.parse().ok()) {
        measure(size);
        return;
    }
    println!(
        "{:>9} {:>12} {:>12} {:>9} {:>12} {:>10} {:>11}",
        "nodes", "keep-alive", "in batches", "move", "direction", "expiry", "bytes/node"
    );
    let own = std::env::current_exe().expect("the name of this program");
    for size in SIZES {
        let status = std::process::Command::new(&own).arg(size.to_string()).status().expect("a child process");
        assert!(status.success(), "the measurement failed");
    }
}

/// A node as the measurement keeps it: everything else follows from its number.
struct Client {
    number: u32,
    sealing: SealingKey,
    opening: OpeningKey,
    port: u16,
    generation: u16,
    sequence: u64,
}

struct Bench {
    coordinator: Coordinator,
    local: SocketAddr,
    suite: Suite,
    now: Instant,
    rng: Rng,
    /// Of the batch: the transactions of each node are its own.
    serial: u32,
    /// Whether the coordinator is handed each batch at once.
    together: bool,
}

fn measure(size: u32) {
    let domain = Domain::new("ntm.example", 1, "192.0.2.1:4500");
    let mut config = domain.config();
    config.pool4 = ([10, 0, 0, 0].into(), 8);
    config.lease = LEASE;
    let suite = config.provider.suites()[0];
    let now = Instant::from_millis(1_000);
    let coordinator = Coordinator::new(now, config, [1; 32]);
    let rng = Rng::from_seed([2; 32]);
    let mut bench = Bench { coordinator, local: domain.address, suite, now, rng, serial: 0, together: false };

    let before = resident();
    let indices: Vec<SessionIndex> = (0..size).map(|number| bench.register(number)).collect();
    let bytes = (resident() - before - indices.len() * size_of::<SessionIndex>()) / size as usize;
    while bench.coordinator.poll_event().is_some() {}

    let mut clients = bench.sample(size, &indices);
    let keep_alive = bench.median(&mut clients, Bench::keep_alives);
    bench.together = true;
    let together = bench.median(&mut clients, Bench::keep_alives);
    bench.together = false;
    let moved = bench.median(&mut clients, Bench::moves);
    let direction = bench.median(&mut clients, Bench::directions);
    let expiry = bench.expire(size);
    print!("{size:>9} {keep_alive:>9.2} µs {together:>9.2} µs {moved:>6.2} µs ");
    println!("{direction:>9.2} µs {expiry:>7.2} µs {bytes:>11}");
}

impl Bench {
    fn register(&mut self, number: u32) -> SessionIndex {
        let established = established(number, self.suite, SessionIndex(number));
        let request = request(number, 5_000, 1, 1);
        self.coordinator.adopt(self.now, self.local, address(number, 5_000), &request, &established)
    }

    /// Stand-ins for nodes picked at random.
    fn sample(&mut self, size: u32, indices: &[SessionIndex]) -> Vec<Client> {
        let mut numbers: Vec<u32> = (0..size).collect();
        let wanted = SAMPLE.min(numbers.len());
        for at in 0..wanted {
            let other = at + self.rng.below((numbers.len() - at) as u64) as usize;
            numbers.swap(at, other);
        }
        let provider = crypto::default_provider();
        numbers[..wanted]
            .iter()
            .map(|&number| {
                let established = established(number, self.suite, indices[number as usize]);
                // What the coordinator sends with, the node receives with.
                Client {
                    number,
                    sealing: SealingKey::new(provider, self.suite, &established.receive, indices[number as usize]),
                    opening: OpeningKey::new(provider, self.suite, &established.send),
                    port: 5_000,
                    generation: 1,
                    sequence: 1,
                }
            })
            .collect()
    }

    /// Microseconds an operation.
    fn median(&mut self, clients: &mut [Client], batch: fn(&mut Self, &mut [Client]) -> f64) -> f64 {
        let mut elapsed: Vec<f64> = (0..BATCHES)
            .map(|number| {
                self.now += STEP;
                self.serial += 1;
                // A direction takes two nodes.
                let first = number * BATCH % (clients.len() - 2 * BATCH + 1);
                batch(self, &mut clients[first..first + 2 * BATCH])
            })
            .collect();
        elapsed.sort_unstable_by(f64::total_cmp);
        elapsed[BATCHES / 2] / BATCH as f64
    }

    fn keep_alives(&mut self, clients: &mut [Client]) -> f64 {
        let datagrams: Vec<_> = clients[..BATCH]
            .iter()
            .map(|client| {
                let from = InterfaceId(1);
                let keep_alive = KeepAlive { from, generation: client.generation, relay_rtts: Vec::new() };
                (client.address(), client.seal(self.serial, Message::KeepAlive(keep_alive)))
            })
            .collect();
        let (elapsed, sent) = self.run(datagrams);
        assert_eq!(sent.len(), BATCH, "every keep-alive is answered");
        elapsed
    }

    /// Every node comes from another port, on a network that gave it another address.
    fn moves(&mut self, clients: &mut [Client]) -> f64 {
        let datagrams: Vec<_> = clients[..BATCH]
            .iter_mut()
            .map(|client| {
                client.port += 1;
                client.generation += 1;
                client.sequence += 1;
                let request = request(client.number, client.port, client.generation, client.sequence);
                (client.address(), client.seal(self.serial, Message::RegistrationRequest(request)))
            })
            .collect();
        let (elapsed, sent) = self.run(datagrams);
        assert_eq!(sent.len(), 2 * BATCH, "every move is answered, and the new address challenged");
        for transmit in sent {
            let from = transmit.to;
            let client = clients.iter().find(|client| client.address() == from).expect("one of these");
            if let Some(mut proof) = client.prove(transmit) {
                self.coordinator.handle_datagram(self.now, self.local, from, &mut proof);
            }
        }
        elapsed
    }

    /// The first half asks for the second half; both acknowledge.
    fn directions(&mut self, clients: &mut [Client]) -> f64 {
        let (askers, asked) = clients.split_at(BATCH);
        let datagrams: Vec<_> = askers
            .iter()
            .zip(asked)
            .map(|(asker, asked)| {
                let path_id = PathId(self.rng.array());
                let request = DirectionRequest { path_id, target: Target::Node(id(asked.number)) };
                (asker.address(), asker.seal(self.serial, Message::DirectionRequest(request)))
            })
            .collect();
        let (elapsed, sent) = self.run(datagrams);
        assert_eq!(sent.len(), 2 * BATCH, "both ends are directed");
        let by_address: HashMap<SocketAddr, &Client> =
            clients.iter().map(|client| (client.address(), client)).collect();
        let acks: Vec<_> = sent.into_iter().map(|transmit| by_address[&transmit.to].acknowledge(transmit)).collect();
        let (acknowledged, _) = self.run(acks);
        assert_eq!(self.coordinator.gauges().deliveries, 0);
        elapsed + acknowledged
    }

    /// Every lease ends.
    fn expire(&mut self, size: u32) -> f64 {
        let clock = Clock::now();
        self.now += LEASE;
        self.coordinator.handle_timeout(self.now);
        while self.coordinator.poll_event().is_some() {}
        let elapsed = clock.elapsed().as_secs_f64() * 1e6 / f64::from(size);
        assert_eq!(self.coordinator.gauges().online, 0);
        elapsed
    }

    /// Microseconds of the coordinator, and what it sent.
    fn run(&mut self, mut datagrams: Vec<(SocketAddr, Vec<u8>)>) -> (f64, Vec<Transmit>) {
        let mut sent = Vec::with_capacity(2 * datagrams.len());
        let local = self.local;
        let clock = Clock::now();
        if self.together {
            let mut batch: Vec<Datagram<'_>> =
                datagrams.iter_mut().map(|(from, bytes)| Datagram { local, from: *from, bytes }).collect();
            self.coordinator.handle_batch(self.now, &mut batch);
            sent.extend(std::iter::from_fn(|| self.coordinator.poll_transmit()));
        } else {
            for (from, datagram) in &mut datagrams {
                self.coordinator.handle_datagram(self.now, local, *from, datagram);
                sent.extend(std::iter::from_fn(|| self.coordinator.poll_transmit()));
            }
        }
        (clock.elapsed().as_secs_f64() * 1e6, sent)
    }
}

impl Client {
    fn address(&self) -> SocketAddr {
        address(self.number, self.port)
    }

    fn seal(&self, transaction: u32, message: Message) -> Vec<u8> {
        let envelope = Envelope { transaction: TransactionId(transaction), message };
        let mut plaintext = Vec::new();
        Frame::Signal(&envelope.emit()).emit(&mut plaintext);
        self.sealing.seal(&plaintext).expect("a fresh key")
    }

    /// The answer to a challenge; nothing for anything else.
    fn prove(&self, transmit: Transmit) -> Option<Vec<u8>> {
        let mut datagram = transmit.datagram;
        let (_, plaintext) = self.opening.open_in_place(&mut datagram).expect("sealed for this node");
        let Ok(Frame::PathChallenge(challenge)) = Frame::parse(&datagram[plaintext]) else { return None };
        let PathChallenge { nonce, interface, generation } = challenge;
        let mut frame = Vec::new();
        Frame::PathResponse(PathResponse { nonce, interface, generation, observed: self.address() }).emit(&mut frame);
        Some(self.sealing.seal(&frame).expect("a fresh key"))
    }

    fn acknowledge(&self, transmit: Transmit) -> (SocketAddr, Vec<u8>) {
        let mut datagram = transmit.datagram;
        let (_, plaintext) = self.opening.open_in_place(&mut datagram).expect("sealed for this node");
        let Ok(Frame::Signal(bytes)) = Frame::parse(&datagram[plaintext]) else { panic!("no message") };
        let transaction = Envelope::parse(bytes).expect("a message").transaction;
        (self.address(), self.seal(transaction.0, Message::RouteDirectionAck))
    }
}

fn established(number: u32, suite: Suite, remote: SessionIndex) -> Established {
    let key = |label: &[u8]| Secret::new(crypto::blake2s(&[label, &number.to_be_bytes()]));
    Established {
        suite,
        send: key(b"to the node"),
        receive: key(b"to the coordinator"),
        local: remote,
        remote,
        peer_key: [0; 32],
        handshake_hash: [0; 32],
        initiator: false,
        generation: 0,
        payload: Vec::new(),
    }
}

fn record(number: u32) -> NodeRecord {
    NodeRecord {
        identity: crypto::blake2s(&[b"identity", &number.to_be_bytes()]),
        fqdn: fqdn(&format!("node-{number}.ntm.example")),
        noise_key: crypto::blake2s(&[b"noise", &number.to_be_bytes()]),
        manager: fqdn("ntm.example"),
        revoked: false,
        timestamp: BEGIN,
        signature: [7; 64],
    }
}

fn id(number: u32) -> NodeId {
    record(number).node_id()
}

/// A node behind a NAT, with a global IPv6 address as well.
fn request(number: u32, port: u16, generation: u16, sequence: u64) -> RegistrationRequest {
    let [_, a, b, c] = number.to_be_bytes();
    let inner4 = SocketAddr::from(([192, 168, generation as u8, 17], 5_000));
    let inner6 = SocketAddr::from(([0x2001, 0xdb8, u16::from(a), u16::from(b), 0, 0, u16::from(c), port], 5_000));
    RegistrationRequest {
        record: record(number),
        ticket: None,
        sequence,
        from: InterfaceId(1),
        interfaces: vec![Interface {
            id: InterfaceId(1),
            generation,
            name: DeviceName::parse("wlan0").expect("a name"),
            addresses: vec![inner4, inner6],
            reflexive: Vec::new(),
            mapping: NatMapping::Unknown,
            cost: 10,
        }],
        relay_rtts: Vec::new(),
        wake_token: None,
    }
}

fn address(number: u32, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(0x5000_0000 + number)), port)
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("a number of pages");
    pages * 4_096
}
