//! The direction coordinator as a program: [`ntm_direction::Coordinator`] on real parts.
//!
//! ```text
//!  sockets ⇄ driver (one thread: the coordinator) ──events──▶ keeper (one thread: registry, directory)
//!               ▲   ▲                             ──lookups, wakes──▶ tokio: DNS resolver, push gateway
//!               │   └──── mailbox: what was stored, found, revoked, configured ◀──────┘
//!               └ poll                             tokio: DNS server (reads the directory), metrics,
//!                                                         account server, signals
//! ```
//!
//! What holds: only the driver's thread touches the coordinator; it waits for nobody, and everybody else waits
//! for room in its mailbox. A node is told of its address when the registry has it on disk. The DNS server
//! reads the directory, which the keeper writes, so that a flood of questions takes no lock of the driver's.
#![forbid(unsafe_code)]

mod account;
mod config;
mod directory;
mod dns;
mod domain;
mod driver;
mod init;
mod lookup;
mod mailbox;
mod metrics;
mod push;
mod server;
mod sockets;
pub mod store;

pub use server::DirectionServer;
