//! One domain, two DCs with one registry: whichever a node asks, it reaches whomever it asks for.

use core::time::Duration;

use ntm_direction::testing::{Domain, Net, fqdn};
use ntm_direction::{Coordinator, Event, Found, PinnedDomain};
use ntm_proto::identity::ServerCert;
use ntm_proto::wire::message::{ErrorCode, Side, Target};

struct World {
    net: Net,
    first: Domain,
    second: Domain,
    /// At the first DC.
    a: usize,
    /// At the second.
    b: usize,
}

fn coordinator(net: &Net, of: &Domain, siblings: &[ServerCert], seed: u8) -> Coordinator {
    let mut config = of.config();
    config.siblings = siblings.iter().map(|cert| (cert.name.clone(), cert.clone())).collect();
    Coordinator::new(net.now, config, [seed; 32])
}

fn world() -> World {
    let first = Domain::new("one.example", 1, "192.0.2.1:4500");
    let second = first.sibling("dc2", 77, "192.0.2.7:4500");
    let mut net = Net::default();
    net.add_coordinator(first.address, coordinator(&net, &first, &[second.cert()], 1));
    net.add_coordinator(second.address, coordinator(&net, &second, &[first.cert()], 2));
    let a = net.add_node(&first, 1, "a", "203.0.113.1:6000");
    let b = net.add_node(&second, 2, "b", "203.0.113.2:6000");
    for node in [a, b] {
        net.register(node);
        net.take(node);
    }
    net.events(&first);
    net.events(&second);
    World { net, first, second, a, b }
}

/// Answers what a DC asks its registry.
fn find(net: &mut Net, at: &Domain, node: usize, server: &Domain) {
    let found = Found { node: net.host(node).node.id(), dc: server.server.clone() };
    let now = net.now;
    for event in net.events(at) {
        if let Event::FindNode(target) = event {
            net.dc(at).handle_node_found(now, &target, Ok(Some(found.clone())));
        }
    }
    net.settle();
}

#[test]
fn a_node_reaches_a_node_of_the_sibling_under_the_key_both_would_make() {
    let World { mut net, first, second, a, b } = world();
    net.ask(a, 7, Target::Name(fqdn("b.one.example")));
    find(&mut net, &first, b, &second);
    let of_a = net.direction_of(a, 7).unwrap().unwrap();
    let of_b = net.direction_of(b, 7).unwrap().unwrap();
    assert_eq!(of_a.psk, of_b.psk);
    assert_eq!((of_a.side, of_b.side), (Side::Initiator, Side::Responder));
    assert_eq!(of_a.peer.record, net.host(b).node.record);
    // The responder asks its own DC after a move: the same key.
    net.advance(Duration::from_secs(5));
    let target = Target::Node(net.host(a).node.id());
    net.ask(b, 7, target);
    find(&mut net, &second, a, &first);
    assert_eq!(net.direction_of(b, 7).unwrap().unwrap().psk, of_a.psk);
}

#[test]
fn a_node_whose_dc_died_is_reached_at_the_other_under_the_same_key() {
    let World { mut net, first, second, a, b } = world();
    net.ask(a, 7, Target::Name(fqdn("b.one.example")));
    find(&mut net, &first, b, &second);
    let before = net.direction_of(a, 7).unwrap().unwrap();
    // The second is gone, and b registers with the first.
    let moved = first.node(2, "b");
    let c = net.add_node(&first, 2, "b", "203.0.113.3:6000");
    assert_eq!(moved.id(), net.host(c).node.id());
    net.host(c).node.sequence += 100;
    net.register(c);
    net.take(a);
    net.advance(Duration::from_secs(5));
    let after = net.direct(a, 7, Target::Name(fqdn("b.one.example"))).unwrap();
    assert_eq!(after.psk, before.psk);
    assert_eq!(after.pairs[0].remote, "203.0.113.3:6000".parse().unwrap());
}

#[test]
fn whom_the_registry_does_not_know_does_not_exist() {
    let World { mut net, first, a, .. } = world();
    net.ask(a, 7, Target::Name(fqdn("nobody.one.example")));
    let now = net.now;
    for event in net.events(&first) {
        if let Event::FindNode(target) = event {
            net.dc(&first).handle_node_found(now, &target, Ok(None));
        }
    }
    net.settle();
    assert_eq!(net.direction_of(a, 7), Some(Err(ErrorCode::NoSuchNode)));
}

#[test]
fn a_node_that_registered_with_the_sibling_is_given_up_unless_it_came_back() {
    let World { mut net, first, a, .. } = world();
    let (id, sequence) = (net.host(a).node.id(), net.host(a).node.sequence);
    net.dc(&first).handle_node_elsewhere(&id, sequence - 1);
    assert_eq!(net.dc(&first).gauges().online, 1);
    assert!(matches!(net.events(&first)[..], [Event::Registered(_)]), "the registry is to be told");
    net.dc(&first).handle_node_elsewhere(&id, sequence + 1);
    assert_eq!(net.dc(&first).gauges().nodes, 0);
}

#[test]
fn another_domain_reaches_a_node_through_the_dc_that_does_not_have_it() {
    let World { mut net, first, second, b, .. } = world();
    let other = Domain::new("two.example", 3, "192.0.2.3:4500");
    let mut config = other.config();
    let pinned = PinnedDomain { domain_key: *first.key.public(), cert: Some(first.cert()) };
    config.domains.insert(first.name.clone(), pinned);
    net.add_coordinator(other.address, Coordinator::new(net.now, config, [9; 32]));
    let mut config = first.config();
    let pinned = PinnedDomain { domain_key: *other.key.public(), cert: None };
    config.domains.insert(other.name.clone(), pinned);
    config.siblings.insert(second.server.clone(), second.cert());
    net.dc(&first).handle_config(config);
    let c = net.add_node(&other, 1, "c", "203.0.113.9:6000");
    net.register(c);
    net.take(c);
    net.ask(c, 7, Target::Name(fqdn("b.one.example")));
    find(&mut net, &first, b, &second);
    let (of_c, of_b) = (net.direction_of(c, 7).unwrap().unwrap(), net.direction_of(b, 7).unwrap().unwrap());
    assert_eq!(of_c.psk, of_b.psk);
    assert_eq!((of_c.side, of_b.side), (Side::Initiator, Side::Responder));
    assert_eq!(of_c.peer.record, net.host(b).node.record);
    assert_eq!(of_b.peer.record, net.host(c).node.record);
}

#[test]
fn who_is_no_sibling_gets_no_session_by_a_certificate_of_the_domain() {
    let World { mut net, first, second, a, b } = world();
    // The second was taken out of the domain: the first no more believes it.
    net.dc(&first).handle_config(first.config());
    net.take(b);
    let target = Target::Node(net.host(a).node.id());
    net.ask(b, 7, target);
    find(&mut net, &second, a, &first);
    net.advance(Duration::from_secs(40));
    assert!(matches!(net.direction_of(b, 7), Some(Err(_))));
    assert!(net.dc(&first).stats().dropped.bad_certificate > 0);
}
