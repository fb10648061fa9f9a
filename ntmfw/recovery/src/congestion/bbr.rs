//! BBR: sends at the rate that the path was measured to deliver, with as much in flight as that needs
//! (draft-ietf-ccwg-bbr).
//!
//! Of the draft's second half only a bound stays: after a round that lost much, which a policer or a small buffer
//! makes, it does not probe for a while. Random loss, which tells nothing of the path's rate, slows nothing.

use core::time::Duration;

use ntm_proto::time::Instant;

use crate::congestion::{Acknowledged, Controller, INITIAL_SEGMENTS, Signal, Start};

/// The draft's gains, in thousandths: pacing and window while the rate doubles a round, and while the queue drains.
const STARTUP_GAIN: u64 = 2_773;
const DRAIN_GAIN: u64 = 500;
const WINDOW_GAIN: u64 = 2_000;
const CYCLE: [u64; 8] = [1_250, 750, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000];
/// A little below the measured rate, so that queues drain.
const MARGIN: u64 = 990;
const THOUSAND: u64 = 1_000;
/// The rate is the highest of so many rounds.
const RATE_ROUNDS: usize = 10;
/// The pipe is full where the rate grew by less than a quarter in so many rounds.
const FULL_ROUNDS: u32 = 3;
const MIN_WINDOW_SEGMENTS: u64 = 4;
const MINIMUM_LIFETIME: Duration = Duration::from_secs(10);
const PROBE_TRIP_LASTS: Duration = Duration::from_millis(200);
/// One part in so many lost in a round is too much; then so many rounds pass without probing.
const MUCH_LOSS: u64 = 6;
const QUIET_ROUNDS: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Startup,
    Drain,
    /// Which of the cycle's phases, and since when.
    Cruise {
        phase: usize,
        since: Instant,
    },
    /// Little is in flight, so that the round trip shows without a queue.
    ProbeTrip {
        until: Instant,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Bbr {
    segment: u64,
    mode: Mode,
    window: u64,
    /// The highest rate of each of the last rounds, in bytes a second; the running round's first.
    rates: [u64; RATE_ROUNDS],
    minimum: Option<(Duration, Instant)>,
    /// The round ends when data is delivered that was sent after so much was.
    round_end: u64,
    full_rate: u64,
    full_rounds: u32,
    delivered_in_round: u64,
    lost_in_round: u64,
    quiet_rounds: u32,
    before_timeout: Option<u64>,
}

impl Bbr {
    pub(crate) fn new(start: &Start) -> Self {
        let initial = INITIAL_SEGMENTS * start.segment;
        Self {
            segment: start.segment,
            mode: Mode::Startup,
            window: start.window.unwrap_or(initial).max(initial),
            rates: [0; RATE_ROUNDS],
            minimum: None,
            round_end: 0,
            full_rate: 0,
            full_rounds: 0,
            delivered_in_round: 0,
            lost_in_round: 0,
            quiet_rounds: 0,
            before_timeout: None,
        }
    }

    fn rate(&self) -> u64 {
        self.rates.iter().copied().max().unwrap_or_default()
    }

    /// What the path holds, times a gain.
    fn product(&self, gain: u64) -> u64 {
        let trip = self.minimum.map_or(Duration::ZERO, |(minimum, _)| minimum);
        let bytes = u128::from(self.rate()) * trip.as_nanos() * u128::from(gain) / 1_000_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    fn least(&self) -> u64 {
        MIN_WINDOW_SEGMENTS * self.segment
    }

    /// Notes what was measured; whether a round ended.
    fn measure(&mut self, event: &Acknowledged) -> bool {
        self.delivered_in_round += event.delivered;
        self.lost_in_round += event.lost;
        let Some(sample) = event.rate else { return false };
        let ended = sample.prior_delivered >= self.round_end;
        if ended {
            self.round_end = event.total;
            self.rates.rotate_right(1);
            self.rates[0] = 0;
        }
        if !sample.app_limited || sample.rate >= self.rate() {
            self.rates[0] = self.rates[0].max(sample.rate);
        }
        ended
    }

    fn end_round(&mut self, app_limited: bool) {
        let total = self.delivered_in_round + self.lost_in_round;
        let much = self.lost_in_round > 3 * self.segment && self.lost_in_round * MUCH_LOSS > total;
        self.quiet_rounds = if much { QUIET_ROUNDS } else { self.quiet_rounds.saturating_sub(1) };
        (self.delivered_in_round, self.lost_in_round) = (0, 0);
        if self.mode != Mode::Startup || app_limited {
            return;
        }
        if self.rate() > self.full_rate + self.full_rate / 4 {
            self.full_rate = self.rate();
            self.full_rounds = 0;
            return;
        }
        self.full_rounds += 1;
        if self.full_rounds >= FULL_ROUNDS || much {
            self.mode = Mode::Drain;
        }
    }

    fn change_mode(&mut self, event: &Acknowledged) {
        let now = event.now;
        match self.mode {
            Mode::Startup => {}
            Mode::Drain if event.flying <= self.product(THOUSAND) => self.cruise(now),
            Mode::Drain => {}
            Mode::Cruise { phase, since } => {
                let trip = self.minimum.map_or(Duration::ZERO, |(minimum, _)| minimum);
                let long = now.since(since) > trip;
                let over = match CYCLE[phase] {
                    1_250 => long && (event.lost > 0 || event.flew >= self.product(CYCLE[phase])),
                    750 => long || event.flying <= self.product(THOUSAND),
                    _ => long,
                };
                if over {
                    self.mode = Mode::Cruise { phase: (phase + 1) % CYCLE.len(), since: now };
                }
            }
            Mode::ProbeTrip { until } if now >= until => {
                self.minimum = self.minimum.map(|(minimum, _)| (minimum, now));
                if self.full_rounds >= FULL_ROUNDS { self.cruise(now) } else { self.mode = Mode::Startup }
            }
            Mode::ProbeTrip { .. } => {}
        }
    }

    /// Not from the probing phase: others that began with it would all probe at once.
    fn cruise(&mut self, now: Instant) {
        let phase = 2 + usize::try_from(now.as_nanos() / 1_000 % 6).unwrap_or_default();
        self.mode = Mode::Cruise { phase, since: now };
    }

    fn note_trip(&mut self, event: &Acknowledged) {
        let Some(trip) = event.trip else { return };
        match self.minimum {
            Some((minimum, at)) if trip > minimum => {
                let probing = matches!(self.mode, Mode::ProbeTrip { .. });
                if event.now.since(at) > MINIMUM_LIFETIME && !probing {
                    self.minimum = Some((trip, event.now));
                    self.mode = Mode::ProbeTrip { until: event.now + PROBE_TRIP_LASTS + trip };
                }
            }
            _ => self.minimum = Some((trip, event.now)),
        }
    }

    fn set_window(&mut self, event: &Acknowledged) {
        let full = !matches!(self.mode, Mode::Startup);
        let gain = if full { WINDOW_GAIN } else { STARTUP_GAIN };
        let target = self.product(gain) + 3 * self.segment;
        self.window += event.delivered;
        if full {
            self.window = self.window.min(target);
        }
        self.window = self.window.max(self.least());
        if self.before_timeout.is_some_and(|before| self.window >= before) {
            self.before_timeout = None;
        }
    }
}

impl Controller for Bbr {
    fn window(&self) -> u64 {
        match self.mode {
            Mode::ProbeTrip { .. } => self.window.min(self.least()),
            _ => self.window,
        }
    }

    fn threshold(&self) -> Option<u64> {
        None
    }

    fn pacing_rate(&self) -> Option<u64> {
        let gain = match self.mode {
            Mode::Startup => STARTUP_GAIN,
            Mode::Drain => DRAIN_GAIN,
            Mode::Cruise { phase, .. } if self.quiet_rounds > 0 => CYCLE[phase].min(THOUSAND),
            Mode::Cruise { phase, .. } => CYCLE[phase],
            Mode::ProbeTrip { .. } => THOUSAND,
        };
        let measured = match self.rate() {
            0 => {
                let nanos = u64::try_from(self.minimum?.0.as_nanos()).unwrap_or(u64::MAX).max(1);
                u128::from(self.window) * 1_000_000_000 / u128::from(nanos)
            }
            rate => rate.into(),
        };
        u64::try_from(measured * u128::from(gain) * u128::from(MARGIN) / 1_000_000).ok()
    }

    fn models_the_path(&self) -> bool {
        true
    }

    fn acknowledged(&mut self, event: &Acknowledged) {
        if event.delivered == 0 {
            self.lost_in_round += event.lost;
            return;
        }
        if self.measure(event) {
            self.end_round(event.rate.is_some_and(|sample| sample.app_limited));
        }
        self.note_trip(event);
        self.change_mode(event);
        self.set_window(event);
    }

    fn congested(&mut self, _: Instant, signal: Signal) {
        if signal == Signal::Mark {
            self.quiet_rounds = QUIET_ROUNDS;
        }
    }

    fn recovered(&mut self) {}

    fn timed_out(&mut self, _: Instant) {
        self.before_timeout.get_or_insert(self.window);
        self.window = self.segment;
    }

    fn undo(&mut self) {
        if let Some(before) = self.before_timeout.take() {
            self.window = self.window.max(before);
        }
    }

    fn restart(&mut self, start: &Start) {
        *self = Self::new(start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::congestion::RateSample;

    const TRIP: Duration = Duration::from_millis(50);

    /// Acknowledgments of a path that delivers `rate` whatever is sent.
    fn feed(bbr: &mut Bbr, from: u64, count: u64, rate: u64, lost: u64) {
        for at in from..from + count {
            let total = (at + 1) * 10_000;
            bbr.acknowledged(&Acknowledged {
                now: Instant::from_millis(1_000 + at * 10),
                delivered: 10_000,
                lost,
                flying: 50_000,
                flew: 60_000,
                total,
                trip: Some(TRIP),
                smoothed: TRIP,
                rate: Some(RateSample {
                    rate,
                    app_limited: false,
                    prior_delivered: total.saturating_sub(50_000),
                    flying: 50_000,
                    lost: 0,
                }),
                limited: true,
                recovering: lost > 0,
            });
        }
    }

    #[test]
    fn it_settles_at_the_rate_of_the_path_whatever_is_lost_at_random() {
        let mut bbr = Bbr::new(&Start { segment: 1_000, window: None, threshold: None, trip: None });
        feed(&mut bbr, 0, 300, 1_000_000, 100);
        assert!(matches!(bbr.mode, Mode::Cruise { .. }), "{:?}", bbr.mode);
        let paced = bbr.pacing_rate().expect("measured");
        assert!((700_000..=1_250_000).contains(&paced), "{paced}");
        // Twice what the path holds, and three segments.
        assert_eq!(bbr.window(), 103_000);
    }

    #[test]
    fn a_round_that_loses_much_ends_probing_for_a_while() {
        let mut bbr = Bbr::new(&Start { segment: 1_000, window: None, threshold: None, trip: None });
        feed(&mut bbr, 0, 300, 1_000_000, 0);
        feed(&mut bbr, 300, 12, 1_000_000, 5_000);
        for at in 312..340 {
            feed(&mut bbr, at, 1, 1_000_000, 0);
            assert!(bbr.pacing_rate().expect("measured") <= 1_000_000);
        }
    }
}
