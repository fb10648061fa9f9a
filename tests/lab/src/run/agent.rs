//! `programs/agent.c` on a host: told what to do by lines, answers by lines.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::process::PATIENCE;
use crate::net::attachment::Host;

pub(crate) const PORT: &str = "7000";

/// A running agent; dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Agent {
    name: String,
    child: Child,
    input: ChildStdin,
    heard: Arc<Heard>,
    log: PathBuf,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Heard {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    over: bool,
}

impl Agent {
    /// Starts the program as the node of this configuration, or on the kernel's sockets without one.
    pub(crate) fn start(program: &Path, host: &Host, config: Option<&Path>, directory: &Path) -> io::Result<Self> {
        Self::spawned(host.namespace.name(), program, config, directory, |command| {
            host.namespace.within(|| command.spawn())
        })
    }

    /// Starts it in the namespace of this process.
    pub(crate) fn start_here(program: &Path, name: &str, config: &Path, directory: &Path) -> io::Result<Self> {
        Self::spawned(name, program, Some(config), directory, Command::spawn)
    }

    fn spawned(
        name: &str,
        program: &Path,
        config: Option<&Path>,
        directory: &Path,
        spawn: impl FnOnce(&mut Command) -> io::Result<Child>,
    ) -> io::Result<Self> {
        let name = name.to_owned();
        let log = directory.join(format!("agent-{name}.log"));
        let mut command = Command::new(program);
        match config {
            Some(config) => command.env("NTMFW_CONFIG", config),
            None => command.arg("-k"),
        };
        command.arg(PORT).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut child = spawn(&mut command)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a process without the pipes it was given"));
        };
        let heard = Arc::new(Heard::default());
        let theirs = heard.clone();
        let mut said = File::create(directory.join(format!("agent-{name}.said")))?;
        let reader = std::thread::Builder::new().name(format!("hear {name}")).spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // For whoever looks into a failure.
                let _ = writeln!(said, "{line}");
                theirs.lock().lines.push(line);
                theirs.more.notify_all();
            }
            theirs.lock().over = true;
            theirs.more.notify_all();
        })?;
        Ok(Self { name, child, input, heard, log, reader: Some(reader) })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn tell(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.input, "{line}")
            .map_err(|why| io::Error::other(format!("{}: {why}; {}", self.name, self.complaint())))
    }

    /// How many lines it has said so far: where to listen from.
    pub(crate) fn mark(&self) -> usize {
        self.heard.lock().lines.len()
    }

    /// Waits for a line from `mark` on that begins with `words`; gives what follows them.
    pub(crate) fn await_line(&self, mark: usize, words: &str) -> io::Result<String> {
        self.await_within(mark, words, PATIENCE)
    }

    pub(crate) fn await_within(&self, mark: usize, words: &str, patience: Duration) -> io::Result<String> {
        let until = Instant::now() + patience;
        let mut from = mark;
        let mut heard = self.heard.lock();
        loop {
            if let Some(rest) = heard.lines[from..].iter().find_map(|line| line.strip_prefix(words)) {
                return Ok(rest.trim().to_owned());
            }
            from = heard.lines.len();
            let left = until.saturating_duration_since(Instant::now());
            if heard.over || left.is_zero() {
                let what = if heard.over { "ended before it said" } else { "never said" };
                return Err(io::Error::other(format!("{} {what} \"{words}\"; {}", self.name, self.complaint())));
            }
            heard = self.heard.more.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What follows `words` in all lines from `mark` on that begin with them.
    pub(crate) fn lines(&self, mark: usize, words: &str) -> Vec<String> {
        let heard = self.heard.lock();
        heard.lines[mark..]
            .iter()
            .filter_map(|line| line.strip_prefix(words))
            .map(|rest| rest.trim().to_owned())
            .collect()
    }

    /// All lines from `mark` on; the mark is after them then.
    pub(crate) fn lines_since(&self, mark: &mut usize) -> Vec<String> {
        let heard = self.heard.lock();
        let from = std::mem::replace(mark, heard.lines.len());
        heard.lines[from..].to_vec()
    }

    /// Tells it something and waits for the answer.
    pub(crate) fn ask(&mut self, line: &str, words: &str) -> io::Result<String> {
        let mark = self.mark();
        self.tell(line)?;
        self.await_line(mark, words)
    }

    fn complaint(&self) -> String {
        let told = std::fs::read_to_string(&self.log).unwrap_or_default();
        format!("it complained: {}", told.trim())
    }
}

impl Heard {
    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
