//! HyStart++: slow start ends when round trips grow, before the queue overflows (RFC 9406).

use core::time::Duration;

/// RFC 9406, section 4.3.
const MIN_THRESHOLD: Duration = Duration::from_millis(4);
const MAX_THRESHOLD: Duration = Duration::from_millis(16);
const THRESHOLD_DIVISOR: u32 = 8;
const MIN_SAMPLES: u32 = 8;
const GROWTH_DIVISOR: u64 = 4;
const CONSERVATIVE_ROUNDS: u32 = 5;

#[derive(Clone, Debug)]
pub(crate) struct HyStart {
    /// The round ends when so much was delivered.
    round_end: u64,
    last: Option<Duration>,
    current: Option<Duration>,
    samples: u32,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    SlowStart,
    /// Round trips grew: slower, to see whether they go on growing.
    Conservative {
        baseline: Duration,
        rounds: u32,
    },
    Done,
}

impl HyStart {
    pub(crate) const fn new() -> Self {
        Self { round_end: 0, last: None, current: None, samples: 0, phase: Phase::SlowStart }
    }

    /// An acknowledgment in slow start: by how much the window may grow.
    pub(crate) fn grow(&mut self, total: u64, outstanding: u64, bytes: u64, trip: Option<Duration>) -> u64 {
        if total >= self.round_end {
            self.round_end = total + outstanding;
            self.end_round();
        }
        if let Some(trip) = trip {
            self.current = Some(self.current.map_or(trip, |current| current.min(trip)));
            self.samples += 1;
            self.judge();
        }
        match self.phase {
            Phase::Conservative { .. } => bytes / GROWTH_DIVISOR,
            _ => bytes,
        }
    }

    /// Slow start is over.
    pub(crate) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    fn end_round(&mut self) {
        self.last = self.current.take();
        self.samples = 0;
        if let Phase::Conservative { rounds, .. } = &mut self.phase {
            *rounds += 1;
            if *rounds > CONSERVATIVE_ROUNDS {
                self.phase = Phase::Done;
            }
        }
    }

    fn judge(&mut self) {
        let Some(current) = self.current.filter(|_| self.samples >= MIN_SAMPLES) else { return };
        match (self.phase, self.last) {
            (Phase::SlowStart, Some(last)) => {
                let threshold = (last / THRESHOLD_DIVISOR).clamp(MIN_THRESHOLD, MAX_THRESHOLD);
                if current >= last + threshold {
                    self.phase = Phase::Conservative { baseline: current, rounds: 0 };
                }
            }
            (Phase::Conservative { baseline, .. }, _) if current < baseline => self.phase = Phase::SlowStart,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn round(start: &mut HyStart, total: &mut u64, trip: Duration) -> u64 {
        (0..10)
            .map(|_| {
                *total += 1_000;
                start.grow(*total, 10_000, 1_000, Some(trip))
            })
            .sum()
    }

    #[test]
    fn growing_round_trips_end_slow_start_after_five_careful_rounds() {
        let (mut start, mut total) = (HyStart::new(), 0);
        for _ in 0..4 {
            assert_eq!(round(&mut start, &mut total, 40 * MS), 10_000);
        }
        let grown: u64 = (0..6).map(|_| round(&mut start, &mut total, 50 * MS)).sum();
        assert!(grown < 30_000, "{grown}");
        round(&mut start, &mut total, 50 * MS);
        assert!(start.is_done());
    }

    #[test]
    fn a_passing_delay_ends_nothing() {
        let (mut start, mut total) = (HyStart::new(), 0);
        round(&mut start, &mut total, 40 * MS);
        round(&mut start, &mut total, 40 * MS);
        round(&mut start, &mut total, 50 * MS);
        for _ in 0..10 {
            round(&mut start, &mut total, 40 * MS);
        }
        assert!(!start.is_done());
        assert_eq!(round(&mut start, &mut total, 40 * MS), 10_000);
    }
}
