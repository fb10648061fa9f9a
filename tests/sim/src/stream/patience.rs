//! When a sender that hears nothing sends again.

use ntm_proto::time::Instant;
use std::time::Duration;

/// How long an acknowledgement is waited for: twice the round trip and some more, within these bounds.
const PATIENCE_MARGIN: Duration = Duration::from_millis(50);
const LEAST_PATIENCE: Duration = Duration::from_millis(200);
const MOST_PATIENCE: Duration = Duration::from_secs(2);
/// Before a round trip is known, as RFC 6298 §2.1 has it.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait for an acknowledgement before everything unacknowledged is sent again.
#[derive(Debug, Default)]
pub(super) struct Patience {
    acknowledged: u64,
    /// When the wait began: at the last acknowledgement, or when there was something to wait for again.
    since: Option<Instant>,
    round_trip: Option<Duration>,
    /// A measurement under way: when everything up to this many bytes was written.
    sample: Option<(u64, Instant)>,
    /// How often in a row it was lost.
    losses: u32,
}

impl Patience {
    pub(super) fn note(&mut self, now: Instant, acknowledged: u64, outstanding: u64, waiting: bool) {
        if acknowledged > self.acknowledged {
            self.acknowledged = acknowledged;
            self.since = None;
            self.losses = 0;
            if let Some((_, written_at)) = self.sample.take_if(|(bytes, _)| *bytes <= acknowledged) {
                let measured = now.since(written_at);
                self.round_trip = Some(self.round_trip.map_or(measured, |smooth| (smooth * 7 + measured) / 8));
            }
        }
        if waiting {
            self.since.get_or_insert(now);
            self.sample.get_or_insert((outstanding, now));
        } else {
            self.since = None;
        }
    }

    /// What was sent twice measures nothing (RFC 6298 §3, Karn's algorithm).
    pub(super) fn sent_again(&mut self) {
        self.sample = None;
        self.since = None;
    }

    /// What was lost was lost on another path.
    pub(super) fn take_heart(&mut self) {
        self.losses = 0;
    }

    pub(super) fn lost(&mut self) {
        self.losses = (self.losses + 1).min(MOST_PATIENCE.as_millis().ilog2());
    }

    pub(super) fn ends_at(&self) -> Option<Instant> {
        let first = self.round_trip.map_or(FIRST_PATIENCE, |time| (time * 2 + PATIENCE_MARGIN).max(LEAST_PATIENCE));
        Some(self.since? + (first * 2u32.pow(self.losses)).min(MOST_PATIENCE.max(first)))
    }
}
