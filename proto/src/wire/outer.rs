//! Outer datagrams: what the kernel's UDP carries (`docs/protocol/outer.md`).
//!
//! ```text
//! HandshakeInit     type(1)=1  flags(1)  reserved(2)  sender(4)  Noise message(96…)  mac1(16)  mac2(16)
//! HandshakeResponse type(1)=2  flags(1)  reserved(2)  sender(4)  receiver(4)  Noise message(48…)  mac1(16)  mac2(16)
//! CookieReply       type(1)=3  flags(1)  reserved(2)  receiver(4)  nonce(24)  sealed cookie(32)
//! Data              type(1)=4  flags(1)  reserved(2)  receiver(4)  counter(8)  ciphertext  tag(16)
//! Relayed           type(1)=5  reserved(3)  relay index(4)  one of the four above, or a punch
//! RelayBind         type(1)=6  side(1)  reserved(2)  sequence(8)  token(56)  mac(16)  nothing, or as in Relayed
//! RelayBound        type(1)=7  side(1)  flags(1)  reserved(1)  relay index(4)  sequence(8)  observed(18)  mac(16)
//! RelayPing         type(1)=8  reserved(3)  nonce(8)  reserved(20)
//! RelayPong         type(1)=9  reserved(3)  nonce(8)  observed(18)  reserved(2)
//! Punch             type(1)=10 reserved(3)  padding
//! ```
//!
//! Flags and reserved bytes are sent as zero and ignored on receipt, for a later version to use. Where a
//! MAC or a tag covers them they are covered as they were received ([`HandshakeInit::covered`],
//! [`Data::header`], [`RelayBind::covered`], [`RelayBound::covered`]).
//!
//! An unknown type is refused. A datagram whose layout ends is refused where bytes follow. Some layouts
//! take their length from UDP: shortened handshakes, data and what follows a relay's header may parse, and
//! fail their MAC or their tag; what follows a punch's four bytes means nothing.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::ParseError;
use super::bytes::{FIXED_ADDRESS, Reader, Writer};
use super::registry::Side;
use crate::id::{RelayIndex, SessionIndex};
use crate::session::RelayToken;

pub use super::registry::OuterType;

/// Bytes of a data datagram before its ciphertext.
pub const DATA_HEADER: usize = 16;
/// Bytes of the AEAD's tag after it.
pub const TAG: usize = 16;
/// What the tunnel adds to a plaintext.
pub const DATA_OVERHEAD: usize = DATA_HEADER + TAG;
/// Bytes of the header that a relay reads and rewrites.
pub const RELAYED_HEADER: usize = 8;
/// Bytes of each of a handshake's two MACs, and of a relay's.
pub const MAC: usize = 16;
/// Bytes of a handshake init before its Noise message.
pub const INIT_HEADER: usize = 8;
/// Bytes of a handshake response before its Noise message.
pub const RESPONSE_HEADER: usize = 12;
/// Bytes of the first message of Noise IKpsk2 with an empty payload: e, the sealed s, the sealed payload.
pub const MIN_NOISE_INIT: usize = 32 + 48 + 16;
/// Bytes of the second one: e, the sealed payload.
pub const MIN_NOISE_RESPONSE: usize = 32 + 16;
/// Bytes of the nonce that seals a cookie (XChaCha20-Poly1305).
pub const COOKIE_NONCE: usize = 24;
/// Bytes of a sealed cookie: 16 and the tag.
pub const SEALED_COOKIE: usize = 16 + TAG;
/// Bytes of a cookie reply.
pub const COOKIE_REPLY: usize = 8 + COOKIE_NONCE + SEALED_COOKIE;
/// Bytes of a relay bind that its MAC covers.
pub const RELAY_BIND_COVERED: usize = 12 + RelayToken::LEN;
/// Bytes of a relay bind before what it carries.
pub const RELAY_BIND: usize = RELAY_BIND_COVERED + MAC;
/// Bytes of a relay bound that its MAC covers.
/// The flag in a relay's answer to a bind that says that it is about to stop.
const RELAY_LEAVING: u8 = 1;
pub const RELAY_BOUND_COVERED: usize = 16 + FIXED_ADDRESS;
/// Bytes of a relay bound.
pub const RELAY_BOUND: usize = RELAY_BOUND_COVERED + MAC;
/// Bytes of a relay ping and of its pong: equal, so that a relay multiplies nothing.
pub const RELAY_PING: usize = 32;

