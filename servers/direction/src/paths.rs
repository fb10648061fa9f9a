//! Communications: what the coordinator remembers of each pair of nodes it directed, and the directions that
//! wait for something.
//!
//! A node that moves asks for a direction with the same path id. So that its session and its relay slots
//! live on, the key and the sides are remembered for a day and for at most [`MAX_PATHS`] communications, the
//! least recently asked for being forgotten first. A forgotten one is begun anew under a fresh key.

use core::hash::Hasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::DefaultHasher;

use hashbrown::HashTable;
use ntm_proto::id::{Fqdn, NodeId, PathId, RelayId, TransactionId};
use ntm_proto::session::Psk;
use ntm_proto::time::{Instant, UnixTime};
use ntm_proto::wire::message::{NodeDescription, RelayGrant, Side, Target};

use crate::limits::{MAX_HELD, MAX_HELD_PER_NODE, MAX_PATHS, PATH_REMEMBERED, WAKE_INTERVAL};
use crate::slab::{NONE, Slab};

/// One end of a communication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A node of this domain.
    Own(NodeId),
    /// A node of another domain; its id is known once that domain's DC has said it. Or a node of this domain that
    /// is registered with another of its DCs: `domain` is then that DC's name, or this domain's until it is found.
    Foreign { domain: Fqdn, id: Option<NodeId> },
}

#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) id: PathId,
    pub(crate) psk: Psk,
    /// The initiator and the responder.
    pub(crate) ends: [End; 2],
    /// When a direction was last asked for, by which end, as of which of its registrations.
    pub(crate) asked: Instant,
    pub(crate) asked_by: Side,
    pub(crate) asked_sequence: u64,
    pub(crate) asked_transaction: TransactionId,
    pub(crate) relays: Vec<RelayId>,
    /// Grants for each relay.
    pub(crate) lanes: u8,
    /// What the serial numbers of the grants given last were made of, and their end.
    pub(crate) granted: Option<(u64, UnixTime)>,
    /// The rows of the route directions on their way to each end, or [`NONE`].
    pub(crate) deliveries: [u32; 2],
    pub(crate) waiting: Option<Box<Waiting>>,
}

/// A direction that cannot be given yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) until: Instant,
    pub(crate) asker: Asker,
    pub(crate) transaction: TransactionId,
    pub(crate) target: Target,
    pub(crate) stage: Stage,
}

/// Who asked for a direction.
#[derive(Clone, Debug)]
pub(crate) enum Asker {
    /// A node of this domain.
    Node(NodeId),
    /// Another domain's DC, for a node of its own.
    Peer { peer: u32, initiator: Box<NodeDescription>, grants: Vec<RelayGrant> },
}

#[derive(Debug)]
pub(crate) enum Stage {
    /// The node was told to wake, or its registration waits for its confirmation.
    Waking(NodeId),
    /// The other domain's DC is being looked for or shaken hands with.
    Reaching,
    /// It has been asked; the grants are the asking node's.
    Asked { grants: Vec<RelayGrant> },
}

#[derive(Debug)]
pub(crate) struct Paths {
    rows: Slab<Path>,
    by_id: HashTable<u32>,
    keys: [u64; 2],
    /// Rows by when they were last asked for, as of when the entry was made.
    order: VecDeque<(Instant, u32, PathId)>,
    waiting: BTreeSet<(Instant, u32)>,
}

pub(crate) fn index(side: Side) -> usize {
    match side {
        Side::Initiator => 0,
        Side::Responder => 1,
    }
}

pub(crate) fn other(side: Side) -> Side {
    match side {
        Side::Initiator => Side::Responder,
        Side::Responder => Side::Initiator,
    }
}

impl End {
    /// The node, if it is known.
    pub(crate) fn node(&self) -> Option<&NodeId> {
        match self {
            Self::Own(id) => Some(id),
            Self::Foreign { id, .. } => id.as_ref(),
        }
    }

    pub(crate) fn is_node(&self, node: &NodeId) -> bool {
        self.node() == Some(node)
    }
}

impl Path {
    pub(crate) fn side_of(&self, node: &NodeId) -> Option<Side> {
        [Side::Initiator, Side::Responder].into_iter().find(|&side| self.end(side).is_node(node))
    }

    pub(crate) fn end(&self, side: Side) -> &End {
        &self.ends[index(side)]
    }
}

