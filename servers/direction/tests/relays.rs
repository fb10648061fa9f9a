//! Relays report, are granted, and forget what is revoked.

use core::net::SocketAddr;
use core::num::NonZeroU16;
use core::time::Duration;

use ntm_direction::testing::{BEGIN, Domain, Net, fqdn};
use ntm_direction::{Coordinator, RelayConfig};
use ntm_proto::crypto::Secret;
use ntm_proto::id::{AccountPseudonym, PathId, RelayId, SessionIndex, TransactionId};
use ntm_proto::identity::{NoiseKey, Role, ServerCert};
use ntm_proto::rng::Rng;
use ntm_proto::session::Psk;
use ntm_proto::session::pair::Session;
use ntm_proto::session::relay_token::{GrantKey, TokenBody};
use ntm_proto::session::replay::SIGNAL_WINDOW_WORDS;
use ntm_proto::time::Instant;
use ntm_proto::wire::frame::Frame;
use ntm_proto::wire::message::{
    Envelope, Message, RelayDirection, RelayGrant, RelayReport, RelayRtt, RouteDirection, ServerHello, Side, Target,
};
use ntm_proto::wire::outer::Outer;

/// A relay server, driven by hand.
struct Relay {
    id: RelayId,
    psk: Psk,
    noise: NoiseKey,
    cert: ServerCert,
    session: Session<SIGNAL_WINDOW_WORDS>,
    address: SocketAddr,
    rng: Rng,
    sequence: u64,
}

impl Relay {
    fn new(domain: &Domain, number: u8) -> Self {
        let noise = NoiseKey::from_secret(domain.provider, Secret::new([number; 32]));
        let address = SocketAddr::from(([192, 0, 2, 100 + number], 3478));
        let cert = ServerCert::sign(
            domain.provider,
            &domain.key,
            Role::Relay,
            domain.name.clone(),
            fqdn(&format!("rs{number}.ntm.example")),
            *noise.public(),
            vec![address],
            BEGIN + Duration::from_secs(86_400),
        );
        Self {
            id: RelayId(u32::from(number)),
            psk: Secret::new([number ^ 0x77; 32]),
            noise,
            cert,
            session: Session::new(domain.provider),
            address,
            rng: Rng::from_seed([number; 32]),
            sequence: BEGIN.as_millis(),
        }
    }

    fn config(&self, with_address: bool) -> RelayConfig {
        RelayConfig {
            name: self.cert.name.clone(),
            grant: self.grant_key(),
            psk: self.psk.clone(),
            addresses: if with_address { vec![self.address] } else { Vec::new() },
        }
    }

    fn grant_key(&self) -> GrantKey {
        GrantKey { key_id: self.id.0 as u8, key: Secret::new([self.id.0 as u8 ^ 0x33; 32]) }
    }

    fn call(&mut self, now: Instant, domain: &Domain) -> Vec<u8> {
        self.sequence += 1;
        let hello = ServerHello { cert: self.cert.clone(), sequence: self.sequence };
        let payload = Envelope { transaction: TransactionId(0), message: Message::ServerHello(hello) }.emit();
        let index = SessionIndex(self.rng.u32());
        let peer = domain.noise.public();
        self.session.begin(now, &mut self.rng, &self.noise, peer, &self.psk, index, &payload)
    }

    fn seal(&self, now: Instant, transaction: u32, message: Message) -> Vec<u8> {
        let mut frame = Vec::new();
        Frame::Signal(&Envelope { transaction: TransactionId(transaction), message }.emit()).emit(&mut frame);
        self.session.seal(now, &frame).expect("a session")
    }

    fn report(&self, now: Instant, load: u16, draining: bool) -> Vec<u8> {
        self.report_shards(now, load, draining, NonZeroU16::MIN)
    }

    fn report_shards(&self, now: Instant, load: u16, draining: bool, shards: NonZeroU16) -> Vec<u8> {
        let report = RelayReport { relay: self.id, addresses: vec![self.address], load, draining, shards };
        self.seal(now, 5, Message::RelayReport(report))
    }

