//! Losses found by time: what was sent sufficiently before something that arrived is lost (RFC 8985, section 6).

use core::time::Duration;

use ntm_proto::time::Instant;

use crate::sender::scoreboard::{Delivery, Scoreboard};
use crate::seq::Position;

/// RFC 8985, section 6.2: the window grows by a quarter of a round trip for each round with a needless
/// retransmission, and shrinks back after so many recoveries without.
const PERSISTENCE: u32 = 16;
/// RFC 5681's three duplicate acknowledgments.
const DUPLICATES: u64 = 3;

#[derive(Debug)]
pub(crate) struct Rack {
    /// When what was sent last of all that arrived was sent, and where it ends.
    newest: Option<(Instant, Position)>,
    trip: Duration,
    reordering_seen: bool,
    quarters: u32,
    recoveries_left: u32,
    /// The window was widened for this round already.
    widened_until: Option<Position>,
}

/// What the window depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances {
    pub(crate) minimum: Duration,
    pub(crate) smoothed: Duration,
    pub(crate) recovering: bool,
    pub(crate) segment: u64,
}

impl Rack {
    pub(crate) const fn new() -> Self {
        Self {
            newest: None,
            trip: Duration::ZERO,
            reordering_seen: false,
            quarters: 1,
            recoveries_left: 0,
            widened_until: None,
        }
    }

    pub(crate) fn update(&mut self, now: Instant, delivery: &Delivery, minimum: Duration) {
        self.reordering_seen |= delivery.reordered;
        let Some((sent_at, end, resent)) = delivery.newest else { return };
        let trip = now.since(sent_at);
        if resent && trip < minimum {
            // It was the first transmission that arrived.
            return;
        }
        if self.newest.is_none_or(|newest| newest < (sent_at, end)) {
            self.newest = Some((sent_at, end));
            self.trip = trip;
        }
    }

    /// A retransmission was needless: paths reorder more than was thought.
    pub(crate) fn widen(&mut self, una: Position, nxt: Position) {
        self.recoveries_left = PERSISTENCE;
        if self.widened_until.is_none_or(|until| una >= until) {
            self.widened_until = Some(nxt);
            self.quarters += 1;
        }
        self.reordering_seen = true;
    }

    pub(crate) fn recovered(&mut self) {
        self.recoveries_left = self.recoveries_left.saturating_sub(1);
        if self.recoveries_left == 0 {
            self.quarters = 1;
        }
    }

    /// Nothing that is in flight tells of losses any more: the path is another one.
    pub(crate) fn forget(&mut self) {
        *self = Self::new();
    }

    /// How much later than what overtook it something may come.
    pub(crate) fn window(&self, board: &Scoreboard, at: &Circumstances) -> Duration {
        if !self.reordering_seen && (at.recovering || board.delivered() >= DUPLICATES * at.segment) {
            return Duration::ZERO;
        }
        (at.minimum / 4 * self.quarters).min(at.smoothed)
    }

    /// Declares lost what is; how many bytes, and when to look again.
    pub(crate) fn detect(&self, now: Instant, board: &mut Scoreboard, at: &Circumstances) -> (u64, Option<Instant>) {
        let Some(newest) = self.newest else { return (0, None) };
        let patience = self.trip + self.window(board, at);
        let mut next: Option<Instant> = None;
        let lost = board.lose(|run| {
            if (run.sent_at, run.end) >= newest {
                return false;
            }
            let deadline = run.sent_at + patience;
            if deadline <= now {
                return true;
            }
            next = Some(next.map_or(deadline, |next| next.min(deadline)));
            false
        });
        (lost, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sender::rate::DeliveryRate;

    const MS: Duration = Duration::from_millis(1);

    fn scene() -> (Scoreboard, Circumstances) {
        let mut board = Scoreboard::new(0);
        for at in 0..10 {
            let now = Instant::from_millis(at);
            board.extend(now, 1_000, DeliveryRate::new().sending(now, 0, 1_000));
        }
        (board, Circumstances { minimum: 40 * MS, smoothed: 40 * MS, recovering: false, segment: 1_000 })
    }

    fn deliver(rack: &mut Rack, board: &mut Scoreboard, now: Instant, start: u64, end: u64) {
        let mut delivery = Delivery::default();
        let highest = board.highest();
        board.select(start, end, highest, &mut delivery);
        rack.update(now, &delivery, 40 * MS);
    }

    #[test]
    fn what_is_overtaken_gets_a_quarter_of_a_round_trip() {
        let (mut board, at) = scene();
        let mut rack = Rack::new();
        let now = Instant::from_millis(42);
        deliver(&mut rack, &mut board, now, 1_000, 2_000);
        assert_eq!(rack.detect(now, &mut board, &at), (0, Some(Instant::from_millis(51))));
        assert_eq!(rack.detect(Instant::from_millis(51), &mut board, &at).0, 1_000);
    }

    #[test]
    fn three_that_overtake_are_enough_where_nothing_was_reordered_yet() {
        let (mut board, at) = scene();
        let mut rack = Rack::new();
        let now = Instant::from_millis(44);
        deliver(&mut rack, &mut board, now, 1_000, 4_000);
        assert_eq!(rack.detect(now, &mut board, &at), (1_000, None));
        deliver(&mut rack, &mut board, now, 0, 1_000);
        assert!(rack.reordering_seen);
        deliver(&mut rack, &mut board, Instant::from_millis(49), 5_000, 9_000);
        assert_eq!(rack.detect(Instant::from_millis(49), &mut board, &at).0, 0);
    }

    #[test]
    fn the_window_widens_once_a_round_and_shrinks_again() {
        let (board, at) = scene();
        let mut rack = Rack::new();
        rack.widen(0, 10_000);
        rack.widen(5_000, 12_000);
        assert_eq!(rack.window(&board, &at), 20 * MS);
        rack.widen(10_000, 20_000);
        assert_eq!(rack.window(&board, &at), 30 * MS);
        for _ in 0..PERSISTENCE {
            rack.recovered();
        }
        assert_eq!(rack.window(&board, &at), 10 * MS);
    }
}
