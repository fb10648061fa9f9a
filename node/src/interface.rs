//! The node's own interfaces: what the driver says of them and what others saw of them.

use alloc::vec::Vec;
use core::net::SocketAddr;

use ntm_proto::id::{DeviceName, InterfaceId};
use ntm_proto::wire::frame::LiveInterface;
use ntm_proto::wire::message::{self, MAX_ADDRESSES, MAX_INTERFACES, NatMapping};

/// Sightings of outer addresses kept for one interface; the oldest go first.
const MAX_SIGHTINGS: usize = 16;

/// An interface as the driver describes it. An interface without addresses is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalInterface {
    pub id: InterfaceId,
    pub name: DeviceName,
    /// Addresses with the port of the UDP socket bound to each.
    pub addresses: Vec<SocketAddr>,
    /// Lower is preferred.
    pub cost: u8,
    /// Another number where the interface was attached to another network, even if its addresses look
    /// the same there: half the world's private networks are numbered alike.
    pub network: u32,
}

/// One local address of one interface: where a datagram leaves from or arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    pub interface: InterfaceId,
    pub address: SocketAddr,
}

/// What an outside server saw a local address as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sighting {
    local: SocketAddr,
    observer: SocketAddr,
    seen: SocketAddr,
}

#[derive(Debug)]
struct Entry {
    interface: LocalInterface,
    generation: u16,
    ending: bool,
    sightings: Vec<Sighting>,
}

/// How an interface changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) gone: Vec<Endpoint>,
    pub(crate) come: Vec<Endpoint>,
}

#[derive(Debug, Default)]
pub(crate) struct Interfaces {
    /// In the order of their numbers.
    entries: Vec<Entry>,
    /// Generations outlive the interface: a number that comes back must not look like the old one.
    next_generation: u16,
}

impl Interfaces {
    /// Takes the driver's word on one interface and says what that changes.
    pub(crate) fn set(&mut self, mut interface: LocalInterface) -> Change {
        interface.addresses.truncate(MAX_ADDRESSES);
        let id = interface.id;
        let place = self.entries.binary_search_by_key(&id, |entry| entry.interface.id);
        let (old, elsewhere) = match place {
            Ok(at) => {
                let old = &mut self.entries[at].interface;
                (core::mem::take(&mut old.addresses), old.network != interface.network)
            }
            Err(_) => (Vec::new(), false),
        };
        let (gone, come) = if elsewhere {
            (difference(id, &old, &[]), difference(id, &interface.addresses, &[]))
        } else {
            (difference(id, &old, &interface.addresses), difference(id, &interface.addresses, &old))
        };
        let change = Change { gone, come };
        if interface.addresses.is_empty() {
            if let Ok(at) = place {
                self.entries.remove(at);
            }
            return change;
        }
        let changed = !change.gone.is_empty() || !change.come.is_empty();
        if changed {
            self.next_generation = self.next_generation.wrapping_add(1);
        }
        match place {
            Ok(at) => {
                let entry = &mut self.entries[at];
                if changed {
                    entry.generation = self.next_generation;
                    entry.ending = false;
                    entry.sightings.retain(|seen| !elsewhere && interface.addresses.contains(&seen.local));
                }
                entry.interface = interface;
            }
            Err(at) if self.entries.len() < MAX_INTERFACES => {
                let generation = self.next_generation;
                self.entries.insert(at, Entry { interface, generation, ending: false, sightings: Vec::new() });
            }
            Err(_) => return Change::default(),
        }
        change
    }

    /// Notes that an interface is about to end; says whether that is news.
    pub(crate) fn set_ending(&mut self, id: InterfaceId) -> bool {
        match self.entry_mut(id) {
            Some(entry) if !entry.ending => {
                entry.ending = true;
                true
            }
            _ => false,
        }
    }

    /// All endpoints, the preferred interface's first.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by_key(|entry| (entry.ending, entry.interface.cost, entry.interface.id));
        entries
            .iter()
            .flat_map(|entry| {
                let interface = entry.interface.id;
                entry.interface.addresses.iter().map(move |&address| Endpoint { interface, address })
            })
            .collect()
    }

    pub(crate) fn endpoint(&self, address: SocketAddr) -> Option<Endpoint> {
        self.entries
            .iter()
            .find(|entry| entry.interface.addresses.contains(&address))
            .map(|entry| Endpoint { interface: entry.interface.id, address })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn generation(&self, id: InterfaceId) -> u16 {
        self.entry(id).map_or(0, |entry| entry.generation)
    }

    pub(crate) fn cost(&self, id: InterfaceId) -> u8 {
        self.entry(id).map_or(u8::MAX, |entry| entry.interface.cost)
    }

    pub(crate) fn is_ending(&self, id: InterfaceId) -> bool {
        self.entry(id).is_some_and(|entry| entry.ending)
    }

    /// The complete list for an interface notice.
    pub(crate) fn live(&self) -> Vec<LiveInterface> {
        self.entries
            .iter()
            .map(|entry| LiveInterface { id: entry.interface.id, generation: entry.generation, ending: entry.ending })
            .collect()
    }

    /// The interfaces as a registration describes them.
    pub(crate) fn describe(&self) -> Vec<message::Interface> {
        self.entries
            .iter()
            .map(|entry| message::Interface {
                id: entry.interface.id,
                generation: entry.generation,
                name: entry.interface.name.clone(),
                addresses: entry.interface.addresses.clone(),
                reflexive: Vec::new(),
                mapping: mapping(&entry.sightings),
                cost: entry.interface.cost,
            })
            .collect()
    }

    /// Notes what `observer` saw `local` as; says whether that changes what is known of the NAT.
    pub(crate) fn note_sighting(&mut self, local: Endpoint, observer: SocketAddr, seen: SocketAddr) -> bool {
        let Some(entry) = self.entry_mut(local.interface) else { return false };
        let before = mapping(&entry.sightings);
        entry.sightings.retain(|old| (old.local, old.observer) != (local.address, observer));
        if entry.sightings.len() >= MAX_SIGHTINGS {
            entry.sightings.remove(0);
        }
        entry.sightings.push(Sighting { local: local.address, observer, seen });
        mapping(&entry.sightings) != before
    }

    fn entry(&self, id: InterfaceId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.interface.id == id)
    }

    fn entry_mut(&mut self, id: InterfaceId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.interface.id == id)
    }
}

fn difference(interface: InterfaceId, of: &[SocketAddr], less: &[SocketAddr]) -> Vec<Endpoint> {
    of.iter().filter(|address| !less.contains(address)).map(|&address| Endpoint { interface, address }).collect()
}

/// What the sightings of the interface's IPv4 addresses say of its NAT (RFC 5780, 4.3: the same
/// socket seen alike or not from two places).
fn mapping(sightings: &[Sighting]) -> NatMapping {
    let mut seen = sightings.iter().filter(|sighting| sighting.local.is_ipv4());
    let Some(first) = seen.next() else { return NatMapping::Unknown };
    let others: Vec<&Sighting> = seen.filter(|other| other.local == first.local).collect();
    if others.iter().any(|other| other.seen != first.seen) {
        NatMapping::EndpointDependent
    } else if first.seen == first.local {
        NatMapping::None
    } else if others.is_empty() {
        NatMapping::Unknown
    } else {
        NatMapping::EndpointIndependent
    }
}
