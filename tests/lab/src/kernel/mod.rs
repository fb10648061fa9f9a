//! The system calls that no safe crate of ours offers. All `unsafe` of the lab is below this module.
#![allow(unsafe_code, reason = "packet sockets, namespaces and the clock are the kernel's own interfaces")]

pub(crate) mod clock;
pub(crate) mod device;
pub(crate) mod namespace;
pub(crate) mod packet;
pub(crate) mod process;
