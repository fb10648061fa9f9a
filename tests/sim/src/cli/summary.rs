//! Many runs of a scenario in one table, for people and for programs.

use crate::cli::scenario::{Failure, Metric, Row, Told};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What became of one seed.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) result: Result<(), Failure>,
    pub(crate) told: Told,
}

/// The distribution of one metric over all runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Distribution {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) samples: usize,
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) greatest: f64,
}

/// A sum over all runs, of so many where it is a share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Total {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FailedSeed {
    pub(crate) seed: u64,
    pub(crate) what: String,
    /// The command that shows it again.
    pub(crate) replay: String,
}

/// What a run tells programs beyond its metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Details {
    pub(crate) seed: u64,
    pub(crate) details: serde_json::Value,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) scenario: &'static str,
    pub(crate) from: u64,
    /// Fewer than asked for where too many failed.
    pub(crate) runs: usize,
    pub(crate) failed: Vec<FailedSeed>,
    pub(crate) totals: Vec<Total>,
    pub(crate) metrics: Vec<Distribution>,
    /// Of the first seed.
    pub(crate) notes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) details: Vec<Details>,
}

impl Summary {
    pub(crate) fn new(scenario: &'static str, from: u64, runs: BTreeMap<u64, Run>) -> Self {
        let mut summary = Self {
            scenario,
            from,
            runs: runs.len(),
            failed: Vec::new(),
            totals: Vec::new(),
            metrics: Vec::new(),
            notes: runs.first_key_value().map_or_else(Vec::new, |(_, run)| run.told.notes.clone()),
            details: Vec::new(),
        };
        let mut table = Table::default();
        for (seed, run) in runs {
            if let Err(failure) = run.result {
                let replay = replay(scenario, seed, failure.case());
                summary.failed.push(FailedSeed { seed, what: failure.to_string(), replay });
            }
            run.told.metrics.iter().for_each(|metric| table.take(metric));
            summary.details.extend(run.told.details.map(|details| Details { seed, details }));
        }
        summary.totals = table.totals;
        summary.metrics = table.samples.into_iter().filter_map(Distribution::of).collect();
        summary
    }

    pub(crate) fn is_success(&self) -> bool {
        self.failed.is_empty()
    }
}

fn replay(scenario: &str, seed: u64, case: Option<&str>) -> String {
    let case = case.map_or_else(String::new, |case| format!(" --case '{case}'"));
    format!("cargo run --release -p ntm-sim -- --scenario {scenario}{case} --from {seed} --seeds 1 --trace")
}

/// Rows in the order in which their names first came.
#[derive(Default)]
struct Table {
    totals: Vec<Total>,
    samples: Vec<(String, &'static str, Vec<f64>)>,
    by_name: BTreeMap<String, usize>,
}

impl Table {
    fn take(&mut self, metric: &Metric) {
        let Metric { name, unit, value, row } = metric;
        let of = match row {
            Row::Distribution => {
                let at = *self.by_name.entry(name.clone()).or_insert_with(|| {
                    self.samples.push((name.clone(), unit, Vec::new()));
                    self.samples.len() - 1
                });
                return self.samples[at].2.push(*value);
            }
            Row::Total => None,
            Row::Share { whole } => Some(*whole),
        };
        match self.totals.iter_mut().find(|total| total.name == *name) {
            Some(total) => {
                total.value += value;
                total.of = total.of.zip(of).map(|(sum, of)| sum + of);
            }
            None => self.totals.push(Total { name: name.clone(), unit, value: *value, of }),
        }
    }
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
            p90: rank(0.9)?,
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
        let names = self.metrics.iter().map(|metric| &metric.name).chain(self.totals.iter().map(|total| &total.name));
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
        if !self.metrics.is_empty() {
            let head = ["least", "median", "90 %", "99 %", "greatest", "samples"].map(|word| format!("{word:>11}"));
            writeln!(f, "  {:width$} {:4}{}", "", "", head.concat())?;
        }
        for Distribution { name, unit, samples, least, median, p90, p99, greatest } in &self.metrics {
            let cells = [least, median, p90, p99, greatest].map(|value| format!("{:>11}", figure(*value)));
            writeln!(f, "  {name:width$} {unit:4}{}{samples:>11}", cells.concat())?;
        }
        for Total { name, unit, value, of } in &self.totals {
            let of = of.map_or_else(String::new, |of| format!(" of {}", figure(of)));
            writeln!(f, "  {name:width$} {unit:4}{:>11}{of}", figure(*value))?;
        }
        for FailedSeed { seed, what, replay } in &self.failed {
            writeln!(f, "  FAILED seed {seed}: {what}\n    replay: {replay}")?;
        }
        Ok(())
    }
}

/// Whole numbers whole and in groups of three, others with three places.
fn figure(value: f64) -> String {
    if value.fract() != 0.0 {
        return format!("{value:.3}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut grouped = if value < 0.0 { String::from("-") } else { String::new() };
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
