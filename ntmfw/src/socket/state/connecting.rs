//! From `connect` on.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::Arc;

use super::{Held, Kind, Outcome, Socket, State};
use crate::errno::{Errno, Result};
use crate::packet::reader::wait_for;
use crate::socket::signals;
use crate::stack::FlowId;
use crate::stack::endpoint::Endpoint;
use crate::stack::readiness::{ERR, OUT};
use crate::stack::tcp::Connection;

impl Socket {
    pub(crate) fn connect(&self, fd: RawFd, address: SocketAddr) -> Result<Outcome> {
        let mut address = self.reachable(address, libc::ENETUNREACH)?;
        if address.ip().is_unspecified() {
            address.set_ip(self.core.own_address(address.ip()).ok_or(Errno(libc::ENETUNREACH))?);
        }
        if !self.core.is_virtual(address.ip()) {
            if let Some(beside) = self.beside() {
                beside.connect(self.shown(address))?;
                self.hear_only(address)?;
                return Ok(Outcome::Done);
            }
            self.give_to_kernel(fd)?;
            return Ok(Outcome::Kernel);
        }
        let local = self.core.own_address(address.ip()).ok_or(Errno(libc::ENETUNREACH))?;
        match self.kind {
            Kind::Datagram => self.connect_datagram(address)?,
            Kind::Echo => self.connect_datagram(SocketAddr::new(address.ip(), 0))?,
            Kind::Stream => self.connect_stream(local, address)?,
        }
        Ok(Outcome::Done)
    }

    fn connect_stream(&self, local: IpAddr, address: SocketAddr) -> Result<()> {
        if address.port() == 0 {
            return Err(Errno(libc::ECONNREFUSED));
        }
        let connection = {
            let state = &mut *self.state.lock();
            let held = match state {
                State::Fresh { place: Some(place) } => Held { place: *place, bound: true },
                State::Fresh { place: None } => {
                    Held { place: self.core.stack.tcp.take(self.anywhere(), None)?, bound: false }
                }
                State::Connected { .. } => return self.connect_again(state),
                State::Listening { .. } | State::Datagram { .. } => return Err(Errno(libc::EISCONN)),
            };
            let flow = FlowId { local: SocketAddr::new(local, held.place.port), remote: address };
            let options = self.options.lock().tcp();
            let reserved = self.renew_mirror().and_then(|()| Connection::reserve(&self.core, flow, options));
            let connection = match reserved {
                Ok(connection) => connection,
                Err(error) => {
                    if !held.bound {
                        self.core.stack.tcp.release(&held.place, None);
                    }
                    return Err(error);
                }
            };
            let next = State::Connected { connection: connection.clone(), place: Some(held), told: false };
            self.change_state(state, next);
            connection
        };
        self.begin(&connection)?;
        self.core.settle();
        self.await_connection(&connection)
    }

    /// Sends the SYN, at once or when it is known who has the address.
    fn begin(&self, connection: &Arc<Connection>) -> Result<()> {
        let to = connection.flow.remote.ip();
        if self.core.knows(to) {
            connection.begin(&self.core, Ok(()));
            return Ok(());
        }
        let begun = connection.clone();
        let asked = self.core.know_later(to, move |core, known| begun.begin(core, known));
        if let Err(error) = asked {
            self.give_up(connection);
            return Err(error);
        }
        Ok(())
    }

    fn await_connection(&self, connection: &Arc<Connection>) -> Result<()> {
        if self.is_nonblocking() {
            return Err(Errno(libc::EINPROGRESS));
        }
        let timeout = self.options.lock().send_timeout;
        let until = timeout.map(|time| self.core.now() + time);
        loop {
            match wait_for(&self.core, &connection.readiness, OUT | ERR, until) {
                Ok(()) => break,
                Err(Errno(libc::EAGAIN)) => return Err(Errno(libc::EINPROGRESS)),
                Err(Errno(libc::EINTR)) if timeout.is_none() && signals::handlers_restart() => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = connection.take_error() {
            self.give_up(connection);
            return Err(error);
        }
        if let State::Connected { told, .. } = &mut *self.state.lock() {
            *told = true;
        }
        Ok(())
    }

    /// A second `connect` on a connection that is being made, is made, or was refused.
    fn connect_again(&self, state: &mut State) -> Result<()> {
        let State::Connected { connection, told, .. } = state else { return Err(Errno(libc::EINVAL)) };
        if connection.is_established() {
            return if std::mem::replace(told, true) { Err(Errno(libc::EISCONN)) } else { Ok(()) };
        }
        if !connection.is_over() {
            return Err(Errno(libc::EALREADY));
        }
        let error = connection.take_error().unwrap_or(Errno(libc::ECONNABORTED));
        self.leave(state);
        Err(error)
    }

    /// The connection was not made: another may be tried.
    fn give_up(&self, connection: &Arc<Connection>) {
        let state = &mut *self.state.lock();
        if matches!(state, State::Connected { connection: held, .. } if Arc::ptr_eq(held, connection)) {
            self.leave(state);
        }
    }

    /// Leaves a connection, with a reset where it is one, and keeps the place that the application asked for.
    fn leave(&self, state: &mut State) {
        let State::Connected { connection, place, .. } = &*state else { return };
        connection.close(&self.core, true);
        let kept = place.and_then(|held| {
            if !held.bound {
                self.core.stack.tcp.release(&held.place, None);
            }
            held.bound.then_some(held.place)
        });
        self.become_fresh(state, kept);
    }

    fn connect_datagram(&self, address: SocketAddr) -> Result<()> {
        let nonblocking = self.is_nonblocking();
        if !nonblocking {
            self.core.know(address.ip())?;
        }
        self.bind_somewhere()?;
        let endpoint = self.hear_only(address)?;
        if nonblocking && !self.core.knows(address.ip()) {
            endpoint.set_unsure(true);
            self.core.know_later(address.ip(), move |_, known| {
                endpoint.set_unsure(false);
                if let Err(error) = known {
                    endpoint.fail(address, error);
                }
            })?;
        }
        Ok(())
    }

    /// A datagram socket's peer.
    fn hear_only(&self, address: SocketAddr) -> Result<Arc<Endpoint>> {
        let State::Datagram { endpoint, peer, .. } = &mut *self.state.lock() else { return Err(Errno(libc::EINVAL)) };
        *peer = Some(address);
        endpoint.set_peer(Some(address));
        Ok(endpoint.clone())
    }

    /// `connect` to nobody: a datagram socket talks to anybody again, a stream is nothing again.
    pub(crate) fn disconnect(&self) -> Result<()> {
        let state = &mut *self.state.lock();
        match state {
            State::Fresh { .. } => {}
            State::Connected { .. } => self.leave(state),
            State::Listening { .. } => self.stop_listening(state),
            State::Datagram { endpoint, peer, .. } => {
                *peer = None;
                endpoint.set_peer(None);
            }
        }
        Ok(())
    }
}
