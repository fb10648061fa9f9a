use super::*;
use ntm_proto::id::{DeviceName, Fqdn, InterfaceId};
use ntm_proto::identity::NodeRecord;
use ntm_proto::time::UnixTime;

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn interface(id: u8, own: &[&str], reflexive: &[&str]) -> Interface {
    let (own, reflexive) = (addresses(own), addresses(reflexive));
    let mapping = if reflexive.iter().all(|seen| own.contains(seen)) {
        NatMapping::None
    } else {
        NatMapping::EndpointIndependent
    };
    Interface {
        id: InterfaceId(id),
        generation: 1,
        name: DeviceName::parse(&format!("if{id}")).unwrap(),
        addresses: own,
        reflexive,
        mapping,
        cost: 10,
    }
}

pub(crate) fn describe(number: u8, interfaces: Vec<Interface>) -> NodeDescription {
    NodeDescription {
        record: NodeRecord {
            identity: [number; 32],
            fqdn: Fqdn::parse(&format!("n{number}.ntm.example")).unwrap(),
            noise_key: [number; 32],
            manager: Fqdn::parse("ntm.example").unwrap(),
            revoked: false,
            timestamp: UnixTime::from_secs(1),
            signature: [0; 64],
        },
        virtual4: [198, 18, 0, number].into(),
        virtual6: [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number)].into(),
        interfaces,
        relay_rtts: Vec::new(),
    }
}

fn global4(number: u8) -> Interface {
    let at = format!("198.51.100.{number}:5000");
    interface(1, &[&at], &[&at])
}

fn private4(number: u8, nat: u8) -> Interface {
    interface(1, &[&format!("10.0.0.{number}:5000")], &[&format!("203.0.113.{nat}:6{number:03}")])
}

fn only6(number: u8) -> Interface {
    let at = format!("[2001:db8:{number}::1]:5000");
    interface(1, &[&at], &[&at])
}

fn dual(number: u8, nat: u8) -> Interface {
    let six = format!("[2001:db8:{number}::1]:5000");
    interface(1, &[&format!("10.0.0.{number}:5000"), &six], &[&format!("203.0.113.{nat}:6{number:03}"), &six])
}

/// The remote addresses each end is told, the initiator's first.
fn remotes(initiator: Interface, responder: Interface) -> [Vec<String>; 2] {
    let (one, other) = (describe(1, vec![initiator]), describe(2, vec![responder]));
    [Side::Initiator, Side::Responder]
        .map(|side| plan(&one, &other, side).into_iter().map(|pair| pair.remote.to_string()).collect())
}

#[test]
fn global_ipv4_to_global_ipv4_goes_direct() {
    assert_eq!(remotes(global4(1), global4(2)), [["198.51.100.2:5000"], ["198.51.100.1:5000"]]);
}

#[test]
fn global_ipv4_to_private_ipv4_goes_direct_by_the_nats_outer_address() {
    assert_eq!(remotes(global4(1), private4(2, 7)), [["203.0.113.7:6002"], ["198.51.100.1:5000"]]);
}

#[test]
fn private_ipv4_to_global_ipv4_goes_direct() {
    assert_eq!(remotes(private4(1, 7), global4(2)), [["198.51.100.2:5000"], ["203.0.113.7:6001"]]);
}

#[test]
fn private_ipv4_to_private_ipv4_punches_by_the_outer_addresses_only() {
    assert_eq!(remotes(private4(1, 7), private4(2, 8)), [["203.0.113.8:6002"], ["203.0.113.7:6001"]]);
}

#[test]
fn ipv4_and_ipv6_only_have_nothing_but_the_relay() {
    for ipv4 in [global4(1), private4(1, 7)] {
        assert_eq!(remotes(ipv4.clone(), only6(2)), [[""; 0]; 2]);
        assert_eq!(remotes(only6(2), ipv4), [[""; 0]; 2]);
    }
}

#[test]
fn ipv6_to_ipv6_goes_direct() {
    assert_eq!(remotes(only6(1), only6(2)), [["[2001:db8:2::1]:5000"], ["[2001:db8:1::1]:5000"]]);
}

