//! The scenarios as `ntm-sim` runs them: what is counted, what the tables show, what fails.

mod chaos;
mod matrix;
mod moves;
mod setup;

pub use chaos::Chaos;
pub use matrix::Matrix;
pub use moves::Moves;
pub use setup::Setup;
