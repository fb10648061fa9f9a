//! What all programs of NTMfw share, servers and tools: errors told in one line with the way out, exit statuses, manual
//! pages and completions made from the command line itself.
//!
//! A program ends with status 2 where the command line or a file of the user's is wrong, 1 where something else is.
#![forbid(unsafe_code)]

mod failure;
mod papers;

pub use failure::{Failure, ResultExt};
pub use papers::Papers;