#[test]
fn dual_stack_nodes_prefer_ipv6_to_punching() {
    assert_eq!(remotes(dual(1, 7), dual(2, 8))[0], ["[2001:db8:2::1]:5000", "203.0.113.8:6002"]);
}

#[test]
fn a_dual_stack_node_meets_each_single_stack_node_in_its_own_family() {
    assert_eq!(remotes(dual(1, 7), global4(2)), [["198.51.100.2:5000"], ["203.0.113.7:6001"]]);
    assert_eq!(remotes(dual(1, 7), only6(2)), [["[2001:db8:2::1]:5000"], ["[2001:db8:1::1]:5000"]]);
}

#[test]
fn nodes_behind_the_same_nat_go_by_their_private_addresses_and_hairpin_only_after_that() {
    assert_eq!(
        remotes(private4(1, 7), private4(2, 7)),
        [["10.0.0.2:5000", "203.0.113.7:6002"], ["10.0.0.1:5000", "203.0.113.7:6001"]]
    );
}

#[test]
fn nodes_with_the_same_private_address_behind_different_nats_do_not_talk_to_themselves() {
    let twin = |nat: u8| interface(1, &["10.0.0.1:5000"], &[&format!("203.0.113.{nat}:6000")]);
    assert_eq!(remotes(twin(7), twin(8)), [["203.0.113.8:6000"], ["203.0.113.7:6000"]]);
}

#[test]
fn nodes_on_one_lan_with_the_dc_go_by_what_the_dc_sees() {
    let on_lan = |number: u8| {
        let at = format!("10.0.0.{number}:5000");
        interface(1, &[&at], &[&at])
    };
    assert_eq!(remotes(on_lan(1), on_lan(2)), [["10.0.0.2:5000"], ["10.0.0.1:5000"]]);
}

#[test]
fn two_nodes_on_one_host_go_by_its_address() {
    let on_host = |port: u16| {
        let at = format!("198.51.100.9:{port}");
        interface(1, &[&at], &[&at])
    };
    assert_eq!(remotes(on_host(1_111), on_host(2_222)), [["198.51.100.9:2222"], ["198.51.100.9:1111"]]);
}

#[test]
fn a_node_whose_interface_never_reached_the_dc_is_still_tried_at_its_global_address() {
    let unseen = interface(1, &["198.51.100.2:5000", "10.9.9.9:5000"], &[]);
    assert_eq!(remotes(global4(1), unseen)[0], ["198.51.100.2:5000"]);
}

#[test]
fn link_local_loopback_multicast_and_unspecified_addresses_are_never_tried() {
    let odd = [
        "127.0.0.1:1",
        "169.254.1.1:1",
        "224.0.0.1:1",
        "255.255.255.255:1",
        "0.0.0.0:1",
        "240.0.0.1:1",
        "198.51.100.3:0",
        "[::1]:1",
        "[fe80::1]:1",
        "[ff02::1]:1",
        "[::]:1",
        "[::ffff:198.51.100.3]:1",
    ];
    for address in odd {
        let odd = interface(1, &[address], &[address]);
        assert_eq!(remotes(dual(1, 7), odd)[0], [""; 0], "{address}");
    }
    // Nor do they make an interface that could send.
    assert_eq!(remotes(interface(1, &["[fe80::1]:1", "169.254.1.1:1"], &[]), dual(2, 8))[0], [""; 0]);
}

#[test]
fn the_tunnels_own_addresses_are_never_tried() {
    let tunnel = interface(1, &["198.18.0.2:5000", "[fd00::2]:5000"], &[]);
    assert_eq!(remotes(dual(1, 7), tunnel)[0], [""; 0]);
}

#[test]
fn unique_local_ipv6_is_tried_within_one_site_only() {
    let site = |site: u8, host: u8| interface(1, &[&format!("[fd11:2233:44{site:02x}:1::{host}]:5000")], &[]);
    assert_eq!(remotes(site(1, 1), site(1, 2))[0], ["[fd11:2233:4401:1::2]:5000"]);
    assert_eq!(remotes(site(1, 1), site(2, 2))[0], [""; 0]);
}

