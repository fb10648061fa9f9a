//! Stand-ins for the rest of the world: a provider domain with its account server, nodes driven by hand, and
//! a network without delay that carries datagrams between them and coordinators.
//!
//! Shared by the scenarios in `tests/`, the fuzz target and the measurement of scale. Nothing here is meant
//! to be robust: what goes wrong panics.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use ntm_proto::crypto::{self, Provider, Secret, Suite};
use ntm_proto::id::{AccountPseudonym, DeviceName, Fqdn, InterfaceId, NodeId, PathId, SessionIndex, TransactionId};
use ntm_proto::identity::{IdentityKey, NodeRecord, NoiseKey, Role, ServerCert, Ticket};
use ntm_proto::rng::Rng;
use ntm_proto::session::cookie::Cookie;
use ntm_proto::session::fragment::Reassembler;
use ntm_proto::session::handshake::{Established, Initiator};
use ntm_proto::session::transport::{OpeningKey, SealingKey};
use ntm_proto::time::{Instant, UnixTime, WallClock};
use ntm_proto::wire::frame::{Frame, PathResponse};
use ntm_proto::wire::message::{
    Deregistration, DirectionRequest, Envelope, ErrorCode, ErrorMessage, Interface, KeepAlive, Message, NatMapping,
    RegistrationRequest, RegistrationResponse, RelayRtt, RouteDirection, Target,
};
use ntm_proto::wire::outer::{CookieReply, HandshakeInit, HandshakeResponse, Outer};

use crate::coordinator::Arrival;
use crate::links::{Links, Owner};
use crate::{Config, Coordinator, Event, Transmit};

/// What the calendar says when the network begins.
pub const BEGIN: UnixTime = UnixTime::from_secs(1_790_000_000);

/// A provider domain: its keys, and what its account server does.
#[derive(Clone, Debug)]
pub struct Domain {
    pub provider: &'static dyn Provider,
    pub name: Fqdn,
    pub key: IdentityKey,
    pub service_key: Secret,
    /// Whose the nodes are that log in now.
    pub account: AccountPseudonym,
    pub noise: NoiseKey,
    pub address: SocketAddr,
    /// The name of its DC.
    pub server: Fqdn,
    number: u8,
}

impl Domain {
    /// The domain `name`, whose DC listens on `address`.
    pub fn new(name: &str, number: u8, address: &str) -> Self {
        let provider = crypto::default_provider();
        Self {
            provider,
            name: fqdn(name),
            key: IdentityKey::from_seed(provider, Secret::new([number; 32])),
            service_key: Secret::new([number ^ 0x55; 32]),
            account: AccountPseudonym([number; 8]),
            noise: NoiseKey::from_secret(provider, Secret::new([number ^ 0xaa; 32])),
            address: address.parse().expect("an address"),
            server: fqdn(&format!("dc.{name}")),
            number,
        }
    }

    /// The same domain as another of its DCs serves it.
    pub fn sibling(&self, server: &str, seed: u8, address: &str) -> Self {
        Self {
            noise: NoiseKey::from_secret(self.provider, Secret::new([seed; 32])),
            address: address.parse().expect("an address"),
            server: fqdn(&format!("{server}.{}", self.name)),
            ..self.clone()
        }
    }

    pub fn cert(&self) -> ServerCert {
        let not_after = BEGIN + Duration::from_secs(365 * 86_400);
        ServerCert::sign(
            self.provider,
            &self.key,
            Role::Direction,
            self.name.clone(),
            self.server.clone(),
            *self.noise.public(),
            vec![self.address],
            not_after,
        )
    }

    pub fn config(&self) -> Config {
        Config::new(
            self.provider,
            WallClock::new(Instant::ZERO, BEGIN),
            self.cert(),
            self.noise.clone(),
            *self.key.public(),
            vec![self.service_key.clone()],
        )
    }

    pub fn coordinator(&self, now: Instant) -> Coordinator {
        Coordinator::new(now, self.config(), [self.number; 32])
    }

