//! Outer datagrams: what the kernel's UDP carries (DESIGN 4.3).

use core::ops::Range;

use super::ParseError;
use crate::id::{RelayIndex, SessionIndex};

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
