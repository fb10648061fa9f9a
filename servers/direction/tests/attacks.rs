//! What a hostile network can send changes nothing and is counted.

use core::net::SocketAddr;
use core::time::Duration;

use ntm_direction::limits::{ADDRESS_GRACE, AMPLIFICATION, COOKIE_BURST, MAX_HALF_OPEN};
use ntm_direction::testing::{BEGIN, Domain, Net, Received, fqdn};
use ntm_direction::{Coordinator, Gauges};
use ntm_proto::crypto::Secret;
use ntm_proto::id::PathId;
use ntm_proto::rng::Rng;
use ntm_proto::wire::message::{DirectionRequest, Envelope, ErrorCode, Message, Target};

fn domain() -> (Domain, Net) {
    let domain = Domain::new("ntm.example", 1, "192.0.2.1:4500");
    let mut net = Net::default();
    net.add_coordinator(domain.address, domain.coordinator(net.now));
    (domain, net)
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// The error a handshake with this node is refused with.
fn refusal(net: &mut Net, node: usize) -> Option<ErrorCode> {
    net.begin(node);
    match &net.take(node)[..] {
        [Received::Refused(error)] => Some(error.code),
        [] => None,
        other => panic!("{other:?}"),
    }
}

/// What an observer of the tables sees, less the queues.
fn tables(net: &mut Net, domain: &Domain) -> Gauges {
    net.events(domain);
    net.dc(domain).gauges()
}

#[test]
fn a_replayed_registration_changes_nothing_before_and_after_it_was_confirmed() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let other = net.add_node(&domain, 2, "b", "198.51.100.2:5000");
    net.register(other);
    let first = net.host(node).node.register(1);
    net.send(node, first.clone());
    // From the attacker's address: the answer is the same, and it is no use to him.
    let before = tables(&mut net, &domain);
    net.send_from(at("203.0.113.66:666"), domain.address, first.clone());
    assert_eq!(tables(&mut net, &domain), before);
    assert_eq!(net.dc(&domain).stats().handshakes_repeated, 1);
    net.keep_alive(node);
    assert_eq!(net.dc(&domain).gauges().online, 2);
    let before = tables(&mut net, &domain);
    net.send_from(at("203.0.113.66:666"), domain.address, first);
    assert_eq!(tables(&mut net, &domain), before);
    assert_eq!(net.dc(&domain).stats().dropped.stale_sequence, 1);
    let target = Target::Node(net.host(node).node.id());
    let direction = net.direct(other, 1, target).unwrap();
    assert_eq!(direction.pairs[0].remote, at("198.51.100.1:5000"));
}

#[test]
fn a_replayed_registration_of_a_node_that_is_gone_does_not_bring_it_back() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let recorded = net.host(node).node.register(1);
    net.send(node, recorded.clone());
    net.keep_alive(node);
    net.advance(Duration::from_secs(200));
    assert_eq!(net.dc(&domain).gauges().online, 0);
    net.send_from(at("198.51.100.1:5000"), domain.address, recorded);
    net.advance(Duration::from_secs(20));
    assert_eq!(net.dc(&domain).gauges().online, 0);
}

#[test]
fn a_node_that_never_confirms_leaves_nothing_behind() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    net.begin(node);
    assert_eq!(net.dc(&domain).gauges().half_open, 1);
    net.advance(Duration::from_secs(20));
    assert_eq!(tables(&mut net, &domain), Gauges::default());
}

#[test]
fn a_lost_answer_is_given_again_and_completes_the_registration() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let datagram = net.host(node).node.register(1);
    let away = at("198.51.100.99:9");
    net.send_from(away, domain.address, datagram);
    let again = net.host(node).node.handshake_again();
    net.send(node, again);
    assert!(matches!(net.take(node)[..], [Received::Registered(_)]));
    net.keep_alive(node);
    assert_eq!(net.dc(&domain).gauges().online, 1);
}

#[test]
fn a_ticket_that_expired_is_refused() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    net.advance(Duration::from_secs(86_400));
    assert_eq!(refusal(&mut net, node), Some(ErrorCode::TicketExpired));
    assert_eq!(tables(&mut net, &domain), Gauges::default());
}

#[test]
fn a_ticket_of_another_domain_is_refused() {
    let (domain, mut net) = domain();
    let other = Domain::new("other.example", 9, "192.0.2.9:4500");
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let host = net.host(node);
    host.node.ticket = other.ticket(&host.node.record, &host.node.key, BEGIN + Duration::from_secs(1_000));
    assert_eq!(refusal(&mut net, node), Some(ErrorCode::TicketExpired));
}

