//! `gethostbyname2` and `gethostbyaddr`: of nodes, in the form that the C library gives.

use std::cell::RefCell;
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr::null_mut;

use libc::{c_int, c_void, hostent, size_t, socklen_t};
use ntmfw::shim;

use crate::names::{gethostbyname, gethostbyname_r, is_node};
use crate::real::{real, real_into_room};

/// `<netdb.h>`'s.
pub(crate) const HOST_NOT_FOUND: c_int = 1;
pub(crate) const NETDB_INTERNAL: c_int = -1;

/// A node, as far as these calls tell.
struct Host {
    name: String,
    address: IpAddr,
}

impl Host {
    /// The node of this name with its IPv6 address.
    ///
    /// # Safety
    /// `name` is a C string.
    unsafe fn of_name(name: *const c_char) -> Option<Self> {
        // SAFETY: the caller's promise.
        let found = shim::look_up(unsafe { CStr::from_ptr(name) }).ok()?;
        Some(Self { name: found.name, address: found.virtual6.into() })
    }

    /// The node with this address, if its name is known.
    ///
    /// # Safety
    /// `address` is null or points to `length` bytes.
    unsafe fn of_address(address: *const c_void, length: socklen_t, family: c_int) -> Option<Self> {
        if address.is_null() {
            return None;
        }
        // SAFETY: so many bytes are there.
        let address: IpAddr = unsafe {
            match (family, length) {
                (libc::AF_INET, 4) => Ipv4Addr::from(address.cast::<[u8; 4]>().read_unaligned()).into(),
                (libc::AF_INET6, 16) => Ipv6Addr::from(address.cast::<[u8; 16]>().read_unaligned()).into(),
                _ => return None,
            }
        };
        Some(Self { name: shim::name_of(address.to_canonical())?, address })
    }

    /// Writes it where the caller of a call that ends with `_r` wants it.
    ///
    /// # Safety
    /// The pointers are valid, and there are `length` bytes at `room`.
    unsafe fn give(
        host: Option<Self>,
        entry: *mut hostent,
        room: *mut c_char,
        length: size_t,
        result: *mut *mut hostent,
        error: *mut c_int,
    ) -> c_int {
        // SAFETY: the caller's promise.
        unsafe {
            result.write(null_mut());
            let Some(host) = host else {
                error.write(HOST_NOT_FOUND);
                return 0;
            };
            let room = std::slice::from_raw_parts_mut(room.cast::<MaybeUninit<u8>>(), length);
            let Some(made) = shim::lay_out(&host.name, host.address, room) else {
                error.write(NETDB_INTERNAL);
                return libc::ERANGE;
            };
            entry.write(made);
            result.write(entry);
            0
        }
    }

    /// What the calls without `_r` give: good until the thread asks again.
    fn keep(self) -> *mut hostent {
        type Room = [MaybeUninit<u8>; 1_024];
        thread_local! {
            static ANSWER: RefCell<(MaybeUninit<hostent>, Room)> =
                const { RefCell::new((MaybeUninit::uninit(), [MaybeUninit::uninit(); 1_024])) };
        }
        ANSWER.with_borrow_mut(|(entry, room)| match shim::lay_out(&self.name, self.address, room) {
            Some(made) => std::ptr::from_mut(entry.write(made)),
            None => null_mut(),
        })
    }
}

/// `gethostbyname2(3)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent {
    let real = real!(gethostbyname2(*const c_char, c_int) -> *mut hostent);
    // SAFETY: the caller's promise.
    unsafe {
        if !is_node(name) {
            return real(name, family);
        }
        if family == libc::AF_INET {
            return gethostbyname(name);
        }
        let _inside = shim::enter();
        Host::of_name(name).map_or(null_mut(), Host::keep)
    }
}

/// `gethostbyname2_r(3)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gethostbyname2_r(
    name: *const c_char,
    family: c_int,
    entry: *mut hostent,
    room: *mut c_char,
    length: size_t,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    let real = real_into_room!(gethostbyname2_r(*const c_char, c_int));
    // SAFETY: the caller's promise.
    unsafe {
        if !is_node(name) {
            return real(name, family, entry, room, length, result, error);
        }
        if family == libc::AF_INET {
            return gethostbyname_r(name, entry, room, length, result, error);
        }
        let _inside = shim::enter();
        Host::give(Host::of_name(name), entry, room, length, result, error)
    }
}

/// `gethostbyaddr(3)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gethostbyaddr(address: *const c_void, length: socklen_t, family: c_int) -> *mut hostent {
    let real = real!(gethostbyaddr(*const c_void, socklen_t, c_int) -> *mut hostent);
    // SAFETY: the caller's promise.
    unsafe {
        let host = if shim::is_inside() { None } else { Host::of_address(address, length, family) };
        host.map_or_else(|| real(address, length, family), Host::keep)
    }
}

/// `gethostbyaddr_r(3)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gethostbyaddr_r(
    address: *const c_void,
    address_length: socklen_t,
    family: c_int,
    entry: *mut hostent,
    room: *mut c_char,
    length: size_t,
    result: *mut *mut hostent,
    error: *mut c_int,
) -> c_int {
    let real = real_into_room!(gethostbyaddr_r(*const c_void, socklen_t, c_int));
    // SAFETY: the caller's promise.
    unsafe {
        match Host::of_address(address, address_length, family) {
            Some(host) if !shim::is_inside() => Host::give(Some(host), entry, room, length, result, error),
            _ => real(address, address_length, family, entry, room, length, result, error),
        }
    }
}
