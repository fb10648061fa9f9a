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
    /// What using the interface costs.
    pub(crate) cost: bool,
}

impl Change {
    pub(crate) fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.come.is_empty() && !self.cost
    }
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
        let (old, elsewhere, cost) = match place {
            Ok(at) => {
                let old = &mut self.entries[at].interface;
                let (elsewhere, cost) = (old.network != interface.network, old.cost != interface.cost);
                (core::mem::take(&mut old.addresses), elsewhere, cost)
            }
            Err(_) => (Vec::new(), false, false),
        };
        let (gone, come) = if elsewhere {
            (difference(id, &old, &[]), difference(id, &interface.addresses, &[]))
        } else {
            (difference(id, &old, &interface.addresses), difference(id, &interface.addresses, &old))
        };
        let change = Change { gone, come, cost };
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

    /// The endpoint's datagrams go another way from now on: it is as if the interface had come to another network, and
    /// had the same address there.
    pub(crate) fn renew(&mut self, endpoint: Endpoint) -> Change {
        let generation = self.next_generation.wrapping_add(1);
        let known = self.entry_mut(endpoint.interface);
        let Some(entry) = known.filter(|entry| entry.interface.addresses.contains(&endpoint.address)) else {
            return Change::default();
        };
        entry.generation = generation;
        entry.sightings.retain(|seen| seen.local != endpoint.address);
        self.next_generation = generation;
        Change { gone: alloc::vec![endpoint], come: alloc::vec![endpoint], cost: false }
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

    pub(crate) fn endpoint(&self, interface: InterfaceId, address: SocketAddr) -> Option<Endpoint> {
        let known = self.entry(interface)?.interface.addresses.contains(&address);
        known.then_some(Endpoint { interface, address })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, endpoint, interface, interfaces};
    use alloc::vec;

    const HERE: &str = "10.0.0.2:4500";
    const THERE: &str = "10.0.0.3:4500";

    #[test]
    fn only_what_changes_comes_and_goes() {
        let mut all = interfaces(&[(0, &[HERE])]);
        assert_eq!(all.set(interface(0, &[HERE])), Change::default());
        let change = all.set(interface(0, &[HERE, THERE]));
        assert_eq!(change, Change { come: vec![endpoint(0, THERE)], ..Change::default() });
        let change = all.set(interface(0, &[THERE]));
        assert_eq!(change, Change { gone: vec![endpoint(0, HERE)], ..Change::default() });
        let change = all.set(interface(0, &[]));
        assert_eq!(change, Change { gone: vec![endpoint(0, THERE)], ..Change::default() });
        assert!(all.is_empty());
    }

    #[test]
    fn a_new_cost_is_a_change_of_its_own_and_no_new_generation() {
        let mut all = interfaces(&[(0, &[HERE])]);
        let before = all.generation(InterfaceId(0));
        let mut metered = interface(0, &[HERE]);
        metered.cost = 99;
        assert_eq!(all.set(metered), Change { cost: true, ..Change::default() });
        assert_eq!((all.cost(InterfaceId(0)), all.generation(InterfaceId(0))), (99, before));
    }

    #[test]
    fn the_same_address_in_another_network_is_another_endpoint() {
        let mut all = interfaces(&[(0, &[HERE])]);
        let before = all.generation(InterfaceId(0));
        let mut elsewhere = interface(0, &[HERE]);
        elsewhere.network = 1;
        let change = all.set(elsewhere);
        let expected = Change { gone: vec![endpoint(0, HERE)], come: vec![endpoint(0, HERE)], cost: false };
        assert_eq!(change, expected);
        assert_ne!(all.generation(InterfaceId(0)), before);
    }

    #[test]
    fn a_generation_is_never_used_again_for_an_interface_that_comes_back() {
        let mut all = interfaces(&[(0, &[HERE])]);
        let mut seen = vec![all.generation(InterfaceId(0))];
        for _ in 0..5 {
            all.set(interface(0, &[]));
            all.set(interface(0, &[HERE]));
            let generation = all.generation(InterfaceId(0));
            assert!(!seen.contains(&generation));
            seen.push(generation);
        }
    }

    #[test]
    fn an_interface_that_comes_back_is_no_longer_ending() {
        let mut all = interfaces(&[(0, &[HERE])]);
        assert!(all.set_ending(InterfaceId(0)));
        assert!(!all.set_ending(InterfaceId(0)), "told once");
        assert!(all.live()[0].ending);
        all.set(interface(0, &[THERE]));
        assert!(!all.is_ending(InterfaceId(0)));
        assert!(!all.set_ending(InterfaceId(7)), "there is none");
    }

    #[test]
    fn the_cheapest_endpoint_comes_first_and_an_ending_one_last() {
        let mut all = Interfaces::default();
        for (id, cost) in [(0, 50), (1, 5), (2, 20)] {
            let mut one = interface(id, &[&alloc::format!("10.0.{id}.2:4500")]);
            one.cost = cost;
            all.set(one);
        }
        let order = |all: &Interfaces| all.endpoints().iter().map(|one| one.interface.0).collect::<Vec<_>>();
        assert_eq!(order(&all), [1, 2, 0]);
        all.set_ending(InterfaceId(1));
        assert_eq!(order(&all), [2, 0, 1]);
    }

    #[test]
    fn more_interfaces_and_addresses_than_the_bounds_are_left_out() {
        let mut all = Interfaces::default();
        for id in 0..20 {
            let own = alloc::format!("10.0.{id}.2:4500");
            let change = all.set(interface(id, &[&own]));
            assert_eq!(change.come.len(), usize::from(usize::from(id) < MAX_INTERFACES));
        }
        assert_eq!(all.live().len(), MAX_INTERFACES);
        let many: Vec<_> = (2..30).map(|host| alloc::format!("10.1.0.{host}:4500")).collect();
        let many: Vec<&str> = many.iter().map(|text| text.as_str()).collect();
        all.set(interface(0, &many));
        assert_eq!(all.describe()[0].addresses.len(), MAX_ADDRESSES);
    }

    /// What the node tells of its NAT after these sightings: by whom, as what.
    fn told(sightings: &[(&str, &str)]) -> NatMapping {
        let mut all = interfaces(&[(0, &[HERE])]);
        for (observer, seen) in sightings {
            all.note_sighting(endpoint(0, HERE), address(observer), address(seen));
        }
        all.describe()[0].mapping
    }

    #[test]
    fn two_observers_tell_what_the_nat_does() {
        let (one, two) = ("20.0.0.1:1", "20.0.0.2:1");
        assert_eq!(told(&[]), NatMapping::Unknown);
        assert_eq!(told(&[(one, HERE)]), NatMapping::None);
        assert_eq!(told(&[(one, "30.0.0.1:7")]), NatMapping::Unknown);
        assert_eq!(told(&[(one, "30.0.0.1:7"), (two, "30.0.0.1:7")]), NatMapping::EndpointIndependent);
        assert_eq!(told(&[(one, "30.0.0.1:7"), (two, "30.0.0.1:8")]), NatMapping::EndpointDependent);
        assert_eq!(told(&[(one, "30.0.0.1:7"), (one, "30.0.0.1:8")]), NatMapping::Unknown, "the newest counts");
    }

    #[test]
    fn what_is_remembered_of_sightings_is_bounded() {
        let mut all = interfaces(&[(0, &[HERE])]);
        for port in 1..10_000 {
            all.note_sighting(endpoint(0, HERE), SocketAddr::new([20, 0, 0, 1].into(), port), address("30.0.0.1:7"));
        }
        assert_eq!(all.entries[0].sightings.len(), MAX_SIGHTINGS);
        assert!(!all.note_sighting(endpoint(9, HERE), address("20.0.0.1:1"), address(HERE)));
    }
}
