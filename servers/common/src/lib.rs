//! What the servers AS, DC and RS share, so that an operator who knows one knows all: the command line, the
//! configuration file, secrets and credentials on disk, logs, metrics, signals and systemd.
//!
//! A server is a type that implements [`Server`]; its `main` is one call of [`main`]. Each then takes
//!
//! ```text
//! ntm-xx [run] [--config FILE] [--check]   serve, or only say what is wrong with the file
//! ntm-xx config                            a commented example of the file
//! ntm-xx man | completions SHELL           for the packages
//! ntm-xx init … and whatever it adds       see the server
//! ```
//!
//! and ends with status 2 where the command line or the file is wrong, 1 where something else is.
#![forbid(unsafe_code)]

pub mod account_server;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod database;
pub mod files;
pub mod hex;
mod life;
pub mod listening;
mod logging;
pub mod metrics;
mod program;
#[cfg(feature = "testing")]
pub mod testing;

pub use life::{Life, Signal};
pub use logging::LogFormat;
pub use ntm_program::{Failure, ResultExt};
pub use program::{NoCommands, Server, main};
