//! Two honest nodes, each a whole engine, in a network without delay, among strangers and a rogue: whatever
//! these send, from wherever and whenever, the honest nodes hear each other and nothing that the other did
//! not say; an address that never answered is sent at most three times what came from there; no timer
//! asks for ever, no exchange goes on for ever.
//!
//! The first byte of the input chooses the world: one with an honest coordinator and relay, in which the
//! rogue is a registered node; or one in which the coordinator is the rogue's too, and all that is asked of
//! the nodes is that they bear it. The rest is a list of steps: one byte that chooses, then what it takes.
#![no_main]

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use ntm_direction::testing::{BEGIN, Domain, Node as Rogue, Received as Heard};
use ntm_direction::{Coordinator, RelayConfig};
use ntm_fuzz::input::secret_seed;
use ntm_fuzz::provider::PROVIDER;
use ntm_fuzz::{Input, nonsense};
use ntm_node::{Config, Director, Event, FlowKey, LocalInterface, Node};
use ntm_proto::crypto::Secret;
use ntm_proto::id::{DeviceName, InterfaceId, NodeId, PathId, RelayId, SessionIndex, TransactionId};
use ntm_proto::identity::{NodeRecord, NoiseKey};
use ntm_proto::rng::Rng;
use ntm_proto::session::cookie::CookieJar;
use ntm_proto::session::{
    DATA_WINDOW_WORDS, Incoming, Psk, RelayToken, SIGNAL_WINDOW_WORDS, Session, Verdict, bind_mac,
};
use ntm_proto::time::{Instant, WallClock};
use ntm_proto::wire::frame::{Frame, PathResponse};
use ntm_proto::wire::message::{
    CandidatePair, Envelope, ErrorCode, ErrorMessage, Interface, KeepAliveAck, Message, NatMapping, NodeDescription,
    RegistrationResponse, RelayGrant, RelayInfo, RouteDirection, Side, Target, TunnelRequest, TunnelResponse,
};
use ntm_proto::wire::outer::{self, Outer};
use ntm_relay::Relay;
use ntm_relay::testing::{RELAY4, RELAY6, grant_key};

const DC: &str = "192.0.2.1:4500";
/// The addresses of each honest node's two interfaces.
const HONEST: [[&str; 2]; 2] =
    [["192.0.2.11:4500", "[2001:db8:1::2]:4500"], ["192.0.2.21:4500", "[2001:db8:2::2]:4500"]];
const ROGUE: &str = "203.0.113.66:666";
/// Nobody is there, but the rogue says so: whom a direction names may be tried at some cost.
const NAMED: [&str; 2] = ["203.0.113.77:53", "[2001:db8::77]:53"];
/// Addresses that exist only as somebody's forgery: nobody there ever answers.
const VICTIMS: [&str; 3] = ["203.0.113.101:53", "203.0.113.102:53", "[2001:db8::53]:53"];

const MAX_STEPS: usize = 150;
/// Datagrams that others have seen.
const MAX_CAPTURED: usize = 32;
/// Datagrams that one step may cause.
const MAX_DELIVERIES: usize = 20_000;
/// Times a timer may ask for the same instant, and times it may ask within a second.
const MAX_WAKES: usize = 16;
const MAX_WAKES_PER_SECOND: u64 = 400;
const MAX_TIME: Duration = Duration::from_secs(1_800);
/// How long the honest nodes may need to find each other after what the steps did to their network.
const RECOVERY: Duration = Duration::from_secs(300);

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

thread_local! {
    static FIXED: OnceCell<(Domain, ntm_relay::Config)> = const { OnceCell::new() };
}

fn fixed() -> (Domain, ntm_relay::Config) {
    FIXED.with(|fixed| {
        let make = || {
            let mut domain = Domain::new("one.example", 1, DC);
            domain.noise = NoiseKey::from_secret(PROVIDER, domain.noise.secret().clone());
            domain.provider = PROVIDER;
            let relay = ntm_relay::Config {
                wall: WallClock::new(Instant::ZERO, BEGIN),
                provider: PROVIDER,
                ..ntm_relay::testing::config()
            };
            (domain, relay)
        };
        fixed.get_or_init(make).clone()
    })
}

/// An honest node, and what its application knows.
struct Party {
    engine: Node,
    id: NodeId,
    noise: [u8; 32],
    key: Psk,
    record: NodeRecord,
    up: [bool; 2],
    networks: u32,
    addresses: Option<(Ipv4Addr, Ipv6Addr)>,
    /// The number of the last packet that the other one's application sent and this one got.
    got: Option<u64>,
}

/// What the rogue shares with one honest node.
struct Tunnel {
    session: Session<DATA_WINDOW_WORDS>,
    psk: Psk,
    path_id: PathId,
    sequence: u64,
    grants: Vec<RelayGrant>,
    bind_sequence: u64,
    index: Option<ntm_proto::id::RelayIndex>,
}

