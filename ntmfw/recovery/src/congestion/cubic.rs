//! CUBIC: the window follows a cubic function of the time since congestion was met (RFC 9438).

use core::time::Duration;

use ntm_proto::time::Instant;

use crate::congestion::hystart::HyStart;
use crate::congestion::{Acknowledged, Controller, INITIAL_SEGMENTS, MIN_SEGMENTS, Signal, Start};

/// RFC 9438, section 4: how fast the function grows, in segments, and what is left of the window after a loss.
const GROWTH: f64 = 0.4;
const AFTER_LOSS: f64 = 0.7;
/// RFC 8511: a mark means a shorter queue than a loss does.
const AFTER_MARK: f64 = 0.85;
/// Section 4.3: the window of a Reno flow of the same average.
const RENO_GAIN: f64 = 3.0 * (1.0 - AFTER_LOSS) / (1.0 + AFTER_LOSS);
/// How much faster than the window demands it leaves, as a ratio: it must be able to grow.
const PACING_IN_SLOW_START: (u64, u64) = (2, 1);
const PACING: (u64, u64) = (6, 5);

#[derive(Clone, Debug)]
pub(crate) struct Cubic {
    segment: f64,
    window: f64,
    threshold: Option<f64>,
    curve: Curve,
    start: HyStart,
    smoothed: Option<Duration>,
    before: Option<Before>,
    last_event: Instant,
}

/// The cubic function, and the Reno flow beside it.
#[derive(Clone, Copy, Debug, Default)]
struct Curve {
    /// Where the window was when congestion was met.
    top: f64,
    epoch: Option<Epoch>,
}

#[derive(Clone, Copy, Debug)]
struct Epoch {
    begun: Instant,
    /// Seconds until the function reaches its top.
    rise: f64,
    reno: f64,
}

/// What congestion changed, in case it was none.
#[derive(Clone, Copy, Debug)]
struct Before {
    window: f64,
    threshold: Option<f64>,
    curve: Curve,
}

impl Cubic {
    pub(crate) fn new(start: &Start) -> Self {
        let segment = start.segment as f64;
        let initial = INITIAL_SEGMENTS * start.segment;
        Self {
            segment,
            window: start.window.unwrap_or(initial).max(initial) as f64,
            threshold: start.threshold.map(|threshold| threshold.max(initial) as f64),
            curve: Curve::default(),
            start: HyStart::new(),
            smoothed: start.trip,
            before: None,
            last_event: Instant::ZERO,
        }
    }

    fn in_slow_start(&self) -> bool {
        self.threshold.is_none_or(|threshold| self.window < threshold)
    }

    fn remember(&mut self) {
        self.before = Some(Before { window: self.window, threshold: self.threshold, curve: self.curve });
    }

    fn reduce(&mut self, factor: f64) {
        self.remember();
        // Section 4.7: a flow that loses before it is back where it was makes room for others.
        let top = if self.window < self.curve.top { self.window * (1.0 + factor) / 2.0 } else { self.window };
        self.curve = Curve { top, epoch: None };
        self.threshold = Some((self.window * factor).max(MIN_SEGMENTS as f64 * self.segment));
    }

    fn avoid_congestion(&mut self, event: &Acknowledged) {
        let epoch = match self.curve.epoch {
            Some(epoch) => epoch,
            None => self.curve.begin(event.now, self.window, self.segment),
        };
        let elapsed = event.now.since(epoch.begun).as_secs_f64();
        let trip = event.smoothed.as_secs_f64();
        let target = self.curve.at(elapsed + trip, epoch.rise, self.segment).clamp(self.window, 1.5 * self.window);
        let gain = if epoch.reno < self.curve.top { RENO_GAIN } else { 1.0 };
        let share = event.delivered as f64 / self.window;
        let reno = epoch.reno + gain * share * self.segment;
        self.curve.epoch = Some(Epoch { reno, ..epoch });
        if self.curve.at(elapsed, epoch.rise, self.segment) < reno {
            self.window = self.window.max(reno);
        } else {
            self.window += (target - self.window) * share.min(1.0);
        }
    }
}

impl Curve {
    fn begin(&mut self, now: Instant, window: f64, segment: f64) -> Epoch {
        self.top = self.top.max(window);
        let rise = cube_root((self.top - window) / segment / GROWTH);
        Epoch { begun: now, rise, reno: window }
    }

    fn at(&self, seconds: f64, rise: f64, segment: f64) -> f64 {
        let from_top = seconds - rise;
        GROWTH * from_top * from_top * from_top * segment + self.top
    }
}

