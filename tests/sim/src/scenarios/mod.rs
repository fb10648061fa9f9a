//! What is tried in the simulated internet.
//!
//! Each scenario is a function of its seed that gives measurements or what an oracle saw; [`commands`] says how
//! they become tables and exit codes of `ntm-sim`.

pub mod chaos;
pub mod commands;
pub mod demo;
pub mod ideal;
pub mod matrix;
pub mod moves;
pub mod setup;
pub mod spot;
