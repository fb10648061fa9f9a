//! What comes by the session with the coordinator.

use alloc::vec::Vec;
use core::net::SocketAddr;

use ntm_proto::session::transport::OpenError;
use ntm_proto::time::Instant;
use ntm_proto::wire::frame::{Frame, PathChallenge, PathResponse};
use ntm_proto::wire::message::{Envelope, Message};

use super::{DirectorLink, Heard};
use crate::context::Context;
use crate::interface::{Endpoint, Interfaces};
use crate::stats::DropReason;

impl DirectorLink {
    /// Opens a datagram of the session and takes what concerns the link itself.
    pub(crate) fn handle_data(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        interfaces: &mut Interfaces,
        datagram: &mut [u8],
        endpoint: Endpoint,
        from: SocketAddr,
    ) -> Result<Option<Heard>, OpenError> {
        let opened = self.session.open_in_place(now, datagram)?;
        self.release_retired(ctx);
        self.home = Some(endpoint);
        let heard = match Frame::parse(&datagram[opened.plaintext]) {
            Ok(Frame::Signal(bytes)) => self.handle_signal(now, ctx, interfaces, endpoint, from, bytes),
            Ok(Frame::PathChallenge(challenge)) => {
                self.prove_address(now, ctx, interfaces, endpoint, from, &challenge);
                None
            }
            // A direction with many candidates is longer than some paths carry.
            Ok(Frame::Fragment(part)) => match self.reassembler.handle(now, &part) {
                Ok(Some(whole)) => match Frame::parse(&whole) {
                    Ok(Frame::Signal(bytes)) => self.handle_signal(now, ctx, interfaces, endpoint, from, bytes),
                    _ => self.unexpected(ctx),
                },
                Ok(None) => None,
                Err(_) => self.unexpected(ctx),
            },
            _ => self.unexpected(ctx),
        };
        Ok(heard)
    }

    fn unexpected(&self, ctx: &mut Context) -> Option<Heard> {
        ctx.stats.drop(DropReason::Unexpected);
        None
    }

    /// The coordinator asks whether this node is where its datagrams come from.
    fn prove_address(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        interfaces: &Interfaces,
        endpoint: Endpoint,
        from: SocketAddr,
        challenge: &PathChallenge,
    ) {
        let response = PathResponse {
            nonce: challenge.nonce,
            interface: endpoint.interface,
            generation: interfaces.generation(endpoint.interface),
            observed: from,
        };
        let mut frame = Vec::new();
        response.emit(&mut frame);
        if let Ok(sealed) = self.session.seal(now, &frame) {
            ctx.transmit(endpoint, from, sealed);
        }
    }

    fn handle_signal(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        interfaces: &mut Interfaces,
        endpoint: Endpoint,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Option<Heard> {
        let Ok(envelope) = Envelope::parse(bytes) else {
            ctx.stats.drop(DropReason::Malformed);
            return None;
        };
        match envelope.message {
            Message::KeepAliveAck(ack) => {
                if let Some(endpoint) = self.keepers.answered(now, envelope.transaction) {
                    interfaces.note_sighting(endpoint, from, ack.observed);
                    self.trust_again(now);
                }
                None
            }
            Message::RegistrationResponse(response) => {
                let expected = self.update.as_ref().is_some_and(|update| update.transaction == envelope.transaction);
                if !expected {
                    return None;
                }
                self.update = None;
                interfaces.note_sighting(endpoint, from, response.observed);
                self.end_rescue();
                let anew = !self.is_registered();
                Some(self.registered(now, ctx, response, anew))
            }
            _ => Some(Heard::Signal(envelope)),
        }
    }
}
