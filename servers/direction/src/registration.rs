//! What a node's data datagrams do: registration, keep-alive, leaving; and the end of leases.
//!
//! ```text
//!             handshake confirmed, or a rising registration on a live session
//!  Tentative ─────────────────────────────▶ Online ◀──────────────────────────┐
//!      │ not confirmed                      │    │ lease ended, left           │ registered again
//!      ▼                                    │    ▼                             │
//!  (no row)                                 │  Offline ────────────────────────┘
//!                                   revoked ▼    │ away for ADDRESS_GRACE
//!                                       Revoked  ▼
//!                                              (no row; the virtual IPv4 address is free)
//! ```

use ntm_proto::id::TransactionId;
use ntm_proto::time::Instant;
use ntm_proto::wire::frame::Frame;
use ntm_proto::wire::message::{Envelope, ErrorCode, KeepAlive, KeepAliveAck, Message, RegistrationRequest};
use ntm_proto::wire::outer::Data;

use crate::coordinator::{Arrival, Coordinator, Event, Gone, Stored};
use crate::delivery::Receiver;
use crate::handshakes::HalfOpen;
use crate::interfaces::Interfaces;
use crate::limits::{ADDRESS_GRACE, MAX_REASSEMBLERS, PREVIOUS_LINGERS, REGISTRATION_BURST, REGISTRATION_INTERVAL};
use crate::links::{OpenedLink, Owner};
use crate::registry::{Primary, State};
use crate::sending::{error, some};
use crate::slab::NONE;

/// A message of a registered node, and the session it came by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub(crate) node: u32,
    pub(crate) link: u32,
    /// Nothing the node sent later has come before.
    newest: bool,
}

impl Coordinator {
    pub(crate) fn handle_data(&mut self, at: &Arrival, datagram: &mut [u8]) {
        let index = Data::parse(datagram).map(|data| data.receiver);
        if let Some(Owner::Peer(row)) = index.ok().and_then(|index| self.links.owner(index)) {
            self.handle_peer_data(at, row, datagram);
            return;
        }
        let opened = match self.links.open(self.config.provider, at.now, datagram) {
            Ok(opened) => opened,
            Err(why) => {
                self.count_unopened(why);
                return;
            }
        };
        let OpenedLink { row: link, owner, plaintext, newest } = opened;
        let node = match owner {
            Owner::Node(row) => {
                self.note_datagram(at, row, link, newest);
                row
            }
            Owner::HalfOpen(row) => match self.commit(at, row) {
                Some(node) => node,
                None => return,
            },
            Owner::Peer(_) => return,
        };
        let newest = newest && self.registry.get(node).is_some_and(|node| node.link == link);
        let sender = Sender { node, link, newest };
        self.handle_frame(at, &sender, &datagram[plaintext]);
    }

    /// What any authentic datagram of a registered node does: it prolongs the lease.
    fn note_datagram(&mut self, at: &Arrival, row: u32, link: u32, newest: bool) {
        let Some(node) = self.registry.get_mut(row) else { return };
        if link != node.link && node.superseded != Instant::FAR_FUTURE {
            return;
        }
        let mut interfaces = node.interfaces.iter_mut().enumerate();
        let found = interfaces.find_map(|(slot, interface)| Some((slot, interface.seen.find(at.from)?)));
        if let Some((slot, seen)) = found {
            seen.received(at.bytes);
            if newest && link == node.link {
                node.primary = Primary { slot: slot as u8, v4: at.from.is_ipv4() };
            }
        }
        if node.is_online(at.now) {
            node.heard = at.now;
            node.until = at.now + self.config.lease;
        }
    }

    fn handle_frame(&mut self, at: &Arrival, sender: &Sender, plaintext: &[u8]) {
        match Frame::parse(plaintext) {
            Ok(Frame::Signal(bytes)) => match Envelope::parse(bytes) {
                Ok(envelope) => self.handle_message(at, sender, envelope),
                Err(_) => self.stats.dropped.bad_message += 1,
            },
            Ok(Frame::KeepAlive) => self.stats.keep_alives += 1,
            Ok(Frame::PathChallenge(challenge)) => self.handle_challenge(at, sender.node, sender.link, &challenge),
            Ok(Frame::PathResponse(response)) => self.handle_proof(at, sender.node, response.nonce),
            Ok(Frame::Fragment(fragment)) => {
                if !self.reassemblers.contains_key(&sender.link) && self.reassemblers.len() >= MAX_REASSEMBLERS {
                    self.reassemblers.retain(|_, reassembler| {
                        reassembler.handle_timeout(at.now);
                        reassembler.buffered() > 0
                    });
                }
                if !self.reassemblers.contains_key(&sender.link) && self.reassemblers.len() >= MAX_REASSEMBLERS {
                    self.stats.dropped.bad_fragment += 1;
                    return;
                }
                let joined = self.reassemblers.entry(sender.link).or_default().handle(at.now, &fragment);
                match joined {
                    Ok(None) => {}
                    // A fragment within a joined frame would join for ever.
                    Ok(Some(whole)) if matches!(Frame::parse(&whole), Ok(Frame::Signal(_))) => {
                        self.handle_frame(at, sender, &whole);
                    }
                    Ok(Some(_)) | Err(_) => self.stats.dropped.bad_fragment += 1,
                }
            }
            Ok(Frame::Packet(_) | Frame::InterfaceNotice(_)) => self.stats.dropped.unexpected_message += 1,
            Err(_) => self.stats.dropped.bad_message += 1,
        }
    }

