//! Paper 001's table and paper 002's figure 11: a node moves while it is in a call.
//!
//! ```text
//!                     core
//!     ┌────────┬───────┼────────┬────────┐
//!   NAT A    NAT B   IPv6     IPv4     dual stack
//!                            global       │             each way: 10 ms on CN's link, 5 ms on those of AS, DC, RS,
//!     └─ ─ ─ ─ ─ MN ─ ─ ─ ─ ─ ─ ┘         CN            nothing on the air, where ARP and DHCP are
//! ```

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use super::bench::Bench;
use super::call::{Call, let_it_run};
use crate::forward::impairment::Impairment;
use crate::forward::model::Nanos;
use crate::net::mobile::{Mobile, Moved};
use crate::net::nat::Nat;
use crate::net::site::{Network, Site};
use crate::report::{Report, milliseconds};
use crate::run::domain::{Files, Shape, full_name};
use crate::run::process::Started;

/// Each way on the links of the other node and of the servers.
const DELAY: Duration = Duration::from_millis(10);
const SERVER_DELAY: Duration = Duration::from_millis(5);
/// Between the nodes.
const ROUND_TRIP: Nanos = 20_000_000;
/// Bytes a second of the transfer, each way.
const RATE: u32 = 250_000;
/// Between moves.
const STAY: Duration = Duration::from_millis(1_500);
/// How long a transfer may stand still after a move before that counts as a failure.
const STILL: Duration = Duration::from_secs(30);

/// Goals: an address is acted on within this, and the application has a byte this long after the round trip.
const DETECTION: Nanos = 5_000_000;
const SLACK: Nanos = 5_000_000;

/// Where the node goes, in turn; it begins in the last.
const STATIONS: [(&str, Network); 4] = [
    ("NAT A", Network::Private4(Nat::PortRestricted)),
    ("NAT B", Network::Private4(Nat::PortRestricted)),
    ("IPv6 only", Network::Only6),
    ("IPv4 global", Network::Global4),
];

/// A move and what the call saw of it.
#[derive(Clone, Copy, Debug)]
struct Sample {
    without_address: Nanos,
    detection: Nanos,
    tunnel: Nanos,
    first_byte: Nanos,
    voice_gap: Nanos,
    transfer_gap: Nanos,
    lost: u64,
    twice: u64,
    most_lost: u64,
}

/// Ten rounds.
pub(crate) fn full(files: &Files, report: &mut Report) -> io::Result<()> {
    run(files, report, 10)
}

fn run(files: &Files, report: &mut Report, rounds: usize) -> io::Result<()> {
    let air = [Impairment::WIRE; 2];
    let shape = Shape { links: [Impairment::delayed(SERVER_DELAY); 2], ..Shape::default() };
    let bench = Bench::new(files, shape)?;
    let home = bench.site(Network::Dual)?;
    let sites: Vec<Site> = STATIONS.iter().map(|(_, network)| bench.site(*network)).collect::<io::Result<_>>()?;
    let _servers: Vec<Started> =
        sites.iter().map(|site| site.serve_addresses(&files.directory)).collect::<io::Result<_>>()?;
    let callee = bench.node("cn", &home, [Impairment::delayed(DELAY); 2])?;
    let mut mobile = Mobile::new(&bench.internet, "mn")?;
    mobile.enter(&bench.internet, &sites[3], air, &files.directory)?;
    let mut caller = bench.domain.node(&mobile.host, &files.agent, false)?;
    caller.await_line(0, "ready")?;
    callee.ready()?;

    report.line("a node moves during a call (TCP 250 kB/s each way, UDP 50/s); milliseconds, medians");
    report.line(&format!("of {rounds} moves into each network; round trip {} ms, direct paths", ROUND_TRIP / 1_000_000));
    let call = Call::begin(&mut caller, &callee.agent, &full_name(&callee.host), RATE)?;
    let_it_run(STAY);
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); STATIONS.len()];
    for _ in 0..rounds {
        for (at, site) in sites.iter().enumerate() {
            let moved = mobile.enter(&bench.internet, site, air, &files.directory)?.carries()?;
            if !call.await_transfer(&caller, &callee.agent, moved.first_back, STILL) {
                report.fail(&format!("into {}: the transfer stood still for {STILL:?}", STATIONS[at].0));
            }
            let_it_run(STAY);
            let sample = Sample::of(&call, &caller, &callee.agent, moved);
            report.line(&row(STATIONS[at].0, &[sample]));
            samples[at].push(sample);
        }
    }
    let totals = call.end(&mut caller, &callee.agent)?;
    show(report, &samples);
    report.line(&format!(
        "TCP: {} bytes sent, {} received; {} sent back, {} received. UDP: {} sent",
        totals.sent, totals.received, totals.back_sent, totals.back_received, totals.talked
    ));
    report.check(totals.is_whole(), "every byte of the transfer arrives");
    Ok(())
}