#[test]
fn two_nats_that_map_by_destination_are_tried_last_and_not_given_up() {
    let mut one = describe(1, vec![private4(1, 7)]);
    let mut other = describe(2, vec![private4(2, 8), private4(3, 9)]);
    other.interfaces[1].id = InterfaceId(2);
    one.interfaces[0].mapping = NatMapping::EndpointDependent;
    other.interfaces[0].mapping = NatMapping::EndpointDependent;
    other.interfaces[0].cost = 0;
    let pairs = plan(&one, &other, Side::Initiator);
    assert_eq!(pairs.iter().map(|pair| pair.remote_interface.0).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn every_pair_of_interfaces_is_a_path_and_the_cheap_ones_come_first() {
    let two = |number: u8| {
        let (mut wifi, mut mobile) = (private4(number, number), private4(number + 100, number + 100));
        (wifi.id, wifi.cost) = (InterfaceId(1), 10);
        (mobile.id, mobile.cost) = (InterfaceId(2), 50);
        describe(number, vec![mobile, wifi])
    };
    let pairs: Vec<(u8, u8)> =
        plan(&two(1), &two(2), Side::Responder).iter().map(|pair| (pair.local.0, pair.remote_interface.0)).collect();
    assert_eq!(pairs, [(1, 1), (1, 2), (2, 1), (2, 2)]);
}

#[test]
fn a_plan_is_bounded_and_every_pair_of_interfaces_keeps_its_best() {
    let many = |number: u8| {
        let interfaces = (1..=8)
            .map(|id| {
                let mut one = interface(
                    id,
                    &[
                        &format!("198.51.{number}.{id}:1"),
                        &format!("198.51.{number}.{id}:2"),
                        &format!("[2001:db8:{number}:{id}::1]:1"),
                        &format!("[2001:db8:{number}:{id}::2]:1"),
                    ],
                    &[&format!("203.0.{number}.{id}:9")],
                );
                one.cost = id * 20;
                one
            })
            .collect();
        describe(number, interfaces)
    };
    let pairs = plan(&many(1), &many(2), Side::Initiator);
    assert_eq!(pairs.len(), MAX_PAIRS);
    let mut interfaces: Vec<_> = pairs.iter().map(|pair| (pair.local.0, pair.remote_interface.0)).collect();
    interfaces.sort_unstable();
    interfaces.dedup();
    assert_eq!(interfaces.len(), 64);
    assert!(pairs.iter().all(|pair| pair.remote.is_ipv6()), "the best of each is its IPv6 pair");
}

#[test]
fn no_pair_crosses_families_whatever_the_nodes_have() {
    let all = [global4(1), private4(2, 7), private4(3, 7), only6(4), dual(5, 8)];
    for one in &all {
        for other in &all {
            let (a, b) = (describe(1, vec![one.clone()]), describe(2, vec![other.clone()]));
            for (side, own) in [(Side::Initiator, one), (Side::Responder, other)] {
                for pair in plan(&a, &b, side) {
                    let mut own_addresses = own.addresses.iter().chain(&own.reflexive);
                    assert!(own_addresses.any(|address| address.is_ipv4() == pair.remote.is_ipv4()));
                }
            }
        }
    }
}

#[test]
fn two_nodes_of_the_coordinators_own_host_reach_each_other_there_and_nobody_else_is_sent_to_loopback() {
    let at_home = |port: u16| interface(1, &[&format!("127.0.0.1:{port}")], &[&format!("127.0.0.1:{port}")]);
    assert_eq!(remotes(at_home(5001), at_home(5002)), [["127.0.0.1:5002"], ["127.0.0.1:5001"]]);
    for stranger in [global4(1), private4(1, 7)] {
        assert!(remotes(stranger, at_home(5002)).concat().iter().all(|to| !to.starts_with("127.")));
    }
    // What a node says of itself is not what the coordinator sees.
    let liar = interface(1, &["127.0.0.1:22"], &["198.51.100.9:5000"]);
    assert!(remotes(at_home(5001), liar).concat().iter().all(|to| !to.starts_with("127.")));
}
