//! Virtual packets as bytes: reading their headers, cutting large TCP segments, joining small ones.
//!
//! Checksums are neither made nor read: what a tunnel delivers was authenticated.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Protocol numbers of the Internet's assigned numbers authority.
pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
pub(crate) const TCP_FIN: u8 = 0x01;
pub(crate) const TCP_SYN: u8 = 0x02;
pub(crate) const TCP_RST: u8 = 0x04;
const TCP_PSH: u8 = 0x08;
pub(crate) const TCP_ACK: u8 = 0x10;

/// Hops that a packet may take where nobody says otherwise (RFC 1700).
pub(crate) const DEFAULT_HOPS: u8 = 64;

/// What an IP header says beside where the packet comes from and goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) hops: u8,
    /// The type of service, or traffic class.
    pub(crate) class: u8,
}

impl Default for Stamp {
    fn default() -> Self {
        Self { hops: DEFAULT_HOPS, class: 0 }
    }
}

/// A packet whose headers were read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    /// From the transport's header on.
    pub(crate) payload: &'a [u8],
    /// The whole packet, cut to what its header says.
    pub(crate) whole: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a packet; `None` where it is cut short, a fragment, or has options that nobody sends here.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => {
                let header: &[u8; V4_HEADER] = bytes.first_chunk()?;
                let start = usize::from(header[0] & 0x0f) * 4;
                let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
                let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
                if start < V4_HEADER || fragment != 0 {
                    return None;
                }
                let whole = bytes.get(..length)?;
                let address =
                    |at: usize| IpAddr::V4(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]));
                let payload = whole.get(start..)?;
                Some(Self { source: address(12), destination: address(16), protocol: header[9], payload, whole })
            }
            6 => {
                let header: &[u8; V6_HEADER] = bytes.first_chunk()?;
                let length = V6_HEADER + usize::from(u16::from_be_bytes([header[4], header[5]]));
                let whole = bytes.get(..length)?;
                let address = |at: usize| {
                    let octets: [u8; 16] = header[at..at + 16].try_into().expect("sixteen octets of a header");
                    IpAddr::V6(Ipv6Addr::from(octets))
                };
                let payload = whole.get(V6_HEADER..)?;
                Some(Self { source: address(8), destination: address(24), protocol: header[6], payload, whole })
            }
            _ => None,
        }
    }

    pub(crate) fn stamp(&self) -> Stamp {
        let header = self.whole;
        match self.source {
            IpAddr::V4(_) => Stamp { hops: header[8], class: header[1] },
            IpAddr::V6(_) => Stamp { hops: header[7], class: header[0] << 4 | header[1] >> 4 },
        }
    }

    /// The addresses with the ports of TCP and UDP.
    pub(crate) fn endpoints(&self) -> Option<(SocketAddr, SocketAddr)> {
        let [a, b, c, d] = *self.payload.first_chunk::<4>()?;
        let source = SocketAddr::new(self.source, u16::from_be_bytes([a, b]));
        Some((source, SocketAddr::new(self.destination, u16::from_be_bytes([c, d]))))
    }
}

/// Writes an IP header for `payload` bytes of `protocol` and says how long it is.
pub(crate) fn write_header(
    out: &mut [u8],
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    stamp: Stamp,
    payload: usize,
) -> usize {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = u16::try_from(V4_HEADER + payload).unwrap_or(u16::MAX);
            out[..V4_HEADER].fill(0);
            out[0] = 0x45;
            out[1] = stamp.class;
            out[2..4].copy_from_slice(&total.to_be_bytes());
            out[6] = 0x40;
            out[8] = stamp.hops;
            out[9] = protocol;
            out[12..16].copy_from_slice(&source.octets());
            out[16..20].copy_from_slice(&destination.octets());
            V4_HEADER
        }
        (source, destination) => {
            let length = u16::try_from(payload).unwrap_or(u16::MAX);
            let (high, low) = (stamp.class >> 4, stamp.class << 4);
            out[..8].copy_from_slice(&[0x60 | high, low, 0, 0, 0, 0, protocol, stamp.hops]);
            out[4..6].copy_from_slice(&length.to_be_bytes());
            out[8..24].copy_from_slice(&mapped(source).octets());
            out[24..40].copy_from_slice(&mapped(destination).octets());
            V6_HEADER
        }
    }
}

