//! Forwarding: from one side's index to the other side's, in place.

use core::net::SocketAddr;

use ntm_proto::id::RelayIndex;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::Side;
use ntm_proto::wire::outer::{self, OuterType, RELAYED_HEADER};

use crate::grant::{Binding, Health, Locals, opposite, seat};
use crate::limits;
use crate::relay::{Forward, Relay};
use crate::stats::{DropReason, Stats};
use crate::table::Slot;

/// Whom an inner datagram is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inner {
    /// What two nodes say to each other.
    ForPeer,
    /// A punch, which ends here: it shows the relay that its sender receives, holds the NAT's
    /// mapping, or makes a bind larger.
    ForRelay,
}

/// Nothing is forwarded that a relay itself would take.
pub(crate) fn check_inner(inner: &[u8]) -> Result<Inner, DropReason> {
    match outer::peek(inner) {
        Ok(OuterType::HandshakeInit | OuterType::HandshakeResponse | OuterType::CookieReply | OuterType::Data) => {
            Ok(Inner::ForPeer)
        }
        Ok(OuterType::Punch) => Ok(Inner::ForRelay),
        _ => Err(DropReason::InnerForbidden),
    }
}

/// Writes the receiver's index into the room before the inner datagram.
fn send_on<'a>(stats: &mut Stats, locals: &Locals, binding: &Binding, relayed: &'a mut [u8]) -> Forward<'a> {
    outer::write_relayed_header(relayed, binding.index);
    stats.forwarded_datagrams += 1;
    stats.forwarded_bytes += relayed.len() as u64;
    Forward { from: locals.address(binding.local), to: binding.remote, datagram: relayed }
}

impl Relay {
    pub(crate) fn handle_relayed<'a>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Result<Option<Forward<'a>>, DropReason> {
        let (header, inner) = datagram.split_at_checked(RELAYED_HEADER).ok_or(DropReason::Malformed)?;
        let inner = check_inner(inner)?;
        let index = RelayIndex(u32::from_be_bytes([header[4], header[5], header[6], header[7]]));
        let (slot, side) = self.table.by_index(index).ok_or(DropReason::UnknownIndex)?;
        let route = self.table.route(slot);
        if route.health(now) != Health::Good {
            return Err(DropReason::TokenExpired);
        }
        match &route.bindings[seat(side)] {
            Some(binding) if binding.index == index => {
                if binding.remote != from {
                    return Err(DropReason::WrongSource);
                }
                if !binding.proven {
                    self.prove(now, slot, side);
                }
            }
            _ => self.check_former(now, slot, side, from)?,
        }
        match inner {
            Inner::ForPeer => self.forward(now, slot, opposite(side), datagram),
            Inner::ForRelay => {
                self.table.route_mut(slot).last_used = now;
                Ok(None)
            }
        }
    }

    /// Sends `relayed`, which is room for the header and the inner datagram, to one side of a
    /// grant, or keeps it until that can be done.
    pub(crate) fn forward<'a>(
        &mut self,
        now: Instant,
        slot: Slot,
        to: Side,
        relayed: &'a mut [u8],
    ) -> Result<Option<Forward<'a>>, DropReason> {
        let route = self.table.route_mut(slot);
        let bytes = relayed.len() as u64;
        if !route.paces[seat(to)].admit(now, &route.rate.with_burst(), bytes) {
            return Err(DropReason::RateLimited);
        }
        if !self.accounts.admit(now, route.account, bytes) {
            self.stats.account_limited_bytes += bytes;
            return Err(DropReason::AccountRateLimited);
        }
        route.last_used = now;
        match &route.bindings[seat(to)] {
            Some(binding) if binding.proven => Ok(Some(send_on(&mut self.stats, &self.locals, binding, relayed))),
            binding => {
                let binding = *binding;
                self.forward_unproven(now, slot, to, binding, relayed)
            }
        }
    }

    /// To a side that is not bound, or may be sent only so much: what is over waits, and what
    /// cannot wait goes to where the side was proven to be a moment ago.
    fn forward_unproven<'a>(
        &mut self,
        now: Instant,
        slot: Slot,
        to: Side,
        binding: Option<Binding>,
        relayed: &'a mut [u8],
    ) -> Result<Option<Forward<'a>>, DropReason> {
        let len = relayed.len();
        let side = self.table.side_mut(slot, to);
        if let Some(binding) = binding
            && side.allowance.permits(len)
        {
            side.allowance.sent(len);
            return Ok(Some(send_on(&mut self.stats, &self.locals, &binding, relayed)));
        }
        if side.held.has_room(len) && self.stats.held_bytes + len <= limits::MAX_HELD_TOTAL {
            side.held.push(now, relayed);
            self.stats.held_bytes += len;
            self.stats.held_datagrams += 1;
            self.table.hasten(slot);
            return Ok(None);
        }
        match side.former {
            Some(former) if former.binding.proven && now < former.until => {
                Ok(Some(send_on(&mut self.stats, &self.locals, &former.binding, relayed)))
            }
            _ => Err(DropReason::HoldFull),
        }
    }

    /// A side is where it says: nobody else was told the index.
    fn prove(&mut self, now: Instant, slot: Slot, side: Side) {
        if let Some(binding) = &mut self.table.route_mut(slot).bindings[seat(side)] {
            binding.proven = true;
        }
        self.stats.proven += 1;
        self.deliver_held(now, slot, side);
    }

    /// Sends what waits for a side, as far as its address may be sent to.
    pub(crate) fn deliver_held(&mut self, now: Instant, slot: Slot, side: Side) {
        self.drop_lapsed(now, slot, side);
        let Some(binding) = self.table.route(slot).bindings[seat(side)] else { return };
        loop {
            let state = self.table.side_mut(slot, side);
            let Some(len) = state.held.front_len() else { return };
            if !binding.proven {
                if !state.allowance.permits(len) {
                    return;
                }
                state.allowance.sent(len);
            }
            let Some(mut relayed) = state.held.pop() else { return };
            self.stats.held_bytes -= len;
            let forward = send_on(&mut self.stats, &self.locals, &binding, &mut relayed);
            let (from, to) = (forward.from, forward.to);
            self.transmit(from, to, relayed);
        }
    }

    /// Forgets what has waited too long for a side.
    pub(crate) fn drop_lapsed(&mut self, now: Instant, slot: Slot, side: Side) {
        while let Some(len) = self.table.side_mut(slot, side).held.pop_lapsed(now) {
            self.stats.held_bytes -= len;
            self.stats.count(DropReason::HoldExpired);
        }
    }

    /// Whether `from` is the address that the side left just now, with the index it had there: what
    /// was on its way when the side moved still arrives.
    fn check_former(&self, now: Instant, slot: Slot, side: Side, from: SocketAddr) -> Result<(), DropReason> {
        let former = self.table.side(slot, side).former.filter(|former| now < former.until);
        let former = former.ok_or(DropReason::LeftIndex)?;
        if former.binding.remote == from { Ok(()) } else { Err(DropReason::WrongSource) }
    }
}
