//! What travels: outer datagrams, the frames inside them, the signalling messages inside those.

pub mod frame;
pub mod message;
pub mod outer;
pub mod tlv;

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
    /// More elements than the named bound allows.
    TooMany,
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
        })
    }
}

impl core::error::Error for ParseError {}
