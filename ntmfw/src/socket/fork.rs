//! What becomes of sockets when the process forks.
//!
//! The parent keeps the stack. Before it forks, sockets that have a peer or listen are made to carry data, so that the
//! child reads, writes and accepts through the descriptors it inherits; the library's own descriptors are closed in the
//! child. A socket of the parent that is neither becomes a new one of the kernel's in the child.
//!
//! `vfork` and `posix_spawn` tell nobody: what shall outlive their `exec` is to be made to carry data before.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{RwLockReadGuard, RwLockWriteGuard};

use libc::c_int;

use crate::descriptors;
use crate::errno::{Errno, Result};
use crate::inside;
use crate::negotiation::start;
use crate::runtime::{self, Core};
use crate::socket::options::Options;
use crate::socket::state::Kind;
use crate::socket::table::{self, Entries, Entry};
use crate::socket::{carrying, kernel};
use crate::sync::Shared;

/// Held for reading while a socket is made: one that is half made must not be inherited.
static MAKING: Shared<()> = Shared::new(());

thread_local! {
    /// What the thread that forks holds still from before until after.
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

struct Held {
    table: RwLockWriteGuard<'static, Entries>,
    _making: RwLockWriteGuard<'static, ()>,
    /// Sockets that carry nothing: what the child puts in their place.
    direct: Vec<(RawFd, c_int, Kind, Options)>,
}

/// No fork happens while this is held.
pub(crate) fn exclude() -> RwLockReadGuard<'static, ()> {
    MAKING.read()
}

/// In a child: an address that only the parent could reach is refused, rather than asked of the kernel.
pub(crate) fn refuse_virtual(address: SocketAddr) -> Result<()> {
    let ip: IpAddr = address.ip().to_canonical();
    if runtime::is_child() && Core::is_of_virtual_range(ip) { Err(Errno(libc::ENETDOWN)) } else { Ok(()) }
}

/// From now on forks are noticed.
pub(crate) fn watch() -> Result<()> {
    // SAFETY: three functions that live as long as the process.
    let refused = unsafe { libc::pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) };
    if refused != 0 { Err(Errno(refused)) } else { Ok(()) }
}

extern "C" fn prepare() {
    let _inside = inside::enter();
    let _ = catch_unwind(|| {
        if start::core().is_none() {
            return;
        }
        // What has no peer is left as it is.
        carrying::carry_all(table::descriptors(|entry| matches!(entry, Entry::Direct(_))));
        let making = MAKING.write();
        let table = table::hold();
        let direct = table.iter().filter_map(|(fd, entry)| match entry {
            Entry::Direct(socket) if socket.is_behind(*fd) => {
                Some((*fd, socket.family, socket.kind, socket.options.lock().clone()))
            }
            _ => None,
        });
        let direct = direct.collect();
        HELD.set(Some(Held { table, _making: making, direct }));
    });
}

extern "C" fn in_parent() {
    let _ = catch_unwind(|| drop(HELD.take()));
}

extern "C" fn in_child() {
    let _inside = inside::enter();
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let Some(mut held) = HELD.take() else { return };
        runtime::become_child();
        for (fd, family, kind, options) in std::mem::take(&mut held.direct) {
            // The parent's socket is not to be dropped here: its descriptors are closed below, by number.
            std::mem::forget(table::forget(&mut held.table, fd));
            let _ = kernel::replace_in_child(fd, family, kind, &options);
        }
        descriptors::close_all_own();
    }));
}
