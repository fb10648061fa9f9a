//! `getaddrinfo_a` and its kin: look-ups that go on beside the program. A list that has a node's name in it is looked up on a
//! thread of ours; all others are the C library's.

use std::collections::HashSet;
use std::ffi::c_char;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libc::{addrinfo, c_int, c_void, sigval, timespec};
use ntmfw::shim;

use crate::names::{getaddrinfo, is_node};
use crate::real::real;

/// `<netdb.h>`'s.
const GAI_WAIT: c_int = 0;
const GAI_NOWAIT: c_int = 1;
const EAI_INPROGRESS: c_int = -100;
const EAI_NOTCANCELED: c_int = -102;
const EAI_ALLDONE: c_int = -103;
/// How long a thread that waits for the C library's look-ups as well does not look at those.
const SLICE: Duration = Duration::from_millis(20);

/// `struct gaicb`
#[derive(Debug)]
#[repr(C)]
pub struct Request {
    name: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut addrinfo,
    code: c_int,
    reserved: [c_int; 5],
}

/// `struct sigevent`, with what `<signal.h>` has in a union.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Event {
    value: sigval,
    signal: c_int,
    how: c_int,
    function: Option<unsafe extern "C" fn(sigval)>,
    attributes: *mut c_void,
}

/// The requests that are looked up here.
static PENDING: LazyLock<Mutex<HashSet<usize>>> = LazyLock::new(Mutex::default);
static DONE: Condvar = Condvar::new();

fn pending() -> MutexGuard<'static, HashSet<usize>> {
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// # Safety
/// The request is valid.
unsafe fn code_of<'a>(request: *const Request) -> &'a AtomicI32 {
    // SAFETY: the caller's promise; all who look at it while it is looked up do so in this way.
    unsafe { AtomicI32::from_ptr((&raw const (*request).code).cast_mut()) }
}

/// What one call asked for.
struct List {
    requests: Vec<*mut Request>,
    event: Option<Event>,
}

// SAFETY: the program leaves requests alone until they are done, by `getaddrinfo_a`'s contract.
unsafe impl Send for List {}

impl List {
    /// # Safety
    /// The requests are valid, and the program leaves them alone.
    unsafe fn begin(&self) {
        for request in &self.requests {
            // SAFETY: the caller's promise.
            unsafe { code_of(*request) }.store(EAI_INPROGRESS, Ordering::Release);
            pending().insert(*request as usize);
        }
    }

    /// # Safety
    /// As [`Self::begin`].
    unsafe fn look_up(self) {
        for request in self.requests {
            // SAFETY: the caller's promise; the lock orders what is written here before what waiters read.
            unsafe {
                let place = &raw mut (*request).result;
                let code = getaddrinfo((*request).name, (*request).service, (*request).hints, place);
                let mut pending = pending();
                code_of(request).store(code, Ordering::Release);
                pending.remove(&(request as usize));
            }
            DONE.notify_all();
        }
        match self.event {
            Some(Event { how: libc::SIGEV_SIGNAL, signal, value, .. }) => {
                // SAFETY: only numbers and the program's own value go in.
                unsafe { libc::sigqueue(libc::getpid(), signal, value) };
            }
            Some(Event { how: libc::SIGEV_THREAD, function: Some(function), value, .. }) => {
                // SAFETY: the function that the program gave for this, with the value that it gave for it.
                unsafe { function(value) };
            }
            _ => {}
        }
    }
}

/// `getaddrinfo_a(3)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getaddrinfo_a(
    mode: c_int,
    list: *mut *mut Request,
    count: c_int,
    event: *const Event,
) -> c_int {
    let real = real!(getaddrinfo_a(c_int, *mut *mut Request, c_int, *const Event) -> c_int);
    // SAFETY: the caller's promise.
    unsafe {
        let requests = requests_of(list.cast(), count);
        let has_node = requests.iter().any(|request| is_node((**request).name));
        if !has_node || !matches!(mode, GAI_WAIT | GAI_NOWAIT) {
            return real(mode, list, count, event);
        }
        let asked = List { requests, event: event.as_ref().copied().filter(|_| mode == GAI_NOWAIT) };
        asked.begin();
        if mode == GAI_WAIT {
            asked.look_up();
            return 0;
        }
        std::thread::spawn(move || {
            shim::refuse_signals();
            asked.look_up();
        });
        0
    }
}

/// `gai_suspend(3)`: waits until one that is in progress is done.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gai_suspend(list: *const *const Request, count: c_int, timeout: *const timespec) -> c_int {
    let real = real!(gai_suspend(*const *const Request, c_int, *const timespec) -> c_int);
    // SAFETY: the caller's promise.
    let (mut waiting, until) = unsafe { (requests_of(list.cast(), count), timeout.as_ref().and_then(end_of)) };
    let is_done = |request: &*mut Request| {
        // SAFETY: the caller's promise.
        unsafe { code_of(*request) }.load(Ordering::Acquire) != EAI_INPROGRESS
    };
    waiting.retain(|request| !is_done(request));
    let mut ours = pending();
    let known = waiting.iter().filter(|request| ours.contains(&(**request as usize))).count();
    if known == 0 {
        drop(ours);
        // SAFETY: the caller's promise.
        return if waiting.is_empty() { EAI_ALLDONE } else { unsafe { real(list, count, timeout) } };
    }
    while !waiting.iter().any(is_done) {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return libc::EAI_AGAIN;
        }
        let slice = (known < waiting.len()).then_some(SLICE);
        ours = match left.into_iter().chain(slice).min() {
            Some(time) => DONE.wait_timeout(ours, time).unwrap_or_else(PoisonError::into_inner).0,
            None => DONE.wait(ours).unwrap_or_else(PoisonError::into_inner),
        };
    }
    0
}

/// `gai_cancel(3)`: what is looked up here is not given up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gai_cancel(request: *mut Request) -> c_int {
    let real = real!(gai_cancel(*mut Request) -> c_int);
    if pending().contains(&(request as usize)) {
        return EAI_NOTCANCELED;
    }
    // SAFETY: the caller's promise.
    unsafe { real(request) }
}

/// Those that are there.
///
/// # Safety
/// `list` is null or has `count` pointers.
unsafe fn requests_of(list: *const *mut Request, count: c_int) -> Vec<*mut Request> {
    let count = usize::try_from(count).unwrap_or_default();
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    let all = unsafe { std::slice::from_raw_parts(list, count) };
    all.iter().copied().filter(|request| !request.is_null()).collect()
}

/// When a time is over that begins now; `None` where that is further than anybody waits.
fn end_of(timeout: &timespec) -> Option<Instant> {
    let seconds = u64::try_from(timeout.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(timeout.tv_nsec).unwrap_or_default();
    Instant::now().checked_add(Duration::new(seconds, nanoseconds))
}
