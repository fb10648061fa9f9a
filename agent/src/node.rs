//! A node as programs use it, wherever its stack runs.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use ntmfw::elsewhere::Found;
use ntmfw::service::{self, Fault, Link, Traffic};

pub use ntmfw::service::accept;
pub use ntmfw::shim::Port;

/// Connections that may wait at a port.
pub(crate) const BACKLOG: i32 = 128;

/// A registered node.
pub trait Node: Send + Sync {
    /// What it is called.
    fn name(&self) -> Result<String, Fault>;
    /// The node of a name.
    fn resolve(&self, name: &str) -> Result<Found, Fault>;
    /// What the node with this address is called, where it was met.
    fn name_of(&self, address: IpAddr) -> Result<Option<String>, Fault>;
    /// A way to a virtual address.
    fn connect(&self, traffic: Traffic, to: SocketAddr, wait: bool) -> Result<Link, Fault>;
    /// A port that listens; [`accept`] takes its connections.
    fn listen(&self, port: u16) -> Result<OwnedFd, Fault>;
    /// Peers, paths and counters, as JSON.
    fn status(&self) -> Result<String, Fault>;
    /// The streams, as JSON.
    fn flows(&self) -> Result<String, Fault>;
    /// Packets from now on, to be read in the format of pcap.
    fn capture(&self) -> Result<OwnedFd, Fault>;
}

/// The node whose stack is in this process.
#[derive(Debug)]
pub struct Local(());

impl Local {
    /// Registers it, with the configuration at the usual places.
    pub fn begin() -> Result<Self, Fault> {
        service::begin(None).map(|()| Self(()))
    }

    /// Listens at a port that a program of this node gave up, for as long as somebody holds it.
    pub fn take_over(&self, port: Port) -> Result<(), Fault> {
        service::take_over(port, BACKLOG)
    }

    /// Whether somebody holds a connection or a port that lives in this process.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        service::is_needed()
    }
}

impl Node for Local {
    fn name(&self) -> Result<String, Fault> {
        service::configured_name()
    }

    fn resolve(&self, name: &str) -> Result<Found, Fault> {
        service::resolve(name)
    }

    fn name_of(&self, address: IpAddr) -> Result<Option<String>, Fault> {
        Ok(service::name_of(address))
    }

    fn connect(&self, traffic: Traffic, to: SocketAddr, wait: bool) -> Result<Link, Fault> {
        service::connect(traffic, to, wait)
    }

    fn listen(&self, port: u16) -> Result<OwnedFd, Fault> {
        service::listen(port, BACKLOG)
    }

    fn status(&self) -> Result<String, Fault> {
        service::status()
    }

    fn flows(&self) -> Result<String, Fault> {
        service::flows()
    }

    fn capture(&self) -> Result<OwnedFd, Fault> {
        service::capture().map(OwnedFd::from)
    }
}
