//! `ntm-recovery-sim`: measurements, drawings and hours of random trouble.
#![expect(clippy::print_stdout, reason = "a program that prints its measurements")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use ntm_recovery::Algorithm;
use ntm_recovery_sim::report;
use ntm_recovery_sim::trouble::{Summary, episode};

#[derive(Parser)]
#[command(about = "TCP recovery on simulated links")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Goodput of one flow over a matrix of rates, delays, buffers and losses.
    Goodput {
        #[arg(long, default_value = "cubic")]
        congestion: String,
    },
    /// Window, flight and round trips over time, as SVG files.
    Plots { directory: PathBuf },
    /// Random trouble for so many hours of virtual time.
    Trouble {
        #[arg(long, default_value_t = 8.0)]
        hours: f64,
        #[arg(long, default_value_t = 1)]
        first_seed: u64,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Goodput { congestion } => match Algorithm::from_name(&congestion) {
            Some(algorithm) => {
                report::goodput(algorithm);
                Ok(())
            }
            None => Err(format!("no congestion control is called {congestion}")),
        },
        Command::Plots { directory } => report::plots(&directory).map_err(|error| error.to_string()),
        Command::Trouble { hours, first_seed } => trouble(hours, first_seed),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn trouble(hours: f64, first_seed: u64) -> Result<(), String> {
    let wanted = Duration::from_secs_f64(hours * 3_600.0);
    let mut total = Summary::default();
    let mut seed = first_seed;
    while total.episodes == 0 || total.time < wanted {
        total.add(&episode(seed)?);
        seed += 1;
    }
    println!(
        "{} connections, {:.1} hours, {:.1} GB: every byte once and in order; longest silence {:.1} s",
        total.episodes,
        total.time.as_secs_f64() / 3_600.0,
        total.bytes as f64 / 1e9,
        total.longest_stall.as_secs_f64()
    );
    Ok(())
}
