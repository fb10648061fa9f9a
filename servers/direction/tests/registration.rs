//! A node registers, stays registered, and gets the same addresses again.

use core::time::Duration;

use ntm_direction::testing::{Domain, Net, Received, fqdn};
use ntm_direction::{Event, Gone};
use ntm_proto::crypto::Secret;
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
    assert_eq!(net.direct(node, 1, Target::Name(fqdn("nobody.ntm.example"))), Err(ErrorCode::NoSuchNode));
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

#[test]
fn who_is_asked_for_while_it_registers_is_waited_for() {
    let (domain, mut net) = domain();
    let other = net.add_node(&domain, 2, "b", "198.51.100.2:5000");
    net.register(other);
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let target = Target::Name(fqdn("a.ntm.example"));
    // New here at first, then known and away.
    for path in [1, 2] {
        net.begin(node);
        net.ask(other, path, target.clone());
        assert_eq!(net.direction_of(other, path), None);
        net.keep_alive(node);
        assert!(net.direction_of(other, path).unwrap().is_ok());
        let leaving = net.host(node).node.leave();
        net.send(node, leaving);
        assert_eq!(net.direct(other, path + 10, target.clone()), Err(ErrorCode::NodeOffline));
    }
    assert_eq!(net.dc(&domain).gauges().held, 0);
}

#[test]
fn who_begins_to_register_and_is_not_heard_again_is_offline() {
    let (domain, mut net) = domain();
    let other = net.add_node(&domain, 2, "b", "198.51.100.2:5000");
    net.register(other);
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    net.begin(node);
    net.ask(other, 1, Target::Name(fqdn("a.ntm.example")));
    net.advance(ntm_direction::limits::WAKE_WITHIN);
    assert_eq!(net.direction_of(other, 1), Some(Err(ErrorCode::NodeOffline)));
    assert_eq!(net.dc(&domain).gauges().held, 0);
}

#[test]
fn a_move_by_a_data_frame_costs_no_handshake_and_is_answered_again_when_the_answer_was_lost() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    net.register(node);
    let handshakes = net.dc(&domain).stats().handshakes_answered;
    net.host(node).address = "203.0.113.9:9000".parse().unwrap();
    net.host(node).node.renumber(1, &["10.9.9.9:5000"]);
    let request = net.host(node).node.request(1, None);
    net.take(node);
    for _ in 0..2 {
        let moved = net.host(node).node.seal(Message::RegistrationRequest(request.clone()));
        net.send(node, moved);
        let inbox = net.take(node);
        let Received::Message(Envelope { message: Message::RegistrationResponse(response), .. }) = &inbox[0] else {
            panic!("{inbox:?}")
        };
        assert_eq!(response.observed, "203.0.113.9:9000".parse().unwrap());
    }
    assert_eq!((net.dc(&domain).stats().moves, net.dc(&domain).stats().handshakes_answered), (1, handshakes));
    // An older one changes nothing.
    let mut old = request;
    old.sequence -= 1;
    let old = net.host(node).node.seal(Message::RegistrationRequest(old));
    net.send(node, old);
    assert_eq!(net.dc(&domain).stats().dropped.stale_sequence, 1);
}

#[test]
fn the_same_identity_elsewhere_takes_over_and_the_old_holder_is_told_when_it_speaks() {
    let (domain, mut net) = domain();
    let old = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let new = net.add_node(&domain, 1, "a", "203.0.113.5:5000");
    let asker = net.add_node(&domain, 2, "b", "198.51.100.2:5000");
    net.register(old);
    net.register(asker);
    net.host(new).node.sequence = net.host(old).node.sequence + 10;
    net.register(new);
    assert_eq!(net.dc(&domain).stats().superseded, 1);
    net.advance(Duration::from_secs(15));
    net.take(old);
    net.keep_alive(old);
    let inbox = net.take(old);
    let [Received::Message(Envelope { message: Message::Error(error), .. })] = &inbox[..] else { panic!("{inbox:?}") };
    assert_eq!(error.code, ErrorCode::Superseded);
    let target = Target::Node(net.host(new).node.id());
    assert_eq!(net.direct(asker, 1, target).unwrap().pairs[0].remote, "203.0.113.5:5000".parse().unwrap());
    assert_eq!(net.dc(&domain).gauges().nodes, 2);
}

