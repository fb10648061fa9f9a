//! The papers' experiments on real kernels, with the real servers and programs; `README.md` says how.
#![deny(unsafe_code)]

mod demo;
mod experiments;
mod forward;
mod frame;
mod kernel;
mod net;
mod report;
mod run;
mod sandbox;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::experiments::{
    beginnings, bindings, connectivity, faults, handover, loss, optimisation, second_interface, soak,
};
use self::report::{Claims, Report};
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
    /// A call that goes on while its caller changes networks, shown as it happens
    Demo(Places),
    /// The same call between two nodes of a domain that runs on this machine, without namespaces and moves
    DemoLocal {
        #[command(flatten)]
        places: Places,
        /// The configuration of the node that calls
        #[arg(long)]
        caller: PathBuf,
        /// The configuration of the node that is called
        #[arg(long)]
        callee: PathBuf,
        /// What the node that is called is called
        #[arg(long)]
        name: String,
    },
    /// Goodput of links with loss, beside the kernel's TCP
    Loss {
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        grid: loss::Grid,
    },
    /// Paper 002, 4.4: programs in several languages with each other, one of each pair moving
    Bindings {
        #[command(flatten)]
        places: Places,
        /// What tests/bindings says of such a program; its name says the language
        #[arg(long = "language", required = true)]
        languages: Vec<PathBuf>,
    },
    /// Two flows at one narrow place
    Fairness {
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        span: loss::Span,
    },
    /// Many short transfers through one tunnel
    Shorts(Places),
    /// What holds on any machine, however busy: table 1, networks without UDP, a move into each network, beginnings
    Quick(Places),
}

/// Where things are.
#[derive(Debug, Args)]
struct Places {
    /// The directory of ntm-as, ntm-dc and ntm-rs
    #[arg(long)]
    programs: PathBuf,
    /// The program made of programs/agent.c; what is made of programs/transfer.c lies beside it as transfer
    #[arg(long)]
    agent: PathBuf,
    /// Where logs and states go
    #[arg(long)]
    directory: PathBuf,
    /// Where the plot goes
    #[arg(long)]
    plot: Option<PathBuf>,
}

impl Places {
    fn files(&self) -> io::Result<Files> {
        let Self { programs, agent, directory, .. } = self;
        std::fs::create_dir_all(directory)?;
        Ok(Files {
            programs: programs.canonicalize()?,
            agent: agent.canonicalize()?,
            directory: directory.canonicalize()?,
        })
    }
}

type Experiment<'a> = &'a dyn Fn(&Files, &mut Report) -> io::Result<()>;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Forward(forward) => forward.run().map(|()| true),
        Command::Finish { devices } => {
            devices.iter().try_for_each(|device| kernel::device::finish_frames(device)).map(|()| true)
        }
        Command::Table1(places) => judged("table1", &places, &connectivity::table1),
        Command::Nats(places) => run(
            "nats",
            &places,
            Claims::All,
            &[("nats", &connectivity::nats as Experiment<'_>), ("udp-blocked", &connectivity::udp_blocked)],
        ),
        Command::Handover(places) => judged("handover", &places, &handover::full),
        Command::SecondInterface(places) => judged("second-interface", &places, &second_interface::full),
        Command::Setup(places) => judged("setup", &places, &beginnings::full),
        Command::Soak(places) => judged("soak", &places, &soak::full),
        Command::Faults(places) => judged("faults", &places, &faults::full),
        Command::Optimisation(places) => judged("optimisation", &places, &optimisation::full),
        Command::Demo(places) => demo(&places),
        Command::DemoLocal { places, caller, callee, name } => {
            places.files().and_then(|files| demo::local(&files, [&caller, &callee], &name))
        }
        Command::Loss { places, grid } => {
            judged("loss", &places, &|files: &Files, report: &mut Report| loss::goodput::run(&grid, files, report))
        }
        Command::Bindings { places, languages } => run(
            "bindings",
            &places,
            Claims::All,
            &[("bindings", &|files, report| bindings::full(files, &languages, report))],
        ),
        Command::Fairness { places, span } => {
            judged("fairness", &places, &|files: &Files, report: &mut Report| loss::fairness::run(&span, files, report))
        }
        Command::Shorts(places) => judged("shorts", &places, &loss::shorts::run),
        Command::Quick(places) => run(
            "quick",
            &places,
            Claims::Timeless,
            &[
                ("table1", &connectivity::table1 as Experiment<'_>),
                ("udp-blocked", &connectivity::udp_blocked),
                ("handover", &handover::quick),
                ("setup", &beginnings::quick),
            ],
        ),
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

fn demo(places: &Places) -> io::Result<bool> {
    let plot = places.plot.as_deref().unwrap_or(Path::new("demo.svg"));
    sandbox::enter().map_err(|why| {
        io::Error::other(format!("{why}\n`make demo-local` shows a call without namespaces, and without moves"))
    })?;
    demo::moving(&places.files()?, plot)
}

/// An experiment with everything it claims.
fn judged(name: &str, places: &Places, experiment: Experiment<'_>) -> io::Result<bool> {
    run(name, places, Claims::All, &[(name, experiment)])
}

/// Runs experiments in the sandbox, one after the other; whether they showed what was claimed.
fn run(name: &str, places: &Places, claims: Claims, experiments: &[(&str, Experiment<'_>)]) -> io::Result<bool> {
    sandbox::enter()?;
    let files = places.files()?;
    let mut report = Report::new(claims);
    for (part, experiment) in experiments {
        experiment(&files.below(part)?, &mut report)?;
    }
    report.end(name, places.plot.as_deref())
}
