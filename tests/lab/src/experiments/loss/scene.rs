//! Two hosts and one link, on which the kernel's TCP and the library take turns.

use std::fmt;
use std::fs;
use std::io;
use std::process::{Child, Command, Stdio};

use crate::forward::Link;
use crate::forward::impairment::Impairment;
use crate::kernel::device::finish_frames;
use crate::kernel::packet::PacketSocket;
use crate::net::namespace::{Namespace, join};
use crate::run::domain::Files;
use crate::run::process::{Started, await_that};

const DEVICE: &str = "wire0";
/// The host that serves, the host that sends.
const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];
const MACS: [&str; 2] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
const FAR: [&str; 2] = ["fa", "fb"];
const SERVER: &str = "a.ntm.example";
/// The nodes that send.
pub(super) const SENDERS: [&str; 2] = ["b", "c"];
const PORT: &str = "5201";
const QUIC_PORT: &str = "5202";
/// When a client that does not come to its end is ended, in seconds.
const PATIENCE: &str = "300";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contender {
    Kernel,
    Ntmfw,
}

/// Fields end in the order in which they stand: programs before what they run on.
pub(super) struct Scene {
    _servers: [Started; 2],
    _provider: Started,
    sender: Namespace,
    server: Namespace,
    air: Namespace,
    files: Files,
}

/// Who sends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    pub(super) contender: Contender,
    /// As which node, where it is one; two cannot be the same at a time.
    pub(super) node: &'a str,
    /// Lines for its configuration.
    pub(super) settings: &'a str,
}

impl Sender<'_> {
    pub(super) const fn of(contender: Contender) -> Self {
        Self { contender, node: SENDERS[0], settings: "" }
    }
}

impl Scene {
    /// `settings` are lines for the configuration of the node that serves.
    pub(super) fn new(files: &Files, settings: &str) -> io::Result<Self> {
        let air = Namespace::new("air")?;
        let [server, sender] = [host("a", &air, 0)?, host("b", &air, 1)?];
        let mut provider = Command::new(files.programs.join("ntm-provider"));
        provider.arg("--directory").arg(&files.directory).args(["--node", "a"]);
        provider.args(SENDERS.iter().flat_map(|node| ["--node", node]));
        provider.args(["--address", ADDRESSES[0], "--interface", DEVICE]);
        let provider = start(&server, provider, files, "provider", "ready")?;
        let serve = |contender: Contender| {
            let mut command = Sender { contender, node: "a", settings }.program(files)?;
            command.args(["serve", PORT]);
            start(&server, command, files, &format!("serving-{contender}"), "serving")
        };
        let servers = [serve(Contender::Kernel)?, serve(Contender::Ntmfw)?];
        Ok(Self { _servers: servers, _provider: provider, sender, server, air, files: files.clone() })
    }

    /// A link from the sender to the server, and back. The same seed loses the same frames.
    pub(super) fn link(&self, impairments: [Impairment; 2], seed: u64) -> io::Result<Link> {
        let [server, sender] = FAR;
        self.air.within(|| Link::between(PacketSocket::open(sender)?, PacketSocket::open(server)?, impairments, seed))
    }

    /// Starts what `programs/transfer.c` calls `what`, at the sender.
    pub(super) fn client(&self, sender: Sender<'_>, what: &str, rest: &[String]) -> io::Result<Client> {
        let mut program = sender.program(&self.files)?;
        let host = if sender.contender == Contender::Kernel { ADDRESSES[0] } else { SERVER };
        program.args([what, host, PORT]).args(rest);
        self.start_client(&program)
    }

