//! A place with a network of its own: a router, and ports that hosts are linked to.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::Internet;
use super::namespace::{Namespace, join};
use super::nat::Nat;
use crate::kernel::device::finish_frames;

/// What a site gives its hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Global IPv4 addresses.
    Global4,
    /// Private IPv4 addresses behind a NAT.
    Private4(Nat),
    /// The same behind a second NAT, the carrier's.
    BehindCarrier { home: Nat, carrier: Nat },
    /// IPv6 and nothing else.
    Only6,
    /// Global addresses of both kinds.
    Dual,
}

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) router: Namespace,
    _carrier: Option<Namespace>,
    pub(crate) network: Network,
    number: u8,
    taken: Taken,
}

/// Numbers of hosts that have a place.
type Taken = Arc<Mutex<BTreeSet<u8>>>;

/// A host's place in a site's networks.
#[derive(Debug)]
pub(crate) struct Place {
    /// The address, the length of its network's prefix, and the gateway.
    pub(crate) v4: Option<(Ipv4Addr, u8, Ipv4Addr)>,
    pub(crate) v6: Option<(Ipv6Addr, u8, Ipv6Addr)>,
    host: u8,
    taken: Taken,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.host);
    }
}

/// Hosts that fit the smallest network. DHCP gives away addresses of the upper half, where nobody else needs them.
const FIRST_HOST: u8 = 2;
const LAST_HOST: u8 = 14;
/// Every gateway's, so that hosts need not ask for it.
pub(super) const GATEWAY_MAC: &str = "02:00:00:00:00:01";
/// Networks of that size in 203.0.113.0/24.
const MOST_GLOBAL: u8 = 16;
/// Transfer networks in 198.51.100.0/24.
const MOST_SITES: u8 = 64;

impl Network {
    pub(crate) fn has_v4(self) -> bool {
        self != Self::Only6
    }

    pub(crate) fn has_v6(self) -> bool {
        matches!(self, Self::Only6 | Self::Dual)
    }

    fn is_global4(self) -> bool {
        matches!(self, Self::Global4 | Self::Dual)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global4 => f.write_str("IPv4 global"),
            Self::Private4(nat) => f.write_str(nat.name()),
            Self::BehindCarrier { .. } => f.write_str("double NAT"),
            Self::Only6 => f.write_str("IPv6"),
            Self::Dual => f.write_str("dual stack"),
        }
    }
}

impl Internet {
    pub(crate) fn site(&self, network: Network) -> io::Result<Site> {
        let number = self.sites.fetch_add(1, Ordering::Relaxed);
        if number >= if network.is_global4() { MOST_GLOBAL } else { MOST_SITES } {
            return Err(io::Error::other("more sites than there are addresses for; global ones come first"));
        }
        let router = Namespace::new(&format!("site{number}"))?;
        router.routes()?;
        router.ips(&format!("link add lan address {GATEWAY_MAC} type bridge forward_delay 0\nlink set lan up\n"))?;
        let uplink = format!("w{number}");
        let mut site = Site { router, _carrier: None, network, number, taken: Taken::default() };
        if let Network::BehindCarrier { home, carrier } = network {
            let outer = Namespace::new(&format!("isp{number}"))?;
            outer.routes()?;
            join(&self.core, &uplink, &outer, "wan")?;
            join(&outer, "lan", &site.router, "wan")?;
            outer.ips("address add 100.64.0.1/24 dev lan\n")?;
            site.uplink4(&self.core, &uplink, &outer)?;
            outer.rules(&carrier.rules(site.wan4()))?;
            let inner: Ipv4Addr = [100, 64, 0, 2].into();
            site.router.ips(&format!("address add {inner}/24 dev wan\nroute add default via 100.64.0.1\n"))?;
            site.router.rules(&home.rules(inner))?;
            site._carrier = Some(outer);
        } else {
            join(&self.core, &uplink, &site.router, "wan")?;
            if network.has_v4() {
                site.uplink4(&self.core, &uplink, &site.router)?;
            }
            if let Network::Private4(nat) = network {
                site.router.rules(&nat.rules(site.wan4()))?;
            }
        }
        if network.has_v6() {
            site.uplink6(&self.core, &uplink)?;
        }
        if let Some((gateway, length)) = site.lan4() {
            site.router.ip(&format!("address add {gateway}/{length} dev lan"))?;
            if network.is_global4() {
                let route = format!("route add {}/{length} via {}", below(gateway), site.wan4());
                self.core.ip(&route)?;
            }
        }
        Ok(site)
    }

