//! What is measured, and what has to run for it.

use std::fmt;
use std::fs;
use std::process::Command;

use crate::Outcome;
use crate::process::{Running, output, until};
use crate::scene::{ADDRESSES, DOMAIN, End, Scene};

const PORT: u16 = 5_201;
/// Inside a WireGuard tunnel: the end that serves, the end that asks.
const INNER: [&str; 2] = ["10.78.0.1", "10.78.0.2"];
const WIREGUARD_PORT: u16 = 51_820;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Kernel,
    Ntmfw(Suite),
    Quinn(Suite),
    WireGuardGo,
    BoringTun,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suite {
    Aes,
    ChaCha,
}

/// Which processors the two ends run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Processors {
    Any,
    One,
    Two,
}

/// A contender that is up: a server at one end, a tunnel where it needs one.
pub(crate) struct Up<'a> {
    scene: &'a Scene,
    contender: Contender,
    processors: Processors,
    tunnel: Vec<Running>,
    _server: Running,
}

impl Contender {
    pub(crate) fn bring_up(self, scene: &Scene, processors: Processors) -> Outcome<Up<'_>> {
        let tunnel = match self {
            Self::WireGuardGo => wireguard(scene, processors, |device| format!("wireguard-go --foreground {device}"))?,
            Self::BoringTun => wireguard(scene, processors, |device| {
                format!("boringtun-cli --foreground --disable-drop-privileges {device}")
            })?,
            Self::Kernel | Self::Ntmfw(_) | Self::Quinn(_) => Vec::new(),
        };
        let mut server = self.client(scene, End::Serving, processors);
        match self {
            Self::Quinn(_) => server.args(["serve", &format!("{}:{PORT}", ADDRESSES[0])]),
            _ => server.args(["serve", &PORT.to_string()]),
        };
        let server = Running::start_and_await(server, "serving")?;
        Ok(Up { scene, contender: self, processors, tunnel, _server: server })
    }

    fn client(self, scene: &Scene, end: End, processors: Processors) -> Command {
        let processor = processors.of(end);
        match self {
            Self::Quinn(suite) => {
                let mut command = scene.program(end, processor, "quic-peer");
                command.arg(if suite == Suite::Aes { "aes" } else { "chacha" });
                command
            }
            Self::Ntmfw(suite) => {
                let mut command = scene.program(end, processor, "peer");
                let config = if suite == Suite::Aes { "config.toml" } else { "chacha.toml" };
                command.env("NTMFW_CONFIG", scene.node(end, config));
                command
            }
            Self::Kernel | Self::WireGuardGo | Self::BoringTun => {
                let mut command = scene.program(end, processor, "peer");
                command.arg("-k");
                command
            }
        }
    }
}

impl Up<'_> {
    /// Asks the server, as `benches/c/peer.c` and `benches/quic` say; gives the figures of the answer.
    pub(crate) fn ask(&self, what: &str, rest: &[String]) -> Outcome<Vec<(String, f64)>> {
        let mut client = self.contender.client(self.scene, End::Asking, self.processors);
        client.arg(what);
        match self.contender {
            Contender::Quinn(_) => client.arg(format!("{}:{PORT}", ADDRESSES[0])),
            Contender::Ntmfw(_) => client.args([format!("a.{DOMAIN}"), PORT.to_string()]),
            Contender::Kernel => client.args([ADDRESSES[0].to_owned(), PORT.to_string()]),
            Contender::WireGuardGo | Contender::BoringTun => client.args([INNER[0].to_owned(), PORT.to_string()]),
        };
        client.args(rest);
        let before = self.tunnel_time()?;
        let text = output(client)?;
        let mut figures: Vec<(String, f64)> = text
            .split_whitespace()
            .filter_map(|word| word.split_once('='))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect();
        if figures.is_empty() {
            return Err(format!("no figures in {text:?}").into());
        }
        figures.push(("tunnel_seconds".to_owned(), self.tunnel_time()? - before));
        Ok(figures)
    }

    fn tunnel_time(&self) -> Outcome<f64> {
        self.tunnel.iter().map(Running::processor_time).sum()
    }
}

impl Processors {
    fn of(self, end: End) -> Option<usize> {
        match (self, end) {
            (Self::Any, _) => None,
            (Self::One, _) | (Self::Two, End::Serving) => Some(0),
            (Self::Two, End::Asking) => Some(1),
        }
    }
}

/// A tunnel of a program that speaks WireGuard, one process an end.
fn wireguard(scene: &Scene, processors: Processors, line: impl Fn(&str) -> String) -> Outcome<Vec<Running>> {
    let private = [key(&["genkey"], "")?, key(&["genkey"], "")?];
    let mut running = Vec::new();
    for (at, end) in [End::Serving, End::Asking].into_iter().enumerate() {
        let device = format!("wg{at}");
        let socket = format!("/run/wireguard/{device}.sock");
        let _ = fs::remove_file(&socket);
        let line = line(&device);
        let (program, arguments) = line.split_once(' ').unwrap_or((&line, ""));
        let mut command = scene.program(end, processors.of(end), program);
        command.args(arguments.split_whitespace()).env("LOG_LEVEL", "silent");
        running.push(Running::start(command)?);
        until(&socket, || fs::exists(&socket).unwrap_or(false))?;
        let settings = format!(
            "[Interface]\nPrivateKey = {}\nListenPort = {WIREGUARD_PORT}\n[Peer]\nPublicKey = {}\nEndpoint = {}:{WIREGUARD_PORT}\nAllowedIPs = {}/32\n",
            private[at],
            key(&["pubkey"], &private[1 - at])?,
            ADDRESSES[1 - at],
            INNER[1 - at],
        );
        let file = scene.directory().join(&device);
        fs::write(&file, settings)?;
        for line in [
            format!("wg setconf {device} {}", file.display()),
            format!("ip address add {}/24 dev {device}", INNER[at]),
            format!("ip link set {device} up mtu 1420"),
        ] {
            scene.run(end, &line)?;
        }
    }
    Ok(running)
}

fn key(arguments: &[&str], input: &str) -> Outcome<String> {
    let mut command = Command::new("sh");
    command.args(["-c", "printf %s \"$1\" | wg $2", "sh", input]).args(arguments);
    Ok(output(command)?.trim().to_owned())
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("kernel, no tunnel"),
            Self::Ntmfw(suite) => write!(f, "ntmfw {suite}"),
            Self::Quinn(suite) => write!(f, "quinn {suite}"),
            Self::WireGuardGo => f.write_str("wireguard-go"),
            Self::BoringTun => f.write_str("boringtun"),
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aes => "AES-256",
            Self::ChaCha => "ChaCha20",
        })
    }
}
