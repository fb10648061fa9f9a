//! Two DCs on one PostgreSQL serve one domain, and one of them dies.

#[path = "support/postgres.rs"]
mod postgres;
mod support;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use ntm_node::Event;
use ntm_proto::identity::ServerCert;
use ntm_proto::wire::message::Target;
use ntm_raw_node::{Fleet, Happened};
use postgres::Postgres;
use support::{Dc, Domain, PATIENCE, data, fqdn, loopback, register_all, wait_for};

/// In seconds; the least that nodes take.
const KEEP_ALIVE: u64 = 5;

struct World {
    postgres: Postgres,
    domain: Domain,
    dcs: [Dc; 2],
}

fn world() -> World {
    let postgres = Postgres::start();
    let domain = Domain::new("ntm.example");
    let more = format!("[nodes]\nkeep_alive = {KEEP_ALIVE}\nlease = 60");
    let mut dcs = ["dc1", "dc2"].map(|name| Dc::prepare(&domain, name, ""));
    let certs: [ServerCert; 2] = dcs.each_ref().map(|dc| dc.cert.clone());
    for (at, dc) in dcs.iter_mut().enumerate() {
        dc.credentials(&domain, 2, std::slice::from_ref(&certs[1 - at]));
        dc.configure(&format!("{:?}", postgres.url()), &more);
        dc.run();
    }
    World { postgres, domain, dcs }
}

fn connect(fleet: &mut Fleet, from: usize, to: &str) -> Ipv4Addr {
    fleet.connect(from, Target::Name(fqdn(to))).expect("asks");
    let (mut address, mut up) = (None, false);
    let done = fleet.drive_until(PATIENCE, |_, happened| {
        for (node, what) in happened.iter().filter(|(node, _)| *node == from) {
            match what {
                Happened::Event(Event::Resolved { virtual4, .. }) => address = Some(*virtual4),
                Happened::Event(Event::PeerUp { .. }) => up = true,
                Happened::Event(Event::ConnectFailed { reason, .. }) => panic!("{node} → {to}: {reason:?}"),
                _ => {}
            }
        }
        up && address.is_some()
    });
    assert!(done.expect("drives"), "{from} → {to}: no tunnel");
    address.expect("resolved")
}

/// Sends one text and waits for it. Gives how long it took.
fn deliver(fleet: &mut Fleet, from: usize, to: Ipv4Addr, text: &[u8]) -> Duration {
    let begin = Instant::now();
    fleet.send(from, to, text).expect("a tunnel");
    let heard = fleet.drive_until(PATIENCE, |_, happened| {
        happened.iter().any(|(_, what)| matches!(what, Happened::Received { text: heard, .. } if heard == text))
    });
    assert!(heard.expect("drives"), "lost in the tunnel");
    begin.elapsed()
}

#[test]
fn a_thousand_nodes_are_served_when_one_of_two_coordinators_dies() {
    const NODES: usize = 1_000;
    let World { postgres, domain, dcs: [mut dc1, dc2] } = world();
    let certs = [dc1.cert.clone(), dc2.cert.clone()];
    let mut fleet = Fleet::new().expect("a poll");
    for number in 0..NODES {
        // Even ones begin with the first, odd ones with the second.
        let mut directions = certs.to_vec();
        directions.rotate_left(number % 2);
        fleet.add(&domain.node(&format!("n{number}"), &directions), loopback()).expect("a socket");
    }
    let begin = Instant::now();
    register_all(&mut fleet);
    println!("{NODES} nodes registered in {:?}", begin.elapsed());
    let before: Vec<_> = (0..NODES).map(|node| fleet.virtual4(node).expect("registered")).collect();
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), NODES, "an address was given twice");
    assert_eq!(postgres.ask("select count(*) from ntm_nodes"), NODES.to_string());

    // A node of either finds a node of the other, and any of the two answers for both in the DNS.
    wait_for("the names at both", || dc1.metric("names") == 1_000 && dc2.metric("names") == 1_000);
    for dc in [&dc1, &dc2] {
        for node in [4, 5] {
            let answer = dc.dig(&format!("n{node}.ntm.example."), RecordType::A);
            assert_eq!(data(&answer), [before[node].to_string()]);
        }
    }
    assert_eq!(connect(&mut fleet, 0, "n1.ntm.example"), before[1]);
    assert_eq!(connect(&mut fleet, 3, "n2.ntm.example"), before[2]);
    deliver(&mut fleet, 0, before[1], b"before");

    dc1.kill();
    let died = Instant::now();
    let mut worst = Duration::ZERO;
    let mut sent = 0;
    // When each of the orphans was served again.
    let mut served = vec![Duration::ZERO; NODES / 2];
    while served.last() == Some(&Duration::ZERO) {
        let online = dc2.metric("nodes_online") as usize;
        assert!(died.elapsed() < PATIENCE, "{online} of {NODES} are served");
        served[..online.saturating_sub(NODES / 2)]
            .iter_mut()
            .filter(|at| at.is_zero())
            .for_each(|at| *at = died.elapsed());
        sent += 1;
        worst = worst.max(deliver(&mut fleet, 0, before[1], format!("text {sent}").as_bytes()));
        fleet.drive(Duration::from_millis(20)).expect("drives");
    }
    println!(
        "of {} nodes half were served again within {:?} of the death, 99 of 100 within {:?}, all within {:?}; {sent} texts \
         meanwhile, the slowest took {worst:?}",
        served.len(),
        served[served.len() / 2],
        served[served.len() * 99 / 100],
        served[served.len() - 1],
    );
    let after: Vec<_> = (0..NODES).map(|node| fleet.virtual4(node).expect("registered")).collect();
    assert_eq!(before, after, "a node got another address");
    assert_eq!(postgres.ask("select count(distinct virtual4) from ntm_nodes where dc = 'dc2.ntm.example'"), "1000");
    // New communications between those who changed and those who did not.
    assert_eq!(connect(&mut fleet, 5, "n4.ntm.example"), before[4]);
    assert_eq!(connect(&mut fleet, 6, "n8.ntm.example"), before[8]);

    // The dead one comes back and knows that its nodes are elsewhere.
    dc1.run();
    let late = fleet.add(&domain.node("late", &certs), loopback()).expect("a socket");
    register_all(&mut fleet);
    assert_eq!(connect(&mut fleet, late, "n10.ntm.example"), before[10]);
}

#[test]
fn a_database_that_goes_away_and_comes_back_costs_no_node_its_address() {
    let World { postgres, domain, dcs: [dc1, _dc2] } = world();
    let mut fleet = Fleet::new().expect("a poll");
    let first = fleet.add(&domain.node("a", std::slice::from_ref(&dc1.cert)), loopback()).expect("a socket");
    register_all(&mut fleet);
    let before = fleet.virtual4(first);
    // Every connection is cut; the next step makes another.
    postgres.ask("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'ntm-dc'");
    fleet.add(&domain.node("b", std::slice::from_ref(&dc1.cert)), loopback()).expect("a socket");
    register_all(&mut fleet);
    assert_eq!(fleet.virtual4(first), before);
    assert_ne!(fleet.virtual4(1), before);
}
