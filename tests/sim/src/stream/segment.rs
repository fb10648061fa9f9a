//! The little of a virtual packet's headers that tells connections and segments apart.

use std::net::SocketAddr;

/// Where the window is in a TCP header.
pub(super) const WINDOW: usize = 14;

/// The TCP header of a virtual packet without extension headers, as smoltcp makes them.
pub(super) fn segment(packet: &[u8]) -> Option<&[u8]> {
    let header = match packet.first()? >> 4 {
        4 => usize::from(packet[0] & 0xf) * 4,
        6 => 40,
        _ => return None,
    };
    packet.get(header..)
}

/// Source and destination of a virtual packet with ports.
pub(super) fn endpoints(packet: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let ports: &[u8; 4] = segment(packet)?.first_chunk()?;
    let source = u16::from_be_bytes([ports[0], ports[1]]);
    let destination = u16::from_be_bytes([ports[2], ports[3]]);
    let (from, to) = if packet[0] >> 4 == 4 {
        let from: &[u8; 4] = packet.get(12..)?.first_chunk()?;
        let to: &[u8; 4] = packet.get(16..)?.first_chunk()?;
        ((*from).into(), (*to).into())
    } else {
        let from: &[u8; 16] = packet.get(8..)?.first_chunk()?;
        let to: &[u8; 16] = packet.get(24..)?.first_chunk()?;
        ((*from).into(), (*to).into())
    };
    Some((SocketAddr::new(from, source), SocketAddr::new(to, destination)))
}

/// Whether a segment carries data, SYN or FIN: what the other end acknowledges.
pub(super) fn takes_sequence_space(packet: &[u8]) -> bool {
    const FIN_OR_SYN: u8 = 0b11;
    segment(packet).is_some_and(|segment| {
        let header = segment.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
        segment.len() > header || segment.get(13).is_some_and(|flags| flags & FIN_OR_SYN != 0)
    })
}
