//! A rate bound in eight bytes: the generic cell rate algorithm (ITU-T I.371, annex A).

use core::time::Duration;

use ntm_proto::time::Instant;

/// Lets one event through each interval, after a burst.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    /// When the next event would come if they came evenly.
    expected: Instant,
}

impl Rate {
    pub(crate) fn permits(&mut self, now: Instant, interval: Duration, burst: u32) -> bool {
        let expected = self.expected.max(now);
        if expected.since(now) > interval * burst.saturating_sub(1) {
            return false;
        }
        self.expected = expected + interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_event_each_interval() {
        let (mut rate, interval) = (Rate::default(), Duration::from_millis(100));
        let at = Instant::from_millis;
        assert_eq!((0..10).filter(|_| rate.permits(at(1_000), interval, 4)).count(), 4);
        assert!(!rate.permits(at(1_099), interval, 4));
        assert!(rate.permits(at(1_100), interval, 4));
        assert!(!rate.permits(at(1_101), interval, 4));
        assert_eq!((0..10).filter(|_| rate.permits(at(9_000), interval, 4)).count(), 4);
    }
}
