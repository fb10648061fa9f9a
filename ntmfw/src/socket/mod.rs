//! Sockets as the application sees them: descriptors, blocking, options.
//!
//! - [`table`]: which descriptor is which socket;
//! - [`state`]: what a socket is, from `socket` to `close`;
//! - [`stream`], [`datagram`]: bytes and datagrams in and out;
//! - [`options`]: `getsockopt` and `setsockopt`;
//! - [`signals`]: calls that a signal interrupted, begun again or not;
//! - [`kernel`]: sockets that turn out to be the kernel's;
//! - [`polling`]: `poll`, `select` and `epoll_wait`.

pub(crate) mod datagram;
pub(crate) mod kernel;
pub(crate) mod options;
pub(crate) mod polling;
pub(crate) mod signals;
pub(crate) mod state;
pub(crate) mod stream;
pub(crate) mod table;
