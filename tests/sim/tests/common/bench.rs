//! One engine on a bench: the test plays its coordinator and its peers, and so may say whatever a
//! coordinator or a peer with the right keys could, and whatever anybody without them could.
//!
//! ```text
//!   director ── registers it, directs it ──▶ node ◀── puppets with keys, strangers without
//! ```
//! What the node sends to the director is answered at once; all else waits in [`Bench::sent`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ntm_node::{Config, Director, DropReason, Event, LocalInterface, Node, PathView, Transmit};
use ntm_proto::crypto::{self, Provider, PublicKeyBytes, Secret};
use ntm_proto::id::{DeviceName, Fqdn, InterfaceId, PathId, SessionIndex, TransactionId};
use ntm_proto::identity::{IdentityKey, NodeRecord, NoiseKey};
use ntm_proto::rng::Rng;
use ntm_proto::session::handshake::Incoming;
use ntm_proto::session::pair::Session;
use ntm_proto::session::replay::DATA_WINDOW_WORDS;
use ntm_proto::time::{Instant, UnixTime, WallClock};
use ntm_proto::wire::frame::{Frame, PathResponse};
use ntm_proto::wire::message::{
    CandidatePair, DirectionRequest, Envelope, Interface, KeepAliveAck, Message, NatMapping, NodeDescription,
    RegistrationResponse, RelayGrant, RouteDirection, Side, TunnelRequest, TunnelResponse,
};
use ntm_proto::wire::outer::{HandshakeInit, HandshakeResponse, Outer};

pub(crate) const LOCAL: SocketAddr = v4(20, 0, 0, 2, 4_500);
pub(crate) const DIRECTOR: SocketAddr = v4(20, 9, 0, 1, 4_600);
pub(crate) const NODE4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub(crate) const NODE6: Ipv6Addr = Ipv6Addr::new(0xfd4e, 0x544d, 0, 0, 0, 0, 0, 2);
const EPOCH: UnixTime = UnixTime::from_secs(1_767_225_600);

pub(crate) const fn v4(a: u8, b: u8, c: u8, d: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
}

fn provider() -> &'static dyn Provider {
    crypto::default_provider()
}

/// A virtual IPv4 packet of `length` bytes in which every misplaced byte shows.
pub(crate) fn packet4(from: Ipv4Addr, to: Ipv4Addr, length: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    packet[..20].fill(0);
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    packet[8] = 64;
    packet[9] = 253;
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    packet
}

/// A party whose every datagram the test chooses.
pub(crate) struct Puppet {
    pub(crate) noise: NoiseKey,
    pub(crate) record: NodeRecord,
    pub(crate) address: SocketAddr,
    pub(crate) virtual4: Ipv4Addr,
    pub(crate) virtual6: Ipv6Addr,
    pub(crate) path_id: PathId,
    pub(crate) psk: Secret,
    pub(crate) session: Session<DATA_WINDOW_WORDS>,
    pub(crate) sequence: u64,
    next_index: u32,
    rng: Rng,
}

impl Puppet {
    pub(crate) fn new(number: u8) -> Self {
        let noise = NoiseKey::from_secret(provider(), Secret::new([number; 32]));
        let identity = IdentityKey::from_seed(provider(), Secret::new([number + 100; 32]));
        let name = |text: String| Fqdn::parse(&text).unwrap();
        let record = NodeRecord::sign(
            provider(),
            &identity,
            name(format!("p{number}.ntm.example")),
            *noise.public(),
            name("ntm.example".into()),
            false,
            EPOCH,
        );
        Self {
            record,
            noise,
            address: v4(20, 1, 0, number, 4_500),
            virtual4: Ipv4Addr::new(198, 18, 1, number),
            virtual6: Ipv6Addr::new(0xfd4e, 0x544d, 0, 0, 0, 0, 1, u16::from(number)),
            path_id: PathId([number; 16]),
            psk: Secret::new([number + 50; 32]),
            session: Session::new(provider()),
            sequence: 1_000,
            next_index: u32::from(number) << 16,
            rng: Rng::from_seed([number; 32]),
        }
    }

