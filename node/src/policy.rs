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
