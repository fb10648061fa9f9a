//! Socket addresses as C has them.

use std::mem::size_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use libc::{c_int, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t};

use crate::errno::{Errno, Result};

/// What stands at `address`: an address, or `AF_UNSPEC`.
pub(super) enum Given {
    Address(SocketAddr),
    Unspecified,
}

/// Reads an address of `length` bytes for a socket of `family`, which may be `AF_UNSPEC` where both Internet families
/// will do.
///
/// # Safety
/// `address` is null or points to `length` bytes.
pub(super) unsafe fn read(address: *const sockaddr, length: socklen_t, family: c_int) -> Result<Given> {
    let length = length as usize;
    if length > size_of::<sockaddr_storage>() {
        return Err(Errno(libc::EINVAL));
    }
    if address.is_null() {
        return Err(Errno(libc::EFAULT));
    }
    if length < size_of::<libc::sa_family_t>() {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: the family's two bytes are there.
    let given = c_int::from(unsafe { (&raw const (*address).sa_family).read_unaligned() });
    if given == libc::AF_UNSPEC {
        return Ok(Given::Unspecified);
    }
    let family = if family == libc::AF_UNSPEC { given } else { family };
    let smallest = match family {
        libc::AF_INET => size_of::<sockaddr_in>(),
        libc::AF_INET6 => SMALLEST_V6,
        _ => return Err(Errno(libc::EAFNOSUPPORT)),
    };
    // In the kernel's order: what is too short is not looked at.
    if length < smallest {
        return Err(Errno(libc::EINVAL));
    }
    if given != family {
        return Err(Errno(libc::EAFNOSUPPORT));
    }
    if family == libc::AF_INET {
        // SAFETY: so many bytes are there.
        let inet = unsafe { address.cast::<sockaddr_in>().read_unaligned() };
        let ip = Ipv4Addr::from(u32::from_be(inet.sin_addr.s_addr));
        return Ok(Given::Address(SocketAddr::new(ip.into(), u16::from_be(inet.sin_port))));
    }
    // SAFETY: at least the part before the scope is there, and only so much is copied.
    let inet = unsafe {
        let mut inet: sockaddr_in6 = std::mem::zeroed();
        let copied = length.min(size_of::<sockaddr_in6>());
        std::ptr::copy_nonoverlapping(address.cast::<u8>(), (&raw mut inet).cast::<u8>(), copied);
        inet
    };
    let ip = Ipv6Addr::from(inet.sin6_addr.s6_addr);
    let port = u16::from_be(inet.sin6_port);
    Ok(Given::Address(SocketAddrV6::new(ip, port, inet.sin6_flowinfo, inet.sin6_scope_id).into()))
}

/// RFC 2133's `sockaddr_in6`, without a scope, is taken as Linux takes it.
const SMALLEST_V6: usize = 24;

/// The bytes of an address, and how many of them count.
pub(super) fn to_storage(address: SocketAddr) -> (sockaddr_storage, socklen_t) {
    // SAFETY: all zeros are a `sockaddr_storage`.
    let mut storage: sockaddr_storage = unsafe { std::mem::zeroed() };
    let length = match address {
        SocketAddr::V4(address) => {
            let inet = sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is larger and aligned for every address.
            unsafe { (&raw mut storage).cast::<sockaddr_in>().write(inet) };
            size_of::<sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            let inet = sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut storage).cast::<sockaddr_in6>().write(inet) };
            size_of::<sockaddr_in6>()
        }
    };
    (storage, length as socklen_t)
}

/// Writes an address where the caller has `*length` bytes of room, and its whole length into `*length`.
///
/// # Safety
/// `length` is null or valid; `out` is null or points to `*length` bytes.
pub(super) unsafe fn write(address: SocketAddr, out: *mut sockaddr, length: *mut socklen_t) -> Result<()> {
    if length.is_null() {
        return Err(Errno(libc::EFAULT));
    }
    let (storage, whole) = to_storage(address);
    // SAFETY: the caller's promise; no more is copied than there is room.
    unsafe {
        let room = length.read();
        if room.cast_signed() < 0 {
            return Err(Errno(libc::EINVAL));
        }
        if !out.is_null() {
            let copied = room.min(whole) as usize;
            std::ptr::copy_nonoverlapping((&raw const storage).cast::<u8>(), out.cast::<u8>(), copied);
        }
        length.write(whole);
    }
    Ok(())
}

/// The same where the caller may not want to know: both null.
///
/// # Safety
/// As [`write`].
pub(super) unsafe fn write_if_wanted(address: SocketAddr, out: *mut sockaddr, length: *mut socklen_t) -> Result<()> {
    if out.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe { write(address, out, length) }
}
