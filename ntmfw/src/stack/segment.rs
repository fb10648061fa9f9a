//! TCP segments that belong to no connection, or are looked at before one gets them.

use ntm_proto::time::Instant;

use crate::packet::route::send_single;
use crate::runtime::Core;
use crate::stack::ip::{self, Packet, Stamp};

const HEADER: usize = 20;

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) sequence: u32,
    pub(crate) acknowledge: u32,
    pub(crate) flags: u8,
    /// Bytes of data.
    pub(crate) data: u32,
}

impl Segment {
    /// Reads the header of a packet's segment; `None` where there is none.
    pub(crate) fn of(packet: &Packet<'_>) -> Option<Self> {
        let header: &[u8; HEADER] = packet.payload.first_chunk()?;
        let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let data = packet.payload.len().saturating_sub(usize::from(header[12] >> 4) * 4);
        let data = u32::try_from(data).unwrap_or_default();
        Some(Self { sequence: number(4), acknowledge: number(8), flags: header[13], data })
    }

    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        Self::of(&Packet::parse(packet)?)
    }

    pub(crate) fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Whether it begins a connection.
    pub(crate) fn is_first(&self) -> bool {
        self.flags & (ip::TCP_SYN | ip::TCP_ACK | ip::TCP_RST) == ip::TCP_SYN
    }

    /// What it takes of the sequence numbers: its bytes, its beginning and its end.
    pub(crate) fn length(&self) -> u32 {
        self.data + u32::from(self.has(ip::TCP_SYN)) + u32::from(self.has(ip::TCP_FIN))
    }

    /// The sequence number after it.
    pub(crate) fn end(&self) -> u32 {
        self.sequence.wrapping_add(self.length())
    }
}

/// Answers a segment that belongs to nothing with a reset (RFC 9293, 3.5.2).
pub(crate) fn refuse(core: &Core, now: Instant, packet: &Packet<'_>, segment: &Segment) {
    if segment.has(ip::TCP_RST) {
        return;
    }
    if segment.has(ip::TCP_ACK) {
        answer(core, now, packet, segment.acknowledge, 0, ip::TCP_RST);
    } else {
        answer(core, now, packet, 0, segment.end(), ip::TCP_RST | ip::TCP_ACK);
    }
}

/// Sends a segment without data back to where a packet came from.
pub(crate) fn answer(core: &Core, now: Instant, to: &Packet<'_>, sequence: u32, acknowledge: u32, flags: u8) {
    let Some(ports) = to.payload.first_chunk::<4>() else { return };
    let mut reply = [0; 60];
    let start = ip::write_header(&mut reply, to.destination, to.source, ip::TCP, Stamp::default(), HEADER);
    let header = &mut reply[start..start + HEADER];
    header[..2].copy_from_slice(&ports[2..]);
    header[2..4].copy_from_slice(&ports[..2]);
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    header[8..12].copy_from_slice(&acknowledge.to_be_bytes());
    header[12] = 5 << 4;
    header[13] = flags;
    send_single(core, now, &reply[..start + HEADER]);
}
