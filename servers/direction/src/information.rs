//! Directions across domains.
//!
//! ```text
//!  initiator      DC of the initiator                      DC of the responder      responder
//!     │ direction request │                                        │                   │
//!     ├──────────────────▶│ node information request               │                   │
//!     │                   │ {initiator, key, grants}               │ route direction   │
//!     │                   ├───────────────────────────────────────▶├──────────────────▶│
//!     │   route direction │              node information response │                   │
//!     │◀──────────────────┤◀───────────────────────────────────────┤                   │
//! ```
//!
//! The responder's DC directs its node at once, so both nodes begin to punch half a round trip apart at
//! most. Each DC vouches for nodes of its own domain only: a description whose record names another
//! domain, or is not signed by its node, is refused.

use ntm_proto::id::{Fqdn, TransactionId};
use ntm_proto::time::Instant;
use ntm_proto::wire::message::{
    Envelope, ErrorCode, ErrorMessage, Message, NodeDescription, NodeInformationRequest, NodeInformationResponse,
    RelayGrant, Side, Target,
};

use crate::coordinator::{Arrival, Coordinator};
use crate::delivery::Receiver;
use crate::directions::{Reach, Refusal, Resolved};
use crate::grants::lanes;
use crate::limits::{FOREIGN_WITHIN, PEER_BURST, PEER_INTERVAL};
use crate::paths::{Asker, End, Path, Stage, Waiting, index, other};
use crate::relays::choose;
use crate::sending::signal;

impl Coordinator {
    /// Asks another domain's DC about a communication of ours, or waits until it can be asked.
    pub(crate) fn reach_out(
        &mut self,
        now: Instant,
        row: u32,
        asker: Asker,
        transaction: TransactionId,
        target: Target,
    ) -> Result<(), Refusal> {
        let busy = (ErrorCode::Busy, "too many communications");
        let path = self.paths.get(row).ok_or(busy)?;
        let End::Foreign { domain, .. } = path.end(other(path.asked_by)).clone() else { return Err(busy) };
        let unreachable = (ErrorCode::DomainUnreachable, "the other domain cannot be reached");
        if domain == self.config.domain {
            if !self.find_node(now, &target, row) {
                return Err(busy);
            }
            let until = now + FOREIGN_WITHIN;
            self.paths.wait(row, Waiting { until, asker, transaction, target, stage: Stage::Reaching });
            return Ok(());
        }
        let dc = self.dc_of(now, &domain);
        let reached = match dc {
            Some(dc) if self.reach_peer(now, dc) => true,
            Some(dc) if self.wait_for_peer(dc, row) => false,
            Some(_) => return Err(busy),
            None if self.look_up(now, &domain, Some(row)) => false,
            None => return Err(unreachable),
        };
        let until = now + FOREIGN_WITHIN;
        let Some(dc) = dc.filter(|_| reached) else {
            let stage = Stage::Reaching;
            self.paths.wait(row, Waiting { until, asker, transaction, target, stage });
            return Ok(());
        };
        let grants = self.ask_for_information(now, row, dc, &target, &asker).ok_or(busy)?;
        let stage = Stage::Asked { grants };
        self.paths.wait(row, Waiting { until, asker, transaction, target, stage });
        Ok(())
    }

    /// The way to the other domain is open: a communication that waited for that goes on.
    pub(crate) fn go_on(&mut self, now: Instant, row: u32) {
        let waits = self.paths.get(row).and_then(|path| path.waiting.as_ref());
        if !waits.is_some_and(|waiting| matches!(waiting.stage, Stage::Reaching)) {
            return;
        }
        let Some(waiting) = self.paths.settle(row) else { return };
        let Waiting { asker, transaction, target, .. } = *waiting;
        self.adopt_domain(now, row, &target);
        if let Err(refusal) = self.proceed(now, row, asker.clone(), transaction, target) {
            self.fail(now, row, &asker, transaction, refusal);
        }
    }

    /// The other domain cannot be reached.
    pub(crate) fn fail_waiting(&mut self, now: Instant, row: u32) {
        let waits = self.paths.get(row).and_then(|path| path.waiting.as_ref());
        if !waits.is_some_and(|waiting| matches!(waiting.stage, Stage::Reaching)) {
            return;
        }
        let Some(waiting) = self.paths.settle(row) else { return };
        let refusal = (ErrorCode::DomainUnreachable, "the other domain cannot be reached");
        self.fail(now, row, &waiting.asker, waiting.transaction, refusal);
    }

    pub(crate) fn handle_information_request(
        &mut self,
        at: &Arrival,
        peer: u32,
        transaction: TransactionId,
        request: NodeInformationRequest,
    ) {
        let path_id = request.path_id;
        if let Err((code, text)) = self.inform(at, peer, transaction, request) {
            self.stats.directions_refused += 1;
            let refusal = Message::Error(ErrorMessage::new(code, text, Some(path_id)));
            self.answer_peer(at, peer, transaction, refusal);
        }
    }

