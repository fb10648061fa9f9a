//! TCP over links with loss, narrow places and rivals: the library beside the kernel, over the same links.
//!
//! ```text
//!   a ──────── veth ── fa  link  fb ── veth ──────── b
//!   takes; DC, RS          rate, queue, loss,        sends
//!                          half a round trip
//! ```

pub(crate) mod fairness;
pub(crate) mod goodput;
mod grid;
mod scene;
pub(crate) mod shorts;

pub(crate) use self::fairness::Span;
pub(crate) use self::grid::Grid;