    pub(crate) fn description(&self) -> NodeDescription {
        NodeDescription {
            record: self.record.clone(),
            virtual4: self.virtual4,
            virtual6: self.virtual6,
            interfaces: vec![Interface {
                id: InterfaceId(0),
                generation: 1,
                name: DeviceName::parse("eth0").unwrap(),
                addresses: vec![self.address],
                reflexive: Vec::new(),
                mapping: NatMapping::None,
                cost: 10,
            }],
            relay_rtts: Vec::new(),
        }
    }

    /// From now on it draws other randomness, so another ephemeral key.
    pub(crate) fn reseed(&mut self, seed: [u8; 32]) {
        self.rng = Rng::from_seed(seed);
    }

    fn index(&mut self) -> SessionIndex {
        self.next_index += 1;
        SessionIndex(self.next_index)
    }

    /// The first message of a handshake with a node of this key.
    pub(crate) fn begin(&mut self, now: Instant, node: &PublicKeyBytes) -> Vec<u8> {
        self.sequence += 1;
        let request = TunnelRequest { path_id: self.path_id, sequence: self.sequence, interface: InterfaceId(0) };
        let payload = outside_transactions(Message::TunnelRequest(request));
        let index = self.index();
        self.session.begin(now, &mut self.rng, &self.noise, node, &self.psk, index, &payload)
    }

    pub(crate) fn finish(&mut self, now: Instant, response: &[u8]) -> bool {
        HandshakeResponse::parse(response).is_ok_and(|response| self.session.handle_response(now, &response).is_ok())
    }

    /// The answer to the node's first message.
    pub(crate) fn answer(&mut self, now: Instant, init: &[u8]) -> Vec<u8> {
        let init = HandshakeInit::parse(init).unwrap();
        let incoming = Incoming::read(provider(), &mut self.rng, &self.noise, &init).unwrap();
        let index = self.index();
        let payload = outside_transactions(Message::TunnelResponse(TunnelResponse { path_id: self.path_id }));
        self.session.accept(now, incoming, &self.psk, index, &payload).unwrap()
    }

    pub(crate) fn seal(&self, now: Instant, plaintext: &[u8]) -> Vec<u8> {
        self.session.seal(now, plaintext).unwrap()
    }

    pub(crate) fn frame(&self, now: Instant, frame: &Frame<'_>) -> Vec<u8> {
        let mut plaintext = Vec::new();
        frame.emit(&mut plaintext);
        self.seal(now, &plaintext)
    }

    /// What is in a datagram of the node, if it is for this puppet and new.
    pub(crate) fn open(&mut self, now: Instant, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut datagram = datagram.to_vec();
        let opened = self.session.open_in_place(now, &mut datagram).ok()?;
        Some(datagram[opened.plaintext].to_vec())
    }
}

fn outside_transactions(message: Message) -> Vec<u8> {
    Envelope { transaction: TransactionId(0), message }.emit()
}

pub(crate) struct Bench {
    pub(crate) now: Instant,
    pub(crate) node: Node,
    pub(crate) key: NoiseKey,
    pub(crate) director: Puppet,
    ticket_key: Secret,
    /// Directions the node asked for.
    pub(crate) asked: Vec<DirectionRequest>,
    /// What the node sent to others than the director.
    pub(crate) sent: Vec<Transmit>,
    pub(crate) events: Vec<Event>,
    /// Bytes by address: to the node, from the node.
    pub(crate) bytes: BTreeMap<SocketAddr, (usize, usize)>,
    transaction: u32,
}

impl Bench {
    /// A registered node.
    pub(crate) fn new(seed: u8) -> Self {
        let key = NoiseKey::from_secret(provider(), Secret::new([201; 32]));
        let identity = IdentityKey::from_seed(provider(), Secret::new([202; 32]));
        let domain = Fqdn::parse("ntm.example").unwrap();
        let name = Fqdn::parse("node.ntm.example").unwrap();
        let record = NodeRecord::sign(provider(), &identity, name, *key.public(), domain, false, EPOCH);
        let ticket_key = Secret::new([203; 32]);
        let mut director = Puppet::new(9);
        director.address = DIRECTOR;
        let config = Config {
            provider: provider(),
            record,
            noise: key.clone(),
            ticket: vec![1; 64],
            ticket_key: ticket_key.clone(),
            directors: vec![Director { noise_key: *director.noise.public(), addresses: vec![DIRECTOR] }],
            relays: Vec::new(),
            wall: WallClock::new(Instant::ZERO, EPOCH),
            wake_token: None,
        };
        let now = Instant::from_millis(1_000);
        let mut bench = Self {
            now,
            node: Node::new(now, config, [seed; 32]),
            key,
            director,
            ticket_key,
            asked: Vec::new(),
            sent: Vec::new(),
            events: Vec::new(),
            bytes: BTreeMap::new(),
            transaction: 1 << 20,
        };
        let interface = LocalInterface {
            id: InterfaceId(0),
            name: DeviceName::parse("eth0").unwrap(),
            addresses: vec![LOCAL],
            cost: 10,
            network: 1,
        };
        bench.node.handle_interface(now, interface);
        bench.pump();
        assert!(bench.node.is_registered());
        bench.events.clear();
        bench
    }

