//! Datagrams, in and out.

use std::net::SocketAddr;

use libc::c_int;

use crate::errno::{Errno, Result};
use crate::socket::state::{Socket, unmapped};
use crate::stack::readiness::IN;
use crate::stack::udp::Datagram;

/// Sends one datagram to `to`, or to the peer that the socket is connected to.
pub(crate) fn send(socket: &Socket, parts: &[&[u8]], to: Option<SocketAddr>) -> Result<usize> {
    let (endpoint, peer) = socket.endpoint().ok_or(Errno(libc::EINVAL))?;
    let to = to.map(unmapped).or(peer).ok_or(Errno(libc::EDESTADDRREQ))?;
    if !socket.core.is_virtual(to.ip()) {
        return Err(Errno(libc::ENETUNREACH));
    }
    if to.port() == 0 {
        return Err(Errno(libc::EINVAL));
    }
    let bound = socket.bind_somewhere()?;
    let own = socket.core.own_address(to.ip()).ok_or(Errno(libc::ENETUNREACH))?;
    if peer != Some(to) {
        socket.know_peer(to.ip())?;
    }
    let from = SocketAddr::new(own, bound.port());
    let hops = socket.options.lock().hops();
    let length = match parts {
        [whole] => {
            endpoint.send(&socket.core, from, to, hops, whole)?;
            whole.len()
        }
        parts => {
            let whole = parts.concat();
            endpoint.send(&socket.core, from, to, hops, &whole)?;
            whole.len()
        }
    };
    socket.core.settle();
    Ok(length)
}

/// The next datagram; `None` where the receiving side was shut down.
pub(crate) fn recv(socket: &Socket, flags: c_int) -> Result<Option<Datagram>> {
    let (endpoint, _) = socket.endpoint().ok_or(Errno(libc::EINVAL))?;
    let timeout = socket.options.lock().receive_timeout;
    let peek = flags & libc::MSG_PEEK != 0;
    let dont_wait = flags & libc::MSG_DONTWAIT != 0;
    socket.until_ready(&endpoint.readiness, IN, dont_wait, timeout, || endpoint.recv(peek))
}
