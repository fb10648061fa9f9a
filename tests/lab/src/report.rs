//! What an experiment found: lines for people, a plot, and whether it is what was claimed.

use std::io::{self, Write as _};
use std::path::Path;

/// How strictly an experiment is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claims {
    /// Also the times, which need a machine that is not busy with other things.
    All,
    /// What holds on any machine.
    Timeless,
}

#[derive(Debug)]
pub(crate) struct Report {
    claims: Claims,
    failures: Vec<String>,
    passed: u32,
    plot: Option<String>,
}

impl Report {
    pub(crate) fn new(claims: Claims) -> Self {
        Self { claims, failures: Vec::new(), passed: 0, plot: None }
    }

    /// A line of the result, shown at once.
    pub(crate) fn line(&mut self, text: &str) {
        let mut out = io::stdout();
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }

    /// The picture of the result, as SVG.
    pub(crate) fn plot(&mut self, svg: String) {
        self.plot = Some(svg);
    }

    /// Something that must hold.
    pub(crate) fn check(&mut self, holds: bool, claim: &str) {
        if holds {
            self.passed += 1;
        } else {
            self.failures.push(claim.to_owned());
        }
    }

    /// Something about times that must hold.
    pub(crate) fn check_time(&mut self, holds: bool, claim: &str) {
        if self.claims == Claims::All {
            self.check(holds, claim);
        }
    }

    /// The totals in the form of cargo's, so that they are counted with other tests; whether all was as claimed.
    pub(crate) fn end(self, name: &str, plot: Option<&Path>) -> io::Result<bool> {
        if let Some((path, svg)) = plot.zip(self.plot) {
            std::fs::write(path, svg)?;
        }
        let mut out = io::stdout();
        for failure in &self.failures {
            writeln!(out, "FAILED {name}: {failure}")?;
        }
        let good = self.failures.is_empty();
        let verdict = if good { "ok" } else { "FAILED" };
        writeln!(out, "test result: {verdict}. {} passed; {} failed;", self.passed, self.failures.len())?;
        Ok(good)
    }
}

/// Nanoseconds as milliseconds.
pub(crate) fn milliseconds(nanos: u64) -> String {
    let value = nanos as f64 / 1e6;
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

/// The middle one.
pub(crate) fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