    pub(crate) fn handle_information_response(
        &mut self,
        at: &Arrival,
        peer: u32,
        transaction: TransactionId,
        response: NodeInformationResponse,
    ) {
        let path = self.paths.find(response.path_id);
        let outstanding = self.deliveries.find(Receiver::Peer(peer), transaction);
        let expected = path.filter(|&row| {
            let asked = self.paths.get(row).and_then(|path| path.waiting.as_ref());
            asked.is_some_and(|waiting| matches!(waiting.stage, Stage::Asked { .. }))
                && outstanding.is_some_and(|delivery| delivery.path == row)
        });
        let (Some(row), Some(domain)) = (expected, self.peers.get(peer).and_then(|peer| peer.domain().cloned())) else {
            self.stats.dropped.unexpected_answer += 1;
            return;
        };
        self.deliveries.acknowledge(Receiver::Peer(peer), transaction);
        let Some(waiting) = self.paths.settle(row) else { return };
        let Waiting { asker, transaction, target, stage, .. } = *waiting;
        let Stage::Asked { grants } = stage else { return };
        let taken = self.recognise(row, &domain, &target, &response.responder).and_then(|()| match &asker {
            Asker::Node(_) => self.take_information(at.now, row, transaction, grants, response.responder),
            Asker::Peer { peer, .. } => {
                self.pass_information(at.now, *peer, row, transaction, response.responder);
                Ok(())
            }
        });
        if let Err(refusal) = taken {
            self.fail(at.now, row, &asker, transaction, refusal);
        }
    }

    /// Another DC says that there will be no direction.
    pub(crate) fn handle_peer_error(
        &mut self,
        at: &Arrival,
        peer: u32,
        transaction: TransactionId,
        error: &ErrorMessage,
    ) {
        self.stats.errors_received += 1;
        self.deliveries.acknowledge(Receiver::Peer(peer), transaction);
        let domain = self.peers.get(peer).and_then(|peer| peer.domain().cloned());
        let row = error.path_id.and_then(|path_id| self.paths.find(path_id));
        let (Some(row), Some(domain)) = (row, domain) else { return };
        let Some(path) = self.paths.get(row) else { return };
        if !matches!(path.end(other(path.asked_by)), End::Foreign { domain: of, .. } if *of == domain) {
            return;
        }
        let near = path.end(path.asked_by).clone();
        let (asker, transaction) = match (self.paths.settle(row), near) {
            (Some(waiting), _) => (waiting.asker, waiting.transaction),
            (None, End::Own(asker)) => (Asker::Node(asker), self.fresh_transaction()),
            (None, End::Foreign { .. }) => return,
        };
        self.fail(at.now, row, &asker, transaction, (error.code, "says the other domain"));
    }

    /// Directs our node for another domain's, and describes it.
    pub(crate) fn direct_for_peer(
        &mut self,
        now: Instant,
        row: u32,
        asker: &Asker,
        transaction: TransactionId,
    ) -> Result<(), Refusal> {
        let busy = (ErrorCode::Busy, "too many directions");
        let Asker::Peer { peer, initiator, grants } = asker else { return Err(busy) };
        let path = self.paths.get(row).ok_or(busy)?;
        let (path_id, side) = (path.id, other(path.asked_by));
        let End::Own(id) = path.end(side) else { return Err(busy) };
        let node = self.registry.by_id(id).ok_or(busy)?;
        let responder = self.registry.describe(node).ok_or(busy)?;
        self.direct(now, row, side, node, None, &responder, (**initiator).clone(), grants.clone())?;
        self.stats.information_given += 1;
        let message = Message::NodeInformationResponse(Box::new(NodeInformationResponse { path_id, responder }));
        self.push_to_peer(now, *peer, &signal(&Envelope { transaction, message }));
        Ok(())
    }

