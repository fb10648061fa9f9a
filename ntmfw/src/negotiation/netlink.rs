//! The host's interfaces and addresses, and the news that they changed.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::descriptors::Noted;

/// Groups of `<linux/rtnetlink.h>`: links, IPv4 addresses, IPv6 addresses.
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
/// Room for one read; the kernel fills at most 32 KiB of a dump at a time.
const BUFFER: usize = 32_768;

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

    /// Takes what was said since the last time; whether anything was. What it was does not matter: the whole
    /// list is read again.
    pub(crate) fn take_changes(&self) -> bool {
        let mut any = false;
        let mut room = Vec::with_capacity(BUFFER);
        // Too much news for the socket's buffer is news as well.
        while match self.socket.recv(&mut room, 0) {
            Ok(_) => true,
            Err(error) => error.raw_os_error() == Some(libc::ENOBUFS),
        } {
            any = true;
            room.clear();
        }
        any
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
    dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| {
        if let RouteNetlinkMessage::NewLink(link) = message
            && link.header.flags.contains(LinkFlags::Up | LinkFlags::Running)
        {
            let name = link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            });
            let loopback = link.header.flags.contains(LinkFlags::Loopback);
            found.extend(name.map(|name| HostInterface {
                index: link.header.index,
                name,
                loopback,
                addresses: Vec::new(),
            }));
        }
    })?;
    dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
        if let RouteNetlinkMessage::NewAddress(address) = message
            && let Some(usable) = usable(&address)
            && let Some(interface) = found.iter_mut().find(|interface| interface.index == address.header.index)
        {
            interface.addresses.push(usable);
        }
    })?;
    found.retain(|interface| !interface.addresses.is_empty());
    Ok(found)
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

fn dump(request: RouteNetlinkMessage, mut take: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(request));
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
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) else {
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
