//! The papers' experiments.

pub(crate) mod bench;
pub(crate) mod connectivity;
