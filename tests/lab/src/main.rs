//! The papers' experiments on real kernels, with the real servers and programs; `README.md` says how.
#![deny(unsafe_code)]

mod forward;
mod kernel;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Forward(forward) => forward.run(),
        Command::Finish { devices } => devices.iter().try_for_each(|device| kernel::device::finish_frames(device)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "ntm-lab: {why}");
            ExitCode::FAILURE
        }
    }
}
