//! What a scenario is, and what it says when it is done.

use crate::net::TraceEvent;
use ntm_proto::time::Instant;
use std::fmt;
use std::io::Write as _;
use std::time::Duration;

/// A story that happens in the simulated internet, differently for each seed.
pub trait Scenario: Sync {
    /// What `--scenario` calls it.
    fn name(&self) -> &'static str;

    /// One line for `--list`.
    fn about(&self) -> &'static str;

    /// How many seeds are run where nobody says.
    fn default_seeds(&self) -> u64 {
        100
    }

    /// Plays the story. Must depend on nothing but `seed`.
    fn run(&self, seed: u64, report: &mut Report) -> Result<Metrics, Failure>;
}

/// Why a run failed: what an oracle saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    pub fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Failure {
    fn from(what: String) -> Self {
        Self(what)
    }
}

impl From<&str> for Failure {
    fn from(what: &str) -> Self {
        Self(what.to_owned())
    }
}

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub name: String,
    pub unit: &'static str,
    pub value: f64,
}

/// What a run measured, in the order the table shows it. A name may come more than once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(Vec<Metric>);

impl Metrics {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&mut self, name: impl Into<String>, unit: &'static str, value: f64) -> &mut Self {
        self.0.push(Metric { name: name.into(), unit, value });
        self
    }

    pub fn count(&mut self, name: impl Into<String>, count: u64) -> &mut Self {
        self.add(name, "", count as f64)
    }

    /// In milliseconds.
    pub fn time(&mut self, name: impl Into<String>, time: Duration) -> &mut Self {
        self.add(name, "ms", time.as_secs_f64() * 1_000.0)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Metric> {
        self.0.iter()
    }
}

/// Where a run tells its story while it happens.
#[derive(Clone, Debug, Default)]
pub struct Report {
    tracing: bool,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn new(tracing: bool) -> Self {
        Self { tracing, notes: Vec::new() }
    }

    /// Whether `--trace` was given: whether lines are worth making.
    pub fn is_tracing(&self) -> bool {
        self.tracing
    }

    /// One line of the trace, at a point of virtual time.
    pub fn trace(&self, now: Instant, line: impl fmt::Display) {
        if self.tracing {
            let nanos = now.as_nanos();
            trace_line(format_args!("{:>6}.{:09} {line}", nanos / 1_000_000_000, nanos % 1_000_000_000));
        }
    }

    /// A hook for [`Network::set_trace`](crate::net::Network::set_trace); none where nobody wants a trace.
    pub fn network_trace(&self) -> Option<impl FnMut(&TraceEvent<'_>) + 'static> {
        self.tracing.then_some(|event: &TraceEvent<'_>| trace_line(format_args!("{event}")))
    }

    /// A line for the reader of the results, such as a row of a table. Those of the first seed are shown.
    pub fn note(&mut self, line: impl fmt::Display) {
        self.notes.push(line.to_string());
    }

    pub(crate) fn into_notes(self) -> Vec<String> {
        self.notes
    }
}

/// The trace goes to standard error, so that `--json` stays alone on standard output. A reader who has
/// gone away is no failure of the run.
fn trace_line(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
