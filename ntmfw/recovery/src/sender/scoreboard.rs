//! What was sent and not yet acknowledged: in flight, delivered out of order, or lost (RFC 6675, RFC 8985).
//!
//! ```text
//! una                                                               nxt
//! │ lost │ delivered │ in flight, sent again │ delivered │ in flight │
//! ```
//!
//! Runs follow one another without gaps. What was sent in one go is one run, so that a transfer without loss
//! costs a run for each large segment; acknowledgments and losses split them.

use alloc::collections::VecDeque;

use ntm_proto::time::Instant;

use crate::sender::rate::Snapshot;
use crate::seq::Position;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Flying,
    /// Acknowledged selectively.
    Delivered,
    Lost,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) start: Position,
    pub(crate) end: Position,
    pub(crate) state: State,
    /// It was sent more than once.
    pub(crate) resent: bool,
    pub(crate) sent_at: Instant,
    pub(crate) snapshot: Snapshot,
}

impl Run {
    pub(crate) fn length(&self) -> u64 {
        self.end - self.start
    }
}

/// What one acknowledgment delivered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delivery {
    pub(crate) bytes: u64,
    /// What was sent last of it: when, where it ends, whether it was sent more than once.
    pub(crate) newest: Option<(Instant, Position, bool)>,
    /// The snapshot of what was sent last of it.
    pub(crate) snapshot: Option<(Instant, Snapshot)>,
    /// When the last of what was sent once only was sent: its round trip is unambiguous.
    pub(crate) original_sent_at: Option<Instant>,
    /// The lowest position of what was sent once only.
    pub(crate) original_start: Option<Position>,
    /// Bytes that were thought lost and were not sent again.
    pub(crate) not_lost: u64,
    /// Something came that was sent before what had come already.
    pub(crate) reordered: bool,
}

