//! What an experiment found: lines for people, and whether it is what was claimed.

use std::io::{self, Write as _};

#[derive(Debug, Default)]
pub(crate) struct Report {
    failures: Vec<String>,
    passed: u32,
    points: Vec<(f64, f64)>,
}

impl Report {
    /// A line of the result, shown at once.
    pub(crate) fn line(&mut self, text: &str) {
        let mut out = io::stdout();
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }

    /// A point of the plot.
    pub(crate) fn point(&mut self, x: f64, y: f64) {
        self.points.push((x, y));
    }

    /// Something that must hold.
    pub(crate) fn check(&mut self, holds: bool, claim: &str) {
        if holds {
            self.passed += 1;
        } else {
            self.fail(claim);
        }
    }

    pub(crate) fn fail(&mut self, what: &str) {
        self.failures.push(what.to_owned());
    }

    /// The totals in the form of cargo's, so that they are counted with other tests.
    pub(crate) fn end(self, name: &str) -> bool {
        let mut out = io::stdout();
        for failure in &self.failures {
            let _ = writeln!(out, "FAILED {name}: {failure}");
        }
        let good = self.failures.is_empty();
        let _ = writeln!(
            out,
            "test result: {}. {} passed; {} failed;",
            if good { "ok" } else { "FAILED" },
            self.passed.max(u32::from(good)),
            self.failures.len()
        );
        good
    }
}

/// Nanoseconds as milliseconds.
pub(crate) fn milliseconds(nanos: u64) -> String {
    let value = nanos as f64 / 1e6;
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}
