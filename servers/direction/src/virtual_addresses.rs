//! Virtual addresses: what applications see of a node, the same for as long as the node exists.
//!
//! IPv6 is the domain's /64 and the first 64 bits of the node id: nothing to store, and the same
//! whatever DC computes it. IPv4 comes from a pool too small for that: the node id says where to
//! look first, so that a DC that lost everything gives nearly every node its old address again.

use core::net::{Ipv4Addr, Ipv6Addr};

use ntm_proto::id::NodeId;

/// Places tried by the node id before the pool is searched from the last of them.
const PROBES: u64 = 16;
/// The widest pool: a bitmap of 2 MiB.
pub(crate) const MIN_POOL_PREFIX: u8 = 8;
/// The narrowest pool that has a usable address.
pub(crate) const MAX_POOL_PREFIX: u8 = 30;

/// The first 64 bits of a node id: the lower half of its virtual IPv6 address.
pub(crate) type IdHead = [u8; 8];

pub(crate) fn id_head(node: &NodeId) -> IdHead {
    let mut head = [0; 8];
    head.copy_from_slice(&node.0[..8]);
    head
}

/// The node's virtual IPv6 address under `prefix`, a /64.
pub fn virtual6(prefix: Ipv6Addr, node: &NodeId) -> Ipv6Addr {
    let mut octets = prefix.octets();
    octets[8..].copy_from_slice(&node.0[..8]);
    octets.into()
}

/// The part of a node id that `address` carries, if it stands under `prefix`.
pub(crate) fn id_head_of(prefix: Ipv6Addr, address: Ipv6Addr) -> Option<IdHead> {
    let octets = address.octets();
    if octets[..8] != prefix.octets()[..8] {
        return None;
    }
    let mut head = [0; 8];
    head.copy_from_slice(&octets[8..]);
    Some(head)
}

/// The IPv4 addresses of a domain's nodes; one is given to one node at a time.
#[derive(Clone, Debug)]
pub struct Pool4 {
    network: u32,
    size: u32,
    taken: Vec<u64>,
    free: u32,
}

impl Pool4 {
    /// The pool `network/prefix`, less its first and last address. A prefix out of bounds is
    /// brought within them.
    pub fn new(network: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.clamp(MIN_POOL_PREFIX, MAX_POOL_PREFIX);
        let size = 1u32 << (32 - prefix);
        let mut pool = Self {
            network: network.to_bits() & !(size - 1),
            size,
            taken: vec![0; (size as usize).div_ceil(64)],
            free: size,
        };
        if size < 64 {
            pool.taken[0] = u64::MAX << size;
        }
        pool.take(0);
        pool.take(size - 1);
        pool
    }

    /// An address for `node`, the same whenever it is free.
    pub fn assign(&mut self, node: &NodeId) -> Option<Ipv4Addr> {
        if self.free == 0 {
            return None;
        }
        let word = |at: usize| u64::from_be_bytes(core::array::from_fn(|byte| node.0[at + byte]));
        let (start, step) = (word(8), word(16) | 1);
        let mut offset = 0;
        for probe in 0..PROBES {
            offset = (start.wrapping_add(step.wrapping_mul(probe)) % u64::from(self.size)) as u32;
            if self.take(offset) {
                return Some(self.address(offset));
            }
        }
        let words = self.taken.len();
        for at in (0..words).map(|step| (offset as usize / 64 + step) % words) {
            if self.taken[at] != u64::MAX {
                let offset = at as u32 * 64 + self.taken[at].trailing_ones();
                self.take(offset);
                return Some(self.address(offset));
            }
        }
        None
    }

    /// Takes an address that was given before a restart. False where it is taken or not of the pool.
    pub fn reserve(&mut self, address: Ipv4Addr) -> bool {
        self.offset(address).is_some_and(|offset| self.take(offset))
    }

    pub fn release(&mut self, address: Ipv4Addr) {
        let Some(offset) = self.offset(address) else { return };
        let word = &mut self.taken[offset as usize / 64];
        let bit = 1u64 << (offset % 64);
        if *word & bit != 0 {
            *word &= !bit;
            self.free += 1;
        }
    }

    fn offset(&self, address: Ipv4Addr) -> Option<u32> {
        let offset = address.to_bits().wrapping_sub(self.network);
        (offset > 0 && offset < self.size - 1).then_some(offset)
    }

    fn address(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network + offset)
    }

    fn take(&mut self, offset: u32) -> bool {
        let word = &mut self.taken[offset as usize / 64];
        let bit = 1u64 << (offset % 64);
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        self.free -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u64) -> NodeId {
        let mut id = [0; 32];
        let mut state = number.wrapping_add(1);
        for chunk in id.chunks_mut(8) {
            state = (state ^ (state >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&(state ^ (state >> 29)).to_be_bytes());
        }
        NodeId(id)
    }

    #[test]
    fn a_node_gets_the_same_address_after_a_restart() {
        let (mut before, mut after) = (Pool4::new([198, 18, 0, 0].into(), 15), Pool4::new([198, 18, 0, 0].into(), 15));
        let same = (0..1_000).filter(|&number| before.assign(&node(number)) == after.assign(&node(number))).count();
        assert_eq!(same, 1_000);
    }

    #[test]
    fn no_address_is_given_twice_and_the_pool_can_be_used_up_whole() {
        let mut pool = Pool4::new([10, 0, 0, 77].into(), 22);
        let mut given: Vec<Ipv4Addr> =
            core::iter::successors(Some(0), |n| Some(n + 1)).map_while(|number| pool.assign(&node(number))).collect();
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 1_022);
        assert_eq!(given.first(), Some(&Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(given.last(), Some(&Ipv4Addr::new(10, 0, 3, 254)));
        pool.release(given[500]);
        assert_eq!(pool.assign(&node(9_999)), Some(given[500]));
    }

    #[test]
    fn the_smallest_pool_has_two_addresses() {
        let mut pool = Pool4::new([10, 0, 0, 0].into(), 32);
        assert!(pool.assign(&node(1)).is_some() && pool.assign(&node(2)).is_some());
        assert_eq!(pool.assign(&node(3)), None);
    }

    #[test]
    fn a_reserved_address_goes_to_nobody_else() {
        let mut pool = Pool4::new([10, 0, 0, 0].into(), 24);
        let first = pool.assign(&node(1)).unwrap();
        pool.release(first);
        assert!(pool.reserve(first));
        assert!(!pool.reserve(first));
        assert!(!pool.reserve([10, 0, 1, 1].into()) && !pool.reserve([10, 0, 0, 0].into()));
        assert_ne!(pool.assign(&node(1)), Some(first));
    }

    #[test]
    fn the_virtual_ipv6_address_carries_the_node_id() {
        let prefix = "fd00:1:2:3::".parse().unwrap();
        let address = virtual6(prefix, &node(5));
        assert_eq!(id_head_of(prefix, address), Some(id_head(&node(5))));
        assert_eq!(id_head_of("fd00:1:2:4::".parse().unwrap(), address), None);
    }
}
