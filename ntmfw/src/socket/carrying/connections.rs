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
use crate::passing;
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
            match pass(&ends.back, &next) {
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
fn pass(through: &Own, fd: &OwnedFd) -> Result<()> {
    passing::send(through, &[0], fd, libc::MSG_DONTWAIT).map(drop)
}

/// Takes one descriptor. `ECONNABORTED` where whoever accepted connections is gone.
fn receive(from: RawFd, close_on_exec: bool) -> Result<OwnedFd> {
    let flags = if close_on_exec { libc::MSG_CMSG_CLOEXEC } else { 0 };
    let (_, fd) = passing::receive(&from, &mut [0], flags)?;
    fd.ok_or(Errno(libc::ECONNABORTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_through_a_pair_arrives() {
        let (here, there) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let file = std::fs::File::open("/dev/null").expect("a file");
        let inode = inode_of(&file);
        pass(&Own::new(here.into()), &file.into()).expect("passed");
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
