//! Messages on a Unix stream: a length of four bytes, big endian, then JSON. A descriptor comes with the length.

#![allow(unsafe_code)]

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use ntmfw::passing;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Room for the status of a node with thousands of peers.
const MAX_MESSAGE: usize = 16 << 20;
const HEAD: usize = 4;

pub(crate) fn write(stream: &mut UnixStream, message: &impl Serialize, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let head = length.to_be_bytes();
    match fd {
        Some(fd) if passing::send(stream, &head, &fd, 0)? < HEAD => return Err(io::ErrorKind::WriteZero.into()),
        Some(_) => {}
        None => stream.write_all(&head)?,
    }
    stream.write_all(&text)
}

pub(crate) fn read<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<(T, Option<OwnedFd>)> {
    let mut head = [0; HEAD];
    let (got, fd) = passing::receive(stream, &mut head, libc::MSG_CMSG_CLOEXEC | libc::MSG_WAITALL)?;
    if got < HEAD {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
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
