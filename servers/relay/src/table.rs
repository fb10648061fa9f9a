//! All grants: by index for forwarding, by id for binds, by time for expiry.
//!
//! Invariants: every index in `by_index` is the binding or the former binding of the side it leads
//! to, and every such binding is in it; every grant is in `by_id` once and in `checks` once, at its
//! `check_at`. Forwarding costs one look at `by_index` and one at `routes`; traffic moves no timer,
//! so a busy grant is looked at once an idle time, not once a datagram.

use core::hash::{BuildHasherDefault, Hasher};
use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use ntm_proto::id::{PathId, RelayIndex};
use ntm_proto::rng::Rng;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::Side;

use crate::grant::{Grant, GrantId, Route, SideState, seat};
use crate::shard::Shard;

/// A place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

/// The relay chooses the indices at random, and strangers can only ask for them, never add one: no
/// choice of theirs can make them collide. What is left to do is to spread them over the word.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IndexHasher(u64);

#[derive(Debug)]
pub(crate) struct Table {
    shard: Shard,
    by_index: HashMap<RelayIndex, (Slot, Side), BuildHasherDefault<IndexHasher>>,
    routes: Vec<Route>,
    /// `None` where the slot is free.
    grants: Vec<Option<Grant>>,
    free: Vec<Slot>,
    by_id: BTreeMap<GrantId, Slot>,
    checks: BTreeSet<(Instant, Slot)>,
}

impl Slot {
    const fn at(self) -> usize {
        self.0 as usize
    }
}

impl Hasher for IndexHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, word: u32) {
        // 2^64 divided by the golden ratio.
        self.0 = (self.0 ^ u64::from(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Table {
    pub(crate) fn new(shard: Shard) -> Self {
        Self {
            shard,
            by_index: HashMap::default(),
            routes: Vec::new(),
            grants: Vec::new(),
            free: Vec::new(),
            by_id: BTreeMap::new(),
            checks: BTreeSet::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// How many shards the relay has, this one included.
    pub(crate) fn shards(&self) -> u32 {
        self.shard.of
    }

    pub(crate) fn find(&self, id: GrantId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    /// The grants of a path; a path has as many as the direction server made tokens for it.
    pub(crate) fn of_path(&self, path_id: PathId) -> Vec<Slot> {
        let first = GrantId { path_id, serial: 0 };
        let last = GrantId { path_id, serial: u64::MAX };
        self.by_id.range(first..=last).map(|(_, slot)| *slot).collect()
    }

    pub(crate) fn by_index(&self, index: RelayIndex) -> Option<(Slot, Side)> {
        self.by_index.get(&index).copied()
    }

    pub(crate) fn route(&self, slot: Slot) -> &Route {
        &self.routes[slot.at()]
    }

    pub(crate) fn route_mut(&mut self, slot: Slot) -> &mut Route {
        &mut self.routes[slot.at()]
    }

    pub(crate) fn side(&self, slot: Slot, side: Side) -> &SideState {
        &self.grant(slot).sides[seat(side)]
    }

    pub(crate) fn side_mut(&mut self, slot: Slot, side: Side) -> &mut SideState {
        &mut self.grant_mut(slot).sides[seat(side)]
    }

    /// Makes a grant, which must not be in the table.
    pub(crate) fn insert(&mut self, id: GrantId, route: Route) -> Slot {
        let mut grant = Grant { id, sides: Default::default(), check_at: Instant::ZERO };
        grant.check_at = grant.due(&route);
        let check_at = grant.check_at;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.routes[slot.at()] = route;
                self.grants[slot.at()] = Some(grant);
                slot
            }
            None => {
                let slot = Slot(u32::try_from(self.routes.len()).expect("limits::MAX_GRANTS is far below 2^32"));
                self.routes.push(route);
                self.grants.push(Some(grant));
                slot
            }
        };
        self.checks.insert((check_at, slot));
        let before = self.by_id.insert(id, slot);
        debug_assert!(before.is_none());
        slot
    }

    /// Forgets a grant and its indices.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<Grant> {
        let grant = self.grants[slot.at()].take()?;
        let bindings = self.routes[slot.at()].bindings.iter_mut().filter_map(Option::take);
        let formers = grant.sides.iter().filter_map(|side| side.former.map(|former| former.binding));
        for binding in bindings.chain(formers) {
            self.by_index.remove(&binding.index);
        }
        self.by_id.remove(&grant.id);
        self.checks.remove(&(grant.check_at, slot));
        self.free.push(slot);
        Some(grant)
    }

    /// An index for a side, that nobody can guess and nobody else has.
    pub(crate) fn allot(&mut self, rng: &mut Rng, slot: Slot, side: Side) -> RelayIndex {
        loop {
            let index = RelayIndex(rng.u32());
            if index.0 != 0 && self.shard.has(index.0) && !self.by_index.contains_key(&index) {
                self.by_index.insert(index, (slot, side));
                return index;
            }
        }
    }

    /// Forgets an index that its side has left.
    pub(crate) fn release(&mut self, index: RelayIndex) {
        self.by_index.remove(&index);
    }

    /// Moves the grant's check forward if something of it now lapses before that.
    pub(crate) fn hasten(&mut self, slot: Slot) {
        let grant = self.grant(slot);
        let due = grant.due(self.route(slot));
        if due < grant.check_at {
            self.check_again(slot, due);
        }
    }

    /// Takes the check of a grant that has been looked at to the next thing of it that lapses.
    pub(crate) fn postpone(&mut self, slot: Slot) {
        let due = self.grant(slot).due(self.route(slot));
        self.check_again(slot, due);
    }

    pub(crate) fn next_check(&self) -> Option<Instant> {
        self.checks.first().map(|(at, _)| *at)
    }

    /// A grant whose check is due.
    pub(crate) fn due(&self, now: Instant) -> Option<Slot> {
        self.checks.first().filter(|(at, _)| *at <= now).map(|(_, slot)| *slot)
    }

    fn check_again(&mut self, slot: Slot, at: Instant) {
        let grant = self.grant_mut(slot);
        let before = core::mem::replace(&mut grant.check_at, at);
        self.checks.remove(&(before, slot));
        self.checks.insert((at, slot));
    }

    fn grant(&self, slot: Slot) -> &Grant {
        self.grants[slot.at()].as_ref().expect("slots come from the maps, which lead to grants only")
    }

    fn grant_mut(&mut self, slot: Slot) -> &mut Grant {
        self.grants[slot.at()].as_mut().expect("slots come from the maps, which lead to grants only")
    }
}
