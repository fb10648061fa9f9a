//! The host's interfaces and addresses, and the news that they changed.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_core::{
    DecodeError, Emitable as _, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable, NlasIterator, Parseable as _,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::descriptors::Noted;

/// Groups of `<linux/rtnetlink.h>`: links, IPv4 addresses and routes, IPv6 addresses and routes.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// Room for one read; the kernel fills at most 32 KiB of a dump at a time.
const BUFFER: usize = 32_768;
/// A message's header: its length, its kind, and what is of no use here.
const NLMSG_HEADER: usize = 16;

/// An interface of the host that can carry datagrams now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostInterface {
    /// The kernel's number.
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) loopback: bool,
    pub(crate) addresses: Vec<IpAddr>,
}

/// Hears of changes.
#[derive(Debug)]
pub(crate) struct Netlink {
    _noted: Noted,
    socket: Socket,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        socket.set_non_blocking(true)?;
        Ok(Self { _noted: Noted::new(&socket), socket })
    }

    /// Takes what was said since the last time. What it was does not matter: the whole list is read again.
    pub(crate) fn take_changes(&self) -> News {
        let mut news = News::default();
        let mut room = Vec::with_capacity(BUFFER);
        loop {
            match self.socket.recv(&mut room, 0) {
                Ok(_) => news.add(&room),
                // Too much news for the socket's buffer is news as well.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    news = News { interfaces: true, routes: true };
                }
                Err(_) => return news,
            }
            room.clear();
        }
    }
}

/// What changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Interfaces or their addresses.
    pub(crate) interfaces: bool,
    /// There is a new route.
    pub(crate) routes: bool,
}

impl News {
    /// Looks at the kinds of messages: a busy router's routes shall cost nothing.
    fn add(&mut self, mut messages: &[u8]) {
        while let Some(header) = messages.get(..NLMSG_HEADER) {
            let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
            match u16::from_ne_bytes([header[4], header[5]]) {
                libc::RTM_NEWROUTE => self.routes = true,
                libc::RTM_DELROUTE => {}
                _ => self.interfaces = true,
            }
            messages = messages.get(length.next_multiple_of(4).max(NLMSG_HEADER)..).unwrap_or_default();
        }
    }
}

impl AsRawFd for Netlink {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// All interfaces that are up, with the addresses that can be used.
pub(crate) fn interfaces() -> io::Result<Vec<HostInterface>> {
    let mut found = Vec::new();
    dump(Request::Links, |message| {
        if let Answer::Link(link, Some(name)) = message
            && carries(link.flags)
        {
            let loopback = link.flags.contains(LinkFlags::Loopback);
            found.push(HostInterface { index: link.index, name, loopback, addresses: Vec::new() });
        }
    })?;
    dump(Request::Addresses, |message| {
        if let Answer::Address(address) = message
            && let Some(usable) = usable(&address)
            && let Some(interface) = found.iter_mut().find(|interface| interface.index == address.header.index)
        {
            interface.addresses.push(usable);
        }
    })?;
    found.retain(|interface| !interface.addresses.is_empty());
    Ok(found)
}

#[derive(Clone, Copy, Debug)]
enum Request {
    Links,
    Addresses,
}

/// `RouteNetlinkMessage` would do as well and brings the parsers of all that routing, queueing and every kind of
/// link can say: half a megabyte.
#[derive(Debug)]
enum Answer {
    Link(LinkHeader, Option<String>),
    Address(AddressMessage),
    Other,
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        match self {
            Self::Links => libc::RTM_GETLINK,
            Self::Addresses => libc::RTM_GETADDR,
        }
    }

    fn buffer_len(&self) -> usize {
        match self {
            Self::Links => LinkHeader::default().buffer_len(),
            Self::Addresses => AddressMessage::default().buffer_len(),
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        match self {
            Self::Links => LinkHeader::default().emit(buffer),
            Self::Addresses => AddressMessage::default().emit(buffer),
        }
    }
}

impl NetlinkDeserializable for Answer {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        match header.message_type {
            libc::RTM_NEWLINK => {
                let link = LinkHeader::parse(payload)?;
                let attributes = payload.get(link.buffer_len()..).unwrap_or_default();
                let name = NlasIterator::new(attributes)
                    .flatten()
                    .find(|attribute| attribute.kind() == libc::IFLA_IFNAME)
                    .and_then(|attribute| {
                        std::ffi::CStr::from_bytes_until_nul(attribute.value()).ok()?.to_str().ok().map(str::to_owned)
                    });
                Ok(Self::Link(link, name))
            }
            libc::RTM_NEWADDR => AddressMessage::parse(payload).map(Self::Address),
            _ => Ok(Self::Other),
        }
    }
}

/// Whether datagrams can go out. `IFF_RUNNING` says the same up to a second later.
fn carries(flags: LinkFlags) -> bool {
    flags.contains(LinkFlags::Up | LinkFlags::LowerUp) && !flags.contains(LinkFlags::Dormant)
}

/// The address, if it is neither being checked, nor old, nor only good on its own link.
fn usable(message: &AddressMessage) -> Option<IpAddr> {
    let mut address = None;
    let mut flags = AddressFlags::empty();
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link `Address` is the other end's.
            AddressAttribute::Local(local) => address = Some(*local),
            AddressAttribute::Address(other) => address = address.or(Some(*other)),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
    if flags.intersects(unusable) {
        return None;
    }
    address.filter(|address| match address {
        IpAddr::V4(address) => !address.is_link_local(),
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    })
}

fn dump(request: Request, mut take: impl FnMut(Answer)) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::InnerMessage(request));
    message.header.flags = NLM_F_DUMP | NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut room = Vec::with_capacity(BUFFER);
    loop {
        room.clear();
        socket.recv(&mut room, 0)?;
        let mut rest = &room[..];
        while !rest.is_empty() {
            let Ok(message) = NetlinkMessage::<Answer>::deserialize(rest) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(inner) => take(inner),
                _ => {}
            }
            // Messages are aligned to four bytes.
            let length = (message.header.length as usize).next_multiple_of(4).max(4);
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, length: usize) -> Vec<u8> {
        let mut message = vec![0; length.next_multiple_of(4)];
        message[..4].copy_from_slice(&(length as u32).to_ne_bytes());
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message
    }

    #[test]
    fn addresses_and_routes_are_told_apart() {
        let news = |messages: &[&[u8]]| {
            let mut news = News::default();
            news.add(&messages.concat());
            news
        };
        let (address, route) = (message(libc::RTM_NEWADDR, 30), message(libc::RTM_NEWROUTE, 44));
        assert_eq!(news(&[&address]), News { interfaces: true, routes: false });
        assert_eq!(news(&[&route]), News { interfaces: false, routes: true });
        assert_eq!(news(&[&address, &route]), News { interfaces: true, routes: true });
        assert_eq!(news(&[&message(libc::RTM_DELROUTE, 44)]), News::default());
        assert_eq!(news(&[&[0; 16], &[1; 15]]), News { interfaces: true, routes: false });
    }
}
