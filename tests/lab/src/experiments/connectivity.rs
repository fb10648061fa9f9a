//! Who reaches whom, and how: paper 002's table 1, and NATs of all kinds against each other.

use std::io;

use super::bench::{Bench, Node};
use crate::forward::impairment::Impairment;
use crate::net::nat::Nat;
use crate::net::site::{Network, Site};
use crate::report::Report;
use crate::run::domain::{Files, Shape};

/// How long a pair that shall be direct may look for its path; it is back as soon as it has one.
const PATIENCE_MS: u32 = 10_000;
/// How long a pair must have stayed on the relay to count as relayed.
const RELAYED_MS: u32 = 1_500;

const PERFECT: [Impairment; 2] = [Impairment::WIRE; 2];
const PROTOCOLS: [&str; 4] = ["tcp4=ok", "tcp6=ok", "udp4=ok", "udp6=ok"];

/// How packets of a pair travel, as the papers write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Direct,
    Relayed,
    /// Either: a race of two punches decides.
    Either,
    /// Nothing gets through.
    Nothing,
}

impl Mark {
    fn text(self) -> &'static str {
        match self {
            Self::Direct => "◎",
            Self::Relayed => "○",
            Self::Either => "◎/○",
            Self::Nothing => "✗",
        }
    }

    fn allows(self, measured: Self) -> bool {
        self == measured || (self == Self::Either && matches!(measured, Self::Direct | Self::Relayed))
    }
}

/// Table 1 of paper 002: all nine pairs, TCP and UDP, virtual IPv4 and IPv6.
pub(crate) fn table1(files: &Files, report: &mut Report) -> io::Result<()> {
    use Mark::{Direct, Relayed};
    const KINDS: [(&str, Network); 3] = [
        ("IPv4 global", Network::Global4),
        ("IPv4 private", Network::Private4(Nat::PortRestricted)),
        ("IPv6", Network::Only6),
    ];
    const PAPER: [[Mark; 3]; 3] = [[Direct, Direct, Relayed], [Direct, Direct, Relayed], [Relayed, Relayed, Direct]];
    let bench = Bench::new(files, Shape::default())?;
    let mut rows = Group::begin(&bench, "mn", &KINDS.map(|(_, network)| network))?;
    let columns = Group::begin(&bench, "cn", &KINDS.map(|(_, network)| network))?;
    report.line("paper 002, table 1: TCP and UDP over virtual IPv4 and IPv6; the paper's mark, then ours");
    report.line("◎ direct  ○ over the relay; rows begin, columns are asked");
    grid(
        report,
        &mut rows.nodes,
        &columns.nodes,
        &KINDS.map(|(name, _)| name),
        &KINDS.map(|(name, _)| name),
        |row, column| PAPER[row][column],
    )
}

/// NATs of five kinds against each other, then what else stands between people.
pub(crate) fn nats(files: &Files, report: &mut Report) -> io::Result<()> {
    use Mark::{Direct, Either, Relayed};
    const EXPECTED: [[Mark; 5]; 5] = [
        [Direct, Direct, Direct, Direct, Direct],
        [Direct, Direct, Direct, Direct, Direct],
        [Direct, Direct, Direct, Either, Relayed],
        [Direct, Direct, Either, Either, Relayed],
        [Direct, Direct, Relayed, Relayed, Relayed],
    ];
    let kinds = Nat::CONES_AND_SYMMETRIC;
    let bench = Bench::new(files, Shape::default())?;
    let mut rows = Group::begin(&bench, "mn", &kinds.map(Network::Private4))?;
    let columns = Group::begin(&bench, "cn", &kinds.map(Network::Private4))?;
    report.line("NAT against NAT: the mark expected, then the one found");
    let names = kinds.map(Nat::name);
    grid(report, &mut rows.nodes, &columns.nodes, &names, &names, |row, column| EXPECTED[row][column])?;

    report.line("");
    report.line("two hosts behind one NAT, and two NATs in a row");
    let home = Network::Private4(Nat::PortRestricted);
    let double = Network::BehindCarrier { home: Nat::PortRestricted, carrier: Nat::PortRestricted };
    let site = bench.site(home)?;
    let neighbours = [bench.node("same1", &site, PERFECT)?, bench.node("same2", &site, PERFECT)?];
    let doubled = [double, double].map(|network| bench.site(network));
    let [one, other] = doubled;
    let (one, other) = (one?, other?);
    let doubled = [bench.node("double1", &one, PERFECT)?, bench.node("double2", &other, PERFECT)?];
    for node in neighbours.iter().chain(&doubled) {
        node.ready()?;
    }
    let [mut first, second] = neighbours;
    single(report, "same NAT", &mut first, &second, Direct)?;
    let [mut begins, asked] = doubled;
    single(report, "double NAT, double NAT", &mut begins, &asked, Direct)?;
    single(report, "double NAT, port-restricted", &mut begins, &columns.nodes[2], Direct)?;
    single(report, "double NAT, symmetric", &mut begins, &columns.nodes[4], Relayed)
}

