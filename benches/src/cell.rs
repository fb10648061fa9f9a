//! One figure of one contender: what runs for it.

use std::fmt;

use crate::contender::{Contender, Processors, Suite};
use crate::scene::Scene;
use crate::{Arguments, Outcome};

const DATAGRAM: usize = 1_200;
const PING: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) contender: Contender,
    pub(crate) test: Test,
    /// Whether the veth cuts UDP by itself.
    pub(crate) offload: bool,
    pub(crate) processors: Processors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// One TCP or QUIC stream.
    Stream,
    /// Datagrams as fast as they go.
    Flood,
    /// Round trips on a stream.
    Ping,
    /// Round trips of datagrams.
    DatagramPing,
}

/// What a cell is compared by, and beside it what that cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) main: f64,
    pub(crate) second: f64,
}

impl Cell {
    pub(crate) fn all() -> Vec<Self> {
        use Contender::{BoringTun, Kernel, Ntmfw, Quinn, WireGuardGo};
        use Suite::{Aes, ChaCha};
        let own = [Ntmfw(Aes), Ntmfw(ChaCha)];
        let streams = [Kernel, own[0], own[1], Quinn(Aes), Quinn(ChaCha), WireGuardGo, BoringTun];
        let floods = [Kernel, own[0], own[1], WireGuardGo, BoringTun];
        let mut cells = Vec::new();
        for offload in [true, false] {
            let processors = Processors::Any;
            cells.extend(streams.map(|contender| Self { contender, test: Test::Stream, offload, processors }));
            cells.extend(floods.map(|contender| Self { contender, test: Test::Flood, offload, processors }));
        }
        for processors in [Processors::One, Processors::Two] {
            let offload = true;
            cells.extend(streams.map(|contender| Self { contender, test: Test::Ping, offload, processors }));
            cells.extend(floods.map(|contender| Self { contender, test: Test::DatagramPing, offload, processors }));
        }
        cells
    }

    pub(crate) fn run(&self, scene: &Scene, arguments: &Arguments) -> Outcome<Figures> {
        scene.offload(self.offload)?;
        let up = self.contender.bring_up(scene, self.processors)?;
        let seconds = arguments.seconds.to_string();
        let pings = arguments.pings.to_string();
        let figures = match self.test {
            Test::Stream => up.ask("stream", &[seconds])?,
            Test::Flood => up.ask("flood", &[seconds, DATAGRAM.to_string()])?,
            Test::Ping => up.ask("ping", &[pings, PING.to_string()])?,
            Test::DatagramPing => up.ask("udp", &[pings, PING.to_string()])?,
        };
        let figure = |wanted: &str| {
            let found = figures.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
            found.ok_or_else(|| format!("no {wanted} in {figures:?}"))
        };
        Ok(match self.test {
            Test::Stream => {
                let ends = figure("sender_cpu")? + figure("receiver_cpu")?;
                let tunnel = figure("tunnel_seconds")? / (figure("bytes")? * 1e-9);
                Figures { main: figure("gbit")?, second: ends + tunnel }
            }
            Test::Flood => Figures { main: figure("received")? / 1e3, second: figure("sent")? / 1e3 },
            Test::Ping | Test::DatagramPing => Figures { main: figure("p50")?, second: figure("p99")? },
        })
    }

    /// Cells that are compared with each other have the same heading.
    pub(crate) fn heading(&self) -> String {
        let place = match (self.test, self.offload, self.processors) {
            (Test::Stream | Test::Flood, true, _) => "as the veth is",
            (Test::Stream | Test::Flood, false, _) => "no USO",
            (_, _, Processors::Two) => "two processors",
            (_, _, Processors::One | Processors::Any) => "one processor",
        };
        format!("{}, {place}", self.test)
    }
}

impl Test {
    pub(crate) fn units(self) -> [&'static str; 2] {
        match self {
            Self::Stream => ["Gbit/s", "CPU s/GB"],
            Self::Flood => ["k packets/s", "k sent/s"],
            Self::Ping | Self::DatagramPing => ["us median", "us p99"],
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream => "one stream",
            Self::Flood => "1,200-byte datagrams received",
            Self::Ping => "64-byte round trip on a stream",
            Self::DatagramPing => "64-byte round trip of datagrams",
        })
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.heading(), self.contender)
    }
}
