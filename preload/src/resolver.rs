//! `res_query` and its kin: of a node they tell what the DNS would, made of its addresses.

use std::ffi::{CStr, c_char};
use std::net::IpAddr;

use libc::{c_int, c_uchar, c_void};
use ntmfw::elsewhere::Found;
use ntmfw::shim;

use crate::hosts::{HOST_NOT_FOUND, NETDB_INTERNAL};
use crate::names::is_node;
use crate::real::real;

/// `<netdb.h>`'s: why there is no answer.
const TRY_AGAIN: c_int = 2;
const NO_RECOVERY: c_int = 3;
const NO_DATA: c_int = 4;

/// Of RFC 1035 and RFC 3596.
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;
/// An answer, to a question that wished for recursion, by somebody who has it.
const FLAGS: u16 = 0x8180;
/// Where the name of the question stands, as names in answers say it.
const NAME_OF_QUESTION: u16 = 0xc00c;
/// Addresses never change; that a node is renamed is learnt within this time.
const SECONDS: u32 = 60;

unsafe extern "C" {
    fn __h_errno_location() -> *mut c_int;
}

/// What the DNS would say; `None` where there is no such record.
fn message(name: &str, kind: u16, found: &Found) -> Option<Vec<u8>> {
    let addresses = [(TYPE_A, IpAddr::from(found.virtual4)), (TYPE_AAAA, found.virtual6.into())];
    let records: Vec<_> = addresses.into_iter().filter(|(one, _)| kind == *one || kind == TYPE_ANY).collect();
    if records.is_empty() {
        return None;
    }
    let count = records.len() as u16;
    let mut bytes: Vec<u8> = [0, FLAGS, 1, count, 0, 0].into_iter().flat_map(u16::to_be_bytes).collect();
    for label in name.trim_end_matches('.').split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend([kind, CLASS_IN].into_iter().flat_map(u16::to_be_bytes));
    for (kind, address) in records {
        let data = match address {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        bytes.extend([NAME_OF_QUESTION, kind, CLASS_IN].into_iter().flat_map(u16::to_be_bytes));
        bytes.extend(SECONDS.to_be_bytes());
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
    Some(bytes)
}

/// Why there is no answer, as `h_errno` has it.
fn ask(name: &CStr, class: c_int, kind: c_int) -> Result<Vec<u8>, c_int> {
    let found = shim::look_up(name).map_err(|code| match code {
        libc::EAI_NONAME => HOST_NOT_FOUND,
        libc::EAI_AGAIN => TRY_AGAIN,
        _ => NO_RECOVERY,
    })?;
    let kind = u16::try_from(kind).ok().filter(|_| class == c_int::from(CLASS_IN));
    kind.and_then(|kind| message(&name.to_string_lossy(), kind, &found)).ok_or(NO_DATA)
}

/// The length of what was written to `room`, or -1 with `h_errno`.
///
/// # Safety
/// `name` is a C string, and there are `length` bytes at `room`.
unsafe fn give(name: *const c_char, class: c_int, kind: c_int, room: *mut c_uchar, length: c_int) -> c_int {
    let _inside = shim::enter();
    // SAFETY: the caller's promise.
    let answer = ask(unsafe { CStr::from_ptr(name) }, class, kind)
        .and_then(|answer| if length < answer.len() as c_int { Err(NETDB_INTERNAL) } else { Ok(answer) });
    // SAFETY: the room is as large as the caller says; the C library gives every thread an `h_errno`.
    unsafe {
        match answer {
            Ok(answer) => {
                std::ptr::copy_nonoverlapping(answer.as_ptr(), room, answer.len());
                answer.len() as c_int
            }
            Err(why) => {
                __h_errno_location().write(why);
                -1
            }
        }
    }
}

/// Each is `$name: $real(…)`: the C library's call that is the same. Names that begin with `__` are those that `<resolv.h>`
/// of older C libraries gives the others.
macro_rules! calls_that_ask {
    ($($name:ident: $real:ident($($state:ident: $type:ty)?);)*) => {$(
        /// As `res_query(3)`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            $($state: $type,)?
            name: *const c_char,
            class: c_int,
            kind: c_int,
            room: *mut c_uchar,
            length: c_int,
        ) -> c_int {
            let real = real!($real($($type,)? *const c_char, c_int, c_int, *mut c_uchar, c_int) -> c_int);
            // SAFETY: the caller's promise.
            unsafe {
                if is_node(name) {
                    give(name, class, kind, room, length)
                } else {
                    real($($state,)? name, class, kind, room, length)
                }
            }
        }
    )*};
}

calls_that_ask! {
    res_query: res_query();
    __res_query: res_query();
    res_search: res_search();
    __res_search: res_search();
    res_nquery: res_nquery(state: *mut c_void);
    __res_nquery: res_nquery(state: *mut c_void);
    res_nsearch: res_nsearch(state: *mut c_void);
    __res_nsearch: res_nsearch(state: *mut c_void);
}
