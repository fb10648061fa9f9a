//! Two nodes of different domains are told how to reach each other.

use core::time::Duration;

use ntm_direction::limits::AMPLIFICATION;
use ntm_direction::testing::{BEGIN, Domain, Net, fqdn};
use ntm_direction::{Coordinator, Event, ForeignDc, LookupFailed, PinnedDomain, RelayConfig};
use ntm_proto::crypto::Secret;
use ntm_proto::id::{RelayId, SessionIndex, TransactionId};
use ntm_proto::identity::{Role, ServerCert};
use ntm_proto::rng::Rng;
use ntm_proto::session::{CookieJar, GrantKey, Payer, SIGNAL_WINDOW_WORDS, Session, Verdict};
use ntm_proto::wire::frame::Frame;
use ntm_proto::wire::message::{Envelope, ErrorCode, Message, ServerHello, Side, Target};
use ntm_proto::wire::outer::Outer;

struct World {
    net: Net,
    one: Domain,
    two: Domain,
    /// Of the first domain, behind a NAT.
    a: usize,
    /// Of the second.
    b: usize,
}

/// The relay of the second domain.
const RELAY: RelayId = RelayId(1);

fn grant_key() -> GrantKey {
    GrantKey { key_id: 1, key: Secret::new([0x33; 32]) }
}

/// Two domains; the second always has the first one's key pinned, the first one pins as told.
fn world(pin: impl FnOnce(&Domain) -> Option<PinnedDomain>) -> World {
    let one = Domain::new("one.example", 1, "192.0.2.1:4500");
    let two = Domain::new("two.example", 2, "192.0.2.2:4500");
    let mut net = Net::default();
    let (mut config_one, mut config_two) = (one.config(), two.config());
    config_one.domains.extend(pin(&two).map(|pinned| (two.name.clone(), pinned)));
    config_two.domains.insert(one.name.clone(), PinnedDomain { domain_key: *one.key.public(), cert: None });
    let relay = RelayConfig {
        name: fqdn("rs1.two.example"),
        grant: grant_key(),
        psk: Secret::new([0x77; 32]),
        addresses: vec!["192.0.2.100:3478".parse().expect("an address")],
    };
    config_two.relays.insert(RELAY, relay);
    net.add_coordinator(one.address, Coordinator::new(net.now, config_one, [1; 32]));
    net.add_coordinator(two.address, Coordinator::new(net.now, config_two, [2; 32]));
    let a = net.add_node_behind(&one, 1, "a", "10.0.0.1:5000", "203.0.113.1:6000");
    let b = net.add_node_behind(&two, 1, "b", "10.0.0.1:5000", "203.0.113.2:6000");
    net.register(a);
    net.register(b);
    net.take(a);
    net.take(b);
    World { net, one, two, a, b }
}

fn fully_pinned(two: &Domain) -> Option<PinnedDomain> {
    Some(PinnedDomain { domain_key: *two.key.public(), cert: Some(two.cert()) })
}

fn b() -> Target {
    Target::Name(fqdn("b.two.example"))
}

#[test]
fn both_ends_are_told_under_one_key_by_their_own_dcs() {
    let World { mut net, a, b: other, .. } = world(fully_pinned);
    let of_a = net.direct(a, 7, b()).unwrap();
    let of_b = net.direction_of(other, 7).unwrap().unwrap();
    assert_eq!(of_a.psk, of_b.psk);
    assert_eq!((of_a.side, of_b.side), (Side::Initiator, Side::Responder));
    assert_eq!(of_a.peer.record, net.host(other).node.record);
    assert_eq!(of_b.peer.record, net.host(a).node.record);
    assert_eq!(of_a.pairs[0].remote, "203.0.113.2:6000".parse().unwrap());
    assert_eq!(of_b.pairs[0].remote, "203.0.113.1:6000".parse().unwrap());
}

#[test]
fn a_domain_that_is_not_pinned_is_looked_for_once_and_then_known() {
    let World { mut net, one, two, a, .. } = world(|_| None);
    for path in [1, 2] {
        net.ask(a, path, b());
    }
    assert_eq!(net.events(&one).into_iter().filter(|event| matches!(event, Event::FindDomain(_))).count(), 1);
    let now = net.now;
    let found = ForeignDc { cert: two.cert(), domain_key: *two.key.public() };
    net.dc(&one).handle_domain_found(now, &two.name, Ok(found));
    net.settle();
    assert!(net.direction_of(a, 2).unwrap().is_ok());
    assert!(net.direct(a, 3, b()).is_ok());
    assert!(net.events(&one).is_empty());
}