/// Changes the class of a packet whose header [`write_header`] or the TCP stack wrote.
pub(crate) fn set_class(packet: &mut [u8], class: u8) {
    match packet {
        [first, second, ..] if *first >> 4 == 4 => *second = class,
        [first, second, ..] => {
            *first = 0x60 | class >> 4;
            *second = class << 4 | (*second & 0x0f);
        }
        _ => {}
    }
}

/// How long the header is that [`write_header`] writes.
pub(crate) fn header_length(destination: IpAddr) -> usize {
    if destination.is_ipv4() { V4_HEADER } else { V6_HEADER }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// A packet, or a TCP segment too large for the virtual network as the packets it is cut into. All are of
/// [`largest`](Self::largest) bytes but the last.
#[derive(Debug)]
pub(crate) struct Segments<'a> {
    /// Of each packet; empty where the payload is a whole packet.
    headers: &'a [u8],
    payload: &'a [u8],
    /// Where the TCP header begins.
    transport: usize,
    segment: usize,
}

impl<'a> Segments<'a> {
    /// A packet that is small enough.
    pub(crate) fn whole(packet: &'a [u8]) -> Self {
        Self { headers: &[], payload: packet, transport: 0, segment: packet.len().max(1) }
    }

    /// The headers of a TCP segment, and its payload, to be cut to packets with at most `segment` bytes of it.
    pub(crate) fn cut(headers: &'a [u8], payload: &'a [u8], segment: usize) -> Self {
        if payload.is_empty() {
            return Self::whole(headers);
        }
        let transport = if headers.first().is_some_and(|first| first >> 4 == 6) { V6_HEADER } else { V4_HEADER };
        Self { headers, payload, transport, segment: segment.max(1) }
    }

    /// Everything in one piece.
    pub(crate) fn uncut(&self) -> Vec<u8> {
        [self.headers, self.payload].concat()
    }

    pub(crate) fn count(&self) -> usize {
        self.payload.len().div_ceil(self.segment).max(1)
    }

    /// The length of the largest packet, which is that of every one but the last.
    pub(crate) fn largest(&self) -> usize {
        self.headers.len() + self.segment.min(self.payload.len())
    }

    /// The length of one packet.
    pub(crate) fn length(&self, number: usize) -> usize {
        self.headers.len() + self.part(number).len()
    }

    /// Writes one packet into `out`, which has its length.
    pub(crate) fn write(&self, number: usize, out: &mut [u8]) {
        let (headers, body) = out.split_at_mut(self.headers.len());
        let part = self.part(number);
        body.copy_from_slice(part);
        if self.headers.is_empty() {
            return;
        }
        headers.copy_from_slice(self.headers);
        let (ip, tcp) = headers.split_at_mut(self.transport);
        if ip[0] >> 4 == 4 {
            let total = u16::try_from(ip.len() + tcp.len() + part.len()).unwrap_or(u16::MAX);
            ip[2..4].copy_from_slice(&total.to_be_bytes());
        } else {
            let length = u16::try_from(tcp.len() + part.len()).unwrap_or(u16::MAX);
            ip[4..6].copy_from_slice(&length.to_be_bytes());
        }
        let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let skipped = u32::try_from(number * self.segment).unwrap_or(u32::MAX);
        tcp[4..8].copy_from_slice(&sequence.wrapping_add(skipped).to_be_bytes());
        if number + 1 < self.count() {
            tcp[13] &= !(TCP_FIN | TCP_PSH);
        }
    }

