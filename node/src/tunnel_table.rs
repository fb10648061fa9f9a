//! The tunnel table: all peers, found by whatever a datagram or the application names them.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use ntm_proto::id::{Fqdn, NodeId, PathId, RelayIndex};
use ntm_proto::time::Instant;
use ntm_proto::wire::message::{NodeDescription, Target};

use crate::context::Context;
use crate::keys::{IndexOwner, LinkId, PeerKey};
use crate::peer::Peer;

/// Peers in the table; when it is full the one silent for longest makes room, if it is dormant.
pub(crate) const MAX_PEERS: usize = 4_096;

#[derive(Default)]
pub(crate) struct TunnelTable {
    rows: Vec<Option<Box<Peer>>>,
    free: Vec<PeerKey>,
    by_node: BTreeMap<NodeId, PeerKey>,
    by_virtual: BTreeMap<IpAddr, PeerKey>,
    by_path: BTreeMap<PathId, PeerKey>,
    by_relay_index: BTreeMap<(SocketAddr, RelayIndex), (PeerKey, LinkId)>,
    timers: BTreeSet<(Instant, PeerKey)>,
    /// When each row's timer stands in `timers`.
    scheduled: BTreeMap<PeerKey, Instant>,
}

impl TunnelTable {
    pub(crate) fn get(&self, key: PeerKey) -> Option<&Peer> {
        self.rows.get(key.0 as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, key: PeerKey) -> Option<&mut Peer> {
        self.rows.get_mut(key.0 as usize)?.as_deref_mut()
    }

    pub(crate) fn keys(&self) -> Vec<PeerKey> {
        self.by_node.values().copied().collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.by_node.values().filter_map(|&key| self.get(key))
    }

    pub(crate) fn by_node(&self, node: &NodeId) -> Option<PeerKey> {
        self.by_node.get(node).copied()
    }

    pub(crate) fn by_virtual(&self, address: IpAddr) -> Option<PeerKey> {
        self.by_virtual.get(&address).copied()
    }

    pub(crate) fn by_path(&self, path_id: PathId) -> Option<PeerKey> {
        self.by_path.get(&path_id).copied()
    }

    pub(crate) fn by_relay_index(&self, server: SocketAddr, index: RelayIndex) -> Option<(PeerKey, LinkId)> {
        self.by_relay_index.get(&(server, index)).copied()
    }

    fn by_name(&self, name: &Fqdn) -> Option<PeerKey> {
        self.iter().find(|peer| peer.description.record.fqdn == *name).map(|peer| peer.key)
    }

    pub(crate) fn by_target(&self, target: &Target) -> Option<PeerKey> {
        match target {
            Target::Name(name) => self.by_name(name),
            Target::Node(node) => self.by_node(node),
            Target::Virtual4(address) => self.by_virtual(IpAddr::V4(*address)),
            Target::Virtual6(address) => self.by_virtual(IpAddr::V6(*address)),
        }
    }

    /// The row of the node described, made if there is none; `None` where the table is full.
    pub(crate) fn row_for(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        description: &NodeDescription,
    ) -> Option<PeerKey> {
        let node = description.record.node_id();
        let addresses = [IpAddr::V4(description.virtual4), IpAddr::V6(description.virtual6)];
        // The coordinator gave an address to another node than before: the older row lost it.
        for address in addresses {
            if let Some(&key) = self.by_virtual.get(&address)
                && self.get(key).is_some_and(|peer| peer.node != node)
            {
                self.remove(ctx, key);
            }
        }
        let key = match self.by_node(&node) {
            Some(key) => key,
            None => self.insert(now, ctx, description)?,
        };
        for address in addresses {
            self.by_virtual.insert(address, key);
        }
        Some(key)
    }

    fn insert(&mut self, now: Instant, ctx: &mut Context, description: &NodeDescription) -> Option<PeerKey> {
        if self.by_node.len() >= MAX_PEERS {
            let oldest = self.iter().filter(|peer| peer.is_dormant(now)).min_by_key(|peer| peer.last_traffic())?.key;
            self.remove(ctx, oldest);
        }
        let key = match self.free.pop() {
            Some(key) => key,
            None => {
                self.rows.push(None);
                PeerKey(u32::try_from(self.rows.len() - 1).ok()?)
            }
        };
        let peer = Peer::new(now, ctx, key, description.clone());
        self.by_node.insert(peer.node, key);
        self.rows[key.0 as usize] = Some(Box::new(peer));
        Some(key)
    }

    pub(crate) fn remove(&mut self, ctx: &mut Context, key: PeerKey) {
        let Some(peer) = self.rows.get_mut(key.0 as usize).and_then(Option::take) else { return };
        self.by_node.remove(&peer.node);
        self.by_virtual.retain(|_, held_by| *held_by != key);
        self.by_path.retain(|_, held_by| *held_by != key);
        self.by_relay_index.retain(|_, (held_by, _)| *held_by != key);
        if let Some(at) = self.scheduled.remove(&key) {
            self.timers.remove(&(at, key));
        }
        ctx.release_indices_of(IndexOwner::Peer(key));
        self.free.push(key);
        ctx.routes_changed();
    }

    pub(crate) fn note_path(&mut self, path_id: PathId, key: PeerKey, forgotten: Option<PathId>) {
        if let Some(forgotten) = forgotten {
            self.by_path.remove(&forgotten);
        }
        self.by_path.insert(path_id, key);
    }

    pub(crate) fn note_relay_index(
        &mut self,
        key: PeerKey,
        link: LinkId,
        learned: Option<(SocketAddr, RelayIndex)>,
        outdated: Option<(SocketAddr, RelayIndex)>,
    ) {
        if let Some(outdated) = outdated {
            self.by_relay_index.remove(&outdated);
        }
        if let Some(learned) = learned {
            self.by_relay_index.insert(learned, (key, link));
        }
    }

    /// After anything happened to a row: its timer, and the indexes it no longer uses.
    pub(crate) fn settle(&mut self, now: Instant, ctx: &mut Context, key: PeerKey) {
        let Some(peer) = self.rows.get_mut(key.0 as usize).and_then(Option::as_deref_mut) else { return };
        while let Some(index) = peer.session.take_retired() {
            ctx.release_index(index);
        }
        peer.note_settled(now);
        let mark = peer.route_mark(now);
        if mark != peer.routed {
            peer.routed = mark;
            ctx.routes_changed();
        }
        while let Some((server, index, link)) = peer.take_outdated_index() {
            if self.by_relay_index.get(&(server, index)) == Some(&(key, link)) {
                self.by_relay_index.remove(&(server, index));
            }
        }
        let wanted = peer.next_timeout(now);
        match self.scheduled.get(&key) {
            // A timer that comes too early finds nothing to do and is set again: moving it for every
            // packet would cost more.
            Some(&at) if at <= wanted => return,
            Some(&at) => {
                self.timers.remove(&(at, key));
            }
            None => {}
        }
        if wanted == Instant::FAR_FUTURE {
            self.scheduled.remove(&key);
            return;
        }
        self.timers.insert((wanted, key));
        self.scheduled.insert(key, wanted);
    }

    pub(crate) fn next_timeout(&self) -> Instant {
        self.timers.first().map_or(Instant::FAR_FUTURE, |&(at, _)| at)
    }

    /// Takes out the next row whose timer has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<PeerKey> {
        let &(at, key) = self.timers.first().filter(|&&(at, _)| at <= now)?;
        self.timers.remove(&(at, key));
        self.scheduled.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, at, context, description};
    use ntm_proto::id::RelayId;

