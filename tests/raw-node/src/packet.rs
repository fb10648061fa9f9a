//! The least that travels through a tunnel: an IPv4 packet with a UDP datagram with a text.

use std::net::Ipv4Addr;

const IPV4: usize = 20;
const UDP: usize = 8;
const PORT: u16 = 7_777;

/// A packet that carries `text`.
pub(crate) fn carrying(from: Ipv4Addr, to: Ipv4Addr, text: &[u8]) -> Vec<u8> {
    let udp = u16::try_from(UDP + text.len()).unwrap_or(u16::MAX);
    let total = u16::try_from(IPV4 + UDP + text.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = packet.chunks(2).fold(0u32, |sum, pair| sum + u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !(((folded & 0xffff) + (folded >> 16)) as u16);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend(PORT.to_be_bytes());
    packet.extend(PORT.to_be_bytes());
    packet.extend(udp.to_be_bytes());
    // No UDP checksum: what seals the packet is stronger (RFC 768 allows none over IPv4).
    packet.extend([0, 0]);
    packet.extend(text);
    packet
}

/// Whom a packet is from, and its text.
pub(crate) fn carried(packet: &[u8]) -> Option<(Ipv4Addr, Vec<u8>)> {
    let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    (packet.first() == Some(&0x45) && packet.get(9) == Some(&17))
        .then(|| (from.into(), packet.get(IPV4 + UDP..).unwrap_or_default().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_arrives() {
        let from = Ipv4Addr::new(198, 18, 0, 1);
        let packet = carrying(from, Ipv4Addr::new(198, 18, 0, 2), b"hello");
        assert_eq!(carried(&packet), Some((from, b"hello".to_vec())));
        assert_eq!(carried(&packet[..10]), None);
    }
}
