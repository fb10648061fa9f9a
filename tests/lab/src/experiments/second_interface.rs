//! Paper 000, table 5: a second interface appears while the first carries traffic.
//!
//! ```text
//!              DC, RS                      round trips as in the paper's table 4, to the DC:
//!                │                         wwan0 (LTE) 47 ms, wlan0 (Wi-Fi) 22 ms, CN 37 ms
//!    ┌───────── core ─────────┐
//!  NAT A       NAT B         NAT C
//!    └─ wwan0    └─ wlan0     └─ CN
//!         └─ MN ─┘
//! ```

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ntm_plot::Bars;

use super::bench::Bench;
use super::call::{Call, let_it_run};
use crate::forward::impairment::Impairment;
use crate::forward::model::Nanos;
use crate::forward::{Direction, Observer};
use crate::frame::Datagram;
use crate::kernel::clock;
use crate::net::nat::Nat;
use crate::net::site::Network;
use crate::net::watch::Watch;
use crate::report::{Report, median, milliseconds};
use crate::run::domain::{Files, Shape, full_name};
use crate::run::process::await_that;

/// One way on each link, in microseconds.
const LTE: u64 = 23_500;
const WIFI: u64 = 10_800;
const OTHER: u64 = 18_500;
const ROUNDS: usize = 10;
const STAY: Duration = Duration::from_secs(2);
const RATE: u32 = 100_000;

/// What the paper's phone took, on average.
const PAPER: [f64; 3] = [455.0, 622.0, 506.0];

/// Datagrams of the new interface.
#[derive(Debug, Default)]
struct Seen {
    out: Option<Nanos>,
    from_coordinator: Option<Nanos>,
    from_other: Option<Nanos>,
}

pub(crate) fn full(files: &Files, report: &mut Report) -> io::Result<()> {
    let bench = Bench::new(files, Shape::default())?;
    let nat = Network::Private4(Nat::PortRestricted);
    let (mobile, home, other) = (bench.site(nat)?, bench.site(nat)?, bench.site(nat)?);
    let callee = bench.node("cn", &other, delayed(OTHER))?;
    let host = bench.internet.host("mn")?;
    let (lte, wifi) = (bench.internet.device(&host, "wwan0")?, bench.internet.device(&host, "wlan0")?);
    let _lte = bench.internet.attach(&host, &lte, &mobile, delayed(LTE))?;
    let mut caller = bench.domain.node(&host, &files.agent, false)?;
    caller.await_line(0, "ready")?;
    callee.ready()?;
    let watch = Watch::new(&host)?;
    let coordinator = bench.domain.direction.attachment.v4();

    let call = Call::begin(&mut caller, &callee.agent, &full_name(&callee.host), RATE)?;
    let_it_run(STAY);
    let (mut rows, mut gaps) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (theirs, from) = (seen.clone(), coordinator);
        let observer: Observer = Box::new(move |direction, bytes, at| {
            let Some(datagram) = Datagram::of(bytes) else { return };
            let mut seen = theirs.lock().unwrap_or_else(PoisonError::into_inner);
            // What comes is seen before the link's delay.
            let arrives = at + WIFI * 1_000;
            match direction {
                Direction::Forth => _ = seen.out.get_or_insert(at),
                Direction::Back if from.is_some_and(|dc| datagram.source == dc) => {
                    seen.from_coordinator.get_or_insert(arrives);
                }
                Direction::Back => _ = seen.from_other.get_or_insert(arrives),
            }
        });
        let (mark, before) = (caller.mark(), watch.changes().len());
        let attachment = bench.internet.attach_observed(&host, &wifi, &home, delayed(WIFI), Some(observer))?;
        let seen = await_that("the second interface in use", &files.directory.join("agent-mn.said"), || {
            let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            Some([seen.out?, seen.from_coordinator?, seen.from_other?])
        })?;
        let used = caller.await_line(mark, "event ").is_ok();
        report.check(used, "the program is told of its new path");
        let gained = watch.changes()[before..].iter().find(|change| change.gained).map_or(seen[0], |change| change.at);
        rows.push([seen[0].saturating_sub(gained), seen[1].saturating_sub(seen[0]), seen[2].saturating_sub(seen[0])]);
        let_it_run(STAY);
        let lost = clock::monotonic();
        host.forget_addresses(&wifi)?;
        drop(attachment);
        let_it_run(STAY);
        let now = clock::monotonic();
        gaps.push(call.at_callee(&callee.agent).voice_gap(lost, now).max(call.at_caller(&caller).voice_gap(lost, now)));
    }
    let totals = call.end(&mut caller, &callee.agent)?;
    report.line(&format!(
        "a second interface appears during a call; milliseconds, medians of {ROUNDS} (paper's average)"
    ));
    let mut bars = Vec::new();
    for (at, name) in ["detected", "registered with the DC", "tunnel over the new interface"].into_iter().enumerate() {
        let median = median(rows.iter().map(|row| row[at]));
        report.line(&format!("{name:32}{:>8}  ({})", milliseconds(median), PAPER[at]));
        bars.push((name.to_owned(), vec![Some(PAPER[at]), Some(median as f64 / 1e6)]));
    }
    let title = "a second interface appears during a call".to_owned();
    report.plot(Bars::of_series(title, "ms", &["paper 000", "NTMfw"], bars).svg());
    report.line(&format!("and goes again: longest gap of the voice {:>8}", milliseconds(median(gaps.iter().copied()))));
    report.check(totals.is_whole(), "every byte of the transfer arrives");
    report.check_time(median(rows.iter().map(|row| row[0])) <= 5_000_000, "detection takes 5 ms at most (median)");
    report.check_time(
        median(rows.iter().map(|row| row[1])) <= 2 * WIFI * 1_000 + 10_000_000,
        "registration takes a round trip and 10 ms at most (median)",
    );
    Ok(())
}

fn delayed(microseconds: u64) -> [Impairment; 2] {
    [Impairment::delayed(Duration::from_micros(microseconds)); 2]
}
