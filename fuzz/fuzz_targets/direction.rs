//! A direction coordinator among strangers, rogue nodes with tickets, a rogue coordinator of another domain
//! and a rogue relay: whatever they send, from wherever and whenever, two honest nodes keep their
//! registration and are told the way to each other; an address that never answered is sent at most three
//! times what came from there; tables stay within their bounds; no timer asks for ever.
//!
//! The input is a list of steps: one byte that chooses, then what the step takes.
#![no_main]

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use ntm_direction::testing::{BEGIN, Domain, Node, Received, fqdn};
use ntm_direction::{Coordinator, Event, ForeignDc, LookupFailed, PinnedDomain, RelayConfig};
use ntm_fuzz::input::secret_seed;
use ntm_fuzz::provider::PROVIDER;
use ntm_fuzz::{Input, nonsense};
use ntm_proto::crypto::Secret;
use ntm_proto::id::{Fqdn, InterfaceId, NodeId, PathId, RelayId, SessionIndex, TransactionId};
use ntm_proto::identity::{NoiseKey, Role, ServerCert};
use ntm_proto::rng::Rng;
use ntm_proto::session::cookie::CookieJar;
use ntm_proto::session::{GrantKey, Incoming, SIGNAL_WINDOW_WORDS, Session, Verdict};
use ntm_proto::time::Instant;
use ntm_proto::wire::frame::Frame;
use ntm_proto::wire::message::{
    DirectionRequest, Envelope, KeepAlive, Message, NodeDescription, NodeInformationRequest, RelayReport,
    RouteDirection, ServerHello, Target,
};
use ntm_proto::wire::outer::Outer;

const DC: &str = "192.0.2.1:4500";
const DC_ELSEWHERE: &str = "192.0.2.3:4500";
const FOREIGN: &str = "192.0.2.2:4500";
const RELAY: &str = "192.0.2.4:4500";
const HONEST: [&str; 2] = ["198.51.100.1:5000", "198.51.100.2:5000"];
const ROGUES: [&str; 4] = ["203.0.113.1:666", "203.0.113.2:666", "203.0.113.3:666", "[2001:db8::666]:666"];
/// Addresses that exist only as somebody's forgery: nobody there ever answers.
const VICTIMS: [&str; 3] = ["203.0.113.101:53", "203.0.113.102:53", "[2001:db8::53]:53"];

/// Two honest nodes, and fewer rogues than have tickets.
const MAX_NODES: usize = 5;
const MAX_STEPS: usize = 200;
/// Datagrams that others have seen.
const MAX_CAPTURED: usize = 32;
/// Datagrams that one step may cause.
const MAX_DELIVERIES: usize = 5_000;
/// Times a timer may ask for the same instant.
const MAX_WAKES: usize = 16;
/// How often an honest node says that it lives, and how long before it makes new keys.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const REKEY: Duration = Duration::from_secs(100);
const MAX_TIME: Duration = Duration::from_secs(3_600);

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// A domain whose keys are the cheap provider's.
fn domain(name: &str, number: u8, address: &str) -> Domain {
    let mut domain = Domain::new(name, number, address);
    domain.noise = NoiseKey::from_secret(PROVIDER, domain.noise.secret().clone());
    domain.provider = PROVIDER;
    domain
}

thread_local! {
    static DOMAINS: OnceCell<(Domain, Domain)> = const { OnceCell::new() };
}

/// A node, and where it is.
struct Party {
    node: Node,
    /// Confirms its registrations, as a node does.
    honest: bool,
    address: SocketAddr,
    inbox: VecDeque<Received>,
    registered: Instant,
    /// When the input last made it register.
    tried: Instant,
}

/// A server of another domain, or a relay, with keys and no manners.
struct Server {
    cert: ServerCert,
    noise: NoiseKey,
    psk: Secret,
    address: SocketAddr,
    session: Session<SIGNAL_WINDOW_WORDS>,
    rng: Rng,
    sequence: u64,
}

