//! `ntm netcheck`: what the network around this host lets through, and what its NAT does.

mod probe;
mod verdict;

use std::io::Write as _;
use std::time::{Duration, Instant};

use clap::Args;
use ntm_agent::Node;
use ntm_login::account::{Answering, who_answers};
use ntm_program::{Failure, ResultExt as _};
use ntmfw::service;
use serde::Serialize;

use crate::session::Session;
use crate::view::{View, table};
use verdict::{Filtering, Mapping};

/// How long the account server may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// A name that no node has, below the node's domain: the answer that it has none comes from the coordinator.
const NOBODY: &str = "netcheck-asks-for-nobody";

/// Check the network: UDP, IPv4 and IPv6, what the NAT does, coordinator, relays, captive portals
#[derive(Debug, Args)]
pub(crate) struct Netcheck {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// All that was found; what could not be measured is `null` in JSON.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// `reached`, `somebody else`, `nobody`, with why; none where the configuration names none.
    account_server: Option<String>,
    captive_portal: Option<bool>,
    /// Why the coordinator could not be reached, where it could not.
    coordinator_fault: Option<String>,
    coordinator_ms: Option<f64>,
    /// Whether any answer came over UDP.
    udp: bool,
    ipv4: bool,
    ipv6: bool,
    nat: Option<bool>,
    public4: Option<String>,
    mapping: Option<Mapping>,
    filtering: Option<Filtering>,
    hairpin: Option<bool>,
    relays: Vec<RelayReport>,
}

#[derive(Debug, Serialize)]
struct RelayReport {
    relay: u64,
    address: std::net::SocketAddr,
    rtt_ms: Option<f64>,
}

impl Netcheck {
    pub(crate) fn carry_out(self, session: Session) -> Result<(), Failure> {
        let mut report = Report::default();
        // A configuration that is wrong is told at once, and not as a fault of the network.
        let account = service::account_server().map_err(crate::session::failure)?;
        if let Some(server) = account {
            check_account_server(&mut report, &server);
        }
        match session.node() {
            Ok(node) => check_network(&mut report, &*node)?,
            Err(why) => report.coordinator_fault = Some(why.to_string()),
        }
        let text = if self.json {
            serde_json::to_string(&report).context("the report")? + "\n"
        } else {
            table(&told(&report))
        };
        std::io::stdout().write_all(text.as_bytes()).context("standard output")?;
        match report.coordinator_fault {
            Some(why) => Err(Failure::new(format!("this node is not reachable: {why}"))),
            None => Ok(()),
        }
    }
}

fn check_account_server(report: &mut Report, server: &service::AccountServer) {
    let answer = who_answers(&server.url, server.ca.as_deref(), PATIENCE);
    report.captive_portal = match &answer {
        Ok(Answering::AccountServer) => Some(false),
        Ok(Answering::SomebodyElse(_)) => Some(true),
        Ok(Answering::Nobody(_)) | Err(_) => None,
    };
    report.account_server = Some(match answer {
        Ok(Answering::AccountServer) => "reached".to_owned(),
        Ok(Answering::SomebodyElse(why)) => format!("somebody else answers: {why}"),
        Ok(Answering::Nobody(why)) => format!("nobody answers: {why}"),
        Err(why) => why.to_string(),
    });
}

fn check_network(report: &mut Report, node: &dyn Node) -> Result<(), Failure> {
    let view = View::of(node)?;
    if !view.registered {
        report.coordinator_fault = Some("the coordinator answers no more".to_owned());
    }
    report.coordinator_ms = ask_coordinator(node, &view.name);
    let servers: Vec<_> =
        view.relays.iter().flat_map(|relay| relay.addresses.iter().map(|address| (relay.id, *address))).collect();
    let addresses: Vec<_> = servers.iter().map(|(_, address)| *address).collect();
    let probed = probe::probe(&addresses).context("UDP sockets")?;
    report.udp = report.coordinator_ms.is_some() || probed.answers.iter().any(Option::is_some);
    (report.ipv4, report.ipv6) = (probed.has_v4, probed.has_v6);
    report.relays = servers
        .iter()
        .zip(&probed.answers)
        .map(|(&(relay, address), answer)| RelayReport {
            relay,
            address,
            rtt_ms: answer.as_ref().map(|answer| in_millis(answer.rtt)),
        })
        .collect();
    let seen: Vec<_> = probed.answers.iter().flatten().filter(|answer| answer.observed.is_ipv4()).collect();
    report.public4 = seen.first().map(|answer| answer.observed.ip().to_string());
    let observed: Vec<_> = seen.iter().map(|answer| answer.observed).collect();
    report.nat = verdict::has_nat(&observed, &probed.own4);
    report.mapping = verdict::mapping(report.nat, &observed);
    (report.hairpin, report.filtering) = verdict::hairpin(report.nat, probed.loops);
    Ok(())
}

/// How long the coordinator takes to say that there is no such node.
fn ask_coordinator(node: &dyn Node, own_name: &str) -> Option<f64> {
    let (_, domain) = own_name.split_once('.')?;
    let begun = Instant::now();
    let fault = node.resolve(&format!("{NOBODY}.{domain}")).err()?;
    (fault.errno.0 == libc::ENOENT).then(|| in_millis(begun.elapsed()))
}

fn in_millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

fn told(report: &Report) -> Vec<Vec<String>> {
    let yes_no = |value: bool| if value { "yes" } else { "no" }.to_owned();
    let unknown = || "unknown".to_owned();
    let millis = |value: Option<f64>| value.map_or_else(|| "no answer".to_owned(), |value| format!("{value} ms"));
    let coordinator = match &report.coordinator_fault {
        Some(why) => why.clone(),
        None => millis(report.coordinator_ms),
    };
    let nat = match (report.nat, &report.public4) {
        (Some(false), _) => "none".to_owned(),
        (Some(true), Some(address)) => format!("yes, seen as {address}"),
        _ => unknown(),
    };
    let portal = report.captive_portal.map_or_else(unknown, yes_no);
    let server = report.account_server.clone().unwrap_or_else(|| "none is configured".to_owned());
    let mut rows = vec![
        ["account server".to_owned(), server],
        ["captive portal".to_owned(), portal],
        ["coordinator".to_owned(), coordinator],
        ["UDP".to_owned(), yes_no(report.udp)],
        ["IPv4".to_owned(), yes_no(report.ipv4)],
        ["IPv6".to_owned(), yes_no(report.ipv6)],
        ["NAT (IPv4)".to_owned(), nat],
        ["mapping".to_owned(), report.mapping.map_or_else(unknown, |kind| kind.told().to_owned())],
        ["filtering".to_owned(), report.filtering.map_or_else(unknown, |kind| kind.told().to_owned())],
        ["hairpin".to_owned(), report.hairpin.map_or_else(unknown, yes_no)],
    ];
    rows.extend(
        report.relays.iter().map(|relay| [format!("relay {} {}", relay.relay, relay.address), millis(relay.rtt_ms)]),
    );
    rows.into_iter().map(|row| row.to_vec()).collect()
}
