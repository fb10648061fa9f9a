//! Several DCs of one domain.
//!
//! ```text
//!  asker        DC 1                     driver, shared registry          DC 2        node
//!    │ request   │ FindNode                       │                        │            │
//!    ├──────────▶├───────────────────────────────▶│                        │            │
//!    │           │◀─ handle_node_found: at DC 2 ──┤                        │            │
//!    │           │ node information request                                │ direction  │
//!    │           ├────────────────────────────────────────────────────────▶├───────────▶│
//!    │◀──────────┤◀────────────────────────────────────────────────────────┤            │
//! ```
//!
//! A node is registered with one of them. The others find it in the registry that all share, and ask the one
//! that has it as they would ask another domain's, for nodes of their own and for other domains'. A sibling is
//! trusted with every node of the domain: it has the same service keys.
//!
//! Invariant: a communication's far end bears this domain's name only while it is looked for.

use std::collections::BTreeMap;

use ntm_proto::id::{Fqdn, NodeId};
use ntm_proto::time::Instant;
use ntm_proto::wire::message::{ErrorCode, Target};

use crate::coordinator::{Coordinator, Event, LookupFailed};
use crate::delivery::Receiver;
use crate::directions::{Refusal, Resolved, own_psk};
use crate::limits::{LOOKUP_WITHIN, MAX_FINDS, MAX_WAITING_PER_PEER};
use crate::paths::{Asker, End, Stage, index, other};
use crate::registry::State;

/// Where a node of this domain is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub node: NodeId,
    /// The name of the DC it registered with last.
    pub dc: Fqdn,
}

/// The nodes that the driver looks for.
#[derive(Debug, Default)]
pub(crate) struct Finds {
    by_target: BTreeMap<Target, Find>,
}

#[derive(Debug)]
struct Find {
    until: Instant,
    /// Communications that wait for it.
    paths: Vec<u32>,
}

impl Finds {
    pub(crate) fn len(&self) -> usize {
        self.by_target.len()
    }
}

impl Coordinator {
    /// The answer to [`Event::FindNode`]; `None`: there is no such node.
    pub fn handle_node_found(&mut self, now: Instant, target: &Target, found: Result<Option<Found>, LookupFailed>) {
        let Some(find) = self.finds.by_target.remove(target) else {
            self.stats.dropped.unexpected_answer += 1;
            return;
        };
        for path in find.paths {
            if !self.seeks(path, target) {
                continue;
            }
            let located = match &found {
                Ok(Some(found)) => self.locate(path, found),
                Ok(None) => Err((ErrorCode::NoSuchNode, "no such node")),
                Err(LookupFailed) => Err((ErrorCode::Busy, "the registry does not answer")),
            };
            match located {
                Ok(()) => self.go_on(now, path),
                Err(refusal) => {
                    if let Some(waiting) = self.paths.settle(path) {
                        self.fail(now, path, &waiting.asker, waiting.transaction, refusal);
                    }
                }
            }
        }
    }

    /// A node registered with another of this domain's DCs, with this sequence number.
    pub fn handle_node_elsewhere(&mut self, node: &NodeId, sequence: u64) {
        let Some(row) = self.registry.by_id(node) else { return };
        let Some(known) = self.registry.get(row) else { return };
        if known.state == State::Revoked || known.state == State::Tentative {
            return;
        }
        if known.sequence > sequence {
            // It came back meanwhile, and the registry does not know.
            if known.state == State::Online {
                self.announce(row);
            }
            return;
        }
        self.stats.moved_away += 1;
        self.drop_node(row);
    }

    /// Removes a row whose node is not this DC's any more.
    pub(crate) fn drop_node(&mut self, row: u32) {
        self.deliveries.remove_all(Receiver::Node(row));
        self.remove_node_links(row);
        self.registry.remove(row);
    }

    /// Who a target is, where a node that is not registered here may be so with a sibling.
    pub(crate) fn resolve_among_siblings(&self, now: Instant, target: &Target) -> Resolved {
        match self.resolve(target) {
            Resolved::Foreign => Resolved::Foreign,
            resolved if self.config.siblings.is_empty() => resolved,
            Resolved::Own(row) if self.registry.get(row).is_some_and(|node| node.is_online(now)) => Resolved::Own(row),
            Resolved::Own(row) if self.registry.get(row).is_some_and(|node| node.state == State::Revoked) => {
                Resolved::Own(row)
            }
            Resolved::Own(_) | Resolved::Elsewhere | Resolved::Nobody => Resolved::Elsewhere,
        }
    }