impl Sample {
    fn of(call: &Call, caller: &crate::run::agent::Agent, callee: &crate::run::agent::Agent, moved: Moved) -> Self {
        let (here, there) = (call.at_caller(caller), call.at_callee(callee));
        let now = crate::kernel::clock::monotonic();
        let first = [here.first_after(moved.first_out), there.first_after(moved.first_out)].into_iter().flatten().min();
        let numbers: Vec<u64> =
            there.voice.iter().filter(|heard| heard.at > moved.left).map(|heard| heard.number).collect();
        let different: BTreeSet<u64> = numbers.iter().copied().collect();
        let span = different.first().zip(different.last()).map_or(0, |(first, last)| last - first + 1);
        let outage = moved.first_out.saturating_sub(moved.left) + ROUND_TRIP;
        Self {
            without_address: moved.gained.saturating_sub(moved.left),
            detection: moved.first_out.saturating_sub(moved.gained),
            tunnel: moved.first_back - moved.first_out,
            first_byte: first.map_or(Nanos::MAX, |first| first - moved.first_out),
            voice_gap: here.voice_gap(moved.left, now).max(there.voice_gap(moved.left, now)),
            transfer_gap: here.transfer_gap(moved.left, now).max(there.transfer_gap(moved.left, now)),
            lost: span - different.len() as u64,
            twice: (numbers.len() - different.len()) as u64,
            most_lost: outage / 20_000_000 + 1,
        }
    }
}

fn show(report: &mut Report, samples: &[Vec<Sample>]) {
    report.line(&format!(
        "{:14}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
        "into", "no address", "detected", "tunnel", "first byte", "voice gap", "TCP gap", "UDP lost", "UDP twice"
    ));
    report.line(&format!("{:14}{:>12}{:>12}{:>12}", "papers", "3889", "13", "118"));
    let mut all = Vec::new();
    for ((name, _), samples) in STATIONS.iter().zip(samples) {
        report.line(&row(name, samples));
        all.extend(samples);
    }
    report.line(&row("all", &all));
    let most = |value: fn(&Sample) -> Nanos| all.iter().map(value).max().unwrap_or(0);
    report.line(&format!(
        "worst         {:>12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
        milliseconds(most(|s| s.without_address)),
        milliseconds(most(|s| s.detection)),
        milliseconds(most(|s| s.tunnel)),
        milliseconds(most(|s| s.first_byte)),
        milliseconds(most(|s| s.voice_gap)),
        milliseconds(most(|s| s.transfer_gap)),
        most(|s| s.lost),
        most(|s| s.twice),
    ));
    report.check(median(&all, |s| s.detection) <= DETECTION, "detection takes 5 ms at most (median)");
    report.check(
        median(&all, |s| s.first_byte) <= ROUND_TRIP + SLACK,
        "the first byte comes a round trip and 5 ms after detection (median)",
    );
    report.check(all.iter().all(|s| s.lost <= s.most_lost), "no UDP packet is lost that was not in flight in the outage");
}

fn row(name: &str, samples: &[Sample]) -> String {
    let value = |of: fn(&Sample) -> Nanos| milliseconds(median(samples, of));
    format!(
        "{name:14}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}{:>12}",
        value(|s| s.without_address),
        value(|s| s.detection),
        value(|s| s.tunnel),
        value(|s| s.first_byte),
        value(|s| s.voice_gap),
        value(|s| s.transfer_gap),
        median(samples, |s| s.lost),
        median(samples, |s| s.twice),
    )
}

fn median(samples: &[Sample], of: fn(&Sample) -> u64) -> u64 {
    let mut values: Vec<u64> = samples.iter().map(of).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
