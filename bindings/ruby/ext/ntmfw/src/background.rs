//! Calls that wait for others for seconds, if need be: beginning, ending, and looking up names.
//!
//! Each runs on a thread of its own and answers through a pipe, whose reading end Ruby gets. Whoever waits for it can
//! be interrupted as in any other wait, and then closes the pipe, which nobody writes to in vain: the thread ends when the
//! call is back.
//!
//! ```text
//! answer   status(4) errno(4) payload             numbers in the host's order
//! payload  of look_up: one of these an address    family(4) kind(4) protocol(4) length(4) sockaddr(length)
//!          else, and where it failed: text
//! ```

use std::ffi::{CStr, CString, c_int};
use std::io::Write as _;
use std::os::fd::IntoRawFd as _;

use libc::addrinfo;
use magnus::{Error, Ruby};

use crate::failure::{detail, errno};
use crate::library::library;
use crate::node;

struct Answer {
    status: c_int,
    errno: c_int,
    payload: Vec<u8>,
}

impl Answer {
    fn done(payload: Vec<u8>) -> Self {
        Self { status: 0, errno: 0, payload }
    }
}

/// `Native.begin(configuration)`.
pub(crate) fn begin(ruby: &Ruby, configuration: Option<String>) -> Result<c_int, Error> {
    let configuration = configuration.map(|path| c_string(ruby, path)).transpose()?;
    in_background(ruby, move || {
        let path = configuration.as_ref().map_or(std::ptr::null(), |path| path.as_ptr());
        // SAFETY: null or a C string that lives for the call.
        if unsafe { (library().init)(path) } == 0 {
            node::is_ready_now();
            return Answer::done(Vec::new());
        }
        let errno = errno();
        let text = detail(errno).unwrap_or_else(|| std::io::Error::from_raw_os_error(errno).to_string());
        Answer { status: -1, errno, payload: text.into_bytes() }
    })
}

/// `Native.finish`.
pub(crate) fn finish(ruby: &Ruby) -> Result<c_int, Error> {
    in_background(ruby, || {
        // SAFETY: takes nothing and gives nothing.
        unsafe { (library().fini)() };
        Answer::done(Vec::new())
    })
}

/// `Native.look_up(name, service, family, kind, flags)`.
pub(crate) fn look_up(
    ruby: &Ruby,
    name: Option<String>,
    service: Option<String>,
    family: c_int,
    kind: c_int,
    flags: c_int,
) -> Result<c_int, Error> {
    let name = name.map(|name| c_string(ruby, name)).transpose()?;
    let service = service.map(|service| c_string(ruby, service)).transpose()?;
    in_background(ruby, move || addresses(name.as_deref(), service.as_deref(), family, kind, flags))
}

fn addresses(name: Option<&CStr>, service: Option<&CStr>, family: c_int, kind: c_int, flags: c_int) -> Answer {
    // SAFETY: zeros are hints that ask for everything.
    let mut hints: addrinfo = unsafe { std::mem::zeroed() };
    (hints.ai_family, hints.ai_socktype, hints.ai_flags) = (family, kind, flags);
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    let mut found = std::ptr::null_mut();
    // SAFETY: null or C strings that live for the call, hints, and room for a pointer.
    let status = unsafe { (library().getaddrinfo)(pointer(name), pointer(service), &raw const hints, &raw mut found) };
    if status != 0 {
        let errno = if status == libc::EAI_SYSTEM { errno() } else { 0 };
        // SAFETY: takes a number and gives a C string of the library's own.
        let text = unsafe { CStr::from_ptr((library().gai_strerror)(status)) };
        return Answer { status, errno, payload: text.to_bytes().to_vec() };
    }
    let mut payload = Vec::new();
    let mut next = found;
    // SAFETY: the list is as the call made it, each entry with an address of the length that it says.
    while let Some(entry) = unsafe { next.as_ref() } {
        let numbers = [entry.ai_family, entry.ai_socktype, entry.ai_protocol, entry.ai_addrlen.cast_signed()];
        payload.extend(numbers.into_iter().flat_map(c_int::to_ne_bytes));
        // SAFETY: as above.
        payload.extend(unsafe { std::slice::from_raw_parts(entry.ai_addr.cast::<u8>(), entry.ai_addrlen as usize) });
        next = entry.ai_next;
    }
    // SAFETY: what the call gave is given back once.
    unsafe { (library().freeaddrinfo)(found) };
    Answer::done(payload)
}

/// The descriptor from which the call's answer can be read.
fn in_background(ruby: &Ruby, call: impl FnOnce() -> Answer + Send + 'static) -> Result<c_int, Error> {
    let refused = |why: std::io::Error| Error::new(ruby.exception_io_error(), why.to_string());
    let (reader, mut writer) = std::io::pipe().map_err(refused)?;
    let thread = std::thread::Builder::new().name("ntmfw-ruby".to_owned());
    let spawned = thread.spawn(move || {
        let answer = call();
        let mut bytes = Vec::from(answer.status.to_ne_bytes());
        bytes.extend(answer.errno.to_ne_bytes());
        bytes.extend(answer.payload);
        // Who does not want to know any more has closed the other end.
        let _ = writer.write_all(&bytes);
    });
    spawned.map_err(refused)?;
    Ok(reader.into_raw_fd())
}

fn c_string(ruby: &Ruby, text: String) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::new(ruby.exception_arg_error(), "string contains null byte"))
}