    fn part(&self, number: usize) -> &'a [u8] {
        let start = (number * self.segment).min(self.payload.len());
        let end = (start + self.segment).min(self.payload.len());
        &self.payload[start..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(v6: bool, payload: usize) -> Vec<u8> {
        let (source, destination): (IpAddr, IpAddr) = if v6 {
            ([0xfd4e, 0x544d, 0, 0, 0, 0, 0, 1].into(), [0xfd4e, 0x544d, 0, 0, 0, 0, 0, 2].into())
        } else {
            ([198, 18, 0, 1].into(), [198, 18, 0, 2].into())
        };
        let mut packet = vec![0; header_length(destination) + 20 + payload];
        let start = write_header(&mut packet, source, destination, TCP, Stamp::default(), 20 + payload);
        packet[start + 4..start + 8].copy_from_slice(&u32::MAX.to_be_bytes());
        packet[start + 12] = 5 << 4;
        packet[start + 13] = TCP_ACK | TCP_PSH | TCP_FIN;
        for (at, byte) in packet[start + 20..].iter_mut().enumerate() {
            *byte = at as u8;
        }
        packet
    }

    #[test]
    fn a_large_segment_is_cut_into_packets_that_together_say_the_same() {
        for v6 in [false, true] {
            for payload in [1, 999, 1_000, 1_001, 2_000, 2_001, 60_000] {
                let packet = tcp(v6, payload);
                let (headers, body) = packet.split_at(packet.len() - payload);
                let cut = Segments::cut(headers, body, 1_000);
                assert_eq!(cut.uncut(), packet);
                let (mut next, mut whole) = (u32::MAX, Vec::new());
                for number in 0..cut.count() {
                    let mut bytes = vec![0; cut.length(number)];
                    cut.write(number, &mut bytes);
                    let part = Packet::parse(&bytes).expect("a whole packet");
                    assert_eq!(part.whole.len(), bytes.len(), "its header says how long it is");
                    let sequence = u32::from_be_bytes(part.payload[4..8].try_into().expect("four bytes"));
                    assert_eq!(sequence, next);
                    let last = number + 1 == cut.count();
                    assert_eq!(part.payload[13] & (TCP_FIN | TCP_PSH) != 0, last, "only the last one ends it");
                    assert!(last || bytes.len() == cut.largest());
                    next = next.wrapping_add(u32::try_from(part.payload.len() - 20).expect("short"));
                    whole.extend_from_slice(&part.payload[20..]);
                }
                assert_eq!(whole, packet[packet.len() - payload..]);
            }
        }
    }

    #[test]
    fn what_need_not_be_cut_stays_as_it_is() {
        let packet = tcp(false, 500);
        let (headers, body) = packet.split_at(packet.len() - 500);
        let ways = [
            Segments::whole(&packet),
            Segments::cut(&packet, &[], 500),
            Segments::cut(headers, body, 500),
            Segments::cut(headers, body, 1_400),
        ];
        for cut in ways {
            let mut bytes = vec![0; cut.length(0)];
            cut.write(0, &mut bytes);
            assert_eq!((cut.count(), bytes), (1, packet.clone()));
        }
    }

    #[test]
    fn a_packet_cut_anywhere_is_no_packet_and_no_panic() {
        for packet in [tcp(false, 50), tcp(true, 50)] {
            for length in 0..packet.len() {
                assert!(Packet::parse(&packet[..length]).is_none());
            }
            for at in 0..60 {
                let mut changed = packet.clone();
                changed[at] ^= 0xff;
                if let Some(packet) = Packet::parse(&changed) {
                    assert!(packet.whole.len() <= changed.len());
                    let _ = packet.endpoints();
                }
            }
        }
    }

    #[test]
    fn a_header_keeps_its_hops_and_its_class() {
        let stamp = Stamp { hops: 7, class: 0xb8 };
        for ends in [["198.18.0.1", "198.18.0.2"], ["fd4e:544d::1", "fd4e:544d::2"]] {
            let [source, destination]: [IpAddr; 2] = ends.map(|end| end.parse().expect("an address"));
            let mut packet = [0; 48];
            let start = write_header(&mut packet, source, destination, UDP, stamp, 8);
            assert_eq!(Packet::parse(&packet[..start + 8]).expect("a packet").stamp(), stamp);
            set_class(&mut packet, 3);
            assert_eq!(Packet::parse(&packet[..start + 8]).expect("a packet").stamp(), Stamp { class: 3, ..stamp });
        }
    }

    #[test]
    fn fragments_are_not_taken_for_packets() {
        let mut packet = tcp(false, 50);
        packet[6] = 0x20;
        assert!(Packet::parse(&packet).is_none());
    }
}
