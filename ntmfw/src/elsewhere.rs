//! Where another process holds the node: it answers for names, and its descriptors are taken in.
//!
//! A program under the shim has no stack of its own then. What it holds are descriptors that carry data, as a child of
//! `fork` holds them, so everything that works in a child works on these.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Arc, OnceLock};

use libc::c_int;
use serde::{Deserialize, Serialize};

use crate::errno::Result;
use crate::negotiation::names::Resolved;
use crate::service::{Link, Traffic};
use crate::shim;
use crate::socket::carrying::Carried;
use crate::socket::state::{Kind, Socket};
use crate::socket::table::Entry;

/// A node that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What it is called.
    pub name: String,
    /// Its addresses, which never change.
    pub virtual4: Ipv4Addr,
    /// The same.
    pub virtual6: Ipv6Addr,
}

/// Who answers for names.
pub trait Names: Send + Sync {
    /// The node of this name, or what `getaddrinfo` says.
    fn resolve(&self, name: &str) -> std::result::Result<Found, c_int>;
    /// The name of the node with this address.
    fn name_of(&self, address: IpAddr) -> Option<String>;
}

static NAMES: OnceLock<Box<dyn Names>> = OnceLock::new();

/// From now on names are asked of `names`, and no stack is begun for them in this process. To be called once, before
/// anything else.
pub fn use_names(names: Box<dyn Names>) {
    // Who came first stays.
    let _ = NAMES.set(names);
}

pub(crate) fn names() -> Option<&'static dyn Names> {
    NAMES.get().map(Box::as_ref)
}

/// What goes through a socket of the kernel's. `ENOTSOCK` where it is no stream or datagram socket of the Internet.
pub fn traffic(fd: RawFd) -> Result<Traffic> {
    shim::kernel_kind(fd).map(|(_, kind)| match kind {
        Kind::Stream => Traffic::Stream,
        Kind::Datagram | Kind::Echo => Traffic::Datagrams,
    })
}

/// Puts a link that another process made in the place of the program's `fd`, with the same flags.
pub fn connect(fd: RawFd, link: &Link) -> Result<()> {
    put_behind(fd, &link.fd, link.local, Some(link.remote))
}

/// Puts a port that another process made in the place of the program's `fd`, which listens, with the same flags.
pub fn listen(fd: RawFd, front: &OwnedFd) -> Result<()> {
    put_behind(fd, front, shim::kernel_address(fd)?, None)
}

fn put_behind(fd: RawFd, front: &OwnedFd, local: SocketAddr, remote: Option<SocketAddr>) -> Result<()> {
    let (family, kind) = shim::kernel_kind(fd)?;
    let shown = |address: SocketAddr| match address.ip() {
        IpAddr::V4(v4) if family == libc::AF_INET6 => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        _ => address,
    };
    let carried = Carried::foreign(family, kind, shown(local), remote.map(shown), front)?;
    Socket::put_behind(fd, front, Entry::Carried(Arc::new(carried)))
}

impl From<Resolved> for Found {
    fn from(resolved: Resolved) -> Self {
        Self { name: resolved.name.as_str().to_owned(), virtual4: resolved.virtual4, virtual6: resolved.virtual6 }
    }
}