#[test]
fn a_forged_ticket_is_refused() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    for position in [0, 30, 60] {
        net.host(node).node.ticket[position] ^= 1;
        assert_eq!(refusal(&mut net, node), Some(ErrorCode::TicketExpired));
        net.host(node).node.ticket[position] ^= 1;
    }
    net.host(node).node.ticket.truncate(20);
    assert_eq!(refusal(&mut net, node), Some(ErrorCode::TicketExpired));
    assert_eq!(tables(&mut net, &domain), Gauges::default());
}

#[test]
fn a_stolen_ticket_is_no_use_with_another_key_or_record() {
    let (domain, mut net) = domain();
    let victim = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let thief = net.add_node(&domain, 2, "thief", "203.0.113.66:666");
    let (ticket, key, record) = {
        let node = &net.host(victim).node;
        (node.ticket.clone(), node.key.clone(), node.record.clone())
    };
    let own = net.host(thief).node.record.clone();
    net.host(thief).node.ticket = ticket;
    net.host(thief).node.key = key;
    assert_eq!(refusal(&mut net, thief), Some(ErrorCode::Forbidden), "with his own record");
    net.host(thief).node.record = record;
    assert_eq!(refusal(&mut net, thief), Some(ErrorCode::Forbidden), "with the victim's record, under his own key");
    assert_ne!(own.node_id(), net.host(victim).node.id());
    assert_eq!(tables(&mut net, &domain), Gauges::default());
}

#[test]
fn a_ticket_key_that_is_not_the_tickets_confirms_nothing() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    net.host(node).node.key = Secret::new([7; 32]);
    net.begin(node);
    assert_eq!(net.take(node), [Received::Garbage]);
    net.advance(Duration::from_secs(20));
    assert_eq!(tables(&mut net, &domain), Gauges::default());
}

#[test]
fn garbage_truncated_and_damaged_datagrams_change_nothing_and_are_each_counted() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    net.register(node);
    let handshake = net.host(node).node.register(1);
    let data = net.host(node).node.keep_alive(1);
    let before = tables(&mut net, &domain);
    let mut rng = Rng::from_seed([3; 32]);
    let mut sent = 0;
    let mut send = |net: &mut Net, datagram: Vec<u8>| {
        let dropped = net.dc(&domain).stats().dropped.total();
        net.send_from(at("203.0.113.66:666"), domain.address, datagram.clone());
        sent += 1;
        assert_eq!(net.dc(&domain).stats().dropped.total(), dropped + 1, "{datagram:x?}");
    };
    for valid in [&handshake, &data] {
        for _ in 0..200 {
            let mut damaged = valid.clone();
            let position = rng.below(valid.len() as u64) as usize;
            // Bytes that nothing covers in a later version: mac2 is for times of load only.
            if valid.len() == handshake.len() && position >= valid.len() - 16 {
                continue;
            }
            damaged[position] ^= 1 << rng.below(8);
            send(&mut net, damaged);
            send(&mut net, valid[..rng.below(valid.len() as u64) as usize].to_vec());
        }
    }
    for kind in 0..=20 {
        for length in [1, 4, 16, 40, 200] {
            let mut garbage = vec![0; length];
            rng.fill(&mut garbage);
            garbage[0] = kind;
            send(&mut net, garbage);
        }
    }
    send(&mut net, Vec::new());
    assert!(sent > 500);
    assert_eq!(tables(&mut net, &domain), before);
    // The true ones still work.
    net.send(node, data);
    assert!(matches!(&net.take(node)[..], [.., Received::Message(Envelope { message: Message::KeepAliveAck(_), .. })]));
}

#[test]
fn a_replayed_data_datagram_is_dropped_and_does_not_move_the_node() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let other = net.add_node(&domain, 2, "b", "198.51.100.2:5000");
    net.register(node);
    net.register(other);
    let keep_alive = net.host(node).node.keep_alive(1);
    net.send(node, keep_alive.clone());
    net.send_from(at("203.0.113.66:666"), domain.address, keep_alive);
    assert_eq!(net.dc(&domain).stats().dropped.replayed, 1);
    let target = Target::Node(net.host(node).node.id());
    assert_eq!(net.direct(other, 1, target).unwrap().pairs[0].remote, at("198.51.100.1:5000"));
}

