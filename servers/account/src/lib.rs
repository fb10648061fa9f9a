//! The account server (AS): who may bring nodes into the domain, which servers are the domain's, what is revoked.
//!
//! ```text
//! browsers, nodes, DCs, RSs ──HTTPS──▶ web ──▶ app ──▶ authority ──▶ store (redb or PostgreSQL)
//!                                             guard       │
//!                                             passwords   └──────▶ secrets (files)
//! the operator ──Unix socket──▶ operator ─────────────────▶ authority
//! ```
//!
//! `docs/api/as.md` documents the API, `example.toml` the configuration. An outage of this server stops no node
//! that holds a ticket: it hands tickets out and is never asked about them.
#![forbid(unsafe_code)]

pub mod app;
pub mod authority;
pub mod commands;
pub mod config;
pub mod counters;
pub mod guard;
pub mod operator;
pub mod passwords;
pub mod records;
pub mod refusal;
pub mod secrets;
mod server;
mod setup;
pub mod store;
pub mod web;

pub use server::AccountServer;
