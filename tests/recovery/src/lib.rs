//! Pairs of smoltcp sockets with `ntm-recovery`, and simulated links between them, on virtual time.
//!
//! Everything is deterministic: the same seed gives the same packets.
#![forbid(unsafe_code)]

mod application;
mod endpoint;
pub mod link;
mod packets;
mod random;
pub mod report;
pub mod scenario;
pub mod trace;
pub mod trouble;
pub mod world;

pub use application::Application;
pub use random::Random;