#[test]
fn a_node_that_renews_its_keys_from_where_it_is_is_not_told_that_it_was_superseded() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    net.register(node);
    let late = net.host(node).node.keep_alive(1);
    net.register(node);
    net.send(node, late);
    assert_eq!(net.dc(&domain).stats().superseded, 0);
    assert!(
        net.take(node)
            .iter()
            .all(|received| !matches!(received, Received::Message(Envelope { message: Message::Error(_), .. })))
    );
    net.advance(Duration::from_secs(11));
    assert_eq!(net.dc(&domain).gauges().sessions, 1, "the old keys are gone");
}

#[test]
fn a_node_that_leaves_is_offline_at_once() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    net.register(node);
    let leave = net.host(node).node.leave();
    net.send(node, leave);
    assert!(net.events(&domain).contains(&Event::Deregistered { node: net.host(node).node.id(), why: Gone::Left }));
    assert_eq!(net.dc(&domain).gauges().online, 0);
    net.advance(Duration::from_secs(200));
    assert_eq!(net.dc(&domain).gauges().sessions, 0);
}

#[test]
fn a_restored_node_gets_the_address_it_had_and_nobody_else_gets_it_meanwhile() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let first = net.register(node);
    let stored = net.events(&domain).into_iter().find_map(|event| match event {
        Event::Registered(stored) => Some(*stored),
        _ => None,
    });
    let mut stored = stored.unwrap();
    assert_eq!((stored.virtual4, stored.virtual6), (first.virtual4, first.virtual6));
    // Another address than the one a fresh coordinator would choose.
    stored.virtual4 = [198, 18, 77, 7].into();
    let mut restarted = domain.coordinator(net.now);
    assert!(restarted.restore(net.now, &stored));
    assert!(!restarted.restore(net.now, &stored));
    net.add_coordinator(domain.address, restarted);
    assert_eq!(net.register(node).virtual4, stored.virtual4);
}

#[test]
fn a_revoked_node_is_told_and_cannot_return() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let other = net.add_node(&domain, 2, "b", "198.51.100.2:5000");
    net.register(node);
    net.register(other);
    net.take(node);
    let (now, id) = (net.now, net.host(node).node.id());
    net.dc(&domain).handle_revocation(now, id);
    net.settle();
    let inbox = net.take(node);
    let [Received::Message(Envelope { message: Message::Error(error), .. })] = &inbox[..] else { panic!("{inbox:?}") };
    assert_eq!(error.code, ErrorCode::Revoked);
    assert_eq!(net.direct(other, 1, Target::Node(id)), Err(ErrorCode::Revoked));
    net.begin(node);
    assert!(matches!(&net.take(node)[..], [Received::Refused(error)] if error.code == ErrorCode::Revoked));
    // Also one that never registered here.
    let stranger = net.add_node(&domain, 3, "c", "198.51.100.3:5000");
    let id = net.host(stranger).node.id();
    net.dc(&domain).handle_revocation(now, id);
    net.begin(stranger);
    assert!(matches!(&net.take(stranger)[..], [Received::Refused(error)] if error.code == ErrorCode::Revoked));
}

#[test]
fn a_ticket_outlives_the_change_of_the_service_key_for_as_long_as_the_operator_keeps_the_old_one() {
    let (old, mut net) = domain();
    let node = net.add_node(&old, 1, "a", "198.51.100.1:5000");
    let mut new = old.clone();
    new.service_key = Secret::new([0x99; 32]);
    let newcomer = net.add_node(&new, 2, "b", "198.51.100.2:5000");
    let mut config = old.config();
    config.service_keys = vec![new.service_key.clone(), old.service_key.clone()];
    net.dc(&old).handle_config(config.clone());
    net.register(node);
    net.register(newcomer);
    config.service_keys.pop();
    net.dc(&old).handle_config(config);
    let datagram = net.host(node).node.register(1);
    net.take(node);
    net.send(node, datagram);
    assert!(matches!(&net.take(node)[..], [Received::Refused(error)] if error.code == ErrorCode::TicketExpired));
    assert_eq!(net.dc(&old).gauges().online, 2, "and stays registered until its lease ends");
}