    /// A node that has logged in: it holds a ticket, good for a day.
    pub fn node(&self, number: u32, host: &str) -> Node {
        let mut rng = Rng::from_seed(*crypto_seed(self.number, number).expose());
        let identity = IdentityKey::from_seed(self.provider, Secret::new(rng.array()));
        let noise = NoiseKey::from_secret(self.provider, Secret::new(rng.array()));
        let record = NodeRecord::sign(
            self.provider,
            &identity,
            fqdn(&format!("{host}.{}", self.name)),
            *noise.public(),
            self.name.clone(),
            false,
            BEGIN,
        );
        let key = Secret::new(rng.array());
        let ticket = self.ticket(&record, &key, BEGIN + Duration::from_secs(86_400));
        Node {
            provider: self.provider,
            dc: *self.noise.public(),
            noise,
            record,
            key,
            ticket,
            sequence: BEGIN.as_millis(),
            interfaces: Vec::new(),
            relay_rtts: Vec::new(),
            wake_token: None,
            session: None,
            previous: None,
            handshake: None,
            reassembler: Reassembler::new(),
            next_index: number.wrapping_mul(0x1_0001),
            next_transaction: 1,
            rng,
        }
    }

    /// A ticket for the node of this record, as the account server seals it.
    pub fn ticket(&self, record: &NodeRecord, key: &Secret, expires: UnixTime) -> Vec<u8> {
        let ticket = Ticket {
            node: record.node_id(),
            record_digest: record.digest(),
            key: key.clone(),
            account: self.account,
            expires,
        };
        ticket.seal(&self.service_key, [self.number; 24])
    }
}

/// A node, driven by hand.
#[derive(Debug)]
pub struct Node {
    provider: &'static dyn Provider,
    dc: [u8; 32],
    pub noise: NoiseKey,
    pub record: NodeRecord,
    pub key: Secret,
    pub ticket: Vec<u8>,
    pub sequence: u64,
    pub interfaces: Vec<Interface>,
    pub relay_rtts: Vec<RelayRtt>,
    pub wake_token: Option<Vec<u8>>,
    pub session: Option<Keys>,
    previous: Option<Keys>,
    handshake: Option<Initiator>,
    reassembler: Reassembler,
    next_index: u32,
    next_transaction: u32,
    rng: Rng,
}

/// The keys of a node's session with its DC.
#[derive(Debug)]
pub struct Keys {
    pub sealing: SealingKey,
    pub opening: OpeningKey,
    pub local: SessionIndex,
}

/// What a datagram meant to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// The answer to a handshake.
    Registered(RegistrationResponse),
    /// The handshake was answered with an error.
    Refused(ErrorMessage),
    Message(Envelope),
    /// To be sent back where the challenge came from.
    Challenged(PathResponse),
    /// The handshake to send again, with a cookie.
    Cookie(Vec<u8>),
    /// Nothing it understands.
    Garbage,
}

impl Keys {
    pub fn new(provider: &'static dyn Provider, established: &Established) -> Self {
        Self {
            sealing: SealingKey::new(provider, established.suite, &established.send, established.remote),
            opening: OpeningKey::new(provider, established.suite, &established.receive),
            local: established.local,
        }
    }
}

impl Node {
    /// The same node before it has said anything: spares the signatures of making it.
    pub fn fresh(&self) -> Self {
        Self {
            provider: self.provider,
            dc: self.dc,
            noise: self.noise.clone(),
            record: self.record.clone(),
            key: self.key.clone(),
            ticket: self.ticket.clone(),
            sequence: BEGIN.as_millis(),
            interfaces: Vec::new(),
            relay_rtts: Vec::new(),
            wake_token: None,
            session: None,
            previous: None,
            handshake: None,
            reassembler: Reassembler::new(),
            next_index: 0,
            next_transaction: 1,
            rng: Rng::from_seed(self.record.noise_key),
        }
    }

    pub fn id(&self) -> NodeId {
        self.record.node_id()
    }