#[test]
fn a_datagram_that_was_overtaken_does_not_move_the_node_back() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let other = net.add_node(&domain, 2, "b", "198.51.100.2:5000");
    net.register(node);
    net.register(other);
    let old = net.host(node).node.keep_alive(1);
    net.host(node).address = at("198.51.100.77:5000");
    net.keep_alive(node);
    net.send_from(at("198.51.100.1:5000"), domain.address, old);
    assert_eq!(net.dc(&domain).stats().dropped.overtaken, 1);
    let target = Target::Node(net.host(node).node.id());
    let remotes: Vec<_> = net.direct(other, 1, target).unwrap().pairs.iter().map(|pair| pair.remote).collect();
    assert!(remotes.contains(&at("198.51.100.77:5000")), "{remotes:?}");
}

#[test]
fn a_keep_alive_of_an_interface_as_it_was_does_not_move_it() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    net.register(node);
    net.host(node).node.renumber(1, &["198.51.100.8:5000"]);
    net.keep_alive(node);
    assert_eq!(net.dc(&domain).stats().dropped.stale_generation, 1);
}

#[test]
fn an_address_that_has_not_proven_itself_never_gets_more_than_three_bytes_for_one() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    net.register(node);
    let peers: Vec<usize> = (2..10)
        .map(|number| net.add_node(&domain, number, &format!("p{number}"), &format!("198.51.100.{number}:5000")))
        .collect();
    for &peer in &peers {
        net.register(peer);
    }
    // A registered node pretends to be at the victim's address, and has everybody call it there.
    let victim = at("203.0.113.200:53");
    net.host(node).answers = false;
    net.host(node).address = victim;
    net.host(node).node.renumber(1, &["203.0.113.200:53"]);
    let moved = net.host(node).node.register_again(1);
    net.send(node, moved);
    net.keep_alive(node);
    for (path, &peer) in (1..).zip(&peers) {
        let target = Target::Node(net.host(node).node.id());
        net.direct(peer, path, target).unwrap();
        net.ask(node, 100 + path, Target::Name(fqdn("p2.ntm.example")));
    }
    net.advance(Duration::from_secs(30));
    let traffic = net.traffic[&victim];
    assert!(traffic.sent_to > 0);
    assert!(traffic.sent_to <= AMPLIFICATION * traffic.received_from, "{traffic:?}");
    assert!(net.dc(&domain).stats().withheld > 0);
}

#[test]
fn an_address_is_not_proven_by_an_answer_that_went_elsewhere_too() {
    let (domain, mut net) = domain();
    let other = net.add_node(&domain, 1, "b", "198.51.100.2:5000");
    net.register(other);
    // The rogue pretends to register at the victim's address, and has the answer repeated to its own.
    let rogue = net.add_node(&domain, 2, "rogue", "203.0.113.66:666");
    let victim = at("203.0.113.200:53");
    net.host(rogue).answers = false;
    let datagram = net.host(rogue).node.register(1);
    net.send_from(victim, domain.address, datagram.clone());
    net.send(rogue, datagram);
    assert!(matches!(net.take(rogue)[..], [Received::Registered(_)]));
    let confirmed = net.host(rogue).node.keep_alive(1);
    let proven = net.dc(&domain).stats().addresses_proven;
    net.send_from(victim, domain.address, confirmed);
    assert_eq!(net.dc(&domain).stats().addresses_proven, proven);
    for path in 1..10 {
        let asked = net.host(rogue).node.direction(path, Target::Name(fqdn("b.ntm.example")));
        net.send_from(victim, domain.address, asked);
    }
    net.advance(Duration::from_secs(30));
    let traffic = net.traffic[&victim];
    assert!(traffic.sent_to <= AMPLIFICATION * traffic.received_from, "{traffic:?}");
}

#[test]
fn what_was_held_back_goes_out_once_the_address_is_proven() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let peers: Vec<usize> = (2..8)
        .map(|number| net.add_node(&domain, number, &format!("p{number}"), &format!("198.51.100.{number}:5000")))
        .collect();
    net.register(node);
    for &peer in &peers {
        net.register(peer);
    }
    net.host(node).answers = false;
    net.host(node).address = at("203.0.113.1:6000");
    net.host(node).node.renumber(1, &["10.0.0.1:5000"]);
    let moved = net.host(node).node.register_again(1);
    net.send(node, moved);
    let challenge = net.take(node).into_iter().find_map(|received| match received {
        Received::Challenged(response) => Some(response),
        _ => None,
    });
    for (path, &peer) in (1..).zip(&peers) {
        let target = Target::Node(net.host(node).node.id());
        net.direct(peer, path, target).unwrap();
    }
    let before = net.take(node).len();
    assert!(before < peers.len(), "{before} directions came unasked for");
    let proof = net.host(node).node.seal_frame(&ntm_proto::wire::frame::Frame::PathResponse(challenge.unwrap()));
    net.send(node, proof);
    assert_eq!(before + net.take(node).len(), peers.len());
}

