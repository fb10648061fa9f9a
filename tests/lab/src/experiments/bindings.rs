//! Paper 002, 4.4: programs in several languages talk with each other, by TCP and UDP, between NATs, and each caller moves
//! half-way.
//!
//! ```text
//!              core
//!      ┌────────┼────────┐
//!    NAT A    NAT B    NAT C
//!      └─ ─ caller ─ ┘   │
//!                     callees, one of each language
//! ```

use std::io;
use std::path::{Path, PathBuf};

use super::bench::{Bench, Node};
use crate::forward::impairment::Impairment;
use crate::net::nat::Nat;
use crate::net::site::{Network, Site};
use crate::report::Report;
use crate::run::domain::{Files, Shape};

/// Answers before the move, and altogether.
const BEFORE: u32 = 50;
const ALTOGETHER: u32 = 150;
const LINKS: [Impairment; 2] = [Impairment::WIRE; 2];

pub(crate) fn full(files: &Files, languages: &[PathBuf], report: &mut Report) -> io::Result<()> {
    let bench = Bench::new(files, Shape::default())?;
    let nat = Network::Private4(Nat::PortRestricted);
    let sites = [bench.site(nat)?, bench.site(nat)?];
    let home = bench.site(nat)?;
    report.line("programs in several languages between NATs, 50 messages a second by TCP and 50 by UDP;");
    report.line("the caller moves to another NAT half-way: messages sent, and answered");
    report.line(&format!(
        "{:12}{:12}{:>12}{:>12}{:>12}{:>12}",
        "caller", "callee", "TCP sent", "answered", "UDP sent", "answered"
    ));
    let callees = begin(&bench, "callee", languages, &home)?;
    for (name, mut caller) in begin(&bench, "caller", languages, &sites[0])? {
        for (turn, (other, callee)) in callees.iter().enumerate() {
            // There and back again.
            let next = &sites[(turn + 1) % sites.len()];
            let [sent, answered, told, heard] = exchange(&bench, &mut caller, callee, next)?;
            report.line(&format!("{name:12}{other:12}{sent:>12}{answered:>12}{told:>12}{heard:>12}"));
            report.check(
                answered == sent,
                &format!("{name} asks {other}: every message by TCP is answered in its order"),
            );
            report.check(heard >= ALTOGETHER, &format!("{name} asks {other}: datagrams go on after the move"));
        }
    }
    Ok(())
}

/// A node for each language, ready.
fn begin(bench: &Bench, role: &str, languages: &[PathBuf], site: &Site) -> io::Result<Vec<(String, Node)>> {
    let nodes = languages.iter().map(|program| {
        let language = language(program);
        let node = bench.node_of(program, &format!("{role}-{language}"), site, LINKS)?;
        Ok((language, node))
    });
    let nodes: Vec<(String, Node)> = nodes.collect::<io::Result<_>>()?;
    nodes.iter().try_for_each(|(_, node)| node.ready())?;
    Ok(nodes)
}

fn language(program: &Path) -> String {
    program.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// One exchange with a move in it: sent and answered by TCP, and by UDP.
fn exchange(bench: &Bench, caller: &mut Node, callee: &Node, next: &Site) -> io::Result<[u32; 4]> {
    let mark = caller.agent.mark();
    caller.agent.tell(&format!("exchange {}", callee.name()))?;
    let both = |caller: &Node, count: u32| {
        ["tcp", "udp"].iter().try_for_each(|way| caller.agent.await_line(mark, &format!("{way} {count}")).map(drop))
    };
    both(caller, BEFORE)?;
    caller.go(&bench.internet, next, LINKS)?;
    both(caller, ALTOGETHER)?;
    let told = caller.agent.ask("stop", "exchanged")?;
    let counts: Vec<u32> = told.split(' ').filter_map(|word| word.parse().ok()).collect();
    counts.try_into().map_err(|_| io::Error::other(format!("no four counts: {told}")))
}
