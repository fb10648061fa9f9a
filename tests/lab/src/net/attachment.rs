//! Hosts, their devices, and the links between these and sites.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Internet;
use super::namespace::{Namespace, join};
use super::site::{GATEWAY_MAC, Place, Site};
use crate::forward::impairment::Impairment;
use crate::forward::{Link, Observer};
use crate::kernel::device::finish_frames;
use crate::kernel::packet::PacketSocket;

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) namespace: Namespace,
}

/// A device of a host, and its other end in the air.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) name: String,
    far: String,
    mac: String,
}

/// A device that is linked to a site.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) link: Link,
    place: Place,
}

impl Attachment {
    pub(crate) fn v4(&self) -> Option<Ipv4Addr> {
        self.place.v4.map(|(address, ..)| address)
    }

    pub(crate) fn v6(&self) -> Option<Ipv6Addr> {
        self.place.v6.map(|(address, ..)| address)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = IpAddr> {
        self.v4().map(IpAddr::V4).into_iter().chain(self.v6().map(IpAddr::V6))
    }
}

impl Internet {
    pub(crate) fn host(&self, name: &str) -> io::Result<Host> {
        let namespace = Namespace::new(name)?;
        // Duplicate addresses are looked for during a second in which an address cannot be used; there are none here.
        namespace.setting("ipv6/conf/default/accept_dad", "0")?;
        namespace.setting("ipv4/conf/all/rp_filter", "0")?;
        namespace.setting("ipv4/conf/default/rp_filter", "0")?;
        Ok(Host { namespace })
    }

    pub(crate) fn device(&self, host: &Host, name: &str) -> io::Result<Device> {
        let number = self.device_number();
        let (far, mac) = (format!("h{number}"), format!("02:00:00:01:{:02x}:{:02x}", number >> 8, number & 255));
        join(&host.namespace, name, &self.air, &far)?;
        host.namespace.ip(&format!("link set {name} address {mac}"))?;
        host.namespace.within(|| finish_frames(name))?;
        Ok(Device { name: name.to_owned(), far, mac })
    }

    /// Lays a cable: frames pass, and nobody has an address yet.
    pub(crate) fn link(&self, device: &Device, site: &Site, impairments: [Impairment; 2]) -> io::Result<Link> {
        let port = self.port(site)?;
        let seed = u64::from(self.device_number());
        self.air
            .within(|| Link::between(PacketSocket::open(&device.far)?, PacketSocket::open(&port)?, impairments, seed))
    }

    /// Links a device to a site and gives it addresses.
    pub(crate) fn attach(
        &self,
        host: &Host,
        device: &Device,
        site: &Site,
        impairments: [Impairment; 2],
    ) -> io::Result<Attachment> {
        self.attach_observed(host, device, site, impairments, None)
    }

    /// The same, with somebody who sees every frame from the first on.
    pub(crate) fn attach_observed(
        &self,
        host: &Host,
        device: &Device,
        site: &Site,
        impairments: [Impairment; 2],
        observer: Option<Observer>,
    ) -> io::Result<Attachment> {
        let link = self.link(device, site, impairments)?;
        link.observe(observer);
        let place = site.place()?;
        site.router.ips(&neighbours("lan", place.v4.map(|v4| v4.0), place.v6.map(|v6| v6.0), &device.mac))?;
        host.configure(device, &place)?;
        Ok(Attachment { link, place })
    }
}

impl Host {
    /// Gives a device its addresses, and routes by them; a radio comes before a mobile network.
    fn configure(&self, device: &Device, place: &Place) -> io::Result<()> {
        let name = &device.name;
        let metric = if name.starts_with("ww") { 600 } else { 100 };
        // What an address is resolved to is known at both ends: on links with a delay, asking would take a round trip
        // that no radio network has.
        let mut lines = neighbours(name, place.v4.map(|v4| v4.2), place.v6.map(|v6| v6.2), GATEWAY_MAC);
        if let Some((address, length, gateway)) = place.v4 {
            lines += &format!("address add {address}/{length} dev {name}\n");
            lines += &format!("route replace default via {gateway} dev {name} metric {metric}\n");
        }
        if let Some((address, length, gateway)) = place.v6 {
            lines += &format!("address add {address}/{length} dev {name} nodad\n");
            lines += &format!("route replace default via {gateway} dev {name} metric {metric}\n");
        }
        self.namespace.ips(&lines)
    }

    /// Takes all addresses away that others can reach.
    pub(crate) fn forget_addresses(&self, device: &Device) -> io::Result<()> {
        self.namespace.ips(&format!("address flush dev {} scope global\n", device.name))
    }
}

/// Commands that tell a device whose these addresses are.
fn neighbours(device: &str, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>, mac: &str) -> String {
    let addresses = v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6));
    addresses.map(|address| format!("neighbour replace {address} lladdr {mac} dev {device} nud permanent\n")).collect()
}
