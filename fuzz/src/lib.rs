//! What the fuzz targets share: how an input is taken apart, and a provider whose public-key operations
//! cost nothing.

pub mod input;
pub mod nonsense;
pub mod provider;

pub use input::Input;
