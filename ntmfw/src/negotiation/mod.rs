//! The engine's driver: what it is told of the host, and what it tells the application.
//!
//! - [`config`]: what the user wrote; [`login`]: getting a ticket; [`state`]: what a login left on disk;
//! - [`netlink`]: addresses that come and go; [`interfaces`]: the ports and the engine kept in step with them;
//! - [`names`]: names asked for and not yet answered;
//! - [`status`], [`tidings`]: what the program is told, when it asks and when something happens;
//! - [`start`]: the one runtime of the process.

pub(crate) mod config;
pub(crate) mod interfaces;
pub(crate) mod login;
pub(crate) mod names;
pub(crate) mod netlink;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod tidings;
