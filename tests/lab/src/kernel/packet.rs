//! Whole frames of one device, in batches, with the time at which the kernel had them.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use super::{clock, device};
use crate::forward::model::Nanos;

/// Frames that one system call takes or gives.
pub(crate) const BATCH: usize = 64;
/// The largest frame a wire carries here: a jumbo frame with its header and a VLAN tag.
pub(crate) const LARGEST: usize = 9_018;
/// What waits in the kernel while the reader is not running.
const BUFFER: libc::c_int = 32 << 20;
/// Room for a time stamp and what the kernel says of the frame.
const CONTROL: usize = 128;
/// A time stamp further back than this is a clock that was set.
const OLDEST: Nanos = 1_000_000_000;

#[derive(Debug)]
pub(crate) struct PacketSocket(OwnedFd);

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) bytes: &'a [u8],
    /// On the monotonic clock.
    pub(crate) at: Nanos,
    /// Whether its checksum is left to a device, or it is larger than a wire carries.
    pub(crate) unfinished: bool,
}

/// Where frames are received into.
pub(crate) struct Room {
    frames: Vec<[u8; LARGEST]>,
    controls: Vec<[u64; CONTROL / 8]>,
}

impl Default for Room {
    fn default() -> Self {
        Self { frames: vec![[0; LARGEST]; BATCH], controls: vec![[0; CONTROL / 8]; BATCH] }
    }
}

impl PacketSocket {
    /// Sees every frame that comes in by the device, and none that goes out.
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        let index = device::index(name)?;
        // SAFETY: makes a descriptor from numbers. Without a protocol it receives nothing until it is bound.
        let raw =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, and nobody else's.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(raw) });
        socket.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        socket.set(libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1)?;
        socket.set(libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        socket.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        for (forced, usual) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
            socket.set(libc::SOL_SOCKET, forced, BUFFER).or_else(|_| socket.set(libc::SOL_SOCKET, usual, BUFFER))?;
        }
        // SAFETY: all zeros is an address, whose fields are filled below.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: an address of the given length that lives as long as the call.
        if unsafe { libc::bind(raw, (&raw const address).cast(), length) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(socket)
    }

    fn set(&self, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: a number of the given length that lives as long as the call.
        let done = unsafe { libc::setsockopt(self.0.as_raw_fd(), level, option, (&raw const value).cast(), length) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Gives each frame that waits, up to [`BATCH`], to `take`; says how many there were.
    pub(crate) fn receive(&self, room: &mut Room, mut take: impl FnMut(Frame<'_>)) -> io::Result<usize> {
        let mut pieces: [libc::iovec; BATCH] =
            std::array::from_fn(|at| libc::iovec { iov_base: room.frames[at].as_mut_ptr().cast(), iov_len: LARGEST });
        // SAFETY: all zeros is a message without buffers; they are put in below.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for ((message, piece), control) in messages.iter_mut().zip(&mut pieces).zip(&mut room.controls) {
            message.msg_hdr.msg_iov = piece;
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = control.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = CONTROL;
        }
        // MSG_TRUNC: a frame that does not fit says how long it was.
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        // SAFETY: BATCH messages, each with a frame's and a control's room, which nobody else has while this runs.
        let count = unsafe {
            libc::recvmmsg(self.0.as_raw_fd(), messages.as_mut_ptr(), BATCH as u32, flags, std::ptr::null_mut())
        };
        let Ok(count) = usize::try_from(count) else {
            return match io::Error::last_os_error() {
                // The device went down for a moment, or there is nothing.
                error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR | libc::ENETDOWN)) => Ok(0),
                error => Err(error),
            };
        };
        let (now, wall) = (clock::monotonic(), clock::realtime());
        for (message, frame) in messages.iter().zip(&room.frames).take(count) {
            let (stamp, waits_for_checksum) = notes(&message.msg_hdr);
            let age = stamp.map_or(0, |stamp| wall.saturating_sub(stamp));
            let length = message.msg_len as usize;
            take(Frame {
                bytes: &frame[..length.min(LARGEST)],
                at: now - if age < OLDEST { age } else { 0 },
                unfinished: waits_for_checksum || length > LARGEST,
            });
        }
        Ok(count)
    }

    /// Sends frames as they are; how many the device did not take.
    pub(crate) fn send(&self, frames: &[Vec<u8>]) -> usize {
        let mut refused = 0;
        for batch in frames.chunks(BATCH) {
            let mut pieces: [libc::iovec; BATCH] = std::array::from_fn(|at| match batch.get(at) {
                Some(frame) => libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() },
                None => libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 },
            });
            // SAFETY: all zeros is a message without buffers; they are put in below.
            let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
            for (message, piece) in messages.iter_mut().zip(&mut pieces) {
                message.msg_hdr.msg_iov = piece;
                message.msg_hdr.msg_iovlen = 1;
            }
            let mut done = 0;
            while done < batch.len() {
                let left = (batch.len() - done) as u32;
                // SAFETY: `left` messages from `done` on, whose frames the kernel only reads, and which outlive the call.
                let sent = unsafe {
                    libc::sendmmsg(self.0.as_raw_fd(), messages[done..].as_mut_ptr(), left, libc::MSG_DONTWAIT)
                };
                match usize::try_from(sent) {
                    Ok(sent) if sent > 0 => done += sent,
                    // The first of the rest is refused: a full device, or one that is down.
                    _ => {
                        refused += 1;
                        done += 1;
                    }
                }
            }
        }
        refused
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The kernel's time stamp of a received message, and whether its checksum is still to be made.
fn notes(header: &libc::msghdr) -> (Option<Nanos>, bool) {
    let (mut stamp, mut waits_for_checksum) = (None, false);
    // SAFETY: the kernel filled the header's control room and its length.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !at.is_null() {
        // SAFETY: not null, so it points to a whole header in the control room.
        let control = unsafe { &*at };
        // SAFETY: as above; its data follow it.
        let data = unsafe { libc::CMSG_DATA(at) };
        if (control.cmsg_level, control.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
            // SAFETY: this kind holds a `timespec`; nothing is said of its alignment.
            let time: libc::timespec = unsafe { data.cast::<libc::timespec>().read_unaligned() };
            let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
            stamp = seconds.ok().zip(nanos.ok()).map(|(seconds, nanos)| seconds * 1_000_000_000 + nanos);
        } else if (control.cmsg_level, control.cmsg_type) == (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
            // SAFETY: this kind holds a `tpacket_auxdata`; nothing is said of its alignment.
            let about: libc::tpacket_auxdata = unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
            waits_for_checksum = about.tp_status & libc::TP_STATUS_CSUMNOTREADY != 0;
        }
        // SAFETY: `at` is a header of this message.
        at = unsafe { libc::CMSG_NXTHDR(header, at) };
    }
    (stamp, waits_for_checksum)
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}
