//! The values of options, as bytes.

use std::time::Duration;

use libc::c_int;

use crate::errno::{Errno, Result};

const INT: usize = size_of::<c_int>();

pub(super) fn int(value: c_int) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

pub(super) fn flag(on: bool) -> Vec<u8> {
    int(c_int::from(on))
}

/// The number that stands at `at`.
pub(super) fn int_at(value: &[u8], at: usize) -> Result<c_int> {
    let bytes = value.get(at..).and_then(<[u8]>::first_chunk::<INT>).ok_or(Errno(libc::EINVAL))?;
    Ok(c_int::from_ne_bytes(*bytes))
}

/// A number that IPv4 also takes as one byte.
pub(super) fn int_or_byte(value: &[u8]) -> Result<c_int> {
    match value {
        [byte, rest @ ..] if rest.len() < INT - 1 => Ok((*byte).into()),
        value => int_at(value, 0),
    }
}

/// A number within bounds; else `EINVAL`.
pub(super) fn within(value: c_int, least: c_int, most: c_int) -> Result<c_int> {
    if (least..=most).contains(&value) { Ok(value) } else { Err(Errno(libc::EINVAL)) }
}

pub(super) fn seconds(value: c_int) -> Duration {
    Duration::from_secs(u64::try_from(value).unwrap_or_default())
}

pub(super) fn timeval(time: Duration) -> libc::timeval {
    libc::timeval {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_usec: libc::suseconds_t::from(time.subsec_micros().cast_signed()),
    }
}

pub(super) fn time(time: Option<Duration>) -> Vec<u8> {
    let time = timeval(time.unwrap_or_default());
    [time.tv_sec.to_ne_bytes(), time.tv_usec.to_ne_bytes()].concat()
}

/// No time is for ever, a negative one is none at all.
pub(super) fn time_of(value: &[u8]) -> Result<Option<Duration>> {
    let half = size_of::<libc::time_t>();
    let number = |at: usize| -> Result<i64> {
        let bytes = value.get(at..at + half).ok_or(Errno(libc::EINVAL))?;
        Ok(libc::time_t::from_ne_bytes(bytes.try_into().map_err(|_| Errno(libc::EINVAL))?))
    };
    let (seconds, micros) = (number(0)?, number(half)?);
    let Some(micros) = u64::try_from(micros).ok().filter(|micros| *micros < 1_000_000) else {
        return Err(Errno(libc::EDOM));
    };
    let Ok(seconds) = u64::try_from(seconds) else { return Ok(Some(Duration::ZERO)) };
    let time = Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros));
    Ok((!time.is_zero()).then_some(time))
}
