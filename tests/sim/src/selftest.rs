//! The simulator's test of itself: applications over the bare network, with everything that can go wrong on a link.
//!
//! ```text
//!   server ── link ── site ──── core ──── site ── NAT ── link ── client
//! ```
//! Virtual packets travel as datagrams with nothing between. A transfer goes both ways, beside a steady flow from
//! the client, through an outage. Every byte must arrive, every datagram be accounted for, and a second run
//! must be the first over again.

use crate::cli::{Failure, Report, Scenario};
use crate::net::{Burst, Counters, Delivery, Families, HostId, LinkProfile, LinkRef, NatKind, Network, Probability};
use crate::rng::Dice;
use crate::stream::{Cbr, CbrConfig, Role, Source, TcpConfig, TcpPeer};
use ntm_proto::time::Instant;
use std::net::SocketAddr;
use std::time::Duration;

const PORT: u16 = 4_000;
const BYTES: u64 = 1_000_000;
/// By then the slowest of all transfers is over.
const LIMIT: Instant = Instant::from_millis(600_000);

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct NetSelftest;

impl Scenario for NetSelftest {
    fn name(&self) -> &'static str {
        "net-selftest"
    }

    fn about(&self) -> &'static str {
        "A transfer and a datagram flow over bad links without the engine, run twice and compared"
    }

    fn run(&self, seed: u64, report: &mut Report) -> Result<(), Failure> {
        let first = play(seed, Some(report))?;
        if play(seed, None)? != first {
            return Err("two runs of one seed differ".into());
        }
        let Outcome { ended, stall, lost, counters, .. } = first;
        report
            .metrics()
            .time("transfer", ended.since(Instant::ZERO))
            .time("longest stall", stall)
            .count("datagrams", counters.sent)
            .count("dropped", counters.all_dropped())
            .count("duplicated", counters.duplicated)
            .count("lost of the flow", lost);
        Ok(())
    }
}

#[derive(Debug, PartialEq)]
struct Outcome {
    ended: Instant,
    stall: Duration,
    lost: u64,
    counters: Counters,
    digest: u64,
}

struct End {
    host: HostId,
    local: SocketAddr,
    /// Where the other end is reached; the server knows when it has heard from it.
    remote: SocketAddr,
    tcp: TcpPeer,
    cbr: Cbr,
}

fn play(seed: u64, report: Option<&Report>) -> Result<Outcome, Failure> {
    let mut network = Network::new(seed);
    if let Some(hook) = report.and_then(Report::network_trace) {
        network.set_trace(hook);
    }
    let mut dice = Dice::new(seed);
    let mut ends = build(&mut network, &mut dice);
    let mut now = Instant::ZERO;
    loop {
        for end in &mut ends {
            flush(&mut network, now, end)?;
        }
        if ends.iter().all(|end| end.tcp.is_complete()) {
            break;
        }
        let timers = ends.iter_mut().flat_map(|end| [end.tcp.poll_timeout(now), end.cbr.poll_timeout(now)]);
        let next = timers.chain([network.next_event()]).flatten().min();
        now = next.filter(|next| *next < LIMIT).ok_or("the transfer did not end")?;
        while let Some(delivery) = network.poll(now) {
            deliver(now, &mut ends, delivery);
        }
    }
    // What is still under way counts as sent and must not count as lost by mistake.
    while let Some(at) = network.next_event() {
        while network.poll(at).is_some() {}
    }
    for end in &ends {
        end.tcp.verdict()?;
        if end.cbr.reception().alien > 0 {
            return Err("a datagram of the flow came damaged".into());
        }
    }
    let counters = *network.counters();
    if counters.sent + counters.duplicated != counters.delivered + counters.all_dropped() {
        return Err(Failure::new(format_args!("datagrams are missing from the books: {counters:?}")));
    }
    Ok(Outcome {
        ended: now,
        stall: ends[0].tcp.longest_stall(now).max(ends[1].tcp.longest_stall(now)),
        lost: ends.iter().map(|end| end.cbr.reception().lost()).sum(),
        counters,
        digest: network.digest(),
    })
}

fn build(network: &mut Network, dice: &mut Dice) -> [End; 2] {
    let sites = [0; 2].map(|_| network.add_site(Families::V4));
    let kinds: Vec<_> = NatKind::nine().collect();
    let inside = network.add_nat(sites[1], *dice.pick(&kinds));
    let hosts = [sites[0], inside].map(|place| {
        let host = network.add_host();
        let address = SocketAddr::new(network.attach(host, 0, place, Families::V4)[0], PORT);
        (host, address)
    });
    for (host, _) in hosts {
        network.set_link(LinkRef::Access(host, 0), random_profile(dice));
    }
    let from = Instant::from_millis(dice.below(2_000));
    network.add_outage(LinkRef::Access(hosts[0].0, 0), from, from + dice.duration_below(Duration::from_secs(3)));
    let virtual_address = |last: u8| SocketAddr::from(([198, 18, 0, last], 80));
    let tcp = TcpConfig::new(Role::Connect, virtual_address(1), virtual_address(2))
        .send(Source::bulk(dice.u64(), BYTES))
        .expect(Source::bulk(dice.u64(), BYTES))
        .seed(dice.u64());
    let cbr =
        CbrConfig::voice(SocketAddr::from(([198, 18, 0, 1], 5_004)), SocketAddr::from(([198, 18, 0, 2], 5_004)), 1);
    let end = |(host, local), remote, tcp, cbr| End { host, local, remote, tcp: TcpPeer::new(tcp), cbr: Cbr::new(cbr) };
    [end(hosts[0], hosts[0].1, tcp.mirrored(), cbr.mirrored().interval(None)), end(hosts[1], hosts[0].1, tcp, cbr)]
}

fn random_profile(dice: &mut Dice) -> LinkProfile {
    let percent = |dice: &mut Dice, most: u64| Probability::percent(dice.below(most * 100) as f64 / 100.0);
    LinkProfile {
        latency: Duration::from_millis(dice.between(1, 60)),
        jitter: Duration::from_millis(dice.below(20)),
        loss: percent(dice, 3),
        burst: dice.chance(1, 3).then(|| Burst {
            enter: percent(dice, 1),
            leave: Probability::percent(20.0),
            loss: Probability::percent(80.0),
        }),
        duplicate: percent(dice, 3),
        reorder: percent(dice, 3),
        reorder_delay: Duration::from_millis(dice.below(50)),
        rate: dice.chance(1, 2).then(|| dice.between(500_000, 10_000_000)),
        ..LinkProfile::IDEAL
    }
}

fn flush(network: &mut Network, now: Instant, end: &mut End) -> Result<(), Failure> {
    while let Some(packet) = end.tcp.poll_packet(now).or_else(|| end.cbr.poll_packet(now)) {
        network.send(now, end.host, 0, end.local, end.remote, packet).map_err(Failure::new)?;
    }
    Ok(())
}

fn deliver(now: Instant, ends: &mut [End; 2], delivery: Delivery) {
    let Some(end) = ends.iter_mut().find(|end| end.host == delivery.host) else { return };
    // As a tunnel would: the peer is where its last packet came from.
    end.remote = delivery.from;
    if end.tcp.owns(&delivery.payload) {
        end.tcp.handle_packet(now, &delivery.payload);
    } else {
        end.cbr.handle_packet(now, &delivery.payload);
    }
}
