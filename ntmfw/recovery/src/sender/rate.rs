//! How fast data is delivered: a sample for every acknowledgment (draft-ietf-ccwg-bbr, "delivery rate samples").

use core::time::Duration;

use ntm_proto::time::Instant;

/// What was true when data was sent; kept with the data until it is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) delivered: u64,
    pub(crate) delivered_at: Instant,
    pub(crate) first_sent_at: Instant,
    pub(crate) app_limited: bool,
    pub(crate) flying: u64,
    pub(crate) lost: u64,
}

/// A sample of the delivery rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateSample {
    /// Bytes a second; zero where the sample spans too little to say.
    pub rate: u64,
    /// The application gave too little to fill the path.
    pub app_limited: bool,
    /// Bytes delivered before the sampled data was sent: it ends a round when this passes the round's mark.
    pub prior_delivered: u64,
    /// Bytes in flight when the sampled data was sent, and those lost since.
    pub flying: u64,
    pub lost: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct DeliveryRate {
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    lost: u64,
    /// Deliveries up to here belong to a time when the application gave too little.
    app_limited_until: u64,
}

impl DeliveryRate {
    pub(crate) const fn new() -> Self {
        Self { delivered: 0, delivered_at: Instant::ZERO, first_sent_at: Instant::ZERO, lost: 0, app_limited_until: 0 }
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(crate) fn sending(&mut self, now: Instant, flying: u64, bytes: u64) -> Snapshot {
        if flying == 0 {
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        Snapshot {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            app_limited: self.app_limited_until > self.delivered,
            flying: flying + bytes,
            lost: self.lost,
        }
    }

    /// All bytes that were ever declared lost.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// The application has nothing more to send while there would be room.
    pub(crate) fn starved(&mut self, flying: u64) {
        self.app_limited_until = (self.delivered + flying).max(1);
    }

    pub(crate) fn lose(&mut self, bytes: u64) {
        self.lost += bytes;
    }

    /// Data was delivered; `newest` is what was sent last of it.
    pub(crate) fn deliver(
        &mut self,
        now: Instant,
        bytes: u64,
        newest: Option<(Instant, Snapshot)>,
        minimum: Option<Duration>,
    ) -> Option<RateSample> {
        self.delivered += bytes;
        if bytes > 0 {
            self.delivered_at = now;
        }
        let (sent_at, snapshot) = newest?;
        self.first_sent_at = sent_at;
        let took = sent_at.since(snapshot.first_sent_at).max(now.since(snapshot.delivered_at));
        let span = self.delivered - snapshot.delivered;
        // What is acknowledged faster than light was compressed on its way back.
        let credible = !took.is_zero() && took >= minimum.unwrap_or_default();
        let nanos = took.as_nanos().max(1);
        let rate = u64::try_from(u128::from(span) * 1_000_000_000 / nanos).unwrap_or(u64::MAX);
        Some(RateSample {
            rate: if credible { rate } else { 0 },
            app_limited: snapshot.app_limited,
            prior_delivered: snapshot.delivered,
            flying: snapshot.flying,
            lost: self.lost - snapshot.lost,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_is_measured_at_its_rate() {
        let mut rate = DeliveryRate::new();
        let at = |ms| Instant::from_millis(1_000 + ms);
        // 1,000 bytes every millisecond, acknowledged 20 ms later.
        let mut snapshots = alloc::vec::Vec::new();
        let mut last = None;
        for ms in 0..100 {
            if ms >= 20 {
                let sent: Snapshot = snapshots[usize::try_from(ms - 20).expect("small")];
                last = rate.deliver(at(ms), 1_000, Some((at(ms - 20), sent)), Some(Duration::from_millis(20)));
            }
            snapshots.push(rate.sending(at(ms), ms.min(20) * 1_000, 1_000));
        }
        assert_eq!(last.map(|sample| (sample.rate, sample.app_limited)), Some((1_000_000, false)));
    }

    #[test]
    fn a_sample_knows_that_the_application_was_slow() {
        let mut rate = DeliveryRate::new();
        let now = Instant::from_millis(5);
        rate.starved(0);
        let sent = rate.sending(now, 0, 10);
        let sample = rate.deliver(now + Duration::from_millis(1), 10, Some((now, sent)), None);
        assert!(sample.is_some_and(|sample| sample.app_limited));
        let sent = rate.sending(now, 0, 10);
        assert!(!sent.app_limited);
    }
}
