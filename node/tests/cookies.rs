//! What somebody on the way can do with a cookie.

// Clippy sees no test in a test's helper.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use ntm_node::{Config, Director, LocalInterface, Node};
use ntm_proto::crypto::{self, Secret};
use ntm_proto::id::{DeviceName, Fqdn, InterfaceId};
use ntm_proto::identity::{IdentityKey, NodeRecord, NoiseKey};
use ntm_proto::rng::Rng;
use ntm_proto::session::{CookieJar, Verdict};
use ntm_proto::time::{Instant, UnixTime, WallClock};

const NOW: Instant = Instant::ZERO;
const DIRECTOR: &str = "192.0.2.1:4500";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A node that is about to register with a coordinator that has this key.
fn node(director: &NoiseKey) -> Node {
    let provider = crypto::default_provider();
    let name = |text| Fqdn::parse(text).unwrap();
    let identity = IdentityKey::from_seed(provider, Secret::new([1; 32]));
    let noise = NoiseKey::from_secret(provider, Secret::new([2; 32]));
    let (fqdn, manager, made) = (name("a.ntm.example"), name("ntm.example"), UnixTime::from_secs(1_790_000_000));
    let record = NodeRecord::sign(provider, &identity, fqdn, *noise.public(), manager, false, made);
    let config = Config {
        provider,
        record,
        noise,
        ticket: vec![0; 100],
        ticket_key: Secret::new([3; 32]),
        directors: vec![Director { noise_key: *director.public(), addresses: vec![at(DIRECTOR)] }],
        relays: vec![],
        wall: WallClock::new(NOW, made),
        wake_token: None,
    };
    let mut node = Node::new(NOW, config, [4; 32]);
    let interface = LocalInterface {
        id: InterfaceId(1),
        name: DeviceName::parse("eth0").unwrap(),
        addresses: vec![at("198.51.100.1:5000")],
        cost: 10,
        network: 1,
    };
    node.handle_interface(NOW, interface);
    node
}

#[test]
fn a_registration_goes_again_to_the_coordinator_that_wants_a_cookie_and_to_nobody_else() {
    let director = NoiseKey::from_secret(crypto::default_provider(), Secret::new([5; 32]));
    let mut node = node(&director);
    let registration = node.poll_transmit().unwrap();
    assert_eq!(registration.to, at(DIRECTOR));
    // Whoever has seen the datagram can make a cookie reply to it.
    let mut rng = Rng::from_seed([6; 32]);
    let mut jar = CookieJar::new(director.public(), NOW, &mut rng);
    let Verdict::Reply(reply) = jar.check(NOW, &mut rng, &registration.datagram, registration.from, true) else {
        panic!("no cookie")
    };
    node.handle_datagram(NOW, registration.interface, registration.from, at("203.0.113.200:53"), &mut reply.clone());
    assert_eq!(node.poll_transmit(), None);
    node.handle_datagram(NOW, registration.interface, registration.from, at(DIRECTOR), &mut reply.clone());
    assert_eq!(node.poll_transmit().map(|again| again.to), Some(at(DIRECTOR)));
}
