//! Calls on descriptors as such: `dup`, `fcntl`, `ioctl`, `sendfile`.

use libc::{c_int, c_ulong, off_t, size_t, ssize_t};

use super::guard::{checked, guard};
use super::io::ntmfw_write;
use crate::errno::Errno;
use crate::socket::{carrying, table};

/// `dup(2)`. On a descriptor of standard input, output or error, here and in the next two, an NTM socket carries data
/// (`NTMFW_DATA_CARRYING`).
///
/// Does not block. `EBADF`, `EMFILE`.
#[unsafe(no_mangle)]
pub extern "C" fn ntmfw_dup(fd: c_int) -> c_int {
    guard(|| {
        // SAFETY: only numbers go in and come out.
        let copy = checked(unsafe { libc::dup(fd) })?;
        share(fd, copy);
        Ok(copy)
    })
}

/// `dup2(2)`.
///
/// What `copy` was before is closed as by `ntmfw_close`. Does not block. `EBADF`, `EMFILE`.
#[unsafe(no_mangle)]
pub extern "C" fn ntmfw_dup2(fd: c_int, copy: c_int) -> c_int {
    guard(|| {
        // SAFETY: only numbers go in and come out.
        let copy = checked(unsafe { libc::dup2(fd, copy) })?;
        if copy != fd {
            share(fd, copy);
        }
        Ok(copy)
    })
}

/// `dup3(2)`.
///
/// As `ntmfw_dup2`; `EINVAL` where both are the same, or for flags but `O_CLOEXEC`.
#[unsafe(no_mangle)]
pub extern "C" fn ntmfw_dup3(fd: c_int, copy: c_int, flags: c_int) -> c_int {
    guard(|| {
        // SAFETY: only numbers go in and come out.
        let copy = checked(unsafe { libc::dup3(fd, copy, flags) })?;
        share(fd, copy);
        Ok(copy)
    })
}

// The C library declares the third argument of the next two as whatever there is (`...`), and so does our header.
// Where it is passed the host's convention puts it into the same register, on every host that Linux runs on.

/// `fcntl(2)` with an argument that is a number or is not looked at. The descriptor is the kernel's, and so are
/// its flags; a duplicate is the same socket.
#[unsafe(no_mangle)]
pub extern "C" fn ntmfw_fcntl(fd: c_int, command: c_int, argument: c_ulong) -> c_int {
    guard(|| {
        // SAFETY: the commands that take pointers say themselves what they want; none is about sockets.
        let result = checked(unsafe { libc::fcntl(fd, command, argument) })?;
        if matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) {
            share(fd, result);
        }
        Ok(result)
    })
}

/// `ioctl(2)`: `FIONREAD` tells what can be read from the socket, `FIONBIO` is the descriptor's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_ioctl(fd: c_int, request: c_ulong, argument: *mut libc::c_void) -> c_int {
    guard(|| {
        let Some(socket) = table::find(fd) else {
            // SAFETY: the caller's promise is the system call's.
            return checked(unsafe { libc::ioctl(fd, request, argument) });
        };
        let queued = |incoming: bool| {
            if let Some(connection) = socket.connection() {
                let (received, unacknowledged) = connection.queues();
                return if incoming { received } else { unacknowledged };
            }
            if incoming { socket.endpoint().map_or(0, |(endpoint, _)| endpoint.next_length()) } else { 0 }
        };
        let count = match request {
            libc::FIONREAD => queued(true),
            libc::TIOCOUTQ => queued(false),
            // SAFETY: the caller's promise is the system call's.
            libc::FIONBIO => return checked(unsafe { libc::ioctl(fd, request, argument) }),
            _ => return Err(Errno(libc::ENOTTY)),
        };
        if argument.is_null() {
            return Err(Errno(libc::EFAULT));
        }
        // SAFETY: the caller has an int there.
        unsafe { argument.cast::<c_int>().write(c_int::try_from(count).unwrap_or(c_int::MAX)) };
        Ok(0)
    })
}

/// `sendfile(2)`: from a file to a socket.
///
/// Blocks as `ntmfw_send`, and takes the file's bytes straight into the socket's buffer. Its errors, and `EBADF`,
/// `EINVAL`, `EIO` of the file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ntmfw_sendfile(out: c_int, file: c_int, offset: *mut off_t, count: size_t) -> ssize_t {
    guard(|| {
        if table::find(out).is_none() {
            // SAFETY: the caller's promise is the system call's.
            return checked(unsafe { libc::sendfile(out, file, offset, count) });
        }
        const STEP: usize = 65_536;
        let mut room = vec![0_u8; count.min(STEP)];
        let mut sent = 0;
        // SAFETY: null or valid, by the caller's promise.
        let mut at = unsafe { offset.as_ref() }.copied();
        while sent < count {
            let wanted = (count - sent).min(room.len());
            // SAFETY: the room is so large; the offset is only a number.
            let got = checked(unsafe {
                match at {
                    Some(at) => libc::pread(file, room.as_mut_ptr().cast(), wanted, at),
                    None => libc::read(file, room.as_mut_ptr().cast(), wanted),
                }
            })?;
            if got == 0 {
                break;
            }
            // SAFETY: so many bytes of the room were filled.
            let written = unsafe { ntmfw_write(out, room.as_ptr().cast(), got.cast_unsigned()) };
            let error = Errno::last();
            let taken = written.max(0);
            if at.is_none() && taken < got {
                // SAFETY: only numbers go in; what was read and not sent is to be read again.
                unsafe { libc::lseek(file, off_t::from(taken as i64 - got as i64), libc::SEEK_CUR) };
            }
            sent += taken.cast_unsigned();
            at = at.map(|at| at + off_t::from(taken as i64));
            if taken < got {
                if sent == 0 {
                    return Err(error);
                }
                break;
            }
        }
        if let Some(at) = at {
            // SAFETY: valid, by the caller's promise, as there was something to read.
            unsafe { offset.write(at) };
        }
        Ok(sent.cast_signed())
    })
}

/// The copy is the same socket; whatever it was before is closed. On the descriptors of standard input and output, which
/// others read and write by themselves, it carries data.
fn share(fd: c_int, copy: c_int) {
    drop(table::share(fd, copy));
    if copy <= libc::STDERR_FILENO {
        carrying::carry_all([copy]);
    }
}
