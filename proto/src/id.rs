//! The names of things: nodes, communications, sessions, interfaces.

use alloc::boxed::Box;
use core::fmt;

/// A node for ever: BLAKE2s-256 of its Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 32]);

/// One communication of a pair of nodes; kept across every move of either.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub [u8; 16]);

/// How the receiver of a datagram finds the session it belongs to; chosen by the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionIndex(pub u32);

/// How a relay finds the grant a datagram belongs to; chosen by the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayIndex(pub u32);

/// One interface of a node, numbered by the node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u8);

/// Pairs a request with its answer within one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub u32);

/// A relay server within a provider domain, numbered by the domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayId(pub u32);

/// An account of a domain, under a name that only its AS and its DCs use: the same at every login, and without
/// the AS's key nobody can tell whose it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AccountPseudonym(pub [u8; 8]);

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeId(")?;
        hex(f, &self.0[..4])?;
        f.write_str("…)")
    }
}

impl fmt::Debug for AccountPseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountPseudonym(..)")
    }
}

impl fmt::Display for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(f, &self.0)
    }
}

impl fmt::Debug for PathId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PathId(")?;
        hex(f, &self.0[..4])?;
        f.write_str("…)")
    }
}

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    Empty,
    TooLong,
    BadLabel,
    BadCharacter,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the name is empty",
            Self::TooLong => "the name is too long",
            Self::BadLabel => "a label of the name is empty, too long, or begins or ends with a hyphen",
            Self::BadCharacter => "the name has a character that is not allowed",
        })
    }
}

impl core::error::Error for NameError {}

/// A fully qualified domain name: ASCII letters, digits, hyphens and underscores, folded to lower
/// case, without the final dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fqdn(Box<str>);

impl Fqdn {
    /// RFC 1035, 2.3.4, less the final dot.
    pub const MAX_LEN: usize = 253;
    /// RFC 1035, 2.3.4.
    pub const MAX_LABEL_LEN: usize = 63;

    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        match text.len() {
            0 => return Err(NameError::Empty),
            len if len > Self::MAX_LEN => return Err(NameError::TooLong),
            _ => {}
        }
        for label in text.split('.') {
            if label.is_empty() || label.len() > Self::MAX_LABEL_LEN || label.starts_with('-') || label.ends_with('-') {
                return Err(NameError::BadLabel);
            }
            if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
                return Err(NameError::BadCharacter);
            }
        }
        Ok(Self(text.to_ascii_lowercase().into_boxed_str()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name is `domain` or stands below it.
    pub fn is_within(&self, domain: &Self) -> bool {
        match self.0.strip_suffix(&*domain.0) {
            Some("") => true,
            Some(rest) => rest.ends_with('.'),
            None => false,
        }
    }
}

impl fmt::Display for Fqdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fqdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fqdn({})", self.0)
    }
}

/// What the host calls an interface (`wlan0`): the papers' `dev_name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(Box<str>);

impl DeviceName {
    /// Room for Linux's 15 and for the longer names of other systems.
    pub const MAX_LEN: usize = 31;

    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.len() {
            0 => Err(NameError::Empty),
            len if len > Self::MAX_LEN => Err(NameError::TooLong),
            _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => Err(NameError::BadCharacter),
            _ => Ok(Self(text.into())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceName({})", self.0)
    }
}
