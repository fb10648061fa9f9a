//! How long it takes from a name to the first byte, in round trips, beside TCP with TLS 1.3.
//!
//! ```text
//!   AS, DC, RS ── core ── NAT ── those who begin, direct
//!                  │ └── IPv6 ── those who begin, relayed
//!                  CN                                        a quarter of the round trip on each link, each way
//! ```

use std::io;
use std::process::Command;
use std::time::Duration;

use ntm_plot::Bars;

use super::bench::{Bench, Node};
use crate::forward::impairment::Impairment;
use crate::forward::model::Nanos;
use crate::net::nat::Nat;
use crate::net::site::Network;
use crate::report::{Report, median, milliseconds};
use crate::run::domain::{Files, Shape};

const ROUND_TRIPS: [u64; 3] = [1, 20, 100];

/// From asking for the name to these points.
#[derive(Clone, Copy, Debug)]
struct Times {
    known: Nanos,
    connected: Nanos,
    heard: Nanos,
    answered: Nanos,
}

pub(crate) fn full(files: &Files, report: &mut Report) -> io::Result<()> {
    run(files, report, 3, &ROUND_TRIPS)
}

/// At one round trip, once.
pub(crate) fn quick(files: &Files, report: &mut Report) -> io::Result<()> {
    run(files, report, 1, &ROUND_TRIPS[1..2])
}

fn run(files: &Files, report: &mut Report, repeats: usize, round_trips: &[u64]) -> io::Result<()> {
    let wire = [Impairment::WIRE; 2];
    let bench = Bench::new(files, Shape::default())?;
    let (home, nat, six) = (
        bench.site(Network::Global4)?,
        bench.site(Network::Private4(Nat::PortRestricted))?,
        bench.site(Network::Only6)?,
    );
    let asked = bench.node("cn", &home, wire)?;
    // Each begins once: the second time there is a tunnel already.
    let begin = |prefix: &str, site: &_| -> io::Result<Vec<Node>> {
        // One after the other: the account server checks few passwords at once for one address.
        let begin_one = |at| {
            let node = bench.node(&format!("{prefix}{at}"), site, wire)?;
            node.ready().map(|()| node)
        };
        (0..repeats * round_trips.len()).map(begin_one).collect()
    };
    let (mut direct, mut relayed) = (begin("d", &nat)?, begin("r", &six)?);
    asked.ready()?;

    report
        .line("from asking for the name, in ms and in round trips to every other host (a relayed one is two of these)");
    let heads = ["name known", "connected", "first byte", "answer"];
    report.line(&format!("{:22}{}", "", heads.map(|head| format!("{head:>18}")).concat()));
    let mut bars = Vec::new();
    for &round_trip in round_trips {
        let mut answers = Vec::new();
        let links = [Impairment::delayed(Duration::from_micros(round_trip * 250)); 2];
        for server in bench.domain.servers() {
            server.attachment.link.set(links);
        }
        for node in direct.iter().chain(&relayed).chain([&asked]) {
            node.attachment.link.set(links);
        }
        for (kind, nodes) in [("direct", &mut direct), ("relayed", &mut relayed)] {
            let times =
                nodes.drain(..repeats).map(|mut node| measure(&mut node, &asked)).collect::<io::Result<Vec<_>>>()?;
            show(report, &format!("{kind}, {round_trip} ms"), &times, round_trip);
            answers.push(Some(median(times.iter().map(|one| one.answered)) as f64 / 1e6));
            let unit = if kind == "direct" { 1 } else { 2 } * round_trip * 1_000_000;
            let best = times.iter().map(|one| one.answered).min().unwrap_or(Nanos::MAX);
            report.check_time(
                best <= 5 * unit + 20_000_000,
                &format!("{kind} at {round_trip} ms: an answer within five round trips"),
            );
        }
        let curl = tls(&bench, &asked)?;
        answers.push(Some(curl[2] as f64 / 1e6));
        bars.push((format!("round trip {round_trip} ms"), answers));
        report.line(&format!(
            "{:22}{:>18}{}",
            format!("TCP, TLS 1.3, {round_trip} ms"),
            "",
            curl.map(|time| cell(time, round_trip)).concat()
        ));
    }
    let title = "from the name to the first answer, nothing known before".to_owned();
    let series = ["NTMfw, direct", "NTMfw, relayed", "TCP with TLS 1.3"];
    report.plot(Bars::of_series(title, "ms", &series, bars).svg());
    Ok(())
}

fn measure(node: &mut Node, asked: &Node) -> io::Result<Times> {
    let mark = asked.agent.mark();
    let name = asked.name();
    let answer = node.agent.ask(&format!("begin {name}"), &format!("begin {name} "))?;
    let field = |key: &str| -> io::Result<Nanos> {
        let found = answer.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok());
        found.ok_or_else(|| io::Error::other(format!("no {key} in: {answer}")))
    };
    let heard: Nanos = asked.agent.await_line(mark, "heard ")?.parse().map_err(io::Error::other)?;
    let begun = field("asked")?;
    Ok(Times {
        known: field("known")? - begun,
        connected: field("connected")? - begun,
        heard: heard.saturating_sub(begun),
        answered: field("answered")? - begun,
    })
}

/// Connected, ready to send the first byte, and answered, to a web server as far away: the account server.
fn tls(bench: &Bench, from: &Node) -> io::Result<[Nanos; 3]> {
    let url = bench.domain.account_urls().remove(0);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--tlsv1.3", "--output", "/dev/null"]);
    curl.args(["--write-out", "%{time_connect} %{time_appconnect} %{time_starttransfer}"]);
    curl.arg("--cacert").arg(bench.domain.authority()).arg(format!("{url}/.well-known/ntmobile"));
    let output = from.host.namespace.within(|| curl.output())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let times: Vec<Nanos> =
        text.split(' ').filter_map(|word| word.parse::<f64>().ok()).map(|seconds| (seconds * 1e9) as Nanos).collect();
    times.try_into().map_err(|_| io::Error::other(format!("curl: {text} {}", String::from_utf8_lossy(&output.stderr))))
}

fn show(report: &mut Report, name: &str, times: &[Times], round_trip: u64) {
    let median = |of: fn(&Times) -> Nanos| median(times.iter().map(of));
    let cells = [median(|t| t.known), median(|t| t.connected), median(|t| t.heard), median(|t| t.answered)];
    report.line(&format!("{name:22}{}", cells.map(|time| cell(time, round_trip)).concat()));
}

fn cell(time: Nanos, round_trip: u64) -> String {
    format!("{:>18}", format!("{} ({:.2})", milliseconds(time), time as f64 / (round_trip as f64 * 1e6)))
}
