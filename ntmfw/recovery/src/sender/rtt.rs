//! Round-trip times (RFC 6298), and their minimum over a while.

use core::time::Duration;

use ntm_proto::time::Instant;

/// RFC 6298, section 2.
const INITIAL_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// Below RFC 6298's second, as every stack in use: losses are found by time and probes, this is the last resort.
const MIN_VARIATION: Duration = Duration::from_millis(200);
/// How long a minimum is believed.
const MINIMUM_LIFETIME: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundTrips {
    smoothed: Option<Duration>,
    variation: Duration,
    latest: Duration,
    minimum: Option<(Duration, Instant)>,
    /// The next sample counts alone: the others are another path's.
    outdated: bool,
}

impl RoundTrips {
    pub(crate) const fn new() -> Self {
        Self { smoothed: None, variation: Duration::ZERO, latest: Duration::ZERO, minimum: None, outdated: false }
    }

    pub(crate) fn sample(&mut self, now: Instant, sample: Duration) {
        let sample = sample.max(Duration::from_micros(1));
        self.latest = sample;
        if core::mem::take(&mut self.outdated) {
            self.minimum = None;
            self.smoothed = None;
        }
        match self.smoothed {
            None => {
                self.smoothed = Some(sample);
                self.variation = sample / 2;
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(sample)) / 4;
                self.smoothed = Some((smoothed * 7 + sample) / 8);
            }
        }
        match self.minimum {
            Some((minimum, at)) if minimum < sample && now.since(at) < MINIMUM_LIFETIME => {}
            _ => self.minimum = Some((sample, now)),
        }
    }

    /// What follows is measured on another path. Until then the old values are the best guess.
    pub(crate) fn begin_anew(&mut self) {
        self.outdated = true;
    }

    /// The largest sample to believe where another explanation is likely.
    pub(crate) fn most_credible(&self) -> Duration {
        self.smoothed.map_or(INITIAL_TIMEOUT, |smoothed| smoothed * 4)
    }

    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    pub(crate) fn latest(&self) -> Duration {
        self.latest
    }

    pub(crate) fn minimum(&self) -> Option<Duration> {
        self.minimum.map(|(minimum, _)| minimum)
    }

    /// The retransmission timeout after so many in a row.
    pub(crate) fn timeout(&self, backoff: u32) -> Duration {
        let base = match self.smoothed {
            Some(smoothed) => smoothed + (self.variation * 4).max(MIN_VARIATION),
            None => INITIAL_TIMEOUT,
        };
        base.saturating_mul(1 << backoff.min(16)).min(MAX_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_timeout_follows_the_samples_and_doubles() {
        let mut trips = RoundTrips::new();
        assert_eq!(trips.timeout(0), Duration::from_secs(1));
        for at in 0..100 {
            trips.sample(Instant::from_millis(at * 50), 50 * MS);
        }
        assert_eq!(trips.smoothed(), Some(50 * MS));
        assert_eq!(trips.timeout(0), 250 * MS);
        assert_eq!(trips.timeout(2), 1_000 * MS);
        assert_eq!(trips.timeout(40), Duration::from_secs(60));
    }

    #[test]
    fn the_minimum_is_forgotten_when_it_is_old() {
        let mut trips = RoundTrips::new();
        trips.sample(Instant::from_millis(0), 20 * MS);
        trips.sample(Instant::from_millis(5_000), 40 * MS);
        assert_eq!(trips.minimum(), Some(20 * MS));
        trips.sample(Instant::from_millis(10_001), 40 * MS);
        assert_eq!(trips.minimum(), Some(40 * MS));
    }
}