    /// Adds an interface with these addresses of its own.
    pub fn attach(&mut self, id: u8, addresses: &[&str]) {
        self.interfaces.retain(|interface| interface.id != InterfaceId(id));
        self.interfaces.push(Interface {
            id: InterfaceId(id),
            generation: 1,
            name: DeviceName::parse(&format!("if{id}")).expect("a name"),
            addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
            reflexive: Vec::new(),
            mapping: NatMapping::Unknown,
            cost: 10,
        });
    }

    /// Gives an interface other addresses, as a move does.
    pub fn renumber(&mut self, id: u8, addresses: &[&str]) {
        for interface in self.interfaces.iter_mut().filter(|interface| interface.id == InterfaceId(id)) {
            interface.generation += 1;
            interface.addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        }
    }

    pub fn request(&mut self, from: u8, ticket: Option<Vec<u8>>) -> RegistrationRequest {
        self.sequence += 1;
        RegistrationRequest {
            record: self.record.clone(),
            ticket,
            sequence: self.sequence,
            from: InterfaceId(from),
            interfaces: self.interfaces.clone(),
            relay_rtts: self.relay_rtts.clone(),
            wake_token: self.wake_token.clone(),
        }
    }

    /// The first message of a handshake that registers the node.
    pub fn register(&mut self, from: u8) -> Vec<u8> {
        let ticket = Some(self.ticket.clone());
        let request = self.request(from, ticket);
        self.handshake_with(Message::RegistrationRequest(request))
    }

    pub fn handshake_with(&mut self, message: Message) -> Vec<u8> {
        let payload = Envelope { transaction: self.transaction(), message }.emit();
        self.handshake_carrying(&payload)
    }

    /// A handshake with any payload.
    pub fn handshake_carrying(&mut self, payload: &[u8]) -> Vec<u8> {
        self.next_index = self.next_index.wrapping_add(1);
        let local = SessionIndex(self.next_index);
        let (initiator, datagram) =
            Initiator::start(self.provider, &mut self.rng, &self.noise, &self.dc, &self.key, local, payload, None);
        self.handshake = Some(initiator);
        datagram
    }

    /// The same first message again.
    pub fn handshake_again(&self) -> Vec<u8> {
        self.handshake.as_ref().expect("a handshake in flight").datagram(None)
    }

    /// A registration on the live session: a move.
    pub fn register_again(&mut self, from: u8) -> Vec<u8> {
        let request = self.request(from, None);
        self.seal(Message::RegistrationRequest(request))
    }

    pub fn keep_alive(&mut self, from: u8) -> Vec<u8> {
        let generation = self.interfaces.iter().find(|one| one.id == InterfaceId(from)).map_or(0, |one| one.generation);
        self.seal(Message::KeepAlive(KeepAlive { from: InterfaceId(from), generation, relay_rtts: Vec::new() }))
    }

    pub fn direction(&mut self, path: u8, target: Target) -> Vec<u8> {
        self.seal(Message::DirectionRequest(DirectionRequest { path_id: PathId([path; 16]), target }))
    }

    pub fn leave(&mut self) -> Vec<u8> {
        self.sequence += 1;
        self.seal(Message::Deregistration(Deregistration { sequence: self.sequence }))
    }

    /// Seals a message under a new transaction.
    pub fn seal(&mut self, message: Message) -> Vec<u8> {
        let transaction = self.transaction();
        self.seal_envelope(&Envelope { transaction, message })
    }

    pub fn seal_envelope(&mut self, envelope: &Envelope) -> Vec<u8> {
        self.seal_frame(&Frame::Signal(&envelope.emit()))
    }

    pub fn seal_frame(&mut self, frame: &Frame<'_>) -> Vec<u8> {
        let mut plaintext = Vec::new();
        frame.emit(&mut plaintext);
        self.seal_bytes(&plaintext)
    }

    pub fn seal_bytes(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.session.as_ref().expect("a session").sealing.seal(plaintext).expect("a fresh key")
    }

