//! The caller's memory: bytes to send, room to fill, and lists of both.

use libc::{c_void, iovec, size_t};

use crate::errno::{Errno, Result};

/// Linux's `IOV_MAX`.
pub(super) const MAX_PARTS: usize = 1_024;

/// # Safety
/// `data` is null or points to `length` bytes.
pub(super) unsafe fn bytes<'a>(data: *const c_void, length: size_t) -> Result<&'a [u8]> {
    if length == 0 {
        return Ok(&[]);
    }
    if data.is_null() || isize::try_from(length).is_err() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(data.cast(), length) })
}

/// # Safety
/// `room` is null or points to `length` bytes that nobody else uses meanwhile.
pub(super) unsafe fn bytes_mut<'a>(room: *mut c_void, length: size_t) -> Result<&'a mut [u8]> {
    if length == 0 {
        return Ok(&mut []);
    }
    if room.is_null() || isize::try_from(length).is_err() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(room.cast(), length) })
}

/// # Safety
/// `parts` is null or points to `count` entries, each of bytes as [`bytes`] wants them.
pub(super) unsafe fn slices<'a>(parts: *const iovec, count: usize) -> Result<Vec<&'a [u8]>> {
    // SAFETY: the caller's promise.
    let parts = unsafe { entries(parts, count) }?;
    // SAFETY: the caller's promise.
    parts.iter().map(|part| unsafe { bytes(part.iov_base, part.iov_len) }).collect()
}

/// # Safety
/// As [`slices`], with bytes as [`bytes_mut`] wants them.
pub(super) unsafe fn rooms<'a>(parts: *const iovec, count: usize) -> Result<Vec<&'a mut [u8]>> {
    // SAFETY: the caller's promise.
    let parts = unsafe { entries(parts, count) }?;
    // SAFETY: the caller's promise.
    parts.iter().map(|part| unsafe { bytes_mut(part.iov_base, part.iov_len) }).collect()
}

/// # Safety
/// `parts` is null or points to `count` entries.
unsafe fn entries<'a>(parts: *const iovec, count: usize) -> Result<&'a [iovec]> {
    if count == 0 {
        return Ok(&[]);
    }
    if count > MAX_PARTS {
        return Err(Errno(libc::EMSGSIZE));
    }
    if parts.is_null() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(parts, count) })
}
