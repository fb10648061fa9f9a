//! What strangers and former friends may try, against the real process: refused, counted by reason, and good nodes
//! do not suffer.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use ntm_direction::{DEFAULT_POOL4, limits::AMPLIFICATION};
use ntm_node::Event;
use ntm_proto::crypto::default_provider;
use ntm_proto::id::{DeviceName, InterfaceId, SessionIndex, TransactionId};
use ntm_proto::rng::Rng;
use ntm_proto::session::handshake::Initiator;
use ntm_proto::time::UnixTime;
use ntm_proto::wire::message::{Envelope, ErrorCode, Interface, Message, NatMapping, RegistrationRequest};
use ntm_proto::wire::outer;
use ntm_raw_node::{Fleet, Happened, Identity};
use ntm_server::clock::{random, unix_now};
use support::{Dc, Domain, PATIENCE, data, fqdn, loopback, question, register_all, wait_for};

/// The first message of a registration, as a node's engine would send it.
fn registration(identity: &Identity, dc: &Dc, sequence: u64) -> (Initiator, Vec<u8>) {
    let interface = Interface {
        id: InterfaceId(1),
        generation: 1,
        name: DeviceName::parse("eth0").expect("a name"),
        addresses: vec!["192.0.2.9:4000".parse().expect("an address")],
        reflexive: Vec::new(),
        mapping: NatMapping::Unknown,
        cost: 10,
    };
    let request = RegistrationRequest {
        record: identity.record.clone(),
        ticket: Some(identity.ticket.clone()),
        sequence,
        from: InterfaceId(1),
        interfaces: vec![interface],
        relay_rtts: Vec::new(),
        wake_token: None,
    };
    let payload = Envelope { transaction: TransactionId(1), message: Message::RegistrationRequest(request) }.emit();
    let (key, mut rng) = (&dc.cert.noise_key, Rng::from_seed(random()));
    let provider = default_provider();
    Initiator::start(provider, &mut rng, &identity.noise, key, &identity.key, SessionIndex(7), &payload, None)
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a time");
    socket
}

/// All bytes that come to the socket until it is quiet.
fn drain(socket: &UdpSocket) -> usize {
    let mut buffer = [0; 4_096];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok()).sum()
}

/// Datagrams a second of a flood: more than the cookies' threshold by far, less than fills the machine's cores.
const FLOOD: u32 = 30_000;
/// Datagrams that a flood has unanswered before it waits a moment: fewer than the server's socket keeps, so that on a
/// slow machine too it is the server that refuses them and not the kernel.
const UNANSWERED: u32 = 64;

/// What an attack got for what it sent.
#[derive(Default)]
struct Traffic {
    sent: usize,
    datagrams: u64,
    received: usize,
}

/// Sends the same datagrams over and over until it is ended, which dropping it does too.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Traffic>>,
}

impl Flood {
    /// The server answers about one in `a_answer` of the datagrams.
    fn start(to: SocketAddr, datagrams: Vec<Vec<u8>>, a_answer: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || flood(to, &datagrams, a_answer, &stop)
        });
        Self { stop, thread: Some(thread) }
    }

    fn end(mut self) -> Traffic {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("runs until now").join().expect("flooded")
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn flood(to: SocketAddr, datagrams: &[Vec<u8>], a_answer: u32, stop: &AtomicBool) -> Traffic {
    const MOMENT: Duration = Duration::from_millis(20);
    let sockets: Vec<UdpSocket> = (0..8).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a socket")).collect();
    sockets.iter().for_each(|socket| socket.set_nonblocking(true).expect("may"));
    let (mut traffic, mut buffer, mut unanswered) = (Traffic::default(), [0; 4_096], 0_u32);
    let mut hear = |traffic: &mut Traffic| {
        let mut answers = 0;
        for socket in &sockets {
            while let Ok(length) = socket.recv(&mut buffer) {
                traffic.received += length;
                answers += 1;
            }
        }
        answers
    };
    let begin = Instant::now();
    for datagram in datagrams.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        while begin.elapsed() * FLOOD < Duration::from_secs(traffic.datagrams) {
            std::thread::sleep(Duration::from_micros(200));
        }
        let socket = &sockets[traffic.datagrams as usize % sockets.len()];
        if socket.send_to(datagram, to).is_ok() {
            traffic.sent += datagram.len();
        }
        traffic.datagrams += 1;
        unanswered += 1;
        let waited = Instant::now();
        while unanswered >= UNANSWERED {
            match hear(&mut traffic) {
                0 if waited.elapsed() > MOMENT => unanswered = 0,
                0 => std::thread::sleep(Duration::from_micros(200)),
                answers => unanswered = unanswered.saturating_sub(answers * a_answer),
            }
        }
    }
    hear(&mut traffic);
    traffic
}

