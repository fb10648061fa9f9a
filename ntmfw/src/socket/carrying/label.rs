//! What a descriptor that carries data says of itself, to processes that know nothing else of it: children after `exec`, and
//! whoever accepts through a pair.
//!
//! It is the name of the library's end of the pair, which holders are told as that of their peer:
//!
//! ```text
//! 0  "ntmfw"  family(1)  kind(1)  listening(1)  local(18)  remote(18)  inode(8), which keeps names apart
//! ```
//!
//! An address is sixteen bytes, IPv4 mapped, and a port; a port of zero is none.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use libc::{c_int, sa_family_t, sockaddr_un, socklen_t};

use crate::descriptors::Own;
use crate::socket::state::Kind;
use crate::stack::pair::inode_of;

const MAGIC: &[u8; 6] = b"\0ntmfw";
const ADDRESS: usize = 18;
const LENGTH: usize = MAGIC.len() + 3 + 2 * ADDRESS + 8;
/// Where the name begins.
const PATH: usize = size_of::<sa_family_t>();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) family: c_int,
    pub(crate) kind: Kind,
    pub(crate) listening: bool,
    pub(crate) local: SocketAddr,
    pub(crate) remote: Option<SocketAddr>,
}

impl Label {
    /// Gives the library's end this name. Where the system refuses, holders in other programs do not know whose it is.
    pub(super) fn attach(&self, back: &Own) {
        // SAFETY: zeros are an address.
        let mut name: sockaddr_un = unsafe { std::mem::zeroed() };
        name.sun_family = libc::AF_UNIX as sa_family_t;
        let bytes = self.emit(inode_of(back).unwrap_or_default());
        for (to, from) in name.sun_path.iter_mut().zip(bytes) {
            *to = from.cast_signed();
        }
        // SAFETY: the address is valid and as long as said.
        unsafe { libc::bind(back.as_raw_fd(), (&raw const name).cast(), (PATH + LENGTH) as socklen_t) };
    }

    /// What a descriptor says of itself; `None` where it is none that carries data.
    pub(crate) fn of(fd: RawFd) -> Option<Self> {
        Self::read(fd, libc::getpeername)
    }

    /// What the library's end of such a descriptor was named.
    pub(super) fn on(back: &Own) -> Option<Self> {
        Self::read(back.as_raw_fd(), libc::getsockname)
    }

    fn read(
        fd: RawFd,
        tell: unsafe extern "C" fn(c_int, *mut libc::sockaddr, *mut socklen_t) -> c_int,
    ) -> Option<Self> {
        // SAFETY: zeros are an address, and there is so much room.
        let (name, length) = unsafe {
            let mut name: sockaddr_un = std::mem::zeroed();
            let mut length = size_of::<sockaddr_un>() as socklen_t;
            let told = tell(fd, (&raw mut name).cast(), &raw mut length);
            (told == 0 && name.sun_family == libc::AF_UNIX as sa_family_t).then_some((name, length))?
        };
        let length = (length as usize).checked_sub(PATH)?;
        let bytes: Vec<u8> = name.sun_path.iter().take(length).map(|byte| byte.cast_unsigned()).collect();
        Self::parse(bytes.as_slice().try_into().ok()?)
    }

    fn emit(&self, inode: u64) -> [u8; LENGTH] {
        let family = if self.family == libc::AF_INET6 { 6 } else { 4 };
        let kind = match self.kind {
            Kind::Stream => 0,
            Kind::Datagram => 1,
            Kind::Echo => 2,
        };
        let numbers = [family, kind, u8::from(self.listening)];
        let [local, remote] = [Some(self.local), self.remote].map(emit_address);
        let parts: [&[u8]; 5] = [MAGIC, &numbers, &local, &remote, &inode.to_ne_bytes()];
        let mut name = [0; LENGTH];
        name.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
        name
    }

    fn parse(name: &[u8; LENGTH]) -> Option<Self> {
        let [family, kind, listening, rest @ ..] = name.strip_prefix(MAGIC)? else { return None };
        let (local, rest) = rest.split_first_chunk()?;
        let (remote, _) = rest.split_first_chunk()?;
        let family = if *family == 6 { libc::AF_INET6 } else { libc::AF_INET };
        let kind = match kind {
            0 => Kind::Stream,
            1 => Kind::Datagram,
            2 => Kind::Echo,
            _ => return None,
        };
        let remote = parse_address(remote, family);
        let remote = (remote.port() != 0).then_some(remote);
        Some(Self { family, kind, listening: *listening != 0, local: parse_address(local, family), remote })
    }
}

fn emit_address(address: Option<SocketAddr>) -> [u8; ADDRESS] {
    let mut bytes = [0; ADDRESS];
    let Some(address) = address else { return bytes };
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    bytes
}

/// As a socket of this family shows it.
fn parse_address(bytes: &[u8; ADDRESS], family: c_int) -> SocketAddr {
    let (ip, port) = bytes.split_at(16);
    let ip = Ipv6Addr::from(<[u8; 16]>::try_from(ip).unwrap_or_default());
    let port = u16::from_be_bytes(port.try_into().unwrap_or_default());
    SocketAddr::new(if family == libc::AF_INET { ip.to_canonical() } else { ip.into() }, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<Label> {
        let v6 = |ip: &str, port| SocketAddr::new(ip.parse().expect("an address"), port);
        let stream = Label {
            family: libc::AF_INET,
            kind: Kind::Stream,
            listening: false,
            local: v6("198.18.0.1", 80),
            remote: Some(v6("198.18.0.2", 65_535)),
        };
        let both = Label {
            family: libc::AF_INET6,
            local: v6("::ffff:198.18.0.1", 80),
            remote: Some(v6("fd4e:544d::2", 1)),
            ..stream
        };
        let port = Label { listening: true, local: v6("::", 8_080), remote: None, ..both };
        vec![stream, both, port, Label { kind: Kind::Datagram, ..stream }]
    }

    #[test]
    fn a_descriptor_tells_whoever_holds_it_whose_it_is() {
        for label in labels() {
            let (front, back) = std::os::unix::net::UnixStream::pair().expect("a pair");
            assert_eq!(Label::of(front.as_raw_fd()), None);
            label.attach(&Own::new(back.into()));
            let passed = front.try_clone().expect("a copy");
            assert_eq!(Label::of(passed.as_raw_fd()), Some(label));
        }
    }

    #[test]
    fn two_of_the_same_kind_do_not_get_in_each_others_way() {
        let label = labels()[0];
        let pairs = [(); 2].map(|()| std::os::unix::net::UnixStream::pair().expect("a pair"));
        for (front, back) in pairs {
            label.attach(&Own::new(back.into()));
            assert_eq!(Label::of(front.as_raw_fd()), Some(label));
        }
    }
}
