//! The account server as its users meet it: the real program on loopback, with both stores.
#![forbid(unsafe_code)]

mod api;
mod attacks;
mod authority;
mod browser;
mod commands;
mod crash;
mod harness;
mod nodes;
mod page;
mod postgres;
mod schema;
mod servers;
mod shared;
mod store;
