//! What connections learn of paths, for those that come after them; and what they do when their path changes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ntm_proto::id::NodeId;
use ntm_proto::time::Instant;
use ntm_recovery::PathMemory;

use crate::packet::route::PathName;
use crate::runtime::Core;
use crate::stack::Stack;
use crate::stack::tcp::Connection;
use crate::sync::Lock;

/// Paths that are remembered; the one heard of longest ago goes first.
const MAX_PATHS: usize = 1_024;
/// Linux keeps its TCP metrics as long.
const LIFETIME: Duration = Duration::from_secs(3_600);

/// What is known of the paths that connections used.
#[derive(Debug, Default)]
pub(crate) struct PathMemories(Lock<HashMap<(IpAddr, PathName), (Instant, PathMemory)>>);

impl PathMemories {
    pub(crate) fn learn(&self, now: Instant, peer: IpAddr, path: PathName, learnt: PathMemory) {
        let mut paths = self.0.lock();
        if paths.len() >= MAX_PATHS
            && !paths.contains_key(&(peer, path))
            && let Some(oldest) = paths.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| *key)
        {
            paths.remove(&oldest);
        }
        let (at, memory) = paths.entry((peer, path)).or_default();
        if now.since(*at) > LIFETIME {
            *memory = PathMemory::default();
        }
        *at = now;
        memory.learn(learnt);
    }

    pub(crate) fn of(&self, now: Instant, peer: IpAddr, path: PathName) -> PathMemory {
        match self.0.lock().get(&(peer, path)) {
            Some((at, memory)) if now.since(*at) <= LIFETIME => *memory,
            _ => PathMemory::default(),
        }
    }
}

impl Stack {
    /// Traffic to the peer goes another way: its connections send again what the old way lost.
    pub(crate) fn path_changed(&self, core: &Core, peer: &NodeId) {
        let addresses = core.engine(|node| {
            node.peers().find(|one| one.node == *peer).map(|one| [IpAddr::V4(one.virtual4), IpAddr::V6(one.virtual6)])
        });
        let Some(addresses) = addresses else { return };
        let concerned = |connection: &&Arc<Connection>| addresses.contains(&connection.flow.remote.ip());
        let connections: Vec<_> = self.connections.read().values().filter(concerned).cloned().collect();
        for connection in connections {
            connection.path_changed(core);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ntm_proto::id::InterfaceId;

    fn path(port: u16) -> PathName {
        PathName { interface: InterfaceId(1), to: ([192, 0, 2, 1], port).into(), relayed: false }
    }

    #[test]
    fn the_path_heard_of_longest_ago_is_forgotten_first() {
        let memories = PathMemories::default();
        let peer = IpAddr::from([198, 18, 0, 1]);
        for port in 0..=u16::try_from(MAX_PATHS).expect("small") {
            memories.learn(Instant::from_millis(u64::from(port)), peer, path(port), PathMemory::default());
        }
        let known = memories.0.lock();
        assert_eq!(known.len(), MAX_PATHS);
        assert!(!known.contains_key(&(peer, path(0))));
    }
}
