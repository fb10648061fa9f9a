//! NTMfw, the socket library: programs use the calls of `<sys/socket.h>` with an `ntmfw_` prefix and reach a
//! node by its name wherever it is, through NATs and changes of network.
//!
//! ```text
//! application ── ntmfw_* (capi) ── socket ── stack (smoltcp) ── packet ── kernel UDP
//!                                    │                             │
//!                               negotiation (names, engine, interfaces, timers)
//! ```
//!
//! | module | what it is | may know |
//! |---|---|---|
//! | `capi` | the exported calls: arguments, `errno`, nothing else | `socket`, `negotiation` |
//! | `socket` | descriptors, blocking, options, readiness | `stack`, `negotiation` |
//! | `stack` | TCP connections, UDP, ICMP over virtual addresses | `packet`, `negotiation` |
//! | `packet` | outer UDP sockets, sealing, batches, who reads | the engine's routes |
//! | `negotiation` | the engine's driver: interfaces, names, timers, state on disk | `packet` |
//!
//! What holds at every moment: locks are taken in the order *socket, connection, engine*, and none is held
//! while a thread waits; the engine decides alone, and threads that send read its snapshots (`packet::route`).
#![warn(missing_docs)]

mod bell;
pub mod capi;
mod capture;
mod descriptors;
pub mod elsewhere;
mod errno;
mod inside;
mod negotiation;
mod packet;
pub mod passing;
mod runtime;
pub mod service;
pub mod shim;
mod socket;
mod stack;
mod sync;
mod time;

pub use errno::Errno;
