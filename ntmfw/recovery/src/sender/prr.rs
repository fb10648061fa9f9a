//! How much may be sent while losses are repaired: proportionally to what arrives (RFC 9937).

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RateReduction {
    delivered: u64,
    sent: u64,
    /// In flight when recovery began.
    flight: u64,
    window: u64,
}

/// What an acknowledgment during recovery said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) delivered: u64,
    pub(crate) flying: u64,
    pub(crate) threshold: u64,
    /// It moved the left edge on and told of no new loss.
    pub(crate) safe: bool,
    pub(crate) segment: u64,
}

impl RateReduction {
    pub(crate) fn begin(flight: u64) -> Self {
        Self { flight: flight.max(1), ..Self::default() }
    }

    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    pub(crate) fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    pub(crate) fn progress(&mut self, at: &Progress) {
        self.delivered += at.delivered;
        let mut more = if at.flying > at.threshold {
            let due = u128::from(self.delivered) * u128::from(at.threshold) / u128::from(self.flight);
            u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(self.sent)
        } else {
            let catching_up = self.delivered.saturating_sub(self.sent).max(at.delivered);
            let limit = if at.safe { catching_up + at.segment } else { catching_up };
            limit.min(at.threshold - at.flying)
        };
        if self.sent == 0 {
            // The first retransmission waits for nothing.
            more = more.max(at.segment);
        }
        self.window = at.flying + more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flight_shrinks_to_the_threshold_in_one_round() {
        let (mut flying, threshold) = (100_000_u64, 70_000);
        let mut reduction = RateReduction::begin(flying);
        for _ in 0..100 {
            flying -= 1_000;
            let progress = Progress { delivered: 1_000, flying, threshold, safe: false, segment: 1_000 };
            reduction.progress(&progress);
            let more = reduction.window().saturating_sub(flying);
            reduction.sent(more);
            flying += more;
        }
        assert!((69_000..=71_000).contains(&flying), "{flying}");
    }

    #[test]
    fn after_heavy_loss_the_flight_grows_no_faster_than_by_slow_start() {
        let mut reduction = RateReduction::begin(100_000);
        let progress = Progress { delivered: 2_000, flying: 10_000, threshold: 70_000, safe: true, segment: 1_000 };
        reduction.progress(&progress);
        assert_eq!(reduction.window(), 13_000);
    }
}
