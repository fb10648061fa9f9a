//! Two namespaces joined by a veth, and a provider domain in the first.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::Outcome;
use crate::process::{Running, output, until};

pub(crate) const DEVICE: &str = "veth0";
/// The end that serves, the end that asks.
pub(crate) const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];
pub(crate) const DOMAIN: &str = "ntm.example";

/// Nodes beside the two ends', for measurements with many peers.
pub(crate) const CROWD: usize = 100;

pub(crate) fn crowd_member(number: usize) -> String {
    format!("p{number}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Serving,
    Asking,
}

pub(crate) struct Scene {
    programs: PathBuf,
    directory: PathBuf,
    /// Its namespace is the end that asks.
    other: Running,
    _provider: Running,
}

/// Starts this program again with namespaces of its own, without privileges.
pub(crate) fn enter_namespaces() -> Outcome<ExitCode> {
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--net", "--mount"]).arg(std::env::current_exe()?).arg("--inside");
    Err(again.args(std::env::args_os().skip(1)).exec().into())
}

fn run(line: &str) -> Outcome<()> {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().ok_or("no command")?);
    command.args(words);
    output(command).map(drop)
}

impl Scene {
    pub(crate) fn new(programs: &Path) -> Outcome<Self> {
        let directory = std::env::temp_dir().join(format!("ntm-bench-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        // WireGuard's programs want to write there.
        run("mount -t tmpfs tmpfs /run")?;
        let mut holder = Command::new("unshare");
        holder.args(["--net", "sleep", "infinity"]);
        let other = Running::start(holder)?;
        let own_namespace = fs::read_link("/proc/self/ns/net")?;
        let entered = format!("/proc/{}/ns/net", other.id());
        until("the other namespace", || fs::read_link(&entered).is_ok_and(|namespace| namespace != own_namespace))?;

        run(&format!("ip link add {DEVICE} type veth peer name {DEVICE} netns {}", other.id()))?;
        for (end, address) in [End::Serving, End::Asking].into_iter().zip(ADDRESSES) {
            for line in [
                format!("ip address add {address}/24 dev {DEVICE}"),
                format!("ip link set {DEVICE} up"),
                "ip link set lo up".to_owned(),
            ] {
                output(within(end, &other, &line))?;
            }
        }
        let mut provider = Command::new(programs.join("ntm-provider"));
        let crowd = (0..CROWD).map(crowd_member);
        let nodes = ["a", "b"].map(str::to_owned).into_iter().chain(crowd).flat_map(|node| ["--node".to_owned(), node]);
        provider.arg("--directory").arg(&directory).args(nodes);
        provider.args(["--address", ADDRESSES[0], "--interface", DEVICE]);
        let provider = Running::start_and_await(provider, "ready")?;
        for node in ["a", "b"] {
            let plain = fs::read_to_string(directory.join(node).join("config.toml"))?;
            fs::write(directory.join(node).join("chacha.toml"), format!("cipher = \"chacha20-poly1305\"\n{plain}"))?;
        }
        Ok(Self { programs: programs.to_owned(), directory, other, _provider: provider })
    }

    /// The veth's UDP segmentation. Without it both ends have to cut and join, as with most network cards.
    pub(crate) fn offload(&self, on: bool) -> Outcome<()> {
        let (uso, gro) = if on { ("on", "off") } else { ("off", "on") };
        for end in [End::Serving, End::Asking] {
            let line = format!("ethtool -K {DEVICE} tx-udp-segmentation {uso} gro {gro} rx-udp-gro-forwarding {gro}");
            self.run(end, &line)?;
        }
        Ok(())
    }

    pub(crate) fn run(&self, end: End, line: &str) -> Outcome<()> {
        output(within(end, &self.other, line)).map(drop)
    }

    /// A program of ours at an end, kept to one processor where that is wanted.
    pub(crate) fn program(&self, end: End, processor: Option<usize>, name: &str) -> Command {
        let pinned = processor.map_or(String::new(), |number| format!("taskset -c {number} "));
        let built = self.programs.join(name);
        // Debian's programs are not among those that were built.
        let program = if built.exists() { built.display().to_string() } else { name.to_owned() };
        within(end, &self.other, &format!("{pinned}{program}"))
    }

    /// The configuration of the node at an end; `variant` is a file's name.
    pub(crate) fn node(&self, end: End, variant: &str) -> PathBuf {
        self.directory.join(if end == End::Serving { "a" } else { "b" }).join(variant)
    }

    /// The configuration of one of the crowd.
    pub(crate) fn member(&self, number: usize) -> PathBuf {
        self.directory.join(crowd_member(number)).join("config.toml")
    }

    /// What the kernel's TCP uses; namespaces without privileges cannot choose another.
    pub(crate) fn congestion_control() -> Outcome<String> {
        Ok(fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")?.trim().to_owned())
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Each of the programs here replaces itself, so the child is the last of them.
fn within(end: End, other: &Running, line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = match end {
        End::Serving => Command::new(words.next().unwrap_or_default()),
        End::Asking => {
            let mut enter = Command::new("nsenter");
            enter.arg(format!("--net=/proc/{}/ns/net", other.id()));
            enter
        }
    };
    command.args(words);
    command
}
