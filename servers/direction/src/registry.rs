//! What the coordinator knows of each node, kept small: a domain has a million of them.
//!
//! ```text
//!  NodeId's head ─┐
//!  virtual IPv6 ──┼─▶ row ─▶ Node with its interface ─▶ name and addresses (packed)
//!  virtual IPv4 ──┤
//!  FQDN ──────────┘
//! ```
//!
//! The tables hold row numbers only and compare with the rows themselves. A node id is looked up by
//! its first 64 bits, which are the lower half of its virtual IPv6 address too: two nodes that
//! share them could not both have an address, so the second is refused.
//!
//! Invariant: every node stands in the id table and in the IPv4 table, and in the name table unless a
//! newer record took its name; its row is armed in the wheel for the end of its present state.

use core::hash::Hasher;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::collections::BTreeMap;
use std::hash::DefaultHasher;

use hashbrown::HashTable;
use ntm_proto::id::{AccountPseudonym, Fqdn, InterfaceId, NodeId, RelayId};
use ntm_proto::identity::NodeRecord;
use ntm_proto::time::{Instant, UnixTime};
use ntm_proto::wire::message::{Interface, NodeDescription, RelayRtt};

use crate::interfaces::{InterfaceState, Interfaces};
use crate::lease::Wheel;
use crate::rate::Rate;
use crate::slab::{NONE, Slab};
use crate::virtual_addresses::{IdHead, Pool4, id_head, id_head_of, virtual6};

/// Where a node's registration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its handshake was answered; it has addresses and nothing else.
    Tentative,
    Online,
    /// Its lease ended or it left; it keeps its addresses for a time.
    Offline,
    Revoked,
}

/// One row. What a keep-alive needs stands together in the first two cache lines, which processors fetch as a
/// pair: at a million nodes cache misses are most of its cost.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Node {
    /// When the present state ends.
    pub(crate) until: Instant,
    pub(crate) heard: Instant,
    /// When `previous` was taken over by the same identity elsewhere; [`Instant::FAR_FUTURE`]: it was
    /// not, its owner just renewed its keys.
    pub(crate) superseded: Instant,
    /// The row of its session, or [`NONE`].
    pub(crate) link: u32,
    /// The row of the session before it, or [`NONE`].
    pub(crate) previous: u32,
    /// Messages on their way to it.
    pub(crate) deliveries: u16,
    /// The interface it was last heard from, and in which family.
    pub(crate) primary: Primary,
    pub(crate) state: State,
    /// It has registered before, so the driver has been told of it.
    pub(crate) announced: bool,
    pub(crate) interfaces: Interfaces,

    /// When `previous` is dropped.
    pub(crate) previous_until: Instant,
    pub(crate) sequence: u64,
    relay_rtts: Box<[(u32, u32)]>,
    pub(crate) wake_token: Option<Box<[u8]>>,
    pub(crate) directions: Rate,
    pub(crate) registrations: Rate,
    pub(crate) fqdn: Fqdn,
    pub(crate) virtual4: Ipv4Addr,
    pub(crate) id: NodeId,
    record: RecordRest,
}

const _: () = assert!(size_of::<Node>() == 384, "a million rows are as large as they need be");
const _: () = assert!(core::mem::offset_of!(Node, previous_until) <= 128, "the first two lines hold what they should");

/// A node record less what stands elsewhere in the row.
#[derive(Debug)]
struct RecordRest {
    identity: [u8; 32],
    noise_key: [u8; 32],
    signature: [u8; 64],
    timestamp: UnixTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Primary {
    pub(crate) slot: u8,
    pub(crate) v4: bool,
}

/// Why a node was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Nodes,
    Pool,
    /// Another node has the same first 64 bits of its id.
    Collision,
}

#[derive(Debug)]
pub(crate) struct Registry {
    nodes: Slab<Node>,
    /// Whose the nodes are, by row, as their newest tickets say. Only grants ask for it, and in the rows it would
    /// cost each node two more cache lines.
    accounts: BTreeMap<u32, AccountPseudonym>,
    by_id: HashTable<u32>,
    by_name: HashTable<u32>,
    by_virtual4: HashTable<u32>,
    pool: Pool4,
    prefix6: Ipv6Addr,
    domain: Fqdn,
    keys: [u64; 2],
    wheel: Wheel,
    online: usize,
}

