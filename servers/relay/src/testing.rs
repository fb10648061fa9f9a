//! Stand-ins for what a relay meets: its two nodes, its direction server, its driver. For tests, the
//! fuzzer and measurements; behind the feature `testing`.

use core::net::SocketAddr;
use core::time::Duration;

use ntm_proto::crypto::{self, Secret};
use ntm_proto::id::{Fqdn, PathId, RelayId, RelayIndex, SessionIndex, TransactionId};
use ntm_proto::identity::{NoiseKey, Role, ServerCert};
use ntm_proto::rng::Rng;
use ntm_proto::session::{
    GrantKey, Incoming, Payer, Psk, RelayToken, SIGNAL_WINDOW_WORDS, Session, TokenBody, bind_mac,
};
use ntm_proto::time::{Instant, UnixTime, WallClock};
use ntm_proto::wire::frame::Frame;
use ntm_proto::wire::message::{Envelope, Message, RelayDirection, RelayReport, Side};
use ntm_proto::wire::outer::{self, DATA_OVERHEAD, Outer};

use crate::{Capacity, Config, Director, Relay, Transmit};

/// When every test begins: a moment of 2026.
pub const EPOCH: UnixTime = UnixTime::from_secs(1_780_000_000);

/// The relay's addresses.
pub const RELAY4: &str = "198.51.100.1:4500";
pub const RELAY6: &str = "[2001:db8:100::1]:4500";
/// The direction server's.
pub const DIRECTOR: &str = "198.51.100.9:4500";

/// # Panics
/// If `text` is no address and port.
pub fn address(text: &str) -> SocketAddr {
    text.parse().expect("the caller wrote an address and a port")
}

pub fn grant_key() -> GrantKey {
    GrantKey { key_id: 7, key: Secret::new([7; 32]) }
}

/// A relay with both families and no direction server.
pub fn config() -> Config {
    let provider = crypto::default_provider();
    let noise_key = NoiseKey::from_secret(provider, Secret::new([0x51; 32]));
    let name = |text| Fqdn::parse(text).expect("a name");
    let addresses = vec![address(RELAY4), address(RELAY6)];
    Config {
        id: RelayId(1),
        cert: ServerCert {
            role: Role::Relay,
            domain: name("ntm.example"),
            name: name("rs1.ntm.example"),
            noise_key: *noise_key.public(),
            addresses: addresses.clone(),
            not_after: EPOCH + Duration::from_secs(86_400),
            signature: [0; 64],
        },
        noise_key,
        grant_keys: vec![grant_key()],
        directors: Vec::new(),
        addresses,
        capacity: Capacity { grants: 1_000, bytes_per_second: 125_000_000, rate_per_account: 0 },
        wall: WallClock::new(Instant::ZERO, EPOCH),
        provider,
    }
}

/// The body of a token for communication `number`, good for an hour and any rate, with a payer of its own.
pub fn token_body(number: u64) -> TokenBody {
    let mut path_id = [0x77; 16];
    path_id[..8].copy_from_slice(&number.to_be_bytes());
    let [.., high, middle, low] = number.to_be_bytes();
    TokenBody {
        payer: Payer([high, middle, low]),
        path_id: PathId(path_id),
        expires: EPOCH + Duration::from_secs(3_600),
        rate: 0,
        serial: number,
    }
}

/// A datagram of `len` bytes as two nodes would send each other, told apart by `tag`.
pub fn inner(tag: u64, len: usize) -> Vec<u8> {
    let mut datagram = vec![0xa5; len.max(DATA_OVERHEAD)];
    outer::write_data_header(&mut datagram, SessionIndex(1), tag);
    datagram
}

/// A driver that keeps what the relay sends, and moves its clock by hand.
#[derive(Debug)]
pub struct Rig {
    pub relay: Relay,
    pub now: Instant,
}

impl Rig {
    pub fn new(config: Config) -> Self {
        let now = Instant::ZERO;
        Self { relay: Relay::new(now, config, [3; 32]), now }
    }

