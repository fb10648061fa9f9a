//! Applications over virtual packets: what a user would lose, were the engine to lose it.
//!
//! [`TcpPeer`] moves bytes over a TCP connection and checks each of them; [`Cbr`] sends datagrams at a steady
//! beat and measures gaps, losses and duplicates. Both know nothing of tunnels: virtual IP packets go in and
//! come out, as they do between the library's stack and the engine.
//!
//! # Driving either
//! ```text
//! loop {
//!     while let Some(packet) = peer.poll_packet(now) { hand it to the engine }
//!     wait for the engine or until peer.poll_timeout(now)
//!     for each virtual packet that the engine delivers { peer.handle_packet(now, &packet) }
//! }
//! ```
//! Checksums are neither made nor looked at: the engine's AEAD has checked.

mod cbr;
mod patience;
mod pattern;
mod port;
mod segment;
mod tcp;

pub use cbr::{Cbr, CbrConfig, Reception};
pub use pattern::{Corruption, Pattern};
pub use tcp::{DEFAULT_BUFFER, Progress, Role, Source, TcpConfig, TcpPeer};

/// What the engine's tunnels carry whatever path they take.
pub const VIRTUAL_MTU: usize = 1_400;
