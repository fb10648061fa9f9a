//! Measurements as SVG, readable on light and on dark ground: [`Bars`] beside each other, [`Panels`] over time.
#![forbid(unsafe_code)]

mod bars;
mod panels;
mod sheet;

pub use self::bars::{Bar, Bars, Group, Scale};
pub use self::panels::{Line, Mark, Panel, Panels};
