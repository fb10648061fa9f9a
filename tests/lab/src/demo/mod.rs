//! What a visitor sees first: a call that goes on while its caller changes networks.
//!
//! ```text
//!               AS   DC   RS
//!                └────┼────┘             each way: 5 ms on the servers' links, 10 ms on the desk's
//!   ┌─────────┬───── core ─────┬──────────┐
//! home NAT  café NAT      IPv6 only    office NAT
//!   └ ─ ─ ─ ─ phone ─ ─ ─ ─ ─ ┘          desk
//! ```

mod meter;
mod screen;
mod show;

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use ntm_plot::Mark;

use self::meter::Meter;
use self::screen::{Screen, bar};
use self::show::Show;
use crate::experiments::bench::{Bench, Node};
use crate::experiments::call::{Totals, let_it_run};
use crate::experiments::moves::Sample;
use crate::forward::impairment::Impairment;
use crate::net::Internet;
use crate::net::mobile::Mobile;
use crate::net::nat::Nat;
use crate::net::site::{Network, Site};
use crate::report::milliseconds;
use crate::run::agent::Agent;
use crate::run::domain::{Domain, Files, Shape};
use crate::run::process::Started;

const SERVER_DELAY: Duration = Duration::from_millis(5);
const DESK_DELAY: Duration = Duration::from_millis(10);
/// Bytes of the file: 40 seconds of it, or 12 where nobody moves.
const SIZE: u64 = 40 * show::RATE as u64;
const LOCAL_SIZE: u64 = 12 * show::RATE as u64;
/// After a move, before what came of it is counted.
const STAY: Duration = Duration::from_millis(2_000);
/// How long a transfer may stand still after a move before that counts as a failure.
const STILL: Duration = Duration::from_secs(60);

/// Where the phone can be.
const PLACES: [Place; 3] = [
    Place { name: "at home", kind: "behind a NAT", network: Network::Private4(Nat::PortRestricted) },
    Place { name: "in a café", kind: "behind another NAT", network: Network::Private4(Nat::Restricted) },
    Place { name: "on the road", kind: "IPv6 only", network: Network::Only6 },
];
/// Where it goes, and how much of the file has arrived when it sets out; it begins at home.
const JOURNEY: [(usize, f64); 3] = [(1, 0.2), (2, 0.45), (0, 0.7)];
const STEPS: usize = 5;

struct Place {
    name: &'static str,
    kind: &'static str,
    network: Network,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}, {}", self.name, self.kind))
    }
}

/// A move, as it is told.
struct Move {
    sample: Sample,
    path: String,
    mark: Mark,
    goes_on: bool,
}

struct Scene {
    phone: Agent,
    mobile: Mobile,
    desk: Node,
    _servers: Vec<Started>,
    places: Vec<Site>,
    _office: Site,
    bench: Bench,
}

/// The call with its moves, in namespaces; whether all of it was as it should be.
pub(crate) fn moving(files: &Files, plot: &Path) -> io::Result<bool> {
    let mut screen = Screen::new();
    let mut scene = Scene::build(files, &mut screen)?;
    let Scene { phone, mobile, desk, places, bench, .. } = &mut scene;
    let name = desk.name();
    screen.line("");
    screen.line(&format!("phone calls {name}: a file by TCP, a voice by UDP, and the phone moves"));
    let agents = [phone, &mut desk.agent];
    let (moves, totals, meter) = show::run(&mut screen, agents, &name, SIZE, &PLACES[0].to_string(), |show| {
        JOURNEY.iter().map(|stop| travel(show, mobile, bench, places, *stop)).collect::<io::Result<Vec<_>>>()
    })?;

    screen.line("");
    screen.line("  the phone went                  no network   then silent    file still   path");
    for (one, (to, _)) in moves.iter().zip(JOURNEY) {
        let Sample { without_address, voice_gap, transfer_gap, .. } = one.sample;
        let [none, silent, still] =
            [without_address, voice_gap.saturating_sub(without_address), transfer_gap].map(milliseconds);
        let kind = one.path.split(',').next().unwrap_or_default();
        screen.line(&format!("  {:29}{none:>10} ms{silent:>11} ms{still:>11} ms   {kind}", PLACES[to]));
    }
    tell_totals(&mut screen, &totals, &meter);
    fs::write(plot, show::plot(&meter, moves.iter().map(|one| one.mark.clone()).collect()))?;
    screen.line(&format!("  plot     {}", plot.display()));
    screen.line("");
    screen.line("Next: README has a whole program of 20 lines; docs/existing-programs.md has curl do it,");
    screen.line("unchanged; `make demo-servers` sets up a provider, docs/provider.md one of your own.");
    let goes_on = moves.iter().all(|one| one.goes_on);
    if !goes_on || !totals.is_whole() {
        screen.line("FAILED: the transfer did not survive every move whole");
    }
    Ok(goes_on && totals.is_whole())
}

