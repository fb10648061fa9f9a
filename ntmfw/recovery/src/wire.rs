//! TCP segments inside IP packets as bytes: reading what recovery must know, writing headers.
//!
//! ```text
//! IPv4 20+ or IPv6 40  │ TCP 20: ports, sequence, acknowledgment, offset and flags, window, … │ options │ payload
//! ```
//!
//! Checksums are neither made nor read, as everywhere above the tunnel.

use alloc::vec::Vec;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const ECE: u8 = 0x40;
pub(crate) const CWR: u8 = 0x80;

const PROTOCOL_TCP: u8 = 6;
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;

/// RFC 2018: option kinds, and the blocks that fit beside nothing else.
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const OPTION_SCALE: u8 = 3;
const OPTION_SACK_PERMITTED: u8 = 4;
const OPTION_SACK: u8 = 5;
pub(crate) const MAX_BLOCKS: usize = 4;

/// RFC 3168: what a packet says of congestion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ecn {
    #[default]
    NotCapable,
    Capable,
    Experienced,
}

impl Ecn {
    /// From the lower two bits of the traffic class.
    pub fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::NotCapable,
            3 => Self::Experienced,
            _ => Self::Capable,
        }
    }
}

/// A TCP segment whose headers were read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) packet: &'a [u8],
    /// Where the TCP header begins in the packet.
    pub(crate) transport: usize,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) options: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Reads a packet; `None` where it is no whole TCP segment.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (transport, length, protocol) = match bytes.first()? >> 4 {
            4 => {
                let header: &[u8; V4_HEADER] = bytes.first_chunk()?;
                let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
                (usize::from(header[0] & 0x0f) * 4, length, header[9])
            }
            6 => {
                let header: &[u8; V6_HEADER] = bytes.first_chunk()?;
                (V6_HEADER, V6_HEADER + usize::from(u16::from_be_bytes([header[4], header[5]])), header[6])
            }
            _ => return None,
        };
        let packet = bytes.get(..length)?;
        let header: &[u8; TCP_HEADER] = packet.get(transport..)?.first_chunk()?;
        let start = transport + usize::from(header[12] >> 4) * 4;
        let options = packet.get(transport + TCP_HEADER..start)?;
        (protocol == PROTOCOL_TCP).then_some(())?;
        Some(Self {
            packet,
            transport,
            sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            acknowledgment: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            flags: header[13],
            window: u16::from_be_bytes([header[14], header[15]]),
            options,
            payload: &packet[start..],
        })
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Sequence numbers that it takes, SYN aside.
    pub(crate) fn length(&self) -> u64 {
        self.payload.len() as u64 + u64::from(self.has(FIN))
    }

    /// What a SYN proposes.
    pub(crate) fn proposal(&self) -> Proposal {
        let mut proposal = Proposal::default();
        for (kind, value) in options(self.options) {
            match (kind, value) {
                (OPTION_MSS, &[high, low]) => proposal.segment = Some(u16::from_be_bytes([high, low])),
                (OPTION_SCALE, &[scale]) => proposal.scale = Some(scale.min(14)),
                (OPTION_SACK_PERMITTED, []) => proposal.selective = true,
                _ => {}
            }
        }
        proposal
    }

    /// The blocks of a SACK option, and how many there are.
    pub(crate) fn blocks(&self) -> ([(u32, u32); MAX_BLOCKS], usize) {
        let mut blocks = [(0, 0); MAX_BLOCKS];
        let mut count = 0;
        let values = options(self.options).filter(|(kind, _)| *kind == OPTION_SACK);
        for block in values.flat_map(|(_, value)| value.chunks_exact(8)).take(MAX_BLOCKS) {
            let edge = |at: usize| u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
            blocks[count] = (edge(0), edge(4));
            count += 1;
        }
        (blocks, count)
    }

    /// A copy of its acknowledgment alone, as if it had come at `sequence`.
    pub(crate) fn without_data(&self, sequence: u32) -> Vec<u8> {
        let mut copy = self.truncated(0);
        copy[self.transport + 4..self.transport + 8].copy_from_slice(&sequence.to_be_bytes());
        copy
    }

    /// A copy with so many of its bytes, which are not the last ones.
    pub(crate) fn truncated(&self, payload: usize) -> Vec<u8> {
        let length = self.packet.len() - self.payload.len() + payload;
        let mut copy = self.packet[..length].to_vec();
        set_length(&mut copy, length);
        copy[self.transport + 13] &= !(FIN | PSH);
        copy
    }
}

