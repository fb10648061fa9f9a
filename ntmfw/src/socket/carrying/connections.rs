//! Connections that a port has accepted, passed to whoever calls `accept` on a descriptor of it.
//!
//! Each comes as one byte with a descriptor, which carries the connection's data and says whose it is ([`Label`]), or is a
//! connection of the kernel's.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};
use std::ptr::null_mut;
use std::sync::Arc;

use libc::c_int;

use crate::descriptors::Own;
use crate::errno::{Errno, Result};
use crate::runtime;
use crate::socket::carrying::carrier::{self, Cargo, Progress};
use crate::socket::carrying::label::Label;
use crate::socket::carrying::{Carried, Ends, carry_new, hung_up};
use crate::socket::fork;
use crate::socket::state::Socket;
use crate::socket::table::{self, Entry};
use crate::stack::listener::Listener;
use crate::stack::pair::inode_of;

/// Connections passed before others have their turn.
const TURN: usize = 16;
/// Room for the ancillary data that one descriptor needs.
const CONTROL: usize = 64;

pub(super) struct Connections {
    listener: Arc<Listener>,
    /// A port of the kernel's whose connections go the same way.
    kernel: Option<Own>,
    /// One that the pair had no room for.
    waiting: Option<OwnedFd>,
}

impl Connections {
    pub(super) fn new(listener: Arc<Listener>, kernel: Option<Own>) -> Self {
        if let Some(kernel) = &kernel {
            // SAFETY: only numbers go in.
            unsafe { libc::fcntl(kernel.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        }
        Self { listener, kernel, waiting: None }
    }

    fn next(&mut self, socket: &Socket) -> Result<OwnedFd> {
        if let Some(waiting) = self.waiting.take() {
            return Ok(waiting);
        }
        let connection = match self.listener.accept() {
            Err(Errno(libc::EAGAIN)) => return self.next_of_kernel(),
            other => other?,
        };
        let _whole = fork::exclude();
        let (fd, accepted) = socket.take_up(connection, libc::SOCK_CLOEXEC)?;
        carry_new(fd, &accepted)
    }

    fn next_of_kernel(&self) -> Result<OwnedFd> {
        let listener = self.kernel.as_ref().ok_or(Errno(libc::EAGAIN))?.as_raw_fd();
        // SAFETY: nobody asks for the address.
        let fd = unsafe { libc::accept4(listener, null_mut(), null_mut(), libc::SOCK_CLOEXEC) };
        // SAFETY: where it is one, the system just made it, and nobody else has it.
        if fd < 0 { Err(Errno::last()) } else { Ok(unsafe { OwnedFd::from_raw_fd(fd) }) }
    }
}

impl Cargo for Connections {
    fn source(&self) -> Option<RawFd> {
        self.kernel.as_ref().map(|kernel| kernel.as_raw_fd())
    }

    fn pump(&mut self, socket: &Arc<Socket>, ends: &Ends, closing: bool) -> Progress {
        if closing || hung_up(ends) {
            return Progress::Closed;
        }
        for _ in 0..TURN {
            let next = match self.next(socket) {
                Ok(next) => next,
                Err(Errno(libc::EAGAIN)) => return Progress::Waiting,
                // That one is lost: it ended already, or this process has no descriptor left for it.
                Err(_) => continue,
            };
            match pass(ends.back.as_raw_fd(), &next) {
                Ok(()) => {}
                Err(Errno(libc::EPIPE | libc::ECONNRESET)) => return Progress::Closed,
                Err(_) => {
                    self.waiting = Some(next);
                    return Progress::Waiting;
                }
            }
        }
        Progress::More
    }
}

/// The next connection that comes through `fd`, as a descriptor of its own, and who is at its other end; `None` where it is
/// one of the kernel's, who knows.
pub(crate) fn accept(fd: RawFd, flags: c_int) -> Result<(RawFd, Option<SocketAddr>)> {
    let accepted = receive(fd, flags & libc::SOCK_CLOEXEC != 0)?;
    if flags & libc::SOCK_NONBLOCK != 0 {
        // SAFETY: only numbers go in.
        unsafe { libc::fcntl(accepted.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    }
    let Some(label) = Label::of(accepted.as_raw_fd()) else { return Ok((accepted.into_raw_fd(), None)) };
    let front = inode_of(&accepted)?;
    let socket = if runtime::is_child() { None } else { carrier::find(front) };
    let accepted = accepted.into_raw_fd();
    let carried = Carried::labelled(label, front, socket.unwrap_or_default());
    drop(table::insert(accepted, Entry::Carried(Arc::new(carried))));
    Ok((accepted, label.remote))
}

/// Sends one descriptor, without waiting.
fn pass(through: RawFd, fd: &OwnedFd) -> Result<()> {
    let mut byte = 0_u8;
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
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
        libc::sendmsg(through, &raw const header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
    if sent < 0 { Err(Errno::last()) } else { Ok(()) }
}

/// Takes one descriptor. `ECONNABORTED` where whoever accepted connections is gone.
fn receive(from: RawFd, close_on_exec: bool) -> Result<OwnedFd> {
    let mut byte = 0_u8;
    let mut control = Control([0; CONTROL]);
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let flags = if close_on_exec { libc::MSG_CMSG_CLOEXEC } else { 0 };
    // SAFETY: the header is filled with places that live for the call; ancillary data is looked at only where the
    // system says that there is some, and a descriptor it brings is nobody else's.
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL as _;
        if libc::recvmsg(from, &raw mut header, flags) < 0 {
            return Err(Errno::last());
        }
        let ancillary = libc::CMSG_FIRSTHDR(&raw const header);
        if ancillary.is_null() || (*ancillary).cmsg_type != libc::SCM_RIGHTS {
            return Err(Errno(libc::ECONNABORTED));
        }
        let fd = libc::CMSG_DATA(ancillary).cast::<RawFd>().read_unaligned();
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Bytes aligned as ancillary data must be.
#[repr(align(8))]
struct Control([u8; CONTROL]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_through_a_pair_arrives() {
        let (here, there) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let file = std::fs::File::open("/dev/null").expect("a file");
        let inode = inode_of(&file);
        pass(here.as_raw_fd(), &file.into()).expect("passed");
        let fd = receive(there.as_raw_fd(), true).expect("received");
        assert_eq!(inode_of(&fd), inode);
    }

    #[test]
    fn where_nobody_accepts_any_more_the_call_fails() {
        let (here, there) = std::os::unix::net::UnixStream::pair().expect("a pair");
        drop(here);
        assert_eq!(receive(there.as_raw_fd(), true).map(|_| ()), Err(Errno(libc::ECONNABORTED)));
    }
}
