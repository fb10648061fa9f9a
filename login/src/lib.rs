//! How a node logs in at its account server: the messages, and a small blocking client.
//!
//! ```text
//! node                                              account server
//!  │ account, password or enrolment key, record  ──▶ │
//!  │ ◀──  ticket, key, domain key, DC certificates   │   login()
//!  │                      …                          │
//!  │ record, signature of the node's identity    ──▶ │
//!  │ ◀──  ticket, key, domain key, DC certificates   │   renew()
//! ```
//!
//! What the server answers is checked before it is given out: each certificate of a DC must be signed by the domain
//! key, be for a DC of this domain and not be over; and the domain key must be the one that the node knows, where it
//! knows one.
#![forbid(unsafe_code)]

pub mod account;
mod client;
mod clock;
pub mod https;
pub mod message;

pub use client::{Client, Credential, Error, Login, login, renew};
pub use clock::unix_now;
