//! Many nodes in mixed networks, every pair in a transfer, and somebody moves all the time.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use ntm_plot::{Line, Panel, Panels};

use super::bench::{Bench, Node};
use crate::forward::impairment::Impairment;
use crate::forward::model::Chance;
use crate::net::nat::Nat;
use crate::net::site::{Network, Site};
use crate::report::Report;
use crate::run::domain::{Files, Shape};

/// Bytes a second of each transfer, each way: enough to touch all of its buffers within a third of the time.
const RATE: u32 = 2_000;
/// Somebody moves so often.
const MOVE_EVERY: Duration = Duration::from_secs(2);
/// After the last move.
const REST: Duration = Duration::from_secs(20);
/// How long the rest may take to arrive after everybody hung up.
const PATIENCE: Duration = Duration::from_secs(120);
/// Memory is measured so often.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// What a node's memory may grow by from the first third of the time to the last.
const MOST_GROWTH: u64 = 4 << 20;

/// Where nodes go.
const NETWORKS: [Network; 8] = [
    Network::Dual,
    Network::Global4,
    Network::Private4(Nat::FullCone),
    Network::Private4(Nat::Restricted),
    Network::Private4(Nat::PortRestricted),
    Network::Private4(Nat::Symmetric),
    Network::BehindCarrier { home: Nat::PortRestricted, carrier: Nat::PortRestricted },
    Network::Only6,
];

pub(crate) fn full(files: &Files, report: &mut Report) -> io::Result<()> {
    run(files, report, 24, Duration::from_secs(600))
}

fn run(files: &Files, report: &mut Report, count: usize, time: Duration) -> io::Result<()> {
    let links = [Impairment::delayed(Duration::from_millis(2)); 2];
    let bench = Bench::new(files, Shape { links, ..Shape::default() })?;
    let sites: Vec<Site> = NETWORKS.iter().map(|network| bench.site(*network)).collect::<io::Result<_>>()?;
    let mut nodes: Vec<Node> = Vec::new();
    for at in 0..count {
        let node = bench.node(&format!("n{at}"), &sites[at % sites.len()], links)?;
        node.ready()?;
        nodes.push(node);
    }
    let names: Vec<String> = nodes.iter().map(Node::name).collect();
    for at in 0..count {
        for name in &names[at + 1..] {
            nodes[at].agent.tell(&format!("stream {name} {RATE}"))?;
        }
    }
    for (at, node) in nodes.iter().enumerate() {
        for name in &names[at + 1..] {
            node.agent.await_line(0, &format!("stream begun {name}"))?;
        }
    }
    let pairs = count * (count - 1) / 2;
    report.line(&format!(
        "{count} nodes in {} networks, {pairs} transfers each way, {} s",
        sites.len(),
        time.as_secs()
    ));

    let (begun, mut looked) = (Instant::now(), Instant::now());
    let (mut chance, mut moves, mut memory, mut points) = (Chance::new(1), 0_u32, Vec::new(), Vec::new());
    while begun.elapsed() < time {
        std::thread::sleep(MOVE_EVERY);
        if begun.elapsed() + REST < time {
            let who = chance.below(count as u64) as usize;
            let site = &sites[chance.below(sites.len() as u64) as usize];
            // A full site is no place to go to.
            if nodes[who].go(&bench.internet, site, links).is_ok() {
                moves += 1;
            } else {
                nodes[who].go(&bench.internet, &sites[2], links)?;
            }
        }
        if looked.elapsed() > LOOK_EVERY {
            looked = Instant::now();
            let now = nodes.iter().map(|node| resident(node.agent.id())).collect::<io::Result<Vec<u64>>>()?;
            points.push((begun.elapsed().as_secs_f64(), now.iter().sum::<u64>() as f64 / count as f64 / 1e6));
            memory.push(now);
        }
    }
    for node in &mut nodes {
        node.agent.tell("hang-up")?;
    }
    let (sent, received) = totals(&nodes, pairs)?;
    report.line(&format!("{moves} moves; {sent} bytes sent, {received} received, each transfer whole"));
    report.check(sent == received, "every byte arrives");
    let title = format!("resident memory of a node, mean of {count}, {moves} moves");
    let panel = Panel { unit: "MB".to_owned(), highest: None, lines: vec![Line { name: String::new(), points }] };
    report.plot(Panels { title, x: "s", panels: vec![panel], marks: Vec::new() }.svg());
    let third = memory.len() / 3;
    let mean = |looks: &[Vec<u64>]| looks.iter().flatten().sum::<u64>() / (looks.len().max(1) * count) as u64;
    let (early, late) = (mean(&memory[..third]), mean(&memory[memory.len() - third..]));
    report.line(&format!(
        "resident memory a node: {} kB in the first third, {} kB in the last",
        early / 1_000,
        late / 1_000
    ));
    report.check(late < early + MOST_GROWTH, "memory is steady");
    Ok(())
}

/// Waits until all transfers have ended; what was sent and received in all of them.
fn totals(nodes: &[Node], pairs: usize) -> io::Result<(u64, u64)> {
    let until = Instant::now() + PATIENCE;
    loop {
        let all = |words: &str| -> Vec<String> { nodes.iter().flat_map(|node| node.agent.lines(0, words)).collect() };
        let ended: Vec<String> = ["caller-received ", "callee-received "].iter().flat_map(|words| all(words)).collect();
        let sent: Vec<String> = ["caller-sent ", "callee-sent "].iter().flat_map(|words| all(words)).collect();
        if let Some(broken) = ended.iter().find(|line| !line.ends_with(" whole")) {
            return Err(io::Error::other(format!("a transfer broke off: {broken}")));
        }
        if ended.len() == 2 * pairs && sent.len() == 2 * pairs {
            let sum =
                |lines: &[String]| lines.iter().filter_map(|line| line.split(' ').next()?.parse::<u64>().ok()).sum();
            return Ok((sum(&sent), sum(&ended)));
        }
        if Instant::now() > until {
            return Err(io::Error::other(format!("{} of {} transfers ended", ended.len(), 2 * pairs)));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Bytes of memory that a process has.
fn resident(process: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kilobytes.map(|kilobytes| kilobytes * 1_024).ok_or_else(|| io::Error::other("a process without memory"))
}
