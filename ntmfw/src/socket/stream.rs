//! Bytes of a stream, in and out.

use libc::c_int;

use crate::errno::{Errno, Result};
use crate::socket::state::Socket;
use crate::stack::readiness::{IN, OUT};

/// Sends all of `parts`, or what fits where the call does not block. A connection that is over is `EPIPE`; the
/// caller raises the signal.
pub(crate) fn send(socket: &Socket, parts: &[&[u8]], flags: c_int) -> Result<usize> {
    let connection = socket.connection().ok_or(Errno(libc::ENOTCONN))?;
    let timeout = socket.options.lock().send_timeout;
    let dont_wait = flags & libc::MSG_DONTWAIT != 0;
    let mut sent = 0;
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() {
            let taken = socket
                .until_ready(&connection.readiness, OUT, dont_wait, timeout, || connection.send(&socket.core, rest));
            match taken {
                Ok(count) => {
                    sent += count;
                    rest = &rest[count..];
                }
                Err(_) if sent > 0 => return Ok(sent),
                Err(error) => return Err(error),
            }
        }
    }
    if sent == 0 {
        // Nothing to send still tells whether the connection can.
        connection.send(&socket.core, &[])?;
    }
    Ok(sent)
}

/// Fills `parts` with what has come: at least one byte, all of them with `MSG_WAITALL`; 0 at the end.
pub(crate) fn recv(socket: &Socket, parts: &mut [&mut [u8]], flags: c_int) -> Result<usize> {
    let connection = socket.connection().ok_or(Errno(libc::ENOTCONN))?;
    let timeout = socket.options.lock().receive_timeout;
    let peek = flags & libc::MSG_PEEK != 0;
    let dont_wait = flags & libc::MSG_DONTWAIT != 0;
    let all = flags & libc::MSG_WAITALL != 0 && !peek;
    let mut got = 0;
    for part in parts {
        let mut at = 0;
        while at < part.len() {
            let more_is_optional = got > 0 && !all;
            let count = socket.until_ready(&connection.readiness, IN, dont_wait || more_is_optional, timeout, || {
                connection.recv(&socket.core, &mut part[at..], peek)
            });
            match count {
                Ok(0) => return Ok(got),
                Ok(count) => {
                    got += count;
                    at += count;
                    if peek {
                        return Ok(got);
                    }
                }
                Err(_) if got > 0 => return Ok(got),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(got)
}
