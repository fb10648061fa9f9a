//! TCP that recovers: what sits between one connection's smoltcp socket and the tunnel.
//!
//! smoltcp gives TCP's semantics: states, buffers, windows, probes, keep-alive. What it lacks is here, for a
//! plain TCP peer on the other side, which may be a kernel:
//!
//! - every segment is kept until it is acknowledged, and leaves when the congestion control and the pacer allow;
//! - losses are found by time (RACK-TLP, RFC 8985) from selective acknowledgments, repaired without smoltcp
//!   noticing, and undone where they were none;
//! - what arrives out of order is held here, reported in SACK blocks, and given to smoltcp in order: its own
//!   reassembler holds few gaps and reports one.
//!
//! [`Recovery`] is a state machine without I/O. Its driver runs this loop, in this order, whenever anything happens:
//!
//! ```text
//! for each packet from the tunnel:
//!     if recovery.handle_incoming(now, packet, ecn) { give the packet to smoltcp }
//!     while let Some(packet) = recovery.poll_inward() { give it to smoltcp }
//! recovery.handle_timeout(now), where poll_timeout has passed
//! poll smoltcp; for each packet that it emits:
//!     let buffer = recovery.buffer(length); smoltcp writes it; recovery.handle_outgoing(now, buffer, length, segment)
//! while let Some(transmit) = recovery.poll_transmit(now) { cut it into packets and send them }
//! sleep until recovery.poll_timeout(), smoltcp's own next wish, or the next packet
//! ```
//!
//! Invariants: the same inputs give the same outputs; nothing a peer sends makes it panic or hold more than the
//! window that was offered to it; smoltcp sees each byte once and in order, and sends each byte once.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod congestion;
mod handshake;
mod memory;
mod receiver;
mod recovery;
mod sender;
mod seq;
mod wire;

pub use congestion::{Algorithm, RateSample};
pub use memory::PathMemory;
pub use receiver::WindowGrowth;
pub use recovery::{Config, Recovery, Transmit};
pub use sender::View;
pub use wire::Ecn;
