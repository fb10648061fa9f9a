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
