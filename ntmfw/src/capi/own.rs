//! What no C library has: beginning and ending, and what the library says of itself.

use std::ffi::{CStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::guard::{detail, explain, guard};
use crate::errno::Errno;
use crate::negotiation::start;
use crate::socket;
use crate::socket::table::Entry;

/// Begins: reads the configuration at `config`, or at the usual places where that is null, and registers the node.
/// 0, or −1 with `errno` and an explanation in `ntmfw_strerror`. Other calls begin by themselves if this one was
/// not made; a second call does nothing.
///
/// Blocks until the node is registered, or for ten seconds. `EINVAL` without a configuration, or for a mistake in it,
/// which is told by file, line and key; `EACCES` where secrets can be read by others, a login is refused, or another
/// program runs as the node; `ETIMEDOUT` where no coordinator answers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_init(config: *const c_char) -> c_int {
    guard(|| {
        // SAFETY: null or a C string, by the caller's promise.
        let path = (!config.is_null()).then(|| unsafe { CStr::from_ptr(config) });
        let path = path.map(|path| Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())));
        match socket::begin(path) {
            Ok(_) => Ok(0),
            Err(error) => {
                explain(error.errno, &error.message);
                Err(error.errno)
            }
        }
    })
}

/// What the error with this number was about, if the last call of this thread that failed left an explanation;
/// else what `strerror` says. The text is good until the next failure in this thread.
#[unsafe(no_mangle)]
pub extern "C" fn ntmfw_strerror(errnum: c_int) -> *const c_char {
    guard(|| {
        // SAFETY: takes a number and gives a C string of the library's own.
        Ok(detail(errnum).unwrap_or_else(|| unsafe { libc::strerror(errnum).cast_const() }))
    })
}

/// The library's version: `"0.1.0"`.
#[unsafe(no_mangle)]
pub extern "C" fn ntmfw_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Writes this node's name into `name`, which has room for `length` bytes. 0, or −1 with `ENAMETOOLONG`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_local_name(name: *mut c_char, length: libc::size_t) -> c_int {
    guard(|| {
        let core = super::guard::core()?;
        let text = core.names.own().as_str().as_bytes();
        if name.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        if text.len() >= length {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        // SAFETY: the caller has so much room.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), text.len());
            name.add(text.len()).write(0);
        }
        Ok(0)
    })
}

/// Ends: tells the coordinator that the node goes. Connections end as they would at the end of the process. The
/// library cannot begin again in the same process.
#[unsafe(no_mangle)]
pub extern "C" fn ntmfw_fini() {
    let _ = guard(|| {
        if let Some(core) = start::core() {
            core.close();
        }
        Ok(0)
    });
}

/// Writes what the library says of itself as JSON (name, addresses, peers with their paths, counters) into `text`,
/// which has room for `length` bytes, and gives the length of the whole, as `snprintf` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_status(text: *mut c_char, length: libc::size_t) -> c_int {
    guard(|| {
        let status = crate::negotiation::status::status(super::guard::core()?);
        if length > 0 {
            if text.is_null() {
                return Err(Errno(libc::EFAULT));
            }
            let copied = status.len().min(length - 1);
            // SAFETY: the caller has so much room.
            unsafe {
                std::ptr::copy_nonoverlapping(status.as_ptr(), text.cast(), copied);
                text.add(copied).write(0);
            }
        }
        c_int::try_from(status.len()).map_err(|_| Errno(libc::EOVERFLOW))
    })
}

/// From now on `listener` is called with a JSON object for everything that happens (`"event"`: `registered`,
/// `resolved`, `peer up`, `path changed`, `peer lost`, …), on a thread of the library's own, one call at a time.
/// The text is good until the listener returns. `context` is given to each call. There is one listener a process:
/// a second one is `EALREADY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_on_event(
    listener: Option<unsafe extern "C" fn(event: *const c_char, context: *mut std::ffi::c_void)>,
    context: *mut std::ffi::c_void,
) -> c_int {
    guard(|| {
        let listener = listener.ok_or(Errno(libc::EFAULT))?;
        let context = context as usize;
        let core = super::guard::core()?;
        core.tidings.listen(move |text| {
            if let Ok(text) = std::ffi::CString::new(text) {
                // SAFETY: the program's function and the pointer it asked for; the text lives for the call.
                unsafe { listener(text.as_ptr(), context as *mut std::ffi::c_void) };
            }
        })?;
        Ok(0)
    })
}

/// How packets of a socket travel.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ntmfw_path {
    /// 0: no path is in use; 1: direct; 2: through a relay.
    pub kind: c_int,
    /// The interface of this host, as the kernel calls it.
    pub interface: [c_char; 16],
    /// The round trip in microseconds; 0 where it is not known yet.
    pub rtt_us: u32,
    /// Of 1,000 probes, those that were not answered.
    pub loss_per_mille: u32,
}

/// Writes into `path` how packets to the peer of a connected socket travel now. `ENOTCONN` where it has none,
/// `ENOTSOCK` where the descriptor is no NTM socket.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_path_info(fd: c_int, path: *mut ntmfw_path) -> c_int {
    guard(|| {
        if path.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        let socket = match crate::socket::table::entry(fd) {
            Some(Entry::Direct(socket)) => socket,
            Some(Entry::Carried(carried)) => carried.socket().ok_or(Errno(libc::ENOTCONN))?,
            None => return Err(Errno(libc::ENOTSOCK)),
        };
        let peer = crate::socket::state::unmapped(socket.peer_address()?).ip();
        let view = socket.core.engine(|node| {
            let peer = node.peer_at(peer)?;
            node.paths(&peer).into_iter().next().filter(|view| view.proven)
        });
        let mut told = ntmfw_path { kind: 0, interface: [0; 16], rtt_us: 0, loss_per_mille: 0 };
        if let Some(view) = view {
            told.kind = match view.kind {
                ntm_node::PathKind::Direct(_) => 1,
                ntm_node::PathKind::Relayed(_) => 2,
            };
            let devices = socket.core.devices();
            for (to, from) in told.interface.iter_mut().zip(devices.name(view.interface).bytes().take(15)) {
                *to = from.cast_signed();
            }
            told.rtt_us = view.rtt.map_or(0, |rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX));
            told.loss_per_mille = view.loss.into();
        }
        // SAFETY: the caller has room for one.
        unsafe { path.write(told) };
        Ok(0)
    })
}
