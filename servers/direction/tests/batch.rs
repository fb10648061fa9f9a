//! A driver that hands over datagrams as they came, many at once, gets what one gets who hands them over singly.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ntm_direction::testing::{Domain, Net, fqdn};
use ntm_direction::{Coordinator, Datagram, Transmit};
use ntm_proto::wire::message::Target;

const ELSEWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), 9);

/// A coordinator with forty nodes, and what these and others send to it at one moment.
fn busy() -> (Domain, Net, Vec<(SocketAddr, Vec<u8>)>) {
    let domain = Domain::new("ntm.example", 1, "192.0.2.1:4500");
    let mut net = Net::default();
    net.add_coordinator(domain.address, domain.coordinator(net.now));
    let nodes: Vec<usize> = (1..=40)
        .map(|number| net.add_node(&domain, number, &format!("n{number}"), &format!("198.51.100.{number}:5000")))
        .collect();
    nodes.iter().for_each(|&node| drop(net.register(node)));
    let mut datagrams = Vec::new();
    for &node in &nodes {
        let host = net.host(node);
        let keep_alive = host.node.keep_alive(1);
        datagrams.push((host.address, keep_alive.clone()));
        match node % 5 {
            // Again, cut off, forged, from elsewhere; and a request.
            0 => datagrams.push((host.address, keep_alive)),
            1 => datagrams.push((host.address, keep_alive[..node.min(keep_alive.len())].to_vec())),
            2 => datagrams.push((host.address, [&keep_alive[..20], &[0x55; 40]].concat())),
            3 => datagrams.push((ELSEWHERE, host.node.keep_alive(1))),
            _ => {
                let request = host.node.direction(node as u8, Target::Name(fqdn("n1.ntm.example")));
                datagrams.push((host.address, request));
            }
        }
    }
    let newcomer = net.add_node(&domain, 90, "new", "198.51.100.90:5000");
    datagrams.insert(7, (net.host(newcomer).address, net.host(newcomer).node.register(1)));
    // Who leaves asks for nothing any more.
    let leaving = net.host(nodes[0]);
    datagrams.push((leaving.address, leaving.node.leave()));
    datagrams.push((leaving.address, leaving.node.keep_alive(1)));
    datagrams.push((ELSEWHERE, Vec::new()));
    (domain, net, datagrams)
}

fn sent(coordinator: &mut Coordinator) -> Vec<Transmit> {
    std::iter::from_fn(|| coordinator.poll_transmit()).collect()
}

#[test]
fn datagrams_that_come_together_do_what_they_do_one_by_one() {
    let (domain, mut singly, mut datagrams) = busy();
    let now = singly.now;
    let coordinator = singly.dc(&domain);
    for (from, datagram) in &mut datagrams {
        coordinator.handle_datagram(now, domain.address, *from, datagram);
    }
    let expected = (sent(coordinator), *coordinator.stats(), coordinator.gauges());
    assert!(expected.0.len() > 50, "{} answers", expected.0.len());
    for size in [1, 2, 31, 33, 100] {
        let (domain, mut together, mut datagrams) = busy();
        let coordinator = together.dc(&domain);
        for some in datagrams.chunks_mut(size) {
            let local = domain.address;
            let mut batch: Vec<Datagram<'_>> =
                some.iter_mut().map(|(from, bytes)| Datagram { local, from: *from, bytes }).collect();
            coordinator.handle_batch(now, &mut batch);
        }
        let found = (sent(coordinator), *coordinator.stats(), coordinator.gauges());
        assert_eq!(found, expected, "batches of {size}");
    }
}
