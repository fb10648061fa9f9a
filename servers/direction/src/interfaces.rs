//! The interfaces of a node: what it said of each, packed, and what was seen.
//!
//! Most nodes have one, and then it stands in the node's own row: a keep-alive finds it without another
//! pointer to follow, into another page.

use core::net::{IpAddr, SocketAddr};
use core::ops::{Deref, DerefMut};
use core::slice;

use ntm_proto::id::{DeviceName, InterfaceId};
use ntm_proto::wire::message::{Interface, NatMapping};

use crate::seen::Sightings;

/// The interfaces in the order in which the node named them.
#[derive(Debug)]
pub(crate) enum Interfaces {
    One(InterfaceState),
    /// None, or several.
    Boxed(Box<[InterfaceState]>),
}

/// One interface: what the node said, packed, and what was seen.
#[derive(Debug)]
pub(crate) struct InterfaceState {
    pub(crate) id: InterfaceId,
    pub(crate) cost: u8,
    reported: NatMapping,
    pub(crate) generation: u16,
    pub(crate) seen: Sightings,
    /// `length(1) name, count(1), addresses: family(1) ip(4|16) port(2)`.
    described: Box<[u8]>,
}

impl Interfaces {
    /// Replaces them; what was seen of one whose generation is the same stays.
    pub(crate) fn replace(&mut self, interfaces: &[Interface]) {
        let mut old = core::mem::take(self);
        let mut taken = interfaces.iter().map(|new| {
            let same = old.iter_mut().find(|old| old.id == new.id && old.generation == new.generation);
            let seen = same.map(|old| core::mem::take(&mut old.seen));
            InterfaceState::new(new, seen.unwrap_or_default())
        });
        *self = match (interfaces.len(), taken.next()) {
            (1, Some(only)) => Self::One(only),
            (_, first) => Self::Boxed(first.into_iter().chain(taken).collect()),
        };
    }
}

impl Default for Interfaces {
    fn default() -> Self {
        Self::Boxed(Box::default())
    }
}

impl Deref for Interfaces {
    type Target = [InterfaceState];

    fn deref(&self) -> &[InterfaceState] {
        match self {
            Self::One(only) => slice::from_ref(only),
            Self::Boxed(all) => all,
        }
    }
}

impl DerefMut for Interfaces {
    fn deref_mut(&mut self) -> &mut [InterfaceState] {
        match self {
            Self::One(only) => slice::from_mut(only),
            Self::Boxed(all) => all,
        }
    }
}

impl InterfaceState {
    fn new(interface: &Interface, seen: Sightings) -> Self {
        let name = interface.name.as_str().as_bytes();
        let mut described = Vec::with_capacity(2 + name.len() + interface.addresses.len() * 19);
        described.push(name.len() as u8);
        described.extend_from_slice(name);
        described.push(interface.addresses.len() as u8);
        for address in &interface.addresses {
            match address.ip() {
                IpAddr::V4(ip) => {
                    described.push(4);
                    described.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    described.push(6);
                    described.extend_from_slice(&ip.octets());
                }
            }
            described.extend_from_slice(&address.port().to_be_bytes());
        }
        Self {
            id: interface.id,
            cost: interface.cost,
            reported: interface.mapping,
            generation: interface.generation,
            seen,
            described: described.into_boxed_slice(),
        }
    }

    pub(crate) fn describe(&self) -> Interface {
        let (name, addresses) = self.unpack();
        let mapping = self.seen.mapping(&addresses, self.reported);
        Interface {
            id: self.id,
            generation: self.generation,
            name,
            addresses,
            reflexive: self.seen.addresses().collect(),
            mapping,
            cost: self.cost,
        }
    }

    fn unpack(&self) -> (DeviceName, Vec<SocketAddr>) {
        let length = usize::from(self.described[0]);
        let name = core::str::from_utf8(&self.described[1..=length]).ok().and_then(|name| DeviceName::parse(name).ok());
        let mut rest = &self.described[length + 2..];
        let mut addresses = Vec::with_capacity(usize::from(self.described[length + 1]));
        while let Some((&family, after)) = rest.split_first() {
            let (ip, after): (IpAddr, _) =
                match (family, after.split_first_chunk::<4>(), after.split_first_chunk::<16>()) {
                    (4, Some((ip, after)), _) => ((*ip).into(), after),
                    (6, _, Some((ip, after))) => ((*ip).into(), after),
                    _ => break,
                };
            let Some((port, after)) = after.split_first_chunk::<2>() else { break };
            addresses.push(SocketAddr::new(ip, u16::from_be_bytes(*port)));
            rest = after;
        }
        (name.expect("packed from a name"), addresses)
    }
}
