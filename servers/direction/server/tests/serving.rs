//! One domain, one DC, real sockets: what nodes, their operators and the DNS see of it.

mod support;

use hickory_proto::rr::RecordType;
use ntm_node::Event;
use ntm_proto::wire::message::Target;
use ntm_raw_node::{Fleet, Happened};
use support::{Dc, Domain, PATIENCE, data, fqdn, loopback, register_all, wait_for};

#[test]
fn nodes_register_resolve_and_talk() {
    let domain = Domain::new("ntm.example");
    let dc = Dc::start(&domain, "dc1", "");
    let mut fleet = Fleet::new().expect("a poll");
    let [one, two] = ["a", "b"]
        .map(|host| fleet.add(&domain.node(host, std::slice::from_ref(&dc.cert)), loopback()).expect("a socket"));
    register_all(&mut fleet);
    let [of_one, of_two] = [one, two].map(|node| fleet.virtual4(node).expect("registered"));

    let answer = dc.dig("b.ntm.example.", RecordType::A);
    assert_eq!(data(&answer), [of_two.to_string()]);

    fleet.connect(one, Target::Name(fqdn("b.ntm.example"))).expect("asks");
    let up = fleet.drive_until(PATIENCE, |_, happened| {
        happened.iter().any(|(node, what)| *node == one && matches!(what, Happened::Event(Event::PeerUp { .. })))
    });
    assert!(up.expect("drives"));
    fleet.send(one, of_two, b"hello").expect("a tunnel");
    let heard = fleet.drive_until(PATIENCE, |_, happened| {
        happened.contains(&(two, Happened::Received { from: of_one, text: b"hello".to_vec() }))
    });
    assert!(heard.expect("drives"));
    wait_for("the figures", || dc.metric("directions_given_total") >= 2 && dc.metric("nodes_online") == 2);
    assert_eq!(dc.metric("names"), 2);
}

#[test]
fn a_node_has_its_address_after_a_restart_and_a_clean_end_says_nothing_is_wrong() {
    let domain = Domain::new("ntm.example");
    let mut dc = Dc::start(&domain, "dc1", "");
    let identity = domain.node("a", std::slice::from_ref(&dc.cert));
    let mut fleet = Fleet::new().expect("a poll");
    let node = fleet.add(&identity, loopback()).expect("a socket");
    register_all(&mut fleet);
    let before = fleet.virtual4(node);
    assert!(dc.terminate().success(), "{}", dc.log());
    dc.run();
    // Its name is known before it comes back.
    let answer = dc.dig("a.ntm.example.", RecordType::A);
    assert_eq!(data(&answer), [before.expect("registered").to_string()]);
    let mut fleet = Fleet::new().expect("a poll");
    let node = fleet.add(&identity, loopback()).expect("a socket");
    register_all(&mut fleet);
    assert_eq!(fleet.virtual4(node), before);
}

#[test]
fn a_reload_takes_what_can_change_and_keeps_the_rest_where_the_file_is_wrong() {
    let domain = Domain::new("ntm.example");
    let dc = Dc::start(&domain, "dc1", "");
    let registry = format!("{:?}", dc.folder.join("registry.redb"));
    dc.configure(&registry, "[nodes]\nlease = 120\nkeep_alive = 7");
    dc.signal("HUP");
    wait_for("the reload", || dc.log().contains("configuration read again"));
    dc.configure(&registry, "[nodes]\nlease = 1");
    dc.signal("HUP");
    wait_for("the complaint", || dc.log().contains("configuration kept as it was"));
    let mut fleet = Fleet::new().expect("a poll");
    fleet.add(&domain.node("a", std::slice::from_ref(&dc.cert)), loopback()).expect("a socket");
    register_all(&mut fleet);
}

#[test]
fn credentials_for_another_domain_key_do_not_change_a_running_server() {
    let domain = Domain::new("ntm.example");
    let dc = Dc::start(&domain, "dc1", "");
    dc.credentials(&Domain::new("ntm.example"), 2, &[]);
    dc.signal("HUP");
    wait_for("the complaint", || dc.log().contains("configuration kept as it was"));
    let mut fleet = Fleet::new().expect("a poll");
    fleet.add(&domain.node("a", std::slice::from_ref(&dc.cert)), loopback()).expect("a socket");
    register_all(&mut fleet);
}
