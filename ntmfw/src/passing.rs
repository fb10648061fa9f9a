//! Bytes on a Unix socket that a descriptor comes along with.

use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};

use libc::{c_int, c_uint};

use crate::errno::{Errno, Result};

const DESCRIPTOR: c_uint = size_of::<RawFd>() as c_uint;
/// Room for the ancillary data that one descriptor needs.
const CONTROL: usize = 64;

/// Bytes aligned as ancillary data must be.
#[repr(align(8))]
struct Control([u8; CONTROL]);

/// Sends bytes, of which there is at least one, and a descriptor; how many of the bytes went. Nothing raises `SIGPIPE`.
pub fn send(through: &impl AsRawFd, bytes: &[u8], fd: &impl AsRawFd, flags: c_int) -> Result<usize> {
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the header is filled with places that live for the call, and the bytes are only read; the first header of
    // ancillary data fits into the control bytes, which are aligned for it, with room for one descriptor.
    let sent = unsafe {
        let mut header = header_of(&mut part, &mut control);
        header.msg_controllen = libc::CMSG_SPACE(DESCRIPTOR) as _;
        let ancillary = libc::CMSG_FIRSTHDR(&raw const header);
        (*ancillary).cmsg_level = libc::SOL_SOCKET;
        (*ancillary).cmsg_type = libc::SCM_RIGHTS;
        (*ancillary).cmsg_len = libc::CMSG_LEN(DESCRIPTOR) as _;
        libc::CMSG_DATA(ancillary).cast::<RawFd>().write_unaligned(fd.as_raw_fd());
        libc::sendmsg(through.as_raw_fd(), &raw const header, flags | libc::MSG_NOSIGNAL)
    };
    usize::try_from(sent).map_err(|_| Errno::last())
}

/// Receives bytes, and the descriptor that came along; how many bytes came. The system closes any second descriptor.
pub fn receive(from: &impl AsRawFd, room: &mut [u8], flags: c_int) -> Result<(usize, Option<OwnedFd>)> {
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    // SAFETY: the header is filled with places that live for the call; ancillary data is looked at only where the
    // system says that there is some, and a descriptor it brings is nobody else's.
    unsafe {
        let mut header = header_of(&mut part, &mut control);
        // Not the room that it takes with what keeps the next one aligned: a second descriptor would fit there.
        header.msg_controllen = libc::CMSG_LEN(DESCRIPTOR) as _;
        let got =
            usize::try_from(libc::recvmsg(from.as_raw_fd(), &raw mut header, flags)).map_err(|_| Errno::last())?;
        let ancillary = libc::CMSG_FIRSTHDR(&raw const header);
        let fd = ancillary
            .as_ref()
            .filter(|ancillary| ancillary.cmsg_type == libc::SCM_RIGHTS)
            .map(|_| OwnedFd::from_raw_fd(libc::CMSG_DATA(ancillary).cast::<RawFd>().read_unaligned()));
        Ok((got, fd))
    }
}

fn header_of(part: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: all zeros are a message without anything.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::stack::pair::inode_of;

    #[test]
    fn a_descriptor_comes_along_with_bytes() {
        let (here, there) = UnixStream::pair().expect("a pair");
        let file = std::fs::File::open("/dev/null").expect("a file");
        assert_eq!(send(&here, b"abc", &file, 0), Ok(3));
        assert_eq!(send(&here, b"d", &file, 0), Ok(1));
        let mut room = [0; 3];
        let (got, fd) = receive(&there, &mut room, libc::MSG_CMSG_CLOEXEC).expect("received");
        assert_eq!((got, &room), (3, b"abc"));
        assert_eq!(fd.map(|fd| inode_of(&fd)), Some(inode_of(&file)));
    }

    #[test]
    fn bytes_without_a_descriptor_bring_none_and_an_end_is_no_bytes() {
        let (here, there) = UnixStream::pair().expect("a pair");
        std::io::Write::write_all(&mut &here, b"x").expect("written");
        drop(here);
        let mut room = [0; 8];
        assert!(matches!(receive(&there, &mut room, 0), Ok((1, None))));
        assert!(matches!(receive(&there, &mut room, 0), Ok((0, None))));
    }
}
