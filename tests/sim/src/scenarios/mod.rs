//! What is tried in the simulated internet.

pub mod chaos;
pub mod matrix;
pub mod moves;
pub mod setup;
pub mod spot;
