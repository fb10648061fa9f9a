//! Names of nodes, and the names of virtual addresses. All others are the C library's.

use std::collections::HashSet;
use std::ffi::{CStr, c_char};
use std::sync::{LazyLock, Mutex, PoisonError};

use libc::{addrinfo, c_int, hostent, sockaddr, socklen_t};
use ntmfw::capi;
use ntmfw::shim;

use crate::agent;
use crate::real::{real, real_into_room};

/// The lists that the library made, and not the C library.
static OURS: LazyLock<Mutex<HashSet<usize>>> = LazyLock::new(Mutex::default);

fn ours() -> std::sync::MutexGuard<'static, HashSet<usize>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this is the name of a node, asked by the program.
///
/// # Safety
/// `name` is null or a C string.
pub(crate) unsafe fn is_node(name: *const c_char) -> bool {
    // SAFETY: a C string, by the caller's promise.
    let is_node = !shim::is_inside() && !name.is_null() && shim::is_node(unsafe { CStr::from_ptr(name) });
    if is_node {
        // Asked from now on, where there is one.
        agent::get();
    }
    is_node
}

/// Whether one of the addresses is virtual.
///
/// # Safety
/// `list` is null or a list that `getaddrinfo` gave.
unsafe fn has_virtual(list: *const addrinfo) -> bool {
    let mut next = list;
    // SAFETY: the list is whole, by the caller's promise.
    unsafe {
        while let Some(entry) = next.as_ref() {
            if shim::is_virtual(entry.ai_addr, entry.ai_addrlen) {
                return true;
            }
            next = entry.ai_next;
        }
    }
    false
}

/// `getaddrinfo(3)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getaddrinfo(
    name: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    results: *mut *mut addrinfo,
) -> c_int {
    let real = real!(getaddrinfo(*const c_char, *const c_char, *const addrinfo, *mut *mut addrinfo) -> c_int);
    // SAFETY: the caller's promise.
    if !unsafe { is_node(name) } {
        // SAFETY: the caller's promise.
        let code = unsafe { real(name, service, hints, results) };
        // SAFETY: filled in where the code says so.
        if code != 0 || shim::is_inside() || name.is_null() || !unsafe { has_virtual(*results) } {
            return code;
        }
        // An alias of a node's name: more is known of that, and the way there, than its addresses tell.
        let free = real!(freeaddrinfo(*mut addrinfo));
        // SAFETY: just given, and to nobody else yet.
        unsafe { free(*results) };
    }
    let _inside = shim::enter();
    // SAFETY: the caller's promise.
    let code = unsafe { capi::ntmfw_getaddrinfo(name, service, hints, results) };
    if code == 0 {
        // SAFETY: filled in.
        ours().insert(unsafe { *results } as usize);
    }
    code
}

/// `freeaddrinfo(3)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn freeaddrinfo(results: *mut addrinfo) {
    let real = real!(freeaddrinfo(*mut addrinfo));
    if shim::is_inside() || !ours().remove(&(results as usize)) {
        // SAFETY: the caller's promise.
        return unsafe { real(results) };
    }
    let _inside = shim::enter();
    // SAFETY: the library made it.
    unsafe { capi::ntmfw_freeaddrinfo(results) };
}

/// `getnameinfo(3)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getnameinfo(
    address: *const sockaddr,
    length: socklen_t,
    host: *mut c_char,
    host_length: socklen_t,
    service: *mut c_char,
    service_length: socklen_t,
    flags: c_int,
) -> c_int {
    let real =
        real!(getnameinfo(*const sockaddr, socklen_t, *mut c_char, socklen_t, *mut c_char, socklen_t, c_int) -> c_int);
    // SAFETY: the caller's promise.
    if shim::is_inside() || !unsafe { shim::is_virtual(address, length) } {
        // SAFETY: the caller's promise.
        return unsafe { real(address, length, host, host_length, service, service_length, flags) };
    }
    let _inside = shim::enter();
    // SAFETY: the caller's promise.
    unsafe { capi::ntmfw_getnameinfo(address, length, host, host_length, service, service_length, flags) }
}

/// `gethostbyname(3)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gethostbyname(name: *const c_char) -> *mut hostent {
    let real = real!(gethostbyname(*const c_char) -> *mut hostent);
    // SAFETY: the caller's promise.
    if !unsafe { is_node(name) } {
        // SAFETY: the caller's promise.
        return unsafe { real(name) };
    }
    let _inside = shim::enter();
    // SAFETY: the caller's promise.
    unsafe { capi::ntmfw_gethostbyname(name) }
}

/// `gethostbyname_r(3)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gethostbyname_r(
    name: *const c_char,
    entry: *mut hostent,
    room: *mut c_char,
    length: libc::size_t,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    let real = real_into_room!(gethostbyname_r(*const c_char));
    // SAFETY: the caller's promise.
    if !unsafe { is_node(name) } {
        // SAFETY: the caller's promise.
        return unsafe { real(name, entry, room, length, result, error) };
    }
    let _inside = shim::enter();
    // SAFETY: the caller's promise.
    unsafe { capi::ntmfw_gethostbyname_r(name, entry, room, length, result, error) }
}