#[test]
fn a_proof_made_up_or_from_elsewhere_proves_nothing() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    net.register(node);
    net.host(node).answers = false;
    net.host(node).address = at("203.0.113.1:6000");
    net.host(node).node.renumber(1, &["10.0.0.1:5000"]);
    let moved = net.host(node).node.register_again(1);
    net.send(node, moved);
    let proven = net.dc(&domain).stats().addresses_proven;
    let Some(Received::Challenged(response)) =
        net.take(node).into_iter().find(|received| matches!(received, Received::Challenged(_)))
    else {
        panic!("no challenge")
    };
    let mut forged = response;
    forged.nonce ^= 1;
    let proof = net.host(node).node.seal_frame(&ntm_proto::wire::frame::Frame::PathResponse(forged));
    net.send(node, proof);
    // The right answer, but from an address the challenge did not go to.
    let proof = net.host(node).node.seal_frame(&ntm_proto::wire::frame::Frame::PathResponse(response));
    net.send_from(at("203.0.113.2:6000"), domain.address, proof);
    assert_eq!(net.dc(&domain).stats().addresses_proven, proven);
    assert_eq!(net.dc(&domain).stats().dropped.unexpected_answer, 2);
}

#[test]
fn under_a_flood_of_handshakes_the_honest_get_in_with_a_cookie_and_nobody_else_costs_public_key_work() {
    let domain = Domain::new("ntm.example", 1, "192.0.2.1:4500");
    let mut config = domain.config();
    config.handshakes_per_second = 20;
    let mut net = Net::default();
    net.add_coordinator(domain.address, Coordinator::new(net.now, config, [1; 32]));
    let honest = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    let mut attacker = domain.node(666, "attacker");
    attacker.attach(1, &["203.0.113.66:666"]);
    for source in 0..200u32 {
        let datagram = attacker.register(1);
        let from = SocketAddr::from(([203, 0, (source >> 8) as u8, source as u8], 666));
        net.send_from(from, domain.address, datagram);
    }
    let stats = *net.dc(&domain).stats();
    assert!(stats.cookies_sent >= 170, "{}", stats.cookies_sent);
    net.begin(honest);
    // The stand-in sends the handshake again with the cookie.
    assert!(matches!(net.take(honest)[..], [Received::Cookie(_), Received::Registered(_)]));
    assert!(net.traffic.values().all(|traffic| traffic.sent_to <= AMPLIFICATION * traffic.received_from));
}

#[test]
fn in_a_flood_beyond_all_cookies_who_holds_one_gets_in() {
    let domain = Domain::new("ntm.example", 1, "192.0.2.1:4500");
    let mut config = domain.config();
    config.handshakes_per_second = 20;
    let now = Net::default().now;
    let mut dc = Coordinator::new(now, config, [1; 32]);
    let mut attacker = domain.node(666, "attacker");
    attacker.attach(1, &["203.0.113.66:666"]);
    let mut flood = |dc: &mut Coordinator, count: u32| {
        for source in 0..count {
            let from = SocketAddr::from(([203, 0, (source >> 8) as u8, source as u8], 666));
            dc.handle_datagram(now, domain.address, from, &mut attacker.register(1));
        }
        while dc.poll_transmit().is_some() {}
    };
    let mut honest = domain.node(1, "a");
    honest.attach(1, &["198.51.100.1:5000"]);
    let say = |dc: &mut Coordinator, honest: &mut ntm_direction::testing::Node, mut datagram: Vec<u8>| {
        dc.handle_datagram(now, domain.address, at("198.51.100.1:5000"), &mut datagram);
        let mut answer = dc.poll_transmit().expect("an answer").datagram;
        honest.receive(now, domain.address, &mut answer)
    };
    flood(&mut dc, 100);
    let first = honest.register(1);
    let Received::Cookie(second) = say(&mut dc, &mut honest, first) else { panic!("under load") };
    flood(&mut dc, COOKIE_BURST + 500);
    let stats = *dc.stats();
    assert!(stats.cookies_sent <= u64::from(COOKIE_BURST) && stats.dropped.too_many_handshakes >= 500, "{stats:?}");
    assert!(matches!(say(&mut dc, &mut honest, second), Received::Registered(_)));
}