/// Coordinator and relay of the first world; the rogue coordinator's sessions in the second.
enum Servers {
    Honest(Box<(Coordinator, Relay)>),
    Rogue(Vec<Session<SIGNAL_WINDOW_WORDS>>),
}

struct World {
    now: Instant,
    home: Domain,
    servers: Servers,
    nodes: Vec<Party>,
    rogue: Rogue,
    rogue_addresses: (Ipv4Addr, Ipv6Addr),
    tunnels: Vec<Tunnel>,
    /// Whether the rogue answers challenges.
    obliging: bool,
    network: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
    captured: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Datagrams that are lost from now on.
    lossy: usize,
    /// The network did something to the honest nodes that they need time for.
    disturbed: bool,
    packets: u64,
    /// What the last direction request to a rogue coordinator was about.
    asked: PathId,
    received: [usize; VICTIMS.len()],
    sent: [usize; VICTIMS.len()],
    rng: Rng,
}

impl World {
    fn new(input: &[u8], honest_servers: bool) -> Self {
        let (home, relay) = fixed();
        let servers = if honest_servers {
            let mut config = home.config();
            config.relays.insert(
                relay.id,
                RelayConfig {
                    name: relay.cert.name.clone(),
                    grant: grant_key(),
                    psk: Secret::new([0x78; 32]),
                    addresses: relay.addresses.clone(),
                },
            );
            let dc = Coordinator::new(Instant::ZERO, config, secret_seed(input, 1));
            Servers::Honest(Box::new((dc, Relay::new(Instant::ZERO, relay, secret_seed(input, 2)))))
        } else {
            Servers::Rogue((0..HONEST.len()).map(|_| Session::new(PROVIDER)).collect())
        };
        let nodes = (0..HONEST.len() as u8).map(|number| Party::new(&home, number, secret_seed(input, 10 + number)));
        let nodes: Vec<Party> = nodes.collect();
        let mut rogue = home.node(66, "rogue");
        rogue.attach(1, &[ROGUE]);
        let tunnels = (0..HONEST.len()).map(|_| Tunnel::new()).collect();
        Self {
            now: Instant::ZERO,
            home,
            servers,
            nodes,
            rogue,
            rogue_addresses: ([198, 18, 66, 66].into(), [0xfd, 0x66, 0, 0, 0, 0, 0, 0x66].into()),
            tunnels,
            obliging: true,
            network: VecDeque::new(),
            captured: VecDeque::new(),
            lossy: 0,
            disturbed: false,
            packets: 0,
            asked: PathId([0; 16]),
            received: Default::default(),
            sent: Default::default(),
            rng: Rng::from_seed(secret_seed(input, 3)),
        }
    }

    /// Both nodes registered, and a tunnel between them that has settled.
    fn start(&mut self) {
        for number in 0..HONEST.len() {
            self.plug(number, 0, true);
        }
        if matches!(self.servers, Servers::Honest(_)) {
            let datagram = self.rogue.register(1);
            self.say(at(ROGUE), at(DC), datagram);
            let datagram = self.rogue.keep_alive(1);
            self.say(at(ROGUE), at(DC), datagram);
            self.connect(0, Target::Node(self.nodes[1].id));
            self.advance(Duration::from_secs(1));
            self.exchange();
        }
        self.disturbed = false;
    }
}

impl Party {
    fn new(home: &Domain, number: u8, seed: [u8; 32]) -> Self {
        let login = home.node(number.into(), &format!("n{number}"));
        let config = Config {
            provider: PROVIDER,
            record: login.record.clone(),
            noise: login.noise.clone(),
            ticket: login.ticket.clone(),
            ticket_key: login.key.clone(),
            directors: vec![Director { noise_key: *home.noise.public(), addresses: vec![home.address] }],
            wall: WallClock::new(Instant::ZERO, BEGIN),
            wake_token: None,
        };
        Self {
            engine: Node::new(Instant::ZERO, config, seed),
            id: login.id(),
            noise: *login.noise.public(),
            key: login.key.clone(),
            record: login.record,
            up: [false; 2],
            networks: 0,
            addresses: None,
            got: None,
        }
    }
}

impl Tunnel {
    fn new() -> Self {
        Self {
            session: Session::new(PROVIDER),
            psk: Secret::new([7; 32]),
            path_id: PathId([0; 16]),
            sequence: BEGIN.as_millis(),
            grants: Vec::new(),
            bind_sequence: 0,
            index: None,
        }
    }
}

/// The network.
impl World {
    fn say(&mut self, from: SocketAddr, to: SocketAddr, datagram: Vec<u8>) {
        self.network.push_back((from, to, datagram));
        self.settle();
    }