#[test]
fn good_nodes_register_while_strangers_flood_with_handshakes() {
    const GOOD: usize = 100;
    let domain = Domain::new("ntm.example");
    let dc = Dc::start(&domain, "dc1", "[nodes]\nhandshakes_per_second = 500");
    let stranger = Domain::new("ntm.example");
    let datagrams: Vec<Vec<u8>> =
        (0..500).map(|number| registration(&stranger.node("x", &[]), &dc, number + 1).1).collect();
    let flood = Flood::start(dc.address(), datagrams, 1);
    wait_for("the flood to be noticed", || dc.metric("cookies_sent_total") > 100);
    let mut took = Vec::new();
    let mut fleet = Fleet::new().expect("a poll");
    for number in 0..GOOD {
        let identity = domain.node(&format!("n{number}"), std::slice::from_ref(&dc.cert));
        let begin = Instant::now();
        let node = fleet.add(&identity, loopback()).expect("a socket");
        let done = fleet.drive_until(PATIENCE, |fleet, _| fleet.virtual4(node).is_some());
        assert!(done.expect("drives"), "a good node was kept out");
        took.push(begin.elapsed());
    }
    let traffic = flood.end();
    took.sort_unstable();
    println!(
        "{} datagrams of a flood; {GOOD} good nodes registered meanwhile: median {:?}, p99 {:?}",
        traffic.datagrams,
        took[GOOD / 2],
        took[GOOD * 99 / 100],
    );
    assert!(traffic.received <= AMPLIFICATION * traffic.sent);
    wait_for("the figures", || dc.metric("nodes_online") == GOOD as u64);
}

#[test]
fn no_stranger_gets_more_than_three_bytes_for_one() {
    let domain = Domain::new("ntm.example");
    let dc = Dc::start(&domain, "dc1", "");
    let (_, valid) = registration(&domain.node("a", &[]), &dc, 1);
    let (_, foreign) = registration(&Domain::new("x.example").node("a", &[]), &dc, 1);
    let mut datagrams =
        vec![valid.clone(), valid.clone(), foreign, vec![0; 1], vec![4; 40], vec![1; 200], vec![0xff; 1_400]];
    // What is said to relays only.
    datagrams.push(outer::emit_relay_ping(1));
    datagrams.extend((0..200).map(|_| random::<200>().to_vec()));
    for datagram in datagrams {
        let socket = socket();
        socket.set_read_timeout(Some(Duration::from_millis(30))).expect("a time");
        socket.send_to(&datagram, dc.address()).expect("sends");
        let got = drain(&socket);
        assert!(got <= AMPLIFICATION * datagram.len(), "{got} bytes for {}", datagram.len());
    }
    wait_for("the counters", || {
        ["malformed", "unexpected"].iter().all(|reason| dc.metric(&format!("dropped_total{{reason=\"{reason}\"}}")) > 0)
    });
}

#[test]
fn a_replayed_registration_takes_over_nothing() {
    let domain = Domain::new("ntm.example");
    let dc = Dc::start(&domain, "dc1", "");
    let identity = domain.node("a", std::slice::from_ref(&dc.cert));
    // Recorded from an earlier registration: its sequence number is below the node's next.
    let (_, recorded) = registration(&identity, &dc, unix_now().as_millis() - 1_000);
    let (own, elsewhere) = (socket(), socket());
    own.set_read_timeout(Some(PATIENCE)).expect("a time");
    own.send_to(&recorded, dc.address()).expect("sends");
    assert!(own.recv(&mut [0; 4_096]).is_ok(), "it was genuine once");
    let mut fleet = Fleet::new().expect("a poll");
    fleet.add(&identity, loopback()).expect("a socket");
    register_all(&mut fleet);
    wait_for("the node to be online", || dc.metric("nodes_online") == 1);
    let refused = dc.metric("dropped_total{reason=\"stale_sequence\"}");
    for _ in 0..20 {
        elsewhere.send_to(&recorded, dc.address()).expect("sends");
    }
    assert!(drain(&elsewhere) <= AMPLIFICATION * 20 * recorded.len());
    wait_for("the refusals", || dc.metric("dropped_total{reason=\"stale_sequence\"}") >= refused + 20);
    assert_eq!((dc.metric("superseded_total"), dc.metric("nodes_online")), (0, 1));
}

