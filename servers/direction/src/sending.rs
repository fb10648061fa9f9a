//! Sending to nodes: sealing, splitting what is too long, and the bound on what an address that has not
//! proven itself may get.

use core::net::SocketAddr;

use ntm_proto::crypto::keyed_mac;
use ntm_proto::id::{InterfaceId, TransactionId};
use ntm_proto::session::fragment::split;
use ntm_proto::time::Instant;
use ntm_proto::wire::frame::{FRAGMENT_HEADER, Frame, PathChallenge, PathResponse};
use ntm_proto::wire::message::{Envelope, ErrorCode, ErrorMessage, Message};
use ntm_proto::wire::outer::DATA_OVERHEAD;

use crate::coordinator::{Arrival, Coordinator};
use crate::limits::{AMPLIFICATION, MAX_PLAINTEXT};
use crate::slab::NONE;

/// How long a nonce that proves an address is good for; the one before is good too.
const PROOF_MINUTES: u64 = 1;

/// Which of a node's addresses to send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toward {
    /// Where the datagram that is being answered came from.
    Sender,
    /// Where the node was heard from last, or on a later try another of its interfaces.
    Node { attempt: u8 },
}

impl Coordinator {
    /// Answers a node's message on the session it came by.
    pub(crate) fn answer(
        &mut self,
        at: &Arrival,
        node: Option<u32>,
        link: u32,
        transaction: TransactionId,
        message: Message,
    ) {
        let plaintext = signal(&Envelope { transaction, message });
        self.send_frame(at.now, Some(at), node, link, &plaintext, Toward::Sender);
    }

    pub(crate) fn answer_error(
        &mut self,
        at: &Arrival,
        node: Option<u32>,
        link: u32,
        transaction: TransactionId,
        error: ErrorMessage,
    ) {
        self.answer(at, node, link, transaction, Message::Error(error));
    }

    /// Tells a node of its own accord that something is wrong, once.
    pub(crate) fn push_error(&mut self, now: Instant, node: u32, transaction: TransactionId, error: ErrorMessage) {
        let plaintext = signal(&Envelope { transaction, message: Message::Error(error) });
        self.push_frame(now, node, &plaintext, 0);
    }

    /// Sends a frame to a node wherever it was heard from. Gives the address, if it could be sent.
    pub(crate) fn push_frame(&mut self, now: Instant, node: u32, plaintext: &[u8], attempt: u8) -> Option<SocketAddr> {
        let link = self.registry.get(node)?.link;
        self.send_frame(now, None, Some(node), link, plaintext, Toward::Node { attempt })
    }

    fn send_frame(
        &mut self,
        now: Instant,
        at: Option<&Arrival>,
        node: Option<u32>,
        link: u32,
        plaintext: &[u8],
        toward: Toward,
    ) -> Option<SocketAddr> {
        let (local, to) = match (toward, at) {
            (Toward::Sender, at) => at.map(|at| (at.local, at.from))?,
            (Toward::Node { attempt }, _) => self.node_address(node?, attempt)?,
        };
        let pieces = plaintext.len().div_ceil(MAX_PLAINTEXT - FRAGMENT_HEADER).max(1);
        let overhead =
            if plaintext.len() <= MAX_PLAINTEXT { DATA_OVERHEAD } else { pieces * (DATA_OVERHEAD + FRAGMENT_HEADER) };
        if !self.may_send(at, node, to, plaintext.len() + overhead) {
            self.stats.withheld += 1;
            return None;
        }
        let provider = self.config.provider;
        if plaintext.len() <= MAX_PLAINTEXT {
            let datagram = self.links.seal(provider, now, link, plaintext)?;
            self.transmit(local, to, datagram);
            return Some(to);
        }
        self.next_fragment = self.next_fragment.wrapping_add(1);
        for fragment in split(plaintext, self.next_fragment, MAX_PLAINTEXT) {
            let mut frame = Vec::with_capacity(MAX_PLAINTEXT);
            Frame::Fragment(fragment).emit(&mut frame);
            let datagram = self.links.seal(provider, now, link, &frame)?;
            self.transmit(local, to, datagram);
        }
        Some(to)
    }

    /// Asks an address that is news to prove that the node is there.
    pub(crate) fn challenge(&mut self, at: &Arrival, node: u32, link: u32) {
        let Some(nonce) = self.proof_nonce(at.now, node, at.from, 0) else { return };
        let mut frame = Vec::new();
        Frame::PathChallenge(PathChallenge { nonce, interface: InterfaceId(0), generation: 0 }).emit(&mut frame);
        self.send_frame(at.now, Some(at), Some(node), link, &frame, Toward::Sender);
    }