/// A punch without padding: it opens a NAT on its way out and need not arrive.
pub const PUNCH: [u8; 4] = [OuterType::Punch as u8, 0, 0, 0];

/// An outer datagram. Nothing about it is authentic yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outer<'a> {
    HandshakeInit(HandshakeInit<'a>),
    HandshakeResponse(HandshakeResponse<'a>),
    CookieReply(CookieReply<'a>),
    Data(Data<'a>),
    /// `inner` begins like one of the four above or is a punch, which ends at the relay. It is for its
    /// receiver to parse.
    Relayed {
        index: RelayIndex,
        inner: &'a [u8],
    },
    RelayBind(RelayBind<'a>),
    RelayBound(RelayBound<'a>),
    RelayPing {
        nonce: u64,
    },
    RelayPong {
        nonce: u64,
        observed: SocketAddr,
    },
    Punch,
}

/// The first message of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeInit<'a> {
    pub sender: SessionIndex,
    pub noise: &'a [u8],
    pub mac1: &'a [u8; MAC],
    pub mac2: &'a [u8; MAC],
    /// All of it, as received.
    pub datagram: &'a [u8],
}

/// The second message of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeResponse<'a> {
    pub sender: SessionIndex,
    pub receiver: SessionIndex,
    pub noise: &'a [u8],
    pub mac1: &'a [u8; MAC],
    pub mac2: &'a [u8; MAC],
    /// All of it, as received.
    pub datagram: &'a [u8],
}

/// What a responder under load says instead of doing public-key work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieReply<'a> {
    pub receiver: SessionIndex,
    pub nonce: &'a [u8; COOKIE_NONCE],
    pub sealed: &'a [u8; SEALED_COOKIE],
}

/// A sealed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    pub receiver: SessionIndex,
    pub counter: u64,
    /// The associated data, as received.
    pub header: &'a [u8; DATA_HEADER],
    /// The ciphertext and its tag.
    pub sealed: &'a [u8],
}

/// Asks a relay to forward for the holder of a token, from the address the datagram comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayBind<'a> {
    pub side: Side,
    /// Strictly rising for one token and side: a replayed bind is an old one.
    pub sequence: u64,
    pub token: RelayToken,
    pub mac: &'a [u8; MAC],
    /// A first datagram to forward, for the round trip it saves. The MAC does not cover it.
    pub inner: Option<&'a [u8]>,
    covered: &'a [u8],
}

/// A relay's answer to a bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayBound<'a> {
    pub side: Side,
    pub index: RelayIndex,
    /// The sequence number of the bind.
    pub sequence: u64,
    /// Where the relay saw the bind come from.
    pub observed: SocketAddr,
    /// The relay is about to stop: its nodes should go on elsewhere.
    pub leaving: bool,
    pub mac: &'a [u8; MAC],
    covered: &'a [u8],
}

/// The parts of a handshake datagram that its MACs are written to.
#[derive(Debug)]
pub struct HandshakeMacs<'a> {
    /// What mac1 covers; mac2 covers this and mac1.
    pub covered: &'a [u8],
    pub mac1: &'a mut [u8; MAC],
    pub mac2: &'a mut [u8; MAC],
}

/// The type of a datagram: enough to send it to the right place.
pub fn peek(datagram: &[u8]) -> Result<OuterType, ParseError> {
    let first = datagram.first().ok_or(ParseError::Truncated)?;
    OuterType::from_number(*first).ok_or(ParseError::UnknownType)
}

