//! The papers' experiments.

pub(crate) mod beginnings;
pub(crate) mod bench;
pub(crate) mod call;
pub(crate) mod connectivity;
pub(crate) mod faults;
pub(crate) mod handover;
pub(crate) mod loss;
pub(crate) mod moves;
pub(crate) mod optimisation;
pub(crate) mod peers;
pub(crate) mod second_interface;
pub(crate) mod soak;
