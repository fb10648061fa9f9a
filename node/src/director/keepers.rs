//! Keep-alives. Each endpoint keeps its own hold on the coordinator: the NATs on its way stay open, and the coordinator
//! knows which of them work.
//!
//! ```text
//!  answered ──period──▶ sent ──▶ repeated quickly ──▶ doubtful ──▶ repeated ever more slowly ──▶ given up
//!      ▲                 │ any of them is answered
//!      └─────────────────┘
//! ```

use alloc::vec::Vec;
use core::time::Duration;

use ntm_proto::id::TransactionId;
use ntm_proto::time::Instant;

use crate::interface::Endpoint;

/// Until a registration response names another.
const DEFAULT_PERIOD: Duration = Duration::from_secs(20);
/// What a coordinator may ask for.
const PERIODS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(600)];
/// Pauses after the first keep-alives without answer, or one and a half round trips where those are longer.
const QUICK: [Duration; 3] = [Duration::from_millis(200), Duration::from_millis(300), Duration::from_millis(400)];
/// Each later pause is longer than the one before by this.
const SLOWER_BY: Duration = Duration::from_millis(700);
/// Unanswered keep-alives that leave nothing to hope for from an endpoint.
const GIVEN_UP: u8 = 7;
/// The unanswered keep-alive with which the other endpoints are tried as well: whether it is the endpoint or the
/// coordinator is to be known soon.
const TRY_OTHERS: u8 = 2;
/// How much before the period ends a node asks that could go to another coordinator: so it is there, after its quick
/// repeats and a registration, within the period.
const AHEAD: Duration = Duration::from_secs(2);
/// No round trip counts as longer.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(2);

/// One endpoint's hold.
#[derive(Debug)]
struct Keeper {
    endpoint: Endpoint,
    next_at: Instant,
    /// Repeats bear the same, so that any answer counts.
    transaction: TransactionId,
    unanswered: u8,
    first_sent: Instant,
    round_trip: Duration,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Keepers {
    all: Vec<Keeper>,
    period: Duration,
}

impl Default for Keepers {
    fn default() -> Self {
        Self { all: Vec::new(), period: DEFAULT_PERIOD }
    }
}

impl Keepers {
    /// These are the endpoints now; new ones are due at once.
    pub(super) fn sync(&mut self, now: Instant, endpoints: Vec<Endpoint>) {
        self.all.retain(|keeper| endpoints.contains(&keeper.endpoint));
        for endpoint in endpoints {
            if !self.has(endpoint) {
                self.all.push(Keeper {
                    endpoint,
                    next_at: now,
                    transaction: TransactionId(0),
                    unanswered: 0,
                    first_sent: now,
                    round_trip: Duration::ZERO,
                });
            }
        }
    }

    pub(super) fn has(&self, endpoint: Endpoint) -> bool {
        self.all.iter().any(|keeper| keeper.endpoint == endpoint)
    }

    /// The coordinator wants to hear of this node once in this time. `others`: the node could go elsewhere.
    pub(super) fn set_period(&mut self, period: Duration, others: bool) {
        let [shortest, longest] = PERIODS;
        self.period = period.clamp(shortest, longest) - if others { AHEAD } else { Duration::ZERO };
    }

    /// A new registration: every endpoint is to show itself, but for `home`, from which it came.
    pub(super) fn restart(&mut self, now: Instant, home: Option<Endpoint>) {
        for keeper in &mut self.all {
            keeper.unanswered = 0;
            keeper.next_at = if Some(keeper.endpoint) == home { now + self.period } else { now };
        }
    }

    /// Every endpoint is to show itself now, but for those that do already.
    pub(super) fn hurry(&mut self, now: Instant) {
        let content = self.all.iter_mut().filter(|keeper| keeper.unanswered == 0);
        content.for_each(|keeper| keeper.next_at = keeper.next_at.min(now));
    }

    pub(super) fn due(&self, now: Instant) -> Vec<Endpoint> {
        self.all.iter().filter(|keeper| now >= keeper.next_at).map(|keeper| keeper.endpoint).collect()
    }

    /// A keep-alive leaves from the endpoint: gives its transaction, `fresh` unless it is a repeat.
    pub(super) fn sending(&mut self, now: Instant, from: Endpoint, fresh: TransactionId) -> Option<TransactionId> {
        let keeper = self.all.iter_mut().find(|keeper| keeper.endpoint == from)?;
        if keeper.unanswered == 0 {
            (keeper.transaction, keeper.first_sent) = (fresh, now);
        }
        keeper.unanswered = keeper.unanswered.saturating_add(1);
        keeper.next_at = now + keeper.pause();
        let (transaction, unanswered) = (keeper.transaction, keeper.unanswered);
        if unanswered == TRY_OTHERS {
            self.hurry(now);
        }
        Some(transaction)
    }

    /// An answer has come: gives the endpoint whose it is.
    pub(super) fn answered(&mut self, now: Instant, transaction: TransactionId) -> Option<Endpoint> {
        let period = self.period;
        let waiting = |keeper: &&mut Keeper| keeper.unanswered > 0 && keeper.transaction == transaction;
        let keeper = self.all.iter_mut().find(waiting)?;
        keeper.round_trip = now.since(keeper.first_sent).min(MAX_ROUND_TRIP);
        keeper.unanswered = 0;
        keeper.next_at = now + period;
        Some(keeper.endpoint)
    }

