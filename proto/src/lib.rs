//! Wire formats, identities and sessions of NTMfw.
//!
//! Everything here is a pure function of its arguments: time, randomness and datagrams come in,
//! datagrams go out. The crate is `no_std`, so the compiler itself proves that it can reach no
//! socket, clock, environment or thread.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod crypto;
pub mod hex;
pub mod id;
pub mod identity;
pub mod rng;
pub mod session;
pub mod time;
pub mod wire;
