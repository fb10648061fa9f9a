//! The library beside the kernel's sockets and beside its peers, interleaved in one run.
//!
//! ```text
//!  ┌── one namespace ──┐             ┌── another ────────┐
//!  │ veth0 10.77.0.1   ├────veth─────┤ veth0 10.77.0.2   │
//!  │ serves; AS, DC, RS│  MTU 1500   │ asks              │
//!  └───────────────────┘             └───────────────────┘
//! ```
//!
//! Every round runs every cell once, so what else the machine does touches all of them alike; the medians of the
//! rounds are compared. `make bench` builds what is needed and keeps the table and the plot in `docs/results`.
#![forbid(unsafe_code)]

mod cell;
mod chart;
mod contender;
mod process;
mod report;
mod scene;

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::cell::Cell;
use crate::report::Report;
use crate::scene::Scene;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Clone, Debug, Parser)]
struct Arguments {
    /// Where cargo and cc left the programs: peer, quic-peer, boringtun-cli, ntm-provider
    #[arg(long)]
    programs: PathBuf,
    /// How often each cell runs
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a stream or a flood lasts
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Round trips of a ping-pong
    #[arg(long, default_value_t = 20_000)]
    pings: usize,
    /// Only the cells whose name has this in it
    #[arg(long)]
    only: Option<String>,
    /// Where the plot goes
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Already in namespaces of its own
    #[arg(long, hide = true)]
    inside: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = if arguments.inside { measure(&arguments) } else { scene::enter_namespaces() };
    match done {
        Ok(code) => code,
        Err(why) => {
            eprintln!("ntm-bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Outcome<ExitCode> {
    let scene = Scene::new(&arguments.programs)?;
    let wanted = |cell: &Cell| arguments.only.as_ref().is_none_or(|part| cell.to_string().contains(part.as_str()));
    let cells: Vec<Cell> = Cell::all().into_iter().filter(wanted).collect();
    let mut report = Report::default();
    for round in 1..=arguments.rounds {
        for (number, cell) in cells.iter().enumerate() {
            eprintln!("round {round} of {}, {} of {}: {cell}", arguments.rounds, number + 1, cells.len());
            match cell.run(&scene, arguments) {
                Ok(figures) => report.add(*cell, figures),
                Err(why) => report.fail(*cell, &why.to_string()),
            }
        }
    }
    let rounds = arguments.rounds;
    let control = Scene::congestion_control()?;
    writeln!(std::io::stdout(), "medians of {rounds} interleaved rounds; the kernel's TCP uses {control}\n\n{report}")?;
    if let Some(path) = &arguments.plot {
        std::fs::write(path, chart::draw(&report))?;
    }
    Ok(if report.complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