struct World {
    now: Instant,
    dc: Coordinator,
    home: Domain,
    abroad: Domain,
    honest: Vec<Party>,
    rogues: Vec<Party>,
    servers: Vec<Server>,
    /// What somebody on the way has seen: where it was going, where it came from.
    captured: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
    sought: VecDeque<Fqdn>,
    /// The other servers answer nothing.
    deaf: bool,
    received: [usize; VICTIMS.len()],
    sent: [usize; VICTIMS.len()],
    /// When the honest nodes last said that they live.
    lived: Instant,
    rng: Rng,
    /// Of the honest nodes' communications: nobody else can know them.
    path_ids: Rng,
}

impl Server {
    fn new(cert: ServerCert, noise: NoiseKey, psk: Secret, seed: [u8; 32]) -> Self {
        let address = cert.addresses[0];
        let session = Session::new(PROVIDER);
        Self { cert, noise, psk, address, session, rng: Rng::from_seed(seed), sequence: BEGIN.as_millis() }
    }

    fn hello(&mut self) -> Vec<u8> {
        self.sequence += 1;
        let message = Message::ServerHello(ServerHello { cert: self.cert.clone(), sequence: self.sequence });
        Envelope { transaction: TransactionId(1), message }.emit()
    }

    fn call(&mut self, now: Instant, dc: &Domain, payload: &[u8]) -> Vec<u8> {
        let local = SessionIndex(self.rng.u32());
        self.session.begin(now, &mut self.rng, &self.noise, dc.noise.public(), &self.psk, local, payload)
    }

    /// Makes sessions whenever it is asked to, and keeps its own counsel.
    fn handle(&mut self, now: Instant, datagram: &mut [u8]) -> Option<Vec<u8>> {
        while self.session.take_retired().is_some() {}
        match Outer::parse(datagram).ok()? {
            Outer::HandshakeResponse(response) => {
                self.session.handle_response(now, &response).ok()?;
                None
            }
            Outer::HandshakeInit(init) => {
                let incoming = Incoming::read(PROVIDER, &mut self.rng, &self.noise, &init).ok()?;
                let local = SessionIndex(self.rng.u32());
                let hello = self.hello();
                self.session.accept(now, incoming, &self.psk, local, &hello).ok()
            }
            Outer::Data(_) => {
                let _ = self.session.open_in_place(now, datagram);
                None
            }
            _ => None,
        }
    }
}

impl World {
    fn new(input: &[u8]) -> Self {
        let (home, abroad) = DOMAINS.with(|domains| {
            domains.get_or_init(|| (domain("one.example", 1, DC), domain("two.example", 2, FOREIGN))).clone()
        });
        let relay_noise = NoiseKey::from_secret(PROVIDER, Secret::new([0x77; 32]));
        let relay_cert = ServerCert::sign(
            PROVIDER,
            &home.key,
            Role::Relay,
            home.name.clone(),
            fqdn("rs.one.example"),
            *relay_noise.public(),
            vec![at(RELAY)],
            BEGIN + Duration::from_secs(86_400),
        );
        let relay_psk = Secret::new([0x78; 32]);
        let mut config = home.config();
        config.max_nodes = MAX_NODES;
        config.handshakes_per_second = 16;
        config.relays.insert(
            RelayId(1),
            RelayConfig {
                name: relay_cert.name.clone(),
                grant: GrantKey { key_id: 1, key: Secret::new([0x79; 32]) },
                psk: relay_psk.clone(),
                addresses: vec![at(RELAY)],
            },
        );
        let pinned = PinnedDomain { domain_key: *abroad.key.public(), cert: Some(abroad.cert()) };
        config.domains.insert(abroad.name.clone(), pinned);
        let servers = vec![
            Server::new(abroad.cert(), abroad.noise.clone(), Secret::new([0; 32]), secret_seed(input, 2)),
            Server::new(relay_cert, relay_noise, relay_psk, secret_seed(input, 3)),
        ];
        let party = |number: usize, place: &&str, honest: bool| {
            let mut node = home.node(number as u32, &format!("n{number}"));
            node.attach(1, &[place]);
            Party {
                node,
                honest,
                address: at(place),
                inbox: VecDeque::new(),
                registered: Instant::ZERO,
                tried: Instant::ZERO,
            }
        };
        let honest = HONEST.iter().enumerate().map(|(number, place)| party(number, place, true)).collect();
        let rogues = ROGUES.iter().enumerate().map(|(number, place)| party(10 + number, place, false)).collect();
        let mut world = Self {
            now: Instant::ZERO,
            dc: Coordinator::new(Instant::ZERO, config, secret_seed(input, 1)),
            home,
            abroad,
            honest,
            rogues,
            servers,
            captured: VecDeque::new(),
            sought: VecDeque::new(),
            deaf: false,
            received: Default::default(),
            sent: Default::default(),
            lived: Instant::ZERO,
            rng: Rng::from_seed(secret_seed(input, 4)),
            path_ids: Rng::from_seed(secret_seed(input, 5)),
        };
        for number in 0..HONEST.len() {
            world.register(number);
        }
        world
    }

