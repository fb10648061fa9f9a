//! How fast the real process is: its driver's thread, by the processor time that thread took.
//!
//! `cargo test --release -p ntm-dc --test load -- --ignored --nocapture`
#![allow(clippy::print_stdout, reason = "a measurement prints its figures")]

mod support;

use std::collections::HashMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use ntm_direction::testing::{self, Node, Received};
use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::id::PathId;
use ntm_proto::identity::NoiseKey;
use ntm_proto::time::Instant as Now;
use ntm_proto::wire::message::{DirectionRequest, Envelope, Message, Target};
use ntm_proto::wire::outer::Outer;
use ntm_server::clock::{random, unix_now};
use support::{Dc, Domain};

const NODES: usize = 4_000;
/// Datagrams on their way at a time.
const WINDOW: usize = 256;
/// Registrations between two looks at what the Diffie-Hellmans take.
const PART: usize = 500;
/// Moves and directions of each node: what its burst allows.
const ROUNDS: usize = 12;

/// Processor time of the server's thread of this name.
fn cpu(dc: &Dc, thread: &str) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", dc.pid())).expect("runs");
    let of = |task: std::path::PathBuf| {
        let name = std::fs::read_to_string(task.join("comm")).ok()?;
        let times = std::fs::read_to_string(task.join("schedstat")).ok()?;
        let nanos = times.split(' ').next()?.parse().ok()?;
        (name.trim() == thread).then_some(Duration::from_nanos(nanos))
    };
    tasks.filter_map(Result::ok).filter_map(|task| of(task.path())).sum()
}

/// Bytes of memory the server has.
fn memory(dc: &Dc) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{}/statm", dc.pid())).expect("runs");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages") * 4_096
}

struct Bench {
    dc: Dc,
    socket: UdpSocket,
    nodes: Vec<Node>,
    /// Nodes by the index their sessions have.
    by_index: HashMap<u32, usize>,
}

impl Bench {
    /// Sends what `next` makes, a window at a time, and hands what comes to `take`, which says whether an operation
    /// is done. Gives the driver's time for each.
    fn run(
        &mut self,
        operations: usize,
        mut next: impl FnMut(&mut Self, usize) -> Vec<u8>,
        mut take: impl FnMut(&mut Self, &mut [u8]) -> bool,
    ) -> (Duration, Duration) {
        let datagrams: Vec<Vec<u8>> = (0..operations).map(|number| next(self, number)).collect();
        let (cpu_before, begin) = (cpu(&self.dc, "driver"), Instant::now());
        let (mut sent, mut done, mut lost, mut buffer) = (0, 0, 0, [0; 4_096]);
        while done + lost < operations {
            while sent < operations && sent - done - lost < WINDOW {
                self.socket.send_to(&datagrams[sent], self.dc.address()).expect("sends");
                sent += 1;
            }
            match self.socket.recv(&mut buffer) {
                Ok(length) => done += usize::from(take(self, &mut buffer[..length])),
                // What was lost on the way is not waited for.
                Err(_) => lost = sent - done,
            }
        }
        assert!(done * 100 >= operations * 99, "{done} of {operations} were answered");
        let done = u32::try_from(done).expect("few");
        ((cpu(&self.dc, "driver") - cpu_before) / done, begin.elapsed() / done)
    }

    fn node_of(&self, datagram: &[u8]) -> Option<usize> {
        match Outer::parse(datagram).ok()? {
            Outer::Data(data) => self.by_index.get(&data.receiver.0).copied(),
            Outer::HandshakeResponse(response) => self.by_index.get(&response.receiver.0).copied(),
            _ => None,
        }
    }

    fn receive(&mut self, datagram: &mut [u8]) -> Option<(usize, Received)> {
        let number = self.node_of(datagram)?;
        let from = self.dc.address();
        Some((number, self.nodes[number].receive(Now::from_millis(1_000), from, datagram)))
    }

    fn reply(&mut self, number: usize, received: &Received) {
        let node = &mut self.nodes[number];
        let datagram = match received {
            Received::Registered(_) => node.keep_alive(1),
            Received::Challenged(response) => node.seal_frame(&ntm_proto::wire::frame::Frame::PathResponse(*response)),
            Received::Message(Envelope { transaction, message: Message::RouteDirection(_) }) => {
                node.seal_envelope(&Envelope { transaction: *transaction, message: Message::RouteDirectionAck })
            }
            _ => return,
        };
        self.socket.send_to(&datagram, self.dc.address()).expect("sends");
    }
}

