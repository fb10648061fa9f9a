//! Datagrams, in and out.

use std::net::SocketAddr;
use std::sync::Arc;

use libc::c_int;

use crate::errno::{Errno, Result};
use crate::runtime::Core;
use crate::socket::state::{Kind, Socket, unmapped};
use crate::stack::endpoint::{Datagram, Endpoint, Manner};
use crate::stack::ip::Stamp;
use crate::stack::readiness::IN;
use crate::stack::{icmp, udp};

/// A datagram that is ready to leave.
struct Parcel {
    endpoint: Arc<Endpoint>,
    kind: Kind,
    from: SocketAddr,
    to: SocketAddr,
    stamp: Stamp,
}

/// Sends one datagram to `to`, or to the peer that the socket is connected to; with `MSG_MORE`, a part of one.
pub(crate) fn send(
    socket: &Socket,
    parts: &[&[u8]],
    flags: c_int,
    to: Option<SocketAddr>,
    manner: &Manner,
) -> Result<usize> {
    let (endpoint, peer) = socket.endpoint().ok_or(Errno(libc::EINVAL))?;
    let begun = endpoint.corked_for();
    let to = begun.or(to.map(unmapped)).or(peer).ok_or(Errno(libc::EDESTADDRREQ))?;
    if !socket.core.is_virtual(to.ip()) {
        let beside = socket.beside().ok_or(Errno(libc::ENETUNREACH))?;
        return beside.send(parts, socket.shown(to));
    }
    if to.port() == 0 && socket.kind == Kind::Datagram {
        return Err(Errno(libc::EINVAL));
    }
    let bound = socket.bind_somewhere()?;
    let own = socket.core.own_address(to.ip()).ok_or(Errno(libc::ENETUNREACH))?;
    if manner.source.is_some_and(|source| source != own) {
        return Err(Errno(libc::EINVAL));
    }
    endpoint.check_sending()?;
    let joined;
    let data = match parts {
        [whole] => *whole,
        parts => {
            joined = parts.concat();
            &joined
        }
    };
    let more = flags & libc::MSG_MORE != 0 && socket.kind == Kind::Datagram;
    if more || begun.is_some() {
        endpoint.cork(to, data, udp::MAX_DATAGRAM)?;
        if more {
            return Ok(data.len());
        }
    }
    let stamp = socket.options.lock().stamp(to.is_ipv6(), manner);
    let is_sure = peer == Some(to) && !endpoint.is_unsure();
    let parcel = Parcel { endpoint, kind: socket.kind, from: SocketAddr::new(own, bound.port()), to, stamp };
    match parcel.endpoint.uncork() {
        Some((_, whole)) => dispatch(socket, parcel, &whole, flags, is_sure)?,
        None => dispatch(socket, parcel, data, flags, is_sure)?,
    }
    socket.core.settle();
    Ok(data.len())
}

/// Sends it now, or, where nobody knows yet who has the address and the call shall not wait, when that is known.
fn dispatch(socket: &Socket, parcel: Parcel, data: &[u8], flags: c_int, is_sure: bool) -> Result<()> {
    if is_sure || socket.core.knows(parcel.to.ip()) {
        return parcel.send(&socket.core, data);
    }
    if flags & libc::MSG_DONTWAIT == 0 && !socket.is_nonblocking() {
        socket.core.know(parcel.to.ip())?;
        return parcel.send(&socket.core, data);
    }
    let data = data.to_vec();
    let to = parcel.to.ip();
    socket.core.know_later(to, move |core, known| {
        let sent = known.and_then(|()| parcel.send(core, &data));
        if let Err(error) = sent {
            parcel.endpoint.fail(parcel.to, error);
        }
    })
}

impl Parcel {
    fn send(&self, core: &Core, data: &[u8]) -> Result<()> {
        match self.kind {
            Kind::Echo => icmp::send_echo(core, &self.endpoint, self.from, self.to.ip(), self.stamp, data),
            Kind::Datagram | Kind::Stream => udp::send(core, &self.endpoint, self.from, self.to, self.stamp, data),
        }
    }
}

/// The next datagram; `None` where the receiving side was shut down.
pub(crate) fn recv(socket: &Socket, flags: c_int) -> Result<Option<Datagram>> {
    let (endpoint, _) = socket.endpoint().ok_or(Errno(libc::EINVAL))?;
    let timeout = socket.options.lock().receive_timeout;
    let peek = flags & libc::MSG_PEEK != 0;
    let dont_wait = flags & libc::MSG_DONTWAIT != 0;
    socket.until_ready(&endpoint.readiness, IN, dont_wait, timeout, || endpoint.recv(peek))
}
