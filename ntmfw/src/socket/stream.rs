//! Bytes of a stream, in and out.

use libc::c_int;

use crate::errno::{Errno, Result};
use crate::socket::state::Socket;
use crate::stack::readiness::{IN, OUT};

/// Sends all of `parts`, or what fits where the call does not block. A connection that is over is `EPIPE`; the
/// caller raises the signal.
pub(crate) fn send(socket: &Socket, parts: &[&[u8]], flags: c_int) -> Result<usize> {
    let connection = socket.connection().ok_or(Errno(libc::EPIPE))?;
    let timeout = socket.options.lock().send_timeout;
    let dont_wait = flags & libc::MSG_DONTWAIT != 0;
    let more = flags & libc::MSG_MORE != 0;
    let mut sent = 0;
    for (number, part) in parts.iter().enumerate() {
        let mut rest = *part;
        let more = more || parts[number + 1..].iter().any(|part| !part.is_empty());
        while !rest.is_empty() {
            let taken = socket.until_ready(&connection.readiness, OUT, dont_wait, timeout, || {
                connection.send(&socket.core, rest, more)
            });
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
        connection.send(&socket.core, &[], more)?;
    }
    Ok(sent)
}

/// Fills `parts` with what has come: at least one byte, or what `SO_RCVLOWAT` says, all of them with `MSG_WAITALL`;
/// 0 at the end. With `MSG_PEEK` it stays.
pub(crate) fn recv(socket: &Socket, parts: &mut [&mut [u8]], flags: c_int) -> Result<usize> {
    let connection = socket.connection().ok_or(Errno(libc::ENOTCONN))?;
    if flags & libc::MSG_PEEK != 0 {
        return peek(socket, parts, flags);
    }
    let (timeout, least) = {
        let options = socket.options.lock();
        (options.receive_timeout, usize::try_from(options.receive_least).unwrap_or(1))
    };
    let dont_wait = flags & libc::MSG_DONTWAIT != 0;
    let wanted = if flags & libc::MSG_WAITALL != 0 { usize::MAX } else { least };
    let mut got = 0;
    for part in parts {
        let mut at = 0;
        while at < part.len() {
            let is_enough = got >= wanted;
            let count = socket.until_ready(&connection.readiness, IN, dont_wait || is_enough, timeout, || {
                connection.recv(&socket.core, &mut part[at..], false)
            });
            match count {
                Ok(0) => return Ok(got),
                Ok(count) => {
                    got += count;
                    at += count;
                }
                Err(_) if got > 0 => return Ok(got),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(got)
}

/// Looks at what has come, across all of `parts`.
fn peek(socket: &Socket, parts: &mut [&mut [u8]], flags: c_int) -> Result<usize> {
    let mut seen = vec![0; parts.iter().map(|part| part.len()).sum::<usize>().min(LARGEST_LOOK)];
    if seen.is_empty() {
        return Ok(0);
    }
    let connection = socket.connection().ok_or(Errno(libc::ENOTCONN))?;
    let timeout = socket.options.lock().receive_timeout;
    let dont_wait = flags & libc::MSG_DONTWAIT != 0;
    let count = socket.until_ready(&connection.readiness, IN, dont_wait, timeout, || {
        connection.recv(&socket.core, &mut seen, true)
    })?;
    scatter(&seen[..count], parts);
    Ok(count)
}

/// Throws up to `count` bytes away that have come (`MSG_TRUNC`), and says how many.
pub(crate) fn discard(socket: &Socket, count: usize, flags: c_int) -> Result<usize> {
    let mut room = vec![0; count.min(LARGEST_LOOK)];
    recv(socket, &mut [&mut room], flags)
}

/// Spreads bytes over `parts` and says how many there was room for.
pub(crate) fn scatter(bytes: &[u8], parts: &mut [&mut [u8]]) -> usize {
    let mut rest = bytes;
    for part in parts {
        let (now, later) = rest.split_at(rest.len().min(part.len()));
        part[..now.len()].copy_from_slice(now);
        rest = later;
    }
    bytes.len() - rest.len()
}

/// What one call looks at or throws away at most: the largest buffer there is.
const LARGEST_LOOK: usize = 16 << 20;