/// What the server says to a registration, as its node reads it.
fn refusal(identity: &Identity) -> Option<ErrorCode> {
    let mut fleet = Fleet::new().expect("a poll");
    fleet.add(identity, loopback()).expect("a socket");
    let mut refused = None;
    let done = fleet.drive_until(PATIENCE, |_, happened| {
        refused = happened.iter().find_map(|(_, what)| match what {
            Happened::Event(Event::TicketRefused(code)) => Some(*code),
            Happened::Event(Event::Registered { .. }) => panic!("it was let in"),
            _ => None,
        });
        refused.is_some()
    });
    assert!(done.expect("drives"));
    refused
}

#[test]
fn forged_expired_and_borrowed_tickets_are_refused_with_a_reason() {
    let domain = Domain::new("ntm.example");
    let dc = Dc::start(&domain, "dc1", "");
    let certs = std::slice::from_ref(&dc.cert);
    let mut forged = domain.node("a", certs);
    *forged.ticket.last_mut().expect("not empty") ^= 1;
    assert_eq!(refusal(&forged), Some(ErrorCode::TicketExpired));
    let stranger = Domain::new("ntm.example").node("a", certs);
    assert_eq!(refusal(&stranger), Some(ErrorCode::TicketExpired));
    let expired = domain.node_until("b", certs, UnixTime::from_millis(unix_now().as_millis() - 1_000));
    assert_eq!(refusal(&expired), Some(ErrorCode::TicketExpired));
    let (mut thief, victim) = (domain.node("c", certs), domain.node("d", certs));
    (thief.ticket, thief.key) = (victim.ticket, victim.key);
    assert_eq!(refusal(&thief), Some(ErrorCode::Forbidden));
    wait_for("the counter", || dc.metric("handshakes_refused_total") >= 4);
    assert_eq!(dc.metric("nodes"), 0);
}

#[test]
fn a_revoked_node_stays_revoked_over_a_restart() {
    use ntm_dc::store::{Change, Embedded, Registry as _};
    let domain = Domain::new("ntm.example");
    let mut dc = Dc::start(&domain, "dc1", "");
    let identity = domain.node("a", std::slice::from_ref(&dc.cert));
    let mut fleet = Fleet::new().expect("a poll");
    fleet.add(&identity, loopback()).expect("a socket");
    register_all(&mut fleet);
    assert!(dc.terminate().success());
    let mut registry =
        Embedded::open(&dc.folder.join("registry.redb"), fqdn("dc1.ntm.example"), DEFAULT_POOL4).expect("opens");
    let never_seen = domain.node("b", std::slice::from_ref(&dc.cert));
    registry.load().expect("loads");
    let nodes = vec![identity.record.node_id(), never_seen.record.node_id()];
    registry.commit(&[Change::Revoke { upto: 2, nodes }]).expect("commits");
    drop(registry);
    dc.run();
    assert_eq!(refusal(&identity), Some(ErrorCode::Revoked));
    assert_eq!(refusal(&never_seen), Some(ErrorCode::Revoked));
    assert!(data(&dc.dig("a.ntm.example.", RecordType::A)).is_empty());
}

#[test]
fn dns_garbage_and_a_dns_flood_leave_names_and_nodes_served() {
    let domain = Domain::new("ntm.example");
    let dc = Dc::prepare(&domain, "dc1", "");
    dc.configure_dns(&format!("{:?}", dc.folder.join("registry.redb")), "", "rate = 200");
    let mut dc = dc;
    dc.run();
    let garbage = socket();
    for length in 0..400 {
        let mut bytes = random::<400>();
        // Half of it claims to be a question.
        bytes[2] &= if length % 2 == 0 { 0x7f } else { 0xff };
        garbage.send_to(&bytes[..length], dc.dns_address()).expect("sends");
    }
    let sent: usize = (0..400).sum();
    assert!(drain(&garbage) <= AMPLIFICATION * sent);
    let query = question("nobody.ntm.example.", RecordType::A);
    let outcome = |name: &str| dc.metric(&format!("dns_queries_total{{outcome=\"{name}\"}}"));
    wait_for("the garbage to be counted", || outcome("malformed") + outcome("refused") > 0 && outcome("ignored") > 0);
    let flood = Flood::start(dc.dns_address(), vec![query], 2);
    wait_for("the flood to be limited", || outcome("rate_limited") > 100);
    let mut fleet = Fleet::new().expect("a poll");
    for number in 0..20 {
        let identity = domain.node(&format!("n{number}"), std::slice::from_ref(&dc.cert));
        fleet.add(&identity, loopback()).expect("a socket");
    }
    register_all(&mut fleet);
    let traffic = flood.end();
    assert!(traffic.received <= AMPLIFICATION * traffic.sent);
    wait_for("the source to have its rate again", || !dc.dig("n1.ntm.example.", RecordType::A).answers.is_empty());
}
