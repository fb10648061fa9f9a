//! The papers' experiments on real kernels, with the real servers and programs; `README.md` says how.
#![deny(unsafe_code)]

mod experiments;
mod forward;
mod frame;
mod kernel;
mod net;
mod report;
mod run;
mod sandbox;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::experiments::{beginnings, connectivity, faults, handover, optimisation, second_interface, soak};
use self::report::Report;
use self::run::domain::Files;

#[derive(Debug, Parser)]
#[command(name = "ntm-lab", about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A link with delay, loss, reordering and a rate, between two devices of this namespace
    Forward(forward::command::Forward),
    /// Have a device's kernel finish frames before they leave, as a forwarder needs it of the far ends
    Finish {
        #[arg(required = true)]
        devices: Vec<String>,
    },
    /// Paper 002, table 1: who reaches whom
    Table1(Places),
    /// NATs of all kinds against each other
    Nats(Places),
    /// Paper 002, figure 11, and paper 001's table: moves during a call
    Handover(Places),
    /// Paper 000, table 5: a second interface appears
    SecondInterface(Places),
    /// From a name to the first byte, in round trips
    Setup(Places),
    /// Many nodes that move, every pair in a transfer
    Soak(Places),
    /// Servers die during calls
    Faults(Places),
    /// From the relay to a direct path
    Optimisation(Places),
}

/// Where things are.
#[derive(Debug, Args)]
struct Places {
    /// The directory of ntm-as, ntm-dc and ntm-rs
    #[arg(long)]
    programs: PathBuf,
    /// The program made of programs/agent.c
    #[arg(long)]
    agent: PathBuf,
    /// Where logs and states go
    #[arg(long)]
    directory: PathBuf,
}

impl Places {
    fn files(&self) -> io::Result<Files> {
        let Self { programs, agent, directory } = self;
        std::fs::create_dir_all(directory)?;
        Ok(Files {
            programs: programs.canonicalize()?,
            agent: agent.canonicalize()?,
            directory: directory.canonicalize()?,
        })
    }
}

type Experiment = fn(&Files, &mut Report) -> io::Result<()>;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Forward(forward) => forward.run().map(|()| true),
        Command::Finish { devices } => {
            devices.iter().try_for_each(|device| kernel::device::finish_frames(device)).map(|()| true)
        }
        Command::Table1(places) => experiment("table1", &places, connectivity::table1),
        Command::Nats(places) => experiment("nats", &places, connectivity::nats),
        Command::Handover(places) => experiment("handover", &places, handover::full),
        Command::SecondInterface(places) => experiment("second-interface", &places, second_interface::full),
        Command::Setup(places) => experiment("setup", &places, beginnings::full),
        Command::Soak(places) => experiment("soak", &places, soak::full),
        Command::Faults(places) => experiment("faults", &places, faults::full),
        Command::Optimisation(places) => experiment("optimisation", &places, optimisation::full),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            let _ = writeln!(io::stderr(), "ntm-lab: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Runs an experiment in the sandbox; whether it showed what was claimed.
fn experiment(name: &str, places: &Places, experiment: Experiment) -> io::Result<bool> {
    sandbox::enter()?;
    let mut report = Report::default();
    experiment(&places.files()?, &mut report)?;
    Ok(report.end(name))
}
