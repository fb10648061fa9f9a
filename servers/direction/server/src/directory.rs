//! Whose names there are: what the DNS answers from.
//!
//! The keeper writes, DNS tasks read; the driver's thread touches it never.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{PoisonError, RwLock};

use ntm_direction::Stored;
use ntm_proto::id::{Fqdn, NodeId};
use ntm_proto::time::UnixTime;

/// What the DNS says of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub node: NodeId,
    pub virtual4: Ipv4Addr,
    pub virtual6: Ipv6Addr,
    since: UnixTime,
}

#[derive(Debug, Default)]
pub(crate) struct Directory {
    names: RwLock<Names>,
}

#[derive(Debug, Default)]
struct Names {
    by_name: HashMap<Fqdn, Listed>,
    by_node: HashMap<NodeId, Fqdn>,
}

impl Directory {
    pub(crate) fn find(&self, name: &Fqdn) -> Option<Listed> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.names.read().unwrap_or_else(PoisonError::into_inner).by_name.len()
    }

    /// Lists a node under the name in its record, and under no other. A newer record keeps the name.
    pub(crate) fn list(&self, stored: &Stored) {
        let (node, name) = (stored.record.node_id(), &stored.record.fqdn);
        let listed =
            Listed { node, virtual4: stored.virtual4, virtual6: stored.virtual6, since: stored.record.timestamp };
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if names.by_node.get(&node).is_some_and(|before| before != name) {
            names.strike(&node);
        }
        if names.by_name.get(name).is_some_and(|other| other.node != node && other.since > listed.since) {
            return;
        }
        if let Some(other) = names.by_name.insert(name.clone(), listed)
            && other.node != node
        {
            names.by_node.remove(&other.node);
        }
        names.by_node.insert(node, name.clone());
    }

    /// The node is no more.
    pub(crate) fn strike(&self, node: &NodeId) {
        self.names.write().unwrap_or_else(PoisonError::into_inner).strike(node);
    }
}

impl Names {
    fn strike(&mut self, node: &NodeId) {
        if let Some(name) = self.by_node.remove(node) {
            self.by_name.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use ntm_proto::crypto::{Secret, default_provider};
    use ntm_proto::identity::{IdentityKey, NodeRecord};

    use super::*;

    fn name(text: &str) -> Fqdn {
        Fqdn::parse(text).expect("a name")
    }

    fn stored(seed: u8, called: &str, since: u64) -> Stored {
        let provider = default_provider();
        let identity = IdentityKey::from_seed(provider, Secret::new([seed; 32]));
        let (domain, since) = (name("ntm.example"), UnixTime::from_secs(since));
        Stored {
            record: NodeRecord::sign(provider, &identity, name(called), [seed; 32], domain, false, since),
            virtual4: [198, 18, 0, seed].into(),
            virtual6: Ipv6Addr::LOCALHOST,
            sequence: 1,
            wake_token: None,
        }
    }

    fn who(directory: &Directory, called: &str) -> Option<u8> {
        directory.find(&name(called)).map(|listed| listed.virtual4.octets()[3])
    }

    #[test]
    fn a_node_has_one_name_and_a_name_the_newest_node() {
        let directory = Directory::default();
        directory.list(&stored(1, "a.ntm.example", 10));
        directory.list(&stored(2, "a.ntm.example", 5));
        assert_eq!(who(&directory, "a.ntm.example"), Some(1));
        directory.list(&stored(2, "a.ntm.example", 20));
        assert_eq!(who(&directory, "a.ntm.example"), Some(2));
        directory.list(&stored(2, "b.ntm.example", 30));
        assert_eq!((who(&directory, "a.ntm.example"), who(&directory, "b.ntm.example")), (None, Some(2)));
        directory.strike(&stored(2, "x", 0).record.node_id());
        assert_eq!((who(&directory, "b.ntm.example"), directory.len()), (None, 0));
    }
}
