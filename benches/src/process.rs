//! Programs that end when what started them goes.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);
/// Of `/proc/PID/stat`'s times; the same on every Linux that Rust runs on.
const TICKS_A_SECOND: f64 = 100.0;

pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(mut command: Command) -> Outcome<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self(child.map_err(|why| format!("{command:?}: {why}"))?))
    }

    /// Starts a program and reads its output up to a line that holds `word`.
    pub(crate) fn start_and_await(mut command: Command, word: &str) -> Outcome<Self> {
        let shown = format!("{command:?}");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let running = Self(child);
        for line in BufReader::new(output).lines() {
            if line?.contains(word) {
                return Ok(running);
            }
        }
        Err(format!("{shown} ended and never said {word:?}").into())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Processor time used so far, in seconds.
    pub(crate) fn processor_time(&self) -> Outcome<f64> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let fields = text.rsplit(')').next().ok_or("an odd stat")?;
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
        Ok(ticks as f64 / TICKS_A_SECOND)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end and gives what it printed.
pub(crate) fn output(mut command: Command) -> Outcome<String> {
    let done = command.stderr(Stdio::piped()).output()?;
    if done.status.success() {
        return Ok(String::from_utf8(done.stdout)?);
    }
    Err(format!("{command:?}: {}: {}", done.status, String::from_utf8_lossy(&done.stderr).trim()).into())
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) -> Outcome<()> {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        if Instant::now() > end {
            return Err(format!("never came: {what}").into());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
