//! Frames: what a data datagram carries once opened, one a datagram (`docs/protocol/frames.md`).
//!
//! ```text
//! packet           an IPv4 or IPv6 packet: its first nibble, 4 or 6, is the frame's type
//! Signal           type(1)=1  an envelope
//! PathChallenge    type(1)=2  interface(1)  generation(2)  nonce(8)  padding
//! PathResponse     type(1)=3  interface(1)  generation(2)  nonce(8)  observed(18)
//! Fragment         type(1)=4  id(4)  offset(4)  total(4)  data
//! KeepAlive        type(1)=5
//! InterfaceNotice  type(1)=6  count(1)  reserved(2)  sequence(8)  entry …
//!   entry          interface(1)  flags(1)  generation(2)                 flags: bit 0 ending
//! ```
//!
//! Reserved bytes, unassigned flags and padding are sent as zero and ignored on receipt. An unknown type
//! is refused. The AEAD keeps the length: a frame that ends early was sent so by the peer, and the
//! packet, the envelope or the reassembled whole inside it says so.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::ParseError;
use super::bytes::{FIXED_ADDRESS, Reader, Writer};
use super::message::MAX_INTERFACES;
use crate::id::InterfaceId;

pub use super::registry::FrameType;

/// Bytes of a path challenge without padding.
pub const PATH_CHALLENGE: usize = 12;
/// Bytes of a path response.
pub const PATH_RESPONSE: usize = 12 + FIXED_ADDRESS;
/// Bytes of a fragment before its data.
pub const FRAGMENT_HEADER: usize = 13;
/// Bytes of the largest frame that may be sent in fragments: an IPv6 packet with the largest payload.
pub const MAX_FRAGMENTED: u32 = 40 + 65_535;

const ENDING: u8 = 1;

/// What one data datagram carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A virtual IPv4 or IPv6 packet; only its first nibble has been looked at.
    Packet(&'a [u8]),
    /// An envelope, for `Envelope::parse`.
    Signal(&'a [u8]),
    PathChallenge(PathChallenge),
    PathResponse(PathResponse),
    Fragment(Fragment<'a>),
    /// Holds a NAT's mapping and proves that the peer lives; not answered.
    KeepAlive,
    InterfaceNotice(InterfaceNotice),
}

/// Asks the receiver to prove that it can be reached at the address this is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathChallenge {
    pub nonce: u64,
    /// The sender's interface this leaves from.
    pub interface: InterfaceId,
    /// That interface's generation.
    pub generation: u16,
}

/// Answers a challenge over the path it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathResponse {
    /// The challenge's.
    pub nonce: u64,
    /// The responding node's interface this leaves from.
    pub interface: InterfaceId,
    /// That interface's generation.
    pub generation: u16,
    /// Where the challenge came from.
    pub observed: SocketAddr,
}

/// A piece of a frame that does not fit the path whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Names the frame among those in flight.
    pub id: u32,
    /// Where in the frame `data` stands.
    pub offset: u32,
    /// The frame's length: at most [`MAX_FRAGMENTED`].
    pub total: u32,
    /// Not empty, and within `total`.
    pub data: &'a [u8],
}

/// Which interfaces of the sender live, and which are about to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceNotice {
    /// Strictly rising within one session: an older notice is out of date.
    pub sequence: u64,
    /// At most [`MAX_INTERFACES`], no interface twice. One that is not listed is gone.
    pub live: Vec<LiveInterface>,
}

/// One entry of an [`InterfaceNotice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveInterface {
    pub id: InterfaceId,
    pub generation: u16,
    /// It still works and will not for long: move off it.
    pub ending: bool,
}

impl<'a> Frame<'a> {
    pub fn parse(plaintext: &'a [u8]) -> Result<Self, ParseError> {
        let mut input = Reader::new(plaintext);
        let first = input.u8()?;
        if matches!(first >> 4, 4 | 6) {
            return Ok(Self::Packet(plaintext));
        }
        let frame = match FrameType::from_number(first).ok_or(ParseError::UnknownType)? {
            FrameType::Signal => Self::Signal(input.rest()),
            FrameType::PathChallenge => {
                let interface = InterfaceId(input.u8()?);
                let generation = input.u16()?;
                let nonce = input.u64()?;
                input.rest();
                Self::PathChallenge(PathChallenge { nonce, interface, generation })
            }
            FrameType::PathResponse => {
                let interface = InterfaceId(input.u8()?);
                let generation = input.u16()?;
                let nonce = input.u64()?;
                let observed = input.fixed_address()?;
                Self::PathResponse(PathResponse { nonce, interface, generation, observed })
            }
            FrameType::Fragment => Self::Fragment(Fragment::parse(&mut input)?),
            FrameType::KeepAlive => Self::KeepAlive,
            FrameType::InterfaceNotice => Self::InterfaceNotice(InterfaceNotice::parse(&mut input)?),
        };
        input.finish()?;
        Ok(frame)
    }