    pub(crate) fn handle_challenge(&mut self, at: &Arrival, node: u32, link: u32, challenge: &PathChallenge) {
        let mut frame = Vec::new();
        let response =
            PathResponse { nonce: challenge.nonce, interface: InterfaceId(0), generation: 0, observed: at.from };
        Frame::PathResponse(response).emit(&mut frame);
        self.send_frame(at.now, Some(at), Some(node), link, &frame, Toward::Sender);
    }

    pub(crate) fn handle_proof(&mut self, at: &Arrival, node: u32, nonce: u64) {
        let expected = [0, 1].map(|ago| self.proof_nonce(at.now, node, at.from, ago));
        if expected.contains(&Some(nonce)) {
            self.prove(node, at.from);
            self.send_withheld(at.now, node);
        } else {
            self.stats.dropped.unexpected_answer += 1;
        }
    }

    /// The node has shown that it receives at this address.
    pub(crate) fn prove(&mut self, node: u32, address: SocketAddr) {
        let Some(node) = self.registry.get_mut(node) else { return };
        if let Some(seen) = node.interfaces.iter_mut().find_map(|interface| interface.seen.find(address))
            && !seen.is_proven()
        {
            seen.prove();
            self.stats.addresses_proven += 1;
        }
    }

    /// Where to send what the node did not ask for: the address it was heard from last; on later tries
    /// the others in turn.
    fn node_address(&self, node: u32, attempt: u8) -> Option<(SocketAddr, SocketAddr)> {
        let node = self.registry.get(node)?;
        let primary = node.primary;
        let at = |slot: usize, v4: bool| {
            let seen = &node.interfaces.get(slot)?.seen;
            let to = seen.address(v4)?;
            Some((*self.locals.get(usize::from(seen.local(v4)))?, to))
        };
        let first = at(usize::from(primary.slot), primary.v4);
        let others = (0..node.interfaces.len())
            .flat_map(|slot| [(slot, true), (slot, false)])
            .filter(|&(slot, v4)| (slot, v4) != (usize::from(primary.slot), primary.v4))
            .filter_map(|(slot, v4)| at(slot, v4));
        let all: Vec<_> = first.into_iter().chain(others).collect();
        // The first two tries go to where it was heard last: one lost datagram is no reason to leave it.
        let turn = usize::from(attempt.saturating_sub(1));
        (!all.is_empty()).then(|| all[turn % all.len()])
    }

    fn may_send(&mut self, at: Option<&Arrival>, node: Option<u32>, to: SocketAddr, bytes: usize) -> bool {
        if let Some(node) = node.and_then(|node| self.registry.get_mut(node))
            && let Some(seen) = node.interfaces.iter_mut().find_map(|interface| interface.seen.find(to))
        {
            return seen.spend(bytes);
        }
        at.is_some_and(|at| at.from == to && bytes <= AMPLIFICATION * at.bytes)
    }

    /// What only a receiver at `address` can know: nothing is stored for it.
    fn proof_nonce(&self, now: Instant, node: u32, address: SocketAddr, ago: u64) -> Option<u64> {
        let node = self.registry.get(node)?;
        let minute = (now.as_millis() / (60_000 * PROOF_MINUTES)).checked_sub(ago)?;
        let ip = match address.ip() {
            core::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            core::net::IpAddr::V6(ip) => ip.octets(),
        };
        let parts: [&[u8]; 4] = [&node.id.0, &ip, &address.port().to_be_bytes(), &minute.to_be_bytes()];
        let mac = keyed_mac(self.proof_key.expose(), &parts);
        mac.first_chunk().map(|head| u64::from_be_bytes(*head))
    }

    /// A transaction number for a message to `node` that it did not ask for.
    pub(crate) fn fresh_transaction(&mut self) -> TransactionId {
        TransactionId(self.rng.u32())
    }
}

/// The frame that carries a message.
pub(crate) fn signal(envelope: &Envelope) -> Vec<u8> {
    let mut frame = Vec::with_capacity(256);
    Frame::Signal(&[]).emit(&mut frame);
    envelope.emit_into(&mut frame);
    frame
}

pub(crate) fn error(code: ErrorCode, text: &str) -> ErrorMessage {
    ErrorMessage::new(code, text, None)
}

/// Whether a row number stands for a row.
pub(crate) fn some(row: u32) -> Option<u32> {
    (row != NONE).then_some(row)
}