    /// Carries datagrams until there are none.
    fn settle(&mut self) {
        for _ in 0..MAX_DELIVERIES {
            self.collect();
            let Some((from, to, datagram)) = self.network.pop_front() else { return };
            if self.captured.len() >= MAX_CAPTURED {
                self.captured.pop_front();
            }
            self.captured.push_back((from, to, datagram.clone()));
            if self.lossy > 0 {
                self.lossy -= 1;
                self.disturbed = true;
                continue;
            }
            self.deliver(from, to, datagram);
        }
        panic!("the datagrams never end");
    }

    fn collect(&mut self) {
        for node in &mut self.nodes {
            while let Some(event) = node.engine.poll_event() {
                if let Event::Registered { virtual4, virtual6 } = event {
                    node.addresses = Some((virtual4, virtual6));
                }
            }
            while let Some(transmit) = node.engine.poll_transmit() {
                self.network.push_back((transmit.from, transmit.to, transmit.datagram));
            }
        }
        if let Servers::Honest(servers) = &mut self.servers {
            let (dc, relay) = &mut **servers;
            while dc.poll_event().is_some() {}
            while let Some(transmit) = dc.poll_transmit() {
                self.network.push_back((transmit.from, transmit.to, transmit.datagram));
            }
            while let Some(transmit) = relay.poll_transmit() {
                self.network.push_back((transmit.from, transmit.to, transmit.datagram));
            }
        }
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, mut datagram: Vec<u8>) {
        for (number, victim) in VICTIMS.iter().enumerate() {
            if to == at(victim) {
                self.sent[number] += datagram.len();
            } else if from == at(victim) {
                self.received[number] += datagram.len();
            }
        }
        if to == at(DC) {
            self.deliver_to_director(from, datagram);
        } else if to == at(RELAY4) || to == at(RELAY6) {
            let Servers::Honest(servers) = &mut self.servers else { return };
            let forward = servers.1.handle_datagram(self.now, to, from, &mut datagram);
            if let Some(forward) = forward {
                self.network.push_back((forward.from, forward.to, forward.datagram.to_vec()));
            }
        } else if to == at(ROGUE) {
            self.deliver_to_rogue(from, datagram);
        } else if let Some(number) = self.owner(to) {
            self.deliver_to_node(number, from, to, datagram);
        }
    }

    /// Whose interface, up now, has this address.
    fn owner(&self, address: SocketAddr) -> Option<usize> {
        (0..HONEST.len()).find(|&number| {
            (0..2).any(|interface| self.nodes[number].up[interface] && at(HONEST[number][interface]) == address)
        })
    }

    fn deliver_to_node(&mut self, number: usize, from: SocketAddr, to: SocketAddr, mut datagram: Vec<u8>) {
        let other = &self.nodes[1 - number];
        let (other_id, sent) = (other.id, self.packets);
        let node = &mut self.nodes[number];
        let Some(received) = node.engine.handle_datagram(self.now, to, from, &mut datagram) else { return };
        let flow = FlowKey::of(&received.packet).expect("the engine gives whole packets");
        let (mine4, mine6) = node.addresses.expect("nobody sends packets to a node without addresses");
        assert!(flow.destination == mine4 || flow.destination == mine6, "a packet for somebody else");
        if received.peer == other_id {
            let packet: Cow<'_, [u8]> = received.packet;
            let tag = packet.get(20..28).and_then(|tag| tag.try_into().ok()).map(u64::from_be_bytes);
            let tag = tag.expect("the honest application writes a number");
            assert!(tag <= sent && packet[28..].iter().all(|&byte| byte == tag as u8), "nobody sent that");
            node.got = Some(tag);
        }
    }

    fn deliver_to_director(&mut self, from: SocketAddr, mut datagram: Vec<u8>) {
        match &mut self.servers {
            Servers::Honest(servers) => servers.0.handle_datagram(self.now, at(DC), from, &mut datagram),
            Servers::Rogue(_) => {
                if let Some(answer) = self.rogue_director_answer(from, &mut datagram) {
                    self.network.push_back((at(DC), from, answer));
                }
            }
        }
    }

    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        let began = self.now;
        let (mut same, mut wakes) = (0, 0);
        loop {
            let nodes = self.nodes.iter().filter_map(|node| node.engine.poll_timeout()).map(|(when, _)| when);
            let servers = match &self.servers {
                Servers::Honest(servers) => {
                    [servers.0.poll_timeout().map(|(when, _)| when), servers.1.poll_timeout().map(|(when, _)| when)]
                }
                Servers::Rogue(_) => [None, None],
            };
            let next = nodes.chain(servers.into_iter().flatten()).min();
            let Some(when) = next.filter(|when| *when <= end) else { break };
            same = if when <= self.now { same + 1 } else { 0 };
            wakes += 1;
            self.now = self.now.max(when);
            assert!(same < MAX_WAKES, "{:?} asks for the same instant for ever", self.timers());
            let limit = (self.now.since(began).as_secs() + 1) * MAX_WAKES_PER_SECOND;
            assert!(wakes < limit, "{:?}: {wakes} wakes", self.timers());
            for node in &mut self.nodes {
                if node.engine.poll_timeout().is_some_and(|(when, _)| when <= self.now) {
                    node.engine.handle_timeout(self.now);
                }
            }
            if let Servers::Honest(servers) = &mut self.servers {
                servers.0.handle_timeout(self.now);
                servers.1.handle_timeout(self.now);
            }
            self.settle();
        }
        self.now = end;
    }

    fn timers(&self) -> Vec<impl core::fmt::Debug> {
        self.nodes.iter().map(|node| node.engine.poll_timeout()).collect()
    }
}

