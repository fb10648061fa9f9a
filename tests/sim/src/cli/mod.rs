//! The command `ntm-sim`: runs scenarios over many seeds and says what came of it.
//!
//! Results go to standard output, as tables or with `--json` as one object; traces to standard error. A seed that
//! fails, or panics, is printed with the command that replays it, and makes the exit status non-zero.

mod scenario;
mod summary;

pub use scenario::{Failure, Metric, Metrics, Report, Row, Scenario};

use clap::Parser;
use serde::Serialize;
use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use summary::{Run, Summary};

/// After so many failed seeds the rest would tell nothing new.
const MAX_FAILURES: usize = 10;

/// Runs NTMfw's nodes and servers in a simulated internet.
#[derive(Debug, Parser)]
#[command(name = "ntm-sim", version)]
struct Arguments {
    /// How many seeds to run; each scenario has a default of its own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    from: u64,
    /// Run this scenario; may be given more than once. Without it, all of them
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    /// Only the cases of the scenario whose name contains this, such as a cell of the matrix
    #[arg(long, value_name = "TEXT")]
    case: Option<String>,
    /// Run all seeds, however many fail
    #[arg(long)]
    keep_going: bool,
    /// Threads; with --trace always one
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=256))]
    jobs: u64,
    /// Print every event of the network and of the nodes to standard error
    #[arg(long)]
    trace: bool,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    /// List the scenarios
    #[arg(long)]
    list: bool,
}

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Success = 0,
    /// Some seed failed.
    Failed = 1,
    /// The arguments make no sense.
    Usage = 2,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Runs the command with `arguments`, the program's name first, and writes results to `out`.
pub fn run(
    scenarios: &[&dyn Scenario],
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
) -> io::Result<Exit> {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            eprint!("{error}");
            return Ok(Exit::Usage);
        }
        Err(help) => {
            write!(out, "{help}")?;
            return Ok(Exit::Success);
        }
    };
    if arguments.list {
        return list(scenarios, arguments.json, out).map(|()| Exit::Success);
    }
    let mut chosen = Vec::new();
    for name in &arguments.scenario {
        let Some(scenario) = scenarios.iter().find(|scenario| scenario.name() == name) else {
            let names: Vec<_> = scenarios.iter().map(|scenario| scenario.name()).collect();
            eprintln!("there is no scenario '{name}'; there are {}", names.join(", "));
            return Ok(Exit::Usage);
        };
        chosen.push(*scenario);
    }
    if chosen.is_empty() {
        chosen = scenarios.to_vec();
    }
    let mut summaries = Vec::new();
    for scenario in chosen {
        let summary = summarise(scenario, &arguments);
        if !arguments.json {
            write!(out, "{summary}")?;
            out.flush()?;
        }
        summaries.push(summary);
    }
    if arguments.json {
        serde_json::to_writer_pretty(&mut *out, &Results { scenarios: &summaries })?;
        writeln!(out)?;
    }
    Ok(if summaries.iter().all(Summary::is_success) { Exit::Success } else { Exit::Failed })
}

#[derive(Serialize)]
struct Results<'a> {
    scenarios: &'a [Summary],
}

fn list(scenarios: &[&dyn Scenario], json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        let entry = |scenario: &&dyn Scenario| serde_json::json!({ "name": scenario.name(), "about": scenario.about(), "seeds": scenario.default_seeds() });
        let entries: Vec<_> = scenarios.iter().map(entry).collect();
        serde_json::to_writer_pretty(&mut *out, &entries)?;
        return writeln!(out);
    }
    let width = scenarios.iter().map(|scenario| scenario.name().len()).max().unwrap_or(0);
    for scenario in scenarios {
        writeln!(out, "{:width$}  {} ({} seeds)", scenario.name(), scenario.about(), scenario.default_seeds())?;
    }
    Ok(())
}

