//! Many runs of a scenario in one table, for people and for programs.

use crate::cli::scenario::{Failure, Metrics};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What became of one seed.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) result: Result<Metrics, Failure>,
    pub(crate) notes: Vec<String>,
}

/// The distribution of one metric over all runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Distribution {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) samples: usize,
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) greatest: f64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FailedSeed {
    pub(crate) seed: u64,
    pub(crate) what: String,
    /// The command that shows it again.
    pub(crate) replay: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) scenario: &'static str,
    pub(crate) from: u64,
    /// Fewer than asked for where too many failed.
    pub(crate) runs: usize,
    pub(crate) failed: Vec<FailedSeed>,
    pub(crate) metrics: Vec<Distribution>,
    pub(crate) notes: Vec<String>,
}

impl Summary {
    pub(crate) fn new(scenario: &'static str, from: u64, runs: BTreeMap<u64, Run>) -> Self {
        let mut summary = Self {
            scenario,
            from,
            runs: runs.len(),
            failed: Vec::new(),
            metrics: Vec::new(),
            notes: runs.first_key_value().map_or_else(Vec::new, |(_, run)| run.notes.clone()),
        };
        let mut samples: Vec<(String, &'static str, Vec<f64>)> = Vec::new();
        let mut by_name = BTreeMap::new();
        for (seed, run) in runs {
            match run.result {
                Err(failure) => {
                    summary.failed.push(FailedSeed { seed, what: failure.to_string(), replay: replay(scenario, seed) })
                }
                Ok(metrics) => {
                    for metric in metrics.iter() {
                        let at = *by_name.entry(metric.name.clone()).or_insert_with(|| {
                            samples.push((metric.name.clone(), metric.unit, Vec::new()));
                            samples.len() - 1
                        });
                        samples[at].2.push(metric.value);
                    }
                }
            }
        }
        summary.metrics = samples.into_iter().filter_map(Distribution::of).collect();
        summary
    }

    pub(crate) fn is_success(&self) -> bool {
        self.failed.is_empty()
    }
}

fn replay(scenario: &str, seed: u64) -> String {
    format!("cargo run --release -p ntm-sim -- --scenario {scenario} --from {seed} --seeds 1 --trace")
}

impl Distribution {
    fn of((name, unit, mut values): (String, &'static str, Vec<f64>)) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        // The nearest rank: a value that was measured, never one between.
        let rank = |share: f64| values.get(((values.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied();
        Some(Self {
            name,
            unit,
            samples: values.len(),
            least: *values.first()?,
            median: rank(0.5)?,
            p99: rank(0.99)?,
            greatest: *values.last()?,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.from.saturating_add(self.runs.saturating_sub(1) as u64);
        let passed = self.runs - self.failed.len();
        writeln!(f, "{}: {passed} of {} seeds passed ({} to {last})", self.scenario, self.runs, self.from)?;
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        let name = self.metrics.iter().map(|metric| metric.name.chars().count()).max().unwrap_or(0);
        if name > 0 {
            let head = ["least", "median", "99 %", "greatest", "samples"].map(|word| format!("{word:>12}"));
            writeln!(f, "  {:name$} {:4}{}", "", "", head.concat())?;
        }
        for Distribution { name: metric, unit, samples, least, median, p99, greatest } in &self.metrics {
            let cells = [least, median, p99, greatest].map(|value| format!("{:>12}", figure(*value)));
            writeln!(f, "  {metric:name$} {unit:4}{}{samples:>12}", cells.concat())?;
        }
        for FailedSeed { seed, what, replay } in &self.failed {
            writeln!(f, "  FAILED seed {seed}: {what}\n    replay: {replay}")?;
        }
        Ok(())
    }
}

/// Whole numbers whole, others with three places.
fn figure(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}