    fn handle_message(&mut self, at: &Arrival, sender: &Sender, envelope: Envelope) {
        let Envelope { transaction, message } = envelope;
        let Some(node) = self.registry.get(sender.node) else { return };
        if sender.link != node.link && node.superseded != Instant::FAR_FUTURE {
            let since = node.superseded;
            self.handle_superseded(at, sender, since, transaction);
            return;
        }
        let online = node.is_online(at.now);
        match message {
            Message::RegistrationRequest(request) => self.handle_registration(at, sender, transaction, &request),
            Message::KeepAlive(_) | Message::DirectionRequest(_) if !online => {
                let lapsed = error(ErrorCode::NotRegistered, "the lease has ended");
                self.answer_error(at, Some(sender.node), sender.link, transaction, lapsed);
            }
            Message::KeepAlive(keep_alive) => self.handle_keep_alive(at, sender, transaction, &keep_alive),
            Message::DirectionRequest(request) => self.handle_direction_request(at, sender, transaction, &request),
            Message::RouteDirectionAck => self.handle_route_direction_ack(at, sender.node, transaction),
            Message::Deregistration(leaving) => {
                let known = self.registry.get(sender.node).map(|node| (node.sequence, node.state));
                match known {
                    Some((sequence, State::Online)) if leaving.sequence > sequence => {
                        if let Some(node) = self.registry.get_mut(sender.node) {
                            node.sequence = leaving.sequence;
                        }
                        self.stats.deregistrations += 1;
                        self.go_offline(at.now, sender.node, Gone::Left);
                    }
                    _ => self.stats.dropped.stale_sequence += 1,
                }
            }
            Message::Error(_) => self.stats.errors_received += 1,
            _ => self.stats.dropped.unexpected_message += 1,
        }
    }

    /// The first authentic datagram on the keys of a half-open handshake: its sender is who it says, now.
    fn commit(&mut self, at: &Arrival, half_open: u32) -> Option<u32> {
        let HalfOpen { request, id, account, answered, link, .. } = self.handshakes.take(half_open)?;
        let admitted = match self.registry.by_id(&id) {
            Some(row) => Some(row),
            // What was stored is gone again: nobody vouches for another address.
            None if self.config.store_first => None,
            None => self.registry.insert(&request.record, at.now + self.config.lease).ok(),
        };
        let refused = admitted.and_then(|row| self.registry.get(row)).is_none_or(|node| {
            node.state == State::Revoked || (node.state != State::Tentative && request.sequence <= node.sequence)
        });
        let Some(row) = admitted.filter(|_| !refused) else {
            self.links.remove(link);
            self.stats.dropped.stale_sequence += 1;
            return None;
        };
        self.links.set_owner(link, Owner::Node(row));
        if !self.registry.get(row).is_some_and(|node| node.has_record(&request.record)) {
            self.registry.set_record(row, &request.record);
            if let Some(node) = self.registry.get_mut(row) {
                node.announced = self.config.store_first;
            }
        }
        self.registry.set_account(row, account);
        self.replace_link(at, row, link);
        self.take_registration(at, row, &request);
        // The answer went to this address alone, and the sender has it.
        if answered == Some(at.from) {
            self.prove(row, at.from);
        }
        Some(row)
    }

    /// Makes `link` the node's session. The one before it lingers: what its owner sent before it knew of the
    /// new one is on its way, and if that owner is somebody elsewhere with the same identity, it is to be
    /// told when it speaks again.
    pub(crate) fn replace_link(&mut self, at: &Arrival, row: u32, link: u32) {
        let Some(node) = self.registry.get_mut(row) else { return };
        let elsewhere = node.link != NONE
            && node.is_online(at.now)
            && !node.interfaces.iter_mut().any(|interface| interface.seen.find(at.from).is_some());
        let before = core::mem::replace(&mut node.link, link);
        let oldest = core::mem::replace(&mut node.previous, before);
        let expires = some(before).and_then(|before| self.links.expires(before)).unwrap_or(at.now);
        node.superseded = if elsewhere { at.now } else { Instant::FAR_FUTURE };
        node.previous_until = if elsewhere { expires } else { at.now + PREVIOUS_LINGERS };
        if elsewhere {
            self.stats.superseded += 1;
        }
        if let Some(oldest) = some(oldest) {
            self.remove_link(oldest);
        }
    }

