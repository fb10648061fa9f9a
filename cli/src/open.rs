//! Ways to peers, as the standard library's types.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;

use ntm_agent::{Found, Node, Traffic};
use ntm_program::Failure;

use crate::session::failure;

/// Which of a node's two addresses is used.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Family {
    /// Use the node's IPv6 address; it makes no difference for the path
    #[arg(short = '6', long = "ipv6")]
    v6: bool,
}

impl Family {
    pub(crate) fn of(self, found: &Found) -> IpAddr {
        if self.v6 { found.virtual6.into() } else { found.virtual4.into() }
    }
}

/// A stream to a port of a node. What carries its bytes is a local socket.
pub(crate) fn stream(node: &dyn Node, address: IpAddr, port: u16) -> Result<UnixStream, Failure> {
    let link = node.connect(Traffic::Stream, SocketAddr::new(address, port), true).map_err(failure)?;
    Ok(link.fd.into())
}

/// Datagrams to a port of a node, or echoes: each write and read is one.
pub(crate) fn datagrams(node: &dyn Node, traffic: Traffic, to: SocketAddr) -> Result<UnixStream, Failure> {
    Ok(node.connect(traffic, to, true).map_err(failure)?.fd.into())
}

/// The node of a name, or of one of its addresses.
pub(crate) fn find(node: &dyn Node, name: &str) -> Result<Found, Failure> {
    node.resolve(name).map_err(failure)
}