impl<'a> Outer<'a> {
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        Ok(match peek(datagram)? {
            OuterType::HandshakeInit => Self::HandshakeInit(HandshakeInit::parse(datagram)?),
            OuterType::HandshakeResponse => Self::HandshakeResponse(HandshakeResponse::parse(datagram)?),
            OuterType::CookieReply => Self::CookieReply(CookieReply::parse(datagram)?),
            OuterType::Data => Self::Data(Data::parse(datagram)?),
            OuterType::Relayed => {
                let (_, mut input) = header(datagram, OuterType::Relayed)?;
                Self::Relayed { index: RelayIndex(input.u32()?), inner: relayable(input.rest())? }
            }
            OuterType::RelayBind => Self::RelayBind(RelayBind::parse(datagram)?),
            OuterType::RelayBound => Self::RelayBound(RelayBound::parse(datagram)?),
            OuterType::RelayPing => {
                let (_, mut input) = header(datagram, OuterType::RelayPing)?;
                let nonce = input.u64()?;
                input.take(RELAY_PING - 12)?;
                input.finish()?;
                Self::RelayPing { nonce }
            }
            OuterType::RelayPong => {
                let (_, mut input) = header(datagram, OuterType::RelayPong)?;
                let (nonce, observed) = (input.u64()?, input.fixed_address()?);
                input.take(RELAY_PING - 12 - FIXED_ADDRESS)?;
                input.finish()?;
                Self::RelayPong { nonce, observed }
            }
            OuterType::Punch => {
                header(datagram, OuterType::Punch)?;
                Self::Punch
            }
        })
    }

    pub const fn outer_type(&self) -> OuterType {
        match self {
            Self::HandshakeInit(_) => OuterType::HandshakeInit,
            Self::HandshakeResponse(_) => OuterType::HandshakeResponse,
            Self::CookieReply(_) => OuterType::CookieReply,
            Self::Data(_) => OuterType::Data,
            Self::Relayed { .. } => OuterType::Relayed,
            Self::RelayBind(_) => OuterType::RelayBind,
            Self::RelayBound(_) => OuterType::RelayBound,
            Self::RelayPing { .. } => OuterType::RelayPing,
            Self::RelayPong { .. } => OuterType::RelayPong,
            Self::Punch => OuterType::Punch,
        }
    }

    /// The datagram again. What a MAC or a tag covers is as it was received; reserved bytes that
    /// nothing covers are zero, and a punch has no padding.
    pub fn emit(&self) -> Vec<u8> {
        match self {
            Self::HandshakeInit(HandshakeInit { datagram, .. })
            | Self::HandshakeResponse(HandshakeResponse { datagram, .. }) => datagram.to_vec(),
            Self::CookieReply(reply) => reply.emit(),
            Self::Data(data) => [data.header, data.sealed].concat(),
            Self::Relayed { index, inner } => emit_relayed(*index, inner),
            Self::RelayBind(bind) => [bind.covered, bind.mac, bind.inner.unwrap_or_default()].concat(),
            Self::RelayBound(bound) => [bound.covered, bound.mac].concat(),
            Self::RelayPing { nonce } => emit_relay_ping(*nonce),
            Self::RelayPong { nonce, observed } => emit_relay_pong(*nonce, *observed),
            Self::Punch => PUNCH.to_vec(),
        }
    }
}

impl<'a> HandshakeInit<'a> {
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (_, mut input) = header(datagram, OuterType::HandshakeInit)?;
        let sender = SessionIndex(input.u32()?);
        let (noise, mac1, mac2) = split_macs(input.rest())?;
        Ok(Self { sender, noise: at_least(noise, MIN_NOISE_INIT)?, mac1, mac2, datagram })
    }

    /// What mac1 covers; mac2 covers this and mac1.
    pub fn covered(&self) -> &'a [u8] {
        before_macs(self.datagram)
    }
}