    /// A new port of the site's network, as a device of the air; what it sends is finished frames.
    pub(crate) fn port(&self, site: &Site) -> io::Result<String> {
        let number = self.device_number();
        let (port, far) = (format!("p{number}"), format!("s{number}"));
        join(&site.router, &port, &self.air, &far)?;
        site.router.ip(&format!("link set {port} master lan"))?;
        site.router.within(|| finish_frames(&port))?;
        Ok(far)
    }
}

impl Site {
    /// A host's place that is free, until it is dropped.
    pub(crate) fn place(&self) -> io::Result<Place> {
        let host = {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let free = (FIRST_HOST..=LAST_HOST).find(|host| !taken.contains(host));
            let host = free.ok_or_else(|| io::Error::other("the site is full"))?;
            taken.insert(host);
            host
        };
        let v4 = self.lan4().map(|(gateway, length)| {
            let [a, b, c, first] = gateway.octets();
            ([a, b, c, first - 1 + host].into(), length, gateway)
        });
        let v6 = self.lan6().map(|gateway| {
            let mut segments = gateway.segments();
            segments[7] = u16::from(host);
            (segments.into(), 64, gateway)
        });
        Ok(Place { v4, v6, host, taken: self.taken.clone() })
    }

    /// The router's address towards hosts, and the length of the network's prefix.
    pub(crate) fn lan4(&self) -> Option<(Ipv4Addr, u8)> {
        match self.network {
            Network::Only6 => None,
            Network::Global4 | Network::Dual => Some(([203, 0, 113, self.number * 16 + 1].into(), 28)),
            // As everywhere: the same private network at every site.
            Network::Private4(_) | Network::BehindCarrier { .. } => Some(([192, 168, 1, 1].into(), 24)),
        }
    }

    pub(crate) fn lan6(&self) -> Option<Ipv6Addr> {
        self.network.has_v6().then(|| [0x2001, 0xdb8, self.number.into(), 0, 0, 0, 0, 1].into())
    }

    /// The site's address towards the core.
    pub(crate) fn wan4(&self) -> Ipv4Addr {
        [198, 51, 100, self.number * 4 + 2].into()
    }

    fn uplink4(&self, core: &Namespace, device: &str, edge: &Namespace) -> io::Result<()> {
        let (near, far) = (below(self.wan4()), self.wan4());
        core.ip(&format!("address add {near}/30 dev {device}"))?;
        edge.ips(&format!("address add {far}/30 dev wan\nroute add default via {near}\n"))
    }

    fn uplink6(&self, core: &Namespace, device: &str) -> io::Result<()> {
        let (number, lan) = (self.number, self.lan6().expect("asked for sites with IPv6 only"));
        core.ips(&format!(
            "address add 2001:db8:ff00:{number:x}::1/64 dev {device} nodad\n\
             route add 2001:db8:{number:x}::/64 via 2001:db8:ff00:{number:x}::2\n"
        ))?;
        self.router.ips(&format!(
            "address add 2001:db8:ff00:{number:x}::2/64 dev wan nodad\n\
             route add default via 2001:db8:ff00:{number:x}::1\n\
             address add {lan}/64 dev lan nodad\n"
        ))
    }
}

/// The address before this one.
fn below(address: Ipv4Addr) -> Ipv4Addr {
    (u32::from(address) - 1).into()
}
