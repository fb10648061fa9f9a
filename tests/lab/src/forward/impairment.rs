//! What a link does to frames, and how it is written: `delay=20ms,jitter=1ms,loss=0.01,burst=8,rate=100mbit,queue=256k`.

use std::str::FromStr;
use std::time::Duration;

/// One direction of a link. The default is a wire that does nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Impairment {
    /// Propagation: every frame takes so long.
    pub(crate) delay: Duration,
    /// Up to so much more, evenly spread. Frames stay in order.
    pub(crate) jitter: Duration,
    /// The share of frames that are lost.
    pub(crate) loss: f64,
    /// How many frames in a row a loss takes on average; 1 is independent loss.
    pub(crate) burst: f64,
    /// The share of frames that those behind them overtake.
    pub(crate) reorder: f64,
    /// By how long such frames are late.
    pub(crate) late: Duration,
    /// The share of frames that arrive twice.
    pub(crate) duplicate: f64,
    /// Bits a second; without it, frames take no time to be sent.
    pub(crate) rate: Option<u64>,
    /// Bytes that may wait to be sent at that rate; what comes on top is dropped.
    pub(crate) queue: u64,
}

impl Default for Impairment {
    fn default() -> Self {
        Self::WIRE
    }
}

impl Impairment {
    /// What comes goes.
    pub(crate) const WIRE: Self = Self {
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: 0.0,
        burst: 1.0,
        reorder: 0.0,
        late: Duration::from_millis(5),
        duplicate: 0.0,
        rate: None,
        queue: 1_000_000,
    };

    pub(crate) fn delayed(delay: Duration) -> Self {
        Self { delay, ..Self::WIRE }
    }
}

impl FromStr for Impairment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut read = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("\"{part}\" is not KEY=VALUE"))?;
            match key {
                "delay" => read.delay = duration(value)?,
                "jitter" => read.jitter = duration(value)?,
                "late" => read.late = duration(value)?,
                "loss" => read.loss = share(value)?,
                "reorder" => read.reorder = share(value)?,
                "duplicate" => read.duplicate = share(value)?,
                "burst" => {
                    let burst: f64 = value.parse().map_err(|_| format!("\"{value}\" is no number"))?;
                    read.burst =
                        if burst >= 1.0 { burst } else { return Err("a burst is at least one frame".to_owned()) };
                }
                "rate" => {
                    read.rate = match scaled(value, &[("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)])? {
                        0 => return Err("a rate is at least 1 bit/s; loss=1 lets nothing through".to_owned()),
                        rate => Some(rate),
                    }
                }
                "queue" => read.queue = scaled(value, &[("m", 1e6), ("k", 1e3), ("", 1.0)])?,
                _ => {
                    return Err(format!(
                        "\"{key}\": there is delay, jitter, loss, burst, reorder, late, duplicate, rate, queue"
                    ));
                }
            }
        }
        Ok(read)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    scaled(text, &[("us", 1e3), ("ms", 1e6), ("s", 1e9)]).map(Duration::from_nanos)
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| format!("\"{text}\" is not 0 to 1"))
}

/// A number with one of these units.
fn scaled(text: &str, units: &[(&str, f64)]) -> Result<u64, String> {
    let number = units.iter().find_map(|(unit, scale)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * scale));
    match number {
        Some(number) if number >= 0.0 && number.is_finite() => Ok(number as u64),
        _ => {
            let names: Vec<&str> = units.iter().map(|(unit, _)| *unit).collect();
            Err(format!("\"{text}\" is no number with one of: {}", names.join(" ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_as_it_is_written() {
        let read: Impairment =
            "delay=20ms,jitter=500us,loss=0.01,burst=8,rate=1.5gbit,queue=256k".parse().expect("right");
        assert_eq!(read.delay, Duration::from_millis(20));
        assert_eq!(read.jitter, Duration::from_micros(500));
        assert_eq!((read.loss, read.burst), (0.01, 8.0));
        assert_eq!((read.rate, read.queue), (Some(1_500_000_000), 256_000));
        assert_eq!("".parse(), Ok(Impairment::default()));
    }

    #[test]
    fn a_mistake_is_told() {
        for wrong in ["delay", "delay=20", "loss=2", "burst=0", "rate=0mbit", "speed=1", "queue=-1", "delay=infs"] {
            assert!(wrong.parse::<Impairment>().is_err(), "{wrong}");
        }
    }
}
