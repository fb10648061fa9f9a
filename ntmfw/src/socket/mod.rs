//! Sockets as the application sees them: descriptors, blocking, options.
//!
//! - [`table`]: which descriptor is which socket;
//! - [`state`]: what a socket is, from `socket` to `close`;
//! - [`stream`], [`datagram`]: bytes and datagrams in and out;
//! - [`carrying`]: descriptors that others read and write by themselves; [`fork`]: what becomes of sockets in a child;
//!   [`exit`]: and at the end of the process;
//! - [`options`]: `getsockopt` and `setsockopt`;
//! - [`signals`]: calls that a signal interrupted, begun again or not;
//! - [`kernel`]: sockets that turn out to be the kernel's;
//! - [`polling`]: `poll`, `select` and `epoll_wait`.

pub(crate) mod beside;
pub(crate) mod carrying;
pub(crate) mod datagram;
pub(crate) mod exit;
pub(crate) mod fork;
pub(crate) mod kernel;
pub(crate) mod options;
pub(crate) mod polling;
pub(crate) mod signals;
pub(crate) mod state;
pub(crate) mod stream;
pub(crate) mod table;

use std::path::Path;
use std::sync::Arc;

use once_cell::sync::OnceCell;

use crate::negotiation::start::{self, StartError};
use crate::runtime::Core;

/// The runtime, begun now if it was not; from then on forks and the end of the process are noticed.
pub(crate) fn begin(config: Option<&Path>) -> Result<&'static Arc<Core>, StartError> {
    static WATCHED: OnceCell<()> = OnceCell::new();
    let core = start::begin(config)?;
    WATCHED
        .get_or_try_init(|| fork::watch().and_then(|()| exit::watch()))
        .map_err(|why| StartError::host("notice of fork and exit", why))?;
    Ok(core)
}
