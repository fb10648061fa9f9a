//! `syscall(2)`: programs make a few calls on sockets without the C library's functions of the same names.

use libc::{c_int, c_long, c_uint, c_void};

use crate::real::real;
use crate::{descriptors, messages};

/// `syscall(2)`: declared with whatever there is (`...`), and so are its arguments: in the places where these would be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    first: c_long,
    second: c_long,
    third: c_long,
    fourth: c_long,
    fifth: c_long,
    sixth: c_long,
) -> c_long {
    let real = real!(syscall(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long);
    // The kernel takes the lower half where it wants an `int`.
    let int = |argument: c_long| argument as c_int;
    let unsigned = |argument: c_long| argument as c_uint;
    // SAFETY: the arguments are those of the call of that number, by the caller's promise.
    unsafe {
        match number {
            libc::SYS_close => descriptors::close(int(first)).into(),
            libc::SYS_close_range => descriptors::close_range(unsigned(first), unsigned(second), int(third)).into(),
            libc::SYS_dup => descriptors::dup(int(first)).into(),
            libc::SYS_dup3 => descriptors::dup3(int(first), int(second), int(third)).into(),
            libc::SYS_sendmmsg => {
                messages::sendmmsg(int(first), second as *mut libc::mmsghdr, unsigned(third), int(fourth)).into()
            }
            libc::SYS_recvmmsg => {
                let (messages, timeout) = (second as *mut libc::mmsghdr, fifth as *mut libc::timespec);
                messages::recvmmsg(int(first), messages, unsigned(third), int(fourth), timeout).into()
            }
            libc::SYS_read => messages::read(int(first), second as *mut c_void, third as usize) as c_long,
            libc::SYS_write => messages::write(int(first), second as *const c_void, third as usize) as c_long,
            _ => real(number, first, second, third, fourth, fifth, sixth),
        }
    }
}
