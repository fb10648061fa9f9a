//! What a scenario is, and what it says when it is done.

use crate::net::TraceEvent;
use crate::world::World;
use ntm_proto::time::Instant;
use serde::Serialize;
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

    /// Plays the story. What it measures must depend on nothing but `seed`, and counts where it fails too.
    fn run(&self, seed: u64, report: &mut Report) -> Result<(), Failure>;
}

/// Why a run failed: what an oracle saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    what: String,
    case: Option<String>,
}

impl Failure {
    pub fn new(what: impl fmt::Display) -> Self {
        Self { what: what.to_string(), case: None }
    }

    /// Only this case of the scenario need be replayed.
    pub fn in_case(mut self, case: impl Into<String>) -> Self {
        self.case = Some(case.into());
        self
    }

    pub(crate) fn case(&self) -> Option<&str> {
        self.case.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<String> for Failure {
    fn from(what: String) -> Self {
        Self::new(what)
    }
}

impl From<&str> for Failure {
    fn from(what: &str) -> Self {
        Self::new(what)
    }
}

/// How measurements of one name, of one run and of all, become one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Row {
    /// Each counts for itself: the distribution is shown.
    Distribution,
    /// They are added up.
    Total,
    /// They and the wholes they are parts of are added up: `12 of 15`.
    Share { whole: f64 },
}

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub name: String,
    pub unit: &'static str,
    pub value: f64,
    pub row: Row,
}

/// What a run measured, in the order the tables show it. A name may come more than once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(Vec<Metric>);

impl Metrics {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add(&mut self, name: impl Into<String>, unit: &'static str, value: f64) -> &mut Self {
        self.push(name, unit, value, Row::Distribution)
    }

    pub fn count(&mut self, name: impl Into<String>, count: u64) -> &mut Self {
        self.add(name, "", count as f64)
    }

    /// In milliseconds.
    pub fn time(&mut self, name: impl Into<String>, time: Duration) -> &mut Self {
        self.add(name, "ms", time.as_secs_f64() * 1_000.0)
    }

    /// To be added up over all runs.
    pub fn total(&mut self, name: impl Into<String>, unit: &'static str, value: f64) -> &mut Self {
        self.push(name, unit, value, Row::Total)
    }

    /// Of `whole` things, `part` are so; both are added up over all runs.
    pub fn share(&mut self, name: impl Into<String>, part: usize, whole: usize) -> &mut Self {
        self.push(name, "", part as f64, Row::Share { whole: whole as f64 })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Metric> {
        self.0.iter()
    }

    fn push(&mut self, name: impl Into<String>, unit: &'static str, value: f64, row: Row) -> &mut Self {
        self.0.push(Metric { name: name.into(), unit, value, row });
        self
    }
}

/// Where a run tells its story while it happens.
#[derive(Clone, Debug, Default)]
pub struct Report {
    tracing: bool,
    threads: usize,
    case: Option<String>,
    told: Told,
}

/// What a run has told so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) metrics: Metrics,
    pub(crate) notes: Vec<String>,
    pub(crate) details: Option<serde_json::Value>,
}

impl Report {
    /// `case` restricts a scenario to its cases whose name contains it.
    pub(crate) fn new(tracing: bool, threads: usize, case: Option<String>) -> Self {
        Self { tracing, threads, case, told: Told::default() }
    }

    /// A report that nobody reads, for runs that only have to succeed.
    pub fn silent() -> Self {
        Self::new(false, 1, None)
    }

    /// How many threads a run may spread independent cases over; what comes out must not depend on it.
    pub fn threads(&self) -> usize {
        self.threads.max(1)
    }

    /// Whether a case of the scenario is wanted: all are, unless `--case` says otherwise.
    pub fn wants(&self, case: &str) -> bool {
        self.case.as_ref().is_none_or(|wanted| case.contains(wanted.as_str()))
    }

    /// Where the run's measurements go.
    pub fn metrics(&mut self) -> &mut Metrics {
        &mut self.told.metrics
    }

    /// What `--json` shows of the run beside its metrics.
    pub fn details(&mut self, details: impl Serialize) {
        self.told.details = serde_json::to_value(details).ok();
    }

    /// Traces what happens in `world`, where a trace is wanted.
    pub fn watch(&self, world: &mut World) {
        if let Some(hook) = self.network_trace() {
            world.net.set_trace(hook);
            world.set_trace(|now, line| trace_line(format_args!("{} {line}", Stamp(now))));
        }
    }

    /// Whether `--trace` was given: whether lines are worth making.
    pub fn is_tracing(&self) -> bool {
        self.tracing
    }

    /// One line of the trace, at a point of virtual time.
    pub fn trace(&self, now: Instant, line: impl fmt::Display) {
        if self.tracing {
            trace_line(format_args!("{} {line}", Stamp(now)));
        }
    }

    /// A hook for [`Network::set_trace`](crate::net::Network::set_trace); none where nobody wants a trace.
    pub fn network_trace(&self) -> Option<impl FnMut(&TraceEvent<'_>) + 'static> {
        self.tracing.then_some(|event: &TraceEvent<'_>| trace_line(format_args!("{event}")))
    }

    /// A line for the reader of the results, such as a row of a table. Those of the first seed are shown.
    pub fn note(&mut self, line: impl fmt::Display) {
        self.told.notes.push(line.to_string());
    }

    /// The lines noted so far.
    pub fn notes(&self) -> &[String] {
        &self.told.notes
    }

    pub(crate) fn into_told(self) -> Told {
        self.told
    }
}

/// A point of virtual time, as the network's trace writes it.
struct Stamp(Instant);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        write!(f, "{:>6}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
    }
}

/// The trace goes to standard error, so that `--json` stays alone on standard output. A reader who has
/// gone away is no failure of the run.
fn trace_line(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