    /// A datagram reaches the coordinator, and everything follows that follows at once.
    fn send(&mut self, local: SocketAddr, from: SocketAddr, mut datagram: Vec<u8>) {
        if let Some(victim) = VICTIMS.iter().position(|victim| at(victim) == from) {
            self.received[victim] += datagram.len();
        }
        self.dc.handle_datagram(self.now, local, from, &mut datagram);
        self.settle();
    }

    fn settle(&mut self) {
        for _ in 0..MAX_DELIVERIES {
            while let Some(event) = self.dc.poll_event() {
                if let Event::FindDomain(name) = event {
                    self.sought.push_back(name);
                }
            }
            let Some(transmit) = self.dc.poll_transmit() else {
                self.sought.drain(..self.sought.len().saturating_sub(8));
                return;
            };
            if let Some(victim) = VICTIMS.iter().position(|victim| at(victim) == transmit.to) {
                self.sent[victim] += transmit.datagram.len();
            }
            let (local, to, mut datagram) = (transmit.from, transmit.to, transmit.datagram);
            self.capture(to, local, &datagram);
            let answer = if let Some(server) = self.servers.iter_mut().find(|server| server.address == to) {
                server.handle(self.now, &mut datagram).filter(|_| !self.deaf)
            } else {
                let parties = self.honest.iter_mut().chain(&mut self.rogues);
                parties
                    .into_iter()
                    .find(|party| party.address == to)
                    .and_then(|party| party.handle(self.now, local, &mut datagram))
            };
            if let Some(mut answer) = answer {
                self.capture(local, to, &answer);
                self.dc.handle_datagram(self.now, local, to, &mut answer);
            }
        }
        panic!("the datagrams never end");
    }