    fn row(table: &mut TunnelTable, ctx: &mut Context, number: u16) -> PeerKey {
        table.row_for(at(0), ctx, &description(number)).expect("there is room")
    }

    #[test]
    fn a_node_has_one_row_that_every_name_of_it_leads_to() {
        let (mut ctx, mut table) = (context(), TunnelTable::default());
        let key = row(&mut table, &mut ctx, 1);
        assert_eq!(row(&mut table, &mut ctx, 1), key);
        assert_ne!(row(&mut table, &mut ctx, 2), key);
        let described = description(1);
        let targets = [
            Target::Name(described.record.fqdn.clone()),
            Target::Node(described.record.node_id()),
            Target::Virtual4(described.virtual4),
            Target::Virtual6(described.virtual6),
        ];
        for target in targets {
            assert_eq!(table.by_target(&target), Some(key), "{target:?}");
        }
    }

    #[test]
    fn a_virtual_address_that_was_given_to_another_node_leads_there() {
        let (mut ctx, mut table) = (context(), TunnelTable::default());
        let old = row(&mut table, &mut ctx, 1);
        let mut heir = description(2);
        heir.virtual4 = description(1).virtual4;
        let new = table.row_for(at(0), &mut ctx, &heir).expect("there is room");
        assert_eq!(table.by_virtual(IpAddr::V4(heir.virtual4)), Some(new));
        assert_eq!(table.by_node(&description(1).record.node_id()), None, "the older row is gone: {old:?}");
    }