    fn receive(&mut self, now: Instant, datagram: &mut [u8]) -> Option<Envelope> {
        if let Ok(Outer::HandshakeResponse(response)) = Outer::parse(datagram) {
            let payload = self.session.handle_response(now, &response).expect("an answer to its call");
            return Envelope::parse(&payload).ok();
        }
        let opened = self.session.open_in_place(now, datagram).ok()?;
        match Frame::parse(&datagram[opened.plaintext]) {
            Ok(Frame::Signal(bytes)) => Envelope::parse(bytes).ok(),
            _ => None,
        }
    }
}

struct World {
    net: Net,
    domain: Domain,
    relays: Vec<Relay>,
    a: usize,
    b: usize,
}

fn world(count: u8, with_address: bool) -> World {
    let domain = Domain::new("ntm.example", 1, "192.0.2.1:4500");
    let relays: Vec<Relay> = (1..=count).map(|number| Relay::new(&domain, number)).collect();
    let mut config = domain.config();
    config.relays = relays.iter().map(|relay| (relay.id, relay.config(with_address))).collect();
    let mut net = Net::default();
    net.add_coordinator(domain.address, Coordinator::new(net.now, config, [1; 32]));
    let a = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let b = net.add_node(&domain, 2, "b", "[2001:db8::2]:5000");
    World { net, domain, relays, a, b }
}

impl World {
    fn register(&mut self) {
        self.net.register(self.a);
        // The second node is of another family; its DC is reached all the same in this network.
        self.net.register(self.b);
    }

    fn exchange(&mut self, relay: usize, datagram: Vec<u8>) -> Vec<Envelope> {
        let (from, to) = (self.relays[relay].address, self.domain.address);
        self.net.send_from(from, to, datagram);
        self.received(relay)
    }

    fn received(&mut self, relay: usize) -> Vec<Envelope> {
        let address = self.relays[relay].address;
        let now = self.net.now;
        let datagrams = self.net.lost.extract_if(.., |transmit| transmit.to == address).collect::<Vec<_>>();
        let relay = &mut self.relays[relay];
        datagrams.into_iter().filter_map(|mut transmit| relay.receive(now, &mut transmit.datagram)).collect()
    }

    fn connect(&mut self, relay: usize) {
        let call = self.relays[relay].call(self.net.now, &self.domain);
        let hello = self.exchange(relay, call);
        assert!(matches!(hello[..], [Envelope { message: Message::ServerHello(_), .. }]), "{hello:?}");
    }

    fn report(&mut self, relay: usize, load: u16, draining: bool) -> Vec<Envelope> {
        let report = self.relays[relay].report(self.net.now, load, draining);
        self.exchange(relay, report)
    }

    fn direct(&mut self, path: u8) -> RouteDirection {
        self.net.direct(self.a, path, Target::Name(fqdn("b.ntm.example"))).expect("a direction")
    }

    /// What the tokens say that `node` gets for a communication with b, in the order of the relays.
    fn tokens(&mut self, node: usize, path: u8) -> Vec<TokenBody> {
        let mut grants = self.net.direct(node, path, Target::Name(fqdn("b.ntm.example"))).expect("a direction").grants;
        grants.sort_by_key(|grant| grant.relay);
        let open = |grant: &RelayGrant| {
            let relay = self.relays.iter().find(|relay| relay.id == grant.relay).expect("one of the relays");
            relay.grant_key().open(&grant.token, BEGIN).expect("a genuine token")
        };
        grants.iter().map(open).collect()
    }

    fn granted(&mut self, path: u8) -> Vec<u32> {
        self.direct(path).grants.iter().map(|grant| grant.relay.0).collect()
    }
}

/// One relay, and a communication 7 whose responder was revoked after both ends had been directed.
fn with_a_revoked_responder() -> World {
    let mut world = world(1, false);
    world.b = world.net.add_node(&world.domain, 3, "b", "203.0.113.3:5000");
    world.register();
    world.connect(0);
    world.report(0, 0, false);
    world.direct(7);
    let (now, id) = (world.net.now, world.net.host(world.b).node.id());
    world.net.dc(&world.domain).handle_revocation(now, id);
    world.net.settle();
    world
}

/// The transaction in which a relay is told to forget communication 7.
fn revoked(envelopes: &[Envelope]) -> Option<TransactionId> {
    let revocation = Message::RelayDirection(RelayDirection { revoke: PathId([7; 16]) });
    envelopes.iter().find(|envelope| envelope.message == revocation).map(|envelope| envelope.transaction)
}

