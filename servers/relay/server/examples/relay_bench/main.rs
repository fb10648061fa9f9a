//! The relay server beside coturn: packets that each forwards in a second of one processor.
//!
//! ```sh
//! make bench-servers        # as root: it makes network namespaces, and takes them away again
//! ```
//! ```text
//!  namespace "load"                                        namespace "server"
//!  senders ───────► 10.77.0.1 ═════ veth, MTU 1,500 ═════ 10.77.0.2 ───► ntm-rs or turnserver, one thread
//!  receiver ◄─────  (processor 0)                          (processor 1)      │
//!      ▲───────────────────────────────────────────────────────────────────────┘
//! ```
//! Both servers get the same datagrams of 1,400 bytes (`Relayed` and `ChannelData`) from the same sender, one after
//! the other, several times; medians are compared. What counts is what arrived, by the processor time of the server.
#![allow(clippy::print_stdout, reason = "this is what the program is for")]

mod load;
mod rs;
mod scene;
mod turn;

use std::process::ExitCode;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Four flows, each in trains of as many datagrams as one call takes.
    Bulk,
    /// 1,000 flows that take turns after each datagram.
    Small,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Coturn,
    Relay,
}

impl Traffic {
    pub(crate) fn flows(self) -> u16 {
        match self {
            Self::Bulk => 4,
            Self::Small => 1_000,
        }
    }
}

/// The cases, with or without the veth's UDP segmentation, and how many times coturn the relay must do.
const CASES: [(&str, Traffic, bool, f64); 3] = [
    ("bulk", Traffic::Bulk, true, 10.0),
    ("bulk, no segmentation offload", Traffic::Bulk, false, 3.0),
    ("1,000 interleaved flows", Traffic::Small, true, 1.2),
];

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("load") => load::run(&arguments[1..]),
        Some("grants") => rs::bind_many(&arguments[1..]),
        _ => compare(arguments.first().and_then(|text| text.parse().ok()).unwrap_or(5)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("relay_bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn compare(repeats: usize) -> Outcome<()> {
    let scene = scene::Scene::new()?;
    println!("packets/s of one core (packets that arrived / server CPU seconds), median of {repeats} (least to most)");
    println!("{:32} {:>26} {:>28} {:>9} {:>6}", "", "coturn", "ntm-rs", "ratio", "goal");
    let mut missed = Vec::new();
    for (name, traffic, offload, goal) in CASES {
        scene.offload(offload)?;
        let (mut coturn, mut relay) = (Vec::new(), Vec::new());
        for _ in 0..repeats {
            coturn.push(scene.measure(Peer::Coturn, traffic)?);
            relay.push(scene.measure(Peer::Relay, traffic)?);
        }
        let ratio = median(&mut relay) / median(&mut coturn);
        println!("{name:32} {:>26} {:>28} {ratio:>8.1}x {goal:>5.1}x", span(&mut coturn), span(&mut relay));
        if ratio < goal {
            missed.push(name);
        }
    }
    let (grants, bytes) = scene.memory_of_grants()?;
    println!("\nmemory a grant, both sides bound: {bytes:.0} bytes ({grants} grants)");
    if missed.is_empty() { Ok(()) } else { Err(format!("below the goal: {}", missed.join("; ")).into()) }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn span(values: &mut [f64]) -> String {
    let thousand = |value: f64| format!("{:.0}", value / 1_000.0);
    let middle = median(values);
    let ends = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(0.0));
    format!("{} k ({} to {})", thousand(middle), thousand(ends.0), thousand(ends.1))
}
