//! What the coordinator says, and asking it.

use alloc::vec::Vec;

use ntm_proto::id::{PathId, TransactionId};
use ntm_proto::time::Instant;
use ntm_proto::wire::message::{
    DirectionRequest, Envelope, ErrorCode, ErrorMessage, Message, RegistrationResponse, RouteDirection, Target,
};

use super::Node;
use crate::direction::{Pending, Purpose};
use crate::director::Heard;
use crate::event::{Event, FailReason};
use crate::held::Held;
use crate::keys::PeerKey;
use crate::stats::DropReason;
use crate::survey::Survey;

impl Node {
    pub(super) fn heard(&mut self, now: Instant, heard: Heard) {
        match heard {
            Heard::Registered { response, anew } => self.registered(now, response, anew),
            Heard::Signal(envelope) => self.handle_signal(now, envelope),
            Heard::Refused(error) => self.refused(now, &error),
        }
    }

    pub(super) fn registered(&mut self, now: Instant, response: RegistrationResponse, anew: bool) {
        self.ctx.fallback.set_relays(&response.relays);
        self.survey.set_relays(now, response.relays);
        self.directions.restart(now);
        if anew {
            self.rescue_stranded(now);
        }
        self.run_directions(now);
    }

    pub(super) fn handle_signal(&mut self, now: Instant, envelope: Envelope) {
        let transaction = envelope.transaction;
        match envelope.message {
            Message::RouteDirection(direction) => {
                let ack = Envelope { transaction, message: Message::RouteDirectionAck };
                self.director.say(now, &mut self.ctx, &self.interfaces, ack);
                self.handle_direction(now, *direction);
            }
            Message::Error(error) => self.handle_error(now, envelope.transaction, &error),
            Message::Wake(_) => self.handle_wake(now),
            _ => self.ctx.stats.drop(DropReason::Unexpected),
        }
    }

    pub(super) fn handle_direction(&mut self, now: Instant, direction: RouteDirection) {
        let path_id = direction.path_id;
        let asked = self.directions.take(path_id);
        let wanted = asked.is_some_and(|pending| pending.purpose == Purpose::Connect);
        let record = &direction.peer.record;
        let node = record.node_id();
        let known = self.peers.by_node(&node).and_then(|key| self.peers.get(key));
        let verified = known.is_some_and(|peer| peer.description.record == *record);
        if node == self.id || record.revoked || !(verified || record.verify(self.ctx.provider).is_ok()) {
            if wanted {
                self.ctx.emit(Event::ConnectFailed { path_id, reason: FailReason::Unauthentic });
            }
            return;
        }
        let Some(key) = self.peers.row_for(now, &mut self.ctx, &direction.peer) else {
            self.ctx.emit(Event::ConnectFailed { path_id, reason: FailReason::Full });
            return;
        };
        let forgotten =
            self.with_peer(now, key, |peer, ctx, interfaces| peer.direct(now, ctx, interfaces, direction)).flatten();
        self.peers.note_path(path_id, key, forgotten);
        if wanted {
            self.emit_resolved(key, path_id);
        }
        if let Some(held) = self.held.take(now, path_id) {
            self.accept(now, key, held.incoming, &held.request, held.arrival, held.received, held.ephemeral);
        }
    }

    pub(super) fn handle_error(&mut self, now: Instant, transaction: TransactionId, error: &ErrorMessage) {
        // Registering again answers this one; what was asked for then is asked for again.
        if error.code == ErrorCode::NotRegistered {
            self.director.refused(now, &mut self.ctx, error);
            return;
        }
        let pending = match error.path_id {
            Some(path_id) => self.directions.take(path_id),
            None => self.directions.take_transaction(transaction),
        };
        match pending {
            Some(pending) => self.fail(&pending, FailReason::Refused(error.code)),
            // About this node itself: no request of this transaction waits.
            None if error.path_id.is_none() => self.refused(now, error),
            None => {}
        }
    }

    pub(super) fn fail(&mut self, pending: &Pending, reason: FailReason) {
        if pending.purpose == Purpose::Connect {
            self.ctx.emit(Event::ConnectFailed { path_id: pending.path_id, reason });
        }
    }

    /// The coordinator refused this node itself. Where another engine took its identity over, nothing is
    /// left to do or to hold.
    pub(super) fn refused(&mut self, now: Instant, error: &ErrorMessage) {
        self.director.refused(now, &mut self.ctx, error);
        if self.director.is_superseded() {
            for pending in self.directions.take_all() {
                self.fail(&pending, FailReason::Refused(error.code));
            }
            for key in self.peers.keys() {
                self.peers.remove(&mut self.ctx, key);
            }
            self.survey = Survey::new();
            self.ctx.fallback.end();
            self.held = Held::default();
        }
    }

    pub(super) fn emit_resolved(&mut self, key: PeerKey, path_id: PathId) {
        let Some(peer) = self.peers.get(key) else { return };
        let event = Event::Resolved {
            path_id,
            peer: peer.node,
            name: peer.description.record.fqdn.clone(),
            virtual4: peer.virtual4(),
            virtual6: peer.virtual6(),
        };
        self.ctx.emit(event);
    }

    /// Sends the requests that are due, if the coordinator can be asked.
    pub(super) fn run_directions(&mut self, now: Instant) {
        for over in self.directions.give_up(now) {
            self.fail(&over, FailReason::NoDirector);
        }
        if self.director.is_registered() && self.directions.is_unanswered(now) {
            self.director.handle_silence(now, &mut self.ctx, &self.interfaces);
        }
        for (path_id, target, transaction) in self.directions.due(now) {
            if !self.director.is_registered() {
                continue;
            }
            let message = Message::DirectionRequest(DirectionRequest { path_id, target });
            self.director.say(now, &mut self.ctx, &self.interfaces, Envelope { transaction, message });
        }
    }

    /// After a move: new directions for every tunnel in use, so that NATs are punched anew.
    pub(super) fn refresh_directions(&mut self, now: Instant) {
        let live: Vec<(PeerKey, PathId)> = self
            .peers
            .iter()
            .filter(|peer| !peer.is_dormant(now))
            .filter_map(|peer| Some((peer.key, peer.path_ids().last()?)))
            .collect();
        for (key, path_id) in live {
            self.ask_again(now, key, path_id);
        }
        self.run_directions(now);
    }

    /// Peers that no path leads to have waited for a coordinator as well.
    fn rescue_stranded(&mut self, now: Instant) {
        let stranded = self.peers.iter().filter(|peer| peer.is_stranded() && !peer.is_dormant(now));
        let stranded: Vec<_> = stranded.filter_map(|peer| Some((peer.key, peer.path_ids().last()?))).collect();
        for (key, path_id) in stranded {
            self.ask_again(now, key, path_id);
        }
    }

    pub(super) fn refresh_direction(&mut self, now: Instant, key: PeerKey, path_id: PathId) {
        self.ask_again(now, key, path_id);
        self.run_directions(now);
    }

    pub(super) fn ask_again(&mut self, now: Instant, key: PeerKey, path_id: PathId) {
        let Some(peer) = self.peers.get(key) else { return };
        let target = Target::Name(peer.description.record.fqdn.clone());
        let transaction = self.director.transaction();
        self.directions.ask(now, path_id, target, Purpose::Refresh, transaction);
    }

    pub(super) fn report_survey(&mut self, now: Instant) {
        let rtts = self.survey.rtts();
        self.director.begin_update(now, &mut self.ctx, &self.interfaces, rtts);
    }
}