#[test]
fn both_ends_get_grants_that_the_relay_can_open_and_that_are_for_their_side() {
    let mut world = world(1, true);
    // Both ends reach the relay's IPv4 address only if they have IPv4.
    world.b = world.net.add_node(&world.domain, 3, "b", "203.0.113.3:5000");
    world.register();
    world.net.take(world.b);
    let of_a = world.direct(7);
    let of_b = world.net.direction_of(world.b, 7).unwrap().unwrap();
    let [grant_a, grant_b] = [&of_a.grants[0], &of_b.grants[0]];
    assert_eq!((grant_a.side, grant_b.side), (Side::Initiator, Side::Responder));
    assert_eq!(grant_a.token, grant_b.token);
    let key = world.relays[0].grant_key();
    let body = key.open(&grant_a.token, BEGIN).unwrap();
    assert_eq!(body.path_id, PathId([7; 16]));
    for grant in [grant_a, grant_b] {
        assert_eq!(grant.bind_key, key.bind_key(&grant.token, grant.side));
    }
    assert_ne!(grant_a.bind_key, grant_b.bind_key);
}

#[test]
fn ipv4_only_and_ipv6_only_nodes_have_the_relay_alone_if_it_speaks_both() {
    let mut world = world(1, false);
    world.relays[0].cert.addresses.clear();
    world.register();
    assert!(world.granted(1).is_empty(), "a relay that nobody knows the address of is not offered");
    world.relays[0] = Relay::new(&world.domain, 1);
    world.connect(0);
    let report = RelayReport {
        relay: RelayId(1),
        addresses: vec![world.relays[0].address, "[2001:db8::100]:3478".parse().unwrap()],
        load: 0,
        draining: false,
        shards: NonZeroU16::MIN,
    };
    let report = world.relays[0].seal(world.net.now, 1, Message::RelayReport(report));
    assert!(matches!(world.exchange(0, report)[..], [Envelope { message: Message::RelayAck, .. }]));
    world.net.advance(Duration::from_secs(2));
    let direction = world.direct(2);
    assert!(direction.pairs.is_empty());
    assert_eq!(direction.grants[0].addresses.len(), 2);
}

#[test]
fn the_best_relay_and_a_spare_are_offered_and_a_leaving_or_silent_one_is_not() {
    let mut world = world(3, false);
    world.b = world.net.add_node(&world.domain, 3, "b", "203.0.113.3:5000");
    let rtts = |ms: [u64; 3]| {
        (1..).zip(ms).map(|(id, ms)| RelayRtt { relay: RelayId(id), rtt: Duration::from_millis(ms) }).collect()
    };
    world.net.host(world.a).node.relay_rtts = rtts([50, 10, 90]);
    world.net.host(world.b).node.relay_rtts = rtts([50, 20, 90]);
    world.register();
    for relay in 0..3 {
        world.connect(relay);
        assert!(matches!(world.report(relay, 0, false)[..], [Envelope { message: Message::RelayAck, .. }]));
    }
    assert_eq!(world.granted(1), [2, 1]);
    world.report(1, 0, true);
    assert_eq!(world.granted(2), [1, 3]);
    world.report(1, 0, false);
    world.report(0, 9_999, false);
    assert_eq!(world.granted(3), [2, 3]);
    for _ in 0..4 {
        world.net.advance(Duration::from_secs(10));
        world.net.keep_alive(world.a);
        world.net.keep_alive(world.b);
        world.report(0, 0, false);
    }
    assert_eq!(world.granted(4), [1], "the others have said nothing for too long");
}

