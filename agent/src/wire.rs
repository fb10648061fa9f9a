//! Messages on a Unix stream: a length of four bytes, big endian, then JSON. A descriptor comes with the length.

#![allow(unsafe_code)]

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Room for the status of a node with thousands of peers.
const MAX_MESSAGE: usize = 16 << 20;
const HEAD: usize = 4;
/// Room for the ancillary data that one descriptor needs.
const CONTROL: usize = 64;

/// Bytes aligned as ancillary data must be.
#[repr(align(8))]
struct Control([u8; CONTROL]);

pub(crate) fn write(stream: &mut UnixStream, message: &impl Serialize, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let head = length.to_be_bytes();
    match fd {
        Some(fd) => send_with(stream, head, fd)?,
        None => stream.write_all(&head)?,
    }
    stream.write_all(&text)
}

pub(crate) fn read<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<(T, Option<OwnedFd>)> {
    let (head, fd) = receive_with(stream)?;
    let length = u32::from_be_bytes(head) as usize;
    if length > MAX_MESSAGE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    Ok((serde_json::from_slice(&text)?, fd))
}

/// The user whose process this is.
pub(crate) fn own_user() -> libc::uid_t {
    // SAFETY: asks for a number.
    unsafe { libc::geteuid() }
}

/// The user whose process has the other end.
pub(crate) fn peer_user(stream: &UnixStream) -> io::Result<libc::uid_t> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let place = (&raw mut credentials).cast();
    // SAFETY: there is room for what is asked, and its length is told.
    let failed = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, place, &raw mut length) < 0
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(credentials.uid) }
}

fn send_with(stream: &UnixStream, mut head: [u8; HEAD], fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: HEAD };
    // SAFETY: the header is filled with places that live for the call; the first header of ancillary data fits into
    // the control bytes, which are aligned for it, with room for one descriptor.
    let sent = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
        let ancillary = libc::CMSG_FIRSTHDR(&raw const header);
        (*ancillary).cmsg_level = libc::SOL_SOCKET;
        (*ancillary).cmsg_type = libc::SCM_RIGHTS;
        (*ancillary).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
        libc::CMSG_DATA(ancillary).cast::<RawFd>().write_unaligned(fd.as_raw_fd());
        libc::sendmsg(stream.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL)
    };
    match usize::try_from(sent) {
        Ok(HEAD) => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

fn receive_with(stream: &UnixStream) -> io::Result<([u8; HEAD], Option<OwnedFd>)> {
    let mut head = [0; HEAD];
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: HEAD };
    // SAFETY: the header is filled with places that live for the call; ancillary data is looked at only where the system
    // says that there is some, and the descriptor it brings is nobody else's. The room holds no second one: what does not
    // fit is closed by the system.
    let (got, fd) = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
        let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_WAITALL;
        let got = libc::recvmsg(stream.as_raw_fd(), &raw mut header, flags);
        let ancillary = if got < 0 { std::ptr::null_mut() } else { libc::CMSG_FIRSTHDR(&raw const header) };
        let is_fd = |one: &libc::cmsghdr| {
            one.cmsg_type == libc::SCM_RIGHTS && one.cmsg_len == libc::CMSG_LEN(size_of::<RawFd>() as u32) as usize
        };
        let fd = ancillary
            .as_ref()
            .filter(|one| is_fd(one))
            .map(|_| OwnedFd::from_raw_fd(libc::CMSG_DATA(ancillary).cast::<RawFd>().read_unaligned()));
        (got, fd)
    };
    match usize::try_from(got) {
        Ok(HEAD) => Ok((head, fd)),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptor() {
        let (mut here, mut there) = UnixStream::pair().expect("a pair");
        let (passed, kept) = UnixStream::pair().expect("a pair");
        write(&mut here, &"hello", Some(passed.as_fd())).expect("written");
        drop(passed);
        let (text, fd) = read::<String>(&mut there).expect("read");
        assert_eq!(text, "hello");
        let mut other = UnixStream::from(fd.expect("it came along"));
        other.write_all(b"through").expect("it works");
        drop(other);
        let mut got = String::new();
        (&kept).read_to_string(&mut got).expect("it arrives");
        assert_eq!(got, "through");
        write(&mut here, &1, None).expect("written");
        assert!(matches!(read::<u8>(&mut there), Ok((1, None))));
    }

    #[test]
    fn a_length_beyond_all_bounds_is_refused_before_room_is_made() {
        let (mut here, mut there) = UnixStream::pair().expect("a pair");
        here.write_all(&u32::MAX.to_be_bytes()).expect("written");
        let refused = read::<String>(&mut there).expect_err("too long");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }
}
