//! `ntm agent`, `ntm up`, `ntm down`: one stack and one registration for all programs of a user.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use ntm_agent::{Client, Local, Node as _, Server, runs, socket_path};
use ntm_program::{Failure, ResultExt as _};
use ntmfw::service;

use crate::host::{self, Held};
use crate::session::failure;

/// How long `up` waits for a registration, and `down` for the end.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Hold the node's registration for all programs of this user, in the foreground
#[derive(Debug, Args)]
pub(crate) struct Agent {}

impl Agent {
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        let held = Held::hold();
        let path = socket_path();
        let server = Server::bind(&path).map_err(failure)?;
        let node = Local::begin().map_err(failure)?;
        let name = node.name().map_err(failure)?;
        server.answer(node, host::end_self).context("cannot start threads")?;
        writeln!(std::io::stdout(), "{name}: serving this user's programs at {}", path.display())
            .context("standard output")?;
        held.wait();
        server.withdraw();
        service::end();
        Ok(())
    }
}

/// Start the agent in the background
#[derive(Debug, Args)]
pub(crate) struct Up {}

impl Up {
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        let wanted = service::configured_name().map_err(failure)?;
        let path = socket_path();
        if let Ok(client) = Client::meet(&path, None) {
            let name = client.name().map_err(failure)?;
            if name != wanted {
                return Err(Failure::new(format!("an agent of this user runs already, as {name}")).way_out("ntm down"));
            }
            return say(&format!("{name}: is up already"));
        }
        let log = path.with_extension("log");
        let child = start(&log)?;
        let name = await_agent(&path, child, &log)?;
        say(&format!("{name}: is up (`ntm down` ends it)"))
    }
}

fn start(log: &Path) -> Result<Child, Failure> {
    if let Some(directory) = log.parent() {
        std::fs::create_dir_all(directory).context(directory.display())?;
    }
    let told =
        OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(log).context(log.display())?;
    let program = std::env::current_exe().context("this program's own file")?;
    std::process::Command::new(program)
        .arg("agent")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(told)
        // The terminal's signals are not for it.
        .process_group(0)
        .spawn()
        .context("cannot start the agent")
}

/// Waits until the agent answers, or tells why it ended.
fn await_agent(path: &Path, mut child: Child, log: &Path) -> Result<String, Failure> {
    let begun = Instant::now();
    loop {
        if let Ok(name) = Client::meet(path, None).and_then(|client| client.name()) {
            return Ok(name);
        }
        if child.try_wait().context("the agent")?.is_some() {
            let told = std::fs::read_to_string(log).unwrap_or_default();
            let told = told.trim().strip_prefix("ntm: ").unwrap_or(told.trim()).to_owned();
            return Err(Failure::new(format!("the agent ended: {told}")));
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Failure::new("the agent did not register in time").way_out("`ntm netcheck` tells more"));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// End the agent; connections through it end with it
#[derive(Debug, Args)]
pub(crate) struct Down {}

impl Down {
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        let path = socket_path();
        let client =
            Client::meet(&path, None).map_err(|_| Failure::new(format!("no agent runs at {}", path.display())))?;
        let name = client.name().map_err(failure)?;
        client.stop().map_err(failure)?;
        let begun = Instant::now();
        while runs(&path) {
            if begun.elapsed() > PATIENCE {
                return Err(Failure::new("the agent was told to end and goes on"));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        say(&format!("{name}: is down"))
    }
}

fn say(text: &str) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{text}").context("standard output")
}