    /// Hands one datagram in; gives what the relay sends for it.
    pub fn input(&mut self, local: SocketAddr, from: SocketAddr, datagram: &[u8]) -> Vec<Transmit> {
        let mut datagram = datagram.to_vec();
        let forward = self.relay.handle_datagram(self.now, local, from, &mut datagram);
        let forward =
            forward.map(|forward| Transmit { from: forward.from, to: forward.to, datagram: forward.datagram.to_vec() });
        let mut sent = self.drain();
        sent.extend(forward);
        sent
    }

    /// Lets time pass, with every timer at its time; gives what the relay sends.
    pub fn advance(&mut self, time: Duration) -> Vec<Transmit> {
        let end = self.now + time;
        let mut sent = self.drain();
        while let Some((at, _)) = self.relay.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.relay.handle_timeout(self.now);
            sent.extend(self.drain());
        }
        self.now = end;
        sent
    }

    /// Sends what a client says, and hands each client what the relay sends it.
    pub fn say(&mut self, client: &Client, datagram: &[u8]) -> Vec<Transmit> {
        self.input(client.relay, client.address, datagram)
    }

    fn drain(&mut self) -> Vec<Transmit> {
        core::iter::from_fn(|| self.relay.poll_transmit()).collect()
    }
}

/// Gives each client what was sent to it.
pub fn deliver(sent: &[Transmit], clients: &mut [&mut Client]) {
    for transmit in sent {
        for client in clients.iter_mut().filter(|client| client.address == transmit.to) {
            client.handle(transmit.from, &transmit.datagram);
        }
    }
}

/// One side of a communication, as its node plays it.
#[derive(Debug)]
pub struct Client {
    pub side: Side,
    pub token: RelayToken,
    pub bind_key: Psk,
    pub address: SocketAddr,
    /// The relay's address that this client uses.
    pub relay: SocketAddr,
    /// Of the last bind.
    pub sequence: u64,
    pub index: Option<RelayIndex>,
    /// Where the relay saw the last answered bind come from.
    pub observed: Option<SocketAddr>,
    /// The inner datagrams that came to it, by its own index.
    pub received: Vec<Vec<u8>>,
    /// Datagrams that made no sense to it.
    pub refused: u32,
}

impl Client {
    pub fn new(body: &TokenBody, side: Side, at: &str) -> Self {
        let key = grant_key();
        let token = key.mint(body);
        let at = address(at);
        Self {
            side,
            bind_key: key.bind_key(&token, side),
            token,
            address: at,
            relay: address(if at.is_ipv4() { RELAY4 } else { RELAY6 }),
            sequence: 0,
            index: None,
            observed: None,
            received: Vec::new(),
            refused: 0,
        }
    }

    /// The two sides of communication `number`, both on IPv4.
    pub fn pair(number: u64) -> (Self, Self) {
        let body = token_body(number);
        (Self::new(&body, Side::Initiator, "192.0.2.1:1000"), Self::new(&body, Side::Responder, "203.0.113.2:2000"))
    }

    /// The next bind, with a datagram for the peer or without.
    pub fn bind(&mut self, inner: Option<&[u8]>) -> Vec<u8> {
        self.sequence += 1;
        let mac = |covered: &[u8]| bind_mac(&self.bind_key, covered);
        outer::emit_relay_bind(self.side, self.sequence, &self.token, inner, mac)
    }

    /// A datagram for the peer.
    ///
    /// # Panics
    /// If the relay has not answered a bind yet.
    pub fn relayed(&self, inner: &[u8]) -> Vec<u8> {
        outer::emit_relayed(self.index.expect("bound"), inner)
    }

    /// Goes to another network.
    pub fn move_to(&mut self, at: &str) {
        self.address = address(at);
        self.relay = address(if self.address.is_ipv4() { RELAY4 } else { RELAY6 });
    }

    pub fn handle(&mut self, from: SocketAddr, datagram: &[u8]) {
        match Outer::parse(datagram) {
            Ok(Outer::RelayBound(bound))
                if bound.side == self.side
                    && bound.sequence == self.sequence
                    && bind_mac(&self.bind_key, bound.covered()) == *bound.mac
                    && from == self.relay =>
            {
                self.index = Some(bound.index);
                self.observed = Some(bound.observed);
            }
            Ok(Outer::Relayed { inner, .. }) => self.received.push(inner.to_vec()),
            _ => self.refused += 1,
        }
    }
}

