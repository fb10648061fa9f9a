//! The snapshot by which data leaves without the engine.
//!
//! A thread that sends many packets to one peer asks for a [`Route`] once, seals with its key and sends where it
//! says, on its own, until [`Route::until`] or until [`Node::route_version`](crate::Node::route_version) changes.
//! A route is given only where one proven path carries everything; whatever is less certain goes through
//! [`Node::send`](crate::Node::send), which sprays, keeps and splits.

use alloc::sync::Arc;
use core::net::SocketAddr;
use core::time::Duration;

use ntm_proto::id::{InterfaceId, RelayIndex, SessionIndex};
use ntm_proto::session::transport::SealingKey;
use ntm_proto::time::Instant;
use ntm_proto::wire::outer::{DATA_OVERHEAD, RELAYED_HEADER};

use super::Peer;
use super::paths::Routes;
use crate::path::Remote;

/// How long data may flow without the engine hearing of it: well below the times after which it doubts a
/// path, so that a path that breaks under load is noticed as soon as under [`Node::send`](crate::Node::send).
pub const ROUTE_LIFETIME: Duration = Duration::from_millis(50);

/// Where sealed datagrams to one peer go.
#[derive(Clone, Debug)]
pub struct Route {
    pub key: Arc<SealingKey>,
    pub interface: InterfaceId,
    /// The local address, one of those the driver gave the interface.
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// The header each datagram needs on its way through a relay.
    pub relay: Option<RelayIndex>,
    /// The largest virtual packet that the path carries whole.
    pub capacity: usize,
    /// Ask again then at the latest.
    pub until: Instant,
}

/// What a route was made of: while this stays, the route is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteMark {
    key: Option<SessionIndex>,
    places: [Option<(crate::interface::Endpoint, Remote)>; 2],
    index: Option<RelayIndex>,
    capacity: usize,
}

impl Peer {
    /// The route of the data that takes `routes`, if there is one to rely on.
    pub(crate) fn route(&mut self, now: Instant, routes: Routes) -> Option<Route> {
        let &[at] = routes.places() else { return None };
        if self.is_dormant(now) || !self.paths.at(at).is_proven() || self.is_unbound(at) {
            return None;
        }
        let key = self.session.sealing(now)?.clone();
        let path = self.paths.at(at);
        let (local, to, relay) = match path.remote {
            Remote::Direct(to) => (path.local, to, None),
            Remote::Relayed(id) => {
                let link = self.link(id)?;
                (link.leg.local, link.leg.server, Some(link.index()?))
            }
        };
        let capacity = self.capacity_of(at) - DATA_OVERHEAD - RELAYED_HEADER;
        self.last_traffic = now;
        self.paths.at_mut(at).sent_data(now);
        let (interface, from) = (local.interface, local.address);
        Some(Route { key, interface, from, to, relay, capacity, until: now + ROUTE_LIFETIME })
    }

    /// Compared before and after anything happens to a peer: another mark means that routes are outdated.
    pub(crate) fn route_mark(&self, now: Instant) -> RouteMark {
        let mut mark = RouteMark { key: self.session.sealing(now).map(|key| key.remote()), ..RouteMark::default() };
        if self.paths.active().is_none() {
            return mark;
        }
        for (place, &at) in mark.places.iter_mut().zip(self.paths.routes(now).places()) {
            let path = self.paths.at(at);
            *place = Some((path.local, path.remote));
            mark.capacity = path.capacity();
            if let Remote::Relayed(id) = path.remote {
                mark.index = self.link(id).and_then(crate::relay::RelayLink::index);
            }
        }
        mark
    }
}