    /// When the next is due of those endpoints that count.
    pub(super) fn next_timeout(&self, counts: impl Fn(Endpoint) -> bool) -> Instant {
        let keepers = self.all.iter().filter(|keeper| counts(keeper.endpoint));
        keepers.map(|keeper| keeper.next_at).fold(Instant::FAR_FUTURE, Instant::min)
    }

    /// Whether quick repeats from all these endpoints had no answer.
    pub(super) fn doubt(&self, endpoints: impl Iterator<Item = Endpoint>) -> bool {
        self.all_unanswered(endpoints, QUICK.len() as u8)
    }

    /// Whether nothing is to be hoped for from any of these endpoints.
    pub(super) fn have_given_up(&self, endpoints: impl Iterator<Item = Endpoint>) -> bool {
        self.all_unanswered(endpoints, GIVEN_UP)
    }

    fn all_unanswered(&self, endpoints: impl Iterator<Item = Endpoint>, more_than: u8) -> bool {
        let mut endpoints = endpoints.peekable();
        let silent =
            |endpoint| self.all.iter().any(|keeper| keeper.endpoint == endpoint && keeper.unanswered > more_than);
        endpoints.peek().is_some() && endpoints.all(silent)
    }
}

impl Keeper {
    /// How long the last keep-alive sent may wait for its answer.
    fn pause(&self) -> Duration {
        let sent = usize::from(self.unanswered);
        match QUICK.get(sent.saturating_sub(1)) {
            Some(&quick) => quick.max(self.round_trip * 3 / 2),
            None => SLOWER_BY * u32::from(self.unanswered - QUICK.len() as u8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, endpoint};

    const PERIOD: Duration = Duration::from_secs(20);

    fn keepers(endpoints: &[Endpoint]) -> Keepers {
        let mut keepers = Keepers::default();
        keepers.sync(at(0), endpoints.to_vec());
        keepers.set_period(PERIOD, true);
        keepers
    }

    /// Sends what is due until `until`; gives when that was.
    fn run(keepers: &mut Keepers, until: Instant) -> Vec<Instant> {
        let mut times = Vec::new();
        loop {
            let now = keepers.next_timeout(|_| true);
            if now > until {
                return times;
            }
            for endpoint in keepers.due(now) {
                times.push(now);
                keepers.sending(now, endpoint, TransactionId(times.len() as u32));
            }
        }
    }

    #[test]
    fn a_silent_coordinator_is_doubted_in_time_to_be_elsewhere_within_the_period() {
        let one = endpoint(1, "192.0.2.1:4000");
        let mut keepers = keepers(&[one]);
        keepers.sending(at(0), one, TransactionId(1));
        assert_eq!(keepers.answered(at(10), TransactionId(1)), Some(one));
        let doubted = loop {
            let now = keepers.next_timeout(|_| true);
            run(&mut keepers, now);
            if keepers.doubt([one].into_iter()) {
                break now;
            }
        };
        assert!(doubted <= at(10) + PERIOD - Duration::from_millis(600), "{doubted:?}");
        assert!(!keepers.have_given_up([one].into_iter()));
        run(&mut keepers, doubted + Duration::from_secs(9));
        assert!(keepers.have_given_up([one].into_iter()));
    }

    #[test]
    fn an_answer_to_any_repeat_counts_and_a_long_way_is_given_its_time() {
        let one = endpoint(1, "192.0.2.1:4000");
        let mut keepers = keepers(&[one]);
        assert_eq!(run(&mut keepers, at(550)).len(), 3);
        assert_eq!(keepers.answered(at(600), TransactionId(2)), None, "repeats bear the first one's number");
        assert_eq!(keepers.answered(at(600), TransactionId(1)), Some(one));
        assert_eq!(keepers.answered(at(601), TransactionId(1)), None);
        let next = keepers.next_timeout(|_| true);
        assert_eq!(run(&mut keepers, next + Duration::from_millis(899)), [next]);
        assert_eq!(keepers.next_timeout(|_| true), next + Duration::from_millis(900));
    }

    #[test]
    fn one_endpoint_that_is_silent_has_the_others_tried_at_once() {
        let [one, two] = [endpoint(1, "192.0.2.1:4000"), endpoint(2, "198.51.100.1:4000")];
        let mut keepers = keepers(&[one, two]);
        keepers.sending(at(0), one, TransactionId(1));
        keepers.sending(at(4_990), two, TransactionId(2));
        keepers.answered(at(1), TransactionId(1));
        keepers.answered(at(5_000), TransactionId(2));
        let next = keepers.next_timeout(|_| true);
        assert_eq!(run(&mut keepers, next + Duration::from_millis(1_200)).len(), 8, "four from either");
        assert!(keepers.doubt([one, two].into_iter()));
    }

    #[test]
    fn who_can_reach_nobody_neither_doubts_nor_gives_up() {
        let keepers = keepers(&[endpoint(1, "192.0.2.1:4000")]);
        assert!(!keepers.doubt([].into_iter()) && !keepers.have_given_up([].into_iter()));
    }
}
