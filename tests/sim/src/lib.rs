//! A simulated internet in which NTMfw's nodes and servers live, move and fail.
//!
//! Everything here is a function of one `u64` seed: virtual time, a virtual network, the applications on
//! top of it and the oracles that judge them. The same seed gives the same run, datagram for datagram,
//! on every machine; nothing reads a clock, and no hash map is iterated where its order could show.
//!
//! | module | what it is |
//! |---|---|
//! | [`net`] | hosts, links, routers and NATs in virtual time |
//! | [`oracle`] | what the best possible pair of nodes could reach in that network |
//! | [`stream`] | applications over virtual packets that check every byte |
//! | [`cli`] | the command that runs scenarios over many seeds |
//! | [`selftest`] | a scenario for the simulator alone |
#![forbid(unsafe_code)]

pub mod cli;
mod hash;
pub mod net;
pub mod oracle;
pub mod rng;
pub mod scenarios;
pub mod selftest;
pub mod stream;
pub mod world;
