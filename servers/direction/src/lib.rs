//! The direction coordinator (DC): who is registered where, and how two nodes reach each other.
//!
//! ```text
//!   node ── registration, keep-alive, direction request ──▶ ┌─────────────┐ ◀── relay report ── RS
//!   node ◀── route direction ────────────────────────────── │ Coordinator │ ◀── node information ──▶ DC of
//!   driver ── datagrams, time, lookups, revocations ──────▶ └─────────────┘            another domain
//!   driver ◀── datagrams, events, the next timeout ────────────────┘
//! ```
//!
//! [`Coordinator`] is a state machine without I/O: it reads no clock and no socket, and the same calls with
//! the same seed give the same output, bit for bit. Its driver loops:
//!
//! ```no_run
//! # use ntm_direction::{Coordinator, Event};
//! # fn drive(mut coordinator: Coordinator, mut network: impl FnMut() -> (ntm_proto::time::Instant, Option<(std::net::SocketAddr, std::net::SocketAddr, Vec<u8>)>)) {
//! loop {
//!     while let Some(transmit) = coordinator.poll_transmit() {
//!         // send transmit.datagram from transmit.from to transmit.to
//! #       drop(transmit);
//!     }
//!     while let Some(event) = coordinator.poll_event() {
//!         match event {
//!             Event::FindDomain(_) => { /* ask the DNS, answer with handle_domain_found */ }
//!             Event::FindNode(_) => { /* ask the shared registry, answer with handle_node_found */ }
//!             Event::Store(_) => { /* make it durable, answer with handle_stored */ }
//!             Event::Wake { .. } => { /* tell the push gateway */ }
//!             _ => { /* store what must outlive a restart */ }
//!         }
//!     }
//!     // Sleep until a datagram or coordinator.poll_timeout(), whichever is first.
//!     let (now, received) = network();
//!     if let Some((local, from, mut datagram)) = received {
//!         coordinator.handle_datagram(now, local, from, &mut datagram);
//!     }
//!     if coordinator.poll_timeout().is_some_and(|(at, _)| at <= now) {
//!         coordinator.handle_timeout(now);
//!     }
//! }
//! # }
//! ```
//!
//! A driver that receives several datagrams at once hands them to [`Coordinator::handle_batch`].
//!
//! What holds at every moment: a datagram that is not authentic, not fresh or not expected changes nothing but
//! a counter in [`Stats`]; every table has a bound in [`limits`]; an address that has not proven that it wants
//! our datagrams gets at most three bytes for each byte that came from it; a virtual address belongs to
//! one node.
#![forbid(unsafe_code)]

mod acknowledgements;
mod applicants;
mod batch;
mod config;
mod coordinator;
mod delivery;
mod directions;
mod domains;
mod grants;
mod handshakes;
mod information;
mod interfaces;
mod lease;
pub mod limits;
mod links;
mod paths;
mod payers;
mod peers;
pub mod plan;
mod rate;
mod registration;
mod registry;
mod relay_servers;
pub mod relays;
mod seen;
mod sending;
mod siblings;
mod slab;
mod stats;
#[cfg(feature = "testing")]
pub mod testing;
mod virtual_addresses;

pub use applicants::{Application, NotStored};
pub use batch::Datagram;
pub use config::{
    Config, DEFAULT_GRANT_LIFETIME, DEFAULT_KEEP_ALIVE, DEFAULT_LEASE, DEFAULT_POOL4, DEFAULT_PREFIX6, PinnedDomain,
    RelayConfig,
};
pub use coordinator::{Coordinator, Event, ForeignDc, Gone, LookupFailed, Stored, Timer, Transmit};
pub use siblings::Found;
pub use stats::{Dropped, Gauges, Stats};
pub use virtual_addresses::{Pool4, virtual6};
