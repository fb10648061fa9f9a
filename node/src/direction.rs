//! Directions asked for and not yet given.

use alloc::vec::Vec;
use core::time::Duration;

use ntm_proto::id::{PathId, TransactionId};
use ntm_proto::time::Instant;
use ntm_proto::wire::message::Target;

/// Directions asked for at once.
pub(crate) const MAX_PENDING: usize = 256;
/// When a request without answer is repeated.
const RETRY: [Duration; 4] =
    [Duration::from_millis(400), Duration::from_millis(800), Duration::from_millis(1_600), Duration::from_secs(3)];
/// A request for a name is given up after this: `getaddrinfo` must end.
const GIVE_UP: Duration = Duration::from_secs(12);

/// Why a direction is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The application named somebody.
    Connect,
    /// A peer that is known, after a move or a loss: nobody waits for an answer in words.
    Refresh,
}

#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) path_id: PathId,
    pub(crate) target: Target,
    pub(crate) purpose: Purpose,
    pub(crate) transaction: TransactionId,
    began: Instant,
    next_at: Instant,
    tries: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Directions {
    pending: Vec<Pending>,
}

impl Directions {
    /// Notes a request; `false` where the bound is reached. One for the same path id is replaced.
    pub(crate) fn ask(
        &mut self,
        now: Instant,
        path_id: PathId,
        target: Target,
        purpose: Purpose,
        transaction: TransactionId,
    ) -> bool {
        let purpose = match self.take(path_id) {
            Some(old) if old.purpose == Purpose::Connect => Purpose::Connect,
            _ => purpose,
        };
        if self.pending.len() >= MAX_PENDING {
            return false;
        }
        self.pending.push(Pending { path_id, target, purpose, transaction, began: now, next_at: now, tries: 0 });
        true
    }

    pub(crate) fn waits_for(&self, target: &Target) -> Option<PathId> {
        self.pending
            .iter()
            .find(|pending| pending.purpose == Purpose::Connect && pending.target == *target)
            .map(|pending| pending.path_id)
    }

    pub(crate) fn take(&mut self, path_id: PathId) -> Option<Pending> {
        let at = self.pending.iter().position(|pending| pending.path_id == path_id)?;
        Some(self.pending.remove(at))
    }

    pub(crate) fn take_transaction(&mut self, transaction: TransactionId) -> Option<Pending> {
        let at = self.pending.iter().position(|pending| pending.transaction == transaction)?;
        Some(self.pending.remove(at))
    }

    pub(crate) fn take_all(&mut self) -> Vec<Pending> {
        core::mem::take(&mut self.pending)
    }

    /// The registration is new: whatever waits is asked at once, as for the first time.
    pub(crate) fn restart(&mut self, now: Instant) {
        for pending in &mut self.pending {
            (pending.next_at, pending.tries) = (now, 0);
        }
    }

    /// Whether a request is to be repeated, because the last had no answer in time.
    pub(crate) fn is_unanswered(&self, now: Instant) -> bool {
        self.pending.iter().any(|pending| pending.tries > 0 && now >= pending.next_at)
    }

    pub(crate) fn next_timeout(&self) -> Instant {
        self.pending
            .iter()
            .map(|pending| pending.next_at.min(pending.began + GIVE_UP))
            .fold(Instant::FAR_FUTURE, Instant::min)
    }

    /// Takes out those that were waited for long enough.
    pub(crate) fn give_up(&mut self, now: Instant) -> Vec<Pending> {
        let mut over = Vec::new();
        let mut at = 0;
        while at < self.pending.len() {
            if now >= self.pending[at].began + GIVE_UP {
                over.push(self.pending.remove(at));
            } else {
                at += 1;
            }
        }
        over
    }