    #[test]
    fn a_row_that_goes_takes_everything_that_leads_to_it_along() {
        let (mut ctx, mut table) = (context(), TunnelTable::default());
        let key = row(&mut table, &mut ctx, 1);
        let index = ctx.allocate_index(IndexOwner::Peer(key));
        let link = LinkId { relay: RelayId(1), number: 0 };
        let known = (address("20.0.0.1:4601"), RelayIndex(7));
        table.note_path(PathId([1; 16]), key, None);
        table.note_relay_index(key, link, Some(known), None);
        table.settle(at(0), &mut ctx, key);
        table.remove(&mut ctx, key);
        assert_eq!(table.by_path(PathId([1; 16])), None);
        assert_eq!(table.by_relay_index(known.0, known.1), None);
        assert_eq!(table.by_virtual(IpAddr::V4(description(1).virtual4)), None);
        assert_eq!(ctx.index_owner(index), None);
        assert_eq!(table.next_timeout(), Instant::FAR_FUTURE);
        assert!(table.get(key).is_none());
        table.remove(&mut ctx, key);
        // The place is used again for somebody else.
        assert_eq!(row(&mut table, &mut ctx, 2), key);
    }

    #[test]
    fn an_index_that_the_relay_replaced_leads_nowhere() {
        let (mut ctx, mut table) = (context(), TunnelTable::default());
        let key = row(&mut table, &mut ctx, 1);
        let link = LinkId { relay: RelayId(1), number: 0 };
        let server = address("20.0.0.1:4601");
        table.note_relay_index(key, link, Some((server, RelayIndex(1))), None);
        table.note_relay_index(key, link, Some((server, RelayIndex(2))), Some((server, RelayIndex(1))));
        assert_eq!(table.by_relay_index(server, RelayIndex(1)), None);
        assert_eq!(table.by_relay_index(server, RelayIndex(2)), Some((key, link)));
        assert_eq!(table.by_relay_index(address("20.0.0.2:4601"), RelayIndex(2)), None, "another relay's");
    }

    #[test]
    fn a_full_table_forgets_who_was_silent_longest_and_nobody_who_is_not_silent() {
        let (mut ctx, mut table) = (context(), TunnelTable::default());
        for number in 0..MAX_PEERS as u16 {
            let now = at(u64::from(number));
            assert!(table.row_for(now, &mut ctx, &description(number)).is_some());
        }
        let one_more = description(u16::MAX);
        assert_eq!(table.row_for(at(10_000), &mut ctx, &one_more), None, "all are in use");
        let later = at(3_600_000);
        assert!(table.row_for(later, &mut ctx, &one_more).is_some());
        assert_eq!(table.by_node(&description(0).record.node_id()), None);
        assert!(table.by_node(&description(1).record.node_id()).is_some());
        assert_eq!(table.keys().len(), MAX_PEERS);
    }

    #[test]
    fn timers_come_out_in_order_and_once() {
        let (mut ctx, mut table) = (context(), TunnelTable::default());
        let keys: Vec<PeerKey> = (0..5).map(|number| row(&mut table, &mut ctx, number)).collect();
        for &key in &keys {
            table.settle(at(0), &mut ctx, key);
        }
        let first = table.next_timeout();
        assert!(first < Instant::FAR_FUTURE);
        assert_eq!(table.pop_due(at(0)), None);
        let due: Vec<PeerKey> = core::iter::from_fn(|| table.pop_due(first)).collect();
        assert_eq!(due, keys);
        assert_eq!(table.next_timeout(), Instant::FAR_FUTURE);
    }
}