    fn capture(&mut self, to: SocketAddr, from: SocketAddr, datagram: &[u8]) {
        if self.captured.len() >= MAX_CAPTURED {
            self.captured.pop_front();
        }
        self.captured.push_back((to, from, datagram.to_vec()));
    }

    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        let mut wakes = (self.now, 0);
        while let Some((when, timer)) = self.dc.poll_timeout().filter(|(when, _)| *when <= end) {
            self.now = self.now.max(when);
            wakes = if wakes.0 == self.now { (self.now, wakes.1 + 1) } else { (self.now, 0) };
            assert!(wakes.1 < MAX_WAKES, "{timer:?} asks for the same instant for ever");
            self.dc.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// Lets time pass; the honest nodes do what nodes do.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let next = self.lived + KEEP_ALIVE;
            self.advance(next.min(end).since(self.now));
            if self.now >= next {
                self.live();
            }
        }
    }

    fn live(&mut self) {
        self.lived = self.now;
        for number in 0..HONEST.len() {
            if self.now.since(self.honest[number].registered) >= REKEY {
                self.register(number);
            } else {
                self.keep_alive(number);
            }
        }
    }

    fn honest_send(&mut self, number: usize, datagram: Vec<u8>) -> Vec<Received> {
        let from = self.honest[number].address;
        self.capture(at(DC), from, &datagram);
        self.honest[number].inbox.clear();
        self.send(at(DC), from, datagram);
        self.honest[number].inbox.drain(..).collect()
    }

    /// Whether an honest node, which does not hurry, may register again already.
    fn may_register(&mut self, number: usize) -> bool {
        let tried = self.honest[number].tried;
        let may = self.now.since(tried) >= Duration::from_secs(1);
        if may {
            self.honest[number].tried = self.now;
        }
        may
    }

    fn register(&mut self, number: usize) {
        let datagram = self.honest[number].node.register(1);
        let received = self.honest_send(number, datagram);
        let registered = received.iter().any(|received| matches!(received, Received::Registered(_)));
        assert!(registered, "an honest node was not registered: {received:?}");
        self.keep_alive(number);
    }

    fn keep_alive(&mut self, number: usize) {
        let datagram = self.honest[number].node.keep_alive(1);
        let received = self.honest_send(number, datagram);
        let heard = received
            .iter()
            .any(|received| matches!(received, Received::Message(Envelope { message: Message::KeepAliveAck(_), .. })));
        assert!(heard, "an honest node lost its registration: {received:?}");
    }

    /// The honest nodes can still be told the way to each other.
    fn check(&mut self) {
        self.live();
        let path_id = PathId(self.path_ids.array());
        let asked =
            Message::DirectionRequest(DirectionRequest { path_id, target: Target::Node(self.honest[1].node.id()) });
        let asked = self.honest[0].node.seal(asked);
        self.honest[1].inbox.clear();
        let one = self.honest_send(0, asked);
        let two: Vec<Received> = self.honest[1].inbox.drain(..).collect();
        let told = |inbox: &[Received], number: usize| {
            inbox.iter().any(|received| match received {
                Received::Message(Envelope { message: Message::RouteDirection(direction), .. }) => {
                    let RouteDirection { path_id: id, peer, pairs, .. } = &**direction;
                    *id == path_id
                        && peer.record.node_id() == self.honest[number].node.id()
                        && pairs.iter().any(|pair| pair.remote == self.honest[number].address)
                }
                _ => false,
            })
        };
        assert!(told(&one, 1), "an honest node is not told the way: {one:?}");
        assert!(told(&two, 0), "an honest node is not told who comes: {two:?}");
    }

    /// What holds after every step.
    fn bounds(&self) {
        let gauges = self.dc.gauges();
        assert!(gauges.nodes <= MAX_NODES, "{gauges:?}");
        assert!(gauges.online <= gauges.nodes, "{gauges:?}");
        assert!(gauges.half_open <= MAX_NODES, "{gauges:?}");
        // Two a node, and for each of two servers three key pairs and the handshakes of both sides.
        assert!(gauges.sessions <= 2 * MAX_NODES + gauges.half_open + 2 * 8, "{gauges:?}");
        assert!(gauges.peers <= 2, "{gauges:?}");
        assert!(gauges.reassemblers <= gauges.sessions, "{gauges:?}");
        assert!(gauges.transmits == 0 && gauges.events == 0, "{gauges:?}");
        for (sent, received) in self.sent.iter().zip(&self.received) {
            assert!(*sent <= 3 * received, "{sent} bytes for {received}");
        }
    }
}

impl Party {
    /// Takes a datagram; the answer is what a node gives without being told to.
    fn handle(&mut self, now: Instant, dc: SocketAddr, datagram: &mut [u8]) -> Option<Vec<u8>> {
        let received = self.node.receive(now, dc, datagram);
        let answer = match &received {
            Received::Message(Envelope { transaction, message: Message::RouteDirection(_) }) => {
                let ack = Envelope { transaction: *transaction, message: Message::RouteDirectionAck };
                Some(self.node.seal_envelope(&ack))
            }
            Received::Challenged(response) => Some(self.node.seal_frame(&Frame::PathResponse(*response))),
            Received::Cookie(datagram) => Some(datagram.clone()),
            Received::Registered(_) if self.honest => {
                self.registered = now;
                Some(self.node.keep_alive(1))
            }
            _ => None,
        };
        if self.inbox.len() >= 64 {
            self.inbox.pop_front();
        }
        self.inbox.push_back(received);
        answer
    }
}