impl Registry {
    pub(crate) fn new(
        now: Instant,
        domain: Fqdn,
        prefix6: Ipv6Addr,
        pool4: (Ipv4Addr, u8),
        bound: usize,
        keys: [u64; 2],
    ) -> Self {
        Self {
            nodes: Slab::new(bound),
            accounts: BTreeMap::new(),
            by_id: HashTable::new(),
            by_name: HashTable::new(),
            by_virtual4: HashTable::new(),
            pool: Pool4::new(pool4.0, pool4.1),
            prefix6,
            domain,
            keys,
            wheel: Wheel::new(now),
            online: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn online(&self) -> usize {
        self.online
    }

    pub(crate) fn get(&self, row: u32) -> Option<&Node> {
        self.nodes.get(row)
    }

    pub(crate) fn get_mut(&mut self, row: u32) -> Option<&mut Node> {
        self.nodes.get_mut(row)
    }

    /// Reads a word of each cache line that a keep-alive needs of the row.
    pub(crate) fn read_ahead(&self, row: u32) -> u64 {
        let Some(node) = self.nodes.get(row) else { return 0 };
        node.until.as_nanos() ^ node.interfaces.first().map_or(0, |one| u64::from(one.id.0))
    }

    pub(crate) fn by_id(&self, id: &NodeId) -> Option<u32> {
        self.by_head(&id_head(id)).filter(|&row| self.nodes.get(row).is_some_and(|node| node.id == *id))
    }

    pub(crate) fn by_name(&self, name: &Fqdn) -> Option<u32> {
        let hash = self.hash_name(name);
        self.by_name.find(hash, |&row| self.nodes.get(row).is_some_and(|node| node.fqdn == *name)).copied()
    }

    pub(crate) fn by_virtual4(&self, address: Ipv4Addr) -> Option<u32> {
        let hash = self.hash_virtual4(address);
        self.by_virtual4.find(hash, |&row| self.nodes.get(row).is_some_and(|node| node.virtual4 == address)).copied()
    }

    pub(crate) fn by_virtual6(&self, address: Ipv6Addr) -> Option<u32> {
        self.by_head(&id_head_of(self.prefix6, address)?)
    }

    pub(crate) fn virtual6(&self, id: &NodeId) -> Ipv6Addr {
        virtual6(self.prefix6, id)
    }

    pub(crate) fn account(&self, id: &NodeId) -> Option<AccountPseudonym> {
        self.accounts.get(&self.by_id(id)?).copied()
    }

    pub(crate) fn set_account(&mut self, row: u32, account: AccountPseudonym) {
        self.accounts.insert(row, account);
    }

    /// Takes in a node that has no row yet, with addresses and nothing else.
    pub(crate) fn insert(&mut self, record: &NodeRecord, until: Instant) -> Result<u32, Full> {
        let id = record.node_id();
        let head = id_head(&id);
        // The all-zero interface identifier is the subnet's router anycast address (RFC 4291, 2.6.1).
        if head == [0; 8] || self.by_head(&head).is_some() {
            return Err(Full::Collision);
        }
        if self.nodes.is_full() {
            return Err(Full::Nodes);
        }
        let virtual4 = self.pool.assign(&id).ok_or(Full::Pool)?;
        let node = Node::new(id, record, virtual4, until);
        let row = self.nodes.insert(node).map_err(|_| Full::Nodes)?;
        self.index(row);
        self.wheel.arm(row, until);
        Ok(row)
    }

    /// Takes in a node that was known before a restart, with the address it had.
    pub(crate) fn restore(&mut self, record: &NodeRecord, virtual4: Ipv4Addr, until: Instant) -> Result<u32, Full> {
        if self.by_virtual4(virtual4).is_some() {
            return Err(Full::Pool);
        }
        let row = self.insert(record, until)?;
        if self.nodes.get(row).is_some_and(|node| node.virtual4 != virtual4) {
            if !self.pool.reserve(virtual4) {
                self.remove(row);
                return Err(Full::Pool);
            }
            self.unindex_virtual4(row);
            if let Some(node) = self.nodes.get_mut(row) {
                self.pool.release(node.virtual4);
                node.virtual4 = virtual4;
            }
            self.index_virtual4(row);
        }
        self.set_state(row, State::Offline, until);
        Ok(row)
    }

    pub(crate) fn remove(&mut self, row: u32) -> Option<Node> {
        let node = self.nodes.get(row)?;
        let (id_hash, name_hash) = (self.hash_head(&id_head(&node.id)), self.hash_name(&node.fqdn));
        if let Ok(entry) = self.by_id.find_entry(id_hash, |&other| other == row) {
            entry.remove();
        }
        if let Ok(entry) = self.by_name.find_entry(name_hash, |&other| other == row) {
            entry.remove();
        }
        self.unindex_virtual4(row);
        self.wheel.disarm(row);
        self.accounts.remove(&row);
        let node = self.nodes.remove(row)?;
        self.pool.release(node.virtual4);
        self.online -= usize::from(node.state == State::Online);
        Some(node)
    }

    /// The one place where a node's state changes.
    pub(crate) fn set_state(&mut self, row: u32, state: State, until: Instant) {
        let Some(node) = self.nodes.get_mut(row) else { return };
        self.online -= usize::from(node.state == State::Online);
        self.online += usize::from(state == State::Online);
        node.state = state;
        node.until = until;
        self.wheel.arm(row, until);
    }

    /// Replaces the record of a node by a newer one of the same identity, and takes its name over.
    pub(crate) fn set_record(&mut self, row: u32, record: &NodeRecord) {
        let Some(node) = self.nodes.get(row) else { return };
        let hash = self.hash_name(&node.fqdn);
        if let Ok(entry) = self.by_name.find_entry(hash, |&other| other == row) {
            entry.remove();
        }
        if let Some(node) = self.nodes.get_mut(row) {
            node.fqdn = record.fqdn.clone();
            node.record = RecordRest::of(record);
        }
        self.index_name(row);
    }

    /// A row whose time in the wheel has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        self.wheel.pop(now)
    }

    pub(crate) fn arm(&mut self, row: u32, at: Instant) {
        self.wheel.arm(row, at);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.wheel.deadline()
    }

    pub(crate) fn record(&self, row: u32) -> Option<NodeRecord> {
        self.nodes.get(row).map(|node| node.record(&self.domain))
    }

    pub(crate) fn describe(&self, row: u32) -> Option<NodeDescription> {
        let node = self.nodes.get(row)?;
        Some(NodeDescription {
            record: node.record(&self.domain),
            virtual4: node.virtual4,
            virtual6: virtual6(self.prefix6, &node.id),
            interfaces: node.interfaces.iter().map(InterfaceState::describe).collect(),
            relay_rtts: node
                .relay_rtts
                .iter()
                .map(|&(relay, micros)| RelayRtt {
                    relay: RelayId(relay),
                    rtt: Duration::from_micros(u64::from(micros)),
                })
                .collect(),
        })
    }

    fn by_head(&self, head: &IdHead) -> Option<u32> {
        let hash = self.hash_head(head);
        self.by_id.find(hash, |&row| self.nodes.get(row).is_some_and(|node| id_head(&node.id) == *head)).copied()
    }

    fn index(&mut self, row: u32) {
        let Some(node) = self.nodes.get(row) else { return };
        let hash = self.hash_head(&id_head(&node.id));
        let (nodes, keys) = (&self.nodes, self.keys);
        self.by_id
            .insert_unique(hash, row, |&other| nodes.get(other).map_or(0, |node| hash_bytes(keys, &id_head(&node.id))));
        self.index_virtual4(row);
        self.index_name(row);
    }

    fn index_virtual4(&mut self, row: u32) {
        let Some(node) = self.nodes.get(row) else { return };
        let hash = self.hash_virtual4(node.virtual4);
        let (nodes, keys) = (&self.nodes, self.keys);
        self.by_virtual4.insert_unique(hash, row, |&other| {
            nodes.get(other).map_or(0, |node| hash_bytes(keys, &node.virtual4.octets()))
        });
    }

    fn unindex_virtual4(&mut self, row: u32) {
        let Some(node) = self.nodes.get(row) else { return };
        let hash = self.hash_virtual4(node.virtual4);
        if let Ok(entry) = self.by_virtual4.find_entry(hash, |&other| other == row) {
            entry.remove();
        }
    }

    /// Gives the row its name, unless a newer record of another node has it.
    fn index_name(&mut self, row: u32) {
        let Some(node) = self.nodes.get(row) else { return };
        let hash = self.hash_name(&node.fqdn);
        if let Some(holder) = self.by_name(&node.fqdn) {
            let newer = self.nodes.get(holder).is_some_and(|held| held.record.timestamp > node.record.timestamp);
            if holder == row || newer {
                return;
            }
            if let Ok(entry) = self.by_name.find_entry(hash, |&other| other == holder) {
                entry.remove();
            }
        }
        let (nodes, keys) = (&self.nodes, self.keys);
        self.by_name.insert_unique(hash, row, |&other| {
            nodes.get(other).map_or(0, |node| hash_bytes(keys, node.fqdn.as_str().as_bytes()))
        });
    }

    fn hash_head(&self, head: &IdHead) -> u64 {
        hash_bytes(self.keys, head)
    }

    fn hash_name(&self, name: &Fqdn) -> u64 {
        hash_bytes(self.keys, name.as_str().as_bytes())
    }

    fn hash_virtual4(&self, address: Ipv4Addr) -> u64 {
        hash_bytes(self.keys, &address.octets())
    }
}

impl Node {
    fn new(id: NodeId, record: &NodeRecord, virtual4: Ipv4Addr, until: Instant) -> Self {
        Self {
            id,
            record: RecordRest::of(record),
            fqdn: record.fqdn.clone(),
            sequence: 0,
            interfaces: Interfaces::default(),
            relay_rtts: Box::default(),
            wake_token: None,
            until,
            heard: Instant::ZERO,
            directions: Rate::default(),
            registrations: Rate::default(),
            virtual4,
            link: NONE,
            previous: NONE,
            previous_until: Instant::ZERO,
            superseded: Instant::FAR_FUTURE,
            deliveries: 0,
            state: State::Tentative,
            primary: Primary { slot: 0, v4: true },
            announced: false,
        }
    }

