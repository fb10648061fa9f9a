//! A node for scripts: `ntm-raw-node IDENTITY.json [BIND-ADDRESS]`.
//!
//! ```text
//! reads lines:   connect NAME | send VIRTUAL-ADDRESS TEXT | quit      the end of input does not end it
//! writes lines:  {"event": "registered", "virtual4": …, "virtual6": …}, {"event": "resolved", …}, …
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::io::BufRead as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use ntm_node::Event;
use ntm_proto::id::Fqdn;
use ntm_proto::wire::message::Target;
use ntm_raw_node::{Fleet, Happened, Identity};
use serde_json::{Value, json};

/// How soon a line that was typed is looked at.
const TURN: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ntm-raw-node: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: ntm-raw-node IDENTITY.json [BIND-ADDRESS]")?;
    let bind: IpAddr = arguments.next().map_or(Ok(Ipv4Addr::LOCALHOST.into()), |text| text.parse())?;
    let identity = Identity::from_json(&std::fs::read_to_string(&path)?)?;
    let mut fleet = Fleet::new()?;
    let node = fleet.add(&identity, bind)?;
    let lines = read_lines();
    loop {
        for (_, happened) in fleet.drive(TURN)? {
            println!("{}", described(&happened));
        }
        match lines.try_recv() {
            Ok(line) if line.trim() == "quit" => return Ok(()),
            Ok(line) => {
                if let Err(why) = obey(&mut fleet, node, &line) {
                    println!("{}", json!({ "event": "error", "text": why }));
                }
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
    }
}

fn read_lines() -> Receiver<String> {
    let (lines, read) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    read
}

fn obey(fleet: &mut Fleet, node: usize, line: &str) -> Result<(), String> {
    let (command, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    match command {
        "" => Ok(()),
        "connect" => {
            let target = match rest.parse() {
                Ok(IpAddr::V4(address)) => Target::Virtual4(address),
                Ok(IpAddr::V6(address)) => Target::Virtual6(address),
                Err(_) => Target::Name(Fqdn::parse(rest).map_err(|why| why.to_string())?),
            };
            fleet.connect(node, target).map(drop).map_err(|why| why.to_string())
        }
        "send" => {
            let (to, text) = rest.split_once(' ').ok_or("send VIRTUAL-ADDRESS TEXT")?;
            let to: Ipv4Addr = to.parse().map_err(|_| format!("{to} is no virtual IPv4 address"))?;
            fleet.send(node, to, text.as_bytes()).map_err(|why| why.to_string())
        }
        other => Err(format!("{other} is no command")),
    }
}

fn described(happened: &Happened) -> Value {
    let id = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match happened {
        Happened::Received { from, text } => {
            json!({ "event": "received", "from": from, "text": String::from_utf8_lossy(text) })
        }
        Happened::Event(event) => match event {
            Event::Registered { virtual4, virtual6 } => {
                json!({ "event": "registered", "virtual4": virtual4, "virtual6": virtual6 })
            }
            Event::RegistrationLost => json!({ "event": "registration_lost" }),
            Event::Superseded => json!({ "event": "superseded" }),
            Event::RegistrationRefused(why) => json!({ "event": "registration_refused", "why": why }),
            Event::TicketRefused(code) => json!({ "event": "ticket_refused", "code": format!("{code:?}") }),
            Event::Resolved { peer, name, virtual4, virtual6, .. } => json!({
                "event": "resolved", "name": name.as_str(), "peer": id(&peer.0),
                "virtual4": virtual4, "virtual6": virtual6,
            }),
            Event::ConnectFailed { reason, .. } => {
                json!({ "event": "connect_failed", "reason": format!("{reason:?}") })
            }
            Event::PeerUp { peer } => json!({ "event": "peer_up", "peer": id(&peer.0) }),
            Event::PeerLost { peer } => json!({ "event": "peer_lost", "peer": id(&peer.0) }),
            Event::PathChanged { peer, path } => {
                json!({ "event": "path_changed", "peer": id(&peer.0), "path": format!("{:?}", path.kind) })
            }
        },
    }
}
