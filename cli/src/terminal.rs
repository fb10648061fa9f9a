//! What is told while something goes on: a line that changes on a terminal, plain lines elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::view::size;

/// How often a line on a terminal changes, and how often a plain one is added.
const LIVELY: Duration = Duration::from_millis(100);
const SEDATE: Duration = Duration::from_secs(5);
const BAR: usize = 24;

/// How far a transfer is, on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    name: String,
    from: u64,
    whole: u64,
    begun: Instant,
    told: Instant,
    lively: bool,
}

impl Progress {
    pub(crate) fn begin(name: &str, from: u64, whole: u64) -> Self {
        let lively = std::io::stderr().is_terminal();
        if from > 0 {
            let _ = writeln!(std::io::stderr(), "{name}: goes on after {} of {}", size(from), size(whole));
        }
        Self { name: name.to_owned(), from, whole, begun: Instant::now(), told: Instant::now(), lively }
    }

    pub(crate) fn at(&mut self, done: u64) {
        if self.told.elapsed() >= if self.lively { LIVELY } else { SEDATE } {
            self.told = Instant::now();
            let line = self.line(done, self.begun.elapsed());
            let _ = if self.lively {
                write!(std::io::stderr(), "\r{line}\x1b[K")
            } else {
                writeln!(std::io::stderr(), "{line}")
            };
        }
    }

    pub(crate) fn end(&self) {
        let line = self.line(self.whole, self.begun.elapsed());
        let _ = if self.lively {
            writeln!(std::io::stderr(), "\r{line}\x1b[K")
        } else {
            writeln!(std::io::stderr(), "{line}")
        };
    }

    fn line(&self, done: u64, took: Duration) -> String {
        let share = if self.whole == 0 { 1.0 } else { done as f64 / self.whole as f64 };
        let filled = (share * BAR as f64) as usize;
        let rate = (done.saturating_sub(self.from)) as f64 / took.as_secs_f64().max(1e-3);
        let bar = format!("{}{}", "#".repeat(filled.min(BAR)), ".".repeat(BAR.saturating_sub(filled)));
        let percent = (share * 100.0) as u32;
        format!("{} [{bar}] {percent:3} %  {} of {}  {}/s", self.name, size(done), size(self.whole), size(rate as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_much_is_there_and_how_fast_it_came() {
        let progress = Progress::begin("file", 0, 4_000);
        let line = progress.line(1_000, Duration::from_secs(2));
        assert_eq!(line, "file [######..................]  25 %  1.0 KB of 4.0 KB  500 B/s");
        assert!(Progress::begin("empty", 0, 0).line(0, Duration::ZERO).contains("100 %"));
    }
}