/// What the Diffie-Hellmans of one registration take the coordinator: two to read the first message, two and a new key
/// to answer it.
fn diffie_hellmans() -> Duration {
    const ROUNDS: u32 = 500;
    let provider = default_provider();
    let (secret, other) = (Secret::new(random()), NoiseKey::from_secret(provider, Secret::new(random())));
    let begin = Instant::now();
    for _ in 0..ROUNDS {
        for _ in 0..4 {
            std::hint::black_box(provider.x25519(&secret, other.public()).is_ok());
        }
        std::hint::black_box(provider.x25519_public(&secret));
    }
    begin.elapsed() / ROUNDS
}

struct Registrations {
    each: (Duration, Duration),
    alone: Duration,
    share: f64,
}

/// Registers every node. Beside each part of them it is seen what the Diffie-Hellmans take: a machine is not equally
/// fast all the time.
fn registrations(
    bench: &mut Bench,
    registration: impl Fn(&mut Bench, usize) -> Vec<u8>,
    answered: impl Fn(&mut Bench, &mut [u8]) -> bool,
) -> Registrations {
    let (mut cpu, mut wall, mut alone, mut share) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for first in (0..NODES).step_by(PART) {
        let part = bench.run(PART, |bench, number| registration(bench, first + number), &answered);
        let beside = diffie_hellmans();
        cpu.push(part.0);
        wall.push(part.1);
        alone.push(beside);
        share.push(beside.as_secs_f64() / part.0.as_secs_f64());
    }
    share.sort_unstable_by(f64::total_cmp);
    Registrations { each: (median(cpu), median(wall)), alone: median(alone), share: share[share.len() / 2] }
}

fn told(what: &str, (cpu, wall): (Duration, Duration)) {
    println!("{what}: {cpu:?} of the driver, {:.0}/s/core; {wall:?} in all", 1.0 / cpu.as_secs_f64());
}

#[test]
#[ignore = "a measurement, for a release build on a quiet machine"]
fn figures() {
    let domain = Domain::new("ntm.example");
    let dc = Dc::start(&domain, "dc1", "[nodes]\nhandshakes_per_second = 1000000");
    let mut world = testing::Domain::new("ntm.example", 1, "192.0.2.1:4500");
    (world.service_key, world.noise) = (domain.service_key.clone(), dc.noise());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a time");
    socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20).expect("may");
    let mut bench = Bench { dc, socket, nodes: Vec::new(), by_index: HashMap::new() };
    for number in 0..NODES {
        let mut node = world.node(number as u32, &format!("n{number}"));
        node.ticket = world.ticket(&node.record, &node.key, unix_now() + Duration::from_secs(3_600));
        node.attach(1, &["192.0.2.9:4000"]);
        bench.nodes.push(node);
    }
    let before = memory(&bench.dc);
    let registration = |bench: &mut Bench, number: usize| {
        let datagram = bench.nodes[number].register(1);
        let Ok(Outer::HandshakeInit(init)) = Outer::parse(&datagram) else { panic!("its own handshake") };
        bench.by_index.insert(init.sender.0, number);
        datagram
    };
    let answered = |bench: &mut Bench, datagram: &mut [u8]| {
        let Some((number, received)) = bench.receive(datagram) else { return false };
        bench.reply(number, &received);
        matches!(received, Received::Registered(_))
    };
    let first = registrations(&mut bench, registration, answered);
    std::thread::sleep(Duration::from_millis(500));
    let bytes = (memory(&bench.dc) - before) / NODES;
    let again = registrations(&mut bench, registration, answered);
    told("a node's first registration, stored", first.each);
    told("a full registration of a known node", again.each);
    println!("its Diffie-Hellmans alone: {:?}; share {:.2} and {:.2}", again.alone, first.share, again.share);
    println!("memory: {bytes} bytes a node, names and registry included ({NODES} nodes)");

    let moved = bench.run(
        NODES * ROUNDS,
        |bench, number| bench.nodes[number % NODES].register_again(1),
        |bench, datagram| {
            let Some((_, received)) = bench.receive(datagram) else { return false };
            matches!(received, Received::Message(Envelope { message: Message::RegistrationResponse(_), .. }))
        },
    );
    told("a move", moved);
    let given = bench.run(
        NODES * ROUNDS,
        |bench, number| {
            let target = Target::Node(bench.nodes[(number + 1) % NODES].id());
            let message = Message::DirectionRequest(DirectionRequest { path_id: PathId(random()), target });
            bench.nodes[number % NODES].seal(message)
        },
        |bench, datagram| {
            let Some((number, received)) = bench.receive(datagram) else { return false };
            bench.reply(number, &received);
            matches!(&received, Received::Message(Envelope { message: Message::RouteDirection(given), .. })
                if given.side == ntm_proto::wire::message::Side::Initiator)
        },
    );
    told("a direction, both ends told and acknowledged", given);
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
