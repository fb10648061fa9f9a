//! What the kernel is asked that no safe crate asks: above all, to give each datagram to the worker whose shard it is
//! for, by a classic BPF program on the group of sockets that share an address. The program reads what [`shard_of`]
//! reads.
//!
//! Steering is an optimisation: what lands at another worker all the same (trains in which the kernel joined datagrams of
//! several grants, hosts that refuse the program) is handed over in user space.
//!
//! [`shard_of`]: ntm_relay::shard::shard_of
#![allow(unsafe_code, reason = "no safe crate offers these socket options")]

use std::io;
use std::os::fd::AsRawFd as _;

use libc::{sock_filter, sock_fprog};
use ntm_proto::wire::outer::OuterType;
use ntm_relay::shard::{INDEX_AT, SERIAL_AT};
use socket2::Socket;

// The instructions of classic BPF that the program uses (linux/bpf_common.h).
const LOAD_BYTE: u16 = 0x30;
const LOAD_WORD: u16 = 0x20;
const JUMP_IF_EQUAL: u16 = 0x15;
const MODULO: u16 = 0x94;
const RETURN: u16 = 0x06;
const RETURN_ACCUMULATOR: u16 = 0x16;
/// No socket has this number: the kernel then chooses by the addresses.
const BY_ADDRESSES: u32 = u32::MAX;

/// Steers what arrives at the group that `socket` belongs to, whose sockets were bound in the order of their shards.
pub(crate) fn steer(socket: &Socket, shards: u32) -> io::Result<()> {
    let mut program = program(shards);
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let about = sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: `about` is a whole `sock_fprog` of the length said, and points at `program`, which outlives the call
    // and holds as many instructions as `len` says; the kernel copies and checks them before it returns, and keeps
    // no pointer. The descriptor is open, for `socket` is borrowed.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const about).cast(),
            size_of::<sock_fprog>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the kernel not note with each datagram when it came, which nobody asks here.
pub(crate) fn leave_times_out(socket: &Socket) -> io::Result<()> {
    let off: libc::c_int = 0;
    // SAFETY: `off` is an `int` of the length said and lives through the call, and the kernel only reads it. The
    // descriptor is open, for `socket` is borrowed.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const off).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel runs it on the UDP payload. A load beyond the end of a datagram ends it with 0, a worker like any other.
fn program(shards: u32) -> [sock_filter; 14] {
    let step = |code: u16, k: u32| sock_filter { code, jt: 0, jf: 0, k };
    let jump = |outer: OuterType, over: u8| sock_filter { code: JUMP_IF_EQUAL, jt: over, jf: 0, k: outer as u32 };
    [
        step(LOAD_BYTE, 0),
        jump(OuterType::Relayed, 5),
        jump(OuterType::RelayBind, 7),
        jump(OuterType::HandshakeResponse, 9),
        jump(OuterType::CookieReply, 8),
        jump(OuterType::Data, 7),
        step(RETURN, BY_ADDRESSES),
        step(LOAD_WORD, INDEX_AT as u32),
        step(MODULO, shards),
        step(RETURN_ACCUMULATOR, 0),
        step(LOAD_WORD, SERIAL_AT as u32),
        step(MODULO, shards),
        step(RETURN_ACCUMULATOR, 0),
        step(RETURN, 0),
    ]
}
