//! `getsockopt` and `setsockopt`.

use libc::{c_int, c_void, socklen_t};

use super::carrying::{SOL_NTMFW, get_own, set_own};
use super::guard::{checked, guard};
use crate::errno::Errno;
use crate::socket::table::{self, Entry};
use crate::socket::{carrying, options};

/// `getsockopt(2)`.
///
/// Does not block. `ENOPROTOOPT` for an option that there is not, `EINVAL` for too little room, `EFAULT`,
/// `EOPNOTSUPP`. `SO_ERROR` tells an error once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    guard(|| {
        // SAFETY: the caller's promise is the system call's.
        let in_kernel = || checked(unsafe { libc::getsockopt(fd, level, name, value, length) });
        let Some(entry) = table::entry(fd) else { return in_kernel() };
        if length.is_null() || value.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        // SAFETY: not null, and valid by the caller's promise.
        let room = unsafe { length.read() };
        let room = usize::try_from(room.cast_signed()).map_err(|_| Errno(libc::EINVAL))?;
        let bytes = match entry {
            entry if level == SOL_NTMFW => get_own(&entry, name)?,
            Entry::Direct(socket) => options::get(&socket, level, name)?,
            Entry::Carried(carried) => match carrying::get(&carried, level, name)? {
                Some(bytes) => bytes,
                None => return in_kernel(),
            },
        };
        let copied = room.min(bytes.len());
        // SAFETY: the caller has `room` bytes there; no more are copied.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), value.cast::<u8>(), copied);
            length.write(copied as socklen_t);
        }
        Ok(0)
    })
}

/// `setsockopt(2)`.
///
/// Does not block. `ENOPROTOOPT` for an option that there is not, `EINVAL` for a value it does not have, `EFAULT`,
/// `EDOM`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    guard(|| {
        // SAFETY: the caller's promise is the system call's.
        let in_kernel = || checked(unsafe { libc::setsockopt(fd, level, name, value, length) });
        let Some(entry) = table::entry(fd) else { return in_kernel() };
        let bytes = usize::try_from(length.cast_signed()).map_err(|_| Errno(libc::EINVAL))?;
        if value.is_null() && bytes > 0 {
            return Err(Errno(libc::EFAULT));
        }
        // SAFETY: not null unless empty, and so long by the caller's promise.
        let value = if bytes == 0 { &[] } else { unsafe { std::slice::from_raw_parts(value.cast::<u8>(), bytes) } };
        match entry {
            entry if level == SOL_NTMFW => set_own(&entry, name, value).map(|()| 0),
            Entry::Direct(socket) => options::set(&socket, level, name, value).map(|()| 0),
            Entry::Carried(carried) => match carrying::set(&carried, level, name, value)? {
                true => Ok(0),
                false => in_kernel(),
            },
        }
    })
}