    fn inform(
        &mut self,
        at: &Arrival,
        peer: u32,
        transaction: TransactionId,
        request: NodeInformationRequest,
    ) -> Result<(), Refusal> {
        let busy = (ErrorCode::Busy, "too many directions");
        let asking = self.peers.get_mut(peer).ok_or(busy)?;
        if !asking.asks.permits(at.now, PEER_INTERVAL, PEER_BURST) {
            self.stats.dropped.rate_limited += 1;
            return Err(busy);
        }
        let domain = asking.domain().cloned().ok_or(busy)?;
        let NodeInformationRequest { path_id, target, initiator, psk, grants } = request;
        let forbidden = (ErrorCode::Forbidden, "another pair of nodes has this path id");
        let known = self.paths.find(path_id);
        let repeated = known.and_then(|row| self.paths.get(row)).is_some_and(|path| {
            path.asked_transaction == transaction
                && at.now.since(path.asked) < FOREIGN_WITHIN
                && path.psk == psk
                && path.end(path.asked_by).is_node(&initiator.record.node_id())
        });
        if let Some(row) = known.filter(|_| repeated) {
            self.stats.directions_repeated += 1;
            return self.inform_again(at, row, peer, transaction);
        }
        self.vouched(&domain, &initiator)?;
        // A sibling has asked the registry already.
        let resolved = match self.config.siblings.contains_key(&domain) {
            true => self.resolve(&target),
            false => self.resolve_among_siblings(at.now, &target),
        };
        let asks = initiator.record.node_id();
        let far = |path: &Path| path.side_of(&asks).and_then(|side| path.end(other(side)).node().copied());
        let responder = match resolved {
            Resolved::Own(node) => End::Own(self.registry.get(node).ok_or(busy)?.id),
            Resolved::Elsewhere => {
                let id = known.and_then(|row| self.paths.get(row)).and_then(far);
                End::Foreign { domain: self.config.domain.clone(), id }
            }
            Resolved::Foreign | Resolved::Nobody => return Err((ErrorCode::NoSuchNode, "no such node")),
        };
        // The grants say which side our node is on: the other DC may have forgotten, or know better.
        let remembered = known
            .and_then(|row| self.paths.get(row))
            .and_then(|path| responder.node().and_then(|responder| path.side_of(responder)));
        let side = grants.first().map(|grant| grant.side).or(remembered).unwrap_or(Side::Responder);
        let mut ends = [responder, End::Foreign { domain, id: Some(asks) }];
        if side == Side::Responder {
            ends.swap(0, 1);
        }
        let row = match known {
            Some(row) => {
                let path = self.paths.get(row).ok_or(busy)?;
                // Which DC speaks for a node may have changed, who it is may not.
                if !ends.iter().all(|end| end.node().is_some_and(|node| path.side_of(node).is_some())) {
                    return Err(forbidden);
                }
                row
            }
            None => self.remember(at.now, path_id, ends.clone())?,
        };
        self.stop_waiting(row);
        let path = self.paths.get_mut(row).ok_or(busy)?;
        (path.ends, path.psk, path.asked, path.asked_by) = (ends, psk, at.now, other(side));
        (path.asked_transaction, path.asked_sequence) = (transaction, 0);
        path.relays.clear();
        let asker = Asker::Peer { peer, initiator: Box::new(initiator), grants };
        self.proceed(at.now, row, asker, transaction, target)
    }

    /// The same request once more: our node has been told, or waits to be.
    fn inform_again(&mut self, at: &Arrival, row: u32, peer: u32, transaction: TransactionId) -> Result<(), Refusal> {
        let Some(path) = self.paths.get(row).filter(|path| path.waiting.is_none()) else { return Ok(()) };
        let path_id = path.id;
        let End::Own(id) = path.end(other(path.asked_by)) else { return Ok(()) };
        let Some(node) = self.registry.by_id(id) else { return Ok(()) };
        if !matches!(self.reach(at.now, node)?, Reach::Awake) {
            return Err((ErrorCode::NodeOffline, "the node is not registered now"));
        }
        let Some(responder) = self.registry.describe(node) else { return Ok(()) };
        let message = Message::NodeInformationResponse(Box::new(NodeInformationResponse { path_id, responder }));
        self.answer_peer(at, peer, transaction, message);
        Ok(())
    }

    /// Whether the DC of `domain` may speak for this node.
    fn vouched(&self, domain: &Fqdn, node: &NodeDescription) -> Result<(), Refusal> {
        let record = &node.record;
        // A sibling speaks for every node of this domain, and passes on what other domains ask it.
        let managed = self.config.siblings.contains_key(domain) || record.manager == *domain;
        if !managed || !record.fqdn.is_within(&record.manager) {
            return Err((ErrorCode::Forbidden, "this domain does not manage the node"));
        }
        if record.revoked {
            return Err((ErrorCode::Revoked, "the node was revoked"));
        }
        record.verify(self.config.provider).map_err(|_| (ErrorCode::Forbidden, "the record is not signed by its node"))
    }