    /// A message on a session that was taken over. Shortly after, it may have been on its way from the very
    /// node that moved; later, somebody else holds the identity and does not know it.
    fn handle_superseded(&mut self, at: &Arrival, sender: &Sender, since: Instant, transaction: TransactionId) {
        if at.now.since(since) < PREVIOUS_LINGERS {
            self.stats.dropped.overtaken += 1;
            return;
        }
        let told = error(ErrorCode::Superseded, "this identity registered from elsewhere");
        self.answer_error(at, Some(sender.node), sender.link, transaction, told);
    }

    /// A registration on a live session: a move, or whatever else has changed. No public-key work.
    fn handle_registration(
        &mut self,
        at: &Arrival,
        sender: &Sender,
        transaction: TransactionId,
        request: &RegistrationRequest,
    ) {
        let Some(node) = self.registry.get_mut(sender.node) else { return };
        let refusal = if node.state == State::Revoked {
            Some(error(ErrorCode::Revoked, "the node was revoked"))
        } else if !node.has_record(&request.record) {
            Some(error(ErrorCode::Forbidden, "a changed record needs a new login"))
        } else if !request.interfaces.iter().any(|interface| interface.id == request.from) {
            Some(error(ErrorCode::BadMessage, "the sending interface is not among the interfaces"))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.answer_error(at, Some(sender.node), sender.link, transaction, refusal);
            return;
        }
        let again = request.sequence == node.sequence && node.is_online(at.now);
        if request.sequence <= node.sequence && !again {
            self.stats.dropped.stale_sequence += 1;
            return;
        }
        if !node.registrations.permits(at.now, REGISTRATION_INTERVAL, REGISTRATION_BURST) {
            self.stats.dropped.rate_limited += 1;
            return;
        }
        // The same request again: its answer was lost.
        if !again {
            self.stats.moves += 1;
            self.take_registration(at, sender.node, request);
        }
        let response = Message::RegistrationResponse(self.registration_response(at, sender.node));
        self.answer(at, Some(sender.node), sender.link, transaction, response);
        self.challenge_if_unproven(at, sender);
    }

    /// What every accepted registration does to its node.
    pub(crate) fn take_registration(&mut self, at: &Arrival, row: u32, request: &RegistrationRequest) {
        let local = self.local_number(at.local);
        let Some(node) = self.registry.get_mut(row) else { return };
        node.sequence = request.sequence;
        node.set_interfaces(&request.interfaces);
        node.set_relay_rtts(&request.relay_rtts);
        let wakes_otherwise = node.wake_token.as_deref() != request.wake_token.as_deref();
        if wakes_otherwise {
            node.wake_token = request.wake_token.clone().map(Vec::into_boxed_slice);
        }
        node.heard = at.now;
        if let Some(slot) = node.slot(request.from) {
            let seen = &mut node.interfaces[usize::from(slot)].seen;
            if seen.note(at.from, local)
                && let Some(seen) = seen.find(at.from)
            {
                seen.received(at.bytes);
            }
            node.primary = Primary { slot, v4: at.from.is_ipv4() };
        }
        let first = !core::mem::replace(&mut node.announced, true);
        self.stats.registrations += 1;
        self.registry.set_state(row, State::Online, at.now + self.config.lease);
        self.arm(row);
        if first || wakes_otherwise {
            self.announce(row);
        }
        self.handle_node_awake(at.now, row);
    }

    /// Tells the driver what of a node is to outlive a restart.
    pub(crate) fn announce(&mut self, row: u32) {
        if let Some(node) = self.registry.get(row)
            && let Some(record) = self.registry.record(row)
        {
            let stored = Stored {
                record,
                virtual4: node.virtual4,
                virtual6: self.registry.virtual6(&node.id),
                sequence: node.sequence,
                wake_token: node.wake_token.as_deref().map(<[u8]>::to_vec),
            };
            self.event(Event::Registered(Box::new(stored)));
        }
    }

