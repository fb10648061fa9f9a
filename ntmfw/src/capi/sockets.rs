//! A socket's life: `socket` to `close`.

use std::os::fd::RawFd;

use libc::{c_int, sockaddr, socklen_t};

use super::address::{self, Given};
use super::guard::{checked, core, guard};
use crate::errno::Errno;
use crate::runtime;
use crate::socket::state::{Kind, Outcome, Socket};
use crate::socket::table::{self, Entry};
use crate::socket::{carrying, fork};

/// `socket(2)`: streams, datagrams and ICMP echoes (`SOCK_DGRAM` with `IPPROTO_ICMP`) of `AF_INET` and `AF_INET6` are NTM
/// sockets until they meet an address that is not virtual; everything else is the kernel's from the start, and in a child
/// of `fork` these are, too.
///
/// Does not block once the library has begun. `EAFNOSUPPORT`, `EPROTONOSUPPORT`, `ESOCKTNOSUPPORT`, `EINVAL` for
/// unknown flags, `EMFILE`; and what `ntmfw_init` says where the library cannot begin.
#[unsafe(no_mangle)]
pub extern "C" fn ntmfw_socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    guard(|| {
        let flags = kind & (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
        let ours = match (domain, kind & !flags, protocol) {
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Kind::Stream,
            (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Kind::Datagram,
            (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)
            | (libc::AF_INET6, libc::SOCK_DGRAM, libc::IPPROTO_ICMPV6) => Kind::Echo,
            // SAFETY: only numbers go in and come out.
            _ => return checked(unsafe { libc::socket(domain, kind, protocol) }),
        };
        if runtime::is_child() {
            // SAFETY: as above.
            return checked(unsafe { libc::socket(domain, kind, protocol) });
        }
        Socket::open(core()?, domain, ours, flags)
    })
}

/// `socketpair(2)`, which is the kernel's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_socketpair(domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int) -> c_int {
    // SAFETY: the caller's promise is the system call's.
    guard(|| checked(unsafe { libc::socketpair(domain, kind, protocol, pair) }))
}

/// `bind(2)`: to an address of this node, or to any.
///
/// Does not block. `EADDRINUSE`, `EADDRNOTAVAIL` for an address that is no node's own, `EINVAL` when it is bound,
/// `EAFNOSUPPORT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    guard(|| {
        if let Some(socket) = table::find(fd) {
            // SAFETY: the caller's promise.
            let local = match unsafe { address::read(address, length, socket.family) }? {
                Given::Address(local) => local,
                Given::Unspecified => return Err(Errno(libc::EAFNOSUPPORT)),
            };
            if socket.bind(fd, local)? == Outcome::Done {
                return Ok(0);
            }
        }
        // SAFETY: the caller's promise is the system call's.
        checked(unsafe { libc::bind(fd, address, length) })
    })
}

/// `listen(2)`.
///
/// Does not block. Nodes are accepted, not the kernel's network. `EINVAL` on a connection, `EOPNOTSUPP` on datagrams,
/// `EADDRINUSE`.
#[unsafe(no_mangle)]
pub extern "C" fn ntmfw_listen(fd: c_int, backlog: c_int) -> c_int {
    guard(|| match table::entry(fd) {
        Some(Entry::Direct(socket)) => socket.listen(backlog).map(|()| 0),
        // How many may wait stays as it was.
        Some(Entry::Carried(carried)) if carried.listening => Ok(0),
        // SAFETY: only numbers go in and come out.
        _ => checked(unsafe { libc::listen(fd, backlog) }),
    })
}

/// `accept(2)`.
///
/// Blocks until somebody connects. `EAGAIN`, `EINVAL` where it does not listen, `EOPNOTSUPP` on datagrams, `EMFILE`,
/// `EINTR`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_accept(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { ntmfw_accept4(fd, address, length, 0) }
}

/// `accept4(2)`.
///
/// As `ntmfw_accept`, with `SOCK_CLOEXEC` and `SOCK_NONBLOCK`; `EINVAL` for other flags.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_accept4(
    fd: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    guard(|| {
        let Some(entry) = table::entry(fd) else {
            // SAFETY: the caller's promise is the system call's.
            return checked(unsafe { libc::accept4(fd, address, length, flags) });
        };
        if flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
            return Err(Errno(libc::EINVAL));
        }
        if !address.is_null() && length.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        let (accepted, remote) = match entry {
            Entry::Direct(socket) => socket.accept(flags).map(|(accepted, remote)| (accepted, Some(remote)))?,
            Entry::Carried(carried) if carried.listening => carrying::accept(fd, flags)?,
            Entry::Carried(_) => return Err(Errno(libc::EINVAL)),
        };
        let told = match remote {
            // SAFETY: the caller's promise.
            Some(remote) => unsafe { address::write_if_wanted(remote, address, length) },
            None if address.is_null() => Ok(()),
            // SAFETY: the caller's promise; the system writes as much as there is room for.
            None => checked(unsafe { libc::getpeername(accepted, address, length) }).map(|_| ()),
        };
        if let Err(error) = told {
            ntmfw_close(accepted);
            return Err(error);
        }
        Ok(accepted)
    })
}

