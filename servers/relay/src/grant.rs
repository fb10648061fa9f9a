//! One grant: a communication with two sides, each bound to an address or not yet.
//!
//! A grant is in two parts, because forwarding a datagram reads little and a bind reads much:
//! [`Route`] is what forwarding needs, close together; [`Grant`] is the rest.

use core::net::SocketAddr;

use ntm_proto::id::{PathId, RelayIndex};
use ntm_proto::session::amplification::Allowance;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::Side;

use crate::accounts::Seat;
use crate::held::Held;
use crate::limits;
use crate::pace::{ByteRate, Pace};

/// What makes two tokens the same grant.
///
/// The serial number belongs to it, because the path id alone is chosen by a node: with it alone, a
/// node that has seen another's path id could have a token made for it, and take its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GrantId {
    pub(crate) path_id: PathId,
    pub(crate) serial: u64,
}

/// Where a side's numbers stand in an array of two.
pub(crate) const fn seat(side: Side) -> usize {
    match side {
        Side::Initiator => 0,
        Side::Responder => 1,
    }
}

pub(crate) const fn opposite(side: Side) -> Side {
    match side {
        Side::Initiator => Side::Responder,
        Side::Responder => Side::Initiator,
    }
}

/// One of the relay's own addresses, by its number in [`Locals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local(u8);

/// The relay's own addresses that binds have arrived at. A number takes a thirtieth of the room of an
/// address, and room is what forwarding among many grants waits for.
#[derive(Debug, Default)]
pub(crate) struct Locals(Vec<SocketAddr>);

/// Where a side is, as its newest bind says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    pub(crate) remote: SocketAddr,
    pub(crate) index: RelayIndex,
    /// Where the bind arrived: what is sent to `remote` leaves from there, so the family matches,
    /// and the NAT before the side knows it.
    pub(crate) local: Local,
    /// Whether `remote` has shown that it receives what is sent to it.
    pub(crate) proven: bool,
}

/// The binding a side has left, good until the grace is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Former {
    pub(crate) binding: Binding,
    pub(crate) until: Instant,
}

/// What forwarding reads: two cache lines.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Route {
    pub(crate) bindings: [Option<Binding>; 2],
    pub(crate) expires: Instant,
    pub(crate) last_used: Instant,
    /// Of what goes to each side: the rate is that of one direction.
    pub(crate) paces: [Pace; 2],
    pub(crate) rate: ByteRate,
    /// Who pays.
    pub(crate) account: Seat,
}

/// What one side's binds read, beside its binding.
#[derive(Debug, Default)]
pub(crate) struct SideState {
    /// Of the last good bind; the next must be higher.
    pub(crate) sequence: Option<u64>,
    /// Of the binding, while it is not proven.
    pub(crate) allowance: Allowance,
    pub(crate) former: Option<Former>,
    /// Waits until the side has bound or has proven its address.
    pub(crate) held: Held,
}

#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) id: GrantId,
    pub(crate) sides: [SideState; 2],
    /// When the table looks at this grant again: never later than `Grant::due`.
    pub(crate) check_at: Instant,
}

/// What looking at a grant finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Good,
    Expired,
    Idle,
}

impl Locals {
    /// The number of `address`; `None` where the relay has had more addresses than it can.
    pub(crate) fn number(&mut self, address: SocketAddr) -> Option<Local> {
        let number = self.0.iter().position(|known| *known == address).unwrap_or(self.0.len());
        if number >= limits::MAX_LOCALS {
            return None;
        }
        if number == self.0.len() {
            self.0.push(address);
        }
        u8::try_from(number).ok().map(Local)
    }

    pub(crate) fn address(&self, local: Local) -> SocketAddr {
        self.0[usize::from(local.0)]
    }
}

impl Route {
    pub(crate) fn health(&self, now: Instant) -> Health {
        if now >= self.expires {
            Health::Expired
        } else if now >= self.last_used + limits::GRANT_IDLE {
            Health::Idle
        } else {
            Health::Good
        }
    }
}

impl Grant {
    /// The first instant at which something of this grant lapses.
    pub(crate) fn due(&self, route: &Route) -> Instant {
        let end = route.expires.min(route.last_used + limits::GRANT_IDLE);
        self.sides.iter().fold(end, |due, side| {
            let former = side.former.map_or(Instant::FAR_FUTURE, |former| former.until);
            let held = side.held.lapses_at().unwrap_or(Instant::FAR_FUTURE);
            due.min(former).min(held)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_fits_two_cache_lines() {
        assert_eq!(size_of::<Route>(), 128);
    }

    #[test]
    fn no_more_own_addresses_are_numbered_than_there_is_room_for() {
        let mut locals = Locals::default();
        let address = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let numbered = (0..1_000).filter(|port| locals.number(address(*port)).is_some()).count();
        assert_eq!(numbered, limits::MAX_LOCALS);
        let first = locals.number(address(0)).expect("it has a number");
        assert_eq!(locals.address(first), address(0));
    }
}
