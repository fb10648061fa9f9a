//! kill -9 at random moments under load. What a relay knows is soft: a grant lives in its memory, and whoever holds a
//! token has it made again by his next bind. What has to outlive the process is its keys and credentials, which are on
//! disk, and so every token that was given out is good afterwards.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Dc, Node, Rs, exchange, pair, until};
use ntm_relay::testing::inner;
use ntm_server::clock::random;

/// Communications that go on all the time, on all workers.
const PAIRS: u64 = 16;
/// Crashes; `NTM_CRASHES` asks for more.
const CRASHES: usize = 4;
/// The longest that a relay lives under load, in milliseconds.
const LIFE: u64 = 300;

/// Sends what both ends have to say to each other until it is told to stop.
fn load(pairs: &[(Node, Node)], stop: &AtomicBool) {
    let datagrams: Vec<_> =
        pairs.iter().flat_map(|(a, b)| [a, b]).map(|node| (node, node.client.relayed(&inner(1, 1_000)))).collect();
    while !stop.load(Ordering::Relaxed) {
        datagrams.iter().for_each(|(node, datagram)| node.send(datagram));
        std::thread::sleep(Duration::from_micros(500));
    }
}

#[test]
fn every_communication_goes_on_with_its_token_after_each_crash() {
    let crashes = std::env::var("NTM_CRASHES").map_or(CRASHES, |text| text.parse().expect("a number"));
    let dc = Dc::start();
    let mut rs = Rs::start_at_fixed_ports(&[&dc]);
    let mut pairs: Vec<_> = (0..PAIRS).map(|number| pair(number, rs.udp4, rs.udp6)).collect();
    let mut worst = Duration::ZERO;
    for crash in 0..crashes {
        until("the direction server hears of it", || dc.has_report(|report| !report.draining));
        let life = Duration::from_millis(u64::from_be_bytes(random()) % LIFE);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| load(&pairs, &stop));
            // The kill's moment is what is random here; nothing is waited for.
            std::thread::sleep(life);
            rs.kill();
            stop.store(true, Ordering::Relaxed);
        });
        dc.server.lock().expect("no panic").reports.clear();
        rs.run();
        let began = Instant::now();
        for (tag, (a, b)) in (crash as u64 * PAIRS + 2..).zip(&mut pairs) {
            a.forget();
            b.forget();
            a.bind();
            b.bind();
            exchange(a, b, &inner(tag, 600));
            exchange(b, a, &inner(tag, 700));
        }
        worst = worst.max(began.elapsed());
    }
    until("each is held once", || rs.metric("grants") == PAIRS);
    println!(
        "{crashes} crashes: {PAIRS} communications went on after each, all of them {worst:?} after a start at most"
    );
}
