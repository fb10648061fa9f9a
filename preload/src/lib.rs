//! `libntmfw_preload.so`: programs that know nothing of NTMfw reach nodes by their names, and are reached.
//!
//! ```sh
//! LD_PRELOAD=libntmfw_preload.so NTM_LISTEN=80 program
//! ```
//!
//! A program's sockets are the kernel's. Where one is connected or bound to a virtual address, sends to one, or listens or is
//! bound at a port that `NTM_LISTEN` names (`all`, or numbers with commas between them), an NTM socket takes its place behind
//! the same descriptor. A stream's carries data: reading, writing, waiting, passing it on and inheriting it are the kernel's
//! business again. A datagram socket's does not, and goes on speaking with the kernel's addresses beside. For all other
//! descriptors what is intercepted costs a look at two bits.
//!
//! | module | calls |
//! |---|---|
//! | [`sockets`] | `connect bind listen accept accept4 shutdown getsockname getpeername getsockopt setsockopt` |
//! | [`messages`] | `read readv write writev send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg ioctl`, `__*_chk` |
//! | [`descriptors`] | `close close_range closefrom dup dup2 dup3 fcntl fcntl64` |
//! | [`names`] | `getaddrinfo freeaddrinfo getnameinfo gethostbyname gethostbyname_r` |
//! | [`hosts`] | `gethostbyname2 gethostbyname2_r gethostbyaddr gethostbyaddr_r` |
//! | [`lookups`] | `getaddrinfo_a gai_suspend gai_cancel` |
//! | [`resolver`] | `res_query res_search res_nquery res_nsearch` |
//! | [`raw`] | `syscall` |
//! | [`ending`] | `daemon _exit _Exit execve execv execvp execvpe fexecve`: ports that would go are kept, connections that would go are told of |
//!
//! Where `ntm run` found an agent (`agent`), it has the stack, and no library begins in this process.
//!
//! The library's own calls, and all of its threads', pass through: [`ntmfw::shim::is_inside`].

// A C function that takes pointers says in its documentation what must hold of them: what the call of the same
// name asks of its own.
#![allow(clippy::missing_safety_doc)]

mod agent;
pub mod descriptors;
pub mod ending;
pub mod hosts;
pub mod lookups;
pub mod messages;
pub mod names;
pub mod raw;
mod real;
pub mod resolver;
pub mod sockets;
mod told;

use ntmfw::shim;

/// Before the program begins: what the one before `exec` left to it is ours still.
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = {
    extern "C" fn begin() {
        let _inside = shim::enter();
        shim::recognise_inherited();
    }
    begin
};