/// The honest nodes.
impl World {
    fn plug(&mut self, number: usize, interface: usize, up: bool) {
        let node = &mut self.nodes[number];
        node.up[interface] = up;
        node.networks += 1;
        let addresses = if up { vec![at(HONEST[number][interface])] } else { Vec::new() };
        let change = LocalInterface {
            id: InterfaceId(interface as u8 + 1),
            name: DeviceName::parse(&format!("if{interface}")).expect("a name"),
            addresses,
            cost: 10,
            network: node.networks,
        };
        node.engine.handle_interface(self.now, change);
        self.disturbed = true;
        self.settle();
    }

    fn connect(&mut self, number: usize, target: Target) {
        // A refusal is one of the things that may happen.
        let _ = self.nodes[number].engine.connect(self.now, target);
        self.settle();
    }

    /// Sends a packet to the other node; says whether it came.
    fn packet(&mut self, number: usize, length: usize) -> bool {
        self.packets += 1;
        let tag = self.packets;
        let (Some((mine, _)), Some((theirs, _))) = (self.nodes[number].addresses, self.nodes[1 - number].addresses)
        else {
            return false;
        };
        let packet = virtual_packet(mine, theirs, tag, length);
        let taken = self.nodes[number].engine.send(self.now, &packet);
        self.settle();
        taken.is_ok() && self.nodes[1 - number].got == Some(tag)
    }

    /// A packet each way, now.
    fn exchange(&mut self) {
        for number in 0..HONEST.len() {
            assert!(self.packet(number, 300), "the honest nodes do not hear each other");
        }
    }

    /// The network is as it was in the beginning: in time, the honest nodes find each other.
    fn recover(&mut self) {
        self.lossy = 0;
        for number in 0..HONEST.len() {
            for interface in 0..2 {
                if self.nodes[number].up[interface] != (interface == 0) {
                    self.plug(number, interface, interface == 0);
                }
            }
        }
        let began = self.now;
        while self.now.since(began) < RECOVERY {
            if self.packet(0, 300) & self.packet(1, 300) {
                return;
            }
            for number in 0..HONEST.len() {
                self.connect(number, Target::Node(self.nodes[1 - number].id));
            }
            self.advance(Duration::from_secs(5));
        }
        panic!("the honest nodes never hear each other again");
    }

    fn check(&mut self) {
        for (sent, received) in self.sent.iter().zip(&self.received) {
            assert!(*sent <= 3 * received, "{sent} bytes for {received}");
        }
    }
}

fn virtual_packet(from: Ipv4Addr, to: Ipv4Addr, tag: u64, length: usize) -> Vec<u8> {
    let mut packet = vec![tag as u8; length.max(28)];
    packet[..20].fill(0);
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(length.max(28) as u16).to_be_bytes());
    packet[9] = 253;
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    packet[20..28].copy_from_slice(&tag.to_be_bytes());
    packet
}

