//! Datagrams of a connected UDP socket, both ways, each whole.

use std::cell::RefCell;
use std::sync::Arc;

use crate::errno::Errno;
use crate::socket::carrying::carrier::{Cargo, Progress};
use crate::socket::carrying::{Ends, give, hung_up, take, written};
use crate::socket::datagram;
use crate::socket::state::Socket;
use crate::stack::endpoint::{Datagram, Endpoint, Manner};
use crate::stack::udp::MAX_DATAGRAM;

/// Datagrams each way before others have their turn.
const TURN: usize = 64;

thread_local! {
    static ROOM: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_DATAGRAM + 1]);
}

pub(super) struct Datagrams {
    endpoint: Arc<Endpoint>,
    /// One that the pair had no room for.
    waiting: Option<Datagram>,
}

impl Datagrams {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, waiting: None }
    }

    /// From a holder to the peer. `None`: there is none; `Some(false)`: there will be none.
    fn send(socket: &Socket, ends: &Ends) -> Option<bool> {
        ROOM.with_borrow_mut(|room| {
            let length = match take(ends, room) {
                // An empty datagram, or the end, which comes after everything else.
                Ok(0) if hung_up(ends) && written(ends) == 0 => return Some(false),
                Ok(length) => length,
                Err(Errno(libc::EAGAIN | libc::EINTR)) => return None,
                Err(_) => return Some(false),
            };
            // The first call may give an error that an earlier datagram met, which no holder could be told.
            let send = || datagram::send(socket, &[&room[..length]], libc::MSG_DONTWAIT, None, &Manner::default());
            if send().is_err() {
                let _ = send();
            }
            Some(true)
        })
    }

    /// From the peer to a holder; whether there was one and room for it.
    fn deliver(&mut self, ends: &Ends) -> bool {
        let next = match self.waiting.take() {
            Some(waiting) => waiting,
            None => match self.endpoint.recv(false) {
                Ok(Some(datagram)) => datagram,
                Err(Errno(libc::EAGAIN)) | Ok(None) => return false,
                // Nobody can be told of an error about an earlier datagram.
                Err(_) => return true,
            },
        };
        match give(ends, &next.data) {
            Err(Errno(libc::EAGAIN | libc::EINTR | libc::ENOBUFS)) => {
                self.waiting = Some(next);
                false
            }
            _ => true,
        }
    }
}

impl Cargo for Datagrams {
    fn pump(&mut self, socket: &Arc<Socket>, ends: &Ends, closing: bool) -> Progress {
        for _ in 0..TURN {
            let sent = Self::send(socket, ends);
            if sent == Some(false) || (closing && sent.is_none()) {
                return Progress::Closed;
            }
            let delivered = self.deliver(ends);
            if sent.is_none() && !delivered {
                return Progress::Waiting;
            }
        }
        Progress::More
    }
}