    fn start_client(&self, program: &Command) -> io::Result<Client> {
        let mut command = Command::new("timeout");
        command.arg(PATIENCE).arg(program.get_program()).args(program.get_args());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Client(Some(self.sender.within(|| command.spawn())?)))
    }

    /// `benches/quic` serves too, until what this gives is dropped.
    pub(super) fn serve_quic(&self) -> io::Result<Started> {
        start(&self.server, self.quic("serve"), &self.files, "serving-quic", "serving")
    }

    /// Starts what `benches/quic` calls `what`, at the sender.
    pub(super) fn quic_client(&self, what: &str, rest: &[String]) -> io::Result<Client> {
        self.start_client(self.quic(what).args(rest))
    }

    fn quic(&self, what: &str) -> Command {
        let mut command = Command::new(self.files.agent.with_file_name("quic-peer"));
        command.args(["aes", what, &format!("{}:{QUIC_PORT}", ADDRESSES[0])]);
        command
    }

    /// Whether the kernel's flows begin with what others learnt of the path.
    pub(super) fn let_kernel_remember(&self, remember: bool) -> io::Result<()> {
        self.sender.setting("ipv4/tcp_no_metrics_save", if remember { "0" } else { "1" })
    }

    /// How the kernel's buffers are bounded, which is as the host has it.
    pub(super) fn kernel_bounds(&self) -> io::Result<[String; 2]> {
        self.sender.within(|| {
            let greatest = |name: &str| -> io::Result<String> {
                let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"))?;
                Ok(text.split_whitespace().last().unwrap_or_default().to_owned())
            };
            Ok([greatest("tcp_wmem")?, greatest("tcp_rmem")?])
        })
    }
}

impl Contender {
    pub(super) const BOTH: [Self; 2] = [Self::Kernel, Self::Ntmfw];
}

impl Sender<'_> {
    fn program(&self, files: &Files) -> io::Result<Command> {
        let mut command = Command::new(files.agent.with_file_name("transfer"));
        if self.contender == Contender::Kernel {
            command.arg("-k");
            return Ok(command);
        }
        let node = files.directory.join(self.node);
        let given = fs::read_to_string(node.join("config.toml"))?;
        let config = node.join("with-settings.toml");
        fs::write(&config, format!("{}\n{given}", self.settings))?;
        command.env("NTMFW_CONFIG", config);
        Ok(command)
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kernel => "kernel",
            Self::Ntmfw => "ntmfw",
        })
    }
}

/// A client that runs; it ends when it is dropped.
pub(super) struct Client(Option<Child>);

impl Client {
    /// Waits for its answer.
    pub(super) fn answer(mut self) -> io::Result<Answer> {
        let child = self.0.take().ok_or_else(|| io::Error::other("asked twice"))?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(Answer(text));
        }
        Err(io::Error::other(format!("{}: {text} {}", output.status, String::from_utf8_lossy(&output.stderr).trim())))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A line of name=value.
pub(super) struct Answer(String);

impl Answer {
    pub(super) fn figure(&self, name: &str) -> io::Result<f64> {
        let found = self.0.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
        found.ok_or_else(|| io::Error::other(format!("no {name} in: {}", self.0)))
    }
}

/// A host whose far end lies in the air. Both know each other's hardware address: asking would take a round trip.
fn host(name: &str, air: &Namespace, at: usize) -> io::Result<Namespace> {
    let host = Namespace::new(name)?;
    join(&host, DEVICE, air, FAR[at])?;
    host.ips(&format!(
        "link set {DEVICE} address {}\naddress add {}/24 dev {DEVICE}\nneighbour replace {} lladdr {} dev {DEVICE} nud permanent\n",
        MACS[at],
        ADDRESSES[at],
        ADDRESSES[1 - at],
        MACS[1 - at],
    ))?;
    host.within(|| finish_frames(DEVICE))?;
    Ok(host)
}

/// Starts a program and waits until it says `word`.
fn start(host: &Namespace, command: Command, files: &Files, name: &str, word: &str) -> io::Result<Started> {
    let log = files.directory.join(format!("{name}.log"));
    let mut started = Started::new(host, command, &log)?;
    await_that(&format!("{word:?} of {name}"), &log, || {
        let said = fs::read_to_string(&log).is_ok_and(|text| text.contains(word));
        (said || !started.is_running()).then_some(said)
    })?
    .then_some(started)
    .ok_or_else(|| io::Error::other(format!("{name} ended: {}", fs::read_to_string(&log).unwrap_or_default())))
}
