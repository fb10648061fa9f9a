//! A network namespace, and what is done in it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use crate::kernel;

#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    file: File,
}

impl Namespace {
    /// Makes it. It ends with the namespace that the lab runs in.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        run(Command::new("ip").args(["netns", "add", name]))?;
        let namespace = Self { name: name.to_owned(), file: File::open(format!("/run/netns/{name}"))? };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Sockets that are opened by `work`, and processes that it starts, are in this namespace.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        kernel::namespace::within(&self.file, work)
    }

    /// One command of `ip`.
    pub(crate) fn ip(&self, arguments: &str) -> io::Result<()> {
        run(Command::new("ip").args(["-n", &self.name]).args(arguments.split_whitespace()))
    }

    /// Many commands of `ip`, a line each.
    pub(crate) fn ips(&self, lines: &str) -> io::Result<()> {
        feed(Command::new("ip").args(["-n", &self.name, "-batch", "-"]), lines)
    }

    /// Takes the place of all rules of the packet filter.
    pub(crate) fn rules(&self, rules: &str) -> io::Result<()> {
        self.within(|| feed(Command::new("nft").args(["-f", "-"]), &format!("flush ruleset\n{rules}")))
    }

    /// A setting below `/proc/sys/net`.
    pub(crate) fn setting(&self, path: &str, value: &str) -> io::Result<()> {
        let file = format!("/proc/sys/net/{path}");
        self.within(|| fs::write(&file, value)).map_err(|why| io::Error::other(format!("{}: {file}: {why}", self.name)))
    }

    /// From now on it passes packets on, wherever they came in.
    pub(crate) fn routes(&self) -> io::Result<()> {
        for (path, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
        ] {
            self.setting(path, value)?;
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What holds it open besides ends with the lab.
        let _ = run(Command::new("ip").args(["netns", "delete", &self.name]));
    }
}

/// Joins two namespaces by a veth pair whose ends have these names, and brings both up.
pub(crate) fn join(one: &Namespace, device: &str, other: &Namespace, far_device: &str) -> io::Result<()> {
    one.ip(&format!("link add {device} type veth peer name {far_device} netns {}", other.name))?;
    one.ip(&format!("link set {device} up"))?;
    other.ip(&format!("link set {far_device} up"))
}

/// Runs a command to its end; what it complained of is the error.
pub(crate) fn run(command: &mut Command) -> io::Result<()> {
    feed(command, "")
}

fn feed(command: &mut Command, input: &str) -> io::Result<()> {
    let failed = |command: &Command, told: String| io::Error::other(format!("{command:?}: {told}"));
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|why| failed(command, why.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(command, format!("{} {}", output.status, String::from_utf8_lossy(&output.stderr).trim())))
}