impl<'a> HandshakeResponse<'a> {
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (_, mut input) = header(datagram, OuterType::HandshakeResponse)?;
        let (sender, receiver) = (SessionIndex(input.u32()?), SessionIndex(input.u32()?));
        let (noise, mac1, mac2) = split_macs(input.rest())?;
        Ok(Self { sender, receiver, noise: at_least(noise, MIN_NOISE_RESPONSE)?, mac1, mac2, datagram })
    }

    /// What mac1 covers; mac2 covers this and mac1.
    pub fn covered(&self) -> &'a [u8] {
        before_macs(self.datagram)
    }
}

impl<'a> CookieReply<'a> {
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (_, mut input) = header(datagram, OuterType::CookieReply)?;
        let reply = Self { receiver: SessionIndex(input.u32()?), nonce: input.array()?, sealed: input.array()? };
        input.finish()?;
        Ok(reply)
    }

    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(COOKIE_REPLY);
        let mut writer = Writer::new(&mut out);
        writer.bytes(&[OuterType::CookieReply as u8, 0, 0, 0]);
        writer.u32(self.receiver.0);
        writer.bytes(self.nonce);
        writer.bytes(self.sealed);
        out
    }
}

impl<'a> Data<'a> {
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (_, mut input) = header(datagram, OuterType::Data)?;
        Ok(Self {
            receiver: SessionIndex(input.u32()?),
            counter: input.u64()?,
            header: datagram.first_chunk().ok_or(ParseError::Truncated)?,
            sealed: at_least(input.rest(), TAG)?,
        })
    }
}

impl<'a> RelayBind<'a> {
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (side, mut input) = header(datagram, OuterType::RelayBind)?;
        Ok(Self {
            side: Side::from_number(side).ok_or(ParseError::BadValue)?,
            sequence: input.u64()?,
            token: RelayToken::from_bytes(*input.array()?),
            mac: input.array()?,
            inner: match input.rest() {
                [] => None,
                inner => Some(relayable(inner)?),
            },
            covered: Reader::new(datagram).take(RELAY_BIND_COVERED)?,
        })
    }

    /// What the MAC covers.
    pub const fn covered(&self) -> &'a [u8] {
        self.covered
    }
}

impl<'a> RelayBound<'a> {
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (side, mut input) = header(datagram, OuterType::RelayBound)?;
        let flags = datagram.get(2).copied().unwrap_or_default();
        let bound = Self {
            side: Side::from_number(side).ok_or(ParseError::BadValue)?,
            leaving: flags & RELAY_LEAVING != 0,
            index: RelayIndex(input.u32()?),
            sequence: input.u64()?,
            observed: input.fixed_address()?,
            mac: input.array()?,
            covered: Reader::new(datagram).take(RELAY_BOUND_COVERED)?,
        };
        input.finish()?;
        Ok(bound)
    }

    /// What the MAC covers.
    pub const fn covered(&self) -> &'a [u8] {
        self.covered
    }
}

/// A handshake init whose MACs are zero: [`handshake_macs`] gives the places to write them to.
pub fn emit_handshake_init(sender: SessionIndex, noise: &[u8]) -> Vec<u8> {
    debug_assert!(noise.len() >= MIN_NOISE_INIT);
    let mut out = Vec::with_capacity(INIT_HEADER + noise.len() + 2 * MAC);
    let mut writer = Writer::new(&mut out);
    writer.bytes(&[OuterType::HandshakeInit as u8, 0, 0, 0]);
    writer.u32(sender.0);
    writer.bytes(noise);
    writer.zeros(2 * MAC);
    out
}

