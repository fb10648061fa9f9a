//! From the relay to a direct path, under a running transfer.
//!
//! ```text
//!        RS              the core lets no datagrams pass between the two sites at first
//!         │
//!   ┌── core ──┐
//!  NAT A     NAT B
//!   MN        CN
//! ```

use std::io;
use std::time::Duration;

use super::bench::Bench;
use super::call::{Call, let_it_run};
use crate::forward::impairment::Impairment;
use crate::kernel::clock;
use crate::net::nat::Nat;
use crate::net::site::Network;
use crate::report::{Report, milliseconds};
use crate::run::domain::{Files, Shape, full_name};

const RATE: u32 = 250_000;
const STAY: Duration = Duration::from_secs(4);
/// How long the direct path may remain unfound.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) fn full(files: &Files, report: &mut Report) -> io::Result<()> {
    let links = [Impairment::delayed(Duration::from_millis(5)); 2];
    let bench = Bench::new(files, Shape { links, ..Shape::default() })?;
    let nat = Network::Private4(Nat::PortRestricted);
    let (one, other) = (bench.site(nat)?, bench.site(nat)?);
    let (mut caller, callee) = (bench.node("mn", &one, links)?, bench.node("cn", &other, links)?);
    caller.ready()?;
    callee.ready()?;
    let (a, b) = (one.wan4(), other.wan4());
    bench.internet.core.rules(&format!(
        "table ip between {{ chain through {{ type filter hook forward priority 0;
           ip saddr {a} ip daddr {b} drop; ip saddr {b} ip daddr {a} drop; }}\n}}\n"
    ))?;
    let relayed = || bench.domain.relays[0].attachment.link.counts()[1].bytes;

    let mark = caller.agent.mark();
    let call = Call::begin(&mut caller.agent, &callee.agent, &full_name(&callee.host), RATE)?;
    let_it_run(STAY);
    let before = relayed();
    let_it_run(STAY);
    let through_relay = relayed() - before;
    let opened = clock::monotonic();
    bench.internet.core.rules("")?;
    caller.agent.await_within(mark, "event ", PATIENCE)?;
    let direct = await_direct(&caller, opened)?;
    let_it_run(STAY);
    let before = relayed();
    let_it_run(STAY);
    let after = relayed() - before;
    let now = clock::monotonic();
    let gap =
        call.at_caller(&caller.agent).voice_gap(opened, now).max(call.at_callee(&callee.agent).voice_gap(opened, now));
    let stall = call
        .at_caller(&caller.agent)
        .transfer_gap(opened, now)
        .max(call.at_callee(&callee.agent).transfer_gap(opened, now));
    let missing = call.at_callee(&callee.agent).missing();
    let totals = call.end(&mut caller.agent, &callee.agent)?;

    report.line("from the relay to a direct path under a call (TCP 250 kB/s each way, UDP 50/s)");
    report.line(&format!("bytes through the relay in {} s: {through_relay} before, {after} after", STAY.as_secs()));
    report.line(&format!("direct {} ms after the way was open", milliseconds(direct - opened)));
    report.line(&format!("longest gaps: voice {} ms, transfer {} ms", milliseconds(gap), milliseconds(stall)));
    report.line(&format!(
        "TCP: {} of {} bytes arrived; UDP: {missing} of {} lost",
        totals.received, totals.sent, totals.talked
    ));
    report.check(totals.is_whole(), "every byte of the transfer arrives");
    report.check(missing == 0, "no datagram of the voice is lost");
    report.check(after * 20 < through_relay, "the relay carries next to nothing any more");
    Ok(())
}

/// When the caller was told of a direct path.
fn await_direct(caller: &super::bench::Node, after: u64) -> io::Result<u64> {
    let until = clock::monotonic() + u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX / 2);
    while clock::monotonic() < until {
        let events = caller.agent.lines(0, "event ");
        let found = events.iter().filter(|event| event.contains("path changed") && event.contains("\"direct\""));
        let times = found.filter_map(|event| event.split(' ').next()?.parse::<u64>().ok());
        if let Some(at) = times.filter(|at| *at > after).min() {
            return Ok(at);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(io::Error::other("no direct path was found although there is one"))
}
