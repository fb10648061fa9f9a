//! The registry: what of the domain's nodes outlives a crash.
//!
//! ```text
//!  driver ──Change──▶ keeper ── all that waits, in one commit ──▶ redb file, or PostgreSQL
//!    ▲                  │
//!    └── Stored ────────┘  once it is on disk
//! ```
//!
//! The registry chooses virtual IPv4 addresses, since it alone knows what is free. A node that it has keeps its
//! address until it is forgotten, whatever DC it registers with. Revoked nodes and how far revocations were
//! read are in it too.
//!
//! Invariant: no two nodes have the same virtual IPv4 address; what [`Registry::commit`] gave is on disk.

mod embedded;
mod keeper;
mod postgres;
mod row;

use std::collections::VecDeque;
use std::fmt;

use ntm_direction::{Application, Found, NotStored, Stored};
use ntm_proto::id::{Fqdn, NodeId};
use ntm_proto::wire::message::Target;
use ntm_server::Failure;

pub use embedded::Embedded;
pub(crate) use keeper::{Errand, Keeper, KeeperStats, Orders};
pub use postgres::Postgres;

/// Changes written together.
pub(crate) const MAX_BATCH: usize = 4_096;

/// What is to be written.
#[derive(Clone, Debug)]
pub enum Change {
    /// A node wants to register: to be given what it has, or a row with a free address.
    Admit(Box<Application>),
    /// What the registry has of a node is out of date.
    Update(Box<Stored>),
    /// A node was away so long that its address may go to another.
    Forget(NodeId),
    /// Revocations, with how many there are with these.
    Revoke { upto: u64, nodes: Vec<NodeId> },
}

/// A node as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub stored: Stored,
    /// The DC it registered with last.
    pub dc: Fqdn,
}

/// What the registry holds at the start.
#[derive(Debug, Default)]
pub struct Loaded {
    pub rows: Vec<Row>,
    pub revoked: Vec<NodeId>,
    /// How many revocations were read.
    pub revocations: u64,
}

/// What other DCs changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Row(Box<Row>),
    Forgotten(NodeId),
}

/// The registry does not work now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Where rows are kept. Calls block.
pub trait Registry: Send {
    /// Everything, once, at the start.
    fn load(&mut self) -> Result<Loaded, Failure>;

    /// Makes all changes durable in one step; one answer a change, which only [`Change::Admit`] has. Where it fails
    /// nothing was written.
    fn commit(&mut self, changes: &[Change]) -> Result<Vec<Option<Result<Stored, NotStored>>>, Unavailable>;

    /// Which DC has each node. Only asked where several DCs share the registry.
    fn find(&mut self, targets: &[Target]) -> Result<Vec<Option<Found>>, Unavailable> {
        Ok(targets.iter().map(|_| None).collect())
    }

    /// What other DCs changed since the last call.
    fn news(&mut self) -> Result<Vec<News>, Unavailable> {
        Ok(Vec::new())
    }

    /// Whether other DCs write to it.
    fn is_shared(&self) -> bool {
        false
    }
}

/// Changes that wait, oldest first.
pub(crate) type Queue = VecDeque<Errand>;

#[cfg(test)]
pub(crate) mod testing {
    use ntm_direction::Application;
    use ntm_proto::crypto::{Secret, default_provider};
    use ntm_proto::id::Fqdn;
    use ntm_proto::identity::{IdentityKey, NodeRecord};
    use ntm_proto::time::UnixTime;

    pub(crate) fn application(seed: u8, sequence: u64) -> Application {
        let provider = default_provider();
        let identity = IdentityKey::from_seed(provider, Secret::new([seed; 32]));
        let name = Fqdn::parse(&format!("n{seed}.ntm.example")).expect("a name");
        let domain = Fqdn::parse("ntm.example").expect("a name");
        let at = UnixTime::from_secs(1_790_000_000);
        let record = NodeRecord::sign(provider, &identity, name, [seed; 32], domain, false, at);
        let virtual6 = ntm_direction::virtual6(ntm_direction::DEFAULT_PREFIX6, &record.node_id());
        Application { record, virtual6, sequence, wake_token: None }
    }
}
