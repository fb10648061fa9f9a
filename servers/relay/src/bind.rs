//! Binding: a side says with its token where it is, and is told its index there.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use ntm_proto::crypto;
use ntm_proto::id::RelayIndex;
use ntm_proto::session::Psk;
use ntm_proto::session::amplification::Allowance;
use ntm_proto::session::relay_token::{TokenBody, TokenError, bind_mac};
use ntm_proto::time::Instant;
use ntm_proto::wire::message::Side;
use ntm_proto::wire::outer::{self, Outer, RELAY_BIND, RELAYED_HEADER};

use crate::forward::{Inner, check_inner};
use crate::grant::{Binding, Former, GrantId, Local, Route, opposite, seat};
use crate::limits;
use crate::pace::{ByteRate, Rate};
use crate::relay::{Forward, Relay};
use crate::stats::DropReason;
use crate::table::Slot;

/// A bind that its token and its MAC vouch for.
struct Authentic {
    side: Side,
    sequence: u64,
    body: TokenBody,
    bind_key: Psk,
}

impl Relay {
    pub(crate) fn handle_bind<'a>(
        &mut self,
        now: Instant,
        local: SocketAddr,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Result<Option<Forward<'a>>, DropReason> {
        self.check_source(local, from)?;
        self.check_flood(now, from)?;
        let bind = self.authenticate(now, datagram)?;
        let local = self.locals.number(local).ok_or(DropReason::TooManyLocals)?;
        let slot = self.grant_of(now, &bind)?;
        let state = self.table.side_mut(slot, bind.side);
        if state.sequence.is_some_and(|last| bind.sequence <= last) {
            return Err(DropReason::Replayed);
        }
        state.sequence = Some(bind.sequence);
        self.stats.binds += 1;

        let index = self.place(now, slot, bind.side, local, from);
        self.table.route_mut(slot).last_used = now;
        self.table.side_mut(slot, bind.side).allowance.received(datagram.len());
        self.answer(slot, &bind, index);
        self.deliver_held(now, slot, bind.side);
        self.table.hasten(slot);

        if datagram.len() == RELAY_BIND || check_inner(&datagram[RELAY_BIND..])? == Inner::ForRelay {
            return Ok(None);
        }
        // The bind's own end is the room for the relayed header.
        self.forward(now, slot, opposite(bind.side), &mut datagram[RELAY_BIND - RELAYED_HEADER..])
    }

    /// Nothing may be bound to where an answer cannot go, nor to the relay itself: a datagram
    /// between two such sides would go round for ever.
    fn check_source(&self, local: SocketAddr, from: SocketAddr) -> Result<(), DropReason> {
        let ip = from.ip().to_canonical();
        let broadcast = matches!(ip, IpAddr::V4(address) if address.is_broadcast());
        let nowhere = from.port() == 0 || ip.is_unspecified() || ip.is_multicast() || broadcast;
        let own = |address: &SocketAddr| address.port() == from.port() && address.ip().to_canonical() == ip;
        if nowhere || own(&local) || self.config.addresses.iter().any(own) {
            Err(DropReason::UnusableSource)
        } else {
            Ok(())
        }
    }

    /// All binds are looked at until there are too many; then each source has its share, so that a
    /// flood from one place stops nobody else. A quiet relay asks no source to be moderate, so
    /// nobody's binds can be kept out by a trickle that forges their address.
    fn check_flood(&mut self, now: Instant, from: SocketAddr) -> Result<(), DropReason> {
        const ALL: Rate = Rate::events(limits::BINDS_PER_SECOND, limits::BIND_BURST);
        if self.binds.admit(now, &ALL, 1) || self.bind_sources.admit(now, from.ip()) {
            Ok(())
        } else {
            Err(DropReason::BindFlood)
        }
    }

    fn authenticate(&self, now: Instant, datagram: &[u8]) -> Result<Authentic, DropReason> {
        // What is inside is looked at once the bind is known to be good.
        let bind = datagram.get(..RELAY_BIND).map(Outer::parse);
        let Some(Ok(Outer::RelayBind(bind))) = bind else { return Err(DropReason::Malformed) };
        let key = self.config.grant_keys.iter().find(|key| key.key_id == bind.token.key_id());
        let key = key.ok_or(DropReason::UnknownKey)?;
        let unix = self.config.wall.unix(now);
        let body = key.open(&bind.token, unix).map_err(|error| match error {
            TokenError::Expired => DropReason::TokenExpired,
            _ => DropReason::BadToken,
        })?;
        let bind_key = key.bind_key(&bind.token, bind.side);
        if !crypto::equal(&bind_mac(&bind_key, bind.covered()), bind.mac) {
            return Err(DropReason::BadMac);
        }
        if body.expires > unix + limits::MAX_TOKEN_LIFE {
            return Err(DropReason::TokenTooLong);
        }
        Ok(Authentic { side: bind.side, sequence: bind.sequence, body, bind_key })
    }

    /// The grant of an authentic bind; made now, if it is the first.
    fn grant_of(&mut self, now: Instant, bind: &Authentic) -> Result<Slot, DropReason> {
        let TokenBody { payer, path_id, expires, rate, serial } = bind.body;
        if self.revoked.contains(now, path_id) {
            return Err(DropReason::Revoked);
        }
        let id = GrantId { path_id, serial };
        if let Some(slot) = self.table.find(id) {
            return Ok(slot);
        }
        if self.draining {
            return Err(DropReason::Draining);
        }
        if self.table.len() >= self.config.capacity.grants.min(limits::MAX_GRANTS) {
            return Err(DropReason::TableFull);
        }
        let left = expires.as_millis().saturating_sub(self.config.wall.unix(now).as_millis());
        let route = Route {
            bindings: [None, None],
            expires: now + Duration::from_millis(left),
            last_used: now,
            paces: Default::default(),
            rate: ByteRate::kilobytes(rate),
            account: self.accounts.join(payer),
        };
        let slot = self.table.insert(id, route);
        self.stats.grants_made += 1;
        self.stats.grants = self.table.len();
        Ok(slot)
    }

    /// Binds a side to where it is now. Where it was there already it keeps its index.
    fn place(&mut self, now: Instant, slot: Slot, side: Side, local: Local, from: SocketAddr) -> RelayIndex {
        let before = self.table.route(slot).bindings[seat(side)];
        if let Some(binding) = before.filter(|binding| binding.remote == from && binding.local == local) {
            return binding.index;
        }
        let index = self.table.allot(&mut self.rng, slot, side);
        let binding = Binding { remote: from, local, index, proven: false };
        self.table.route_mut(slot).bindings[seat(side)] = Some(binding);
        let former = before.map(|binding| Former { binding, until: now + limits::REBIND_GRACE });
        let state = self.table.side_mut(slot, side);
        state.allowance = Allowance::default();
        if former.is_some() {
            self.stats.rebinds += 1;
        }
        if let Some(older) = core::mem::replace(&mut state.former, former) {
            self.table.release(older.binding.index);
        }
        index
    }

    fn answer(&mut self, slot: Slot, bind: &Authentic, index: RelayIndex) {
        let Some(binding) = self.table.route(slot).bindings[seat(bind.side)] else { return };
        let datagram =
            outer::emit_relay_bound(bind.side, index, bind.sequence, binding.remote, self.draining, |covered| {
                bind_mac(&bind.bind_key, covered)
            });
        if !binding.proven {
            self.table.side_mut(slot, bind.side).allowance.sent(datagram.len());
        }
        self.transmit(self.locals.address(binding.local), binding.remote, datagram);
    }
}