/// The call alone, between nodes of a domain that runs on this machine already.
pub(crate) fn local(files: &Files, [caller, callee]: [&Path; 2], callee_name: &str) -> io::Result<bool> {
    let mut screen = Screen::new();
    let start = |name: &str, config: &Path| Agent::start_here(&files.agent, name, config, &files.directory);
    let (mut phone, mut desk) = (start("phone", caller)?, start("desk", callee)?);
    desk.await_line(0, "ready")?;
    phone.await_line(0, "ready")?;
    screen.line(&format!("phone calls {callee_name}: a file by TCP, a voice by UDP, on this machine"));
    let agents = [&mut phone, &mut desk];
    let ((), totals, meter) = show::run(&mut screen, agents, callee_name, LOCAL_SIZE, "on this machine", |_| Ok(()))?;
    tell_totals(&mut screen, &totals, &meter);
    screen.line(&format!("  path     {}", meter.path));
    screen.line("");
    screen.line("Next: `make demo` shows the same between NATs while one end moves, where namespaces are allowed.");
    Ok(totals.is_whole())
}

impl Scene {
    fn build(files: &Files, screen: &mut Screen) -> io::Result<Self> {
        let begun = Instant::now();
        let mut done = 0;
        let mut step = |screen: &mut Screen, what: &str| {
            done += 1;
            screen.line(&format!("  {:>4.1} s  {what}", begun.elapsed().as_secs_f64()));
            let share = done as f64 / STEPS as f64;
            let left = if done < STEPS { vec![format!("          {}", bar(share))] } else { Vec::new() };
            screen.show(left);
        };
        screen.line("building an internet out of network namespaces");
        screen.show(vec![format!("          {}", bar(0.0))]);
        let internet = Internet::new()?;
        step(screen, "a core that routes IPv4 and IPv6");
        let shape = Shape { links: [Impairment::delayed(SERVER_DELAY); 2], ..Shape::default() };
        let domain = Domain::start(&internet, files, shape)?;
        let bench = Bench { domain, internet, files: files.clone() };
        step(screen, "ntm-as, ntm-dc and ntm-rs with their keys, certificates and stores");
        let places: Vec<Site> = PLACES.iter().map(|place| bench.site(place.network)).collect::<io::Result<_>>()?;
        let servers = places.iter().map(|site| site.serve_addresses(&files.directory)).collect::<io::Result<_>>()?;
        let office = bench.site(Network::Private4(Nat::PortRestricted))?;
        step(screen, "home, café, road and office: NATs, DHCP, router advertisements");
        let desk = bench.node("desk", &office, [Impairment::delayed(DESK_DELAY); 2])?;
        desk.ready()?;
        step(screen, "desk has logged in, behind the office's NAT");
        let mut mobile = Mobile::new(&bench.internet, "phone")?;
        mobile.enter(&bench.internet, &places[0], [Impairment::WIRE; 2], &files.directory)?;
        let phone = bench.domain.node(&mobile.host, &files.agent, false)?;
        phone.await_line(0, "ready")?;
        step(screen, "phone has logged in, behind the NAT at home");
        Ok(Self { phone, mobile, desk, _servers: servers, places, _office: office, bench })
    }
}

fn travel(
    show: &Show<'_>,
    mobile: &mut Mobile,
    bench: &Bench,
    places: &[Site],
    (to, share): (usize, f64),
) -> io::Result<Move> {
    show.await_share(share)?;
    let place = &PLACES[to];
    show.move_to("leaves, without a network");
    let entered = mobile.enter(&bench.internet, &places[to], [Impairment::WIRE; 2], &bench.files.directory)?;
    show.move_to(&format!("{place}: {}", entered.address));
    let moved = entered.carries()?;
    let goes_on = show.call.await_transfer(show.caller, show.callee, moved.first_back, STILL);
    let_it_run(STAY);
    let sample = Sample::of(&show.call, show.caller, show.callee, moved);
    let path = show.path();
    let gap = milliseconds(sample.voice_gap);
    show.say(&format!("  phone is {place}: {gap} ms without voice, then {path}"));
    let mark = show.mark(moved, place.name);
    Ok(Move { sample, path, mark, goes_on })
}

fn tell_totals(screen: &mut Screen, totals: &Totals, meter: &Meter) {
    let lost = totals.sent.abs_diff(totals.received) + totals.back_sent.abs_diff(totals.back_received);
    screen.line("");
    screen.line(&format!(
        "  file     {} bytes sent, {} received; back {} sent, {} received; bytes lost: {lost}, each compared",
        totals.sent, totals.received, totals.back_sent, totals.back_received
    ));
    let longest = meter.trips.windows(2).map(|pair| pair[1].0 - pair[0].0).fold(0.0, f64::max);
    screen.line(&format!(
        "  voice    {} datagrams sent, {} came back; longest gap {:.0} ms",
        totals.talked,
        meter.trips.len(),
        longest * 1e3
    ));
}
