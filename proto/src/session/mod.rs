//! Sessions between two parties: Noise IKpsk2, and what it takes to live on a hostile network.
//! CONTRACT: module bodies to be written.

pub mod amplification;
pub mod cookie;
pub mod fragment;
pub mod handshake;
pub mod pair;
pub mod relay_token;
pub mod replay;
pub mod transport;

pub use handshake::Psk;
pub use relay_token::RelayToken;