#[test]
fn a_name_deep_below_its_domain_is_found_where_the_driver_says() {
    let World { mut net, one, two, a, .. } = world(|_| None);
    let deep = net.add_node(&two, 9, "x.y.z", "198.51.100.9:5000");
    net.register(deep);
    net.ask(a, 1, Target::Name(fqdn("x.y.z.two.example")));
    let sought = net.events(&one).into_iter().find_map(|event| match event {
        Event::FindDomain(name) => Some(name),
        _ => None,
    });
    assert_eq!(sought, Some(fqdn("y.z.two.example")));
    let now = net.now;
    let found = ForeignDc { cert: two.cert(), domain_key: *two.key.public() };
    net.dc(&one).handle_domain_found(now, &fqdn("y.z.two.example"), Ok(found));
    net.settle();
    assert!(net.direction_of(a, 1).unwrap().is_ok());
}

#[test]
fn a_domain_that_cannot_be_found_is_an_error_and_is_not_sought_again_at_once() {
    let World { mut net, one, two, a, .. } = world(|_| None);
    net.ask(a, 1, b());
    assert_eq!(net.direction_of(a, 1), None);
    let now = net.now;
    net.dc(&one).handle_domain_found(now, &two.name, Err(LookupFailed));
    net.settle();
    assert_eq!(net.direction_of(a, 1), Some(Err(ErrorCode::DomainUnreachable)));
    assert_eq!(net.direct(a, 2, b()), Err(ErrorCode::DomainUnreachable));
    assert_eq!(net.events(&one).into_iter().filter(|event| matches!(event, Event::FindDomain(_))).count(), 1);
}

#[test]
fn a_lookup_that_contradicts_the_pinned_key_is_refused() {
    let World { mut net, one, two, a, .. } =
        world(|two| Some(PinnedDomain { domain_key: *two.key.public(), cert: None }));
    net.ask(a, 1, b());
    let forger = Domain::new("two.example", 66, "192.0.2.66:4500");
    let now = net.now;
    let found = ForeignDc { cert: forger.cert(), domain_key: *forger.key.public() };
    net.dc(&one).handle_domain_found(now, &two.name, Ok(found));
    net.settle();
    assert_eq!(net.direction_of(a, 1), Some(Err(ErrorCode::DomainUnreachable)));
    assert_eq!(net.dc(&one).stats().dropped.bad_certificate, 1);
}

#[test]
fn a_dc_whose_domain_is_not_known_here_gets_no_session_until_its_key_is() {
    let one = Domain::new("one.example", 1, "192.0.2.1:4500");
    let two = Domain::new("two.example", 2, "192.0.2.2:4500");
    let mut net = Net::default();
    let mut config = one.config();
    config.domains.insert(two.name.clone(), PinnedDomain { domain_key: *two.key.public(), cert: Some(two.cert()) });
    net.add_coordinator(one.address, Coordinator::new(net.now, config, [1; 32]));
    net.add_coordinator(two.address, two.coordinator(net.now));
    let a = net.add_node(&one, 1, "a", "198.51.100.1:5000");
    let b = net.add_node(&two, 1, "b", "198.51.100.2:5000");
    net.register(a);
    net.register(b);
    net.ask(a, 7, self::b());
    assert!(net.events(&two).contains(&Event::FindDomain(one.name.clone())));
    assert_eq!(net.dc(&two).gauges().peers, 0);
    let now = net.now;
    let found = ForeignDc { cert: one.cert(), domain_key: *one.key.public() };
    net.dc(&two).handle_domain_found(now, &one.name, Ok(found));
    net.advance(Duration::from_secs(1));
    assert!(net.direction_of(a, 7).unwrap().is_ok());
}

#[test]
fn a_dc_that_shows_a_certificate_of_its_own_making_gets_no_session_when_the_domain_is_found() {
    let (mut net, two) = called_by_a_stranger("one.example");
    let real = Domain::new("one.example", 3, "192.0.2.1:4500");
    let now = net.now;
    let found = ForeignDc { cert: real.cert(), domain_key: *real.key.public() };
    net.dc(&two).handle_domain_found(now, &real.name, Ok(found));
    net.settle();
    assert_eq!(net.dc(&two).gauges().peers, 0);
    assert_eq!(net.dc(&two).stats().dropped.bad_certificate, 1);
}

#[test]
fn a_call_from_below_a_domain_that_was_found_is_not_looked_up_for_ever() {
    let (mut net, two) = called_by_a_stranger("deep.one.example");
    let one = Domain::new("one.example", 3, "192.0.2.1:4500");
    let now = net.now;
    let found = ForeignDc { cert: one.cert(), domain_key: *one.key.public() };
    net.dc(&two).handle_domain_found(now, &fqdn("deep.one.example"), Ok(found));
    net.settle();
    assert_eq!(net.events(&two), []);
    assert_eq!(net.dc(&two).gauges().peers, 0);
}

