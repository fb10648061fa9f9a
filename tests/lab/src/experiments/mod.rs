//! The papers' experiments.

pub(crate) mod bench;
pub(crate) mod connectivity;
pub(crate) mod call;
pub(crate) mod handover;