/// Networks that let nothing but TCP to port 443 through: nodes there go by TLS to the relay.
pub(crate) fn udp_blocked(files: &Files, report: &mut Report) -> io::Result<()> {
    use Mark::Relayed;
    let bench = Bench::new(files, Shape::default())?;
    let caged = Group::begin(&bench, "caged", &[Network::Private4(Nat::UdpBlocked); 2])?;
    let mut free = Group::begin(&bench, "free", &[Network::Private4(Nat::PortRestricted)])?;
    report.line("networks that let no UDP through");
    let [mut one, other] = <[Node; 2]>::try_from(caged.nodes).map_err(|_| io::Error::other("two were begun"))?;
    single(report, "port-restricted, UDP blocked", &mut free.nodes[0], &one, Relayed)?;
    single(report, "UDP blocked, port-restricted", &mut one, &free.nodes[0], Relayed)?;
    single(report, "UDP blocked, UDP blocked", &mut one, &other, Relayed)
}

/// A node in each of these networks, each at a site of its own.
struct Group {
    nodes: Vec<Node>,
    _sites: Vec<Site>,
}

impl Group {
    fn begin(bench: &Bench, prefix: &str, networks: &[Network]) -> io::Result<Self> {
        let sites: Vec<Site> = networks.iter().map(|network| bench.site(*network)).collect::<io::Result<_>>()?;
        let begin = |(at, site)| bench.node(&format!("{prefix}{at}"), site, PERFECT);
        let nodes: Vec<Node> = sites.iter().enumerate().map(begin).collect::<io::Result<_>>()?;
        nodes.iter().try_for_each(Node::ready)?;
        Ok(Self { nodes, _sites: sites })
    }
}

/// All pairs, row by row; the table shows what was expected beside what was found.
fn grid(
    report: &mut Report,
    rows: &mut [Node],
    columns: &[Node],
    row_names: &[&str],
    column_names: &[&str],
    expected: impl Fn(usize, usize) -> Mark,
) -> io::Result<()> {
    let head: String = column_names.iter().map(|name| format!("{name:>14}")).collect();
    report.line(&format!("{:14}{head}", ""));
    for (row, node) in rows.iter_mut().enumerate() {
        let mut line = format!("{:14}", row_names[row]);
        for (column, other) in columns.iter().enumerate() {
            let expected = expected(row, column);
            let (found, answer) = probe(node, other, expected)?;
            line += &format!("{:>14}", format!("{} {}", expected.text(), found.text()));
            report.check(expected.allows(found), &format!("{} to {}: {answer}", row_names[row], column_names[column]));
        }
        report.line(&line);
    }
    Ok(())
}

fn single(report: &mut Report, name: &str, node: &mut Node, other: &Node, expected: Mark) -> io::Result<()> {
    let (found, answer) = probe(node, other, expected)?;
    verdict(report, name, expected, found, &answer)
}

fn verdict(report: &mut Report, name: &str, expected: Mark, found: Mark, told: &str) -> io::Result<()> {
    report.line(&format!("{name:30}{:>6} {}", expected.text(), found.text()));
    report.check(expected.allows(found), &format!("{name}: {told}"));
    Ok(())
}

fn probe(node: &mut Node, other: &Node, expected: Mark) -> io::Result<(Mark, String)> {
    let patience = if expected == Mark::Direct { PATIENCE_MS } else { RELAYED_MS };
    let name = other.name();
    let answer = node.agent.ask(&format!("probe {name} {patience}"), &format!("probe {name} "))?;
    let worked = PROTOCOLS.iter().all(|protocol| answer.contains(protocol));
    let mark = match (worked, answer.contains("path=direct")) {
        (false, _) => Mark::Nothing,
        (true, true) => Mark::Direct,
        (true, false) => Mark::Relayed,
    };
    Ok((mark, answer))
}
