//! One identity a host, many programs: an agent holds the stack and the registration of a node, and gives its user's programs
//! descriptors that carry data.
//!
//! ```text
//! program ── request ──▶ agent.sock ── agent: stack, registration ══ tunnels ══▶ nodes
//!         ◀─ descriptor ─                │
//!         ═══ read, write ═══════════════╯
//! ```
//!
//! `docs/agent.md` has what they say to each other. A [`Node`] is either: the stack of this process ([`Local`]), or the agent's
//! ([`Client`]); what uses one need not know which.
#![deny(unsafe_code)]

mod client;
mod message;
mod node;
mod place;
mod server;
mod wire;

pub use client::Client;
pub use node::{Local, Node, Port, accept};
pub use ntmfw::elsewhere::Found;
pub use ntmfw::service::{Fault, Link, Traffic};
pub use place::{KEEPER_VARIABLE, SOCKET_VARIABLE, socket_path};
pub use server::{Server, runs};