/// The steps.
impl World {
    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        match input.byte()? % 16 {
            0 => {
                let (local, from) = (self.local(input), self.place(input));
                self.send(local, from, input.bytes().to_vec());
            }
            1 => {
                let time = match input.number() {
                    number @ 0..=199 => Duration::from_millis(50) * number.into(),
                    number @ 200..=239 => Duration::from_secs(1) * u32::from(number - 200),
                    number => Duration::from_secs(20) * u32::from(number - 239),
                };
                self.pass(time);
            }
            // Something seen on the way, again, damaged, from elsewhere.
            2 | 3 => {
                let which = input.below(self.captured.len());
                let (to, from, mut datagram) = self.captured[which].clone();
                input.damage(&mut datagram);
                let place = self.place(input);
                let from = if input.flag() { from } else { place };
                let local = if to == at(DC) || to == at(DC_ELSEWHERE) { to } else { self.local(input) };
                self.send(local, from, datagram);
            }
            4 => self.rogue_handshake(input),
            5 | 6 => self.rogue_data(input),
            7 => self.rogue_request(input),
            8 => self.rogue_server(input),
            9 => self.driver(input),
            // Somebody on the way makes the honest node's datagram come from elsewhere.
            10 => {
                let number = input.below(HONEST.len());
                let may_register = self.may_register(number);
                let datagram = match input.number() % 3 {
                    1 if may_register => self.honest[number].node.register_again(1),
                    2 if may_register => self.honest[number].node.register(1),
                    _ => self.honest[number].node.keep_alive(1),
                };
                let (local, from) = (self.local(input), self.place(input));
                self.capture(local, from, &datagram);
                self.send(local, from, datagram);
            }
            11 => {
                let number = input.below(HONEST.len());
                if input.flag() || !self.may_register(number) {
                    self.keep_alive(number);
                } else {
                    self.register(number);
                }
            }
            12 => self.forged_cookie(input),
            13 => self.deaf = input.flag(),
            _ => self.rogue_ordinary(input),
        }
        Some(())
    }

    /// A registration that is good but for what it says.
    fn rogue_handshake(&mut self, input: &mut Input<'_>) {
        let which = input.below(ROGUES.len());
        let place = self.place(input);
        let local = self.local(input);
        let form = input.number();
        let addresses: Vec<String> = (0..input.below(5)).map(|_| self.place(input).to_string()).collect();
        let node = &mut self.rogues[which].node;
        let datagram = match form % 6 {
            0 | 1 => node.register(1),
            2 => {
                let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
                node.attach(input.number() % 4, &addresses);
                node.register(input.number() % 4)
            }
            3 => {
                node.sequence = u64::from(input.number()) << input.below(57);
                node.register(1)
            }
            4 => {
                let mut ticket = node.ticket.clone();
                input.damage(&mut ticket);
                let request = node.request(1, Some(ticket));
                node.handshake_with(Message::RegistrationRequest(request))
            }
            _ => match Envelope::parse(&nonsense::message(input)) {
                Ok(envelope) => node.handshake_with(envelope.message),
                Err(_) => return,
            },
        };
        self.capture(local, place, &datagram);
        self.send(local, place, datagram);
    }

    /// Anything, under good keys.
    fn rogue_data(&mut self, input: &mut Input<'_>) {
        let which = input.below(ROGUES.len());
        let (local, place) = (self.local(input), self.place(input));
        let plaintext = nonsense::plaintext(input, place);
        let Some(keys) = &self.rogues[which].node.session else { return };
        if let Ok(datagram) = keys.sealing.seal(&plaintext) {
            self.send(local, place, datagram);
        }
    }

    fn target(&self, input: &mut Input<'_>) -> Target {
        match input.number() % 8 {
            0 => Target::Node(self.honest[0].node.id()),
            1 => Target::Node(self.rogues[input.below(ROGUES.len())].node.id()),
            2 => Target::Name(fqdn("n1.one.example")),
            3 => Target::Name(fqdn("x.two.example")),
            4 => Target::Name(fqdn("x.three.example")),
            5 => Target::Name(fqdn("nobody.one.example")),
            6 => Target::Virtual4([198, 18, 0, input.number()].into()),
            _ => Target::Node(NodeId([input.number(); 32])),
        }
    }

    /// What a node may ask for, too often, of the wrong people, from the wrong place.
    fn rogue_request(&mut self, input: &mut Input<'_>) {
        let which = input.below(ROGUES.len());
        let (local, place) = (self.local(input), self.place(input));
        let target = self.target(input);
        let transaction = TransactionId(input.number().into());
        if self.rogues[which].node.session.is_none() {
            return;
        }
        let node = &mut self.rogues[which].node;
        let from = InterfaceId(input.number() % 4);
        let message = match input.number() % 8 {
            0..=3 => Message::DirectionRequest(DirectionRequest { path_id: PathId([input.number() % 8; 16]), target }),
            4 => Message::KeepAlive(KeepAlive { from, generation: input.number().into(), relay_rtts: Vec::new() }),
            5 => Message::RegistrationRequest(node.request(from.0, None)),
            6 => Message::RouteDirectionAck,
            _ => {
                node.sequence = node.sequence.saturating_add(1);
                Message::Deregistration(ntm_proto::wire::message::Deregistration { sequence: node.sequence })
            }
        };
        let datagram = node.seal_envelope(&Envelope { transaction, message });
        self.capture(local, place, &datagram);
        self.send(local, place, datagram);
    }

    /// The things an honest node does, done by a rogue, in any order.
    fn rogue_ordinary(&mut self, input: &mut Input<'_>) {
        let which = input.below(ROGUES.len());
        let place = self.place(input);
        let place = if input.flag() { place } else { self.rogues[which].address };
        let renumbered = self.place(input).to_string();
        let node = &mut self.rogues[which].node;
        let datagram = match input.number() % 5 {
            0 => node.register(1),
            1 if node.session.is_some() => node.keep_alive(1),
            2 if node.session.is_some() => {
                node.renumber(1, &[&renumbered]);
                node.register_again(1)
            }
            3 if node.session.is_some() => node.leave(),
            _ => return,
        };
        let local = self.local(input);
        self.capture(local, place, &datagram);
        self.send(local, place, datagram);
    }

    /// What a coordinator of another domain, or a relay, may say.
    fn rogue_server(&mut self, input: &mut Input<'_>) {
        let which = input.below(self.servers.len());
        let (local, place) = (self.local(input), self.place(input));
        let place = if input.flag() { place } else { self.servers[which].address };
        let now = self.now;
        let form = input.number() % 8;
        let described = self.rogues[input.below(ROGUES.len())].node.record.clone();
        let server = &mut self.servers[which];
        let datagram = match form {
            0 | 1 => {
                let hello = server.hello();
                Some(server.call(now, &self.home, &hello))
            }
            2 => {
                let mut payload = server.hello();
                input.damage(&mut payload);
                Some(server.call(now, &self.home, &payload))
            }
            3 => {
                let mut keep_alive = Vec::new();
                Frame::KeepAlive.emit(&mut keep_alive);
                server.session.seal(now, &keep_alive).ok()
            }
            4 => {
                let report = RelayReport {
                    relay: RelayId(input.number().into()),
                    addresses: vec![place],
                    load: u16::from(input.number()) * 257,
                    draining: input.flag(),
                    shards: NonZeroU16::new(input.number().into()).unwrap_or(NonZeroU16::MIN),
                };
                let transaction = TransactionId(input.number().into());
                let envelope = Envelope { transaction, message: Message::RelayReport(report) };
                server.session.seal(now, &nonsense::signal(&envelope)).ok()
            }
            5 => {
                let initiator = NodeDescription {
                    record: described,
                    virtual4: [198, 18, 0, input.number()].into(),
                    virtual6: [0xfd; 16].into(),
                    interfaces: Vec::new(),
                    relay_rtts: Vec::new(),
                };
                let request = NodeInformationRequest {
                    path_id: PathId([input.number() % 8; 16]),
                    target: Target::Name(fqdn("n0.one.example")),
                    initiator,
                    psk: Secret::new([input.number(); 32]),
                    grants: Vec::new(),
                };
                let transaction = TransactionId(input.number().into());
                let envelope = Envelope { transaction, message: Message::NodeInformationRequest(Box::new(request)) };
                server.session.seal(now, &nonsense::signal(&envelope)).ok()
            }
            _ => {
                let plaintext = nonsense::plaintext(input, place);
                server.session.seal(now, &plaintext).ok()
            }
        };
        if let Some(datagram) = datagram {
            self.capture(local, place, &datagram);
            self.send(local, place, datagram);
        }
    }

    /// The driver's own calls, at any time.
    fn driver(&mut self, input: &mut Input<'_>) {
        match input.number() % 4 {
            0 | 1 => {
                let names = ["two.example", "x.two.example", "one.example", "example"];
                let unasked = fqdn(names[input.below(names.len())]);
                let name = self.sought.pop_front().unwrap_or(unasked);
                let found = if input.flag() {
                    Err(LookupFailed)
                } else {
                    Ok(ForeignDc { cert: self.abroad.cert(), domain_key: *self.abroad.key.public() })
                };
                self.dc.handle_domain_found(self.now, &name, found);
            }
            2 => {
                let id = self.rogues[input.below(ROGUES.len())].node.id();
                self.dc.handle_revocation(self.now, id);
            }
            _ => self.dc.handle_timeout(self.now),
        }
        self.settle();
    }

    /// Somebody who saw a handshake of the coordinator's, or of anybody's, answers it with a cookie: that
    /// takes no secret but the reader's public key.
    fn forged_cookie(&mut self, input: &mut Input<'_>) {
        let which = input.below(self.captured.len());
        let (to, from, datagram) = &self.captured[which];
        let (to, from) = (*to, *from);
        if !matches!(Outer::parse(datagram), Ok(Outer::HandshakeInit(_))) {
            return;
        }
        let reader = match self.servers.iter().find(|server| server.address == to) {
            Some(server) => *server.noise.public(),
            None => *self.home.noise.public(),
        };
        let mut jar = CookieJar::new(&reader, self.now, &mut self.rng);
        if let Verdict::Reply(reply) = jar.check(self.now, &mut self.rng, datagram, from, true) {
            let place = self.place(input);
            self.send(at(DC), place, reply);
        }
    }

    fn local(&self, input: &mut Input<'_>) -> SocketAddr {
        at(if input.number() % 4 == 3 { DC_ELSEWHERE } else { DC })
    }

    fn place(&self, input: &mut Input<'_>) -> SocketAddr {
        let number = input.number();
        match number % 12 {
            0..=3 => at(ROGUES[usize::from(number % 4)]),
            4 => at(HONEST[0]),
            5 => at(HONEST[1]),
            6 => at(FOREIGN),
            7 => at(RELAY),
            other => at(VICTIMS[usize::from(other) % VICTIMS.len()]),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut world = World::new(data);
    let mut input = Input(data);
    for _ in 0..MAX_STEPS {
        if world.now.since(Instant::ZERO) > MAX_TIME || world.step(&mut input).is_none() {
            break;
        }
        world.bounds();
    }
    // Nobody needs to wait for longer than a burst of requests takes to be forgiven.
    world.pass(KEEP_ALIVE);
    world.check();
    world.bounds();
});
