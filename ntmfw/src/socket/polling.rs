//! `poll` and its kin: the kernel knows the readiness of every descriptor, ours included, so it is asked. What
//! remains is that somebody must read the tunnels meanwhile.

use std::time::Duration;

use crate::errno::{Errno, Result};
use crate::negotiation::start;
use crate::packet::reader::{Beside, lead_beside};
use crate::runtime::Core;

/// Waits on the descriptors `beside` the library's own. `ask` asks the kernel without waiting, or waiting where nothing else is left to do (its
/// argument is the time to wait), and gives how many are ready.
pub(crate) fn wait(
    timeout: Option<Duration>,
    beside: &mut Beside<'_>,
    mut ask: impl FnMut(Option<Duration>) -> Result<usize>,
) -> Result<usize> {
    let Some(core) = start::core() else { return ask(timeout) };
    let core: &Core = core;
    let ready = ask(Some(Duration::ZERO))?;
    if ready > 0 || timeout == Some(Duration::ZERO) {
        return Ok(ready);
    }
    let until = timeout.map(|time| core.now() + time);
    let mut outcome = Ok(0);
    let led = lead_beside(core, until, beside, || {
        outcome = ask(Some(Duration::ZERO));
        !matches!(outcome, Ok(0))
    })?;
    if led {
        return outcome;
    }
    ask(until.map(|at| at.since(core.now())))
}

/// The milliseconds that `poll` and `epoll_wait` take: negative is for ever.
pub(crate) fn milliseconds(timeout: libc::c_int) -> Option<Duration> {
    u64::try_from(timeout).ok().map(Duration::from_millis)
}

/// The other way, rounded up so that nobody wakes too soon.
pub(crate) fn to_milliseconds(timeout: Option<Duration>) -> libc::c_int {
    match timeout {
        None => -1,
        Some(time) => libc::c_int::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(libc::c_int::MAX),
    }
}

/// What a system call gave: a count, or an error.
pub(crate) fn counted(result: libc::c_int) -> Result<usize> {
    usize::try_from(result).map_err(|_| Errno::last())
}
