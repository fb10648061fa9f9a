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

    /// The registration is new: whatever waits is asked at once.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.pending.iter_mut().for_each(|pending| pending.next_at = now);
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