/// Runs all seeds of a scenario. Threads take the next seed that nobody has; what they find is sorted by seed,
/// so the result does not depend on who was faster.
fn summarise(scenario: &dyn Scenario, arguments: &Arguments) -> Summary {
    let count = arguments.seeds.unwrap_or_else(|| scenario.default_seeds());
    let jobs = if arguments.trace { 1 } else { arguments.jobs.min(count) };
    let most = if arguments.keep_going { usize::MAX } else { MAX_FAILURES };
    // Where there are fewer seeds than threads, a seed may use the rest.
    let threads = if arguments.trace { 1 } else { usize::try_from(arguments.jobs / jobs).unwrap_or(1) };
    let (next, failures) = (AtomicU64::new(0), AtomicUsize::new(0));
    let runs = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while failures.load(Ordering::Relaxed) < most {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(seed) = arguments.from.checked_add(index).filter(|_| index < count) else { break };
                    let report = Report::new(arguments.trace, threads, arguments.case.clone());
                    let run = run_seed(scenario, seed, report);
                    failures.fetch_add(usize::from(run.result.is_err()), Ordering::Relaxed);
                    runs.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, run);
                }
            });
        }
    });
    Summary::new(scenario.name(), arguments.from, runs.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// A panic is a failure of its seed like any other.
fn run_seed(scenario: &dyn Scenario, seed: u64, mut report: Report) -> Run {
    let caught = catch_unwind(AssertUnwindSafe(|| scenario.run(seed, &mut report)));
    let result =
        caught.unwrap_or_else(|payload| Err(Failure::new(format_args!("panicked: {}", said(payload.as_ref())))));
    Run { result, told: report.into_told() }
}

fn said(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<String>() {
        Some(text) => text,
        None => payload.downcast_ref::<&str>().copied().unwrap_or("something"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Story;

    impl Scenario for Story {
        fn name(&self) -> &'static str {
            "story"
        }

        fn about(&self) -> &'static str {
            "Fails where the seed ends in 7, panics where it ends in 8"
        }

        fn run(&self, seed: u64, report: &mut Report) -> Result<(), Failure> {
            report.note(format_args!("told by {seed}"));
            report.metrics().count("luck", seed).add("share", "%", 0.5).total("told", "", 1.0);
            match seed % 10 {
                7 => Err(format!("{seed} is unlucky").into()),
                8 => panic!("{seed} is worse"),
                _ => Ok(()),
            }
        }
    }

    fn command(arguments: &str) -> (Exit, String) {
        let mut out = Vec::new();
        let words = std::iter::once("ntm-sim").chain(arguments.split_whitespace()).map(OsString::from);
        let exit = run(&[&Story], words, &mut out).unwrap();
        (exit, String::from_utf8(out).unwrap())
    }

    #[test]
    fn seeds_that_pass_are_summed_up_and_the_exit_is_zero() {
        let (exit, text) = command("--seeds 5 --from 1");
        assert_eq!(exit, Exit::Success);
        assert!(text.contains("story: 5 of 5 seeds passed (1 to 5)"), "{text}");
        assert!(text.contains("told by 1") && !text.contains("told by 2"), "{text}");
        let luck: Vec<_> = text.lines().find(|line| line.contains("luck")).unwrap().split_whitespace().collect();
        assert_eq!(luck, ["luck", "1", "3", "5", "5", "5", "5"]);
    }

    #[test]
    fn a_failing_seed_is_printed_with_its_replay_and_the_exit_is_not_zero() {
        let (exit, text) = command("--seeds 9 --scenario story");
        assert_eq!(exit, Exit::Failed);
        assert!(text.contains("7 of 9 seeds passed"), "{text}");
        assert!(text.contains("FAILED seed 7: 7 is unlucky"), "{text}");
        assert!(text.contains("FAILED seed 8: panicked: 8 is worse"), "{text}");
        assert!(text.contains("-- --scenario story --from 7 --seeds 1 --trace"), "{text}");
    }

    #[test]
    fn json_says_the_same_whatever_the_number_of_threads() {
        let (exit, text) = command("--seeds 30 --json --jobs 4");
        assert_eq!(exit, Exit::Failed);
        assert_eq!(text, command("--seeds 30 --json --jobs 1").1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let story = &value["scenarios"][0];
        assert_eq!((story["runs"].as_u64(), story["failed"].as_array().unwrap().len()), (Some(30), 6));
        assert_eq!(story["metrics"][0]["greatest"].as_f64(), Some(29.0));
        assert_eq!(story["metrics"][1]["unit"].as_str(), Some("%"));
    }

    #[test]
    fn many_failures_end_the_run_early() {
        let (exit, text) = command("--seeds 1000000 --jobs 1");
        assert_eq!(exit, Exit::Failed);
        assert_eq!(text.matches("FAILED").count(), MAX_FAILURES);
    }

    #[test]
    fn scenarios_are_listed_and_unknown_ones_refused() {
        assert!(command("--list").1.starts_with("story  Fails where"));
        assert!(command("--list --json").1.contains("\"seeds\": 100"));
        assert_eq!(command("--scenario nonsense").0, Exit::Usage);
        assert_eq!(command("--seeds 0").0, Exit::Usage);
        assert_eq!(command("--seeds many").0, Exit::Usage);
        assert_eq!(command("--help").0, Exit::Success);
    }
}
