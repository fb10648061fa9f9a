//! Outer datagrams: what the kernel's UDP carries (DESIGN 4.3).

use super::ParseError;
use crate::id::SessionIndex;

/// Bytes of a data datagram before its ciphertext.
pub const DATA_HEADER: usize = 16;
/// Bytes of the AEAD's tag after it.
pub const TAG: usize = 16;
/// What the tunnel adds to a plaintext.
pub const DATA_OVERHEAD: usize = DATA_HEADER + TAG;
/// Bytes of the header that a relay reads and rewrites.
pub const RELAYED_HEADER: usize = 8;
/// Bytes of each of a handshake's two MACs.
pub const MAC: usize = 16;

/// The first byte of every outer datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum OuterType {
    HandshakeInit = 1,
    HandshakeResponse = 2,
    CookieReply = 3,
    Data = 4,
    Relayed = 5,
    RelayBind = 6,
    RelayBound = 7,
    RelayPing = 8,
    RelayPong = 9,
    Punch = 10,
}

/// The first message of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeInit<'a> {
    pub sender: SessionIndex,
    pub noise: &'a [u8],
    /// All of it, as the MACs cover it.
    pub datagram: &'a [u8],
}

/// The answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeResponse<'a> {
    pub sender: SessionIndex,
    pub receiver: SessionIndex,
    pub noise: &'a [u8],
    pub datagram: &'a [u8],
}

/// "Come again with this cookie."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieReply<'a> {
    pub receiver: SessionIndex,
    pub nonce: &'a [u8; 24],
    pub sealed: &'a [u8; 32],
}

impl<'a> HandshakeInit<'a> {
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let noise = noise_of(datagram, OuterType::HandshakeInit, 8)?;
        Ok(Self { sender: index(datagram, 4)?, noise, datagram })
    }
}

impl<'a> HandshakeResponse<'a> {
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let noise = noise_of(datagram, OuterType::HandshakeResponse, 12)?;
        Ok(Self { sender: index(datagram, 4)?, receiver: index(datagram, 8)?, noise, datagram })
    }
}

impl<'a> CookieReply<'a> {
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        if datagram.first() != Some(&(OuterType::CookieReply as u8)) {
            return Err(ParseError::UnknownType);
        }
        let nonce = datagram.get(8..).and_then(|rest| rest.first_chunk()).ok_or(ParseError::Truncated)?;
        let sealed = datagram.get(32..).and_then(|rest| rest.first_chunk()).ok_or(ParseError::Truncated)?;
        Ok(Self { receiver: index(datagram, 4)?, nonce, sealed })
    }
}

fn index(datagram: &[u8], at: usize) -> Result<SessionIndex, ParseError> {
    let bytes = datagram.get(at..).and_then(|rest| rest.first_chunk()).ok_or(ParseError::Truncated)?;
    Ok(SessionIndex(u32::from_be_bytes(*bytes)))
}

fn noise_of(datagram: &[u8], kind: OuterType, header: usize) -> Result<&[u8], ParseError> {
    if datagram.first() != Some(&(kind as u8)) {
        return Err(ParseError::UnknownType);
    }
    let end = datagram.len().checked_sub(2 * MAC).ok_or(ParseError::Truncated)?;
    datagram.get(header..end).ok_or(ParseError::Truncated)
}
