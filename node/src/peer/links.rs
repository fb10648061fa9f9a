//! The relays a peer can be reached through.
//!
//! A grant is one link, and a link is one path: from one of this node's interfaces to the relay, and from there
//! to wherever the peer has bound the same grant. Where a direction grants the same relay several times, the
//! links are spread over the interfaces, so that losing one interface leaves a relayed path that already works.

use alloc::vec::Vec;
use core::net::SocketAddr;

use ntm_proto::id::RelayIndex;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::RelayGrant;

use super::Peer;
use crate::context::Context;
use crate::interface::{Change, Interfaces};
use crate::keys::LinkId;
use crate::path::Remote;
use crate::relay::{Leg, RelayLink, legs};

/// Relay links kept for one peer; the oldest idle one goes first.
const MAX_LINKS: usize = 8;
/// Links given up whose indexes are still honoured: the peer may send over them until it notices.
const MAX_LEFT: usize = 8;

impl Peer {
    pub(crate) fn link(&self, id: LinkId) -> Option<&RelayLink> {
        self.links.iter().find(|link| link.id == id)
    }

    pub(crate) fn link_mut(&mut self, id: LinkId) -> Option<&mut RelayLink> {
        self.links.iter_mut().find(|link| link.id == id)
    }

    /// A grant that is new becomes a link of its own beside the older ones.
    pub(super) fn add_grant(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces, grant: RelayGrant) {
        if self.links.iter().any(|link| link.grant.token == grant.token) {
            return;
        }
        let legs = legs(&grant.addresses, interfaces);
        let sharing = self.links.iter().filter(|link| link.id.relay == grant.relay);
        let taken: Vec<Leg> = sharing.map(|link| link.leg).collect();
        let Some(&leg) = legs.iter().find(|leg| !taken.contains(leg)).or(legs.first()) else { return };
        self.make_room_for_link();
        let mut link = RelayLink::new(now, self.key, self.next_link, grant, leg);
        self.next_link = self.next_link.wrapping_add(1);
        if let Some(bind) = link.handle_timeout(now, ctx) {
            ctx.transmit(leg.local, leg.server, bind);
        }
        self.paths.add(now, leg.local, Remote::Relayed(link.id));
        self.links.push(link);
    }

    fn make_room_for_link(&mut self) {
        if self.links.len() < MAX_LINKS {
            return;
        }
        let active = self.paths.active_remote();
        let oldest = self.links.iter().position(|link| active != Some(Remote::Relayed(link.id)));
        if let Some(id) = oldest.map(|at| self.links[at].id) {
            self.leave_links(&[id]);
        }
    }

    fn leave_links(&mut self, ids: &[LinkId]) {
        let left = self.links.iter().filter(|link| ids.contains(&link.id));
        let known = left.filter_map(|link| link.known_as().map(|(server, index)| (server, index, link.id)));
        self.left.extend(known);
        self.links.retain(|link| !ids.contains(&link.id));
        ids.iter().for_each(|&id| self.paths.forget_link(id));
    }

    /// An index under which nothing is awaited any more.
    pub(crate) fn take_outdated_index(&mut self) -> Option<(SocketAddr, RelayIndex, LinkId)> {
        if self.left.len() > MAX_LEFT { self.left.pop_front() } else { None }
    }

