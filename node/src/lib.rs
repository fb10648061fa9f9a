//! The node engine: registration, directions, the tunnel table, paths and mobility.
//!
//! [`Node`] is a state machine without I/O. The driver owns sockets, clock and interfaces, and runs
//! this loop, in this order, whenever anything happens:
//!
//! 1. hand in what happened: [`Node::handle_datagram`], [`Node::handle_interface`],
//!    [`Node::handle_timeout`], or an application call such as [`Node::connect`] or [`Node::send`];
//! 2. send everything [`Node::poll_transmit`] gives, then do everything [`Node::poll_stream`] asks for;
//! 3. tell the application everything [`Node::poll_event`] gives;
//! 4. sleep until [`Node::poll_timeout`] or the next datagram.
//!
//! Where the network lets no UDP through, the engine asks for *streams* to relays (TLS connections). The driver says what becomes
//! of each with [`Node::handle_stream_up`] and [`Node::handle_stream_down`], and hands in each frame that comes
//! ([`Node::handle_frame`]). A driver that opens none may leave them be.
//!
//! Invariants: the same inputs in the same order give the same outputs, bit for bit; nothing a peer
//! or a stranger sends makes it panic, allocate without bound or change state unauthenticated;
//! nothing above the path layer asks how a packet travels.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod config;
mod context;
mod direction;
mod director;
mod engine;
mod event;
mod fallback;
mod held;
mod interface;
mod keys;
mod path;
mod peer;
mod policy;
mod relay;
mod stats;
mod survey;
#[cfg(test)]
mod testing;
mod tunnel_table;

pub use config::{Config, Director};
pub use context::Transmit;
pub use engine::{ConnectError, Node, Received, SendError, Timer};
pub use event::{Event, FailReason, PathKind, PathView, PeerView, RelayView};
pub use fallback::{StreamId, StreamOrder};
pub use interface::{Endpoint, LocalInterface};
pub use peer::{ROUTE_LIFETIME, Route};
pub use policy::{FlowKey, FlowPolicy, FlowPreference};
pub use stats::{DropReason, Stats};

/// The size of every virtual interface. It is a constant, so no handover can change it under a live
/// connection; the tunnel splits what a path cannot carry. 1,400 and the worst overhead (IPv6, UDP,
/// relay header, data header and tag: 88 bytes) fit an Ethernet frame.
pub const VIRTUAL_MTU: usize = 1_400;
