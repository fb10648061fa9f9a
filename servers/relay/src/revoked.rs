//! The communications that a direction server has revoked: their tokens stay authentic until they
//! expire, and may not make a grant again.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use ntm_proto::id::PathId;
use ntm_proto::time::Instant;

use crate::limits;

/// No token lives longer than this, so none needs to be remembered longer.
const REMEMBERED_FOR: Duration = limits::MAX_TOKEN_LIFE;

#[derive(Debug, Default)]
pub(crate) struct Revoked {
    until: BTreeMap<PathId, Instant>,
    order: BTreeSet<(Instant, PathId)>,
}

impl Revoked {
    pub(crate) fn contains(&self, now: Instant, path_id: PathId) -> bool {
        self.until.get(&path_id).is_some_and(|until| now < *until)
    }

    /// Remembers `path_id`. True where another had to be forgotten before its time.
    pub(crate) fn insert(&mut self, now: Instant, path_id: PathId) -> bool {
        self.forget_lapsed(now);
        let until = now + REMEMBERED_FOR;
        if let Some(before) = self.until.insert(path_id, until) {
            self.order.remove(&(before, path_id));
        }
        self.order.insert((until, path_id));
        self.order.len() > limits::MAX_REVOKED && self.forget_first()
    }

    fn forget_lapsed(&mut self, now: Instant) {
        while self.order.first().is_some_and(|(until, _)| *until <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) -> bool {
        let Some((_, path_id)) = self.order.pop_first() else { return false };
        self.until.remove(&path_id).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(number: u32) -> PathId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        PathId(id)
    }

    #[test]
    fn a_revocation_outlives_every_token_and_then_is_forgotten() {
        let mut revoked = Revoked::default();
        revoked.insert(Instant::ZERO, path(1));
        assert!(revoked.contains(Instant::ZERO + (limits::MAX_TOKEN_LIFE - Duration::from_nanos(1)), path(1)));
        assert!(!revoked.contains(Instant::ZERO + limits::MAX_TOKEN_LIFE, path(1)));
        revoked.insert(Instant::ZERO + limits::MAX_TOKEN_LIFE, path(2));
        assert_eq!(revoked.until.len(), 1);
    }

    #[test]
    fn a_flood_of_revocations_stays_within_its_bound_and_keeps_the_newest() {
        let mut revoked = Revoked::default();
        let bound = u32::try_from(limits::MAX_REVOKED).unwrap();
        let evicted = (0..bound + 10).filter(|n| revoked.insert(Instant::from_nanos(u64::from(*n)), path(*n))).count();
        assert_eq!(evicted, 10);
        assert_eq!(revoked.until.len(), limits::MAX_REVOKED);
        assert!(!revoked.contains(Instant::from_millis(1), path(9)));
        assert!(revoked.contains(Instant::from_millis(1), path(10)));
    }
}
