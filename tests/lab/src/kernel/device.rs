//! Network devices of the thread's namespace.

use std::ffi::CString;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

/// `ETHTOOL_STXCSUM` of `<linux/ethtool.h>`.
const SET_TRANSMIT_CHECKSUM: u32 = 0x17;

#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

pub(crate) fn index(name: &str) -> io::Result<i32> {
    let text = CString::new(name)?;
    // SAFETY: a text that ends with a zero and lives as long as the call.
    let index = unsafe { libc::if_nametoindex(text.as_ptr()) };
    match i32::try_from(index) {
        Ok(index) if index > 0 => Ok(index),
        _ => Err(io::Error::other(format!("{name}: {}", io::Error::last_os_error()))),
    }
}

/// Has the kernel finish checksums and cut large segments before the device gets them, as on a wire: whoever reads
/// frames at the other end then sees what a network would carry.
pub(crate) fn finish_frames(name: &str) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("0.0.0.0:0"))?;
    let mut value = Value { command: SET_TRANSMIT_CHECKSUM, data: 0 };
    // SAFETY: all zeros is an `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let bytes = name.as_bytes();
    if bytes.len() >= request.ifr_name.len() {
        return Err(io::Error::other(format!("{name}: too long a name for a device")));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request names a device and points to a value of the layout this command has; both outlive the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if done < 0 { Err(io::Error::other(format!("{name}: {}", io::Error::last_os_error()))) } else { Ok(()) }
}