/// The rogue.
impl World {
    fn deliver_to_rogue(&mut self, from: SocketAddr, mut datagram: Vec<u8>) {
        if from == at(DC) {
            let heard = self.rogue.receive(self.now, from, &mut datagram);
            let answer = match heard {
                Heard::Message(Envelope { transaction, message: Message::RouteDirection(direction) }) => {
                    self.take_direction(*direction);
                    let ack = Envelope { transaction, message: Message::RouteDirectionAck };
                    Some(self.rogue.seal_envelope(&ack))
                }
                Heard::Challenged(response) => Some(self.rogue.seal_frame(&Frame::PathResponse(response))),
                Heard::Registered(response) => {
                    self.rogue_addresses = (response.virtual4, response.virtual6);
                    None
                }
                Heard::Cookie(datagram) => Some(datagram),
                _ => None,
            };
            self.network.extend(answer.map(|answer| (at(ROGUE), from, answer)));
            return;
        }
        let relayed = outer::peek(&datagram) == Ok(outer::OuterType::Relayed);
        let inner = if relayed { &mut datagram[outer::RELAYED_HEADER..] } else { &mut datagram[..] };
        let answer = match Outer::parse(inner) {
            Ok(Outer::HandshakeInit(init)) => {
                let Ok(incoming) = Incoming::read(PROVIDER, &mut self.rng, &self.rogue.noise, &init) else { return };
                let Some(number) = self.nodes.iter().position(|node| node.noise == *incoming.peer_key()) else {
                    return;
                };
                let tunnel = &mut self.tunnels[number];
                let response = Message::TunnelResponse(TunnelResponse { path_id: tunnel.path_id });
                let payload = Envelope { transaction: TransactionId(0), message: response }.emit();
                let local = SessionIndex(self.rng.u32());
                tunnel.session.accept(self.now, incoming, &tunnel.psk, local, &payload).ok()
            }
            Ok(Outer::HandshakeResponse(response)) => {
                let now = self.now;
                let _ = self.tunnels.iter_mut().find_map(|tunnel| tunnel.session.handle_response(now, &response).ok());
                None
            }
            Ok(Outer::RelayBound(bound)) => {
                for tunnel in &mut self.tunnels {
                    if tunnel.bind_sequence == bound.sequence {
                        tunnel.index = Some(bound.index);
                    }
                }
                None
            }
            Ok(Outer::Data(_)) => self.rogue_hears(from, inner),
            _ => None,
        };
        let Some(answer) = answer else { return };
        if !relayed {
            self.network.push_back((at(ROGUE), from, answer));
        } else if let Some(index) = self.tunnels.iter().find_map(|tunnel| tunnel.index) {
            self.network.push_back((at(ROGUE), from, outer::emit_relayed(index, &answer)));
        }
    }

    fn rogue_hears(&mut self, from: SocketAddr, datagram: &mut [u8]) -> Option<Vec<u8>> {
        let now = self.now;
        for tunnel in &mut self.tunnels {
            while tunnel.session.take_retired().is_some() {}
            let Ok(opened) = tunnel.session.open_in_place(now, datagram) else { continue };
            let Ok(Frame::PathChallenge(challenge)) = Frame::parse(&datagram[opened.plaintext]) else { return None };
            let response =
                PathResponse { nonce: challenge.nonce, interface: InterfaceId(1), generation: 1, observed: from };
            let mut frame = Vec::new();
            Frame::PathResponse(response).emit(&mut frame);
            return if self.obliging { tunnel.session.seal(now, &frame).ok() } else { None };
        }
        None
    }

    fn take_direction(&mut self, direction: RouteDirection) {
        let node = direction.peer.record.node_id();
        let Some(number) = self.nodes.iter().position(|honest| honest.id == node) else { return };
        let tunnel = &mut self.tunnels[number];
        (tunnel.path_id, tunnel.psk, tunnel.grants) = (direction.path_id, direction.psk, direction.grants);
    }

    /// What a coordinator answers that means to keep its nodes.
    fn rogue_director_answer(&mut self, from: SocketAddr, datagram: &mut [u8]) -> Option<Vec<u8>> {
        let now = self.now;
        let registration = |number: usize| RegistrationResponse {
            virtual4: [198, 18, 0, 1 + number as u8].into(),
            virtual6: [0xfd, 0, 0, 0, 0, 0, 0, 1 + number as u16].into(),
            lease: Duration::from_secs(90),
            keep_alive: Duration::from_secs(25),
            observed: from,
            relays: vec![RelayInfo { relay: RelayId(1), addresses: vec![at(RELAY4)] }],
            time: BEGIN,
        };
        let Servers::Rogue(sessions) = &mut self.servers else { return None };
        match Outer::parse(datagram).ok()? {
            Outer::HandshakeInit(init) => {
                let incoming = Incoming::read(PROVIDER, &mut self.rng, &self.home.noise, &init).ok()?;
                let number = self.nodes.iter().position(|node| node.noise == *incoming.peer_key())?;
                let message = Message::RegistrationResponse(registration(number));
                let payload = Envelope { transaction: TransactionId(0), message }.emit();
                let local = SessionIndex(self.rng.u32());
                while sessions[number].take_retired().is_some() {}
                sessions[number].accept(now, incoming, &self.nodes[number].key, local, &payload).ok()
            }
            Outer::Data(_) => {
                let (number, opened) = sessions
                    .iter_mut()
                    .enumerate()
                    .find_map(|(number, session)| Some((number, session.open_in_place(now, datagram).ok()?)))?;
                let Ok(Frame::Signal(bytes)) = Frame::parse(&datagram[opened.plaintext]) else { return None };
                let Envelope { transaction, message } = Envelope::parse(bytes).ok()?;
                let message = match message {
                    Message::KeepAlive(_) => Message::KeepAliveAck(KeepAliveAck { observed: from }),
                    Message::RegistrationRequest(_) => Message::RegistrationResponse(registration(number)),
                    Message::DirectionRequest(request) => {
                        self.asked = request.path_id;
                        return None;
                    }
                    _ => return None,
                };
                sessions[number].seal(now, &nonsense::signal(&Envelope { transaction, message })).ok()
            }
            _ => None,
        }
    }
}

