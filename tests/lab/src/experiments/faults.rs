//! Servers die during calls: what the applications saw of it.
//!
//! ```text
//!   AS  DC  RS1  RS2
//!    └───┴─ core ─┴──┐
//!   NAT A   IPv4   IPv6 only      MN calls CN, direct; MN6 calls CN6, relayed: one of the relays goes
//!    MN      CN      MN6
//! ```

use std::io;
use std::time::Duration;

use super::bench::{Bench, Node};
use super::call::{Call, let_it_run};
use crate::forward::impairment::Impairment;
use crate::forward::model::Nanos;
use crate::kernel::clock;
use crate::net::nat::Nat;
use crate::net::site::Network;
use crate::report::{Report, milliseconds};
use crate::run::domain::{Files, Shape, full_name};

const RATE: u32 = 100_000;
/// How long a server stays dead.
const DEAD: Duration = Duration::from_secs(8);
const SETTLE: Duration = Duration::from_secs(2);

/// A pair in a call.
struct Pair {
    name: &'static str,
    caller: Node,
    callee: Node,
    call: Option<Call>,
}

/// The longest gaps that a pair saw.
struct Gaps {
    voice: Nanos,
    transfer: Nanos,
}

pub(crate) fn full(files: &Files, report: &mut Report) -> io::Result<()> {
    let links = [Impairment::delayed(Duration::from_millis(5)); 2];
    let mut bench = Bench::new(files, Shape { relays: 2, links })?;
    let (global, nat, six) = (
        bench.site(Network::Global4)?,
        bench.site(Network::Private4(Nat::PortRestricted))?,
        bench.site(Network::Only6)?,
    );
    let mut pairs = [
        Pair::new("direct", bench.node("mn", &nat, links)?, bench.node("cn", &global, links)?),
        Pair::new("relayed", bench.node("mn6", &six, links)?, bench.node("cn6", &global, links)?),
    ];
    let mut late = bench.node("late", &nat, links)?;
    late.ready()?;
    for pair in &mut pairs {
        pair.begin()?;
    }
    let_it_run(SETTLE);
    report.line("servers die for 8 s during calls (TCP 100 kB/s each way, UDP 50/s); the longest gaps in ms");
    report.line(&format!("{:24}{:>20}{:>20}", "", "direct", "relayed"));
    report.line(&format!("{:24}{}", "", "     voice       TCP".repeat(2)));
    let quiet = fault(&mut bench, &pairs, |_| Ok(()), |_| Ok(()))?;
    row(report, "nothing", &quiet);

    let account = fault(
        &mut bench,
        &pairs,
        |bench| {
            bench.domain.account.kill();
            Ok(())
        },
        |_| Ok(()),
    )?;
    row(report, "AS killed", &account);
    let known = late.agent.ask(&format!("begin {}", pairs[0].callee.name()), "begin ")?;
    report.check(!known.contains("failed"), "without an AS nodes still find each other");
    bench.domain.account.start(files)?;

    let direction = fault(
        &mut bench,
        &pairs,
        |bench| {
            bench.domain.direction.kill();
            Ok(())
        },
        |bench| bench.domain.direction.start(files),
    )?;
    row(report, "DC killed", &direction);

    let names = "table inet names { chain through { type filter hook forward priority 0; meta l4proto { tcp, udp } th dport 53 drop; }\n}\n";
    let deaf =
        fault(&mut bench, &pairs, |bench| bench.internet.core.rules(names), |bench| bench.internet.core.rules(""))?;
    row(report, "DNS dead", &deaf);

    let carries = busier_relay(&bench)?;
    let relay = fault(
        &mut bench,
        &pairs,
        |bench| {
            bench.domain.relays[carries].kill();
            Ok(())
        },
        |_| Ok(()),
    )?;
    row(report, "RS in use killed", &relay);

    for (gaps, what) in [(&account, "AS"), (&direction, "DC"), (&deaf, "DNS")] {
        for (pair, gaps) in pairs.iter().zip(gaps) {
            report.check_time(
                gaps.voice < 1_000_000_000,
                &format!("a {} call does not notice that the {what} is gone", pair.name),
            );
        }
    }
    for pair in pairs {
        let name = pair.name;
        let totals = pair.end()?;
        report.line(&format!(
            "{name}: {} of {} bytes there, {} of {} back",
            totals.received, totals.sent, totals.back_received, totals.back_sent
        ));
        report.check(totals.is_whole(), &format!("every byte of the {name} transfer arrives"));
    }
    Ok(())
}

impl Pair {
    fn new(name: &'static str, caller: Node, callee: Node) -> Self {
        Self { name, caller, callee, call: None }
    }

    fn begin(&mut self) -> io::Result<()> {
        self.caller.ready()?;
        self.callee.ready()?;
        let name = full_name(&self.callee.host);
        self.call = Some(Call::begin(&mut self.caller.agent, &self.callee.agent, &name, RATE)?);
        Ok(())
    }

    fn gaps(&self, from: Nanos, to: Nanos) -> Gaps {
        let Some(call) = &self.call else { return Gaps { voice: 0, transfer: 0 } };
        let (here, there) = (call.at_caller(&self.caller.agent), call.at_callee(&self.callee.agent));
        Gaps {
            voice: here.voice_gap(from, to).max(there.voice_gap(from, to)),
            transfer: here.transfer_gap(from, to).max(there.transfer_gap(from, to)),
        }
    }

    fn end(mut self) -> io::Result<super::call::Totals> {
        let call = self.call.take().ok_or_else(|| io::Error::other("no call"))?;
        call.end(&mut self.caller.agent, &self.callee.agent)
    }
}

/// Does it, waits, undoes it, waits; what the pairs saw of it.
fn fault(
    bench: &mut Bench,
    pairs: &[Pair],
    breaks: impl FnOnce(&mut Bench) -> io::Result<()>,
    mends: impl FnOnce(&mut Bench) -> io::Result<()>,
) -> io::Result<Vec<Gaps>> {
    let from = clock::monotonic();
    breaks(bench)?;
    let_it_run(DEAD);
    mends(bench)?;
    let_it_run(SETTLE);
    let to = clock::monotonic();
    Ok(pairs.iter().map(|pair| pair.gaps(from, to)).collect())
}

/// The relay that forwards more at the moment.
fn busier_relay(bench: &Bench) -> io::Result<usize> {
    let bytes =
        || -> Vec<u64> { bench.domain.relays.iter().map(|relay| relay.attachment.link.counts()[0].bytes).collect() };
    let before = bytes();
    let_it_run(Duration::from_secs(1));
    let busiest =
        bytes().into_iter().zip(before).map(|(after, before)| after - before).enumerate().max_by_key(|(_, more)| *more);
    busiest.map(|(at, _)| at).ok_or_else(|| io::Error::other("no relay"))
}

fn row(report: &mut Report, name: &str, gaps: &[Gaps]) {
    let cells: String = gaps
        .iter()
        .map(|gaps| format!("{:>10}{:>10}", milliseconds(gaps.voice), milliseconds(gaps.transfer)))
        .collect();
    report.line(&format!("{name:24}{cells}"));
}
