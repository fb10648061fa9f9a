//! Reading and writing. A stream's descriptor carries data, so these calls would do without us; a datagram socket's does not,
//! because whom a datagram is for, or is from, the kernel would not know.

use libc::{c_int, c_uint, c_ulong, c_void, iovec, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t, timespec};
use ntmfw::capi;
use ntmfw::shim;

use crate::real::{calls_on_sockets, real};
use crate::sockets::adopt;

/// Before something is sent: a datagram socket of the kernel's that meets a virtual address becomes one of ours.
///
/// # Safety
/// `address` is null or points to `length` bytes.
unsafe fn meet(fd: c_int, address: *const c_void, length: socklen_t) {
    // SAFETY: the caller's promise.
    if !address.is_null() && unsafe { shim::is_virtual(address.cast(), length) } && !shim::is_socket(fd) {
        adopt(fd);
    }
}

/// The same for a message.
///
/// # Safety
/// `message` is null or one that `sendmsg` may be given.
unsafe fn meet_of(fd: c_int, message: *const msghdr) {
    // SAFETY: the caller's promise.
    if let Some(message) = unsafe { message.as_ref() } {
        // SAFETY: the caller's promise.
        unsafe { meet(fd, message.msg_name, message.msg_namelen) };
    }
}

/// `sendto(2)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendto(
    fd: c_int,
    data: *const c_void,
    length: size_t,
    flags: c_int,
    address: *const sockaddr,
    address_length: socklen_t,
) -> ssize_t {
    let real = real!(sendto(c_int, *const c_void, size_t, c_int, *const sockaddr, socklen_t) -> ssize_t);
    // SAFETY: the caller's promise.
    unsafe {
        if shim::is_inside() {
            return real(fd, data, length, flags, address, address_length);
        }
        let _inside = shim::enter();
        meet(fd, address.cast(), address_length);
        if shim::is_socket(fd) {
            capi::ntmfw_sendto(fd, data, length, flags, address, address_length)
        } else {
            real(fd, data, length, flags, address, address_length)
        }
    }
}

/// `sendmsg(2)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t {
    let real = real!(sendmsg(c_int, *const msghdr, c_int) -> ssize_t);
    // SAFETY: the caller's promise.
    unsafe {
        if shim::is_inside() {
            return real(fd, message, flags);
        }
        let _inside = shim::enter();
        meet_of(fd, message);
        // Also where the socket is the kernel's: descriptors that are passed carry data from then on.
        capi::ntmfw_sendmsg(fd, message, flags)
    }
}

/// `sendmmsg(2)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int {
    let real = real!(sendmmsg(c_int, *mut mmsghdr, c_uint, c_int) -> c_int);
    // SAFETY: the caller's promise.
    unsafe {
        if shim::is_inside() {
            return real(fd, messages, count, flags);
        }
        let _inside = shim::enter();
        if !messages.is_null() && count > 0 {
            meet_of(fd, &raw const (*messages).msg_hdr);
        }
        if shim::is_socket(fd) {
            capi::ntmfw_sendmmsg(fd, messages, count, flags)
        } else {
            real(fd, messages, count, flags)
        }
    }
}

calls_on_sockets! {
    /// `read(2)`
    fn read(fd: c_int, room: *mut c_void, length: size_t) -> ssize_t => ntmfw_read;
    /// `write(2)`
    fn write(fd: c_int, data: *const c_void, length: size_t) -> ssize_t => ntmfw_write;
    /// `readv(2)`
    fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t => ntmfw_readv;
    /// `writev(2)`
    fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t => ntmfw_writev;
    /// `send(2)`
    fn send(fd: c_int, data: *const c_void, length: size_t, flags: c_int) -> ssize_t => ntmfw_send;
    /// `recv(2)`
    fn recv(fd: c_int, room: *mut c_void, length: size_t, flags: c_int) -> ssize_t => ntmfw_recv;
    /// `recvfrom(2)`
    fn recvfrom(
        fd: c_int,
        room: *mut c_void,
        length: size_t,
        flags: c_int,
        address: *mut sockaddr,
        address_length: *mut socklen_t
    ) -> ssize_t => ntmfw_recvfrom;
    /// `recvmsg(2)`
    fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t => ntmfw_recvmsg;
    /// `recvmmsg(2)`
    fn recvmmsg(
        fd: c_int,
        messages: *mut mmsghdr,
        count: c_uint,
        flags: c_int,
        timeout: *mut timespec
    ) -> c_int => ntmfw_recvmmsg;
    /// `ioctl(2)`, whose third argument is whatever there is (`...`), in the register in which one argument would be.
    fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int => ntmfw_ioctl;
}

// What the compiler makes of the calls where it knows how much room there is. A room that is too small ends the program.

unsafe extern "C" {
    fn __chk_fail() -> !;
}

/// Ends the program where it would read beyond its room.
fn check(length: size_t, room: size_t) {
    if length > room {
        // SAFETY: takes nothing and does not come back.
        unsafe { __chk_fail() }
    }
}

/// `read` with a known room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __read_chk(fd: c_int, room: *mut c_void, length: size_t, size: size_t) -> ssize_t {
    check(length, size);
    // SAFETY: the caller's promise.
    unsafe { read(fd, room, length) }
}

/// `recv` with a known room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __recv_chk(
    fd: c_int,
    room: *mut c_void,
    length: size_t,
    size: size_t,
    flags: c_int,
) -> ssize_t {
    check(length, size);
    // SAFETY: the caller's promise.
    unsafe { recv(fd, room, length, flags) }
}

/// `recvfrom` with a known room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    room: *mut c_void,
    length: size_t,
    size: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> ssize_t {
    check(length, size);
    // SAFETY: the caller's promise.
    unsafe { recvfrom(fd, room, length, flags, address, address_length) }
}