    pub fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) -> Received {
        match Outer::parse(datagram) {
            Ok(Outer::HandshakeResponse(response)) => self.finish(&response),
            Ok(Outer::CookieReply(reply)) => self.cookie(now, &reply),
            Ok(Outer::Data(data)) => {
                let receiver = data.receiver;
                let keys = [self.session.as_ref(), self.previous.as_ref()];
                let Some(keys) = keys.into_iter().flatten().find(|keys| keys.local == receiver) else {
                    return Received::Garbage;
                };
                match keys.opening.open_in_place(datagram) {
                    Ok((_, plaintext)) => self.read(now, from, &datagram[plaintext]),
                    Err(_) => Received::Garbage,
                }
            }
            _ => Received::Garbage,
        }
    }

    fn read(&mut self, now: Instant, from: SocketAddr, plaintext: &[u8]) -> Received {
        match Frame::parse(plaintext) {
            Ok(Frame::Signal(bytes)) => Envelope::parse(bytes).map_or(Received::Garbage, Received::Message),
            Ok(Frame::PathChallenge(challenge)) => Received::Challenged(PathResponse {
                nonce: challenge.nonce,
                interface: InterfaceId(1),
                generation: 1,
                observed: from,
            }),
            Ok(Frame::Fragment(fragment)) => match self.reassembler.handle(now, &fragment) {
                Ok(Some(whole)) => self.read(now, from, &whole),
                _ => Received::Garbage,
            },
            _ => Received::Garbage,
        }
    }

    fn finish(&mut self, response: &HandshakeResponse<'_>) -> Received {
        let Some(handshake) = self.handshake.as_mut() else { return Received::Garbage };
        let Ok(established) = handshake.finish(response) else {
            let refusal = handshake.refusal(response).ok().and_then(|payload| Envelope::parse(&payload).ok());
            return match refusal.map(|envelope| envelope.message) {
                Some(Message::Error(error)) => Received::Refused(error),
                _ => Received::Garbage,
            };
        };
        match Envelope::parse(&established.payload).map(|envelope| envelope.message) {
            Ok(Message::RegistrationResponse(response)) => {
                self.previous = self.session.replace(Keys::new(self.provider, &established));
                Received::Registered(response)
            }
            Ok(Message::Error(error)) => Received::Refused(error),
            _ => Received::Garbage,
        }
    }

    fn cookie(&mut self, now: Instant, reply: &CookieReply<'_>) -> Received {
        let Some(handshake) = self.handshake.as_ref() else { return Received::Garbage };
        let datagram = handshake.datagram(None);
        let init = HandshakeInit::parse(&datagram).expect("a handshake of our own");
        Cookie::open(now, &self.dc, &init, reply)
            .map_or(Received::Garbage, |cookie| Received::Cookie(handshake.datagram(Some(&cookie))))
    }

    fn transaction(&mut self) -> TransactionId {
        self.next_transaction += 1;
        TransactionId(self.next_transaction)
    }
}

/// A network without delay or loss between coordinators and nodes.
#[derive(Debug, Default)]
pub struct Net {
    pub now: Instant,
    coordinators: BTreeMap<SocketAddr, Coordinator>,
    nodes: Vec<Host>,
    /// Datagrams to addresses where nobody of this network is.
    pub lost: Vec<Transmit>,
    /// Bytes to each address from coordinators, and from it to them.
    pub traffic: BTreeMap<SocketAddr, Traffic>,
}

/// A node and where it is.
#[derive(Debug)]
pub struct Host {
    pub node: Node,
    pub dc: SocketAddr,
    /// Where its datagrams seem to come from.
    pub address: SocketAddr,
    /// Whether it acknowledges and proves itself without being told to.
    pub answers: bool,
    pub inbox: Vec<Received>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub sent_to: usize,
    pub received_from: usize,
}

impl Net {
    pub fn add_coordinator(&mut self, address: SocketAddr, coordinator: Coordinator) {
        self.coordinators.insert(address, coordinator);
    }

    /// A node with one interface, whose own address is also the one the world sees.
    pub fn add_node(&mut self, domain: &Domain, number: u32, host: &str, address: &str) -> usize {
        self.add_node_behind(domain, number, host, address, address)
    }