    /// The peer of a known communication is registered here now.
    pub(crate) fn bring_home(&mut self, path: u32, me: &NodeId, target: u32) {
        let Some(id) = self.registry.get(target).map(|node| node.id) else { return };
        let Some(path) = self.paths.get_mut(path) else { return };
        if let Some(side) = path.side_of(me) {
            path.ends[index(other(side))] = End::Own(id);
        }
    }

    /// The peer of a known communication is not registered here, so it is looked for; a node of another domain
    /// stays where it is.
    pub(crate) fn seek_again(&mut self, path: u32, me: &NodeId) {
        let Some(path) = self.paths.get_mut(path) else { return };
        let Some(side) = path.side_of(me) else { return };
        let end = &mut path.ends[index(other(side))];
        let ours = match end {
            End::Own(_) => true,
            End::Foreign { domain, .. } => self.config.siblings.contains_key(domain) || *domain == self.config.domain,
        };
        if ours {
            *end = End::Foreign { domain: self.config.domain.clone(), id: end.node().copied() };
        }
    }

    /// Has the driver look for a node for a communication that waits. False where too many are looked for.
    pub(crate) fn find_node(&mut self, now: Instant, target: &Target, path: u32) -> bool {
        if let Some(find) = self.finds.by_target.get_mut(target)
            && now < find.until
        {
            if find.paths.len() >= MAX_WAITING_PER_PEER {
                return false;
            }
            find.paths.push(path);
            return true;
        }
        if self.finds.by_target.len() >= MAX_FINDS {
            self.finds.by_target.retain(|_, find| now < find.until);
            if self.finds.by_target.len() >= MAX_FINDS {
                self.stats.overflowed += 1;
                return false;
            }
        }
        let find = Find { until: now + LOOKUP_WITHIN, paths: vec![path] };
        self.finds.by_target.insert(target.clone(), find);
        self.stats.finds += 1;
        self.event(Event::FindNode(target.clone()));
        true
    }

    /// Whether the communication waits for this node to be found.
    fn seeks(&self, path: u32, target: &Target) -> bool {
        let Some(path) = self.paths.get(path) else { return false };
        let waits = path.waiting.as_ref();
        waits.is_some_and(|waiting| matches!(waiting.stage, Stage::Reaching) && waiting.target == *target)
            && matches!(path.end(other(path.asked_by)), End::Foreign { domain, .. } if *domain == self.config.domain)
    }

    /// Writes into a communication where its far end is.
    fn locate(&mut self, row: u32, found: &Found) -> Result<(), Refusal> {
        let Some(path) = self.paths.get_mut(row) else { return Ok(()) };
        let far = other(path.asked_by);
        if path.end(far).node().is_some_and(|known| *known != found.node) {
            return Err((ErrorCode::Forbidden, "another pair of nodes has this path id"));
        }
        if path.end(path.asked_by).is_node(&found.node) {
            return Err((ErrorCode::BadMessage, "this is the asking node itself"));
        }
        let end = if found.dc == self.config.cert.name {
            if self.registry.by_id(&found.node).is_none() {
                return Err((ErrorCode::NodeOffline, "the node is not registered now"));
            }
            End::Own(found.node)
        } else if self.config.siblings.contains_key(&found.dc) {
            End::Foreign { domain: found.dc.clone(), id: Some(found.node) }
        } else {
            return Err((ErrorCode::NodeOffline, "the node's coordinator is gone"));
        };
        path.ends[index(far)] = end;
        // Another domain's DC has made the key; between nodes of this domain every DC makes the same.
        if let (Some(key), End::Own(me)) = (self.config.service_keys.first(), path.end(path.asked_by))
            && !path.waiting.as_ref().is_some_and(|waiting| matches!(waiting.asker, Asker::Peer { .. }))
        {
            path.psk = own_psk(key, path.id, me, &found.node);
        }
        Ok(())
    }
}
