//! Two domains, two processes, each with its own DNS: a direction from a node of one to a node of the other.

mod support;

use std::net::Ipv4Addr;

use ntm_node::{Event, FailReason};
use ntm_proto::wire::message::{ErrorCode, Target};
use ntm_raw_node::{Fleet, Happened};
use ntm_server::hex;
use support::{Dc, Domain, PATIENCE, fqdn, loopback, register_all, wait_for};

/// Two running domains that know each other's keys and ask each other's DNS.
fn two_domains() -> [(Domain, Dc); 2] {
    let domains = [Domain::new("one.example"), Domain::new("two.example")];
    let dcs = domains.each_ref().map(|domain| Dc::prepare(domain, "dc1", ""));
    for (at, dc) in dcs.iter().enumerate() {
        let (other, server) = (&domains[1 - at], &dcs[1 - at]);
        let more = format!(
            "[[domain]]\nname = \"{}\"\ndomain_key = \"{}\"\n[lookup]\nresolvers = [\"{}\"]",
            other.name,
            hex::encode(other.key.public()),
            server.dns_address(),
        );
        dc.configure(&format!("{:?}", dc.folder.join("registry.redb")), &more);
    }
    let [mut one, mut two] = dcs;
    one.run();
    two.run();
    let [first, second] = domains;
    [(first, one), (second, two)]
}

fn failed(fleet: &mut Fleet, node: usize) -> Option<FailReason> {
    let mut reason = None;
    let done = fleet.drive_until(PATIENCE, |_, happened| {
        reason = happened.iter().find_map(|(of, what)| match what {
            Happened::Event(Event::ConnectFailed { reason, .. }) if *of == node => Some(*reason),
            _ => None,
        });
        reason.is_some()
    });
    assert!(done.expect("drives"));
    reason
}

#[test]
fn a_node_finds_a_node_of_another_domain_through_dns_and_they_talk() {
    let [(one, dc_one), (two, dc_two)] = two_domains();
    let mut fleet = Fleet::new().expect("a poll");
    let a = fleet.add(&one.node("a", std::slice::from_ref(&dc_one.cert)), loopback()).expect("a socket");
    let b = fleet.add(&two.node("b", std::slice::from_ref(&dc_two.cert)), loopback()).expect("a socket");
    register_all(&mut fleet);
    fleet.connect(a, Target::Name(fqdn("b.two.example"))).expect("asks");
    let mut to: Option<Ipv4Addr> = None;
    let up = fleet.drive_until(PATIENCE, |_, happened| {
        let mut up = false;
        for (node, what) in happened {
            match what {
                Happened::Event(Event::Resolved { virtual4, .. }) if *node == a => to = Some(*virtual4),
                Happened::Event(Event::PeerUp { .. }) if *node == a => up = true,
                _ => {}
            }
        }
        up
    });
    assert!(up.expect("drives"), "no tunnel");
    fleet.send(a, to.expect("resolved"), b"across").expect("a tunnel");
    let heard = fleet.drive_until(PATIENCE, |_, happened| {
        happened
            .iter()
            .any(|(node, what)| *node == b && matches!(what, Happened::Received { text, .. } if text == b"across"))
    });
    assert!(heard.expect("drives"));
    wait_for("the lookup", || dc_one.metric("domain_lookups_total{outcome=\"found\"}") == 1);
    // The other one learned of the caller by DNS as well, or had its key pinned.
    wait_for("the other domain's answer", || dc_two.metric("information_given_total") == 1);
}

#[test]
fn a_domain_that_does_not_exist_is_an_error_and_is_asked_for_once() {
    let [(one, dc_one), _two] = two_domains();
    let mut fleet = Fleet::new().expect("a poll");
    let a = fleet.add(&one.node("a", std::slice::from_ref(&dc_one.cert)), loopback()).expect("a socket");
    register_all(&mut fleet);
    for _ in 0..2 {
        fleet.connect(a, Target::Name(fqdn("x.nowhere.two.example"))).expect("asks");
        let refused = FailReason::Refused(ErrorCode::NoSuchNode);
        // The climb ends at two.example, which has no such node.
        assert_eq!(failed(&mut fleet, a), Some(refused));
    }
    assert_eq!(dc_one.metric("domain_lookups_total{outcome=\"found\"}"), 1);
}
