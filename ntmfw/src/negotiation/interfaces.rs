//! The ports and the engine kept in step with the host's interfaces.

use std::net::SocketAddr;
use std::sync::Arc;

use ntm_node::LocalInterface;
use ntm_proto::id::{DeviceName, InterfaceId};

use crate::negotiation::config::InterfaceChoice;
use crate::negotiation::netlink::{self, HostInterface};
use crate::packet::port::Port;
use crate::runtime::Core;
use crate::sync::Lock;

/// What the engine was last told, and under which numbers.
#[derive(Debug)]
pub(crate) struct Known {
    choice: InterfaceChoice,
    port: u16,
    told: Lock<Vec<Told>>,
}

#[derive(Debug)]
struct Told {
    /// The kernel's number: the same for as long as the interface exists.
    index: u32,
    id: InterfaceId,
    name: String,
    addresses: Vec<SocketAddr>,
    /// Counts the times the interface came back: it may be in another network each time.
    network: u32,
}

/// Interfaces by number and name.
#[derive(Debug)]
pub(crate) struct Devices(Vec<(InterfaceId, String)>);

impl Devices {
    pub(crate) fn name(&self, id: InterfaceId) -> &str {
        self.0.iter().find(|(known, _)| *known == id).map_or("", |(_, name)| name)
    }
}

impl Known {
    pub(crate) fn new(choice: InterfaceChoice, port: u16) -> Self {
        Self { choice, port, told: Lock::default() }
    }

    /// Reads the host's interfaces and passes on what changed.
    pub(crate) fn refresh(&self, core: &Core) {
        let Ok(mut present) = netlink::interfaces() else { return };
        present.retain(|interface| self.choice.takes(&interface.name, interface.loopback));
        let mut told = self.told.lock();
        for gone in told.iter_mut().filter(|old| !present.iter().any(|new| new.index == old.index)) {
            if !gone.addresses.is_empty() {
                self.tell(core, gone, None);
            }
        }
        for interface in &present {
            let place = match told.iter().position(|old| old.index == interface.index) {
                Some(place) => place,
                None => {
                    let Some(id) = free_id(&told) else { continue };
                    let name = interface.name.clone();
                    told.push(Told { index: interface.index, id, name, addresses: Vec::new(), network: 0 });
                    told.len() - 1
                }
            };
            let known = &mut told[place];
            let unchanged = known.addresses.len() == interface.addresses.len()
                && interface.addresses.iter().all(|new| known.addresses.iter().any(|old| old.ip() == *new));
            if !unchanged {
                self.tell(core, known, Some(interface));
            }
        }
        told.retain(|known| !known.addresses.is_empty() || present.iter().any(|new| new.index == known.index));
    }

    /// There is a new route. An address is often there a moment before its route: what was sent from it meanwhile went
    /// nowhere, and is begun anew.
    pub(crate) fn retry_unrouted(&self, core: &Core) {
        let ports = core.ports.all();
        for known in self.told.lock().iter_mut() {
            let mut own = ports.iter().filter(|port| port.interface == known.id);
            if own.clone().any(|port| port.is_routed()) || !own.any(|port| port.is_unrouted()) {
                continue;
            }
            ports.iter().filter(|port| port.interface == known.id).for_each(|port| port.try_again());
            known.network = known.network.wrapping_add(1);
            self.tell_engine(core, known);
        }
    }

    /// What the host calls the interfaces that the engine knows by numbers. Not to be asked from within the engine,
    /// which is told of changes while the list is held.
    pub(crate) fn devices(&self) -> Devices {
        Devices(self.told.lock().iter().map(|known| (known.id, known.name.clone())).collect())
    }

    fn tell(&self, core: &Core, known: &mut Told, now_is: Option<&HostInterface>) {
        let addresses: &[_] = now_is.map_or(&[], |interface| &interface.addresses);
        if known.addresses.is_empty() {
            known.network = known.network.wrapping_add(1);
        }
        core.ports.retain(|port| port.interface != known.id || addresses.contains(&port.address.ip()));
        known.addresses.retain(|old| addresses.contains(&old.ip()));
        let name = now_is.map_or("", |interface| interface.name.as_str());
        for &address in addresses {
            if known.addresses.iter().any(|old| old.ip() == address) {
                continue;
            }
            // A port that is taken is no reason to do without the interface.
            let opened = Port::open(known.id, name, SocketAddr::new(address, self.port))
                .or_else(|_| Port::open(known.id, name, SocketAddr::new(address, 0)));
            let Ok(port) = opened else { continue };
            if core.reader.watch(&port).is_ok() {
                known.addresses.push(port.address);
                core.ports.add(Arc::new(port));
            }
        }
        self.tell_engine(core, known);
    }

    fn tell_engine(&self, core: &Core, known: &Told) {
        let Ok(device) = DeviceName::parse(&known.name) else { return };
        let told = LocalInterface {
            id: known.id,
            cost: self.choice.cost(&known.name),
            name: device,
            addresses: known.addresses.clone(),
            network: known.network,
        };
        core.engine(|node| node.handle_interface(core.now(), told));
        core.reader.kick();
    }
}

fn free_id(told: &[Told]) -> Option<InterfaceId> {
    (0..=u8::MAX).map(InterfaceId).find(|id| told.iter().all(|known| known.id != *id))
}
