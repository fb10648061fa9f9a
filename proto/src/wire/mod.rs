//! What travels: outer datagrams, the frames inside them, the signalling messages inside those.

//!
//! ```text
//! outer     what the kernel's UDP carries: handshakes, sealed data, what relays read
//! frame     what a data datagram carries once opened: a virtual packet or one of six frames
//! message   what a signal frame, or the payload of a handshake, carries: an envelope of TLVs
//! identity  the signed things inside those: node records and server certificates
//! registry  every assigned number
//! ```
//!
//! The normative layouts are in `docs/protocol/`; the modules cite them.
//!
//! # Invariants
//! - Parsing is total: any bytes give a value or a [`ParseError`], in time linear in their number, and
//!   allocate no more than the bounds `MAX_*` allow.
//! - Emitting cannot fail, and `parse(emit(x)) == x` for every value whose lists keep their bounds,
//!   whose durations are whole units of their field and whose addresses are canonical (`bytes`).
//! - What is signed has exactly one encoding; a parser takes no other.

mod bytes;
pub mod frame;
pub mod identity;
pub mod message;
pub mod outer;
pub mod registry;
pub mod stream;
pub mod tlv;

#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod properties;

use core::fmt;

/// Why bytes are not what they should be. Each is counted by the state machine that met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ParseError {
    /// Ends before its own lengths say.
    Truncated,
    /// Goes on after its end.
    TrailingBytes,
    /// A type number nobody assigned.
    UnknownType,
    /// A field with the critical bit that this version does not know.
    UnknownCritical,
    /// A field that must be there is not.
    MissingField,
    /// A field that may stand once stands twice.
    DuplicateField,
    /// A field whose value is out of its range.
    BadValue,
    /// More elements or bytes than the named bound allows.
    TooMany,
    /// A version of a message or of a signed thing that this one does not know.
    UnknownVersion,
}

impl ParseError {
    /// Every reason, for counters.
    pub const ALL: &'static [Self] = &[
        Self::Truncated,
        Self::TrailingBytes,
        Self::UnknownType,
        Self::UnknownCritical,
        Self::MissingField,
        Self::DuplicateField,
        Self::BadValue,
        Self::TooMany,
        Self::UnknownVersion,
    ];
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "truncated",
            Self::TrailingBytes => "trailing bytes",
            Self::UnknownType => "unknown type",
            Self::UnknownCritical => "unknown critical field",
            Self::MissingField => "missing field",
            Self::DuplicateField => "duplicate field",
            Self::BadValue => "bad value",
            Self::TooMany => "too many elements",
            Self::UnknownVersion => "unknown version",
        })
    }
}

impl core::error::Error for ParseError {}
