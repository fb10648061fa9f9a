//! Programs that run in the lab.

pub(crate) mod agent;
pub(crate) mod domain;
pub(crate) mod process;
