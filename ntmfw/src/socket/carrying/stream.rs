//! Bytes of a TCP connection, both ways.

use std::sync::Arc;

use crate::errno::{Errno, Result};
use crate::socket::carrying::carrier::{Cargo, Progress};
use crate::socket::carrying::{Ends, give, hung_up, shut, take, written};
use crate::socket::state::Socket;
use crate::stack::tcp::Connection;

/// Moves each way before others have their turn. One fills what the connection or the pair has room for.
const TURN: usize = 8;

pub(super) struct Stream {
    connection: Arc<Connection>,
    /// Whether holders may still write.
    sending: bool,
    /// Whether the peer may still send, and holders read.
    delivering: bool,
}

/// What one move came to.
enum Move {
    Moved,
    Blocked,
    /// Nothing more will come this way.
    Ended,
    /// Nobody takes what comes this way.
    Refused,
    Over(Progress),
}

impl Stream {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, sending: true, delivering: true }
    }

    /// From the holders to the peer.
    fn send(&self, socket: &Socket, ends: &Ends) -> Move {
        let mut taken = None;
        let sent = self.connection.send_from(&socket.core, |room| *taken.insert(take(ends, room)));
        match (taken, sent) {
            (Some(Ok(0)), _) => Move::Ended,
            (Some(Ok(_)), _) => Move::Moved,
            (Some(Err(error)), _) if is_passing(error) => Move::Blocked,
            (Some(Err(_)), _) => Move::Over(Progress::Left),
            // There is no room; that nobody is left to wait for it is to be noticed all the same.
            (None, Err(Errno(libc::EAGAIN))) if hung_up(ends) && (ends.is_veiled() || written(ends) == 0) => {
                Move::Ended
            }
            (None, Err(Errno(libc::EAGAIN))) => Move::Blocked,
            (None, Err(Errno(libc::EPIPE))) => Move::Refused,
            (None, Err(error)) => Move::Over(Progress::Broken(error)),
            (None, Ok(_)) => Move::Blocked,
        }
    }

    /// From the peer to the holders.
    fn deliver(&self, socket: &Socket, ends: &Ends) -> Move {
        let mut given: Option<Result<usize>> = None;
        let received = self.connection.recv_into(&socket.core, |data| *given.insert(give(ends, data)));
        match (given, received) {
            (Some(Ok(_)), _) => Move::Moved,
            (Some(Err(error)), _) if is_passing(error) => Move::Blocked,
            (Some(Err(Errno(libc::EPIPE))), _) => Move::Refused,
            (Some(Err(_)), _) => Move::Over(Progress::Left),
            (None, Ok(_)) => Move::Ended,
            (None, Err(Errno(libc::EAGAIN))) => Move::Blocked,
            (None, Err(error)) => Move::Over(Progress::Broken(error)),
        }
    }
}

impl Cargo for Stream {
    fn pump(&mut self, socket: &Arc<Socket>, ends: &Ends, closing: bool) -> Progress {
        for _ in 0..TURN {
            let mut moved = false;
            if self.sending {
                match self.send(socket, ends) {
                    Move::Moved => moved = true,
                    Move::Blocked if closing && written(ends) == 0 => return Progress::Closed,
                    Move::Blocked => {}
                    Move::Ended => {
                        self.sending = false;
                        let _ = self.connection.shutdown(&socket.core, false, true);
                    }
                    Move::Refused => {
                        self.sending = false;
                        shut(ends, libc::SHUT_RD);
                    }
                    Move::Over(how) => return how,
                }
            }
            if self.delivering {
                match self.deliver(socket, ends) {
                    Move::Moved => moved = true,
                    Move::Blocked => {}
                    Move::Ended => {
                        self.delivering = false;
                        shut(ends, libc::SHUT_WR);
                    }
                    Move::Refused => {
                        self.delivering = false;
                        let _ = self.connection.shutdown(&socket.core, true, false);
                    }
                    Move::Over(how) => return how,
                }
            }
            if !self.sending && (closing || !self.delivering || hung_up(ends)) {
                return Progress::Closed;
            }
            if !moved {
                return Progress::Waiting;
            }
        }
        Progress::More
    }
}

/// Whether the same may work later.
fn is_passing(error: Errno) -> bool {
    matches!(error.0, libc::EAGAIN | libc::EINTR | libc::ENOBUFS | libc::ENOMEM)
}
