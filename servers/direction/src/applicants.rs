//! Nodes that wait until the driver has stored them.
//!
//! ```text
//! first message ── judged ── not stored as it is now ──▶ Event::Store
//!                                                          │ durable, with the address the store chose
//!      answer ◀── judged again ◀── the node's row ◀── handle_stored
//! ```
//!
//! What a node is told must still be true after a crash, and where several DCs serve one domain only their
//! common store knows which virtual IPv4 addresses are free. So a node that is new here, or has a new record,
//! is answered when it is stored and not before. A node that is stored registers, moves and keeps alive
//! without the store.
//!
//! Invariant: one applicant a node, the one with the highest sequence number.

use core::net::Ipv6Addr;
use std::collections::{BTreeMap, BTreeSet};

use ntm_proto::id::{NodeId, TransactionId};
use ntm_proto::identity::{NodeRecord, Ticket};
use ntm_proto::session::handshake::Incoming;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::{ErrorCode, RegistrationRequest};

use crate::coordinator::{Arrival, Coordinator, Event, Stored};
use crate::handshakes::Ephemeral;
use crate::limits::{ADDRESS_GRACE, CONFIRM_WITHIN, MAX_APPLICANTS, STORE_WITHIN};
use crate::sending::error;

/// A node that is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    pub record: NodeRecord,
    pub virtual6: Ipv6Addr,
    pub sequence: u64,
    pub wake_token: Option<Vec<u8>>,
}

/// Why a node could not be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    /// No virtual IPv4 address is left, or another node has the same virtual IPv6 address.
    Full,
    /// The store does not work now.
    Unavailable,
}

/// A handshake that is answered when its node is stored.
pub(crate) struct Applicant {
    pub(crate) at: Arrival,
    pub(crate) ephemeral: Ephemeral,
    pub(crate) incoming: Incoming,
    pub(crate) transaction: TransactionId,
    pub(crate) request: RegistrationRequest,
    pub(crate) ticket: Ticket,
    /// When the driver was asked to store it.
    pub(crate) asked: Instant,
}

#[derive(Default)]
pub(crate) struct Applicants {
    by_node: BTreeMap<NodeId, Applicant>,
    ephemerals: BTreeSet<Ephemeral>,
}

impl Applicants {
    pub(crate) fn len(&self) -> usize {
        self.by_node.len()
    }

    /// Whether this very handshake waits.
    pub(crate) fn has(&self, ephemeral: &Ephemeral) -> bool {
        self.ephemerals.contains(ephemeral)
    }

    fn take(&mut self, node: &NodeId) -> Option<Applicant> {
        let applicant = self.by_node.remove(node)?;
        self.ephemerals.remove(&applicant.ephemeral);
        Some(applicant)
    }

    fn insert(&mut self, applicant: Applicant) {
        let node = applicant.ticket.node;
        self.take(&node);
        self.ephemerals.insert(applicant.ephemeral);
        self.by_node.insert(node, applicant);
    }

    /// Makes room: the store owes these an answer for longer than their nodes wait.
    fn forget_overdue(&mut self, now: Instant) {
        let overdue = |applicant: &&Applicant| now.since(applicant.at.now) >= CONFIRM_WITHIN;
        let nodes: Vec<NodeId> = self.by_node.values().filter(overdue).map(|one| one.ticket.node).collect();
        nodes.iter().for_each(|node| drop(self.take(node)));
    }
}

impl Coordinator {
    /// The answer to [`Event::Store`]. `stored` is what the store now has of the node: of what several handshakes
    /// or DCs said, the newest.
    pub fn handle_stored(&mut self, now: Instant, node: NodeId, stored: Result<Stored, NotStored>) {
        let Some(applicant) = self.applicants.by_node.get(&node) else { return };
        if let Ok(stored) = &stored
            && stored.record != applicant.request.record
            && stored.record.timestamp < applicant.request.record.timestamp
        {
            // The answer to an earlier application; that of this one is still to come.
            return;
        }
        let Some(mut applicant) = self.applicants.take(&node) else { return };
        applicant.at.now = now;
        let taken = stored.and_then(|stored| self.take_stored(now, &stored, applicant.request.sequence));
        let at = applicant.at;
        let refusal = match taken {
            Ok(()) => self.judge(&at, &applicant.incoming, &applicant.ticket, &applicant.request).err(),
            Err(NotStored::Full) => Some(error(ErrorCode::Busy, "no virtual address is left")),
            Err(NotStored::Unavailable) => Some(error(ErrorCode::Busy, "the registry does not answer")),
        };
        match refusal {
            None => self.answer_applicant(applicant),
            Some(refusal) => {
                let Applicant { incoming, ticket, transaction, .. } = applicant;
                self.refuse(&at, incoming, &ticket.key, transaction, refusal);
            }
        }
    }

    /// Whether the driver has stored the node with this very record.
    pub(crate) fn is_stored(&self, node: &NodeId, record: &NodeRecord) -> bool {
        let known = self.registry.by_id(node).and_then(|row| self.registry.get(row));
        known.is_some_and(|node| node.announced && node.has_record(record))
    }

    /// Has the driver store the node whose handshake this is.
    pub(crate) fn hold_applicant(&mut self, mut applicant: Applicant) {
        let (now, id) = (applicant.at.now, applicant.ticket.node);
        let mut ask = true;
        if let Some(other) = self.applicants.by_node.get(&id) {
            if other.request.sequence >= applicant.request.sequence {
                self.stats.dropped.stale_sequence += 1;
                return;
            }
            if other.request.record == applicant.request.record && now.since(other.asked) < STORE_WITHIN {
                applicant.asked = other.asked;
                ask = false;
            }
        } else if self.applicants.len() >= MAX_APPLICANTS {
            self.applicants.forget_overdue(now);
            if self.applicants.len() >= MAX_APPLICANTS {
                self.stats.dropped.too_many_handshakes += 1;
                return;
            }
        }
        let application = Application {
            record: applicant.request.record.clone(),
            virtual6: self.registry.virtual6(&id),
            sequence: applicant.request.sequence,
            wake_token: applicant.request.wake_token.clone(),
        };
        self.applicants.insert(applicant);
        if ask {
            self.event(Event::Store(Box::new(application)));
        }
    }

    /// Gives the node a row with the address the store chose.
    fn take_stored(&mut self, now: Instant, stored: &Stored, asked: u64) -> Result<(), NotStored> {
        let id = stored.record.node_id();
        let known = self.registry.by_id(&id);
        let kept = known.filter(|&row| self.registry.get(row).is_some_and(|node| node.virtual4 == stored.virtual4));
        let row = match (kept, known) {
            (Some(row), _) => row,
            (None, known) => {
                if let Some(row) = known {
                    self.drop_node(row);
                }
                let until = now + ADDRESS_GRACE;
                self.registry.restore(&stored.record, stored.virtual4, until).map_err(|_| NotStored::Full)?
            }
        };
        if let Some(node) = self.registry.get_mut(row) {
            // The store has this application's own number already.
            let before =
                if stored.sequence <= asked { stored.sequence.min(asked.saturating_sub(1)) } else { stored.sequence };
            node.sequence = node.sequence.max(before);
            node.wake_token = stored.wake_token.clone().map(Vec::into_boxed_slice);
            node.announced = true;
        }
        Ok(())
    }
}

impl core::fmt::Debug for Applicants {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Applicants").field("len", &self.by_node.len()).finish()
    }
}