    /// Those that are to be sent now.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(PathId, Target, TransactionId)> {
        let mut due = Vec::new();
        for pending in self.pending.iter_mut().filter(|pending| now >= pending.next_at) {
            pending.next_at = now + RETRY[pending.tries.min(RETRY.len() - 1)];
            pending.tries += 1;
            due.push((pending.path_id, pending.target.clone(), pending.transaction));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;
    use ntm_proto::id::Fqdn;

    fn name(number: u16) -> Target {
        Target::Name(Fqdn::parse(&alloc::format!("n{number}.ntm.example")).expect("a proper name"))
    }

    fn path_id(number: u16) -> PathId {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        PathId(id)
    }

    fn asked(now: u64, numbers: core::ops::Range<u16>) -> Directions {
        let mut directions = Directions::default();
        for number in numbers {
            let transaction = TransactionId(number.into());
            assert!(directions.ask(at(now), path_id(number), name(number), Purpose::Connect, transaction));
        }
        directions
    }

    #[test]
    fn a_request_is_repeated_ever_more_rarely_and_given_up_in_the_end() {
        let mut directions = asked(0, 1..2);
        let mut sent = Vec::new();
        let mut over = Vec::new();
        while directions.next_timeout() < Instant::FAR_FUTURE {
            let now = directions.next_timeout();
            over.extend(directions.give_up(now));
            sent.extend(directions.due(now).iter().map(|_| now.as_millis()));
        }
        assert_eq!(sent, [0, 400, 1_200, 2_800, 5_800, 8_800, 11_800]);
        assert_eq!(over.len(), 1);
        assert_eq!(directions.next_timeout(), Instant::FAR_FUTURE);
    }

    #[test]
    fn an_answer_is_matched_by_path_id_or_transaction_once() {
        let mut directions = asked(0, 1..4);
        assert!(directions.take(path_id(2)).is_some());
        assert!(directions.take(path_id(2)).is_none());
        assert!(directions.take_transaction(TransactionId(3)).is_some());
        assert!(directions.take_transaction(TransactionId(3)).is_none());
        assert_eq!(directions.take_all().len(), 1);
    }

    #[test]
    fn the_bound_holds_and_what_came_first_stays() {
        let mut directions = asked(0, 0..256);
        assert!(!directions.ask(at(0), path_id(999), name(999), Purpose::Connect, TransactionId(999)));
        assert_eq!(directions.due(at(0)).len(), MAX_PENDING);
        assert!(directions.take(path_id(0)).is_some());
    }

    #[test]
    fn a_request_that_the_application_waits_for_stays_one_when_it_is_asked_again_after_a_move() {
        let mut directions = asked(0, 1..2);
        assert!(directions.ask(at(100), path_id(1), name(1), Purpose::Refresh, TransactionId(9)));
        assert_eq!(directions.waits_for(&name(1)), Some(path_id(1)));
        let pending = directions.take(path_id(1)).expect("it waits");
        assert_eq!((pending.purpose, pending.transaction), (Purpose::Connect, TransactionId(9)));
        assert_eq!(directions.take_all().len(), 0);
    }

    #[test]
    fn nobody_waits_for_a_refresh() {
        let mut directions = Directions::default();
        assert!(directions.ask(at(0), path_id(1), name(1), Purpose::Refresh, TransactionId(1)));
        assert_eq!(directions.waits_for(&name(1)), None);
    }

    #[test]
    fn after_registering_anew_everything_is_asked_at_once() {
        let mut directions = asked(0, 1..3);
        assert_eq!(directions.due(at(0)).len(), 2);
        assert_eq!(directions.due(at(10)).len(), 0);
        directions.restart(at(20));
        assert_eq!(directions.due(at(20)).len(), 2);
    }

    #[test]
    fn a_request_is_unanswered_once_its_repeat_is_due_and_not_when_it_goes_to_another_registration() {
        let mut directions = asked(0, 1..2);
        assert!(!directions.is_unanswered(at(0)), "it was not sent yet");
        directions.due(at(0));
        assert!(!directions.is_unanswered(at(399)));
        assert!(directions.is_unanswered(at(400)));
        directions.restart(at(400));
        assert!(!directions.is_unanswered(at(400)));
    }
}
