//! What a frame carries, as far as experiments ask.

use std::net::IpAddr;

const ETHERNET: usize = 14;
const UDP: u8 = 17;
/// DHCP and DHCPv6, both ends.
const ABOUT_ADDRESSES: [u16; 4] = [67, 68, 546, 547];

/// A UDP datagram in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ports: [u16; 2],
    /// Bytes of payload.
    pub(crate) length: usize,
}

impl Datagram {
    /// None where the frame carries something else.
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        let packet = frame.get(ETHERNET..)?;
        let address4 = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?));
        let address6 = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?));
        let (source, destination, header) = match frame.get(12..ETHERNET)? {
            [0x08, 0x00] if *packet.get(9)? == UDP => (address4(12)?, address4(16)?, usize::from(packet[0] & 15) * 4),
            [0x86, 0xdd] if *packet.get(6)? == UDP => (address6(8)?, address6(24)?, 40),
            _ => return None,
        };
        let field = |at: usize| Some(u16::from_be_bytes(<[u8; 2]>::try_from(packet.get(at..at + 2)?).ok()?));
        let length = usize::from(field(header + 4)?).saturating_sub(8);
        Some(Self { source, destination, ports: [field(header)?, field(header + 2)?], length })
    }

    /// Whether it belongs to getting an address.
    pub(crate) fn is_about_addresses(&self) -> bool {
        self.ports.iter().any(|port| ABOUT_ADDRESSES.contains(port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 datagram from 10.0.0.1 to 10.0.0.2 between these ports, with four bytes.
    fn frame(ports: [u16; 2]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 32, 0, 0, 0, 0, 64, UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        frame.extend([0, 12, 0, 0, 1, 2, 3, 4]);
        frame
    }

    #[test]
    fn data_and_what_is_about_addresses_are_told_apart() {
        let found = Datagram::of(&frame([4_500, 7_000])).expect("a datagram");
        assert_eq!((found.ports, found.length), ([4_500, 7_000], 4));
        assert_eq!(found.destination, IpAddr::from([10, 0, 0, 2]));
        assert!(!found.is_about_addresses());
        assert!(Datagram::of(&frame([68, 67])).is_some_and(|datagram| datagram.is_about_addresses()));
    }

    #[test]
    fn every_shortened_frame_is_nothing() {
        let whole = frame([1, 2]);
        for length in 0..whole.len() - 6 {
            assert_eq!(Datagram::of(&whole[..length]), None, "{length}");
        }
    }
}