    fn handle_keep_alive(&mut self, at: &Arrival, sender: &Sender, transaction: TransactionId, keep_alive: &KeepAlive) {
        let local = self.local_number(at.local);
        let Some(node) = self.registry.get_mut(sender.node) else { return };
        self.stats.keep_alives += 1;
        if !keep_alive.relay_rtts.is_empty() {
            node.set_relay_rtts(&keep_alive.relay_rtts);
        }
        let slot = node
            .slot(keep_alive.from)
            .filter(|&slot| node.interfaces[usize::from(slot)].generation == keep_alive.generation);
        match slot {
            None => self.stats.dropped.stale_generation += 1,
            // A datagram that was overtaken tells where the node was, not where it is.
            Some(_) if !sender.newest => self.stats.dropped.overtaken += 1,
            Some(slot) => {
                let seen = &mut node.interfaces[usize::from(slot)].seen;
                if seen.note(at.from, local)
                    && let Some(seen) = seen.find(at.from)
                {
                    seen.received(at.bytes);
                }
                node.primary = Primary { slot, v4: at.from.is_ipv4() };
            }
        }
        let ack = Message::KeepAliveAck(KeepAliveAck { observed: at.from });
        self.answer(at, Some(sender.node), sender.link, transaction, ack);
        self.challenge_if_unproven(at, sender);
        self.handle_node_awake(at.now, sender.node);
    }

    fn challenge_if_unproven(&mut self, at: &Arrival, sender: &Sender) {
        let unproven = self.registry.get_mut(sender.node).is_some_and(|node| {
            let mut interfaces = node.interfaces.iter_mut();
            interfaces.find_map(|interface| interface.seen.find(at.from)).is_some_and(|seen| !seen.is_proven())
        });
        if unproven {
            self.challenge(at, sender.node, sender.link);
        }
    }

    /// A node's row came out of the wheel: something of it may have reached its end.
    pub(crate) fn handle_node_due(&mut self, now: Instant, row: u32) {
        let Some(node) = self.registry.get_mut(row) else { return };
        if node.previous != NONE && node.previous_until <= now {
            let previous = core::mem::replace(&mut node.previous, NONE);
            node.superseded = Instant::FAR_FUTURE;
            self.remove_link(previous);
        }
        let Some(node) = self.registry.get(row) else { return };
        let over = node.until <= now;
        match node.state {
            State::Online if over => {
                self.stats.leases_expired += 1;
                self.go_offline(now, row, Gone::Expired);
            }
            State::Tentative if over => {
                self.registry.remove(row);
            }
            State::Offline | State::Revoked => {
                if node.link != NONE && !self.links.is_fresh(now, node.link) {
                    self.remove_node_links(row);
                }
                if over {
                    self.forget(row);
                }
            }
            State::Online | State::Tentative => {}
        }
        self.arm(row);
    }

    /// Ends a registration. The session stays to its natural end: the node may come back by it.
    fn go_offline(&mut self, now: Instant, row: u32, why: Gone) {
        self.registry.set_state(row, State::Offline, now + ADDRESS_GRACE);
        let Some(node) = self.registry.get_mut(row) else { return };
        node.interfaces = Interfaces::default();
        node.set_relay_rtts(&[]);
        let id = node.id;
        self.deliveries.remove_all(Receiver::Node(row));
        if let Some(node) = self.registry.get_mut(row) {
            node.deliveries = 0;
        }
        self.arm(row);
        self.event(Event::Deregistered { node: id, why });
    }

    pub(crate) fn revoke(&mut self, now: Instant, row: u32) {
        let transaction = self.fresh_transaction();
        self.push_error(now, row, transaction, error(ErrorCode::Revoked, "the node was revoked"));
        let Some(id) = self.registry.get(row).map(|node| node.id) else { return };
        self.revoke_paths(now, &id);
        self.go_offline(now, row, Gone::Revoked);
        self.registry.set_state(row, State::Revoked, now + ADDRESS_GRACE);
        self.remove_node_links(row);
    }

    /// The node was away for so long that its addresses may go to another.
    fn forget(&mut self, row: u32) {
        self.remove_node_links(row);
        if let Some(node) = self.registry.remove(row) {
            self.stats.forgotten += 1;
            self.event(Event::Forgotten { node: node.id });
        }
    }

    /// Wakes the wheel for the earliest end of anything the row has.
    fn arm(&mut self, row: u32) {
        let Some(node) = self.registry.get(row) else { return };
        let mut at = node.until;
        if node.previous != NONE {
            at = at.min(node.previous_until);
        }
        if node.state != State::Online
            && let Some(expires) = some(node.link).and_then(|link| self.links.expires(link))
        {
            at = at.min(expires);
        }
        self.registry.arm(row, at);
    }

    pub(crate) fn remove_node_links(&mut self, row: u32) {
        let Some(node) = self.registry.get_mut(row) else { return };
        let links = [core::mem::replace(&mut node.link, NONE), core::mem::replace(&mut node.previous, NONE)];
        for link in links.into_iter().filter_map(some) {
            self.remove_link(link);
        }
    }

    fn remove_link(&mut self, link: u32) {
        self.links.remove(link);
        self.reassemblers.remove(&link);
    }
}
