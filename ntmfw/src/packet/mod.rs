//! Sealed datagrams: out over kernel UDP sockets, in from them.
//!
//! - [`port`]: one UDP socket on one address of one interface;
//! - [`route`]: virtual packets out, sealed by the thread that sends them;
//! - [`reader`]: who reads the sockets, and what a turn of reading is;
//! - [`streams`]: TLS connections to relays, where the network lets no UDP through.

pub(crate) mod port;
pub(crate) mod reader;
pub(crate) mod route;
pub(crate) mod streams;
