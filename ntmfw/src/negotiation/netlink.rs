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
pub(crate) struct Netlink(Socket);

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        socket.set_non_blocking(true)?;
        Ok(Self(socket))
    }

    /// Takes what was said since the last time; whether anything was. What it was does not matter: the whole
    /// list is read again.
    pub(crate) fn take_changes(&self) -> bool {
        let mut any = false;
        let mut room = Vec::with_capacity(BUFFER);
        // Too much news for the socket's buffer is news as well.
        while match self.0.recv(&mut room, 0) {
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
        self.0.as_raw_fd()
    }
}

/// All interfaces that are up, with the addresses that can be used.
pub(crate) fn interfaces() -> io::Result<Vec<HostInterface>> {
    let mut found = Vec::new();
    dump(Request::Links, |message| {
        if let Answer::Link(link, Some(name)) = message
            && link.flags.contains(LinkFlags::Up | LinkFlags::Running)
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
