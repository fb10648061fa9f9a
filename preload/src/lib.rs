//! `libntmfw_preload.so`: programs that know nothing of NTMfw reach nodes by their names, and are reached.
//!
//! ```sh
//! LD_PRELOAD=libntmfw_preload.so NTM_LISTEN=80 program
//! ```
//!
//! A program's sockets are the kernel's. Where one is connected or bound to a virtual address, or listens at a port that
//! `NTM_LISTEN` names (`all`, or numbers with commas between them), an NTM socket takes its place behind the same
//! descriptor, and carries data: reading, writing, waiting, passing it on and inheriting it are the kernel's business
//! again, and not intercepted. What is intercepted is what makes such sockets, asks about them, or copies and closes
//! descriptors. For all others that costs a look at two bits.
//!
//! | module | calls |
//! |---|---|
//! | `sockets` | `connect bind listen accept accept4 getsockname getpeername getsockopt setsockopt` |
//! | `descriptors` | `close close_range closefrom dup dup2 dup3 fcntl fcntl64` |
//! | `names` | `getaddrinfo freeaddrinfo getnameinfo gethostbyname gethostbyname2 gethostbyname_r` |
//!
//! Where `ntm run` found an agent (`agent`), it has the stack, and no library begins in this process.
//!
//! The library's own calls, and all of its threads', pass through: [`ntmfw::shim::is_inside`].

// A C function that takes pointers says in its documentation what must hold of them: what the call of the same
// name asks of its own.
#![allow(clippy::missing_safety_doc)]

mod agent;
pub mod descriptors;
pub mod names;
mod real;
pub mod sockets;
mod told;
