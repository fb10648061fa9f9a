//! A sleeping node is woken, and whoever asked for it gets the direction then.

use core::time::Duration;

use ntm_direction::testing::{Domain, Net, fqdn};
use ntm_direction::{Coordinator, Event, PinnedDomain};
use ntm_proto::id::PathId;
use ntm_proto::wire::message::{ErrorCode, Target};

fn asleep() -> (Domain, Net, usize, usize) {
    let domain = Domain::new("ntm.example", 1, "192.0.2.1:4500");
    let mut net = Net::default();
    net.add_coordinator(domain.address, domain.coordinator(net.now));
    let a = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let b = net.add_node(&domain, 2, "b", "198.51.100.2:5000");
    net.host(b).node.wake_token = Some(b"push me".to_vec());
    net.register(a);
    net.register(b);
    for _ in 0..5 {
        net.advance(Duration::from_secs(20));
        net.keep_alive(a);
    }
    net.events(&domain);
    net.take(b);
    (domain, net, a, b)
}

fn b() -> Target {
    Target::Name(fqdn("b.ntm.example"))
}

#[test]
fn a_direction_to_a_sleeping_node_wakes_it_and_is_given_when_it_is_back() {
    let (domain, mut net, a, sleeper) = asleep();
    net.ask(a, 7, b());
    assert_eq!(net.direction_of(a, 7), None);
    let node = net.host(sleeper).node.id();
    let woken = Event::Wake { token: b"push me".to_vec(), node, path_id: PathId([7; 16]) };
    assert_eq!(net.events(&domain), [woken]);
    net.advance(Duration::from_secs(3));
    net.register(sleeper);
    assert!(net.direction_of(a, 7).unwrap().is_ok());
    assert_eq!(net.dc(&domain).gauges().held, 0);
}

#[test]
fn a_node_that_does_not_wake_is_offline_in_the_end() {
    let (domain, mut net, a, _) = asleep();
    net.ask(a, 7, b());
    net.advance(Duration::from_secs(10));
    assert_eq!(net.direction_of(a, 7), Some(Err(ErrorCode::NodeOffline)));
    assert_eq!(net.dc(&domain).gauges().held, 0);
}

#[test]
fn many_who_ask_wake_a_node_once_a_second_at_most() {
    let (domain, mut net, a, _) = asleep();
    for path in 0..10 {
        net.ask(a, path, b());
    }
    assert_eq!(net.events(&domain).len(), 1);
    net.advance(Duration::from_secs(1));
    net.ask(a, 11, b());
    assert_eq!(net.events(&domain).len(), 1);
    assert_eq!(net.dc(&domain).gauges().held, 11);
}

#[test]
fn no_more_than_the_bound_may_wait_for_one_node() {
    let (domain, mut net, a, _) = asleep();
    let bound = ntm_direction::limits::MAX_HELD_PER_NODE as u8;
    for path in 0..bound {
        net.ask(a, path, b());
    }
    assert_eq!(net.direct(a, 200, b()), Err(ErrorCode::Busy));
    assert_eq!(net.dc(&domain).gauges().held, usize::from(bound));
}

#[test]
fn a_silent_node_that_can_be_woken_is_woken_before_its_lease_ends() {
    let domain = Domain::new("ntm.example", 1, "192.0.2.1:4500");
    let mut config = domain.config();
    config.lease = Duration::from_secs(170);
    let mut net = Net::default();
    net.add_coordinator(domain.address, Coordinator::new(net.now, config, [1; 32]));
    let a = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let sleeper = net.add_node(&domain, 2, "b", "198.51.100.2:5000");
    net.host(sleeper).node.wake_token = Some(b"push me".to_vec());
    net.register(a);
    net.register(sleeper);
    net.advance(Duration::from_secs(100));
    net.events(&domain);
    net.ask(a, 7, b());
    assert!(matches!(net.events(&domain)[..], [Event::Wake { .. }]));
    // It need not even register again: its keep-alive shows that it is awake.
    net.keep_alive(sleeper);
    assert!(net.direction_of(a, 7).unwrap().is_ok());
}

#[test]
fn a_sleeping_node_is_woken_for_another_domain_too() {
    let (one, two) = (Domain::new("one.example", 1, "192.0.2.1:4500"), Domain::new("two.example", 2, "192.0.2.2:4500"));
    let mut net = Net::default();
    for (own, other, seed) in [(&one, &two, 1), (&two, &one, 2)] {
        let mut config = own.config();
        let pinned = PinnedDomain { domain_key: *other.key.public(), cert: Some(other.cert()) };
        config.domains.insert(other.name.clone(), pinned);
        net.add_coordinator(own.address, Coordinator::new(net.now, config, [seed; 32]));
    }
    let a = net.add_node(&one, 1, "a", "198.51.100.1:5000");
    let sleeper = net.add_node(&two, 2, "b", "198.51.100.2:5000");
    net.host(sleeper).node.wake_token = Some(b"push me".to_vec());
    net.register(a);
    net.register(sleeper);
    for _ in 0..5 {
        net.advance(Duration::from_secs(20));
        net.keep_alive(a);
    }
    net.events(&two);
    net.ask(a, 7, Target::Name(fqdn("b.two.example")));
    assert!(matches!(net.events(&two)[..], [Event::Wake { .. }]));
    net.advance(Duration::from_secs(5));
    net.register(sleeper);
    assert_eq!(net.direction_of(a, 7).unwrap().err(), None);
}