/// `connect(2)`: to a virtual address through a tunnel, to any other through the kernel. A child of `fork` reaches no
/// virtual address by itself: `ENETDOWN`.
///
/// Blocks until the connection is made, refused, or given up after `SO_SNDTIMEO` or two minutes; `EINPROGRESS` where
/// it shall not block, and `SO_ERROR` tells later. Errors: `ECONNREFUSED`, `EHOSTUNREACH` where nobody has the
/// address, `ETIMEDOUT`, `ENETUNREACH` before the node is registered, `EISCONN`, `EALREADY`, `EADDRNOTAVAIL` without a
/// free port, `EAFNOSUPPORT`, `EINTR`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    guard(|| {
        if let Some(socket) = table::find(fd) {
            // SAFETY: the caller's promise.
            match unsafe { address::read(address, length, socket.family) }? {
                Given::Unspecified => return socket.disconnect().map(|()| 0),
                Given::Address(remote) => {
                    if socket.connect(fd, remote)? == Outcome::Done {
                        return Ok(0);
                    }
                }
            }
        } else if table::carried(fd).is_some() {
            return Err(Errno(libc::EISCONN));
        } else if runtime::is_child()
            // SAFETY: the caller's promise.
            && let Ok(Given::Address(remote)) = unsafe { address::read(address, length, libc::AF_UNSPEC) }
        {
            fork::refuse_virtual(remote)?;
        }
        // SAFETY: the caller's promise is the system call's.
        checked(unsafe { libc::connect(fd, address, length) })
    })
}

/// `shutdown(2)`.
///
/// Does not block. `ENOTCONN`, `EINVAL`.
#[unsafe(no_mangle)]
pub extern "C" fn ntmfw_shutdown(fd: c_int, how: c_int) -> c_int {
    guard(|| match table::find(fd) {
        Some(socket) => socket.shutdown(how).map(|()| 0),
        // SAFETY: only numbers go in and come out.
        None => checked(unsafe { libc::shutdown(fd, how) }),
    })
}

/// `close(2)`. The connection ends when its last descriptor is closed; what was sent still arrives.
///
/// Blocks only for `SO_LINGER`. `EBADF`. The number is free in any case.
#[unsafe(no_mangle)]
pub extern "C" fn ntmfw_close(fd: c_int) -> c_int {
    guard(|| {
        let entry = table::remove(fd);
        // SAFETY: only a number goes in; the descriptor is the caller's to close.
        let closed = checked(unsafe { libc::close(fd) });
        drop(entry);
        closed
    })
}

/// `getsockname(2)`.
///
/// Does not block. `EINVAL` for a negative length, `EFAULT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_getsockname(fd: RawFd, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    guard(|| {
        let local = match table::entry(fd) {
            Some(Entry::Direct(socket)) => socket.local_address(),
            Some(Entry::Carried(carried)) => carried.local,
            // SAFETY: the caller's promise is the system call's.
            None => return checked(unsafe { libc::getsockname(fd, address, length) }),
        };
        // SAFETY: the caller's promise.
        unsafe { address::write(local, non_null(address)?, length) }.map(|()| 0)
    })
}

/// `getpeername(2)`.
///
/// Does not block. `ENOTCONN`, `EINVAL`, `EFAULT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_getpeername(fd: RawFd, address: *mut sockaddr, length: *mut socklen_t) -> c_int {
    guard(|| {
        let remote = match table::entry(fd) {
            Some(Entry::Direct(socket)) => socket.peer_address()?,
            Some(Entry::Carried(carried)) => carried.peer()?,
            // SAFETY: the caller's promise is the system call's.
            None => return checked(unsafe { libc::getpeername(fd, address, length) }),
        };
        // SAFETY: the caller's promise.
        unsafe { address::write(remote, non_null(address)?, length) }.map(|()| 0)
    })
}

fn non_null<T>(pointer: *mut T) -> crate::errno::Result<*mut T> {
    if pointer.is_null() { Err(Errno(libc::EFAULT)) } else { Ok(pointer) }
}
