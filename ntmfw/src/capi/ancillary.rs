//! Ancillary data: what is told of a datagram beside its bytes, and what may be wished for one.
//!
//! ```text
//! ┌─ length (word) ─┬─ level (int) ─┬─ kind (int) ─┬─ value … ─┬─ up to a word ─┐
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::UNIX_EPOCH;

use libc::{c_int, cmsghdr, msghdr};

use crate::errno::{Errno, Result};
use crate::socket::options::Told;
use crate::socket::state::Socket;
use crate::stack::endpoint::{Arrival, Manner};

const HEADER: usize = size_of::<cmsghdr>();
const WORD: usize = size_of::<usize>();

/// One piece.
pub(super) struct Note {
    level: c_int,
    kind: c_int,
    value: Vec<u8>,
}

/// What this socket wants to be told of a datagram, in the kernel's order.
pub(super) fn notes(socket: &Socket, arrival: &Arrival) -> Vec<Note> {
    let told = socket.options.lock().told;
    if told == Told::default() {
        return Vec::new();
    }
    let mut notes = Vec::new();
    let mut note = |level: c_int, kind: c_int, value: Vec<u8>| notes.push(Note { level, kind, value });
    let int = |value: u8| c_int::from(value).to_ne_bytes().to_vec();
    if told.timestamp {
        let since = arrival.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let value = [seconds.to_ne_bytes(), i64::from(since.subsec_micros()).to_ne_bytes()].concat();
        note(libc::SOL_SOCKET, libc::SCM_TIMESTAMP, value);
    }
    if told.address6 && socket.family == libc::AF_INET6 {
        let address = match arrival.to {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        note(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, [&address.octets()[..], &[0; 4]].concat());
    }
    match arrival.to {
        IpAddr::V4(address) => {
            if told.address {
                let address = address.octets();
                note(libc::IPPROTO_IP, libc::IP_PKTINFO, [[0; 4], address, address].concat());
            }
            if told.hops {
                note(libc::IPPROTO_IP, libc::IP_TTL, int(arrival.hops));
            }
            if told.class {
                note(libc::IPPROTO_IP, libc::IP_TOS, vec![arrival.class]);
            }
        }
        IpAddr::V6(_) => {
            if told.hops6 {
                note(libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT, int(arrival.hops));
            }
            if told.class6 {
                note(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, int(arrival.class));
            }
        }
    }
    notes
}

/// Writes what there is room for; `MSG_CTRUNC` where that is not all.
///
/// # Safety
/// The message's control pointer is null or points to as many bytes as it says.
pub(super) unsafe fn write(notes: &[Note], message: &mut msghdr) {
    let whole = if message.msg_control.is_null() { 0 } else { message.msg_controllen };
    let mut filled = 0;
    for note in notes {
        let room = whole - filled;
        if room < HEADER {
            message.msg_flags |= libc::MSG_CTRUNC;
            break;
        }
        let length = (HEADER + note.value.len()).min(room);
        if length < HEADER + note.value.len() {
            message.msg_flags |= libc::MSG_CTRUNC;
        }
        // SAFETY: zeros are a header, which has fields of the C library's own on some hosts.
        let mut header: cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_len = length as _;
        header.cmsg_level = note.level;
        header.cmsg_type = note.kind;
        // SAFETY: `length` bytes are left, at least a header's; no more are written.
        unsafe {
            let start = message.msg_control.cast::<u8>().add(filled);
            start.cast::<cmsghdr>().write_unaligned(header);
            std::ptr::copy_nonoverlapping(note.value.as_ptr(), start.add(HEADER), length - HEADER);
        }
        filled = (filled + length.next_multiple_of(WORD)).min(whole);
    }
    message.msg_controllen = filled;
}

/// What is wished for the datagram of this message. `EINVAL` where it is not well formed or not known.
///
/// # Safety
/// As [`write`].
pub(super) unsafe fn read(message: &msghdr) -> Result<Manner> {
    let mut manner = Manner::default();
    if message.msg_control.is_null() || message.msg_controllen == 0 {
        return Ok(manner);
    }
    let invalid = Errno(libc::EINVAL);
    isize::try_from(message.msg_controllen).map_err(|_| Errno(libc::ENOBUFS))?;
    // SAFETY: the caller's promise.
    let mut rest = unsafe { std::slice::from_raw_parts(message.msg_control.cast::<u8>(), message.msg_controllen) };
    while rest.len() >= HEADER {
        // SAFETY: so many bytes are left.
        let header = unsafe { rest.as_ptr().cast::<cmsghdr>().read_unaligned() };
        let value = rest.get(HEADER..header.cmsg_len as usize).ok_or(invalid)?;
        match (header.cmsg_level, header.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => manner.source = source4(value)?,
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => manner.source = source6(value)?,
            (libc::IPPROTO_IP, libc::IP_TTL) => manner.hops = number(value, 1)?,
            (libc::IPPROTO_IP, libc::IP_TOS) if value.len() == 1 => manner.class = Some(value[0]),
            (libc::IPPROTO_IP, libc::IP_TOS) => manner.class = number(value, 0)?,
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => manner.hops = number(value, -1)?,
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => manner.class = number(value, -1)?,
            (libc::SOL_SOCKET, libc::SCM_RIGHTS | libc::SCM_CREDENTIALS) => {}
            _ => return Err(invalid),
        }
        let step = (header.cmsg_len as usize).next_multiple_of(WORD);
        rest = rest.get(step..).unwrap_or_default();
    }
    Ok(manner)
}

/// A number from `least` to 255; −1 is what the socket says.
fn number(value: &[u8], least: c_int) -> Result<Option<u8>> {
    let bytes = value.try_into().map_err(|_| Errno(libc::EINVAL))?;
    let number = c_int::from_ne_bytes(bytes);
    if (least..=255).contains(&number) { Ok(u8::try_from(number).ok()) } else { Err(Errno(libc::EINVAL)) }
}

/// The address that a `struct in_pktinfo` says to send from.
fn source4(value: &[u8]) -> Result<Option<IpAddr>> {
    let value: &[u8; 12] = value.try_into().map_err(|_| Errno(libc::EINVAL))?;
    let address = Ipv4Addr::new(value[4], value[5], value[6], value[7]);
    Ok((!address.is_unspecified()).then_some(address.into()))
}

/// The same of a `struct in6_pktinfo`.
fn source6(value: &[u8]) -> Result<Option<IpAddr>> {
    let value: &[u8; 20] = value.first_chunk().ok_or(Errno(libc::EINVAL))?;
    let octets: [u8; 16] = *value.first_chunk().ok_or(Errno(libc::EINVAL))?;
    let address = Ipv6Addr::from(octets);
    Ok((!address.is_unspecified()).then_some(address.to_canonical()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(level: c_int, kind: c_int, value: &[u8]) -> Vec<u8> {
        let length = HEADER + value.len();
        let mut bytes = [&length.to_ne_bytes()[..], &level.to_ne_bytes(), &kind.to_ne_bytes(), value].concat();
        bytes.resize(length.next_multiple_of(WORD), 0);
        bytes
    }

    fn wished(bytes: &mut [u8]) -> Result<Manner> {
        // SAFETY: zeros are a message without anything.
        let mut message: msghdr = unsafe { std::mem::zeroed() };
        message.msg_control = bytes.as_mut_ptr().cast();
        message.msg_controllen = bytes.len();
        // SAFETY: the control data is as long as said.
        unsafe { read(&message) }
    }

    #[test]
    fn several_wishes_for_one_datagram_are_all_followed() {
        let mut bytes = [
            piece(libc::IPPROTO_IP, libc::IP_TTL, &7_i32.to_ne_bytes()),
            piece(libc::IPPROTO_IP, libc::IP_TOS, &[0x10]),
            piece(libc::IPPROTO_IP, libc::IP_PKTINFO, &[0, 0, 0, 0, 198, 18, 0, 1, 0, 0, 0, 0]),
        ]
        .concat();
        let source = Some(IpAddr::from([198, 18, 0, 1]));
        assert_eq!(wished(&mut bytes), Ok(Manner { source, hops: Some(7), class: Some(0x10) }));
    }

    #[test]
    fn what_is_not_well_formed_is_refused_however_it_is_cut_or_changed() {
        let whole = piece(libc::IPPROTO_IP, libc::IP_TTL, &7_i32.to_ne_bytes());
        for length in HEADER..HEADER + 4 {
            assert_eq!(wished(&mut whole.clone()[..length]), Err(Errno(libc::EINVAL)), "{length} bytes");
        }
        for number in [-1, 0, 256] {
            let mut bytes = piece(libc::IPPROTO_IP, libc::IP_TTL, &i32::to_ne_bytes(number));
            assert_eq!(wished(&mut bytes), Err(Errno(libc::EINVAL)), "{number} hops");
        }
        for length in [0, 1, HEADER - 1, usize::MAX] {
            let mut bytes = whole.clone();
            bytes[..WORD].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(wished(&mut bytes), Err(Errno(libc::EINVAL)), "a piece that says it has {length} bytes");
        }
        assert_eq!(wished(&mut piece(12345, 1, &[])), Err(Errno(libc::EINVAL)), "a level that does not exist");
    }

    #[test]
    fn what_there_is_no_room_for_is_cut_and_told() {
        let note = || Note { level: libc::IPPROTO_IP, kind: libc::IP_TTL, value: 64_i32.to_ne_bytes().to_vec() };
        for (room, filled, cut) in
            [(0, 0, true), (HEADER - 1, 0, true), (HEADER + 2, HEADER + 2, true), (24, 24, false)]
        {
            let mut bytes = [0x55_u8; 64];
            // SAFETY: zeros are a message without anything.
            let mut message: msghdr = unsafe { std::mem::zeroed() };
            message.msg_control = bytes.as_mut_ptr().cast();
            message.msg_controllen = room;
            // SAFETY: there is more room than said.
            unsafe { write(&[note()], &mut message) };
            assert_eq!((message.msg_controllen, message.msg_flags & libc::MSG_CTRUNC != 0), (filled, cut), "{room}");
            assert!(bytes[room..].iter().all(|byte| *byte == 0x55), "nothing is written beyond the room");
        }
    }
}
