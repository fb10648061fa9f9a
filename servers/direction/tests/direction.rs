//! Two nodes of one domain are told how to reach each other.

use core::time::Duration;

use ntm_direction::testing::{Domain, Net, fqdn};
use ntm_proto::wire::message::{ErrorCode, Side, Target};

fn pair() -> (Domain, Net, usize, usize) {
    let domain = Domain::new("ntm.example", 1, "192.0.2.1:4500");
    let mut net = Net::default();
    net.add_coordinator(domain.address, domain.coordinator(net.now));
    let a = net.add_node_behind(&domain, 1, "a", "10.0.0.1:5000", "203.0.113.1:6000");
    let b = net.add_node(&domain, 2, "b", "198.51.100.2:5000");
    net.register(a);
    net.register(b);
    (domain, net, a, b)
}

#[test]
fn both_ends_are_told_at_once_under_one_key() {
    let (_, mut net, a, b) = pair();
    let of_a = net.direct(a, 7, Target::Name(fqdn("b.ntm.example"))).unwrap();
    let of_b = net.direction_of(b, 7).unwrap().unwrap();
    assert_eq!(of_a.psk, of_b.psk);
    assert_eq!((of_a.side, of_b.side), (Side::Initiator, Side::Responder));
    assert_eq!(of_a.peer.record, net.host(b).node.record);
    assert_eq!(of_b.peer.record, net.host(a).node.record);
    assert_eq!(of_a.pairs[0].remote, "198.51.100.2:5000".parse().unwrap());
    assert_eq!(of_b.pairs[0].remote, "203.0.113.1:6000".parse().unwrap());
}

#[test]
fn a_node_is_found_by_name_by_id_and_by_either_virtual_address() {
    let (_, mut net, a, b) = pair();
    let peer = net.direct(a, 1, Target::Name(fqdn("b.ntm.example"))).unwrap().peer;
    let targets =
        [Target::Node(net.host(b).node.id()), Target::Virtual4(peer.virtual4), Target::Virtual6(peer.virtual6)];
    for (path, target) in (2..).zip(targets) {
        assert_eq!(net.direct(a, path, target).unwrap().peer.record, peer.record);
    }
}

#[test]
fn what_does_not_exist_is_not_found() {
    let (_, mut net, a, _) = pair();
    let nobody = [
        Target::Name(fqdn("nobody.ntm.example")),
        Target::Node(ntm_proto::id::NodeId([9; 32])),
        Target::Virtual4([198, 19, 255, 250].into()),
        Target::Virtual6("fd00::1".parse().unwrap()),
    ];
    for (path, target) in (1..).zip(nobody) {
        assert_eq!(net.direct(a, path, target), Err(ErrorCode::NoSuchNode));
    }
    let own = Target::Node(net.host(a).node.id());
    assert_eq!(net.direct(a, 9, own), Err(ErrorCode::BadMessage));
}

#[test]
fn a_moved_node_asks_again_and_both_keep_key_and_sides() {
    let (_, mut net, a, b) = pair();
    let before = net.direct(a, 7, Target::Name(fqdn("b.ntm.example"))).unwrap();
    net.take(b);
    net.advance(Duration::from_secs(20));
    // The responder moves and asks.
    net.host(b).address = "203.0.113.200:1111".parse().unwrap();
    net.host(b).node.renumber(1, &["192.168.3.4:5000"]);
    let datagram = net.host(b).node.register_again(1);
    net.send(b, datagram);
    let target = Target::Node(net.host(a).node.id());
    let of_b = net.direct(b, 7, target).unwrap();
    let of_a = net.direction_of(a, 7).unwrap().unwrap();
    assert_eq!((of_a.psk.clone(), of_b.psk), (before.psk.clone(), before.psk));
    assert_eq!((of_a.side, of_b.side), (Side::Initiator, Side::Responder));
    assert_eq!(of_a.pairs[0].remote, "203.0.113.200:1111".parse().unwrap());
}

#[test]
fn the_same_request_again_gives_the_same_answer_and_no_second_work() {
    let (domain, mut net, a, b) = pair();
    net.ask(a, 7, Target::Name(fqdn("b.ntm.example")));
    let first = net.direction_of(a, 7).unwrap().unwrap();
    net.take(b);
    let again = net.direct(a, 7, Target::Name(fqdn("b.ntm.example"))).unwrap();
    assert_eq!(again.psk, first.psk);
    assert!(net.take(b).is_empty(), "the responder is not bothered twice");
    assert_eq!(net.dc(&domain).stats().directions_repeated, 1);
}

#[test]
fn a_stranger_cannot_ask_about_others_communication() {
    let (domain, mut net, a, b) = pair();
    net.direct(a, 7, Target::Name(fqdn("b.ntm.example"))).unwrap();
    let c = net.add_node(&domain, 3, "c", "198.51.100.3:5000");
    net.register(c);
    net.take(b);
    assert_eq!(net.direct(c, 7, Target::Name(fqdn("b.ntm.example"))), Err(ErrorCode::Forbidden));
    assert_eq!(net.direct(a, 7, Target::Name(fqdn("c.ntm.example"))), Err(ErrorCode::Forbidden));
    assert!(net.take(b).is_empty());
}

#[test]
fn a_route_direction_is_repeated_until_it_is_acknowledged_and_the_asker_learns_of_a_silent_peer() {
    let (domain, mut net, a, b) = pair();
    net.host(b).answers = false;
    net.take(b);
    net.direct(a, 7, Target::Name(fqdn("b.ntm.example"))).unwrap();
    net.advance(Duration::from_secs(16));
    let tries = net.take(b).len();
    assert_eq!(tries, usize::from(ntm_direction::limits::MAX_TRIES));
    assert_eq!(net.direction_of(a, 7), Some(Err(ErrorCode::NodeOffline)));
    assert_eq!(net.dc(&domain).gauges().deliveries, 0);
}