/// The steps.
impl World {
    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        match input.byte()? % 20 {
            0 => {
                let (from, to) = (self.place(input), self.somebody(input));
                self.say(from, to, input.bytes().to_vec());
            }
            1 | 2 => {
                let time = match input.number() {
                    number @ 0..=199 => Duration::from_millis(20) * number.into(),
                    number @ 200..=239 => Duration::from_secs(1) * u32::from(number - 200),
                    number => Duration::from_secs(25) * u32::from(number - 239),
                };
                self.advance(time);
            }
            3..=5 => self.replay(input),
            6 => {
                let number = input.below(HONEST.len());
                let length = usize::from(input.number()) * 12;
                let came = self.packet(number, length);
                assert!(came || self.disturbed || !self.is_honest(), "a packet between honest nodes was lost");
            }
            7 => {
                let (number, interface) = (input.below(HONEST.len()), input.below(2));
                match input.number() % 4 {
                    0 => self.plug(number, interface, false),
                    1 => {
                        self.nodes[number].engine.handle_interface_ending(self.now, InterfaceId(interface as u8 + 1));
                        self.settle();
                    }
                    _ => self.plug(number, interface, true),
                }
            }
            8 => self.lossy = input.below(16),
            9 => self.forged_cookie(input),
            10 => {
                let number = input.below(HONEST.len());
                let target = match input.number() % 4 {
                    0 => Target::Node(self.rogue.id()),
                    1 => Target::Node(self.nodes[1 - number].id),
                    2 => Target::Node(self.nodes[number].id),
                    _ => Target::Node(NodeId([input.number(); 32])),
                };
                self.connect(number, target);
            }
            11 => self.rogue_asks(input),
            12 => self.rogue_calls(input),
            13..=15 => self.rogue_speaks(input),
            16 => self.rogue_binds(input),
            17 => {
                // The honest application answers the rogue's.
                let number = input.below(HONEST.len());
                let Some((mine, _)) = self.nodes[number].addresses else { return Some(()) };
                let packet = virtual_packet(mine, self.rogue_addresses.0, 0, usize::from(input.number()) * 12);
                let _ = self.nodes[number].engine.send(self.now, &packet);
                self.settle();
            }
            18 => self.obliging = input.flag(),
            _ => self.rogue_directs(input),
        }
        Some(())
    }

    fn is_honest(&self) -> bool {
        matches!(self.servers, Servers::Honest(_))
    }

    /// Something seen on the way: again, damaged, from or to elsewhere.
    fn replay(&mut self, input: &mut Input<'_>) {
        let which = input.below(self.captured.len());
        let Some((from, to, mut datagram)) = self.captured.get(which).cloned() else { return };
        input.damage(&mut datagram);
        let to = if input.one_in(4) { self.somebody(input) } else { to };
        // Of where a coordinator has seen a node it tells others, and what it tells may be tried.
        let from = if input.flag() || to == at(DC) { from } else { self.place(input) };
        self.say(from, to, datagram);
    }

    /// Somebody who saw a handshake answers it with a cookie: that takes no secret but the reader's public key.
    fn forged_cookie(&mut self, input: &mut Input<'_>) {
        let which = input.below(self.captured.len());
        let Some((from, to, datagram)) = self.captured.get(which).cloned() else { return };
        if !matches!(Outer::parse(&datagram), Ok(Outer::HandshakeInit(_))) {
            return;
        }
        let readers = [*self.home.noise.public(), self.nodes[0].noise, self.nodes[1].noise, *self.rogue.noise.public()];
        let reader = match self.owner(to) {
            _ if to == at(DC) => readers[0],
            Some(number) => readers[1 + number],
            None => readers[3],
        };
        let mut jar = CookieJar::new(&reader, self.now, &mut self.rng);
        if let Verdict::Reply(reply) = jar.check(self.now, &mut self.rng, &datagram, from, true) {
            let place = self.place(input);
            let place = if input.flag() { to } else { place };
            self.say(place, from, reply);
        }
    }

    /// The rogue has a direction made for it, or says where it is.
    fn rogue_asks(&mut self, input: &mut Input<'_>) {
        if self.rogue.session.is_none() {
            return;
        }
        let place = if input.one_in(4) { at(NAMED[0]) } else { at(ROGUE) };
        let target = Target::Node(self.nodes[input.below(HONEST.len())].id);
        let datagram = match input.number() % 6 {
            0..=2 => self.rogue.direction(input.number() % 4, target),
            3 => self.rogue.keep_alive(1),
            4 => self.rogue.register(1),
            _ => {
                let named: Vec<&str> = [ROGUE, NAMED[0], NAMED[1]][..1 + input.below(3)].to_vec();
                self.rogue.renumber(1, &named);
                self.rogue.register_again(1)
            }
        };
        self.say(place, at(DC), datagram);
    }

    /// The rogue begins a handshake with an honest node.
    fn rogue_calls(&mut self, input: &mut Input<'_>) {
        let number = input.below(HONEST.len());
        let (from, to) = (self.place(input), self.address_of(input, number));
        let from = if input.flag() { at(ROGUE) } else { from };
        let tunnel = &mut self.tunnels[number];
        tunnel.sequence += 1;
        let request = TunnelRequest {
            path_id: if input.one_in(4) { PathId([input.number() % 8; 16]) } else { tunnel.path_id },
            sequence: if input.one_in(4) { u64::from(input.number()) << input.below(57) } else { tunnel.sequence },
            interface: InterfaceId(input.number() % 4),
        };
        let mut payload = Envelope { transaction: TransactionId(0), message: Message::TunnelRequest(request) }.emit();
        if input.one_in(8) {
            input.damage(&mut payload);
        }
        let local = SessionIndex(self.rng.u32());
        let peer = &self.nodes[number].noise;
        let psk = tunnel.psk.clone();
        let noise = &self.rogue.noise;
        let datagram = tunnel.session.begin(self.now, &mut self.rng, noise, peer, &psk, local, &payload);
        self.rogue_sends(input, number, from, to, datagram);
    }

    /// Anything, under good keys.
    fn rogue_speaks(&mut self, input: &mut Input<'_>) {
        let number = input.below(HONEST.len());
        let (from, to) = (self.place(input), self.address_of(input, number));
        let from = if input.flag() { at(ROGUE) } else { from };
        let plaintext = if input.one_in(4) {
            let addresses = [self.nodes[0].addresses, self.nodes[1].addresses].map(|one| one.map(|one| one.0));
            let all = [Some(self.rogue_addresses.0), addresses[0], addresses[1], Some([127, 0, 0, 1].into())];
            let any = |input: &mut Input<'_>| all[input.below(4)].unwrap_or(Ipv4Addr::UNSPECIFIED);
            virtual_packet(any(input), any(input), 0, usize::from(input.number()) * 12)
        } else {
            nonsense::plaintext(input, from)
        };
        if let Ok(datagram) = self.tunnels[number].session.seal(self.now, &plaintext) {
            self.rogue_sends(input, number, from, to, datagram);
        }
    }

    fn rogue_sends(
        &mut self,
        input: &mut Input<'_>,
        number: usize,
        from: SocketAddr,
        to: SocketAddr,
        datagram: Vec<u8>,
    ) {
        match self.tunnels[number].index {
            Some(index) if input.one_in(4) => {
                self.say(at(ROGUE), at(RELAY4), outer::emit_relayed(index, &datagram));
            }
            _ => self.say(from, to, datagram),
        }
    }

    fn rogue_binds(&mut self, input: &mut Input<'_>) {
        let number = input.below(HONEST.len());
        let from = if input.one_in(4) { self.place(input) } else { at(ROGUE) };
        let tunnel = &mut self.tunnels[number];
        let Some(grant) = tunnel.grants.first() else { return };
        tunnel.bind_sequence += 1;
        let mac = |covered: &[u8]| bind_mac(&grant.bind_key, covered);
        let bind = outer::emit_relay_bind(grant.side, tunnel.bind_sequence, &grant.token, None, mac);
        self.say(from, at(RELAY4), bind);
    }

    /// A coordinator that says what it likes.
    fn rogue_directs(&mut self, input: &mut Input<'_>) {
        let number = input.below(HONEST.len());
        let message = match input.number() % 8 {
            0 => Message::Error(ErrorMessage::new(
                ErrorCode::ALL[input.below(ErrorCode::ALL.len())],
                "",
                input.flag().then_some(self.asked),
            )),
            1 => Message::RegistrationResponse(RegistrationResponse {
                virtual4: [198, 18, 0, input.number()].into(),
                virtual6: [0xfd, 0, 0, 0, 0, 0, 0, input.number().into()].into(),
                lease: Duration::from_millis(u64::from(input.number())),
                keep_alive: Duration::from_millis(u64::from(input.number())),
                observed: self.named(input),
                relays: (0..input.below(4))
                    .map(|_| RelayInfo { relay: RelayId(input.number().into()), addresses: vec![self.named(input)] })
                    .collect(),
                time: BEGIN,
            }),
            2 => {
                let plaintext = nonsense::plaintext(input, at(DC));
                self.director_says(number, &plaintext);
                return;
            }
            _ => Message::RouteDirection(Box::new(self.any_direction(input, number))),
        };
        let transaction = TransactionId(input.number().into());
        self.director_says(number, &nonsense::signal(&Envelope { transaction, message }));
    }

    fn director_says(&mut self, number: usize, plaintext: &[u8]) {
        let Servers::Rogue(sessions) = &self.servers else { return };
        let Ok(datagram) = sessions[number].seal(self.now, plaintext) else { return };
        self.say(at(DC), at(HONEST[number][0]), datagram);
    }

    fn any_direction(&mut self, input: &mut Input<'_>, number: usize) -> RouteDirection {
        let path_id = if input.flag() { self.asked } else { PathId([input.number() % 8; 16]) };
        let record = match input.number() % 8 {
            0 => self.nodes[number].record.clone(),
            1 => self.nodes[1 - number].record.clone(),
            2 => NodeRecord { revoked: true, ..self.rogue.record.clone() },
            _ => self.rogue.record.clone(),
        };
        let interfaces: Vec<Interface> = (0..input.below(4) as u8)
            .map(|id| Interface {
                id: InterfaceId(id),
                generation: input.number().into(),
                name: DeviceName::parse("eth0").expect("a name"),
                addresses: vec![self.named(input)],
                reflexive: Vec::new(),
                mapping: NatMapping::Unknown,
                cost: input.number(),
            })
            .collect();
        let pairs: Vec<CandidatePair> = (0..input.below(12))
            .map(|_| CandidatePair {
                local: InterfaceId(input.number() % 4),
                remote_interface: InterfaceId(input.number() % 4),
                remote: self.named(input),
            })
            .collect();
        let grants: Vec<RelayGrant> = (0..input.below(4))
            .map(|_| RelayGrant {
                relay: RelayId(u32::from(input.number() % 4)),
                addresses: vec![self.named(input)],
                side: if input.flag() { Side::Initiator } else { Side::Responder },
                token: RelayToken::from_bytes([input.number(); RelayToken::LEN]),
                bind_key: Secret::new([input.number(); 32]),
            })
            .collect();
        let tunnel = &mut self.tunnels[number];
        (tunnel.path_id, tunnel.psk) = (path_id, Secret::new([7; 32]));
        let (virtual4, virtual6) = match input.number() % 4 {
            0 => ([198, 18, 0, input.number()].into(), [0xfd, 0, 0, 0, 0, 0, 0, input.number().into()].into()),
            _ => self.rogue_addresses,
        };
        RouteDirection {
            path_id,
            side: Side::Initiator,
            psk: Secret::new([7; 32]),
            peer: NodeDescription { record, virtual4, virtual6, interfaces, relay_rtts: Vec::new() },
            pairs,
            grants,
        }
    }

    /// Where a forged datagram says it comes from.
    fn place(&self, input: &mut Input<'_>) -> SocketAddr {
        let number = input.number();
        match number % 10 {
            0 | 1 => at(ROGUE),
            2 => at(HONEST[0][0]),
            3 => at(HONEST[1][0]),
            4 => at(DC),
            5 => at(RELAY4),
            other => at(VICTIMS[usize::from(other) % VICTIMS.len()]),
        }
    }

    /// What a direction may name: not those whom nobody may be made to disturb.
    fn named(&self, input: &mut Input<'_>) -> SocketAddr {
        let number = input.number();
        match number % 8 {
            0..=2 => at(ROGUE),
            3 => at(NAMED[0]),
            4 => at(NAMED[1]),
            5 => at(HONEST[0][0]),
            6 => at(RELAY4),
            _ => SocketAddr::from(([203, 0, 113, 200 + number / 8], 53)),
        }
    }

    fn somebody(&self, input: &mut Input<'_>) -> SocketAddr {
        match input.number() % 8 {
            0 => at(DC),
            1 => at(RELAY4),
            number => self.address_of(input, usize::from(number) % HONEST.len()),
        }
    }

    fn address_of(&self, input: &mut Input<'_>, number: usize) -> SocketAddr {
        at(HONEST[number][usize::from(input.one_in(4))])
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut world = World::new(data, input.number() % 4 != 3);
    world.start();
    for _ in 0..MAX_STEPS {
        if world.now.since(Instant::ZERO) > MAX_TIME || world.step(&mut input).is_none() {
            break;
        }
        world.check();
    }
    if !world.is_honest() {
        return;
    }
    if world.disturbed || world.lossy > 0 {
        world.recover();
    }
    world.exchange();
    world.check();
});
