//! A node is told its addresses when they are stored, and not before.

use core::net::Ipv4Addr;

use ntm_direction::testing::{Domain, Net, Received};
use ntm_direction::{Application, Coordinator, Event, NotStored, Stored};
use ntm_proto::wire::message::ErrorCode;

const CHOSEN: Ipv4Addr = Ipv4Addr::new(198, 18, 9, 9);

fn world() -> (Net, Domain, usize) {
    let domain = Domain::new("one.example", 1, "192.0.2.1:4500");
    let mut config = domain.config();
    config.store_first = true;
    let mut net = Net::default();
    net.add_coordinator(domain.address, Coordinator::new(net.now, config, [1; 32]));
    let node = net.add_node(&domain, 1, "a", "203.0.113.1:6000");
    (net, domain, node)
}

fn applications(net: &mut Net, domain: &Domain) -> Vec<Application> {
    let events = net.events(domain).into_iter();
    events.filter_map(|event| if let Event::Store(application) = event { Some(*application) } else { None }).collect()
}

fn stored(application: Application) -> Stored {
    let Application { record, virtual6, sequence, wake_token } = application;
    Stored { record, virtual4: CHOSEN, virtual6, sequence, wake_token }
}

fn begin(net: &mut Net, node: usize) -> Vec<u8> {
    let datagram = net.host(node).node.register(1);
    net.send(node, datagram.clone());
    datagram
}

#[test]
fn the_answer_waits_for_the_store_and_carries_the_address_it_chose() {
    let (mut net, domain, node) = world();
    let datagram = begin(&mut net, node);
    assert_eq!(net.take(node), []);
    let application = applications(&mut net, &domain).remove(0);
    // The same message again, while it waits, costs and changes nothing.
    net.send(node, datagram);
    assert_eq!((net.take(node), applications(&mut net, &domain)), (vec![], vec![]));
    assert_eq!(net.dc(&domain).stats().dropped.awaiting_store, 1);
    let (now, id) = (net.now, net.host(node).node.id());
    net.dc(&domain).handle_stored(now, id, Ok(stored(application)));
    net.settle();
    let [Received::Registered(response)] = &net.take(node)[..] else { panic!("no answer") };
    assert_eq!(response.virtual4, CHOSEN);
    net.keep_alive(node);
    assert_eq!(net.dc(&domain).gauges().online, 1);
    // From then on it registers without the store.
    net.take(node);
    begin(&mut net, node);
    assert!(matches!(net.take(node)[..], [Received::Registered(_)]));
    assert_eq!(applications(&mut net, &domain), []);
}

#[test]
fn a_node_that_cannot_be_stored_is_told_to_come_later() {
    let (mut net, domain, node) = world();
    for why in [NotStored::Full, NotStored::Unavailable] {
        begin(&mut net, node);
        let (now, id) = (net.now, net.host(node).node.id());
        net.dc(&domain).handle_stored(now, id, Err(why));
        net.settle();
        let [Received::Refused(refusal)] = &net.take(node)[..] else { panic!("no refusal") };
        assert_eq!(refusal.code, ErrorCode::Busy);
    }
    assert_eq!(net.dc(&domain).gauges().nodes, 0);
}

#[test]
fn a_node_that_was_revoked_while_it_was_stored_is_not_let_in() {
    let (mut net, domain, node) = world();
    begin(&mut net, node);
    let application = applications(&mut net, &domain).remove(0);
    let (now, id) = (net.now, net.host(node).node.id());
    net.dc(&domain).handle_revocation(now, id);
    net.dc(&domain).handle_stored(now, id, Ok(stored(application)));
    net.settle();
    let [Received::Refused(refusal)] = &net.take(node)[..] else { panic!("no refusal") };
    assert_eq!(refusal.code, ErrorCode::Revoked);
}

#[test]
fn an_older_registration_than_the_stored_one_is_stale() {
    let (mut net, domain, node) = world();
    begin(&mut net, node);
    let mut newest = stored(applications(&mut net, &domain).remove(0));
    newest.sequence += 10;
    let (now, id) = (net.now, net.host(node).node.id());
    net.dc(&domain).handle_stored(now, id, Ok(newest));
    net.settle();
    assert!(matches!(net.take(node)[..], [Received::Refused(_)]));
    assert_eq!(net.dc(&domain).stats().dropped.stale_sequence, 1);
}

#[test]
fn a_changed_wake_token_is_stored_without_a_wait() {
    let (mut net, domain, node) = world();
    begin(&mut net, node);
    let application = applications(&mut net, &domain).remove(0);
    let (now, id) = (net.now, net.host(node).node.id());
    net.dc(&domain).handle_stored(now, id, Ok(stored(application)));
    net.settle();
    net.keep_alive(node);
    net.events(&domain);
    net.host(node).node.wake_token = Some(vec![1]);
    let moved = net.host(node).node.register_again(1);
    net.send(node, moved);
    let [Event::Registered(stored)] = &net.events(&domain)[..] else { panic!("not told") };
    assert_eq!((stored.wake_token.as_deref(), stored.virtual4), (Some(&[1][..]), CHOSEN));
}
