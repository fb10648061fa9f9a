//! `ntm-sim`: see `--help`, and [`ntm_sim`] for what it runs.
#![forbid(unsafe_code)]

use ntm_sim::cli::{self, Scenario};
use ntm_sim::scenarios::commands::{Chaos, Matrix, Moves, Setup};
use ntm_sim::scenarios::demo::Demo;
use ntm_sim::selftest::NetSelftest;
use std::process::ExitCode;

const SCENARIOS: &[&dyn Scenario] = &[&NetSelftest, &Matrix, &Setup, &Moves, &Chaos, &Demo];

fn main() -> std::io::Result<ExitCode> {
    cli::run(SCENARIOS, std::env::args_os(), &mut std::io::stdout().lock()).map(ExitCode::from)
}