/// Binds both sides and has both prove their addresses.
pub fn join(rig: &mut Rig, a: &mut Client, b: &mut Client) {
    for _ in 0..2 {
        for turn in [true, false] {
            let client = if turn { &mut *a } else { &mut *b };
            let datagram = match client.index {
                None => client.bind(None),
                Some(_) => client.relayed(&outer::PUNCH),
            };
            let sent = rig.say(client, &datagram);
            deliver(&sent, &mut [&mut *a, &mut *b]);
        }
    }
}

/// A direction server that answers one relay.
#[derive(Debug)]
pub struct DirectionServer {
    pub noise_key: NoiseKey,
    pub psk: Psk,
    pub session: Session<SIGNAL_WINDOW_WORDS>,
    pub reports: Vec<RelayReport>,
    /// The transactions that the relay has acknowledged.
    pub acknowledged: Vec<TransactionId>,
    /// The sequence numbers of the relay's hellos.
    pub hellos: Vec<u64>,
    pub answers_reports: bool,
    rng: Rng,
}

impl Default for DirectionServer {
    fn default() -> Self {
        let provider = crypto::default_provider();
        Self {
            noise_key: NoiseKey::from_secret(provider, Secret::new([0xdc; 32])),
            psk: Secret::new([0x9a; 32]),
            session: Session::new(provider),
            reports: Vec::new(),
            acknowledged: Vec::new(),
            hellos: Vec::new(),
            answers_reports: true,
            rng: Rng::from_seed([0xdc; 32]),
        }
    }
}

impl DirectionServer {
    /// How the relay is told of it.
    pub fn director(&self) -> Director {
        Director { noise_key: *self.noise_key.public(), addresses: vec![address(DIRECTOR)], psk: self.psk.clone() }
    }

    /// Loses everything but its keys.
    pub fn restart(&mut self) {
        *self = Self { rng: self.rng.fork(), ..Self::default() };
    }

    /// What it answers to one of the relay's datagrams; nothing where it does not understand it.
    pub fn handle(&mut self, now: Instant, datagram: &[u8]) -> Option<Vec<u8>> {
        let provider = crypto::default_provider();
        match Outer::parse(datagram).ok()? {
            Outer::HandshakeInit(init) => {
                let incoming = Incoming::read(provider, &mut self.rng, &self.noise_key, &init).ok()?;
                let Message::ServerHello(hello) = Envelope::parse(incoming.payload()).ok()?.message else {
                    return None;
                };
                self.hellos.push(hello.sequence);
                let local = SessionIndex(self.rng.u32());
                self.session.accept(now, incoming, &self.psk, local, &[]).ok()
            }
            Outer::Data(_) => {
                let mut datagram = datagram.to_vec();
                let opened = self.session.open_in_place(now, &mut datagram).ok()?;
                let Ok(Frame::Signal(signal)) = Frame::parse(&datagram[opened.plaintext]) else { return None };
                let Envelope { transaction, message } = Envelope::parse(signal).ok()?;
                match message {
                    Message::RelayReport(report) => {
                        self.reports.push(report);
                        let answer = Envelope { transaction, message: Message::RelayAck };
                        if self.answers_reports { self.signal(now, &answer) } else { None }
                    }
                    Message::RelayAck => {
                        self.acknowledged.push(transaction);
                        None
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    pub fn revoke(&mut self, now: Instant, transaction: u32, path_id: PathId) -> Option<Vec<u8>> {
        let message = Message::RelayDirection(RelayDirection { revoke: path_id });
        self.signal(now, &Envelope { transaction: TransactionId(transaction), message })
    }

    pub fn signal(&mut self, now: Instant, envelope: &Envelope) -> Option<Vec<u8>> {
        let mut plaintext = Vec::new();
        Frame::Signal(&envelope.emit()).emit(&mut plaintext);
        self.session.seal(now, &plaintext).ok()
    }

    /// Hands it what the relay sent, and the relay what it answers, until both are silent.
    pub fn converse(&mut self, rig: &mut Rig, mut sent: Vec<Transmit>) {
        while let Some(transmit) = sent.pop() {
            if transmit.to == address(DIRECTOR)
                && let Some(answer) = self.handle(rig.now, &transmit.datagram)
            {
                sent.extend(rig.input(transmit.from, transmit.to, &answer));
            }
        }
    }
}