/// A coordinator of two.example that was called by one of a domain it does not know, and looks for that.
fn called_by_a_stranger(name: &str) -> (Net, Domain) {
    let one = Domain::new(name, 1, "192.0.2.1:4500");
    let two = Domain::new("two.example", 2, "192.0.2.2:4500");
    let mut net = Net::default();
    let mut config = one.config();
    config.domains.insert(two.name.clone(), PinnedDomain { domain_key: *two.key.public(), cert: Some(two.cert()) });
    net.add_coordinator(one.address, Coordinator::new(net.now, config, [1; 32]));
    net.add_coordinator(two.address, two.coordinator(net.now));
    let a = net.add_node(&one, 1, "a", "198.51.100.1:5000");
    net.register(a);
    net.ask(a, 7, self::b());
    assert!(net.events(&two).contains(&Event::FindDomain(one.name.clone())));
    (net, two)
}

#[test]
fn an_expired_certificate_gets_no_session() {
    let forged = |two: &Domain| {
        let address = vec![two.address];
        ServerCert::sign(
            two.provider,
            &two.key,
            Role::Direction,
            two.name.clone(),
            fqdn("dc.two.example"),
            *two.noise.public(),
            address,
            BEGIN,
        )
    };
    let World { mut net, one, two, a, .. } =
        world(|two| Some(PinnedDomain { domain_key: *two.key.public(), cert: Some(forged(two)) }));
    // A pinned certificate that has expired is as good as none: the driver is asked.
    net.ask(a, 1, b());
    assert!(net.events(&one).contains(&Event::FindDomain(two.name.clone())));
    assert_eq!(net.dc(&two).gauges().peers, 0);
}

#[test]
fn what_the_other_domain_does_not_know_is_not_found() {
    let World { mut net, a, .. } = world(fully_pinned);
    assert_eq!(net.direct(a, 1, Target::Name(fqdn("nobody.two.example"))), Err(ErrorCode::NoSuchNode));
}

#[test]
fn a_dead_dc_of_the_other_domain_is_an_error_within_seconds() {
    let one = Domain::new("one.example", 1, "192.0.2.1:4500");
    let two = Domain::new("two.example", 2, "192.0.2.2:4500");
    let mut net = Net::default();
    let mut config = one.config();
    config.domains.insert(two.name.clone(), fully_pinned(&two).unwrap());
    net.add_coordinator(one.address, Coordinator::new(net.now, config, [1; 32]));
    let a = net.add_node(&one, 1, "a", "198.51.100.1:5000");
    net.register(a);
    net.ask(a, 7, b());
    net.advance(Duration::from_secs(15));
    assert_eq!(net.direction_of(a, 7), Some(Err(ErrorCode::DomainUnreachable)));
    net.advance(Duration::from_secs(30));
    assert_eq!(net.dc(&one).gauges().peers, 0);
}

#[test]
fn a_restarted_dc_of_the_other_domain_is_called_anew_and_answers() {
    let World { mut net, one, two, a, b: other } = world(fully_pinned);
    net.direct(a, 1, b()).unwrap();
    let mut config = two.config();
    config.domains.insert(one.name.clone(), PinnedDomain { domain_key: *one.key.public(), cert: None });
    net.add_coordinator(two.address, Coordinator::new(net.now, config, [3; 32]));
    net.register(other);
    net.ask(a, 2, b());
    net.advance(Duration::from_secs(2));
    assert!(net.direction_of(a, 2).unwrap().is_ok());
}

#[test]
fn the_responder_moves_and_asks_and_both_keep_key_and_sides_while_its_own_account_pays_for_its_domains_relay() {
    let World { mut net, two, a, b: other, .. } = world(fully_pinned);
    let before = net.direct(a, 7, b()).unwrap();
    net.advance(Duration::from_secs(20));
    net.host(other).address = "203.0.113.99:1111".parse().unwrap();
    net.host(other).node.renumber(1, &["192.168.3.4:5000"]);
    let moved = net.host(other).node.register_again(1);
    net.send(other, moved);
    net.take(a);
    let target = Target::Node(net.host(a).node.id());
    let of_b = net.direct(other, 7, target).unwrap();
    let of_a = net.direction_of(a, 7).unwrap().unwrap();
    assert_eq!((&of_a.psk, &of_b.psk), (&before.psk, &before.psk));
    assert_eq!((of_a.side, of_b.side), (Side::Initiator, Side::Responder));
    assert_eq!(of_a.pairs[0].remote, "203.0.113.99:1111".parse().unwrap());
    let [first, second] = [&of_a, &of_b].map(|told| grant_key().open(&told.grants[0].token, BEGIN).unwrap());
    assert_eq!(first, second);
    assert_eq!(first.payer, Payer::at(RELAY, &two.account).0);
}

