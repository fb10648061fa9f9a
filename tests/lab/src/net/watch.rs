//! When the kernel of a host said that an address came or went.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::attachment::Host;
use crate::forward::model::Nanos;
use crate::kernel::clock;

/// Groups of `<linux/rtnetlink.h>`: IPv4 and IPv6 addresses.
const GROUPS: u32 = 0x10 | 0x100;
/// How often the thread looks whether it shall end.
const LOOK: Nanos = 50_000_000;

/// An address that came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) at: Nanos,
    pub(crate) address: IpAddr,
    pub(crate) gained: bool,
}

#[derive(Debug)]
pub(crate) struct Watch {
    changes: Arc<Mutex<Vec<Change>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn new(host: &Host) -> io::Result<Self> {
        let socket = host.namespace.within(|| {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, GROUPS))?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        })?;
        let (changes, ends) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (theirs, told_to_end) = (changes.clone(), ends.clone());
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            clock::sleep_precisely();
            while !told_to_end.load(Ordering::Relaxed) {
                take(&socket, &theirs);
            }
        })?;
        Ok(Self { changes, ends, thread: Some(thread) })
    }

    /// All that happened so far.
    pub(crate) fn changes(&self) -> Vec<Change> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn take(socket: &Socket, changes: &Mutex<Vec<Change>>) {
    let _ = clock::wait([socket.as_fd()], LOOK);
    let at = clock::monotonic();
    let mut room = Vec::with_capacity(32_768);
    while socket.recv(&mut room, 0).is_ok() {
        let mut rest = &room[..];
        while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
            let told = match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(message)) => {
                    usable(&message).map(|a| (a, true))
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(message)) => {
                    usable(&message).map(|a| (a, false))
                }
                _ => None,
            };
            if let Some((address, gained)) = told {
                changes.lock().unwrap_or_else(PoisonError::into_inner).push(Change { at, address, gained });
            }
            let length = (message.header.length as usize).next_multiple_of(4).max(4);
            rest = rest.get(length..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
        }
        room.clear();
    }
}

/// The address, where others can reach it.
fn usable(message: &AddressMessage) -> Option<IpAddr> {
    let (mut found, mut flags) = (None, AddressFlags::empty());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => found = Some(*address),
            AddressAttribute::Address(address) => found = found.or(Some(*address)),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    found.filter(|address| match address {
        IpAddr::V4(address) => !address.is_loopback(),
        IpAddr::V6(address) => !address.is_unicast_link_local() && !flags.contains(AddressFlags::Tentative),
    })
}
