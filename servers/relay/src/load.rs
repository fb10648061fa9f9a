//! How busy the relay's line is, as its reports say it.

use ntm_proto::time::Instant;

use crate::limits;

/// Bytes forwarded, taken as a mean over the time between two reports.
#[derive(Debug)]
pub(crate) struct LoadMeter {
    since: Instant,
    bytes: u64,
    /// Parts in 10,000.
    load: u16,
}

impl LoadMeter {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0, load: 0 }
    }

    /// The load, in parts of 10,000, given the bytes forwarded since ever.
    pub(crate) fn sample(&mut self, now: Instant, bytes: u64, capacity: u64) -> u16 {
        let elapsed = now.since(self.since);
        if elapsed >= limits::REPORT_EVERY {
            let carried = u128::from(bytes.saturating_sub(self.bytes)) * 1_000_000_000 / elapsed.as_nanos();
            let load = carried * 10_000 / u128::from(capacity.max(1));
            self.load = u16::try_from(load).unwrap_or(u16::MAX).min(10_000);
            (self.since, self.bytes) = (now, bytes);
        }
        self.load
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_what_the_line_carried_of_what_it_can() {
        let mut meter = LoadMeter::new(Instant::ZERO);
        assert_eq!(meter.sample(Instant::from_millis(10_000), 5_000, 1_000), 5_000);
        assert_eq!(meter.sample(Instant::from_millis(12_000), 9_999_999, 1_000), 5_000, "one report time is not over");
        assert_eq!(meter.sample(Instant::from_millis(20_000), u64::MAX, 1_000), 10_000);
    }
}