    /// A datagram arrives; gives the virtual packet that came of it.
    pub(crate) fn deliver(&mut self, from: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        self.deliver_at(LOCAL, from, datagram)
    }

    pub(crate) fn deliver_at(&mut self, local: SocketAddr, from: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        self.bytes.entry(from).or_default().0 += datagram.len();
        let mut datagram = datagram.to_vec();
        let received = self.node.handle_datagram(self.now, InterfaceId(0), local, from, &mut datagram);
        let packet = received.map(|received| received.packet.into_owned());
        self.pump();
        packet
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, time: Duration) {
        self.advance_with(time, |_, _| {});
    }

    /// Lets time pass, and `each` see the bench after everything that happened.
    pub(crate) fn advance_with(&mut self, time: Duration, mut each: impl FnMut(&mut Self, Instant)) {
        let until = self.now + time;
        while let Some((at, _)) = self.node.poll_timeout()
            && at <= until
        {
            self.now = self.now.max(at);
            self.node.handle_timeout(self.now);
            self.pump();
            each(self, until);
        }
        self.now = until;
    }

    /// The node sends a virtual packet of `length` bytes to a puppet.
    pub(crate) fn send(&mut self, to: &Puppet, length: usize) {
        self.node.send(self.now, &packet4(NODE4, to.virtual4, length)).unwrap();
        self.pump();
    }

    pub(crate) fn pump(&mut self) {
        loop {
            while let Some(event) = self.node.poll_event() {
                self.events.push(event);
            }
            let Some(transmit) = self.node.poll_transmit() else { return };
            self.bytes.entry(transmit.to).or_default().1 += transmit.datagram.len();
            if transmit.to != DIRECTOR {
                self.sent.push(transmit);
                continue;
            }
            if let Some(mut answer) = self.as_director(&transmit.datagram) {
                self.bytes.entry(DIRECTOR).or_default().0 += answer.len();
                self.node.handle_datagram(self.now, InterfaceId(0), LOCAL, DIRECTOR, &mut answer);
            }
        }
    }

    fn as_director(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        if let Ok(Outer::HandshakeInit(init)) = Outer::parse(datagram) {
            let director = &mut self.director;
            let incoming = Incoming::read(provider(), &mut director.rng, &director.noise, &init).unwrap();
            let payload = outside_transactions(self.registration());
            let index = self.director.index();
            return self.director.session.accept(self.now, incoming, &self.ticket_key, index, &payload).ok();
        }
        let plaintext = self.director.open(self.now, datagram)?;
        let Ok(Frame::Signal(bytes)) = Frame::parse(&plaintext) else { return None };
        let envelope = Envelope::parse(bytes).unwrap();
        let message = match envelope.message {
            Message::KeepAlive(_) => Message::KeepAliveAck(KeepAliveAck { observed: LOCAL }),
            Message::RegistrationRequest(_) => self.registration(),
            Message::DirectionRequest(request) => {
                self.asked.push(request);
                return None;
            }
            _ => return None,
        };
        Some(self.director_says(envelope.transaction, message))
    }

    fn registration(&self) -> Message {
        Message::RegistrationResponse(RegistrationResponse {
            virtual4: NODE4,
            virtual6: NODE6,
            lease: Duration::from_secs(90),
            keep_alive: Duration::from_secs(25),
            observed: LOCAL,
            relays: Vec::new(),
            time: EPOCH,
        })
    }

    /// A datagram in which the director says this.
    pub(crate) fn director_says(&mut self, transaction: TransactionId, message: Message) -> Vec<u8> {
        let bytes = Envelope { transaction, message }.emit();
        self.director.frame(self.now, &Frame::Signal(&bytes))
    }

