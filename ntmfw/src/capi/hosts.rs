//! `gethostbyname` and its kin.

use std::cell::RefCell;
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::ptr::null_mut;

use libc::hostent;

use super::guard::{guard, guard_code};
use super::names::find_node;

/// `gethostbyname(3)`: the IPv4 address of a node, or what the system says. The answer is good until the thread asks
/// again; `h_errno` tells why there is none.
///
/// Blocks as `ntmfw_getaddrinfo` does. Null where there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_gethostbyname(name: *const c_char) -> *mut hostent {
    const AT_FIRST: usize = 1_024;
    const AT_MOST: usize = 1 << 16;
    thread_local! {
        /// The answer, and what it points to.
        static ANSWER: RefCell<(Box<MaybeUninit<hostent>>, Vec<u64>)> = RefCell::new((Box::new_uninit(), Vec::new()));
    }
    guard(|| {
        ANSWER.with_borrow_mut(|(answer, room)| {
            let mut size = AT_FIRST;
            loop {
                room.resize(size / size_of::<u64>(), 0);
                let mut result = null_mut();
                // SAFETY: a C string by the caller's promise; the rest is ours and lives for the call.
                let code = unsafe {
                    let why = __h_errno_location();
                    ntmfw_gethostbyname_r(
                        name,
                        answer.as_mut_ptr(),
                        room.as_mut_ptr().cast(),
                        size,
                        &raw mut result,
                        why,
                    )
                };
                if code != libc::ERANGE || size >= AT_MOST {
                    return Ok(result);
                }
                size *= 2;
            }
        })
    })
}

/// `gethostbyname_r(3)`: the same, told where the caller wants it.
///
/// `ERANGE` where the room is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_gethostbyname_r(
    name: *const c_char,
    answer: *mut hostent,
    room: *mut c_char,
    length: libc::size_t,
    result: *mut *mut hostent,
    why: *mut c_int,
) -> c_int {
    guard_code(libc::EIO, || {
        // SAFETY: a C string, by the caller's promise.
        let Some(found) = (unsafe { find_node(name) }) else {
            // SAFETY: the caller's promise is that of `gethostbyname_r`.
            return unsafe { gethostbyname_r(name, answer, room, length, result, why) };
        };
        // SAFETY: the caller has room for a pointer and a number, and `length` bytes at `room`.
        unsafe {
            result.write(null_mut());
            let resolved = match found {
                Ok(resolved) => resolved,
                Err(code) => {
                    why.write(if code == libc::EAI_NONAME { HOST_NOT_FOUND } else { TRY_AGAIN });
                    return if code == libc::EAI_NONAME { 0 } else { libc::EAGAIN };
                }
            };
            let bytes = std::slice::from_raw_parts_mut(room.cast::<MaybeUninit<u8>>(), length);
            let Some(made) = lay_out(resolved.name.as_str(), resolved.virtual4.into(), bytes) else {
                why.write(NETDB_INTERNAL);
                return libc::ERANGE;
            };
            answer.write(made);
            result.write(answer);
            0
        }
    })
}

/// What `gethostbyname` tells, with everything it points to in `room`; `None` where that is too small.
pub(crate) fn lay_out(name: &str, address: IpAddr, room: &mut [MaybeUninit<u8>]) -> Option<hostent> {
    /// No other names; one address; their ends.
    #[repr(C)]
    struct Lists {
        aliases: [*mut c_char; 1],
        addresses: [*mut c_char; 2],
        address: [u8; 16],
    }
    let start = room.as_ptr().align_offset(align_of::<Lists>());
    let (lists, rest) = room.get_mut(start..)?.split_at_mut_checked(size_of::<Lists>())?;
    let place = rest.get_mut(..=name.len())?;
    for (to, from) in place.iter_mut().zip(name.as_bytes().iter().chain(&[0])) {
        to.write(*from);
    }
    let (family, length, bytes) = match address {
        IpAddr::V4(ip) => (libc::AF_INET, 4, ip.to_ipv6_compatible().octets()),
        IpAddr::V6(ip) => (libc::AF_INET6, 16, ip.octets()),
    };
    let mut address = [0; 16];
    address[..length].copy_from_slice(&bytes[16 - length..]);
    let lists = lists.as_mut_ptr().cast::<Lists>();
    // SAFETY: the place is large enough and aligned for them.
    unsafe {
        let first = (&raw mut (*lists).address).cast::<c_char>();
        lists.write(Lists { aliases: [null_mut()], addresses: [first, null_mut()], address });
        Some(hostent {
            h_name: place.as_mut_ptr().cast(),
            h_aliases: (&raw mut (*lists).aliases).cast(),
            h_addrtype: family,
            h_length: length as c_int,
            h_addr_list: (&raw mut (*lists).addresses).cast(),
        })
    }
}

/// `<netdb.h>`'s.
const HOST_NOT_FOUND: c_int = 1;
const TRY_AGAIN: c_int = 2;
const NETDB_INTERNAL: c_int = -1;

unsafe extern "C" {
    fn __h_errno_location() -> *mut c_int;
    fn gethostbyname_r(
        name: *const c_char,
        answer: *mut hostent,
        room: *mut c_char,
        length: libc::size_t,
        result: *mut *mut hostent,
        why: *mut c_int,
    ) -> c_int;
}