    /// Appends the frame to `out`; a path challenge without padding.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        match self {
            Self::Packet(packet) => {
                debug_assert!(packet.first().is_some_and(|first| matches!(first >> 4, 4 | 6)));
                writer.bytes(packet);
            }
            Self::Signal(envelope) => {
                writer.u8(FrameType::Signal.number());
                writer.bytes(envelope);
            }
            Self::PathChallenge(challenge) => challenge.emit(0, out),
            Self::PathResponse(response) => response.emit(out),
            Self::Fragment(fragment) => fragment.emit(out),
            Self::KeepAlive => writer.u8(FrameType::KeepAlive.number()),
            Self::InterfaceNotice(notice) => notice.emit(out),
        }
    }
}

impl PathChallenge {
    /// Appends the frame to `out`, padded with zeros until the frame alone has `total` bytes, so that
    /// its answer proves that the path carries frames of that size.
    pub fn emit(&self, total: usize, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.u8(FrameType::PathChallenge.number());
        writer.u8(self.interface.0);
        writer.u16(self.generation);
        writer.u64(self.nonce);
        writer.zeros(total.saturating_sub(PATH_CHALLENGE));
    }
}

impl PathResponse {
    pub fn emit(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.u8(FrameType::PathResponse.number());
        writer.u8(self.interface.0);
        writer.u16(self.generation);
        writer.u64(self.nonce);
        writer.fixed_address(self.observed);
    }
}

impl<'a> Fragment<'a> {
    pub fn emit(&self, out: &mut Vec<u8>) {
        debug_assert!(self.is_sound());
        let mut writer = Writer::new(out);
        writer.u8(FrameType::Fragment.number());
        writer.u32(self.id);
        writer.u32(self.offset);
        writer.u32(self.total);
        writer.bytes(self.data);
    }

    fn parse(input: &mut Reader<'a>) -> Result<Self, ParseError> {
        let (id, offset, total) = (input.u32()?, input.u32()?, input.u32()?);
        let fragment = Self { id, offset, total, data: input.rest() };
        if fragment.is_sound() { Ok(fragment) } else { Err(ParseError::BadValue) }
    }

    /// The data lies within a frame of a size that may be fragmented.
    fn is_sound(&self) -> bool {
        let end = usize::try_from(self.offset).ok().and_then(|offset| offset.checked_add(self.data.len()));
        let total = usize::try_from(self.total).unwrap_or(usize::MAX);
        !self.data.is_empty() && self.total <= MAX_FRAGMENTED && end.is_some_and(|end| end <= total)
    }
}

impl InterfaceNotice {
    pub fn emit(&self, out: &mut Vec<u8>) {
        debug_assert!(self.live.len() <= MAX_INTERFACES);
        let mut writer = Writer::new(out);
        writer.u8(FrameType::InterfaceNotice.number());
        writer.u8(u8::try_from(self.live.len()).unwrap_or(u8::MAX));
        writer.u16(0);
        writer.u64(self.sequence);
        for live in &self.live {
            writer.u8(live.id.0);
            writer.u8(if live.ending { ENDING } else { 0 });
            writer.u16(live.generation);
        }
    }

    fn parse(input: &mut Reader<'_>) -> Result<Self, ParseError> {
        let count = usize::from(input.u8()?);
        if count > MAX_INTERFACES {
            return Err(ParseError::TooMany);
        }
        input.u16()?;
        let sequence = input.u64()?;
        let mut live: Vec<LiveInterface> = Vec::with_capacity(count);
        for _ in 0..count {
            let id = InterfaceId(input.u8()?);
            let ending = input.u8()? & ENDING != 0;
            let generation = input.u16()?;
            if live.iter().any(|other| other.id == id) {
                return Err(ParseError::DuplicateField);
            }
            live.push(LiveInterface { id, generation, ending });
        }
        Ok(Self { sequence, live })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arbitrary::{emitted, fragment_parts, notice, path_challenge, path_response};
    use super::*;

    const CHALLENGE: PathChallenge = PathChallenge { nonce: 0x0102, interface: InterfaceId(7), generation: 0x0304 };

    #[test]
    fn the_frames_lie_as_documented() {
        let challenge = [2, 7, 3, 4, 0, 0, 0, 0, 0, 0, 1, 2];
        assert_eq!(emitted(|out| CHALLENGE.emit(0, out)), challenge);
        assert_eq!(emitted(|out| CHALLENGE.emit(14, out)), [&challenge[..], &[0, 0]].concat());
        let PathChallenge { nonce, interface, generation } = CHALLENGE;
        let observed = "[2001:db8::9]:80".parse().unwrap();
        let response = PathResponse { nonce, interface, generation, observed };
        let address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 80];
        assert_eq!(emitted(|out| response.emit(out)), [&[3][..], &challenge[1..], &address].concat());
        let fragment = Fragment { id: 1, offset: 2, total: 5, data: b"abc" };
        assert_eq!(emitted(|out| fragment.emit(out)), [4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, b'a', b'b', b'c']);
        assert_eq!(emitted(|out| Frame::KeepAlive.emit(out)), [5]);
        let notice = InterfaceNotice {
            sequence: 9,
            live: Vec::from([LiveInterface { id: InterfaceId(3), generation: 0x0102, ending: true }]),
        };
        assert_eq!(emitted(|out| notice.emit(out)), [6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 3, 1, 1, 2]);
        assert_eq!(emitted(|out| Frame::Signal(b"..").emit(out)), [1, b'.', b'.']);
    }

