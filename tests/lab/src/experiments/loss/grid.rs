//! Which links are tried.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::forward::impairment::Impairment;

/// How many frames in a row a burst takes on average, and the share of frames that are lost in bursts.
const BURST: f64 = 20.0;
const LOST_IN_BURSTS: f64 = 0.001;
/// A tenth of a small product of bandwidth and delay is less than one frame; no device has so little.
const LEAST_QUEUE: u64 = 10 * 1_514;

#[derive(Clone, Debug, Args)]
pub(crate) struct Grid {
    /// Mbit/s
    #[arg(long, value_delimiter = ',', default_value = "20,200,1000")]
    rates: Vec<u64>,
    /// Round trips in milliseconds
    #[arg(long, value_delimiter = ',', default_value = "5,20,100,300")]
    trips: Vec<u64>,
    /// Frames lost of a hundred, or "bursts"
    #[arg(long, value_delimiter = ',', default_value = "0,0.01,0.1,1,3,bursts")]
    losses: Vec<Loss>,
    /// The queue before the rate, in products of rate and round trip
    #[arg(long, value_delimiter = ',', default_value = "1,0.1")]
    buffers: Vec<f64>,
    /// Which congestion controls, each beside the kernel's of that name
    #[arg(long, value_delimiter = ',', default_value = "cubic,bbr")]
    pub(super) congestion: Vec<String>,
    /// How long a flow lasts; thirty round trips where that is more
    #[arg(long, default_value_t = 5.0)]
    pub(super) seconds: f64,
    /// Lines for the nodes' configurations
    #[arg(long, default_value = "")]
    pub(super) settings: String,
    /// How often each cell is tried, each time with other losses: of one, chance says as much as the sender does
    #[arg(long, default_value_t = 3)]
    pub(super) rounds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Loss {
    /// In percent.
    Random(f64),
    Bursts,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) rate: u64,
    pub(super) trip: u64,
    pub(super) loss: Loss,
    pub(super) buffer: f64,
}

impl Grid {
    pub(super) fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for &rate in &self.rates {
            for &trip in &self.trips {
                for &buffer in &self.buffers {
                    cells.extend(self.losses.iter().map(|&loss| Cell { rate, trip, loss, buffer }));
                }
            }
        }
        cells
    }
}

impl Cell {
    /// Data meets the losses and the queue; acknowledgments take the time only.
    pub(super) fn impairments(&self) -> [Impairment; 2] {
        let delay = Duration::from_micros(self.trip * 500);
        let product = self.rate * 1_000 / 8 * self.trip;
        let (loss, burst) = match self.loss {
            Loss::Random(percent) => (percent / 100.0, 1.0),
            Loss::Bursts => (LOST_IN_BURSTS, BURST),
        };
        let queue = ((product as f64 * self.buffer) as u64).max(LEAST_QUEUE);
        let forth = Impairment { loss, burst, rate: Some(self.rate * 1_000_000), queue, ..Impairment::delayed(delay) };
        [forth, Impairment::delayed(delay)]
    }

    /// How long a flow lasts.
    pub(super) fn seconds(&self, wanted: f64) -> f64 {
        wanted.max(self.trip as f64 * 30e-3)
    }
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bursts" => Ok(Self::Bursts),
            _ => match text.parse() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self::Random(percent)),
                _ => Err(format!("\"{text}\" is neither \"bursts\" nor between 0 and 100")),
            },
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(percent) => f.pad(&format!("{percent} %")),
            Self::Bursts => f.pad("bursts"),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, trip, loss, buffer } = self;
        write!(f, "{rate:>5} Mbit/s {trip:>4} ms {buffer:>4} BDP {loss:>7}")
    }
}
