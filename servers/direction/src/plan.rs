//! The direction plan: which interface of one node can reach which address of the other, and in
//! what order to prefer them (DESIGN 4.6).
//!
//! ```text
//! class     when                                                     example
//! Lan       same host, same NAT or same IPv6 site: by inner address  10.1.0.2 → 10.1.0.3
//! Direct6   both have global IPv6                                    2001:db8::1 → 2001:db8:9::1
//! Direct4   one end at least has no NAT                              198.51.100.7 → 203.0.113.9
//! Punch     both behind NATs                                         → 203.0.113.9:61000
//! Hairpin   both behind the same NAT, by its outer address
//! Unlikely  both NATs map by destination
//! (none)    no address family in common: the relay carries it
//! ```
//!
//! The plan is a pure function of the two descriptions, so the DC of each end computes the same
//! picture from its own side. Relays are no part of it: a relay is offered beside every plan.
//!
//! A pair is never left out because of what a NAT is thought to do. What the DC knows of mappings may
//! be stale, it knows nothing of filtering, and two NATs that map by destination do let each other
//! through where they filter loosely; a hopeless pair costs a few datagrams.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ntm_proto::wire::message::{CandidatePair, Interface, MAX_PAIRS, NatMapping, NodeDescription, Side};

/// How good a pair promises to be; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Lan,
    Direct6,
    Direct4,
    Punch,
    Hairpin,
    Unlikely,
}

/// Where an address can be reached from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Loopback, link-local, multicast, unspecified: means something else on every host.
    Nowhere,
    Private4,
    Global4,
    /// fc00::/7, within one /48.
    Site6,
    Global6,
}

/// The pairs that the node on `side` is to try, best first, at most [`MAX_PAIRS`].
pub fn plan(initiator: &NodeDescription, responder: &NodeDescription, side: Side) -> Vec<CandidatePair> {
    let (own, peer) = match side {
        Side::Initiator => (initiator, responder),
        Side::Responder => (responder, initiator),
    };
    let mut ranked = Vec::new();
    for local in &own.interfaces {
        for remote in &peer.interfaces {
            let first = ranked.len();
            let at_home = is_at_home(local) && is_at_home(remote);
            let loopback = remote.reflexive.iter().copied().filter(|seen| at_home && seen.ip().is_loopback());
            let seen = remote.reflexive.iter().copied().filter(is_somewhere);
            for address in usable(remote, peer).chain(seen).chain(loopback) {
                if let Some(class) = class(local, remote, address) {
                    ranked.push(Ranked {
                        class,
                        cost: u16::from(local.cost) + u16::from(remote.cost),
                        place: 0,
                        pair: CandidatePair { local: local.id, remote_interface: remote.id, remote: address },
                    });
                }
            }
            keep_best_of_each(&mut ranked, first);
        }
    }
    if ranked.len() > MAX_PAIRS {
        ranked.sort_unstable_by_key(|one| (one.place, one.order()));
        ranked.truncate(MAX_PAIRS);
    }
    ranked.sort_unstable_by_key(Ranked::order);
    ranked.into_iter().map(|one| one.pair).collect()
}

/// The address families in which `node` can speak to a server on the internet.
pub(crate) fn families(node: &NodeDescription) -> (bool, bool) {
    let speaks = |v4: bool| node.interfaces.iter().any(|interface| speaks(interface, v4));
    (speaks(true), speaks(false))
}

#[derive(Clone, Copy)]
struct Ranked {
    class: Class,
    cost: u16,
    /// Its place among the pairs of the same two interfaces: no interface pair loses its best one
    /// to another's fourth.
    place: u16,
    pair: CandidatePair,
}

impl Ranked {
    fn order(&self) -> (Class, u16, u8, u8, SocketAddr) {
        (self.class, self.cost, self.pair.local.0, self.pair.remote_interface.0, self.pair.remote)
    }
}

/// Orders the pairs of one interface pair, which stand from `first` on, and drops repeated addresses.
fn keep_best_of_each(ranked: &mut Vec<Ranked>, first: usize) {
    let mut of_these = ranked.split_off(first);
    of_these.sort_unstable_by_key(Ranked::order);
    for mut one in of_these {
        if ranked[first..].iter().all(|kept| kept.pair.remote != one.pair.remote) {
            one.place = (ranked.len() - first) as u16;
            ranked.push(one);
        }
    }
}