/// A handshake response whose MACs are zero: [`handshake_macs`] gives the places to write them to.
pub fn emit_handshake_response(sender: SessionIndex, receiver: SessionIndex, noise: &[u8]) -> Vec<u8> {
    debug_assert!(noise.len() >= MIN_NOISE_RESPONSE);
    let mut out = Vec::with_capacity(RESPONSE_HEADER + noise.len() + 2 * MAC);
    let mut writer = Writer::new(&mut out);
    writer.bytes(&[OuterType::HandshakeResponse as u8, 0, 0, 0]);
    writer.u32(sender.0);
    writer.u32(receiver.0);
    writer.bytes(noise);
    writer.zeros(2 * MAC);
    out
}

/// Where the MACs of a handshake datagram stand; `None` if it is too short to have any.
pub fn handshake_macs(datagram: &mut [u8]) -> Option<HandshakeMacs<'_>> {
    let (rest, mac2) = datagram.split_last_chunk_mut()?;
    let (covered, mac1) = rest.split_last_chunk_mut()?;
    Some(HandshakeMacs { covered, mac1, mac2 })
}

/// Writes the header of a data datagram.
///
/// # Panics
/// If `datagram` is shorter than [`DATA_HEADER`].
pub fn write_data_header(datagram: &mut [u8], receiver: SessionIndex, counter: u64) {
    datagram[..4].copy_from_slice(&[OuterType::Data as u8, 0, 0, 0]);
    datagram[4..8].copy_from_slice(&receiver.0.to_be_bytes());
    datagram[8..DATA_HEADER].copy_from_slice(&counter.to_be_bytes());
}

/// Writes the header that a relay reads and rewrites.
///
/// # Panics
/// If `datagram` is shorter than [`RELAYED_HEADER`].
pub fn write_relayed_header(datagram: &mut [u8], index: RelayIndex) {
    datagram[..4].copy_from_slice(&[OuterType::Relayed as u8, 0, 0, 0]);
    datagram[4..RELAYED_HEADER].copy_from_slice(&index.0.to_be_bytes());
}

/// `inner` behind a relay's header.
pub fn emit_relayed(index: RelayIndex, inner: &[u8]) -> Vec<u8> {
    let mut header = [0; RELAYED_HEADER];
    write_relayed_header(&mut header, index);
    [&header, inner].concat()
}

/// A relay bind; `mac` computes the MAC of what it is given, with the bind key.
pub fn emit_relay_bind(
    side: Side,
    sequence: u64,
    token: &RelayToken,
    inner: Option<&[u8]>,
    mac: impl FnOnce(&[u8]) -> [u8; MAC],
) -> Vec<u8> {
    let inner = inner.unwrap_or_default();
    let mut out = Vec::with_capacity(RELAY_BIND + inner.len());
    let mut writer = Writer::new(&mut out);
    writer.bytes(&[OuterType::RelayBind as u8, side.number(), 0, 0]);
    writer.u64(sequence);
    writer.bytes(token.as_bytes());
    let mac = mac(&out);
    out.extend_from_slice(&mac);
    out.extend_from_slice(inner);
    out
}

/// The answer to a relay bind; `mac` computes the MAC of what it is given, with the bind key.
pub fn emit_relay_bound(
    side: Side,
    index: RelayIndex,
    sequence: u64,
    observed: SocketAddr,
    leaving: bool,
    mac: impl FnOnce(&[u8]) -> [u8; MAC],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(RELAY_BOUND);
    let mut writer = Writer::new(&mut out);
    let flags = if leaving { RELAY_LEAVING } else { 0 };
    writer.bytes(&[OuterType::RelayBound as u8, side.number(), flags, 0]);
    writer.u32(index.0);
    writer.u64(sequence);
    writer.fixed_address(observed);
    let mac = mac(&out);
    out.extend_from_slice(&mac);
    out
}

pub fn emit_relay_ping(nonce: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(RELAY_PING);
    let mut writer = Writer::new(&mut out);
    writer.bytes(&[OuterType::RelayPing as u8, 0, 0, 0]);
    writer.u64(nonce);
    out.resize(RELAY_PING, 0);
    out
}

