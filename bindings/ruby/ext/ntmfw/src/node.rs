//! What the library says of itself and of this node.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Write as _;
use std::os::fd::FromRawFd as _;
use std::sync::atomic::{AtomicU32, Ordering};

use magnus::{Error, RString, Ruby};

use crate::failure::checked;
use crate::library::{Path, library};
use crate::sockets::with_address;

/// The process in which the node runs; 0 where it does not run yet. A child of `fork` is another process.
static READY_IN: AtomicU32 = AtomicU32::new(0);
/// The longest name there is, and its end.
const NAME: usize = 256;

/// `Native.ready`: whether this process runs the node.
pub(crate) fn ready() -> bool {
    READY_IN.load(Ordering::Acquire) == std::process::id()
}

/// `Native.ready_elsewhere`: whether this process is a child of the one that runs the node.
pub(crate) fn ready_elsewhere() -> bool {
    ![0, std::process::id()].contains(&READY_IN.load(Ordering::Acquire))
}

pub(crate) fn is_ready_now() {
    READY_IN.store(std::process::id(), Ordering::Release);
}

pub(crate) fn version() -> String {
    // SAFETY: gives a C string that lives as long as the library.
    unsafe { CStr::from_ptr((library().version)()) }.to_string_lossy().into_owned()
}

pub(crate) fn local_name(ruby: &Ruby) -> Result<String, Error> {
    let mut room = [0; NAME];
    // SAFETY: there is as much room as said.
    checked(ruby, "ntmfw_local_name", unsafe { (library().local_name)(room.as_mut_ptr(), room.len()) })?;
    Ok(text(&room))
}

/// `Native.status`: JSON.
pub(crate) fn status(ruby: &Ruby) -> Result<String, Error> {
    let mut room: Vec<c_char> = vec![0; 4096];
    loop {
        // SAFETY: there is as much room as said.
        let length = unsafe { (library().status)(room.as_mut_ptr(), room.len()) };
        let length = usize::try_from(checked(ruby, "ntmfw_status", length)?).unwrap_or_default();
        if length < room.len() {
            return Ok(text(&room));
        }
        // What there is to say may grow meanwhile.
        room.resize(length * 2, 0);
    }
}

/// `Native.listen_to_events(fd)`: each event is a line of JSON that is written to the descriptor, from now on. The descriptor
/// is the library's from now on, too.
pub(crate) fn listen_to_events(ruby: &Ruby, fd: c_int) -> Result<(), Error> {
    // SAFETY: the listener takes the context as a number; it writes to a descriptor that Ruby has given up.
    let result = unsafe { (library().on_event)(write_event, fd as usize as *mut c_void) };
    checked(ruby, "ntmfw_on_event", result).map(drop)
}

/// Waits where Ruby does not read: the library then drops what nobody listens to in time.
unsafe extern "C" fn write_event(event: *const c_char, context: *mut c_void) {
    // SAFETY: the library gives a C string that is good until this is back.
    let mut line = unsafe { CStr::from_ptr(event) }.to_bytes().to_vec();
    line.push(b'\n');
    // SAFETY: the descriptor that `listen_to_events` was given; it is not closed here.
    let mut pipe = std::mem::ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(context as usize as c_int) });
    // Where nobody reads any more there is nobody to tell.
    let _ = pipe.write_all(&line);
}

/// `Native.path(fd)`: kind, interface, round trip in microseconds, losses per mille.
pub(crate) fn path(ruby: &Ruby, fd: c_int) -> Result<(c_int, String, u32, u32), Error> {
    let mut path = Path { kind: 0, interface: [0; 16], rtt_us: 0, loss_per_mille: 0 };
    // SAFETY: there is room for one.
    checked(ruby, "ntmfw_path_info", unsafe { (library().path_info)(fd, &raw mut path) })?;
    Ok((path.kind, text(&path.interface), path.rtt_us, path.loss_per_mille))
}

/// `Native.name_of(address)`: the node's name; `nil` where the address is no node's or its name is not known.
pub(crate) fn name_of(address: RString) -> Option<String> {
    let mut room = [0; NAME];
    let status = with_address(address, |address, length| {
        // SAFETY: so many bytes of an address are there, and there is as much room as said; no service is asked for.
        unsafe {
            (library().getnameinfo)(
                address,
                length,
                room.as_mut_ptr(),
                NAME as libc::socklen_t,
                std::ptr::null_mut(),
                0,
                libc::NI_NAMEREQD,
            )
        }
    });
    (status == 0).then(|| text(&room))
}

/// The text that ends at the first null.
fn text(room: &[c_char]) -> String {
    let bytes: Vec<u8> = room.iter().take_while(|byte| **byte != 0).map(|byte| byte.cast_unsigned()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
