//! The relay server (RS) of NTMfw, without I/O.
//!
//! Two nodes that no direct path joins both send to a relay, and the relay sends on what the one
//! says to the other. It holds no key of theirs, opens nothing, and keeps nothing that it could not
//! lose: a direction server gives both nodes a token for one communication, and whoever shows a
//! good one gets a place in the table. `docs/protocol/relay.md` has the protocol.
//!
//! ```text
//!  initiator                        relay                        responder
//!     │ RelayBind(token) ‖ handshake  │                               │
//!     │──────────────────────────────►│ (kept: the other is not here) │
//!     │                    RelayBound │                               │
//!     │◄──────────────────────────────│              RelayBind(token) │
//!     │                               │◄──────────────────────────────│
//!     │                               │ RelayBound                    │
//!     │                               │──────────────────────────────►│
//!     │                               │ Relayed(responder's) ‖ handshake
//!     │                               │──────────────────────────────►│
//!     │                               │   Relayed(responder's) ‖ response
//!     │ Relayed(initiator's) ‖ response◄──────────────────────────────│
//!     │◄──────────────────────────────│                               │
//! ```
//!
//! # Driving it
//!
//! [`Relay`] reads no clock and owns no socket. Its driver runs this loop:
//!
//! 1. For each datagram received: [`Relay::handle_datagram`]; send what it hands back.
//! 2. [`Relay::poll_transmit`] until it is empty; send each.
//! 3. Wait for a datagram, or until [`Relay::poll_timeout`]; then [`Relay::handle_timeout`], and
//!    go to 2.
//!
//! # Invariants
//!
//! - What is forwarded comes from the address that the index was told to, and goes to where the
//!   other side last said, with its key, that it is.
//! - An address that has not shown that it receives is sent at most three times what came from it.
//! - A datagram that is refused changes nothing but a counter in [`Stats`] (and, of the limits on
//!   binds and pings, what its source has used up).
//! - Every table, queue and rate has its bound in [`limits`]. Work a datagram does not grow with the
//!   number of grants beyond the depth of a tree, and for `Relayed` not even that.
#![forbid(unsafe_code)]

mod accounts;
mod bind;
mod config;
mod director;
mod forward;
mod grant;
mod held;
pub mod limits;
mod load;
mod pace;
mod relay;
mod revoked;
pub mod shard;
mod stats;
mod table;
#[cfg(feature = "testing")]
pub mod testing;

pub use config::{Capacity, Config, Director};
pub use relay::{Changes, Elsewhere, Forward, Relay, Timer, Transmit};
pub use shard::Shard;
pub use stats::{DropReason, Stats};
