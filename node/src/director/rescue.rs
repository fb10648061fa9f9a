//! Registering with another coordinator of the domain while the current one is silent.
//!
//! ```text
//!  doubt ──▶ Rescue: a handshake with the next coordinator, then with the one after it, …
//!              │ another answers first: its session is the node's from now on
//!              └ the current one answers first: it is told everything anew
//! ```
//! The node is registered all the while. A false alarm costs the other a handshake and the current one an update, whose
//! sequence number is the newest: so it keeps the node whatever the other has written into the registry they share.

use alloc::vec::Vec;

use ntm_proto::id::SessionIndex;
use ntm_proto::session::handshake::HandshakeError;
use ntm_proto::session::pair::Session;
use ntm_proto::session::replay::SIGNAL_WINDOW_WORDS;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::{Envelope, Message, RelayRtt};
use ntm_proto::wire::outer::HandshakeResponse;

use super::{DirectorLink, Heard, REGISTER_RETRY, TRIES_A_DIRECTOR, Update, ways_to};
use crate::context::Context;
use crate::interface::{Endpoint, Interfaces};
use crate::keys::IndexOwner;

#[derive(Debug)]
pub(super) struct Rescue {
    /// Who is asked now.
    pub(super) director: usize,
    pub(super) session: Session<SIGNAL_WINDOW_WORDS>,
    pub(super) next_at: Instant,
    tries: usize,
    /// Where the handshake in flight says that it comes from.
    from: Option<Endpoint>,
}

impl DirectorLink {
    /// The coordinator owes answers: from now on others are asked as well, if there are any.
    pub(super) fn doubt(&mut self, now: Instant, ctx: &Context) {
        if self.rescue.is_none() && self.directors.len() > 1 {
            let director = self.after(self.current);
            let session = Session::new(ctx.provider);
            self.rescue = Some(Rescue { director, session, next_at: now, tries: 0, from: None });
        }
    }

    /// The coordinator answers after all.
    pub(super) fn trust_again(&mut self, now: Instant) {
        if self.rescue.is_some() {
            self.end_rescue();
            if self.update.is_none() {
                self.update = Some(Update { transaction: self.transaction(), next_at: now, tries: 0 });
            }
        }
    }

    pub(super) fn end_rescue(&mut self) {
        if let Some(rescue) = self.rescue.take() {
            self.bury(rescue.session);
        }
    }

    pub(super) fn run_rescue(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces, rtts: Vec<RelayRtt>) {
        let Some(mut rescue) = self.rescue.take_if(|rescue| now >= rescue.next_at) else { return };
        rescue.next_at = now + REGISTER_RETRY[rescue.tries % TRIES_A_DIRECTOR];
        if rescue.tries > 0 && rescue.tries % TRIES_A_DIRECTOR == 0 {
            rescue.director = self.after(rescue.director);
            rescue.from = None;
        }
        let director = &self.directors[rescue.director];
        let ways = ways_to(director, interfaces);
        if let Some(&(endpoint, server)) = ways.get(rescue.tries % ways.len().max(1)) {
            let again = rescue.session.handshake_datagram().filter(|_| rescue.from == Some(endpoint));
            let datagram = again.unwrap_or_else(|| {
                let payload = self.ticketed(now, ctx, interfaces, endpoint, rtts);
                let index = ctx.allocate_index(IndexOwner::Director);
                let (rng, noise) = (&mut ctx.rng, &ctx.noise);
                rescue.session.begin(now, rng, noise, &director.noise_key, &self.ticket_key, index, &payload)
            });
            rescue.from = Some(endpoint);
            ctx.transmit(endpoint, server, datagram);
        }
        while let Some(index) = rescue.session.take_retired() {
            ctx.release_index(index);
        }
        rescue.tries += 1;
        self.rescue = Some(rescue);
    }

    pub(super) fn is_of_rescue(&self, index: SessionIndex) -> bool {
        self.rescue.as_ref().is_some_and(|rescue| rescue.session.in_flight() == Some(index))
    }

    /// Another coordinator answers. One that will not have this node is passed over: what the node is told about itself
    /// is the current one's to say.
    pub(super) fn handle_rescue_response(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        interfaces: &Interfaces,
        response: &HandshakeResponse<'_>,
        endpoint: Endpoint,
    ) -> Result<Option<Heard>, HandshakeError> {
        let Some(rescue) = &mut self.rescue else { return Ok(None) };
        let payload = match rescue.session.handle_response(now, response) {
            Ok(payload) => payload,
            Err(error) => {
                rescue.session.handle_refusal(response).map_err(|_| error)?;
                return Ok(None);
            }
        };
        let Ok(Envelope { message: Message::RegistrationResponse(registered), .. }) = Envelope::parse(&payload) else {
            return Ok(None);
        };
        let Some(rescue) = self.rescue.take() else { return Ok(None) };
        self.current = rescue.director;
        let before = core::mem::replace(&mut self.session, rescue.session);
        self.bury(before);
        self.release_retired(ctx);
        self.home = Some(endpoint);
        self.update = None;
        let heard = self.registered(now, ctx, registered, true);
        self.keep_alive_from(now, ctx, interfaces, endpoint);
        Ok(Some(heard))
    }

    /// The coordinator to ask after this one, the current one left out.
    fn after(&self, director: usize) -> usize {
        let count = self.directors.len();
        let next = (director + 1) % count;
        if next == self.current { (next + 1) % count } else { next }
    }

    /// Notes the indices of a session that is over, to be released.
    fn bury(&mut self, mut session: Session<SIGNAL_WINDOW_WORDS>) {
        self.retired.extend(session.indices());
        self.retired.extend(core::iter::from_fn(|| session.take_retired()));
    }
}
