//! A process that ends, by its id, when the lab is done with it.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::net::namespace::Namespace;

/// How long anything may take that is not measured. Loaded machines are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(crate) struct Started {
    child: Child,
}

impl Started {
    /// Starts it in a namespace; what it prints goes to `log`.
    pub(crate) fn new(namespace: &Namespace, mut command: Command, log: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        // A terminal program ends with its input, which is open for as long as this is held.
        command.stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file);
        let child = namespace
            .within(|| command.spawn())
            .map_err(|why| io::Error::other(format!("{}: {why}", command.get_program().display())))?;
        Ok(Self { child })
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Looks until something is there. Says what never came, with the end of a log.
pub(crate) fn await_that<T>(what: &str, log: &Path, mut look: impl FnMut() -> Option<T>) -> io::Result<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > until {
            let told = fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = told.lines().collect();
            let end = lines[lines.len().saturating_sub(15)..].join("\n  ");
            return Err(io::Error::other(format!("never came: {what}; {}:\n  {end}", log.display())));
        }
        std::thread::sleep(LOOK);
    }
}