    /// Whether its lease runs.
    pub(crate) fn is_online(&self, now: Instant) -> bool {
        self.state == State::Online && now < self.until
    }

    pub(crate) fn record_timestamp(&self) -> UnixTime {
        self.record.timestamp
    }

    /// Whether `record` is the very one the node registered with.
    pub(crate) fn has_record(&self, record: &NodeRecord) -> bool {
        self.record.identity == record.identity
            && self.record.noise_key == record.noise_key
            && self.record.signature == record.signature
            && self.record.timestamp == record.timestamp
            && self.fqdn == record.fqdn
    }

    /// Measured round-trip times; in place where their number has not changed.
    pub(crate) fn set_relay_rtts(&mut self, rtts: &[RelayRtt]) {
        let packed = |one: &RelayRtt| (one.relay.0, u32::try_from(one.rtt.as_micros()).unwrap_or(u32::MAX));
        if self.relay_rtts.len() == rtts.len() {
            self.relay_rtts.iter_mut().zip(rtts).for_each(|(old, new)| *old = packed(new));
        } else {
            self.relay_rtts = rtts.iter().map(packed).collect();
        }
    }

    /// Replaces the interfaces; what was seen of one whose generation is the same stays.
    pub(crate) fn set_interfaces(&mut self, interfaces: &[Interface]) {
        self.interfaces.replace(interfaces);
    }

    pub(crate) fn slot(&self, interface: InterfaceId) -> Option<u8> {
        self.interfaces.iter().position(|one| one.id == interface).map(|slot| slot as u8)
    }

    fn record(&self, domain: &Fqdn) -> NodeRecord {
        NodeRecord {
            identity: self.record.identity,
            fqdn: self.fqdn.clone(),
            noise_key: self.record.noise_key,
            manager: domain.clone(),
            revoked: false,
            timestamp: self.record.timestamp,
            signature: self.record.signature,
        }
    }
}

impl RecordRest {
    fn of(record: &NodeRecord) -> Self {
        Self {
            identity: record.identity,
            noise_key: record.noise_key,
            signature: record.signature,
            timestamp: record.timestamp,
        }
    }
}

fn hash_bytes(keys: [u64; 2], bytes: &[u8]) -> u64 {
    // The standard hasher with its fixed key, keyed here: nobody outside can aim at one bucket, and a
    // run repeats bit for bit.
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(keys[0]);
    hasher.write(bytes);
    hasher.write_u64(keys[1]);
    hasher.finish()
}
