//! A node registers, stays registered, and gets the same addresses again.

use core::time::Duration;

use ntm_direction::testing::{Domain, Net, Received};
use ntm_direction::{Event, Gone};
use ntm_proto::wire::message::{Envelope, ErrorCode, KeepAliveAck, Message, Target};

fn domain() -> (Domain, Net) {
    let domain = Domain::new("ntm.example", 1, "192.0.2.1:4500");
    let mut net = Net::default();
    net.add_coordinator(domain.address, domain.coordinator(net.now));
    (domain, net)
}

#[test]
fn a_node_with_a_ticket_is_registered_after_one_round_trip() {
    let (domain, mut net) = domain();
    let node = net.add_node_behind(&domain, 1, "a", "10.0.0.1:5000", "203.0.113.1:6000");
    let datagram = net.host(node).node.register(1);
    net.send(node, datagram);
    let inbox = net.take(node);
    let [Received::Registered(response)] = &inbox[..] else { panic!("{inbox:?}") };
    assert_eq!(response.observed, "203.0.113.1:6000".parse().unwrap());
    assert_eq!(response.virtual6.octets()[8..], net.host(node).node.id().0[..8]);
    assert_eq!(response.virtual4.octets()[..2], [198, 18 + (response.virtual4.octets()[1] & 1)]);
    // Its first data datagram may be anything.
    assert_eq!(
        net.direct(node, 1, Target::Name(ntm_direction::testing::fqdn("nobody.ntm.example"))),
        Err(ErrorCode::NoSuchNode)
    );
    assert_eq!(net.dc(&domain).gauges().online, 1);
}

#[test]
fn a_keep_alive_says_where_the_node_was_seen_and_follows_its_nat() {
    let (domain, mut net) = domain();
    let node = net.add_node_behind(&domain, 1, "a", "10.0.0.1:5000", "203.0.113.1:6000");
    let other = net.add_node(&domain, 2, "b", "198.51.100.2:5000");
    net.register(node);
    net.register(other);
    net.host(node).address = "203.0.113.1:7777".parse().unwrap();
    net.take(node);
    net.keep_alive(node);
    let observed = net.take(node).into_iter().find_map(|received| match received {
        Received::Message(Envelope { message: Message::KeepAliveAck(KeepAliveAck { observed }), .. }) => Some(observed),
        _ => None,
    });
    assert_eq!(observed, Some("203.0.113.1:7777".parse().unwrap()));
    let target = Target::Node(net.host(node).node.id());
    let direction = net.direct(other, 1, target).unwrap();
    assert_eq!(direction.pairs[0].remote, "203.0.113.1:7777".parse().unwrap());
}

#[test]
fn a_silent_node_is_offline_after_its_lease_and_gets_the_same_addresses_when_it_returns() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let other = net.add_node(&domain, 2, "b", "198.51.100.2:5000");
    let first = net.register(node);
    net.register(other);
    for _ in 0..6 {
        net.advance(Duration::from_secs(20));
        net.keep_alive(other);
    }
    assert!(net.events(&domain).contains(&Event::Deregistered { node: net.host(node).node.id(), why: Gone::Expired }));
    let target = Target::Node(net.host(node).node.id());
    assert_eq!(net.direct(other, 1, target), Err(ErrorCode::NodeOffline));
    net.advance(Duration::from_secs(86_000));
    let again = net.register(node);
    assert_eq!((again.virtual4, again.virtual6), (first.virtual4, first.virtual6));
}