pub fn emit_relay_pong(nonce: u64, observed: SocketAddr) -> Vec<u8> {
    let mut out = Vec::with_capacity(RELAY_PING);
    let mut writer = Writer::new(&mut out);
    writer.bytes(&[OuterType::RelayPong as u8, 0, 0, 0]);
    writer.u64(nonce);
    writer.fixed_address(observed);
    out.resize(RELAY_PING, 0);
    out
}

/// A relay is handed what belongs to a session, or a punch for itself: nothing else, least of all
/// another relay's header.
fn relayable(inner: &[u8]) -> Result<&[u8], ParseError> {
    match peek(inner)? {
        OuterType::HandshakeInit
        | OuterType::HandshakeResponse
        | OuterType::CookieReply
        | OuterType::Data
        | OuterType::Punch => Ok(inner),
        OuterType::Relayed
        | OuterType::RelayBind
        | OuterType::RelayBound
        | OuterType::RelayPing
        | OuterType::RelayPong => Err(ParseError::BadValue),
    }
}

type Macs<'a> = (&'a [u8], &'a [u8; MAC], &'a [u8; MAC]);

/// The second byte of a datagram of type `kind`, and what follows the first four.
fn header(datagram: &[u8], kind: OuterType) -> Result<(u8, Reader<'_>), ParseError> {
    if peek(datagram)? != kind {
        return Err(ParseError::UnknownType);
    }
    let mut input = Reader::new(datagram);
    let [_, second, _, _] = *input.array()?;
    Ok((second, input))
}

fn split_macs(bytes: &[u8]) -> Result<Macs<'_>, ParseError> {
    let (rest, mac2) = bytes.split_last_chunk().ok_or(ParseError::Truncated)?;
    let (rest, mac1) = rest.split_last_chunk().ok_or(ParseError::Truncated)?;
    Ok((rest, mac1, mac2))
}

fn before_macs(datagram: &[u8]) -> &[u8] {
    &datagram[..datagram.len().saturating_sub(2 * MAC)]
}

