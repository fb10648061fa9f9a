//! From `connect` on.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::Arc;

use super::{Held, Kind, Outcome, Place, Socket, State};
use crate::errno::{Errno, Result};
use crate::packet::reader::wait_for;
use crate::socket::signals;
use crate::stack::FlowId;
use crate::stack::endpoint::Endpoint;
use crate::stack::readiness::{ERR, OUT};
use crate::stack::tcp::{Connection, TcpOptions};

/// Ports tried for one connection, where earlier ones to the same peer are not at their ends yet.
const PORTS_TRIED: u32 = 64;

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
            let bound = match state {
                State::Fresh { place } => *place,
                State::Connected { .. } => return self.connect_again(state),
                State::Listening { .. } | State::Datagram { .. } => return Err(Errno(libc::EISCONN)),
            };
            self.renew_mirror()?;
            let options = self.options.lock().tcp();
            let flow_from = |place: &Place| FlowId { local: SocketAddr::new(local, place.port), remote: address };
            let (held, connection) = match bound {
                Some(place) => {
                    (Held { place, bound: true }, Connection::reserve(&self.core, flow_from(&place), options)?)
                }
                None => self.reserve_anywhere(flow_from, options)?,
            };
            let next = State::Connected { connection: connection.clone(), place: Some(held), told: false };
            self.change_state(state, next);
            connection
        };
        self.begin(&connection)?;
        self.core.settle();
        self.await_connection(&connection)
    }

    /// A connection from a port that is free. A closed socket has given its port back when its connection, or the peer's
    /// end of it, may still be there: then another port is tried.
    fn reserve_anywhere(
        &self,
        flow_from: impl Fn(&Place) -> FlowId,
        options: TcpOptions,
    ) -> Result<(Held, Arc<Connection>)> {
        for _ in 0..PORTS_TRIED {
            let place = self.core.stack.tcp.take(self.anywhere(), None)?;
            let flow = flow_from(&place);
            if !self.core.stack.remembers(self.core.now(), &flow)
                && let Ok(connection) = Connection::reserve(&self.core, flow, options)
            {
                return Ok((Held { place, bound: false }, connection));
            }
            self.core.stack.tcp.release(&place, None);
        }
        Err(Errno(libc::EADDRNOTAVAIL))
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
