//! When nothing comes back: reordering windows that end, tail-loss probes (RFC 8985, section 7), timeouts (RFC 6298).

use core::time::Duration;

use ntm_proto::time::Instant;

use crate::sender::{Phase, Sender};
use crate::seq::Position;

/// Probes before the timeout, each after twice the time of the last. RFC 8985 sends one; as in QUIC (RFC 9002) more of
/// them shorten the wait where a burst of losses takes the first as well.
const MAX_PROBES: u32 = 4;
/// No probe sooner than this: a receiver may have to be scheduled first.
const MIN_PROBE: Duration = Duration::from_millis(10);
/// How long a receiver may hold back an acknowledgment of a single segment: Linux's 40 ms, and its timer's grain.
const ACK_DELAY: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reorder,
    Probe,
    Timeout,
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// When something may have to be declared lost.
    pub(crate) reorder_at: Option<Instant>,
    /// From when on the peer is silent: its last progress, or the last transmission if that is later.
    silent_since: Option<Instant>,
    /// When something was acknowledged last.
    progress_at: Option<Instant>,
    armed: Option<(Instant, Kind)>,
    timed_out_at: Option<Instant>,
    /// Timeouts in a row.
    backoff: u32,
    /// The probe that waits for its answer: where data ended then, and whether it was data sent before.
    probe: Option<(Position, bool)>,
    /// Probes in a row without an answer.
    probes: u32,
    /// What must leave now, whatever window and pacer say.
    pub(crate) forced: Option<Forced>,
}

/// A single segment that window and pacer do not hold back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forced {
    /// New data, or else the last that was sent.
    Tail,
    /// The first that is lost.
    Lost,
}

impl Timers {
    pub(crate) fn progressed(&mut self, now: Instant) {
        self.backoff = 0;
        self.probes = 0;
        self.silent_since = Some(now);
        self.progress_at = Some(now);
    }

    pub(crate) fn transmitted(&mut self, now: Instant) {
        self.silent_since = Some(now);
    }

    /// Whether there was a timeout at or after `sent_at`.
    pub(crate) fn timed_out_since(&self, sent_at: Instant) -> bool {
        self.timed_out_at.is_some_and(|at| at >= sent_at)
    }

    /// Silence on the old path says nothing of the new one.
    pub(crate) fn path_changed(&mut self, now: Instant) {
        self.silent_since = Some(now);
        self.backoff = 0;
        self.probes = 0;
        self.probe = None;
        self.reorder_at = None;
    }

    /// The probe was sent; `again` where it carried data that had been sent before.
    pub(crate) fn probe_sent(&mut self, end: Position, again: bool) {
        self.probe = Some((end, again));
        self.probes += 1;
    }

    /// The peer had the probe's data already: nothing was lost.
    pub(crate) fn probe_explains(&mut self, right: Position) -> bool {
        let explains = self.probe.is_some_and(|(end, again)| again && right == end);
        if explains {
            self.probe = None;
        }
        explains
    }

    /// Whether the probe repaired a loss that nothing else told of.
    pub(crate) fn probe_repaired(&mut self, acknowledged: Position, needless: bool) -> bool {
        match self.probe {
            Some((end, again)) if acknowledged >= end => {
                self.probe = None;
                again && !needless
            }
            _ => false,
        }
    }
}

impl Sender {
    /// Sets the one timer that runs.
    pub(super) fn arm(&mut self, now: Instant) {
        let timers = &mut self.timers;
        if self.board.is_empty() {
            timers.armed = None;
            timers.probe = None;
            timers.probes = 0;
            return;
        }
        if let Some(at) = timers.reorder_at {
            timers.armed = Some((at, Kind::Reorder));
            return;
        }
        let since = timers.silent_since.unwrap_or(now);
        let timeout = since + self.trips.timeout(timers.backoff);
        let quiet = self.phase == Phase::Open && self.board.delivered() == 0 && self.board.lost() == 0;
        timers.armed = match self.trips.smoothed() {
            Some(smoothed) if quiet && self.selective && timers.probes < MAX_PROBES && timers.backoff == 0 => {
                let single = self.board.flying() <= self.segment;
                let patience = smoothed * 2 + if single { ACK_DELAY } else { Duration::ZERO };
                let probe = since + patience.max(MIN_PROBE) * (1 << timers.probes);
                Some(if probe < timeout { (probe, Kind::Probe) } else { (timeout, Kind::Timeout) })
            }
            _ => Some((timeout, Kind::Timeout)),
        };
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let armed = self.timers.armed.map(|(at, _)| at);
        match (armed, self.paced_until) {
            (Some(armed), Some(paced)) => Some(armed.min(paced)),
            (armed, paced) => armed.or(paced),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.paced_until.is_some_and(|at| at <= now) {
            self.paced_until = None;
        }
        let Some((_, kind)) = self.timers.armed.filter(|(at, _)| *at <= now) else { return };
        self.timers.armed = None;
        match kind {
            Kind::Reorder => {
                let lost = self.detect(now);
                self.lost(now, lost);
            }
            Kind::Probe => self.timers.forced = Some(Forced::Tail),
            Kind::Timeout => self.time_out(now),
        }
        self.arm(now);
    }

    /// Whether an acknowledgment is overdue, and none came for half a round trip.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let trip = self.trips.smoothed().unwrap_or_default();
        let overdue = self.board.runs().next().is_some_and(|oldest| oldest.sent_at + trip * 9 / 8 <= now);
        let quiet = overdue && self.timers.progress_at.is_none_or(|at| at + trip / 2 <= now);
        !self.board.is_empty() && (self.timers.backoff > 0 || quiet)
    }

    /// The path changed: whatever is lost begins to leave without waiting.
    pub(super) fn transmit_at_once(&mut self) {
        self.timers.forced = (self.board.lost() > 0).then_some(Forced::Lost);
    }

    fn time_out(&mut self, now: Instant) {
        self.timers.backoff += 1;
        self.timers.timed_out_at = Some(now);
        self.timers.silent_since = Some(now);
        self.timers.probe = None;
        let reneged = self.board.runs().next().is_some_and(|run| run.state == super::scoreboard::State::Delivered);
        if reneged {
            self.board.distrust();
        }
        let una = self.board.una();
        let first = self.board.runs().next().map(|run| run.end);
        let patience = self.trips.smoothed().unwrap_or_default();
        let window = self.rack.window(&self.board, &self.circumstances());
        let segment = self.segment;
        // What was sent a moment ago may yet arrive.
        let lost = self
            .board
            .lose(|run| Some(run.end) == first && run.end - una <= segment || run.sent_at + patience + window <= now);
        let lost = if self.board.lost() == 0 { self.board.lose_first(segment) } else { lost };
        self.rate.lose(lost);
        if !matches!(self.phase, Phase::Timeout { .. }) {
            self.doubt = super::Doubt { unexplained: 0, since: una, active: true };
            self.control.timed_out(now);
        }
        self.phase = Phase::Timeout { until: self.board.nxt(), judged: false };
        self.timers.forced = Some(Forced::Lost);
    }
}