/// What `local` may hope for when it sends to `address` of `remote`; `None` where nothing.
fn class(local: &Interface, remote: &Interface, address: SocketAddr) -> Option<Class> {
    // Two nodes of the coordinator's own host; `plan` gives no such address otherwise.
    if address.ip().is_loopback() {
        return (!local.addresses.contains(&address)).then_some(Class::Lan);
    }
    // An address that is the interface's own as well is another one behind another NAT.
    if !speaks_to(local, address.ip()) || local.addresses.contains(&address) {
        return None;
    }
    let is_host = remote.addresses.contains(&address);
    let same_host = local.addresses.iter().any(|own| own.ip() == address.ip());
    match scope(address.ip()) {
        Scope::Nowhere => None,
        Scope::Site6 | Scope::Global6 if same_host || (is_host && same_site6(local, address.ip())) => Some(Class::Lan),
        Scope::Site6 if is_host => None,
        Scope::Global6 if is_host || !is_translated(remote, address) => Some(Class::Direct6),
        Scope::Site6 | Scope::Global6 => Some(Class::Punch),
        Scope::Global4 if same_host && is_host => Some(Class::Lan),
        Scope::Private4 if is_host && !remote.reflexive.contains(&address) => {
            same_nat(local, remote).then_some(Class::Lan)
        }
        Scope::Private4 | Scope::Global4 if is_host => Some(Class::Direct4),
        Scope::Private4 | Scope::Global4 if same_nat(local, remote) => Some(Class::Hairpin),
        Scope::Private4 | Scope::Global4 => Some(match (local.mapping, remote.mapping) {
            (NatMapping::None, _) | (_, NatMapping::None) => Class::Direct4,
            (NatMapping::EndpointDependent, NatMapping::EndpointDependent) => Class::Unlikely,
            _ => Class::Punch,
        }),
    }
}

/// The interface's own addresses that a peer could ever use.
fn usable<'a>(interface: &'a Interface, node: &'a NodeDescription) -> impl Iterator<Item = SocketAddr> + 'a {
    interface.addresses.iter().copied().filter(is_somewhere).filter(|address| match address.ip() {
        // A node may name the addresses of its tunnel by mistake; a tunnel through itself helps nobody.
        IpAddr::V4(ip) => ip != node.virtual4,
        IpAddr::V6(ip) => ip != node.virtual6,
    })
}

fn is_somewhere(address: &SocketAddr) -> bool {
    address.port() != 0 && scope(address.ip()) != Scope::Nowhere
}

/// Whether the coordinator sees the interface at a loopback address: both are on one host, and so are two nodes of
/// which that is true. Nobody on the network can have such an address.
fn is_at_home(interface: &Interface) -> bool {
    interface.reflexive.iter().any(|seen| seen.ip().is_loopback())
}

/// Whether the interface has an address in the family of `to`, of a scope that leads there.
fn speaks_to(interface: &Interface, to: IpAddr) -> bool {
    match scope(to) {
        Scope::Nowhere => false,
        Scope::Private4 | Scope::Global4 => speaks(interface, true),
        Scope::Global6 => speaks(interface, false),
        Scope::Site6 => interface.addresses.iter().chain(&interface.reflexive).any(|own| own.is_ipv6()),
    }
}

fn speaks(interface: &Interface, v4: bool) -> bool {
    interface.reflexive.iter().any(|own| own.is_ipv4() == v4 && is_somewhere(own))
        || interface.addresses.iter().any(|own| match scope(own.ip()) {
            Scope::Private4 | Scope::Global4 => v4,
            Scope::Global6 => !v4,
            Scope::Site6 | Scope::Nowhere => false,
        })
}

/// Whether the outside sees another address than the interface itself has.
fn is_translated(interface: &Interface, reflexive: SocketAddr) -> bool {
    interface.addresses.iter().any(|own| own.is_ipv6() == reflexive.is_ipv6())
        && !interface.addresses.iter().any(|own| own.ip() == reflexive.ip())
}

/// Whether the outside sees both interfaces at one IPv4 address.
fn same_nat(one: &Interface, other: &Interface) -> bool {
    let outer = |interface: &Interface| interface.reflexive.iter().find(|seen| seen.is_ipv4()).map(SocketAddr::ip);
    outer(one).is_some() && outer(one) == outer(other)
}

/// Whether the interface has an IPv6 address of the same site: a unique local address in the same
/// /48 (RFC 4193, 3.1), or a global one in the same /64.
fn same_site6(interface: &Interface, address: IpAddr) -> bool {
    let IpAddr::V6(address) = address else { return false };
    let bytes = if scope(address.into()) == Scope::Site6 { 6 } else { 8 };
    interface.addresses.iter().any(|own| match own.ip() {
        IpAddr::V6(own) => own.octets()[..bytes] == address.octets()[..bytes],
        IpAddr::V4(_) => false,
    })
}

fn scope(address: IpAddr) -> Scope {
    match address {
        IpAddr::V4(address) => scope4(address),
        IpAddr::V6(address) => scope6(address),
    }
}

fn scope4(address: Ipv4Addr) -> Scope {
    let [first, second, ..] = address.octets();
    // 0.0.0.0/8 is "this host" (RFC 1122, 3.2.1.3), 240.0.0.0/4 reserved: neither is routed.
    if address.is_loopback() || address.is_link_local() || first == 0 || first >= 224 {
        Scope::Nowhere
    } else if address.is_private() || (first == 100 && second & 0xc0 == 64) {
        Scope::Private4
    } else {
        Scope::Global4
    }
}

fn scope6(address: Ipv6Addr) -> Scope {
    let head = address.segments()[0];
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() || head & 0xffc0 == 0xfe80 {
        Scope::Nowhere
    } else if address.to_ipv4_mapped().is_some() {
        // An IPv4 address in disguise: counted once, as itself.
        Scope::Nowhere
    } else if head & 0xfe00 == 0xfc00 {
        Scope::Site6
    } else {
        Scope::Global6
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(crate) mod tests;
