//! Spreading what is sent over time, in bursts large enough that timers cost nothing.

use core::time::Duration;

use ntm_proto::time::Instant;

/// A burst lasts this part of a round trip at the pacing rate, so that it fits into the queues of its path, …
const BURSTS_A_TRIP: u32 = 16;
/// … but so long at most and at least: so many wake-ups a second, however fast the path.
const LONGEST_BURST: Duration = Duration::from_millis(1);
const SHORTEST_BURST: Duration = Duration::from_micros(250);

/// How late timers come at worst that still are made up for.
const MAX_LATE: Duration = Duration::from_millis(4);

#[derive(Debug, Default)]
pub(crate) struct Pacer {
    /// When the next burst may leave.
    next: Instant,
    /// Something waits for that.
    waiting: bool,
}

impl Pacer {
    /// How many bytes may leave now, or when some may; `trip` is the path's least round trip.
    pub(crate) fn allowance(
        &mut self,
        now: Instant,
        rate: Option<u64>,
        segment: u64,
        trip: Option<Duration>,
    ) -> Result<u64, Instant> {
        let Some(rate) = rate else { return Ok(u64::MAX) };
        if self.next > now {
            self.waiting = true;
            return Err(self.next);
        }
        Ok(burst(rate, trip).max(segment))
    }

    pub(crate) fn sent(&mut self, now: Instant, rate: Option<u64>, bytes: u64) {
        let Some(rate) = rate else { return };
        // A timer that came late is made up for, idle time is not.
        let late = self.waiting && now.since(self.next) <= MAX_LATE;
        let from = if late { self.next } else { now };
        self.next = from + time(bytes, rate);
        self.waiting &= self.next <= now;
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

fn burst(rate: u64, trip: Option<Duration>) -> u64 {
    let time = trip.map_or(LONGEST_BURST, |trip| (trip / BURSTS_A_TRIP).clamp(SHORTEST_BURST, LONGEST_BURST));
    let bytes = u128::from(rate) * time.as_nanos() / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn time(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_and_a_burst_is_a_small_part_of_a_round_trip() {
        assert_wakes_in_a_tenth_of_a_second(Duration::from_millis(100), 101);
        assert_wakes_in_a_tenth_of_a_second(Duration::from_millis(8), 201);
        assert_wakes_in_a_tenth_of_a_second(Duration::from_micros(50), 401);
    }

    fn assert_wakes_in_a_tenth_of_a_second(trip: Duration, most: u32) {
        let mut pacer = Pacer::default();
        let rate = Some(125_000_000);
        let (mut now, mut sent, mut wakes) = (Instant::from_millis(1_000), 0, 0);
        let start = now;
        while now.since(start) < Duration::from_millis(100) {
            match pacer.allowance(now, rate, 1_400, Some(trip)) {
                Ok(bytes) => {
                    pacer.sent(now, rate, bytes);
                    sent += bytes;
                }
                Err(next) => {
                    now = next;
                    wakes += 1;
                }
            }
        }
        assert!((12_500_000..13_000_000).contains(&sent), "{sent} bytes in 100 ms at 1 Gbit/s");
        assert!(wakes <= most && wakes >= most - 2, "{wakes} wake-ups");
    }

    #[test]
    fn without_a_rate_nothing_is_held_back() {
        let mut pacer = Pacer::default();
        pacer.sent(Instant::ZERO, None, 1 << 30);
        assert_eq!(pacer.allowance(Instant::ZERO, None, 1_400, None), Ok(u64::MAX));
    }
}