    /// Gives every link a leg that exists, and links of one relay different interfaces where there are
    /// enough. Links that stand well stay where they are.
    pub(super) fn spread_links(&mut self, now: Instant, interfaces: &Interfaces, change: &Change) {
        let failed = self.failed_links();
        let mut settled: Vec<(LinkId, Leg)> = Vec::new();
        let mut homeless: Vec<usize> = Vec::new();
        // The link in use is the last to be moved.
        let active = self.paths.active_remote();
        let mut order: Vec<usize> = (0..self.links.len()).collect();
        order.sort_by_key(|&at| active != Some(Remote::Relayed(self.links[at].id)));
        for at in order {
            let link = &self.links[at];
            let stands = self.is_standing(link, change) && !interfaces.is_ending(link.leg.local.interface);
            let exists = legs(&link.grant.addresses, interfaces).contains(&link.leg);
            if stands && exists && !is_taken(&settled, link.id, link.leg) {
                settled.push((link.id, link.leg));
            } else {
                homeless.push(at);
            }
        }
        for at in homeless {
            let link = &self.links[at];
            let (id, old) = (link.id, link.leg);
            let legs = legs(&link.grant.addresses, interfaces);
            let free = legs.iter().find(|leg| !is_taken(&settled, id, **leg));
            let Some(&leg) = free.or_else(|| legs.iter().find(|leg| **leg == old)).or(legs.first()) else {
                // Without any interface the link waits for one.
                self.links[at].doubt_index(now);
                self.paths.forget_link(id);
                continue;
            };
            settled.push((id, leg));
            if leg == old && self.is_standing(&self.links[at], change) {
                continue;
            }
            self.links[at].move_to(now, leg);
            self.paths.forget_link(id);
            if let Some(place) = self.paths.add(now, leg.local, Remote::Relayed(id)) {
                // A relay that was dead a moment ago is not the one to hope for.
                self.paths.at_mut(place).promise = u8::from(failed.contains(&id));
            }
        }
    }

    /// Whether the link has a path, and not one that the change has taken from under it.
    fn is_standing(&self, link: &RelayLink, change: &Change) -> bool {
        !change.gone.contains(&link.leg.local) && self.paths.find(link.leg.local, Remote::Relayed(link.id)).is_some()
    }

    fn failed_links(&self) -> Vec<LinkId> {
        let failed = self.paths.iter().filter(|path| !path.rank().is_usable());
        failed.filter_map(|path| if let Remote::Relayed(link) = path.remote { Some(link) } else { None }).collect()
    }

    /// Sends the binds that are due, and questions the paths of relays that stay silent.
    pub(super) fn run_links(&mut self, now: Instant, ctx: &mut Context) {
        let mut silent = Vec::new();
        for link in &mut self.links {
            if let Some(bind) = link.handle_timeout(now, ctx) {
                ctx.transmit(link.leg.local, link.leg.server, bind);
            }
            if link.is_silent() {
                silent.push(link.id);
            }
        }
        for path in self.paths.iter_mut().filter(|path| path.is_proven()) {
            if matches!(path.remote, Remote::Relayed(id) if silent.contains(&id)) {
                path.question(now);
            }
        }
    }

    /// A relayed path that lost its probes may mean a relay that restarted: bind again.
    pub(super) fn forget_silent_relays(&mut self, now: Instant) {
        for path in self.paths.iter().filter(|path| !path.is_proven()) {
            if let Remote::Relayed(id) = path.remote
                && let Some(link) = self.links.iter_mut().find(|link| link.id == id)
                && link.index().is_some()
            {
                link.doubt_index(now);
            }
        }
    }

    /// Notes which grants the newest direction holds.
    pub(super) fn mark_current(&mut self, grants: &[RelayGrant]) {
        if grants.is_empty() {
            return;
        }
        for link in &mut self.links {
            link.is_current = grants.iter().any(|grant| grant.token == link.grant.token);
        }
    }

    /// Once a grant of the newest direction works, older ones of the same relay only cost keep-alives.
    pub(super) fn drop_older_links(&mut self) {
        let proven = |id: LinkId| self.paths.iter().any(|path| path.remote == Remote::Relayed(id) && path.is_proven());
        let active = self.paths.active_remote();
        let replaced = |old: &RelayLink| {
            self.links.iter().any(|new| new.is_current && new.id.relay == old.id.relay && proven(new.id))
        };
        let outdated: Vec<LinkId> = self
            .links
            .iter()
            .filter(|link| !link.is_current && active != Some(Remote::Relayed(link.id)) && replaced(link))
            .map(|link| link.id)
            .collect();
        self.leave_links(&outdated);
    }
}

/// Whether another link of the same relay stands on the same interface.
fn is_taken(settled: &[(LinkId, Leg)], id: LinkId, leg: Leg) -> bool {
    settled.iter().any(|(other, taken)| other.relay == id.relay && taken.local.interface == leg.local.interface)
}