/// What a SYN says of its sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) segment: Option<u16>,
    pub(crate) scale: Option<u8>,
    pub(crate) selective: bool,
}

/// The options of a TCP header as kinds and values; ends at the first that is cut short.
fn options(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    core::iter::from_fn(move || {
        loop {
            match rest {
                [OPTION_NOP, tail @ ..] => rest = tail,
                [] | [OPTION_END, ..] | [_] => return None,
                [kind, length, ..] => {
                    let value = rest.get(2..usize::from(*length))?;
                    rest = &rest[usize::from(*length)..];
                    return Some((*kind, value));
                }
            }
        }
    })
}

/// Makes a segment that waited acknowledge what is acknowledged by now.
pub(crate) fn renew(packet: &mut [u8], transport: usize, acknowledgment: u32, window: u16) {
    let tcp = &mut packet[transport..];
    tcp[8..12].copy_from_slice(&acknowledgment.to_be_bytes());
    tcp[14..16].copy_from_slice(&window.to_be_bytes());
}

fn set_length(packet: &mut [u8], total: usize) {
    if packet[0] >> 4 == 4 {
        packet[2..4].copy_from_slice(&u16::try_from(total).unwrap_or(u16::MAX).to_be_bytes());
    } else {
        packet[4..6].copy_from_slice(&u16::try_from(total - V6_HEADER).unwrap_or(u16::MAX).to_be_bytes());
    }
}

/// What differs from one header to the next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fields<'a> {
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
    pub(crate) window: u16,
    pub(crate) flags: u8,
    pub(crate) blocks: &'a [(u32, u32)],
    pub(crate) payload: usize,
    pub(crate) capable: bool,
}

/// The headers of a connection's segments, from which each one's are made.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    template: Vec<u8>,
    transport: usize,
    written: Vec<u8>,
}

impl Headers {
    /// Learns addresses, ports and constant options from a segment that is no SYN.
    pub(crate) fn learn(&mut self, segment: &Segment<'_>) {
        let length = segment.packet.len() - segment.payload.len();
        if self.template.len() != length {
            self.template = segment.packet[..length].to_vec();
            self.transport = segment.transport;
        }
    }

    pub(crate) fn is_known(&self) -> bool {
        !self.template.is_empty()
    }

    pub(crate) fn write(&mut self, fields: &Fields<'_>) -> &mut [u8] {
        let out = &mut self.written;
        out.clear();
        out.extend_from_slice(&self.template);
        if !fields.blocks.is_empty() {
            let length = u8::try_from(2 + 8 * fields.blocks.len()).unwrap_or(u8::MAX);
            out.extend_from_slice(&[OPTION_NOP, OPTION_NOP, OPTION_SACK, length]);
            for (left, right) in fields.blocks {
                out.extend_from_slice(&left.to_be_bytes());
                out.extend_from_slice(&right.to_be_bytes());
            }
        }
        let length = out.len();
        set_length(out, length + fields.payload);
        set_capable(out, fields.capable);
        let tcp = &mut out[self.transport..];
        let words = u8::try_from(tcp.len() / 4).unwrap_or(u8::MAX);
        tcp[4..8].copy_from_slice(&fields.sequence.to_be_bytes());
        tcp[8..12].copy_from_slice(&fields.acknowledgment.to_be_bytes());
        tcp[12] = words << 4;
        tcp[13] = fields.flags;
        tcp[14..16].copy_from_slice(&fields.window.to_be_bytes());
        out
    }
}