    #[test]
    fn a_virtual_packet_is_known_by_its_first_nibble() {
        for packet in [&[0x45, 0][..], &[0x60]] {
            assert_eq!(Frame::parse(packet), Ok(Frame::Packet(packet)));
        }
    }

    #[test]
    fn no_frame_type_begins_a_packet() {
        assert!(FrameType::ALL.iter().all(|kind| !matches!(kind.number() >> 4, 4 | 6)));
    }

    #[test]
    fn an_unassigned_type_is_refused() {
        let assigned = |first: u8| FrameType::from_number(first).is_some() || matches!(first >> 4, 4 | 6);
        for first in (0..=u8::MAX).filter(|first| !assigned(*first)) {
            assert_eq!(Frame::parse(&[first; 64]), Err(ParseError::UnknownType));
        }
        assert_eq!(Frame::parse(&[]), Err(ParseError::Truncated));
    }

    #[test]
    fn a_fragment_outside_its_frame_is_refused() {
        let parse = |offset: u32, total: u32, data: &[u8]| {
            let frame = [&[4, 0, 0, 0, 1][..], &offset.to_be_bytes(), &total.to_be_bytes(), data].concat();
            Frame::parse(&frame).map(|_| ())
        };
        assert_eq!(parse(65_533, 65_535, b"ab"), Ok(()));
        assert_eq!(parse(65_534, 65_535, b"ab"), Err(ParseError::BadValue));
        assert_eq!(parse(u32::MAX, 65_535, b"ab"), Err(ParseError::BadValue));
        assert_eq!(parse(0, 65_576, b"ab"), Err(ParseError::BadValue));
        assert_eq!(parse(0, 65_535, b""), Err(ParseError::BadValue));
        assert_eq!(parse(0, 0, b""), Err(ParseError::BadValue));
    }

    #[test]
    fn a_notice_with_an_interface_twice_or_too_many_is_refused() {
        let twice = [6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 3, 1, 1, 2, 3, 0, 1, 2];
        assert_eq!(Frame::parse(&twice), Err(ParseError::DuplicateField));
        assert_eq!(Frame::parse(&[6, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]), Err(ParseError::TooMany));
    }

    proptest! {
        #[test]
        fn every_frame_arrives_as_it_was_sent(
            (challenge, padding) in (path_challenge(), 0..1_500_usize),
            response in path_response(),
            (id, offset, total, data) in fragment_parts(),
            notice in notice(),
        ) {
            let bytes = emitted(|out| challenge.emit(padding, out));
            prop_assert_eq!(bytes.len(), padding.max(PATH_CHALLENGE));
            prop_assert_eq!(Frame::parse(&bytes), Ok(Frame::PathChallenge(challenge)));
            let frames = [
                Frame::PathChallenge(challenge),
                Frame::PathResponse(response),
                Frame::Fragment(Fragment { id, offset, total, data: &data }),
                Frame::InterfaceNotice(notice),
                Frame::KeepAlive,
            ];
            for frame in frames {
                let bytes = emitted(|out| frame.emit(out));
                prop_assert_eq!(Frame::parse(&bytes), Ok(frame));
            }
        }

        #[test]
        fn a_shortened_or_lengthened_response_or_notice_is_refused(response in path_response(), notice in notice()) {
            for bytes in [emitted(|out| response.emit(out)), emitted(|out| notice.emit(out))] {
                for end in 0..bytes.len() {
                    prop_assert_eq!(Frame::parse(&bytes[..end]), Err(ParseError::Truncated));
                }
                let longer = [bytes, Vec::from([0])].concat();
                prop_assert_eq!(Frame::parse(&longer), Err(ParseError::TrailingBytes));
            }
        }
    }
}
