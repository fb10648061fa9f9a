//! Paper 001's table and paper 002's figure 11: a node moves while it is in a call.
//!
//! ```text
//!                     core
//!     ┌────────┬───────┼────────┬────────┐
//!   NAT A    NAT B   IPv6     IPv4     dual stack
//!                            global       │             each way: 10 ms on CN's link, 5 ms on those of AS, DC, RS,
//!     └─ ─ ─ ─ ─ MN ─ ─ ─ ─ ─ ─ ┘         CN            nothing on the air, where ARP and DHCP are
//! ```
//! The paper's phases were seen on the wire, and so are these: *detected* is the first datagram that leaves from the new
//! address, counted from the kernel's notice of the address; *tunnel* is the first one that comes back for it.

use std::io;
use std::time::Duration;

use ntm_plot::Bars;

use super::bench::{Bench, Node};
use super::call::{Call, let_it_run};
use super::moves::{ROUND_TRIP, Sample, head, row, worst};
use super::peers;
use crate::forward::impairment::Impairment;
use crate::net::mobile::Mobile;
use crate::net::nat::Nat;
use crate::net::site::{Network, Site};
use crate::report::{Report, median};
use crate::run::domain::{Files, Shape, full_name};
use crate::run::process::Started;

/// Each way on the links of the other node and of the servers.
const DELAY: Duration = Duration::from_nanos(ROUND_TRIP / 2);
const SERVER_DELAY: Duration = Duration::from_millis(5);
/// Bytes a second of the transfer, each way.
pub(super) const RATE: u32 = 250_000;
/// Between moves.
const STAY: Duration = Duration::from_millis(1_500);
/// How long a transfer may stand still after a move before that counts as a failure.
const STILL: Duration = Duration::from_secs(30);

/// Goals: an address is acted on within this, and the application has a byte this long after the round trip.
const DETECTION: u64 = 5_000_000;
const SLACK: u64 = 5_000_000;
/// What the papers' node took, in milliseconds.
const PAPER: [f64; 2] = [13.0, 118.0];

/// Where the node goes, in turn; it begins in the last.
pub(super) const STATIONS: [(&str, Network); 4] = [
    ("NAT A", Network::Private4(Nat::PortRestricted)),
    ("NAT B", Network::Private4(Nat::PortRestricted)),
    ("IPv6 only", Network::Only6),
    ("IPv4 global", Network::Global4),
];

/// The places, and who is called.
pub(super) struct Scene {
    pub(super) callee: Node,
    _servers: Vec<Started>,
    pub(super) sites: Vec<Site>,
    _home: Site,
    pub(super) bench: Bench,
}

/// Ten moves into each network, and others beside it.
pub(crate) fn full(files: &Files, report: &mut Report) -> io::Result<()> {
    let scene = Scene::new(files)?;
    let ours = moves(&scene, report, 10)?;
    let peers = peers::all(&scene, report, 1)?;
    let phases: [fn(&Sample) -> u64; 4] =
        [|s| s.detection, |s| s.tunnel, |s| s.first_byte, |s| s.voice_gap - s.voice_gap.min(s.without_address)];
    let names = ["address → detected", "detected → tunnel", "detected → first byte", "voice's pause, less no address"];
    let ms = |samples: &[Sample], of: fn(&Sample) -> u64| {
        (!samples.is_empty()).then(|| median(samples.iter().map(of)) as f64 / 1e6)
    };
    let rows = names.iter().zip(phases).enumerate().map(|(at, (name, phase))| {
        let values = vec![PAPER.get(at).copied(), ms(&ours, phase), ms(&peers, phase)];
        ((*name).to_owned(), values)
    });
    let series = ["papers 001, 002", "NTMfw", "wireguard-go"];
    let title = format!("a move during a call, round trip {} ms", ROUND_TRIP / 1_000_000);
    report.plot(Bars::of_series(title, "ms", &series, rows).svg());
    Ok(())
}

/// One move into each network.
pub(crate) fn quick(files: &Files, report: &mut Report) -> io::Result<()> {
    moves(&Scene::new(files)?, report, 1).map(|_| ())
}

impl Scene {
    fn new(files: &Files) -> io::Result<Self> {
        let shape = Shape { links: [Impairment::delayed(SERVER_DELAY); 2], ..Shape::default() };
        let bench = Bench::new(files, shape)?;
        let home = bench.site(Network::Dual)?;
        let sites: Vec<Site> = STATIONS.iter().map(|(_, network)| bench.site(*network)).collect::<io::Result<_>>()?;
        let servers = sites.iter().map(|site| site.serve_addresses(&files.directory)).collect::<io::Result<_>>()?;
        let callee = bench.node("cn", &home, [Impairment::delayed(DELAY); 2])?;
        callee.ready()?;
        Ok(Self { callee, _servers: servers, sites, _home: home, bench })
    }
}

fn moves(scene: &Scene, report: &mut Report, rounds: usize) -> io::Result<Vec<Sample>> {
    let Scene { callee, sites, bench, .. } = scene;
    let air = [Impairment::WIRE; 2];
    let directory = &bench.files.directory;
    let mut mobile = Mobile::new(&bench.internet, "mn")?;
    mobile.enter(&bench.internet, &sites[3], air, directory)?;
    let mut caller = bench.domain.node(&mobile.host, &bench.files.agent, false)?;
    caller.await_line(0, "ready")?;

    report.line("a node moves during a call (TCP 250 kB/s each way, UDP 50/s); milliseconds, medians");
    report
        .line(&format!("of {rounds} moves into each network; round trip {} ms, direct paths", ROUND_TRIP / 1_000_000));
    let call = Call::begin(&mut caller, &callee.agent, &full_name(&callee.host), RATE)?;
    let_it_run(STAY);
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); STATIONS.len()];
    for _ in 0..rounds {
        for (at, site) in sites.iter().enumerate() {
            let moved = mobile.enter(&bench.internet, site, air, directory)?.carries()?;
            let goes_on = call.await_transfer(&caller, &callee.agent, moved.first_back, STILL);
            report.check(goes_on, &format!("into {}: the transfer goes on", STATIONS[at].0));
            let_it_run(STAY);
            samples[at].push(Sample::of(&call, &caller, &callee.agent, moved));
        }
    }
    let totals = call.end(&mut caller, &callee.agent)?;

    report.line(&head());
    report.line(&format!("{:14}{:>12}{:>12}{:>12}", "papers", "3889", PAPER[0], PAPER[1]));
    for ((name, _), samples) in STATIONS.iter().zip(&samples) {
        report.line(&row(name, samples));
    }
    let all = samples.concat();
    report.line(&row("all", &all));
    report.line(&worst(&all));
    report.line(&format!(
        "TCP: {} bytes sent, {} received; {} sent back, {} received. UDP: {} sent",
        totals.sent, totals.received, totals.back_sent, totals.back_received, totals.talked
    ));
    report.check(totals.is_whole(), "every byte of the transfer arrives");
    let detection = median(all.iter().map(|s| s.detection));
    report.check_time(detection <= DETECTION, "detection takes 5 ms at most (median)");
    let first_byte = median(all.iter().map(|s| s.first_byte));
    let claim = "the first byte comes a round trip and 5 ms after detection (median)";
    report.check_time(first_byte <= ROUND_TRIP + SLACK, claim);
    let claim = "no UDP packet is lost that was not in flight in the outage";
    report.check_time(all.iter().all(|s| s.lost <= s.most_lost), claim);
    Ok(all)
}
