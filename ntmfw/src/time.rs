//! Times as C has them.

use std::time::Duration;

use libc::timespec;

use crate::errno::{Errno, Result};

/// # Safety
/// Null or valid.
pub(crate) unsafe fn duration(time: *const timespec) -> Result<Option<Duration>> {
    // SAFETY: the caller's promise.
    unsafe { time.as_ref() }.map(|time| time_of(time.tv_sec, time.tv_nsec)).transpose()
}

/// Nanoseconds are less than a second's.
pub(crate) fn time_of(seconds: libc::time_t, nanos: libc::c_long) -> Result<Duration> {
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else {
        return Err(Errno(libc::EINVAL));
    };
    if nanos >= 1_000_000_000 {
        return Err(Errno(libc::EINVAL));
    }
    Ok(Duration::from_secs(seconds) + Duration::from_nanos(nanos.into()))
}

pub(crate) fn timespec_of(time: Duration) -> timespec {
    timespec { tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX), tv_nsec: time.subsec_nanos().into() }
}