impl Delivery {
    fn add(&mut self, run: &Run, highest: Position) {
        self.bytes += run.length();
        let key = (run.sent_at, run.end, run.resent);
        if self.newest.is_none_or(|newest| (newest.0, newest.1) < (key.0, key.1)) {
            self.newest = Some(key);
            self.snapshot = Some((run.sent_at, run.snapshot));
        }
        if !run.resent {
            self.original_sent_at = self.original_sent_at.max(Some(run.sent_at));
            self.original_start = Some(self.original_start.map_or(run.start, |start| start.min(run.start)));
            self.reordered |= run.end <= highest;
            if run.state == State::Lost {
                self.not_lost += run.length();
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Scoreboard {
    runs: VecDeque<Run>,
    una: Position,
    nxt: Position,
    flying: u64,
    delivered: u64,
    lost: u64,
    /// The end of the highest delivered run.
    highest: Position,
}

impl Scoreboard {
    pub(crate) fn new(start: Position) -> Self {
        Self { runs: VecDeque::new(), una: start, nxt: start, flying: 0, delivered: 0, lost: 0, highest: start }
    }

    /// The first position that was not acknowledged, and the first that was not sent.
    pub(crate) fn una(&self) -> Position {
        self.una
    }

    pub(crate) fn nxt(&self) -> Position {
        self.nxt
    }

    pub(crate) fn flying(&self) -> u64 {
        self.flying
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    /// `length` more were sent.
    pub(crate) fn extend(&mut self, now: Instant, length: u64, snapshot: Snapshot) {
        let start = self.nxt;
        self.nxt += length;
        self.flying += length;
        if let Some(last) = self.runs.back_mut()
            && last.state == State::Flying
            && !last.resent
            && last.sent_at == now
        {
            last.end = self.nxt;
            return;
        }
        let run = Run { start, end: self.nxt, state: State::Flying, resent: false, sent_at: now, snapshot };
        self.runs.push_back(run);
    }

    /// Something beyond what was sent here was acknowledged: a window probe.
    pub(crate) fn skip_to(&mut self, position: Position) {
        self.clear();
        (self.una, self.nxt, self.highest) = (position, position, position);
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.una = self.nxt;
        (self.flying, self.delivered, self.lost) = (0, 0, 0);
    }

    /// Everything before `until`, which was sent, is acknowledged.
    pub(crate) fn acknowledge(&mut self, until: Position, delivery: &mut Delivery) {
        let highest = self.highest;
        while let Some(first) = self.runs.front_mut() {
            let mut part = *first;
            if part.end <= until {
                self.runs.pop_front();
            } else if part.start < until {
                part.end = until;
                first.start = until;
            } else {
                break;
            }
            self.discount(&part);
            if part.state != State::Delivered {
                delivery.add(&part, highest);
            }
        }
        self.una = self.una.max(until);
        self.highest = highest.max(until);
    }

    /// A block was acknowledged selectively. `highest` is where delivered data ended before this acknowledgment.
    pub(crate) fn select(&mut self, start: Position, end: Position, highest: Position, delivery: &mut Delivery) {
        let (start, end) = (start.max(self.una), end.min(self.nxt));
        let mut index = self.index_of(start);
        while let Some(run) = self.runs.get(index).copied() {
            if run.start >= end {
                break;
            }
            if run.state == State::Delivered {
                index += 1;
                continue;
            }
            let mut part = run;
            part.start = run.start.max(start);
            part.end = run.end.min(end);
            delivery.add(&part, highest);
            self.discount(&part);
            part.state = State::Delivered;
            self.delivered += part.length();
            index = self.replace(index, part) + 1;
        }
        self.highest = self.highest.max(end);
    }

    pub(crate) fn highest(&self) -> Position {
        self.highest
    }

    /// Declares lost what is in flight and `is_lost`; how many bytes that were.
    pub(crate) fn lose(&mut self, mut is_lost: impl FnMut(&Run) -> bool) -> u64 {
        let mut bytes = 0;
        for run in self.runs.iter_mut().filter(|run| run.state == State::Flying) {
            if is_lost(run) {
                run.state = State::Lost;
                bytes += run.length();
            }
        }
        self.flying -= bytes;
        self.lost += bytes;
        bytes
    }

    /// Declares the first `length` bytes lost, where they are in flight.
    pub(crate) fn lose_first(&mut self, length: u64) -> u64 {
        let Some(mut first) = self.runs.front().copied() else { return 0 };
        if first.state != State::Flying {
            return 0;
        }
        first.end = first.end.min(first.start + length);
        self.discount(&first);
        first.state = State::Lost;
        self.lost += first.length();
        self.replace(0, first);
        first.length()
    }

    /// What was declared lost and not sent again is in flight after all.
    pub(crate) fn find_again(&mut self) {
        for run in self.runs.iter_mut().filter(|run| run.state == State::Lost && !run.resent) {
            run.state = State::Flying;
            self.flying += run.length();
            self.lost -= run.length();
        }
    }

    /// The other end threw away what it had acknowledged selectively (RFC 2018, section 8).
    pub(crate) fn distrust(&mut self) {
        for run in self.runs.iter_mut().filter(|run| run.state == State::Delivered) {
            run.state = State::Lost;
            self.lost += run.length();
        }
        self.delivered = 0;
    }

    /// The lowest run that is lost.
    pub(crate) fn first_lost(&self) -> Option<Run> {
        if self.lost == 0 {
            return None;
        }
        self.runs.iter().find(|run| run.state == State::Lost).copied()
    }

    /// The last `limit` bytes that were sent and not delivered.
    pub(crate) fn last_undelivered(&self, limit: u64) -> Option<(Position, Position)> {
        let last = self.runs.iter().rev().find(|run| run.state != State::Delivered)?;
        Some((last.start.max(last.end.saturating_sub(limit)), last.end))
    }

    /// What lies between the two, not delivered, was sent again.
    pub(crate) fn resend(&mut self, start: Position, end: Position, now: Instant, snapshot: Snapshot) {
        let index = self.index_of(start);
        let Some(run) = self.runs.get(index).copied().filter(|run| run.state != State::Delivered) else { return };
        let mut part = run;
        part.start = run.start.max(start);
        part.end = run.end.min(end);
        self.discount(&part);
        part = Run { state: State::Flying, resent: true, sent_at: now, snapshot, ..part };
        self.flying += part.length();
        self.replace(index, part);
    }

    fn discount(&mut self, run: &Run) {
        match run.state {
            State::Flying => self.flying -= run.length(),
            State::Delivered => self.delivered -= run.length(),
            State::Lost => self.lost -= run.length(),
        }
    }

    /// The first run that ends after `position`.
    fn index_of(&self, position: Position) -> usize {
        self.runs.partition_point(|run| run.end <= position)
    }

    /// Puts `part` in the place of its part of the run at `index`, joined with its like; where it lies then.
    fn replace(&mut self, mut index: usize, part: Run) -> usize {
        let run = self.runs[index];
        let joins_previous = index > 0 && run.start == part.start && alike(&self.runs[index - 1], &part);
        if run.end > part.end {
            // The rest stays behind the part.
            self.runs[index].start = part.end;
            if joins_previous {
                self.runs[index - 1].end = part.end;
                return index - 1;
            }
            self.runs.insert(index, part);
        } else if joins_previous {
            self.runs[index - 1].end = part.end;
            self.runs.remove(index);
            index -= 1;
        } else {
            self.runs[index] = part;
        }
        if run.start < part.start {
            let before = Run { end: part.start, ..run };
            self.runs.insert(index, before);
            index += 1;
        }
        if self.runs.get(index + 1).is_some_and(|next| alike(&self.runs[index], next)) {
            self.runs[index].end = self.runs[index + 1].end;
            self.runs.remove(index + 1);
        }
        index
    }
}

/// Whether nothing is lost by taking two neighbours for one.
fn alike(one: &Run, other: &Run) -> bool {
    match one.state {
        State::Delivered => other.state == State::Delivered,
        state => {
            state == other.state && one.resent && other.resent && one.sent_at == other.sent_at && state == State::Flying
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sender::rate::DeliveryRate;

    fn board(lengths: &[u64]) -> Scoreboard {
        let mut board = Scoreboard::new(1_000);
        for (at, length) in lengths.iter().enumerate() {
            let now = Instant::from_millis(at as u64);
            board.extend(now, *length, DeliveryRate::new().sending(now, 0, *length));
        }
        board
    }

    fn check(board: &Scoreboard) {
        let sum = |state| board.runs.iter().filter(|run| run.state == state).map(Run::length).sum::<u64>();
        assert_eq!(board.flying, sum(State::Flying));
        assert_eq!(board.delivered, sum(State::Delivered));
        assert_eq!(board.lost, sum(State::Lost));
        let mut at = board.una;
        for run in &board.runs {
            assert_eq!(run.start, at);
            assert!(run.end > run.start);
            at = run.end;
        }
        assert_eq!(at, board.nxt);
    }

    #[test]
    fn blocks_split_runs_and_grow_together() {
        let mut board = board(&[1_000, 1_000]);
        let mut delivery = Delivery::default();
        board.select(1_200, 1_400, 1_000, &mut delivery);
        board.select(1_400, 1_600, 1_000, &mut delivery);
        board.select(1_900, 2_100, 1_000, &mut delivery);
        check(&board);
        assert_eq!((delivery.bytes, board.delivered(), board.runs.len()), (600, 600, 5));
        board.select(1_000, 3_000, 2_100, &mut delivery);
        check(&board);
        assert_eq!((board.runs.len(), board.flying()), (1, 0));
        assert!(delivery.reordered);
    }

    #[test]
    fn what_is_lost_is_sent_again_and_acknowledged() {
        let mut board = board(&[100, 100, 100]);
        let mut delivery = Delivery::default();
        board.select(1_200, 1_300, 1_000, &mut delivery);
        assert_eq!(board.lose(|run| run.start < 1_200), 200);
        check(&board);
        let lost = board.first_lost().expect("two are");
        assert_eq!((lost.start, lost.end), (1_000, 1_100));
        let now = Instant::from_millis(9);
        board.resend(1_000, 1_050, now, lost.snapshot);
        board.resend(1_050, 1_100, now, lost.snapshot);
        check(&board);
        assert_eq!(board.runs.len(), 3, "sent in one go they are one run");
        board.find_again();
        assert_eq!((board.lost(), board.flying()), (0, 200));
        let mut delivery = Delivery::default();
        board.acknowledge(1_150, &mut delivery);
        check(&board);
        assert_eq!(delivery.bytes, 150);
        assert_eq!(delivery.newest.map(|newest| newest.2), Some(true));
        assert_eq!(delivery.original_start, Some(1_100));
    }

    #[test]
    fn random_blocks_and_losses_never_lose_count() {
        let mut state: u64 = 7;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut board = board(&[500, 700, 900, 30, 1]);
        for step in 0..20_000 {
            let now = Instant::from_millis(10 + step);
            let span = board.nxt - board.una + 20;
            let start = board.una + random(span);
            let mut delivery = Delivery::default();
            match random(6) {
                0 => board.acknowledge((board.una + random(300)).min(board.nxt), &mut delivery),
                1 => board.select(start, start + 1 + random(200), board.highest, &mut delivery),
                2 => {
                    let before = start;
                    board.lose(|run| run.end <= before);
                }
                3 => {
                    if let Some(run) = board.first_lost() {
                        board.resend(run.start, run.end.min(run.start + 100), now, run.snapshot);
                    }
                }
                4 if random(4) == 0 => board.find_again(),
                4 => {
                    board.lose_first(1 + random(100));
                }
                _ => board.extend(now, 1 + random(300), DeliveryRate::new().sending(now, 0, 1)),
            }
            check(&board);
        }
    }
}
