//! Directions: two nodes are told, at once, how to reach each other.
//!
//! ```text
//!  initiator          DC                            responder
//!     │ direction       │                                │
//!     │ request         │                                │
//!     ├────────────────▶│ plan, relays, key              │
//!     │ route direction │ route direction                │
//!     │◀────────────────┼───────────────────────────────▶│      repeated until acknowledged
//!     │ ack             │                            ack │
//!     ├────────────────▶│◀───────────────────────────────┤
//! ```
//!
//! The one who asks first for a communication is its initiator for as long as it is remembered, also when
//! the other one asks later, after a move: a relay knows the two ends of a communication by their sides.

use ntm_proto::crypto::{self, Secret};
use ntm_proto::id::{Fqdn, NodeId, PathId, TransactionId};
use ntm_proto::time::Instant;
use ntm_proto::wire::message::{
    DirectionRequest, Envelope, ErrorCode, ErrorMessage, Message, NodeDescription, RelayGrant, RouteDirection, Side,
    Target,
};

use crate::coordinator::{Arrival, Coordinator, Event};
use crate::delivery::Receiver;
use crate::grants::lanes;
use crate::limits::{
    DIRECTION_BURST, DIRECTION_INTERVAL, DUPLICATE_WITHIN, MAX_DELIVERIES_PER_NODE, MISSED_KEEP_ALIVES, WAKE_WITHIN,
};
use crate::paths::{Asker, End, Stage, Waiting, index, other};
use crate::peers::Who;
use crate::plan::plan;
use crate::registration::Sender;
use crate::registry::State;
use crate::relays::choose;
use crate::sending::signal;
use crate::slab::NONE;

const PSK_LABEL: &[u8] = b"ntmfw communication key v1";

