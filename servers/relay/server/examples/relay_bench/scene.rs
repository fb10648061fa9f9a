//! Namespaces, servers, and what the kernel says that they have used.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::rs::Relay;
use crate::{Outcome, Peer, Traffic};

pub(crate) const LOAD_IP: &str = "10.77.0.1";
pub(crate) const SERVER_IP: &str = "10.77.0.2";
/// Grants made to see what they weigh.
const GRANTS: usize = 50_000;

/// The two namespaces; dropping it takes them away.
pub(crate) struct Scene {
    load: String,
    server: String,
    directory: PathBuf,
}

/// A server that ends when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(arguments: &str) -> Outcome<()> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &str) -> Outcome<()> {
    let done = Command::new(program).args(arguments.split_whitespace()).stdout(Stdio::null()).status()?;
    if done.success() { Ok(()) } else { Err(format!("{program} {arguments}: {done}").into()) }
}

impl Scene {
    pub(crate) fn new() -> Outcome<Self> {
        let id = std::process::id();
        let scene = Self {
            load: format!("ntmload{id}"),
            server: format!("ntmserver{id}"),
            directory: std::env::temp_dir().join(format!("ntm-bench-{id}")),
        };
        fs::create_dir_all(&scene.directory)?;
        let Self { load, server, .. } = &scene;
        ip(&format!("netns add {load}"))?;
        ip(&format!("netns add {server}"))?;
        ip(&format!("-n {load} link add veth0 type veth peer name veth0 netns {server}"))?;
        for (namespace, address) in [(load, LOAD_IP), (server, SERVER_IP)] {
            ip(&format!("-n {namespace} address add {address}/24 dev veth0"))?;
            ip(&format!("-n {namespace} link set veth0 up"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
        }
        Ok(scene)
    }

    /// The veth's UDP segmentation. Without it both ends have to cut and join, as with most network cards.
    pub(crate) fn offload(&self, on: bool) -> Outcome<()> {
        let (uso, gro) = if on { ("on", "off") } else { ("off", "on") };
        for namespace in [&self.load, &self.server] {
            let options = format!("tx-udp-segmentation {uso} gro {gro} rx-udp-gro-forwarding {gro}");
            ip(&format!("netns exec {namespace} ethtool -K veth0 {options}"))?;
        }
        Ok(())
    }

    fn command(&self, namespace: &str, processor: u32, program: &str) -> Command {
        let mut command = Command::new("ip");
        // Each replaces itself, so the child is the program. It goes before whatever else the machine does.
        command.args(["netns", "exec", namespace, "nice", "-n", "-15"]);
        command.args(["taskset", "-c", &processor.to_string(), program]);
        command
    }

    fn start(&self, peer: Peer) -> Outcome<Server> {
        let (mut command, port) = match peer {
            Peer::Relay => {
                let relay = Relay::prepare(&self.directory)?;
                let mut command = self.command(&self.server, 1, &relay.program);
                command.arg("--config").arg(&relay.config).env("RUST_LOG", "error");
                (command, crate::rs::PORT)
            }
            Peer::Coturn => {
                let mut command = self.command(&self.server, 1, "turnserver");
                command.args(["-n", "--no-auth", "--no-tls", "--no-dtls", "--no-cli", "--relay-threads=1"]);
                command.args(["--log-file=/dev/null", "--no-stdout-log", "--user-quota=0", "--total-quota=0"]);
                command.args(["--listening-ip", SERVER_IP, "--relay-ip", SERVER_IP, "--pidfile=/dev/null"]);
                (command, crate::turn::PORT)
            }
        };
        let server = Server(command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?);
        self.wait_for(server.0.id(), port)?;
        Ok(server)
    }

    /// Waits until the process has a UDP socket at `port`.
    fn wait_for(&self, process: u32, port: u16) -> Outcome<()> {
        let end = Instant::now() + Duration::from_secs(20);
        let wanted = format!(":{port:04X} ");
        while Instant::now() < end {
            let sockets = fs::read_to_string(format!("/proc/{process}/net/udp")).unwrap_or_default();
            if sockets.contains(&wanted) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("the server does not listen".into())
    }

    /// Packets per processor second.
    pub(crate) fn measure(&self, peer: Peer, traffic: Traffic) -> Outcome<f64> {
        let server = self.start(peer)?;
        let own = std::env::current_exe()?;
        let mut load = self.command(&self.load, 0, &own.to_string_lossy());
        load.args(["load", &format!("{peer:?}"), &format!("{traffic:?}"), &server.0.id().to_string()]);
        let output = load.stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8(output.stdout)?;
        if std::env::var_os("VERBOSE").is_some() {
            eprint!("{peer:?} {traffic:?} {text}");
        }
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [packets, seconds, ..] if seconds > 0.0 => Ok(packets / seconds),
            _ => Err(format!("no figures for {peer:?}").into()),
        }
    }

    /// How many grants, and the bytes that each of them takes.
    pub(crate) fn memory_of_grants(&self) -> Outcome<(usize, f64)> {
        let server = self.start(Peer::Relay)?;
        let before = resident(server.0.id())?;
        let own = std::env::current_exe()?;
        let mut load = self.command(&self.load, 0, &own.to_string_lossy());
        let made = load.args(["grants", &GRANTS.to_string()]).status()?;
        if !made.success() {
            return Err("the grants were not made".into());
        }
        Ok((GRANTS, (resident(server.0.id())? - before) / GRANTS as f64))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = ip(&format!("netns delete {}", self.load));
        let _ = ip(&format!("netns delete {}", self.server));
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Bytes of memory that a process has.
fn resident(process: u32) -> Outcome<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().next().ok_or("no VmRSS")?.parse::<f64>()? * 1_024.0)
}

/// Processor time that a process has used so far, in seconds.
pub(crate) fn processor_time(process: u32) -> Outcome<f64> {
    let mut nanoseconds = 0.0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text.split_whitespace().next().ok_or("no schedstat")?.parse::<f64>()?;
    }
    Ok(nanoseconds / 1e9)
}
