//! Messages that are sent again until they are acknowledged, and what follows where they never are.

use ntm_proto::id::TransactionId;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::ErrorCode;

use crate::coordinator::{Arrival, Coordinator};
use crate::delivery::{Delivery, Due, Receiver};
use crate::paths::{Asker, End};

impl Coordinator {
    pub(crate) fn send_delivery(&mut self, now: Instant, row: u32) {
        let Some(delivery) = self.deliveries.get_mut(row) else { return };
        let (receiver, attempt) = (delivery.receiver, delivery.tries - 1);
        let plaintext = core::mem::take(&mut delivery.plaintext);
        let sent_to = match receiver {
            Receiver::Node(node) => self.push_frame(now, node, &plaintext, attempt),
            Receiver::Peer(peer) => self.push_to_peer(now, peer, &plaintext),
        };
        if let Some(delivery) = self.deliveries.get_mut(row) {
            delivery.plaintext = plaintext;
            delivery.sent_to = sent_to.or(delivery.sent_to);
        }
    }

    /// Sends a server what it has not answered, on its new session.
    pub(crate) fn resend_to_peer(&mut self, now: Instant, peer: u32) {
        for row in self.deliveries.outstanding(Receiver::Peer(peer)) {
            self.send_delivery(now, row);
        }
    }

    /// The node's address has proven itself: what was held back for want of that goes out.
    pub(crate) fn send_withheld(&mut self, now: Instant, node: u32) {
        for row in self.deliveries.unsent(Receiver::Node(node)) {
            self.send_delivery(now, row);
        }
    }

    pub(crate) fn handle_route_direction_ack(&mut self, at: &Arrival, node: u32, transaction: TransactionId) {
        let Some(delivery) = self.deliveries.acknowledge(Receiver::Node(node), transaction) else {
            self.stats.dropped.unexpected_answer += 1;
            return;
        };
        if delivery.proves && delivery.sent_to == Some(at.from) {
            self.prove(node, at.from);
        }
        self.ended(&delivery);
    }

    pub(crate) fn handle_deliveries_due(&mut self, now: Instant) {
        while let Some(due) = self.deliveries.pop_due(now) {
            match due {
                Due::Again(row) => {
                    self.stats.retransmissions += 1;
                    self.send_delivery(now, row);
                    self.doubt_session(now, row);
                }
                Due::GivenUp(delivery) => {
                    self.stats.directions_unacknowledged += 1;
                    self.ended(&delivery);
                    self.handle_unacknowledged(now, &delivery);
                }
            }
        }
    }

    /// Stops a message about a communication, if it is still that one.
    pub(crate) fn cancel_delivery(&mut self, delivery: u32, path: u32) {
        if self.deliveries.get(delivery).is_some_and(|one| one.path == path)
            && let Some(delivery) = self.deliveries.remove(delivery)
        {
            self.ended(&delivery);
        }
    }

    /// A delivery is over, one way or another.
    pub(crate) fn ended(&mut self, delivery: &Delivery) {
        if let Receiver::Node(node) = delivery.receiver
            && let Some(node) = self.registry.get_mut(node)
        {
            node.deliveries = node.deliveries.saturating_sub(1);
        }
    }

    pub(crate) fn fresh_transaction_for(&mut self, receiver: Receiver) -> TransactionId {
        loop {
            let transaction = self.fresh_transaction();
            if !self.deliveries.is_outstanding(receiver, transaction) {
                return transaction;
            }
        }
    }

    /// Another DC that has not answered twice may have lost the session: it is called as well.
    fn doubt_session(&mut self, now: Instant, row: u32) {
        if let Some(&Delivery { receiver: Receiver::Peer(peer), tries: 3, .. }) = self.deliveries.get(row)
            && self.peers.get(peer).is_some_and(|peer| peer.domain().is_some())
        {
            self.call_peer(now, peer);
        }
    }

    /// A node that was to be reached does not answer: whoever asked for it is told.
    fn handle_unacknowledged(&mut self, now: Instant, delivery: &Delivery) {
        let Receiver::Node(node) = delivery.receiver else { return };
        let Some(silent) = self.registry.get(node).map(|node| node.id) else { return };
        let Some(path) = self.paths.get(delivery.path) else { return };
        let refusal = (ErrorCode::NodeOffline, "the node does not answer");
        match path.end(path.asked_by).clone() {
            End::Own(id) if id != silent => {
                let transaction = self.fresh_transaction();
                self.fail(now, delivery.path, &Asker::Node(id), transaction, refusal);
            }
            End::Own(_) => {}
            End::Foreign { domain, .. } => {
                let transaction = path.asked_transaction;
                self.fail_peer(now, delivery.path, &domain, transaction, refusal);
            }
        }
    }
}