impl Controller for Cubic {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a window is positive and far below 2^63"
    )]
    fn window(&self) -> u64 {
        self.window as u64
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as above")]
    fn threshold(&self) -> Option<u64> {
        self.threshold.map(|threshold| threshold as u64)
    }

    fn pacing_rate(&self) -> Option<u64> {
        let nanos = self.smoothed?.as_nanos().max(1);
        let (times, divided) = if self.in_slow_start() { PACING_IN_SLOW_START } else { PACING };
        let rate = u128::from(self.window()) * 1_000_000_000 * u128::from(times) / u128::from(divided) / nanos;
        u64::try_from(rate).ok()
    }

    fn models_the_path(&self) -> bool {
        false
    }

    fn acknowledged(&mut self, event: &Acknowledged) {
        self.smoothed = Some(event.smoothed);
        let since_last = event.now.since(self.last_event);
        self.last_event = event.now;
        if event.recovering || event.delivered == 0 {
            return;
        }
        if !event.limited {
            // Section 5.8: time in which the application sends little is no time in which the path was tested.
            if let Some(epoch) = &mut self.curve.epoch {
                epoch.begun += since_last;
            }
            return;
        }
        if self.in_slow_start() {
            let growth = self.start.grow(event.total, event.flying, event.delivered, event.trip);
            self.window += growth as f64;
            if self.start.is_done() && self.threshold.is_none() {
                self.threshold = Some(self.window);
            }
        } else {
            self.avoid_congestion(event);
        }
    }

    fn congested(&mut self, _: Instant, signal: Signal) {
        self.reduce(if signal == Signal::Mark { AFTER_MARK } else { AFTER_LOSS });
        if signal == Signal::Mark {
            self.recovered();
        }
    }

    fn recovered(&mut self) {
        if let Some(threshold) = self.threshold {
            self.window = threshold;
        }
    }

    fn timed_out(&mut self, _: Instant) {
        self.reduce(AFTER_LOSS);
        self.window = self.segment;
        self.start = HyStart::new();
    }

    fn undo(&mut self) {
        if let Some(before) = self.before.take() {
            self.window = self.window.max(before.window);
            self.threshold = before.threshold;
            self.curve = before.curve;
        }
    }

    fn restart(&mut self, start: &Start) {
        *self = Self::new(start);
    }
}

/// Newton's method from above; a handful of steps for the windows that there are.
fn cube_root(value: f64) -> f64 {
    if value <= 0.0 {
        return 0.0;
    }
    let mut root = value.max(1.0);
    loop {
        let next = (2.0 * root + value / (root * root)) / 3.0;
        if next >= root * (1.0 - 1e-9) {
            return next;
        }
        root = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 1_000;
    const TRIP: Duration = Duration::from_millis(100);

    fn cubic() -> Cubic {
        Cubic::new(&Start { segment: SEGMENT, window: None, threshold: None, trip: None })
    }

    fn event(now: Instant, delivered: u64) -> Acknowledged {
        Acknowledged {
            now,
            delivered,
            lost: 0,
            flying: 0,
            flew: delivered,
            total: 0,
            trip: Some(TRIP),
            smoothed: TRIP,
            rate: None,
            limited: true,
            recovering: false,
        }
    }

    #[test]
    fn after_a_loss_the_window_is_back_when_the_function_says() {
        let mut cubic = cubic();
        cubic.window = 1_000_000.0;
        cubic.congested(Instant::ZERO, Signal::Loss);
        cubic.recovered();
        assert_eq!(cubic.window(), 700_000);
        // K = cbrt(300 / 0.4) = 9.09 s for a window of 1,000 segments.
        let mut now = Instant::from_millis(1_000);
        let mut back = None;
        for _ in 0..120 {
            now += TRIP;
            let window = cubic.window();
            cubic.acknowledged(&event(now, window));
            if back.is_none() && cubic.window() >= 999_000 {
                back = Some(now.as_millis() - 1_000);
            }
        }
        let back = back.expect("it comes back");
        assert!((7_500..9_500).contains(&back), "after {back} ms");
    }

    #[test]
    fn an_undone_loss_leaves_no_trace() {
        let mut cubic = cubic();
        cubic.window = 500_000.0;
        cubic.timed_out(Instant::ZERO);
        assert_eq!(cubic.window(), SEGMENT);
        cubic.undo();
        assert_eq!((cubic.window(), cubic.threshold()), (500_000, None));
    }

    #[test]
    fn an_application_that_sends_little_gets_no_larger_window() {
        let mut cubic = cubic();
        let before = cubic.window();
        cubic.acknowledged(&Acknowledged { limited: false, ..event(Instant::from_millis(5), 1_000) });
        assert_eq!(cubic.window(), before);
    }

    #[test]
    fn cube_roots_are_cube_roots() {
        for value in [0.0, 1e-3, 0.5, 1.0, 2.0, 750.0, 1e9] {
            let root = cube_root(value);
            assert!((root * root * root - value).abs() <= value * 1e-6, "{value}: {root}");
        }
    }
}