/// Why there is no direction: for the machine and for people.
pub(crate) type Refusal = (ErrorCode, &'static str);

/// Who a target is.
pub(crate) enum Resolved {
    Own(u32),
    Foreign,
    /// Perhaps of this domain, and then registered with another of its DCs.
    Elsewhere,
    Nobody,
}

/// What can be done about a node now.
pub(crate) enum Reach {
    Awake,
    /// It can be woken by this token.
    Asleep(Vec<u8>),
    /// Its registration is answered: its next datagram makes it known here. It may have told others already that it
    /// is there.
    Arriving,
    Gone,
}

impl Coordinator {
    pub(crate) fn handle_direction_request(
        &mut self,
        at: &Arrival,
        sender: &Sender,
        transaction: TransactionId,
        request: &DirectionRequest,
    ) {
        self.stats.directions_asked += 1;
        let refusal = self.ask(at, sender.node, transaction, request).err();
        if let Some((code, text)) = refusal {
            self.stats.directions_refused += 1;
            let refusal = ErrorMessage::new(code, text, Some(request.path_id));
            self.answer_error(at, Some(sender.node), sender.link, transaction, refusal);
        }
    }

    fn ask(
        &mut self,
        at: &Arrival,
        asker: u32,
        transaction: TransactionId,
        request: &DirectionRequest,
    ) -> Result<(), Refusal> {
        let node = self.registry.get_mut(asker).ok_or((ErrorCode::NotRegistered, "register first"))?;
        if !node.directions.permits(at.now, DIRECTION_INTERVAL, DIRECTION_BURST) {
            self.stats.dropped.rate_limited += 1;
            return Err((ErrorCode::Busy, "too many directions"));
        }
        let (me, sequence) = (node.id, node.sequence);
        let known = self.paths.find(request.path_id);
        let resolved = self.resolve_among_siblings(at.now, &request.target);
        if let (Some(path), Resolved::Own(target)) = (known, &resolved) {
            self.check_peer(path, &me, *target)?;
        }
        if let Some(path) = known
            && self.repeat_direction(at, path, &me, sequence, asker, transaction)?
        {
            return Ok(());
        }
        let row = match (known, resolved) {
            (_, Resolved::Own(target)) if target == asker => {
                return Err((ErrorCode::BadMessage, "this is the asking node itself"));
            }
            (Some(path), Resolved::Own(target)) => {
                self.bring_home(path, &me, target);
                path
            }
            (Some(path), Resolved::Elsewhere) => {
                self.seek_again(path, &me);
                path
            }
            (None, Resolved::Elsewhere) => {
                let nowhere = End::Foreign { domain: self.config.domain.clone(), id: None };
                self.remember(at.now, request.path_id, [End::Own(me), nowhere])?
            }
            (None, Resolved::Own(target)) => {
                let target = self.registry.get(target).ok_or((ErrorCode::NoSuchNode, "no such node"))?.id;
                self.remember(at.now, request.path_id, [End::Own(me), End::Own(target)])?
            }
            (Some(path), _) if self.foreign_peer(path, &me).is_some() => path,
            (_, Resolved::Nobody) => return Err((ErrorCode::NoSuchNode, "no such node")),
            (Some(_), Resolved::Foreign) => {
                return Err((ErrorCode::Forbidden, "another pair of nodes has this path id"));
            }
            (None, Resolved::Foreign) => {
                let Target::Name(name) = &request.target else { return Err((ErrorCode::NoSuchNode, "no such node")) };
                let domain = self.domain_of(name).ok_or((ErrorCode::NoSuchNode, "a name without a domain"))?;
                self.remember(at.now, request.path_id, [End::Own(me), End::Foreign { domain, id: None }])?
            }
        };
        if let Some(path) = self.paths.get_mut(row) {
            path.asked = at.now;
            path.asked_by = path.side_of(&me).unwrap_or(Side::Initiator);
            path.asked_sequence = sequence;
            path.asked_transaction = transaction;
        }
        self.stop_waiting(row);
        self.proceed(at.now, row, Asker::Node(me), transaction, request.target.clone())
    }

    /// Takes a communication as far as it goes now: the route directions are sent, or it waits.
    pub(crate) fn proceed(
        &mut self,
        now: Instant,
        row: u32,
        asker: Asker,
        transaction: TransactionId,
        target: Target,
    ) -> Result<(), Refusal> {
        let path = self.paths.get(row).ok_or((ErrorCode::Busy, "too many communications"))?;
        let End::Own(peer) = path.end(other(path.asked_by)).clone() else {
            return self.reach_out(now, row, asker, transaction, target);
        };
        let node = self.registry.by_id(&peer).ok_or((ErrorCode::NoSuchNode, "no such node"))?;
        match self.reach(now, node)? {
            Reach::Awake if matches!(asker, Asker::Peer { .. }) => self.direct_for_peer(now, row, &asker, transaction),
            Reach::Awake => self.route(now, row, transaction),
            Reach::Gone => Err((ErrorCode::NodeOffline, "the node is not registered now")),
            reach @ (Reach::Asleep(_) | Reach::Arriving) => {
                let path_id = path.id;
                let first = self.held.hold(now, peer, row).ok_or((ErrorCode::Busy, "too many wait for this node"))?;
                let stage = Stage::Waking(peer);
                self.paths.wait(row, Waiting { until: now + WAKE_WITHIN, asker, transaction, target, stage });
                if let Reach::Asleep(token) = reach
                    && first
                {
                    self.stats.wakes += 1;
                    self.event(Event::Wake { token, node: peer, path_id });
                }
                Ok(())
            }
        }
    }

    /// A new request takes the place of one that waits.
    pub(crate) fn stop_waiting(&mut self, row: u32) {
        if let Some(Waiting { stage: Stage::Waking(node), .. }) = self.paths.settle(row).as_deref() {
            self.held.release(node, row);
        }
    }

    /// A node was heard from: what waited for it goes on.
    pub(crate) fn handle_node_awake(&mut self, now: Instant, row: u32) {
        if self.held.len() == 0 {
            return;
        }
        let Some(id) = self.registry.get(row).map(|node| node.id) else { return };
        for path in self.held.take(&id) {
            let Some(waiting) = self.paths.settle(path) else { continue };
            let Waiting { asker, transaction, target, .. } = *waiting;
            if let Err(refusal) = self.proceed(now, path, asker.clone(), transaction, target) {
                self.fail(now, path, &asker, transaction, refusal);
            }
        }
    }

    pub(crate) fn handle_waiting_due(&mut self, now: Instant) {
        while let Some(row) = self.paths.next_overdue(now) {
            let Some(waiting) = self.paths.settle(row) else { return };
            let Waiting { asker, transaction, stage, .. } = *waiting;
            let refusal = match stage {
                Stage::Waking(node) => {
                    self.held.release(&node, row);
                    (ErrorCode::NodeOffline, "the node did not wake")
                }
                Stage::Reaching | Stage::Asked { .. } => (ErrorCode::DomainUnreachable, "the other domain is silent"),
            };
            self.fail(now, row, &asker, transaction, refusal);
        }
        while let Some(row) = self.paths.next_to_forget(now) {
            self.forget_path(row);
        }
    }

    /// The same request once more: gives the same answer. False where it is a new request.
    fn repeat_direction(
        &mut self,
        at: &Arrival,
        row: u32,
        me: &NodeId,
        sequence: u64,
        asker: u32,
        transaction: TransactionId,
    ) -> Result<bool, Refusal> {
        let Some(path) = self.paths.get(row) else { return Ok(false) };
        let side = path.side_of(me).ok_or((ErrorCode::Forbidden, "another pair of nodes has this path id"))?;
        let recent = at.now.since(path.asked) < DUPLICATE_WITHIN;
        if !recent || path.asked_by != side || path.asked_sequence != sequence {
            return Ok(false);
        }
        self.stats.directions_repeated += 1;
        let outstanding = path.deliveries[index(side)];
        if path.waiting.is_some() {
            return Ok(true);
        }
        let is_foreign = matches!(path.end(other(side)), End::Foreign { .. });
        if self.deliveries.get(outstanding).is_some_and(|one| one.path == row && one.transaction == transaction) {
            self.send_delivery(at.now, outstanding);
            return Ok(true);
        }
        if is_foreign {
            return Ok(false);
        }
        // Acknowledged already, or asked under another transaction: the same again for the asker alone.
        let Some((own, peer)) = self.describe_ends(row, side) else { return Ok(false) };
        let grants = self.grants(at.now, row, side);
        self.direct(at.now, row, side, asker, Some(transaction), &own, peer, grants)?;
        Ok(true)
    }

    pub(crate) fn resolve(&self, target: &Target) -> Resolved {
        let own = match target {
            Target::Name(name) if !name.is_within(&self.config.domain) => return Resolved::Foreign,
            Target::Name(name) => self.registry.by_name(name),
            Target::Node(id) => self.registry.by_id(id),
            Target::Virtual4(address) => self.registry.by_virtual4(*address),
            Target::Virtual6(address) => self.registry.by_virtual6(*address),
        };
        let known = own.filter(|&row| {
            let node = self.registry.get(row);
            node.is_some_and(|node| node.state != State::Tentative || self.handshakes.has(&node.id))
        });
        known.map_or(Resolved::Nobody, Resolved::Own)
    }

    pub(crate) fn reach(&self, now: Instant, row: u32) -> Result<Reach, Refusal> {
        let node = self.registry.get(row).ok_or((ErrorCode::NoSuchNode, "no such node"))?;
        if node.state == State::Revoked {
            return Err((ErrorCode::Revoked, "the node was revoked"));
        }
        let online = node.is_online(now) && self.links.is_fresh(now, node.link);
        let silent = now.since(node.heard) >= self.config.keep_alive * MISSED_KEEP_ALIVES;
        Ok(match &node.wake_token {
            _ if online && !silent => Reach::Awake,
            _ if !online && self.handshakes.has(&node.id) => Reach::Arriving,
            Some(token) => Reach::Asleep(token.to_vec()),
            None if online => Reach::Awake,
            None => Reach::Gone,
        })
    }

    /// Refuses a path id that is in use with another peer.
    fn check_peer(&self, row: u32, me: &NodeId, target: u32) -> Result<(), Refusal> {
        let target = self.registry.get(target).map(|node| node.id);
        let same = self.paths.get(row).is_some_and(|path| {
            path.side_of(me).is_some_and(|side| target.is_some_and(|target| path.end(other(side)).is_node(&target)))
        });
        if same { Ok(()) } else { Err((ErrorCode::Forbidden, "another pair of nodes has this path id")) }
    }

    fn foreign_peer(&self, row: u32, me: &NodeId) -> Option<&End> {
        let path = self.paths.get(row)?;
        let end = path.end(other(path.side_of(me)?));
        matches!(end, End::Foreign { .. }).then_some(end)
    }

    /// The key of a communication. Between two nodes of this domain it is the same again after a restart, so
    /// that an end which was not reached since goes on with the key that the other end is given. It is bound
    /// to both nodes: nodes choose path ids, and may choose one that others use.
    fn psk_of(&mut self, id: PathId, ends: &[End; 2]) -> Secret {
        match (self.config.service_keys.first(), ends) {
            (Some(key), [End::Own(one), End::Own(other)]) => own_psk(key, id, one, other),
            _ => Secret::new(self.rng.array()),
        }
    }

    /// A row for a new communication, with its key.
    pub(crate) fn remember(&mut self, now: Instant, id: PathId, ends: [End; 2]) -> Result<u32, Refusal> {
        if let Some(old) = self.paths.next_to_forget(now) {
            self.stats.evicted += 1;
            self.forget_path(old);
        }
        let psk = self.psk_of(id, &ends);
        self.paths.insert(now, id, psk, ends, Side::Initiator).ok_or((ErrorCode::Busy, "too many communications"))
    }

    /// Directs both ends, which are both of this domain.
    fn route(&mut self, now: Instant, row: u32, transaction: TransactionId) -> Result<(), Refusal> {
        let busy = (ErrorCode::Busy, "too many directions");
        let (initiator, responder) = self.describe_ends(row, Side::Initiator).ok_or(busy)?;
        let relays = choose(&initiator, Some(&responder), self.usable_relays(now));
        let path = self.paths.get_mut(row).ok_or(busy)?;
        path.relays = relays;
        path.lanes = lanes(&initiator, &responder);
        let (asked_by, ends) = (path.asked_by, path.ends.clone());
        let [grants_initiator, grants_responder] = self.grant_both(now, row);
        let rows = ends.map(|end| match end {
            End::Own(id) => self.registry.by_id(&id),
            End::Foreign { .. } => None,
        });
        let [Some(first), Some(second)] = rows else { return Err(busy) };
        let asked = |side: Side| (side == asked_by).then_some(transaction);
        let peer = responder.clone();
        self.direct(now, row, Side::Initiator, first, asked(Side::Initiator), &initiator, peer, grants_initiator)?;
        self.direct(
            now,
            row,
            Side::Responder,
            second,
            asked(Side::Responder),
            &responder,
            initiator,
            grants_responder,
        )?;
        Ok(())
    }

    /// Sends one end its route direction, in place of one that is on its way for the same communication.
    #[expect(clippy::too_many_arguments, reason = "each is of another type; they are what a direction is made of")]
    pub(crate) fn direct(
        &mut self,
        now: Instant,
        row: u32,
        side: Side,
        node: u32,
        transaction: Option<TransactionId>,
        own: &NodeDescription,
        peer: NodeDescription,
        grants: Vec<RelayGrant>,
    ) -> Result<(), Refusal> {
        let busy = (ErrorCode::Busy, "too many directions");
        let path = self.paths.get_mut(row).ok_or(busy)?;
        let (path_id, psk) = (path.id, path.psk.clone());
        let before = core::mem::replace(&mut path.deliveries[index(side)], NONE);
        self.cancel_delivery(before, row);
        let pairs = match side {
            Side::Initiator => plan(own, &peer, side),
            Side::Responder => plan(&peer, own, side),
        };
        let receiver = Receiver::Node(node);
        let full = self.deliveries.is_full()
            || self.registry.get(node).is_none_or(|node| node.deliveries >= MAX_DELIVERIES_PER_NODE);
        if full {
            return Err(busy);
        }
        let asked = transaction.filter(|&asked| !self.deliveries.is_outstanding(receiver, asked));
        let proves = asked.is_none();
        let transaction = match asked {
            Some(asked) => asked,
            None => self.fresh_transaction_for(receiver),
        };
        let message = Message::RouteDirection(Box::new(RouteDirection { path_id, side, psk, peer, pairs, grants }));
        let plaintext = signal(&Envelope { transaction, message });
        let delivery = self.deliveries.insert(now, receiver, transaction, plaintext, row, proves).ok_or(busy)?;
        if let Some(node) = self.registry.get_mut(node) {
            node.deliveries += 1;
        }
        if let Some(path) = self.paths.get_mut(row) {
            path.deliveries[index(side)] = delivery;
        }
        self.stats.directions_given += 1;
        self.send_delivery(now, delivery);
        Ok(())
    }

    /// The two ends as this domain knows them, the one on `side` first.
    fn describe_ends(&self, row: u32, side: Side) -> Option<(NodeDescription, NodeDescription)> {
        let path = self.paths.get(row)?;
        let describe = |side: Side| match path.end(side) {
            End::Own(id) => self.registry.describe(self.registry.by_id(id)?),
            End::Foreign { .. } => None,
        };
        Some((describe(side)?, describe(other(side))?))
    }

    /// Tells whoever asked that there is no direction.
    pub(crate) fn fail(
        &mut self,
        now: Instant,
        row: u32,
        asker: &Asker,
        transaction: TransactionId,
        (code, text): Refusal,
    ) {
        match asker {
            Asker::Node(id) => {
                self.stats.directions_refused += 1;
                let failed = ErrorMessage::new(code, text, self.paths.get(row).map(|path| path.id));
                if let Some(node) = self.registry.by_id(id) {
                    self.push_error(now, node, transaction, failed);
                }
            }
            Asker::Peer { peer, .. } => {
                if let Some(domain) = self.peers.get(*peer).and_then(|peer| peer.domain().cloned()) {
                    self.fail_peer(now, row, &domain, transaction, (code, text));
                }
            }
        }
    }

    pub(crate) fn fail_peer(
        &mut self,
        now: Instant,
        row: u32,
        domain: &Fqdn,
        transaction: TransactionId,
        (code, text): Refusal,
    ) {
        self.stats.directions_refused += 1;
        let failed = ErrorMessage::new(code, text, self.paths.get(row).map(|path| path.id));
        if let Some(peer) = self.peers.find(&Who::Domain(domain.clone())) {
            self.push_to_peer(now, peer, &signal(&Envelope { transaction, message: Message::Error(failed) }));
        }
    }

    pub(crate) fn forget_path(&mut self, row: u32) {
        self.stop_waiting(row);
        let Some(path) = self.paths.remove(row) else { return };
        for delivery in path.deliveries {
            self.cancel_delivery(delivery, row);
        }
    }
}

/// The key of a communication between two nodes of the domain that has this service key.
pub(crate) fn own_psk(key: &Secret, id: PathId, one: &NodeId, other: &NodeId) -> Secret {
    let (low, high) = if one < other { (one, other) } else { (other, one) };
    crypto::derive(key, &[PSK_LABEL, &id.0, &low.0, &high.0])
}