    /// The director directs node and puppet to each other.
    pub(crate) fn direct(&mut self, puppet: &Puppet, grants: Vec<RelayGrant>) {
        self.transaction += 1;
        let direction = RouteDirection {
            path_id: puppet.path_id,
            side: Side::Initiator,
            psk: puppet.psk.clone(),
            peer: puppet.description(),
            pairs: vec![CandidatePair {
                local: InterfaceId(0),
                remote_interface: InterfaceId(0),
                remote: puppet.address,
            }],
            grants,
        };
        let datagram =
            self.director_says(TransactionId(self.transaction), Message::RouteDirection(Box::new(direction)));
        self.deliver(DIRECTOR, &datagram);
    }

    /// A puppet with a session and a proven path.
    pub(crate) fn peer(&mut self, number: u8) -> Puppet {
        let mut puppet = Puppet::new(number);
        self.direct(&puppet, Vec::new());
        let init = self.take_sent_to(puppet.address).remove(0);
        let answer = puppet.answer(self.now, &init);
        self.deliver(puppet.address, &answer);
        self.converse(&mut puppet);
        assert!(self.events.contains(&Event::PeerUp { peer: puppet.record.node_id() }));
        assert!(self.paths(&puppet)[0].proven);
        self.events.clear();
        self.sent.clear();
        puppet
    }

    /// The puppet answers every challenge the node has sent to its address, as an honest peer does.
    /// Gives the virtual packets that came to it.
    pub(crate) fn converse(&mut self, puppet: &mut Puppet) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        loop {
            let datagrams = self.take_sent_to(puppet.address);
            if datagrams.is_empty() {
                return packets;
            }
            for datagram in datagrams {
                if let Ok(Outer::HandshakeInit(_)) = Outer::parse(&datagram) {
                    let answer = puppet.answer(self.now, &datagram);
                    self.deliver(puppet.address, &answer);
                    continue;
                }
                let Some(plaintext) = puppet.open(self.now, &datagram) else { continue };
                match Frame::parse(&plaintext) {
                    Ok(Frame::PathChallenge(challenge)) => {
                        let response = Frame::PathResponse(PathResponse {
                            nonce: challenge.nonce,
                            interface: InterfaceId(0),
                            generation: 1,
                            observed: LOCAL,
                        });
                        let datagram = puppet.frame(self.now, &response);
                        self.deliver(puppet.address, &datagram);
                    }
                    Ok(Frame::Packet(packet)) => packets.push(packet.to_vec()),
                    _ => {}
                }
            }
        }
    }

    /// Takes out what the node sent to this address.
    pub(crate) fn take_sent_to(&mut self, address: SocketAddr) -> Vec<Vec<u8>> {
        let (taken, left) = std::mem::take(&mut self.sent).into_iter().partition(|sent: &Transmit| sent.to == address);
        self.sent = left;
        taken.into_iter().map(|sent: Transmit| sent.datagram).collect()
    }

    pub(crate) fn paths(&self, puppet: &Puppet) -> Vec<PathView> {
        self.node.paths(&puppet.record.node_id())
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.node.stats().dropped(reason)
    }

    pub(crate) fn all_dropped(&self) -> u64 {
        DropReason::ALL.iter().map(|&reason| self.dropped(reason)).sum()
    }

    /// No address but those of `known` was sent more than three times what came from it.
    pub(crate) fn assert_no_amplification(&self, known: &[SocketAddr]) {
        for (address, (received, sent)) in &self.bytes {
            if *address != DIRECTOR && !known.contains(address) {
                assert!(*sent <= 3 * received, "{address} sent {received} bytes and was sent {sent}");
            }
        }
    }

    /// A packet each way between node and puppet goes through.
    pub(crate) fn assert_works(&mut self, puppet: &mut Puppet) {
        let packet = packet4(puppet.virtual4, NODE4, 100);
        let datagram = puppet.frame(self.now, &Frame::Packet(&packet));
        assert_eq!(self.deliver(puppet.address, &datagram), Some(packet), "a packet to the node");
        self.converse(puppet);
        self.send(puppet, 200);
        let got = self.converse(puppet);
        assert_eq!(got, [packet4(NODE4, puppet.virtual4, 200)], "a packet from the node");
    }
}