#[test]
fn the_grants_of_one_account_name_one_payer_and_meet_in_one_shard_and_no_two_relays_know_it_by_the_same_name() {
    let mut world = world(2, false);
    world.b = world.net.add_node(&world.domain, 3, "b", "203.0.113.3:5000");
    let second = world.net.add_node(&world.domain, 4, "second", "198.51.100.4:5000");
    world.domain.account = AccountPseudonym([0xee; 8]);
    let stranger = world.net.add_node(&world.domain, 5, "stranger", "198.51.100.5:5000");
    world.register();
    world.net.register(second);
    world.net.register(stranger);
    let shards = [6, 7].map(|shards| NonZeroU16::new(shards).expect("not zero"));
    for (relay, shards) in shards.into_iter().enumerate() {
        world.connect(relay);
        let report = world.relays[relay].report_shards(world.net.now, 0, false, shards);
        world.exchange(relay, report);
    }
    let seats = |tokens: &[TokenBody]| -> Vec<_> {
        assert_eq!(tokens.len(), 2);
        let shard = |token: &TokenBody, shards: NonZeroU16| token.serial as u32 % u32::from(shards.get());
        tokens.iter().zip(shards).map(|(token, shards)| (token.payer, shard(token, shards))).collect()
    };
    let first = world.tokens(world.a, 1);
    for path in 2..12 {
        let node = if path % 2 == 0 { world.a } else { second };
        let tokens = world.tokens(node, path);
        assert_eq!(seats(&tokens), seats(&first));
        assert_ne!(tokens[0].serial, first[0].serial);
        let others = world.tokens(stranger, 100 + path);
        assert!(others.iter().zip(&first).all(|(other, own)| other.payer != own.payer), "b's account does not pay");
    }
    assert_ne!(first[0].payer, first[1].payer);
}

#[test]
fn relays_forget_the_communications_of_a_revoked_node_and_are_told_until_they_say_so() {
    let mut world = with_a_revoked_responder();
    let first = world.received(0);
    let transaction = revoked(&first).expect("the relay is told");
    world.net.advance(Duration::from_millis(300));
    assert_eq!(revoked(&world.received(0)), Some(transaction), "and again");
    let ack = world.relays[0].seal(world.net.now, transaction.0, Message::RelayAck);
    world.exchange(0, ack);
    world.net.advance(Duration::from_secs(20));
    assert_eq!(revoked(&world.received(0)), None);
}

#[test]
fn a_relay_that_lost_its_memory_is_told_again_what_was_revoked_until_the_tokens_end() {
    let mut world = with_a_revoked_responder();
    let told = |world: &mut World| {
        // The report is the first that comes by the new session.
        let received = world.report(0, 0, false);
        let transaction = revoked(&received)?;
        let ack = world.relays[0].seal(world.net.now, transaction.0, Message::RelayAck);
        world.exchange(0, ack);
        Some(())
    };
    told(&mut world);
    assert!(told(&mut world).is_none(), "it has said that it knows");
    world.relays[0].session = Session::new(world.domain.provider);
    world.connect(0);
    assert!(told(&mut world).is_some(), "it may have forgotten");
    world.net.advance(ntm_direction::DEFAULT_GRANT_LIFETIME);
    world.relays[0].session = Session::new(world.domain.provider);
    world.connect(0);
    assert!(told(&mut world).is_none(), "no token for it is good any more");
}

#[test]
fn a_relay_cannot_report_for_another_nor_without_its_key() {
    let mut world = world(2, false);
    world.connect(0);
    let report =
        RelayReport { relay: RelayId(2), addresses: Vec::new(), load: 0, draining: true, shards: NonZeroU16::MIN };
    let report = world.relays[0].seal(world.net.now, 1, Message::RelayReport(report));
    assert!(world.exchange(0, report).is_empty());
    assert_eq!(world.net.dc(&world.domain).stats().dropped.unexpected_message, 1);
    // With the certificate of the second and the key of another.
    world.relays[1].noise = NoiseKey::from_secret(world.domain.provider, Secret::new([99; 32]));
    let call = world.relays[1].call(world.net.now, &world.domain);
    assert!(world.exchange(1, call).is_empty());
    assert_eq!(world.net.dc(&world.domain).stats().dropped.bad_certificate, 1);
}

#[test]
fn a_replayed_call_of_a_relay_changes_nothing() {
    let mut world = world(1, false);
    let call = world.relays[0].call(world.net.now, &world.domain);
    world.exchange(0, call.clone());
    world.report(0, 0, false);
    let second = world.relays[0].call(world.net.now, &world.domain);
    world.exchange(0, second);
    world.report(0, 0, false);
    let before = world.net.dc(&world.domain).gauges();
    let attacker = "203.0.113.66:666".parse().unwrap();
    world.net.send_from(attacker, world.domain.address, call);
    assert_eq!(world.net.dc(&world.domain).gauges(), before);
    assert_eq!(world.net.dc(&world.domain).stats().dropped.stale_sequence, 1);
    assert_eq!(world.net.traffic[&attacker].sent_to, 0);
}
