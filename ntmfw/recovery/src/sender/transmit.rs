//! What leaves next: what is lost before what is new, as window and pacer allow.

use ntm_proto::time::Instant;

use crate::sender::keeper::Piece;
use crate::sender::timers::Forced;
use crate::sender::{Phase, Sender};
use crate::seq::Position;

/// What was chosen to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) start: Position,
    /// At most so many bytes of it.
    limit: u64,
    again: bool,
}

/// Data on its way out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure {
    pub(crate) start: Position,
    pub(crate) length: u64,
    /// Whether routers may mark it: data that is sent for the first time.
    pub(crate) capable: bool,
    /// It says that the window was reduced.
    pub(crate) reduced: bool,
}

impl Sender {
    /// Bytes that may be in flight.
    pub(super) fn allowed(&self) -> u64 {
        match self.phase {
            Phase::Recovery { .. } if !self.control.models_the_path() => self.reduction.window(),
            _ => self.control.window(),
        }
    }

    /// What leaves now, and is in flight from now on.
    pub(crate) fn poll_transmit(&mut self, now: Instant) -> Option<Departure> {
        let choice = self.choose(now)?;
        let Choice { start, limit, again } = choice;
        let length = self.keeper.piece(start, limit)?.length();
        let was_empty = self.board.is_empty();
        let snapshot = self.rate.sending(now, self.board.flying(), length);
        if again {
            self.board.resend(start, start + length, now, snapshot);
            self.doubt.unexplained += length;
            self.resent += length;
        } else {
            self.board.extend(now, length, snapshot);
        }
        self.pacer.sent(now, self.control.pacing_rate(), length);
        self.reduction.sent(length);
        if was_empty || again || self.phase == Phase::Open {
            self.timers.transmitted(now);
        }
        self.arm(now);
        let reduced = !again && core::mem::take(&mut self.tell_reduced);
        let capable = self.capable && !again;
        Some(Departure { start, length, capable, reduced })
    }

    /// The bytes of what departs.
    pub(crate) fn piece(&self, departure: &Departure) -> Option<Piece<'_>> {
        self.keeper.piece(departure.start, departure.length)
    }

    fn choose(&mut self, now: Instant) -> Option<Choice> {
        if let Some(forced) = self.timers.forced.take()
            && let Some(choice) = self.force(forced)
        {
            return Some(choice);
        }
        let lost = self.board.first_lost();
        let (start, available, again) = match lost {
            Some(run) => (run.start, run.length(), true),
            None => (self.board.nxt(), self.end() - self.board.nxt(), false),
        };
        let flying = self.board.flying();
        let room = self.allowed().saturating_sub(flying);
        if available == 0 {
            self.paced_until = None;
            if room > 0 {
                self.rate.starved(flying);
            }
            return None;
        }
        if room < available.min(self.segment) && flying > 0 {
            self.limited_until = self.rate.delivered() + flying;
            return None;
        }
        match self.pacer.allowance(now, self.control.pacing_rate(), self.segment, self.trips.minimum()) {
            Err(at) => {
                self.paced_until = Some(at);
                None
            }
            Ok(allowance) => {
                self.paced_until = None;
                let most = room.min(allowance).max(self.segment);
                let limit = if most < available { most - most % self.segment } else { available };
                Some(Choice { start, limit, again })
            }
        }
    }

    fn force(&mut self, forced: Forced) -> Option<Choice> {
        let limit = self.segment;
        match forced {
            Forced::Lost => {
                let run = self.board.first_lost()?;
                Some(Choice { start: run.start, limit: limit.min(run.length()), again: true })
            }
            Forced::Tail => {
                let nxt = self.board.nxt();
                if self.end() > nxt {
                    self.timers.probe_sent(nxt + limit.min(self.end() - nxt), false);
                    return Some(Choice { start: nxt, limit, again: false });
                }
                let (start, end) = self.board.last_undelivered(limit)?;
                self.timers.probe_sent(nxt, true);
                Some(Choice { start, limit: end - start, again: true })
            }
        }
    }
}