    /// Sends the request, repeated until it is answered. Gives the grants for our own node.
    fn ask_for_information(
        &mut self,
        now: Instant,
        row: u32,
        dc: u32,
        target: &Target,
        asker: &Asker,
    ) -> Option<Vec<RelayGrant>> {
        let path = self.paths.get(row)?;
        if let Asker::Peer { initiator, grants, .. } = asker {
            let request = NodeInformationRequest {
                path_id: path.id,
                target: target.clone(),
                initiator: (**initiator).clone(),
                psk: path.psk.clone(),
                grants: grants.clone(),
            };
            self.send_information_request(now, row, dc, request)?;
            return Some(Vec::new());
        }
        let side = path.asked_by;
        let (path_id, psk) = (path.id, path.psk.clone());
        let End::Own(id) = path.end(side) else { return None };
        let own = self.registry.describe(self.registry.by_id(id)?)?;
        let relays = choose(&own, None, self.usable_relays(now));
        let path = self.paths.get_mut(row)?;
        path.relays = relays;
        path.lanes = lanes(&own, &own);
        let [mut initiators, mut responders] = self.grant_both(now, row);
        if side == Side::Responder {
            core::mem::swap(&mut initiators, &mut responders);
        }
        let request =
            NodeInformationRequest { path_id, target: target.clone(), initiator: own, psk, grants: responders };
        self.send_information_request(now, row, dc, request)?;
        Some(initiators)
    }

    /// Sends the request in place of one that is on its way for the same communication.
    fn send_information_request(
        &mut self,
        now: Instant,
        row: u32,
        dc: u32,
        request: NodeInformationRequest,
    ) -> Option<()> {
        let path = self.paths.get_mut(row)?;
        let far = index(other(path.asked_by));
        let before = core::mem::replace(&mut path.deliveries[far], crate::slab::NONE);
        self.cancel_delivery(before, row);
        let receiver = Receiver::Peer(dc);
        let transaction = self.fresh_transaction_for(receiver);
        let message = Message::NodeInformationRequest(Box::new(request));
        let plaintext = signal(&Envelope { transaction, message });
        let delivery = self.deliveries.insert(now, receiver, transaction, plaintext, row, false)?;
        self.paths.get_mut(row)?.deliveries[far] = delivery;
        self.stats.information_asked += 1;
        self.send_delivery(now, delivery);
        Some(())
    }

    /// Whether the other DC described the node that was asked for; if so the communication remembers it.
    fn recognise(
        &mut self,
        row: u32,
        domain: &Fqdn,
        target: &Target,
        responder: &NodeDescription,
    ) -> Result<(), Refusal> {
        let busy = (ErrorCode::Busy, "too many directions");
        self.vouched(domain, responder)?;
        let id = responder.record.node_id();
        let path = self.paths.get_mut(row).ok_or(busy)?;
        let side = path.asked_by;
        let is_target = match target {
            Target::Name(name) => responder.record.fqdn == *name,
            Target::Node(node) => id == *node,
            Target::Virtual4(_) | Target::Virtual6(_) => true,
        };
        let expected = match path.end(other(side)) {
            End::Foreign { domain: of, id: known } => of == domain && known.is_none_or(|known| known == id),
            End::Own(_) => false,
        };
        if !is_target || !expected {
            return Err((ErrorCode::Forbidden, "the other domain described another node"));
        }
        path.ends[index(other(side))] = End::Foreign { domain: domain.clone(), id: Some(id) };
        Ok(())
    }

    /// Tells another domain's DC what a sibling said about a node it asked us for.
    fn pass_information(
        &mut self,
        now: Instant,
        peer: u32,
        row: u32,
        transaction: TransactionId,
        responder: NodeDescription,
    ) {
        let Some(path_id) = self.paths.get(row).map(|path| path.id) else { return };
        self.stats.information_given += 1;
        let message = Message::NodeInformationResponse(Box::new(NodeInformationResponse { path_id, responder }));
        self.push_to_peer(now, peer, &signal(&Envelope { transaction, message }));
    }

    fn take_information(
        &mut self,
        now: Instant,
        row: u32,
        transaction: TransactionId,
        grants: Vec<RelayGrant>,
        responder: NodeDescription,
    ) -> Result<(), Refusal> {
        let busy = (ErrorCode::Busy, "too many directions");
        let path = self.paths.get(row).ok_or(busy)?;
        let side = path.asked_by;
        let End::Own(own) = path.end(side).clone() else { return Err(busy) };
        let node = self.registry.by_id(&own).ok_or(busy)?;
        let described = self.registry.describe(node).ok_or(busy)?;
        self.direct(now, row, side, node, Some(transaction), &described, responder, grants)
    }

    /// What was looked for as the name's parent turned out to be a domain above it.
    fn adopt_domain(&mut self, now: Instant, row: u32, target: &Target) {
        let Target::Name(name) = target else { return };
        let Some(domain) = self.domain_of(name).filter(|domain| self.dc_of(now, domain).is_some()) else { return };
        let Some(path) = self.paths.get_mut(row) else { return };
        let far = index(other(path.asked_by));
        if let End::Foreign { domain: of, id: None } = &mut path.ends[far] {
            *of = domain;
        }
    }
}