#[test]
fn a_node_that_asks_without_end_is_slowed_down() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    net.register(node);
    let mut busy = 0;
    for path in (0..200u8).cycle().take(600) {
        busy += u32::from(net.direct(node, path, Target::Name(fqdn("x.ntm.example"))) == Err(ErrorCode::Busy));
    }
    assert!(busy >= 300, "{busy}");
    assert_eq!(net.dc(&domain).gauges().paths, 0);
    net.advance(Duration::from_secs(10));
    assert_eq!(net.direct(node, 201, Target::Name(fqdn("x.ntm.example"))), Err(ErrorCode::NoSuchNode));
}

#[test]
fn half_open_handshakes_are_bounded_and_one_a_node() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    for _ in 0..10 {
        net.begin(node);
    }
    assert_eq!(net.dc(&domain).gauges().half_open, 1);
    assert_eq!(net.dc(&domain).gauges().sessions, 1);
    const { assert!(MAX_HALF_OPEN <= 65_536) };
}

#[test]
fn a_full_registry_says_so_and_serves_those_it_has() {
    let domain = Domain::new("ntm.example", 1, "192.0.2.1:4500");
    let mut config = domain.config();
    config.max_nodes = 2;
    let mut net = Net::default();
    net.add_coordinator(domain.address, Coordinator::new(net.now, config, [1; 32]));
    let nodes: Vec<usize> =
        (1..=3).map(|n| net.add_node(&domain, n, &format!("n{n}"), &format!("198.51.100.{n}:5000"))).collect();
    net.register(nodes[0]);
    net.register(nodes[1]);
    assert_eq!(refusal(&mut net, nodes[2]), Some(ErrorCode::Busy));
    let target = Target::Node(net.host(nodes[1]).node.id());
    assert!(net.direct(nodes[0], 1, target).is_ok());
}

#[test]
fn a_full_address_pool_says_so_and_addresses_come_free_after_the_grace() {
    let domain = Domain::new("ntm.example", 1, "192.0.2.1:4500");
    let mut config = domain.config();
    config.pool4 = ([10, 0, 0, 0].into(), 30);
    let mut net = Net::default();
    net.add_coordinator(domain.address, Coordinator::new(net.now, config, [1; 32]));
    let nodes: Vec<usize> =
        (1..=3).map(|n| net.add_node(&domain, n, &format!("n{n}"), &format!("198.51.100.{n}:5000"))).collect();
    let first = net.register(nodes[0]);
    let second = net.register(nodes[1]);
    assert_ne!(first.virtual4, second.virtual4);
    assert_eq!(refusal(&mut net, nodes[2]), Some(ErrorCode::Busy));
    net.advance(ADDRESS_GRACE + Duration::from_secs(200));
    assert_eq!(net.dc(&domain).gauges().nodes, 0);
    let host = net.host(nodes[2]);
    host.node.ticket =
        domain.ticket(&host.node.record, &host.node.key, BEGIN + ADDRESS_GRACE + Duration::from_secs(86_400));
    assert!([first.virtual4, second.virtual4].contains(&net.register(nodes[2]).virtual4));
}

#[test]
fn an_unregistered_node_cannot_ask_and_learns_that_it_must_register() {
    let (domain, mut net) = domain();
    let node = net.add_node(&domain, 1, "a", "198.51.100.1:5000");
    net.register(node);
    net.advance(Duration::from_secs(100));
    net.take(node);
    let request = DirectionRequest { path_id: PathId([1; 16]), target: Target::Name(fqdn("b.ntm.example")) };
    let asked = net.host(node).node.seal(Message::DirectionRequest(request));
    net.send(node, asked);
    let inbox = net.take(node);
    let [Received::Message(Envelope { message: Message::Error(error), .. })] = &inbox[..] else { panic!("{inbox:?}") };
    assert_eq!(error.code, ErrorCode::NotRegistered);
    // And it may do so on the session it still has.
    let again = net.host(node).node.register_again(1);
    net.send(node, again);
    assert!(matches!(
        &net.take(node)[0],
        Received::Message(Envelope { message: Message::RegistrationResponse(_), .. })
    ));
    assert_eq!(net.dc(&domain).gauges().online, 1);
}