    /// A node with one interface behind a NAT that shows it at `outer`.
    pub fn add_node_behind(&mut self, domain: &Domain, number: u32, host: &str, own: &str, outer: &str) -> usize {
        let mut node = domain.node(number, host);
        node.attach(1, &[own]);
        self.add_host(domain, node, outer.parse().expect("an address"))
    }

    /// A node, with its interfaces, where the world sees it.
    pub fn add_host(&mut self, domain: &Domain, node: Node, address: SocketAddr) -> usize {
        self.nodes.push(Host { node, dc: domain.address, address, answers: true, inbox: Vec::new() });
        self.nodes.len() - 1
    }

    /// Registers a node without a handshake.
    pub fn adopt(&mut self, node: usize) {
        let Host { node, dc, address, .. } = &mut self.nodes[node];
        let established = Established {
            suite: Suite::ChaCha20Poly1305,
            send: Secret::new(node.rng.array()),
            receive: Secret::new(node.rng.array()),
            local: SessionIndex(node.next_index),
            remote: SessionIndex(node.next_index),
            peer_key: node.record.noise_key,
            handshake_hash: [0; 32],
            initiator: false,
            generation: 0,
            payload: Vec::new(),
        };
        let request = node.request(1, None);
        let coordinator = self.coordinators.get_mut(dc).expect("a coordinator");
        let remote = coordinator.adopt(self.now, *dc, *address, &request, &established);
        let Established { suite, send, receive, local, .. } = established;
        node.session = Some(Keys {
            sealing: SealingKey::new(node.provider, suite, &receive, remote),
            opening: OpeningKey::new(node.provider, suite, &send),
            local,
        });
    }

    pub fn host(&mut self, node: usize) -> &mut Host {
        &mut self.nodes[node]
    }

    pub fn dc(&mut self, domain: &Domain) -> &mut Coordinator {
        self.coordinators.get_mut(&domain.address).expect("a coordinator")
    }

    /// The first message of a registration, which its answer leaves unconfirmed.
    pub fn begin(&mut self, node: usize) {
        let datagram = self.nodes[node].node.register(1);
        self.send(node, datagram);
    }

    /// Registers a node and confirms it with a keep-alive.
    pub fn register(&mut self, node: usize) -> RegistrationResponse {
        self.begin(node);
        let response = self.take(node).into_iter().find_map(|received| match received {
            Received::Registered(response) => Some(response),
            _ => None,
        });
        self.keep_alive(node);
        response.expect("a registration response")
    }

    pub fn keep_alive(&mut self, node: usize) {
        let datagram = self.nodes[node].node.keep_alive(1);
        self.send(node, datagram);
    }

    /// Asks for a direction.
    pub fn ask(&mut self, node: usize, path: u8, target: Target) {
        let datagram = self.nodes[node].node.direction(path, target);
        self.send(node, datagram);
    }

    /// Asks for a direction and gives what came of it at once.
    pub fn direct(&mut self, node: usize, path: u8, target: Target) -> Result<RouteDirection, ErrorCode> {
        self.take(node);
        self.ask(node, path, target);
        self.direction_of(node, path).expect("an answer")
    }

    /// The last word a node got about a communication; the rest of its inbox is dropped.
    pub fn direction_of(&mut self, node: usize, path: u8) -> Option<Result<RouteDirection, ErrorCode>> {
        let path_id = PathId([path; 16]);
        self.take(node).into_iter().rev().find_map(|received| match received {
            Received::Message(Envelope { message: Message::RouteDirection(direction), .. })
                if direction.path_id == path_id =>
            {
                Some(Ok(*direction))
            }
            Received::Message(Envelope { message: Message::Error(error), .. }) if error.path_id == Some(path_id) => {
                Some(Err(error.code))
            }
            _ => None,
        })
    }

    pub fn take(&mut self, node: usize) -> Vec<Received> {
        core::mem::take(&mut self.nodes[node].inbox)
    }

    /// A datagram of a node reaches its DC, and everything that follows at the same moment.
    pub fn send(&mut self, node: usize, datagram: Vec<u8>) {
        let Host { address, dc, .. } = self.nodes[node];
        self.send_from(address, dc, datagram);
    }

