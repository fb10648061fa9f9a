//! CONTRACT: to be written.

use core::fmt;

/// The right to use a relay, as bytes that only the relay and the DC that minted them can read.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayToken([u8; Self::LEN]);

impl RelayToken {
    pub const LEN: usize = 64;

    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Debug for RelayToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelayToken(..)")
    }
}
