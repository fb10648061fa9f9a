//! Calls that copy and close descriptors. The library's own are not there for the program: a number that is one of them
//! is a bad descriptor.

use libc::{c_int, c_uint, c_ulong};
use ntmfw::capi;
use ntmfw::shim;

use crate::real::real;
use crate::told;

/// Whether the program means a descriptor of the library's, which it cannot have.
fn is_hidden(fd: c_int) -> bool {
    shim::is_own(fd) && !shim::is_inside()
}

fn bad_descriptor() -> c_int {
    told::set_errno(libc::EBADF);
    -1
}

/// `close(2)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    let real = real!(close(c_int) -> c_int);
    if is_hidden(fd) {
        return bad_descriptor();
    }
    if shim::is_inside() || !shim::is_socket(fd) {
        // SAFETY: only a number goes in.
        return unsafe { real(fd) };
    }
    let _inside = shim::enter();
    capi::ntmfw_close(fd)
}

/// `close_range(2)`: the library's own descriptors stay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    let real = real!(close_range(c_uint, c_uint, c_int) -> c_int);
    if shim::is_inside() || first > last {
        // SAFETY: only numbers go in.
        return unsafe { real(first, last, flags) };
    }
    let _inside = shim::enter();
    let number = |fd: c_uint| c_int::try_from(fd).unwrap_or(c_int::MAX);
    if flags & libc::CLOSE_RANGE_CLOEXEC.cast_signed() == 0 {
        shim::forget_within(number(first), number(last));
    }
    let mut next = first;
    for own in shim::own_within(number(first), number(last)) {
        let own = own.cast_unsigned();
        // SAFETY: only numbers go in.
        if own > next && unsafe { real(next, own - 1, flags) } != 0 {
            return -1;
        }
        next = own + 1;
    }
    // SAFETY: only numbers go in.
    if next > last { 0 } else { unsafe { real(next, last, flags) } }
}

/// `closefrom(3)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn closefrom(first: c_int) {
    // SAFETY: only numbers go in.
    unsafe { close_range(first.max(0).cast_unsigned(), c_uint::MAX, 0) };
}

/// `dup(2)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup(fd: c_int) -> c_int {
    let real = real!(dup(c_int) -> c_int);
    if is_hidden(fd) {
        return bad_descriptor();
    }
    if shim::is_inside() || !shim::is_socket(fd) {
        // SAFETY: only a number goes in.
        return unsafe { real(fd) };
    }
    let _inside = shim::enter();
    capi::ntmfw_dup(fd)
}

/// `dup2(2)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup2(fd: c_int, copy: c_int) -> c_int {
    let real = real!(dup2(c_int, c_int) -> c_int);
    if is_hidden(fd) || is_hidden(copy) {
        return bad_descriptor();
    }
    if shim::is_inside() || !(shim::is_socket(fd) || shim::is_socket(copy)) {
        // SAFETY: only numbers go in.
        return unsafe { real(fd, copy) };
    }
    let _inside = shim::enter();
    capi::ntmfw_dup2(fd, copy)
}

/// `dup3(2)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dup3(fd: c_int, copy: c_int, flags: c_int) -> c_int {
    let real = real!(dup3(c_int, c_int, c_int) -> c_int);
    if is_hidden(fd) || is_hidden(copy) {
        return bad_descriptor();
    }
    if shim::is_inside() || !(shim::is_socket(fd) || shim::is_socket(copy)) {
        // SAFETY: only numbers go in.
        return unsafe { real(fd, copy, flags) };
    }
    let _inside = shim::enter();
    capi::ntmfw_dup3(fd, copy, flags)
}

// The third argument of the next two is whatever there is (`...`), in the register in which one argument would be.

/// `fcntl(2)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: c_ulong) -> c_int {
    let real = real!(fcntl(c_int, c_int, c_ulong) -> c_int);
    if is_hidden(fd) {
        return bad_descriptor();
    }
    if shim::is_inside() || !shim::is_socket(fd) {
        // SAFETY: the caller's promise.
        return unsafe { real(fd, command, argument) };
    }
    let _inside = shim::enter();
    capi::ntmfw_fcntl(fd, command, argument)
}

/// What `fcntl` is for programs whose file offsets have 64 bits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fcntl64(fd: c_int, command: c_int, argument: c_ulong) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { fcntl(fd, command, argument) }
}