impl Paths {
    pub(crate) fn new(keys: [u64; 2]) -> Self {
        Self {
            rows: Slab::new(MAX_PATHS),
            by_id: HashTable::new(),
            keys,
            order: VecDeque::new(),
            waiting: BTreeSet::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn find(&self, id: PathId) -> Option<u32> {
        self.by_id.find(self.hash(id), |&row| self.rows.get(row).is_some_and(|path| path.id == id)).copied()
    }

    pub(crate) fn get(&self, row: u32) -> Option<&Path> {
        self.rows.get(row)
    }

    pub(crate) fn get_mut(&mut self, row: u32) -> Option<&mut Path> {
        self.rows.get_mut(row)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Path)> {
        self.rows.iter()
    }

    /// Takes in a communication that has no row yet.
    pub(crate) fn insert(&mut self, now: Instant, id: PathId, psk: Psk, ends: [End; 2], asked_by: Side) -> Option<u32> {
        let path = Path {
            id,
            psk,
            ends,
            asked: now,
            asked_by,
            asked_sequence: 0,
            asked_transaction: TransactionId(0),
            relays: Vec::new(),
            lanes: 1,
            granted: None,
            deliveries: [NONE; 2],
            waiting: None,
        };
        let hash = self.hash(id);
        let row = self.rows.insert(path).ok()?;
        let (rows, keys) = (&self.rows, self.keys);
        self.by_id.insert_unique(hash, row, |&other| rows.get(other).map_or(0, |path| hash_id(keys, path.id)));
        self.order.push_back((now, row, id));
        Some(row)
    }

    pub(crate) fn remove(&mut self, row: u32) -> Option<Path> {
        self.settle(row);
        let hash = self.hash(self.rows.get(row)?.id);
        if let Ok(entry) = self.by_id.find_entry(hash, |&other| other == row) {
            entry.remove();
        }
        self.rows.remove(row)
    }

    /// A row to give up: one not asked for within [`PATH_REMEMBERED`], or while the table is full the one asked
    /// for least recently. Rows that wait stay.
    pub(crate) fn next_to_forget(&mut self, now: Instant) -> Option<u32> {
        // Every turn takes an entry that is out of date, refreshes one or ends the search.
        for _ in 0..self.order.len().min(64) {
            let &(noted, row, id) = self.order.front()?;
            let Some(path) = self.rows.get(row).filter(|path| path.id == id) else {
                self.order.pop_front();
                continue;
            };
            if path.asked != noted || path.waiting.is_some() {
                let asked = if path.waiting.is_some() { now } else { path.asked };
                self.order.pop_front();
                self.order.push_back((asked, row, id));
                continue;
            }
            return (self.rows.is_full() || now.since(noted) >= PATH_REMEMBERED).then_some(row);
        }
        None
    }

    pub(crate) fn wait(&mut self, row: u32, waiting: Waiting) {
        self.settle(row);
        if let Some(path) = self.rows.get_mut(row) {
            self.waiting.insert((waiting.until, row));
            path.waiting = Some(Box::new(waiting));
        }
    }

    /// Ends the wait, if there is one.
    pub(crate) fn settle(&mut self, row: u32) -> Option<Box<Waiting>> {
        let waiting = self.rows.get_mut(row)?.waiting.take()?;
        self.waiting.remove(&(waiting.until, row));
        Some(waiting)
    }

    pub(crate) fn next_overdue(&self, now: Instant) -> Option<u32> {
        self.waiting.first().filter(|(until, _)| *until <= now).map(|&(_, row)| row)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting.first().map(|&(until, _)| until)
    }

    fn hash(&self, id: PathId) -> u64 {
        hash_id(self.keys, id)
    }
}

fn hash_id(keys: [u64; 2], id: PathId) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(keys[0]);
    hasher.write(&id.0);
    hasher.write_u64(keys[1]);
    hasher.finish()
}

/// The communications that wait for a node to wake or to arrive.
#[derive(Debug, Default)]
pub(crate) struct Held {
    by_node: BTreeMap<NodeId, Sleeper>,
    count: usize,
}

#[derive(Debug)]
struct Sleeper {
    paths: Vec<u32>,
    woken: Instant,
}

impl Held {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Holds a communication. `None`: there is no room; otherwise whether the node is to be woken now.
    pub(crate) fn hold(&mut self, now: Instant, node: NodeId, path: u32) -> Option<bool> {
        if self.count >= MAX_HELD {
            return None;
        }
        let new = !self.by_node.contains_key(&node);
        let sleeper = self.by_node.entry(node).or_insert(Sleeper { paths: Vec::new(), woken: now });
        if !sleeper.paths.contains(&path) {
            if sleeper.paths.len() >= MAX_HELD_PER_NODE {
                return None;
            }
            sleeper.paths.push(path);
            self.count += 1;
        }
        let wake = new || now.since(sleeper.woken) >= WAKE_INTERVAL;
        if wake {
            sleeper.woken = now;
        }
        Some(wake)
    }

    pub(crate) fn release(&mut self, node: &NodeId, path: u32) {
        let Some(sleeper) = self.by_node.get_mut(node) else { return };
        let before = sleeper.paths.len();
        sleeper.paths.retain(|held| *held != path);
        self.count -= before - sleeper.paths.len();
        if sleeper.paths.is_empty() {
            self.by_node.remove(node);
        }
    }

    /// The node is awake: everything held for it.
    pub(crate) fn take(&mut self, node: &NodeId) -> Vec<u32> {
        if self.count == 0 {
            return Vec::new();
        }
        let paths = self.by_node.remove(node).map_or_else(Vec::new, |sleeper| sleeper.paths);
        self.count -= paths.len();
        paths
    }
}
