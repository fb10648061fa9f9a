//! UDP: headers and bytes.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::SystemTime;

use ntm_node::FlowKey;

use crate::errno::{Errno, Result};
use crate::runtime::Core;
use crate::stack::endpoint::{Arrival, Endpoint};
use crate::stack::ip::{self, Packet, Stamp};

const HEADER: usize = 8;
/// The most that one datagram can carry over IPv4 (RFC 768), and here over IPv6 too.
pub(crate) const MAX_DATAGRAM: usize = 65_507;

thread_local! {
    static PACKET: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Sends a datagram to a virtual address.
pub(crate) fn send(
    core: &Core,
    endpoint: &Endpoint,
    from: SocketAddr,
    to: SocketAddr,
    stamp: Stamp,
    data: &[u8],
) -> Result<()> {
    if data.len() > MAX_DATAGRAM {
        return Err(Errno(libc::EMSGSIZE));
    }
    let length = u16::try_from(HEADER + data.len()).map_err(|_| Errno(libc::EMSGSIZE))?;
    PACKET.with_borrow_mut(|packet| {
        let start = ip::header_length(to.ip());
        packet.resize(start + HEADER + data.len(), 0);
        ip::write_header(packet, from.ip(), to.ip(), ip::UDP, stamp, HEADER + data.len());
        let header = &mut packet[start..start + HEADER];
        header[..2].copy_from_slice(&from.port().to_be_bytes());
        header[2..4].copy_from_slice(&to.port().to_be_bytes());
        header[4..6].copy_from_slice(&length.to_be_bytes());
        header[6..8].fill(0);
        packet[start + HEADER..].copy_from_slice(data);
        let flow = FlowKey {
            source: from.ip(),
            destination: to.ip(),
            protocol: ip::UDP,
            source_port: from.port(),
            destination_port: to.port(),
        };
        endpoint.send(core, flow, packet);
    });
    Ok(())
}

/// Gives a packet to whoever hears it; false where nobody does.
pub(crate) fn deliver(core: &Core, packet: &Packet<'_>) -> bool {
    let (Some((remote, local)), Some(data)) = (packet.endpoints(), data(packet.payload)) else { return true };
    let Some(endpoint) = core.stack.udp.find(local, Some(remote)) else { return false };
    let Stamp { hops, class } = packet.stamp();
    endpoint.receive(Arrival { from: remote, to: local.ip(), hops, class, at: SystemTime::now() }, data);
    true
}

/// What a UDP packet carries, from its header on.
fn data(payload: &[u8]) -> Option<&[u8]> {
    let header: &[u8; HEADER] = payload.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    payload.get(HEADER..length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_udp_header_says_is_not_believed_beyond_the_packet() {
        assert_eq!(data(&[0, 1, 0, 2, 0, 10, 0, 0, 7, 7, 7]), Some(&[7, 7][..]), "less than there is");
        assert_eq!(data(&[0, 1, 0, 2, 0, 12, 0, 0, 7, 7, 7]), None, "more than there is");
        assert_eq!(data(&[0, 1, 0, 2, 0, 7, 0, 0]), None, "less than a header");
        assert_eq!(data(&[0; 7]), None);
    }
}
