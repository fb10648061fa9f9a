//! CONTRACT: to be written.

/// The key that two parties share before their handshake.
pub type Psk = crate::crypto::Secret;