#[test]
fn idle_sessions_between_domains_end() {
    let World { mut net, one, two, a, .. } = world(fully_pinned);
    net.direct(a, 7, b()).unwrap();
    assert_eq!((net.dc(&one).gauges().peers, net.dc(&two).gauges().peers), (1, 1));
    net.advance(Duration::from_secs(600));
    assert_eq!((net.dc(&one).gauges().peers, net.dc(&two).gauges().peers), (0, 0));
    assert_eq!(net.dc(&one).gauges().deliveries, 0);
}

/// What the first domain's DC last sent to the address of the second, where nobody is.
fn call(net: &mut Net, two: &Domain) -> Vec<u8> {
    net.lost.iter().rev().find(|lost| lost.to == two.address).map(|lost| lost.datagram.clone()).expect("a call")
}

#[test]
fn a_cookie_from_elsewhere_does_not_draw_a_handshake_there() {
    let one = Domain::new("one.example", 1, "192.0.2.1:4500");
    let two = Domain::new("two.example", 2, "192.0.2.2:4500");
    let mut net = Net::default();
    let mut config = one.config();
    config.domains.extend(fully_pinned(&two).map(|pinned| (two.name.clone(), pinned)));
    net.add_coordinator(one.address, Coordinator::new(net.now, config, [1; 32]));
    let a = net.add_node(&one, 1, "a", "198.51.100.1:5000");
    net.register(a);
    net.ask(a, 7, b());
    let mut rng = Rng::from_seed([3; 32]);
    let mut jar = CookieJar::new(two.noise.public(), net.now, &mut rng);
    let Verdict::Reply(reply) = jar.check(net.now, &mut rng, &call(&mut net, &two), one.address, true) else {
        panic!("no cookie")
    };
    net.lost.clear();
    net.send_from("203.0.113.200:53".parse().unwrap(), one.address, reply.clone());
    assert!(net.lost.is_empty());
    net.send_from(two.address, one.address, reply);
    assert!(matches!(Outer::parse(&call(&mut net, &two)), Ok(Outer::HandshakeInit(_))));
}

#[test]
fn a_dc_does_not_prove_an_address_by_an_answer_that_went_elsewhere_too() {
    let one = Domain::new("one.example", 1, "192.0.2.1:4500");
    let two = Domain::new("two.example", 2, "192.0.2.2:4500");
    let mut net = Net::default();
    let mut config = one.config();
    config.domains.extend(fully_pinned(&two).map(|pinned| (two.name.clone(), pinned)));
    net.add_coordinator(one.address, Coordinator::new(net.now, config, [1; 32]));
    let a = net.add_node(&one, 1, "a", "198.51.100.1:5000");
    net.register(a);
    // The other domain's DC calls under the victim's address, and has the answer repeated to another one.
    let (victim, own) = ("203.0.113.200:53".parse().unwrap(), "203.0.113.66:666".parse().unwrap());
    let mut rng = Rng::from_seed([3; 32]);
    let mut session = Session::<SIGNAL_WINDOW_WORDS>::new(two.provider);
    let hello = Message::ServerHello(ServerHello { cert: two.cert(), sequence: 1 });
    let payload = Envelope { transaction: TransactionId(1), message: hello }.emit();
    let psk = Secret::new([0; 32]);
    let call = session.begin(net.now, &mut rng, &two.noise, one.noise.public(), &psk, SessionIndex(9), &payload);
    net.send_from(victim, one.address, call.clone());
    net.send_from(own, one.address, call);
    let answer = net.lost.iter().find(|lost| lost.to == own).map(|lost| lost.datagram.clone()).expect("an answer");
    let Ok(Outer::HandshakeResponse(answer)) = Outer::parse(&answer) else { panic!("{answer:?}") };
    session.handle_response(net.now, &answer).unwrap();
    let mut keep_alive = Vec::new();
    Frame::KeepAlive.emit(&mut keep_alive);
    let confirmed = session.seal(net.now, &keep_alive).unwrap();
    net.send_from(victim, one.address, confirmed);
    for path in 1..10 {
        net.ask(a, path, b());
    }
    net.advance(Duration::from_secs(10));
    let traffic = net.traffic[&victim];
    assert!(traffic.sent_to <= AMPLIFICATION * traffic.received_from, "{traffic:?}");
}
