//! kill -9 at random moments under load: what a node was told is true afterwards.

mod support;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use ntm_raw_node::{Fleet, Identity};
use ntm_server::clock::random;
use support::{Dc, Domain, PATIENCE, data, loopback, register_all};

/// New nodes a round.
const NODES: usize = 40;
/// Crashes; `NTM_CRASHES` asks for more.
const CRASHES: usize = 8;

#[test]
fn every_address_a_node_was_given_is_its_own_after_each_crash() {
    let crashes = std::env::var("NTM_CRASHES").map_or(CRASHES, |text| text.parse().expect("a number"));
    let domain = Domain::new("ntm.example");
    let mut dc = Dc::start(&domain, "dc1", "");
    let mut given: BTreeMap<String, (Identity, Ipv4Addr)> = BTreeMap::new();
    let mut unanswered = 0;
    for crash in 0..crashes {
        let mut fleet = Fleet::new().expect("a poll");
        let identities: Vec<(String, Identity)> = (0..NODES)
            .map(|number| {
                let host = format!("n{crash}-{number}");
                let identity = domain.node(&host, std::slice::from_ref(&dc.cert));
                (host, identity)
            })
            .collect();
        let below = |bound: u64| u64::from_be_bytes(random()) % bound;
        // They come one after another, and the end comes a moment after a random number of them is served, so that it
        // finds the others at every step.
        let wanted = 1 + below(NODES as u64 / 2) as usize;
        let mut coming = identities.iter();
        let until = Instant::now() + PATIENCE;
        while (0..fleet.len()).filter(|node| fleet.virtual4(*node).is_some()).count() < wanted {
            assert!(Instant::now() < until, "{wanted} nodes are not served");
            if let Some((_, identity)) = coming.next() {
                fleet.add(identity, loopback()).expect("a socket");
            }
            fleet.drive(Duration::from_millis(2)).expect("drives");
        }
        for (_, identity) in coming.by_ref().take(below(8) as usize) {
            fleet.add(identity, loopback()).expect("a socket");
        }
        std::thread::sleep(Duration::from_micros(below(8_000)));
        dc.kill();
        // What had been answered before the end is still to be read.
        while !fleet.drive(Duration::from_millis(20)).expect("drives").is_empty() {}
        for (at, (host, identity)) in identities.into_iter().enumerate().take(fleet.len()) {
            match fleet.virtual4(at) {
                Some(address) => drop(given.insert(host, (identity, address))),
                None => unanswered += 1,
            }
        }
        dc.run();
        for (host, (_, address)) in &given {
            let answer = dc.dig(&format!("{host}.ntm.example."), RecordType::A);
            assert_eq!(data(&answer), [address.to_string()], "{host} after crash {crash}");
        }
    }
    println!("{crashes} crashes: {} nodes were given an address, {unanswered} not yet", given.len());
    let mut addresses: Vec<Ipv4Addr> = given.values().map(|(_, address)| *address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), given.len(), "an address was given twice");
    // And each of them registers again under what it was given.
    let mut fleet = Fleet::new().expect("a poll");
    for (identity, _) in given.values() {
        fleet.add(identity, loopback()).expect("a socket");
    }
    register_all(&mut fleet);
    for (at, (_, address)) in given.values().enumerate() {
        assert_eq!(fleet.virtual4(at), Some(*address));
    }
}