/// Sets or clears ECT(0) of an IP header.
fn set_capable(packet: &mut [u8], capable: bool) {
    let bits = if capable { 2 } else { 0 };
    if packet[0] >> 4 == 4 {
        packet[1] = packet[1] & !3 | bits;
    } else {
        packet[1] = packet[1] & !0x30 | bits << 4;
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use alloc::vec;

    /// An IPv4 segment with `payload` bytes that count up.
    pub(crate) fn segment(sequence: u32, acknowledgment: u32, flags: u8, payload: usize) -> Vec<u8> {
        let mut packet = vec![0; V4_HEADER + TCP_HEADER + payload];
        packet[0] = 0x45;
        packet[9] = PROTOCOL_TCP;
        let total = packet.len();
        set_length(&mut packet, total);
        let tcp = &mut packet[V4_HEADER..];
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        tcp[8..12].copy_from_slice(&acknowledgment.to_be_bytes());
        tcp[12] = 5 << 4;
        tcp[13] = flags;
        tcp[14..16].copy_from_slice(&1_000_u16.to_be_bytes());
        for (at, byte) in tcp[TCP_HEADER..].iter_mut().enumerate() {
            *byte = u8::try_from((sequence as usize + at) % 251).expect("below 251");
        }
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::testing::segment;
    use super::*;

    #[test]
    fn headers_carry_blocks_that_can_be_read_again() {
        let mut headers = Headers::default();
        let packet = segment(5, 6, ACK, 0);
        headers.learn(&Segment::parse(&packet).expect("a segment"));
        let blocks = [(10, 20), (u32::MAX, 4), (50, 60), (70, 80)];
        let written = headers.write(&Fields {
            sequence: 7,
            acknowledgment: 8,
            window: 9,
            flags: ACK | ECE,
            blocks: &blocks,
            payload: 0,
            capable: true,
        });
        let read = Segment::parse(written).expect("a segment");
        assert_eq!((read.sequence, read.acknowledgment, read.window), (7, 8, 9));
        assert_eq!((read.flags, read.payload.len()), (ACK | ECE, 0));
        assert_eq!(read.blocks(), (blocks, 4));
        assert_eq!(Ecn::from_bits(written[1]), Ecn::Capable);
    }

    #[test]
    fn a_segment_cut_or_changed_anywhere_is_read_without_panic() {
        let packet = segment(1, 2, ACK | PSH, 50);
        for length in 0..packet.len() {
            assert!(Segment::parse(&packet[..length]).is_none());
        }
        for at in 0..40 {
            for value in [0, 0x0f, 0x7f, 0xff] {
                let mut changed = packet.clone();
                changed[at] = value;
                if let Some(read) = Segment::parse(&changed) {
                    let _ = (read.proposal(), read.blocks(), read.length());
                }
            }
        }
    }

    #[test]
    fn options_cut_short_end_the_list() {
        for bytes in [&[2, 4, 5][..], &[5, 1], &[3, 0, 1], &[1, 1, 1], &[5]] {
            assert_eq!(options(bytes).count(), 0, "{bytes:?}");
        }
    }

    #[test]
    fn an_acknowledgment_is_split_from_its_data() {
        let packet = segment(100, 5, ACK | FIN, 10);
        let read = Segment::parse(&packet).expect("a segment");
        let bare = read.without_data(90);
        let copy = Segment::parse(&bare).expect("a segment");
        assert_eq!((copy.length(), copy.acknowledgment, copy.sequence), (0, 5, 90));
        let mut renewed = packet.clone();
        renew(&mut renewed, read.transport, 77, 3);
        let copy = Segment::parse(&renewed).expect("a segment");
        assert_eq!((copy.acknowledgment, copy.window, copy.payload), (77, 3, read.payload));
    }
}