fn at_least(bytes: &[u8], min: usize) -> Result<&[u8], ParseError> {
    if bytes.len() < min { Err(ParseError::Truncated) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;
    use proptest::sample::select;

    use super::super::arbitrary::{address, checksum, relay_index, relayable, session_index, token};
    use super::*;

    const NOISE: [u8; 100] = [0xee; 100];

    #[test]
    fn a_handshake_init_lies_as_documented() {
        let mut datagram = emit_handshake_init(SessionIndex(0x0102_0304), &NOISE);
        let macs = handshake_macs(&mut datagram).unwrap();
        (*macs.mac1, *macs.mac2) = ([0x11; MAC], [0x22; MAC]);
        let expected = [&[1, 0, 0, 0, 1, 2, 3, 4][..], &NOISE, &[0x11; 16], &[0x22; 16]].concat();
        assert_eq!(datagram, expected);
        let init = HandshakeInit::parse(&datagram).unwrap();
        assert_eq!((init.sender, init.noise), (SessionIndex(0x0102_0304), &NOISE[..]));
        assert_eq!((init.mac1, init.mac2, init.covered()), (&[0x11; 16], &[0x22; 16], &expected[..108]));
    }

    #[test]
    fn a_handshake_response_lies_as_documented() {
        let datagram = emit_handshake_response(SessionIndex(1), SessionIndex(2), &NOISE);
        let expected = [&[2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2][..], &NOISE, &[0; 32]].concat();
        assert_eq!(datagram, expected);
        let response = HandshakeResponse::parse(&datagram).unwrap();
        assert_eq!((response.sender, response.receiver), (SessionIndex(1), SessionIndex(2)));
        assert_eq!((response.noise, response.covered()), (&NOISE[..], &expected[..112]));
    }

    #[test]
    fn a_data_datagram_lies_as_documented() {
        let mut datagram = vec![0xaa; DATA_OVERHEAD + 3];
        write_data_header(&mut datagram, SessionIndex(9), 0x0102_0304_0506_0708);
        let header = [4, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(datagram, [&header[..], &[0xaa; 19]].concat());
        let data = Data::parse(&datagram).unwrap();
        assert_eq!((data.receiver, data.counter), (SessionIndex(9), 0x0102_0304_0506_0708));
        assert_eq!((data.header, data.sealed), (&header, &[0xaa; 19][..]));
    }

    #[test]
    fn the_relays_datagrams_lie_as_documented() {
        let token = RelayToken::from_bytes([0x77; RelayToken::LEN]);
        let bind = emit_relay_bind(Side::Responder, 5, &token, None, |covered| [covered.len() as u8; MAC]);
        let covered = [&[6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5][..], token.as_bytes()].concat();
        assert_eq!(bind, [&covered[..], &[covered.len() as u8; 16]].concat());
        assert_eq!(bind.len(), RELAY_BIND);

        let observed = "192.0.2.1:4660".parse().unwrap();
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1, 0x12, 0x34];
        let bound = emit_relay_bound(Side::Initiator, RelayIndex(3), 5, observed, false, |_| [0x33; MAC]);
        let covered = [&[7, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 5][..], &mapped].concat();
        assert_eq!(bound, [&covered[..], &[0x33; 16]].concat());
        assert_eq!(bound.len(), RELAY_BOUND);

        let ping = emit_relay_ping(1);
        assert_eq!(ping, [&[8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 20]].concat());
        let pong = emit_relay_pong(1, observed);
        assert_eq!(pong, [&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &mapped, &[0; 2]].concat());
        assert_eq!(emit_relayed(RelayIndex(6), &[4, 5]), [5, 0, 0, 0, 0, 0, 0, 6, 4, 5]);
        assert_eq!(PUNCH, [10, 0, 0, 0]);
    }

    #[test]
    fn no_answer_of_a_relay_or_of_a_responder_under_load_is_longer_than_its_question() {
        const { assert!(RELAY_BOUND <= RELAY_BIND && COOKIE_REPLY <= INIT_HEADER + MIN_NOISE_INIT + 2 * MAC) };
        assert_eq!(emit_relay_ping(0).len(), emit_relay_pong(0, "[::]:0".parse().unwrap()).len());
    }

    #[test]
    fn a_relay_is_handed_no_relays_header_and_no_ping() {
        for inner in [
            &emit_relayed(RelayIndex(1), &[4])[..],
            &emit_relay_ping(1),
            &[OuterType::RelayBind as u8],
            &[OuterType::RelayBound as u8],
            &[OuterType::RelayPong as u8],
        ] {
            let expected = Err(ParseError::BadValue);
            assert_eq!(Outer::parse(&emit_relayed(RelayIndex(1), inner)), expected);
            let token = RelayToken::from_bytes([0; RelayToken::LEN]);
            let bind = emit_relay_bind(Side::Initiator, 1, &token, Some(inner), checksum);
            assert_eq!(Outer::parse(&bind), expected);
        }
        assert_eq!(Outer::parse(&emit_relayed(RelayIndex(1), &[])), Err(ParseError::Truncated));
        assert_eq!(Outer::parse(&emit_relayed(RelayIndex(1), &[0])), Err(ParseError::UnknownType));
    }

    #[test]
    fn what_is_too_short_or_too_long_for_its_type_is_refused() {
        let exact = [
            CookieReply { receiver: SessionIndex(1), nonce: &[0; 24], sealed: &[0; 32] }.emit(),
            emit_relay_bound(Side::Initiator, RelayIndex(1), 1, "[::]:0".parse().unwrap(), false, checksum),
            emit_relay_ping(1),
            emit_relay_pong(1, "[::]:0".parse().unwrap()),
        ];
        for datagram in exact {
            for end in 0..datagram.len() {
                assert_eq!(Outer::parse(&datagram[..end]), Err(ParseError::Truncated));
            }
            assert_eq!(Outer::parse(&[&datagram[..], &[0]].concat()), Err(ParseError::TrailingBytes));
        }
        let open = [
            (emit_handshake_init(SessionIndex(1), &[0; MIN_NOISE_INIT]), 136),
            (emit_handshake_response(SessionIndex(1), SessionIndex(2), &[0; MIN_NOISE_RESPONSE]), 92),
            (vec![OuterType::Data as u8; DATA_OVERHEAD], 32),
            (PUNCH.to_vec(), 4),
        ];
        for (datagram, shortest) in open {
            assert_eq!(datagram.len(), shortest);
            assert!(Outer::parse(&datagram).is_ok());
            for end in 0..shortest {
                assert_eq!(Outer::parse(&datagram[..end]), Err(ParseError::Truncated));
            }
        }
    }

    #[test]
    fn a_punch_may_be_padded_and_may_be_for_a_relay() {
        let padded = [&PUNCH[..], &[7; 90]].concat();
        assert_eq!(Outer::parse(&padded), Ok(Outer::Punch));
        let relayed = emit_relayed(RelayIndex(1), &padded);
        assert_eq!(Outer::parse(&relayed), Ok(Outer::Relayed { index: RelayIndex(1), inner: &padded }));
    }

    #[test]
    fn an_unassigned_type_is_refused() {
        for first in (0..=u8::MAX).filter(|first| OuterType::from_number(*first).is_none()) {
            assert_eq!(Outer::parse(&[first; 200]), Err(ParseError::UnknownType));
        }
    }

    #[test]
    fn reserved_bytes_are_for_later_versions() {
        let mut ping = emit_relay_ping(1);
        (ping[1], ping[20]) = (0xff, 0xff);
        assert_eq!(Outer::parse(&ping), Ok(Outer::RelayPing { nonce: 1 }));
        let mut data = vec![0; DATA_OVERHEAD];
        write_data_header(&mut data, SessionIndex(1), 1);
        data[1] = 0xff;
        let parsed = Data::parse(&data).unwrap();
        assert_eq!((parsed.receiver, parsed.header[1]), (SessionIndex(1), 0xff), "the tag covers what was received");
    }

    proptest! {
        #[test]
        fn every_datagram_arrives_as_it_was_sent(
            (sender, receiver, index) in (session_index(), session_index(), relay_index()),
            (counter, side, token) in (any::<u64>(), select(Side::ALL), token()),
            (observed, inner, leaving) in (address(), relayable(), any::<bool>()),
        ) {
            let datagram = emit_handshake_response(sender, receiver, &NOISE);
            let response = HandshakeResponse::parse(&datagram).unwrap();
            prop_assert_eq!((response.sender, response.receiver, response.noise), (sender, receiver, &NOISE[..]));

            let datagram = emit_relayed(index, &inner);
            prop_assert_eq!(Outer::parse(&datagram), Ok(Outer::Relayed { index, inner: &inner }));

            let datagram = emit_relay_bind(side, counter, &token, Some(&inner), checksum);
            let bind = RelayBind::parse(&datagram).unwrap();
            prop_assert_eq!((bind.side, bind.sequence, &bind.token), (side, counter, &token));
            prop_assert_eq!((bind.inner, *bind.mac), (Some(&inner[..]), checksum(bind.covered())));

            let datagram = emit_relay_bound(side, index, counter, observed, leaving, checksum);
            let bound = RelayBound::parse(&datagram).unwrap();
            prop_assert_eq!((bound.side, bound.index, bound.sequence), (side, index, counter));
            prop_assert_eq!((bound.observed, *bound.mac), (observed, checksum(bound.covered())));
            prop_assert_eq!(bound.leaving, leaving);

            let datagram = emit_relay_pong(counter, observed);
            prop_assert_eq!(Outer::parse(&datagram), Ok(Outer::RelayPong { nonce: counter, observed }));
        }
    }
}
