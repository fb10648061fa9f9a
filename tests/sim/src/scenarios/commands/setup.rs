//! Paper 003's table 2 beside ours.

use crate::cli::{Failure, Report, Scenario};
use crate::scenarios::setup::{self, CASES, Case, Outcome};
use serde_json::json;
use std::time::Duration;

/// See [`setup`].
#[derive(Clone, Copy, Debug)]
pub struct Setup;

impl Scenario for Setup {
    fn name(&self) -> &'static str {
        "setup"
    }

    fn about(&self) -> &'static str {
        "Paper 003, table 2, on its round-trip times: registration and setting up a relayed tunnel"
    }

    fn default_seeds(&self) -> u64 {
        1
    }

    fn run(&self, seed: u64, report: &mut Report) -> Result<(), Failure> {
        report.note(row("ms", ["registration", "paper", "setup cold", "setup warm", "paper"].map(String::from)));
        let mut details = Vec::new();
        let mut verdict = Ok(());
        for case in CASES.iter().filter(|case| report.wants(case.name)).collect::<Vec<_>>() {
            let outcome = setup::run_case(seed, case, report).map_err(|what| failure(case, what))?;
            let Outcome { registration, cold_setup, warm_setup } = outcome;
            let cells = [registration, case.paper_registration, cold_setup, warm_setup, case.paper_setup];
            report.note(row(case.name, cells.map(|time| format!("{:.1}", millis(time)))));
            report
                .metrics()
                .time(format!("{}: registration", case.name), registration)
                .time(format!("{}: setup, coordinators are strangers", case.name), cold_setup)
                .time(format!("{}: setup, coordinators know each other", case.name), warm_setup);
            details.push(json!({
                "case": case.name,
                "registration_ms": millis(registration),
                "paper_registration_ms": millis(case.paper_registration),
                "setup_cold_ms": millis(cold_setup),
                "setup_warm_ms": millis(warm_setup),
                "paper_setup_ms": millis(case.paper_setup),
            }));
            verdict = verdict.and(setup::judge(case, &outcome).map_err(|what| failure(case, what)));
        }
        report.details(details);
        verdict
    }
}

fn failure(case: &Case, what: String) -> Failure {
    Failure::from(what).in_case(case.name)
}

fn row(name: &str, cells: [String; 5]) -> String {
    format!("{name:20}{}", cells.map(|cell| format!("{cell:>14}")).concat())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
