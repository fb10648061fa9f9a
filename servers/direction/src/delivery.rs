//! Messages that are repeated until they are acknowledged.
//!
//! ```text
//! send ── 250 ms ── send ── 500 ms ── send ── 1 s ── … MAX_TRIES … ── given up
//!            └──────── acknowledged: forgotten
//! ```
//!
//! Invariant: one message to one receiver under one transaction; each stands once in the timer.

use std::collections::{BTreeMap, BTreeSet};

use ntm_proto::id::TransactionId;
use ntm_proto::time::Instant;
use zeroize::Zeroizing;

use crate::limits::{FIRST_RETRY, MAX_DELIVERIES, MAX_TRIES};
use crate::slab::Slab;

/// Who is to acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Receiver {
    Node(u32),
    Peer(u32),
}

#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) receiver: Receiver,
    pub(crate) transaction: TransactionId,
    /// The frame, ready to be sealed. It holds keys.
    pub(crate) plaintext: Zeroizing<Vec<u8>>,
    /// The row of the communication it is about.
    pub(crate) path: u32,
    /// Its transaction was chosen at random here, so who acknowledges it has received it.
    pub(crate) proves: bool,
    /// Where it was sent last.
    pub(crate) sent_to: Option<core::net::SocketAddr>,
    pub(crate) tries: u8,
    due: Instant,
}

/// What the timer says of a delivery.
#[derive(Debug)]
pub(crate) enum Due {
    /// Send it once more.
    Again(u32),
    /// Nobody acknowledged it.
    GivenUp(Delivery),
}

#[derive(Debug)]
pub(crate) struct Deliveries {
    rows: Slab<Delivery>,
    by_transaction: BTreeMap<(Receiver, TransactionId), u32>,
    timer: BTreeSet<(Instant, u32)>,
}

impl Deliveries {
    pub(crate) fn new() -> Self {
        Self { rows: Slab::new(MAX_DELIVERIES), by_transaction: BTreeMap::new(), timer: BTreeSet::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows.is_full()
    }

    /// Whether the receiver has a message outstanding under this transaction.
    pub(crate) fn is_outstanding(&self, receiver: Receiver, transaction: TransactionId) -> bool {
        self.by_transaction.contains_key(&(receiver, transaction))
    }

    /// A message that is about to be sent for the first time. `None` where the table is full or the
    /// transaction is in use.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        receiver: Receiver,
        transaction: TransactionId,
        plaintext: Vec<u8>,
        path: u32,
        proves: bool,
    ) -> Option<u32> {
        if self.is_outstanding(receiver, transaction) {
            return None;
        }
        let due = now + FIRST_RETRY;
        let plaintext = Zeroizing::new(plaintext);
        let delivery = Delivery { receiver, transaction, plaintext, path, proves, sent_to: None, tries: 1, due };
        let row = self.rows.insert(delivery).ok()?;
        self.by_transaction.insert((receiver, transaction), row);
        self.timer.insert((due, row));
        Some(row)
    }

    pub(crate) fn get(&self, row: u32) -> Option<&Delivery> {
        self.rows.get(row)
    }

    pub(crate) fn get_mut(&mut self, row: u32) -> Option<&mut Delivery> {
        self.rows.get_mut(row)
    }

    pub(crate) fn acknowledge(&mut self, receiver: Receiver, transaction: TransactionId) -> Option<Delivery> {
        let row = *self.by_transaction.get(&(receiver, transaction))?;
        self.remove(row)
    }

    pub(crate) fn remove(&mut self, row: u32) -> Option<Delivery> {
        let delivery = self.rows.remove(row)?;
        self.by_transaction.remove(&(delivery.receiver, delivery.transaction));
        self.timer.remove(&(delivery.due, row));
        Some(delivery)
    }

    /// Everything on its way to a receiver that is gone.
    pub(crate) fn remove_all(&mut self, receiver: Receiver) {
        for row in self.outstanding(receiver) {
            self.remove(row);
        }
    }

    /// All for the receiver, by transaction.
    pub(crate) fn outstanding(&self, receiver: Receiver) -> Vec<u32> {
        let range = (receiver, TransactionId(0))..=(receiver, TransactionId(u32::MAX));
        self.by_transaction.range(range).map(|(_, &row)| row).collect()
    }

    /// Those for the receiver that have not been sent at all.
    pub(crate) fn unsent(&self, receiver: Receiver) -> Vec<u32> {
        let mut rows = self.outstanding(receiver);
        rows.retain(|&row| self.rows.get(row).is_some_and(|delivery| delivery.sent_to.is_none()));
        rows
    }

    pub(crate) fn find(&self, receiver: Receiver, transaction: TransactionId) -> Option<&Delivery> {
        self.by_transaction.get(&(receiver, transaction)).and_then(|&row| self.rows.get(row))
    }

    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Due> {
        let &(due, row) = self.timer.first().filter(|(due, _)| *due <= now)?;
        let delivery = self.rows.get_mut(row)?;
        if delivery.tries >= MAX_TRIES {
            return self.remove(row).map(Due::GivenUp);
        }
        self.timer.remove(&(due, row));
        delivery.due = now + FIRST_RETRY * (1 << delivery.tries);
        delivery.tries += 1;
        self.timer.insert((delivery.due, row));
        Some(Due::Again(row))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timer.first().map(|&(due, _)| due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    const NODE: Receiver = Receiver::Node(3);

    #[test]
    fn a_message_is_repeated_ever_more_slowly_and_then_given_up() {
        let mut deliveries = Deliveries::new();
        deliveries.insert(Instant::ZERO, NODE, TransactionId(9), vec![1], 0, true).unwrap();
        let mut sent_at = Vec::new();
        let given_up = loop {
            let now = deliveries.deadline().unwrap();
            match deliveries.pop_due(now).unwrap() {
                Due::Again(_) => sent_at.push(now.as_millis()),
                Due::GivenUp(delivery) => break (now.as_millis(), delivery.transaction),
            }
        };
        assert_eq!(sent_at, [250, 750, 1_750, 3_750, 7_750]);
        assert_eq!(given_up, (15_750, TransactionId(9)));
        assert_eq!((deliveries.len(), deliveries.deadline()), (0, None));
    }

    #[test]
    fn an_acknowledged_message_is_sent_no_more_and_only_its_receiver_can_acknowledge_it() {
        let mut deliveries = Deliveries::new();
        deliveries.insert(Instant::ZERO, NODE, TransactionId(9), vec![1], 0, true).unwrap();
        assert!(deliveries.insert(Instant::ZERO, NODE, TransactionId(9), vec![2], 0, true).is_none());
        assert!(deliveries.acknowledge(Receiver::Node(4), TransactionId(9)).is_none());
        assert!(deliveries.acknowledge(Receiver::Peer(3), TransactionId(9)).is_none());
        assert!(deliveries.acknowledge(NODE, TransactionId(9)).is_some());
        assert!(deliveries.acknowledge(NODE, TransactionId(9)).is_none());
        assert!(deliveries.pop_due(Instant::ZERO + Duration::from_secs(60)).is_none());
    }

    #[test]
    fn a_receiver_that_is_gone_takes_its_messages_along() {
        let mut deliveries = Deliveries::new();
        for transaction in 0..5 {
            deliveries.insert(Instant::ZERO, NODE, TransactionId(transaction), vec![], 0, true).unwrap();
        }
        deliveries.insert(Instant::ZERO, Receiver::Node(4), TransactionId(0), vec![], 0, true).unwrap();
        deliveries.remove_all(NODE);
        assert_eq!(deliveries.len(), 1);
    }
}
