//! `shutdown` and `close`.

use std::sync::Arc;
use std::time::Duration;

use libc::c_int;

use super::{Socket, State};
use crate::errno::{Errno, Result};
use crate::packet::reader::wait_for;
use crate::stack::readiness::ERR;
use crate::stack::tcp::Connection;

impl Socket {
    pub(crate) fn shutdown(&self, how: c_int) -> Result<()> {
        let (receiving, sending) = match how {
            libc::SHUT_RD => (true, false),
            libc::SHUT_WR => (false, true),
            libc::SHUT_RDWR => (true, true),
            _ => return Err(Errno(libc::EINVAL)),
        };
        let outcome = {
            let state = &mut *self.state.lock();
            match state {
                State::Connected { connection, .. } => connection.shutdown(&self.core, receiving, sending),
                State::Fresh { .. } => Err(Errno(libc::ENOTCONN)),
                // Without a peer it is an error and is done all the same, as in Linux: it wakes whoever waits.
                State::Datagram { endpoint, peer, .. } => {
                    endpoint.shutdown(receiving, sending);
                    if peer.is_some() { Ok(()) } else { Err(Errno(libc::ENOTCONN)) }
                }
                State::Listening { .. } => {
                    if receiving {
                        self.stop_listening(state);
                    }
                    Ok(())
                }
            }
        };
        self.core.settle();
        outcome
    }

    /// Nobody is accepted any more; the port is the socket's still.
    pub(super) fn stop_listening(&self, state: &mut State) {
        let State::Listening { listener, place } = &*state else { return };
        let (listener, place) = (listener.clone(), *place);
        self.core.stack.tcp.withdraw(&place, &listener);
        listener.close(&self.core);
        self.become_fresh(state, Some(place));
    }

    /// Ends what the socket is; it is nothing any more.
    fn close(&self) {
        let state = std::mem::replace(&mut *self.state.lock(), State::Fresh { place: None });
        match state {
            State::Fresh { place } => {
                if let Some(place) = place {
                    self.core.stack.tcp.release(&place, None);
                }
            }
            State::Listening { listener, place } => {
                self.core.stack.tcp.release(&place, Some(&listener));
                listener.close(&self.core);
            }
            State::Connected { connection, place, .. } => {
                let linger = self.options.lock().linger;
                connection.readiness.hide();
                connection.close(&self.core, linger == Some(Duration::ZERO));
                if let Some(patience) = linger.filter(|patience| !patience.is_zero()) {
                    self.linger(&connection, patience);
                }
                if let Some(held) = place {
                    self.core.stack.tcp.release(&held.place, None);
                }
            }
            State::Datagram { endpoint, place, .. } => {
                if let Some(place) = place {
                    self.ports().release(&place, Some(&endpoint));
                }
            }
        }
        self.core.settle();
    }

    /// Closes it without anybody who could wait; what the other end sent and nobody read makes it a reset, as does
    /// `abruptly`.
    pub(crate) fn close_unattended(&self, abruptly: bool) {
        {
            let linger = &mut self.options.lock().linger;
            *linger = (abruptly || *linger == Some(Duration::ZERO)).then_some(Duration::ZERO);
        }
        self.close();
    }

    /// Waits until what was sent has arrived, or the time is over.
    fn linger(&self, connection: &Arc<Connection>, patience: Duration) {
        let until = self.core.now() + patience;
        while !connection.is_over() && connection.queues().1 > 0 && self.core.now() < until {
            let step = (self.core.now() + Duration::from_millis(10)).min(until);
            // Nothing announces that a send queue ran empty; the wait is for the packets that empty it.
            let _ = wait_for(&self.core, &self.idle, ERR, Some(step));
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.close();
    }
}
