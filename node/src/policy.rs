//! The flow policy hook: which path a flow should take (paper 000's routing policy).

use core::net::IpAddr;

use crate::event::PathView;

/// The 5-tuple of a virtual packet this node sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    /// Zero where the protocol has no ports or the packet is a later fragment.
    pub source_port: u16,
    pub destination_port: u16,
}

/// What a policy says of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowPreference {
    /// The engine's own choice.
    Best,
    /// The path at this place of the list it was shown.
    Path(usize),
}

/// Chooses among the proven paths of a peer. Asked once a packet: it must be quick, and give the
/// same flow the same answer while the paths stay the same.
pub trait FlowPolicy: Send {
    fn choose(&self, flow: &FlowKey, paths: &[PathView]) -> FlowPreference;
}

impl FlowKey {
    const TCP: u8 = 6;
    const UDP: u8 = 17;

    /// Reads the flow of a virtual packet; `None` where it is no whole IPv4 or IPv6 header.
    pub fn of(packet: &[u8]) -> Option<Self> {
        let (source, destination, protocol, payload) = match packet.first()? >> 4 {
            4 => {
                let header: &[u8; 20] = packet.first_chunk()?;
                let length = usize::from(header[0] & 0x0f) * 4;
                let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
                let source: [u8; 4] = header[12..16].try_into().ok()?;
                let destination: [u8; 4] = header[16..20].try_into().ok()?;
                let payload = if offset == 0 { packet.get(length..) } else { None };
                (IpAddr::from(source), IpAddr::from(destination), header[9], payload)
            }
            6 => {
                let header: &[u8; 40] = packet.first_chunk()?;
                let source: [u8; 16] = header[8..24].try_into().ok()?;
                let destination: [u8; 16] = header[24..40].try_into().ok()?;
                (IpAddr::from(source), IpAddr::from(destination), header[6], packet.get(40..))
            }
            _ => return None,
        };
        let ports = match (protocol, payload.and_then(<[u8]>::first_chunk::<4>)) {
            (Self::TCP | Self::UDP, Some(ports)) => *ports,
            _ => [0; 4],
        };
        Some(Self {
            source,
            destination,
            protocol,
            source_port: u16::from_be_bytes([ports[0], ports[1]]),
            destination_port: u16::from_be_bytes([ports[2], ports[3]]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn v4(protocol: u8, header_words: u8, offset: u16, ports: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0; usize::from(header_words) * 4];
        packet[0] = 0x40 | header_words;
        packet[6..8].copy_from_slice(&offset.to_be_bytes());
        packet[9] = protocol;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend(ports);
        packet
    }

    #[test]
    fn a_flow_is_its_addresses_protocol_and_ports() {
        let flow = FlowKey::of(&v4(17, 5, 0, [0x12, 0x34, 0, 80])).expect("a whole header");
        assert_eq!((flow.source, flow.destination), ([10, 0, 0, 1].into(), [10, 0, 0, 2].into()));
        assert_eq!((flow.protocol, flow.source_port, flow.destination_port), (17, 0x1234, 80));
    }

    #[test]
    fn ports_are_found_behind_options() {
        let mut packet = v4(6, 8, 0, [0, 1, 0, 2]);
        packet[20..32].fill(0xff);
        let flow = FlowKey::of(&packet).expect("a whole header");
        assert_eq!((flow.source_port, flow.destination_port), (1, 2));
    }

    #[test]
    fn a_later_fragment_and_a_protocol_without_ports_have_none() {
        for packet in [v4(17, 5, 100, [1, 1, 1, 1]), v4(1, 5, 0, [1, 1, 1, 1])] {
            let flow = FlowKey::of(&packet).expect("a whole header");
            assert_eq!((flow.source_port, flow.destination_port), (0, 0));
        }
    }

    #[test]
    fn a_header_that_says_it_is_longer_than_the_packet_has_no_ports() {
        for words in 0..=15 {
            let mut packet = v4(17, 5, 0, [1, 1, 1, 1]);
            packet[0] = 0x40 | words;
            assert!(FlowKey::of(&packet).is_some());
        }
    }

    #[test]
    fn what_is_no_whole_header_is_no_flow() {
        let four = v4(17, 5, 0, [0; 4]);
        assert!((0..20).all(|length| FlowKey::of(&four[..length]).is_none()));
        let mut six = vec![0; 44];
        six[0] = 0x60;
        assert!((0..40).all(|length| FlowKey::of(&six[..length]).is_none()));
        assert!(FlowKey::of(&six[..40]).is_some());
        for first in (0..=255_u8).filter(|first| !matches!(first >> 4, 4 | 6)) {
            six[0] = first;
            assert_eq!(FlowKey::of(&six), None);
        }
    }
}
