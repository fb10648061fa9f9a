//! This domain's relays: what they report, and what is taken back from them.

use core::net::SocketAddr;
use core::num::NonZeroU16;
use std::collections::{BTreeMap, VecDeque};

use ntm_proto::id::{NodeId, PathId, RelayId, TransactionId};
use ntm_proto::time::Instant;
use ntm_proto::wire::message::{Envelope, Message, RelayDirection, RelayReport};

use crate::coordinator::{Arrival, Coordinator};
use crate::delivery::Receiver;
use crate::limits::{MAX_TAKEN_BACK, RELAY_SILENT};
use crate::peers::Who;
use crate::relays::Relay;
use crate::sending::signal;
use crate::slab::NONE;

/// What a relay said last.
#[derive(Debug)]
pub(crate) struct Reported {
    addresses: Vec<SocketAddr>,
    load: u16,
    draining: bool,
    pub(crate) shards: NonZeroU16,
    at: Instant,
}

/// Communications whose grants were taken back, by relay, each until the last token for it ends. A relay that starts
/// again knows of none of them, and one that was away never heard of some.
#[derive(Debug, Default)]
pub(crate) struct TakenBack {
    by_relay: BTreeMap<RelayId, VecDeque<(Instant, PathId)>>,
}

impl TakenBack {
    /// True where an older one had to be forgotten before its time.
    fn note(&mut self, now: Instant, relay: RelayId, path_id: PathId, until: Instant) -> bool {
        let all = self.by_relay.entry(relay).or_default();
        all.retain(|(until, _)| now < *until);
        all.push_back((until, path_id));
        all.len() > MAX_TAKEN_BACK && all.pop_front().is_some()
    }

    fn of(&self, now: Instant, relay: RelayId) -> Vec<PathId> {
        let all = self.by_relay.get(&relay).into_iter().flatten();
        all.filter(|(until, _)| now < *until).map(|(_, path_id)| *path_id).collect()
    }
}

impl Coordinator {
    /// The relays that may be offered now: configured ones that have not reported yet, and those that have
    /// lately and are not leaving.
    pub(crate) fn usable_relays(&self, now: Instant) -> impl Iterator<Item = Relay<'_>> {
        self.config.relays.iter().filter_map(move |(&relay, config)| {
            let reported = self.reported.get(&relay);
            if reported.is_some_and(|reported| reported.draining || now.since(reported.at) >= RELAY_SILENT) {
                return None;
            }
            let addresses = reported.map(|reported| &reported.addresses[..]).filter(|addresses| !addresses.is_empty());
            let addresses = addresses.unwrap_or(&config.addresses);
            let load = reported.map_or(0, |reported| reported.load);
            (!addresses.is_empty()).then_some(Relay { relay, addresses, load, reporting: reported.is_some() })
        })
    }

    pub(crate) fn handle_relay_report(
        &mut self,
        at: &Arrival,
        peer: u32,
        transaction: TransactionId,
        report: RelayReport,
    ) {
        let relay = self.peers.get(peer).map(|peer| peer.who.clone());
        if relay != Some(Who::Relay(report.relay)) {
            self.stats.dropped.unexpected_message += 1;
            return;
        }
        self.stats.relay_reports += 1;
        let RelayReport { relay, addresses, load, draining, shards } = report;
        self.reported.insert(relay, Reported { addresses, load, draining, shards, at: at.now });
        self.answer_peer(at, peer, transaction, Message::RelayAck);
    }

    pub(crate) fn handle_relay_ack(&mut self, peer: u32, transaction: TransactionId) {
        if self.deliveries.acknowledge(Receiver::Peer(peer), transaction).is_none() {
            self.stats.dropped.unexpected_answer += 1;
        }
    }

    /// Ends every communication a revoked node takes part in, and has the relays forget them.
    pub(crate) fn revoke_paths(&mut self, now: Instant, node: &NodeId) {
        let rows: Vec<u32> =
            self.paths.iter().filter(|(_, path)| path.side_of(node).is_some()).map(|(row, _)| row).collect();
        for row in rows {
            let Some(path) = self.paths.get(row) else { continue };
            let (path_id, relays) = (path.id, path.relays.clone());
            self.forget_path(row);
            for relay in relays {
                let evicted = self.taken_back.note(now, relay, path_id, now + self.config.grant_lifetime);
                self.stats.evicted += u64::from(evicted);
                self.revoke_at(now, relay, RelayDirection { revoke: path_id });
            }
        }
    }

    /// A relay has called: it is told again what it may have forgotten.
    pub(crate) fn handle_relay_up(&mut self, now: Instant, relay: RelayId) {
        for path_id in self.taken_back.of(now, relay) {
            self.revoke_at(now, relay, RelayDirection { revoke: path_id });
        }
    }

    fn revoke_at(&mut self, now: Instant, relay: RelayId, revocation: RelayDirection) {
        let Some(peer) = self.peers.find(&Who::Relay(relay)) else { return };
        let receiver = Receiver::Peer(peer);
        let transaction = self.fresh_transaction_for(receiver);
        let plaintext = signal(&Envelope { transaction, message: Message::RelayDirection(revocation) });
        match self.deliveries.insert(now, receiver, transaction, plaintext, NONE, false) {
            Some(row) => self.send_delivery(now, row),
            None => self.stats.overflowed += 1,
        }
    }
}