    /// Any datagram from anywhere reaches a coordinator.
    pub fn send_from(&mut self, from: SocketAddr, to: SocketAddr, mut datagram: Vec<u8>) {
        self.traffic.entry(from).or_default().received_from += datagram.len();
        if let Some(coordinator) = self.coordinators.get_mut(&to) {
            coordinator.handle_datagram(self.now, to, from, &mut datagram);
        }
        self.settle();
    }

    /// Lets time pass; timeouts are handled when they come.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        loop {
            let next = self.coordinators.values().filter_map(|dc| dc.poll_timeout()).map(|(at, _)| at).min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            for coordinator in self.coordinators.values_mut() {
                coordinator.handle_timeout(self.now);
            }
            self.settle();
        }
        self.now = end;
    }

    pub fn events(&mut self, domain: &Domain) -> Vec<Event> {
        let dc = self.dc(domain);
        core::iter::from_fn(|| dc.poll_event()).collect()
    }

    /// Carries datagrams until there are none.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut transmits = Vec::new();
            for coordinator in self.coordinators.values_mut() {
                transmits.extend(core::iter::from_fn(|| coordinator.poll_transmit()));
            }
            if transmits.is_empty() {
                return;
            }
            for mut transmit in transmits {
                self.traffic.entry(transmit.to).or_default().sent_to += transmit.datagram.len();
                if let Some(coordinator) = self.coordinators.get_mut(&transmit.to) {
                    coordinator.handle_datagram(self.now, transmit.to, transmit.from, &mut transmit.datagram);
                } else if let Some(node) = self.nodes.iter().position(|host| host.address == transmit.to) {
                    self.arrive(node, transmit.from, &mut transmit.datagram);
                } else {
                    self.lost.push(transmit);
                }
            }
        }
        panic!("the datagrams never end");
    }

    fn arrive(&mut self, node: usize, dc: SocketAddr, datagram: &mut [u8]) {
        let host = &mut self.nodes[node];
        let received = host.node.receive(self.now, dc, datagram);
        let reply = match &received {
            Received::Message(Envelope { transaction, message: Message::RouteDirection(_) }) => Some(
                host.node.seal_envelope(&Envelope { transaction: *transaction, message: Message::RouteDirectionAck }),
            ),
            Received::Challenged(response) => Some(host.node.seal_frame(&Frame::PathResponse(*response))),
            Received::Cookie(datagram) => Some(datagram.clone()),
            _ => None,
        };
        host.inbox.push(received);
        if let Some(mut reply) = reply.filter(|_| host.answers) {
            let from = host.address;
            self.traffic.entry(from).or_default().received_from += reply.len();
            if let Some(coordinator) = self.coordinators.get_mut(&dc) {
                coordinator.handle_datagram(self.now, dc, from, &mut reply);
            }
        }
    }
}

pub fn fqdn(name: &str) -> Fqdn {
    Fqdn::parse(name).expect("a name")
}

fn crypto_seed(domain: u8, number: u32) -> Secret {
    Secret::new(crypto::blake2s(&[b"testing", &[domain], &number.to_be_bytes()]))
}

impl Coordinator {
    /// Registers a node without a handshake, under keys agreed on elsewhere: for measurements with a million
    /// nodes, whose handshakes would take ten minutes. Gives the index for the node to seal to.
    pub fn adopt(
        &mut self,
        now: Instant,
        local: SocketAddr,
        from: SocketAddr,
        request: &RegistrationRequest,
        established: &Established,
    ) -> SessionIndex {
        let at = Arrival { now, local, from, bytes: 1_200 };
        let row = self.registry.insert(&request.record, now + Duration::from_secs(10)).expect("room for the node");
        let index = self.links.reserve(Owner::Node(row)).expect("room for its session");
        let link = Links::row_of(index);
        self.links.establish(now, link, established);
        self.replace_link(&at, row, link);
        self.take_registration(&at, row, request);
        self.prove(row, from);
        index
    }
}
