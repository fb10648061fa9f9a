//! What the tests of several modules need: addresses, interfaces, a context, a peer as it is described.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ntm_proto::crypto::{Secret, default_provider};
use ntm_proto::id::{DeviceName, Fqdn, InterfaceId};
use ntm_proto::identity::{IdentityKey, NodeRecord, NoiseKey};
use ntm_proto::time::{Instant, UnixTime, WallClock};
use ntm_proto::wire::message::NodeDescription;

use crate::context::Context;
use crate::fallback::Fallback;
use crate::interface::{Endpoint, Interfaces, LocalInterface};

pub(crate) fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("a test writes addresses well")
}

pub(crate) fn endpoint(interface: u8, text: &str) -> Endpoint {
    Endpoint { interface: InterfaceId(interface), address: address(text) }
}

pub(crate) fn interface(id: u8, addresses: &[&str]) -> LocalInterface {
    LocalInterface {
        id: InterfaceId(id),
        name: DeviceName::parse("eth0").expect("a short name"),
        addresses: addresses.iter().map(|text| address(text)).collect(),
        cost: 10,
        network: 0,
    }
}

pub(crate) fn interfaces(all: &[(u8, &[&str])]) -> Interfaces {
    let mut interfaces = Interfaces::default();
    for (id, addresses) in all {
        interfaces.set(interface(*id, addresses));
    }
    interfaces
}

pub(crate) fn context() -> Context {
    let noise = NoiseKey::from_secret(default_provider(), Secret::new([1; 32]));
    let wall = WallClock::new(Instant::ZERO, UnixTime::from_secs(1_767_225_600));
    Context::new(default_provider(), noise, wall, [2; 32], Fallback::default())
}

/// What left through the context.
pub(crate) fn sent(ctx: &mut Context) -> Vec<(Endpoint, SocketAddr, Vec<u8>)> {
    core::iter::from_fn(|| ctx.pop_transmit())
        .map(|sent| (Endpoint { interface: sent.interface, address: sent.from }, sent.to, sent.datagram))
        .collect()
}

pub(crate) fn description(number: u16) -> NodeDescription {
    let mut seed = [3; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    let identity = IdentityKey::from_seed(default_provider(), Secret::new(seed));
    let domain = Fqdn::parse("ntm.example").expect("a proper name");
    let name = Fqdn::parse(&alloc::format!("n{number}.ntm.example")).expect("a proper name");
    let record = NodeRecord::sign(default_provider(), &identity, name, [5; 32], domain, false, UnixTime::from_secs(1));
    let [high, low] = number.to_be_bytes();
    NodeDescription {
        record,
        virtual4: Ipv4Addr::new(198, 18, high, low),
        virtual6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number),
        interfaces: vec![],
        relay_rtts: vec![],
    }
}
