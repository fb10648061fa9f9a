//! What a program asks that keeps the stack for others, an agent or a tool: in Rust, and with descriptors that carry
//! data from the start, so that they may be given to anybody.
//!
//! The process that calls [`connect`] or [`listen`] has to go on running for as long as somebody holds what they gave.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libc::c_int;
use ntm_proto::id::Fqdn;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::capi;
use crate::capture;
use crate::descriptors::Own;
use crate::elsewhere::Found;
use crate::errno::{Errno, Result};
use crate::negotiation::config::Config;
use crate::negotiation::login;
use crate::negotiation::start::{self, StartError};
use crate::negotiation::status;
use crate::runtime::Core;
use crate::shim;
use crate::socket::state::{Kind, Socket};
use crate::socket::table;
use crate::socket::{self, carrying};

/// Why something could not be done: the error number, and one line for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What a call would set `errno` to.
    pub errno: Errno,
    /// What is wrong and, where there is one, the way out.
    pub message: String,
}

/// What goes through a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// Bytes of TCP.
    Stream,
    /// Datagrams of UDP, each whole.
    Datagrams,
    /// ICMP echo requests and their answers, each with its header of eight bytes.
    Echoes,
}

/// A way to a peer.
#[derive(Debug)]
pub struct Link {
    /// It carries data.
    pub fd: OwnedFd,
    /// This node's end.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// False: it is being made, and becomes writable when it is.
    pub connected: bool,
}

/// Where the configured node logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountServer {
    /// `https://…`
    pub url: String,
    /// A PEM file with the certificates to believe instead of the host's.
    pub ca: Option<PathBuf>,
    /// Whose node it is.
    pub account: Option<String>,
}

/// What a login gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// What the node is called.
    pub name: String,
    /// Its coordinators.
    pub coordinators: usize,
}

/// Registers the node of the configuration at `config`, or at the usual places; a second call does nothing.
pub fn begin(config: Option<&Path>) -> std::result::Result<(), Fault> {
    socket::begin(config).map(drop).map_err(Fault::from)
}

/// Tells the coordinator that the node goes.
pub fn end() {
    capi::ntmfw_fini();
}

/// What the node of the usual configuration is called, without beginning anything.
pub fn configured_name() -> std::result::Result<String, Fault> {
    Config::find(None).map(|config| config.name.as_str().to_owned()).map_err(|why| StartError::from(why).into())
}

/// Where the node of the usual configuration logs in; `None` where its ticket came another way.
pub fn account_server() -> std::result::Result<Option<AccountServer>, Fault> {
    let config = Config::find(None).map_err(StartError::from)?;
    let (ca, account) = (config.account_server_ca, config.account);
    Ok(config.account_server.map(|url| AccountServer { url, ca, account }))
}

/// Logs the node of a configuration, given as the text of its file, in at its account server, with a secret of the account.
/// What comes of it is kept where the configuration says.
pub fn log_in(config: &str, credential: &ntm_login::Credential) -> std::result::Result<Ticket, Fault> {
    let config = Config::parse(config).map_err(|(line, why)| Fault {
        errno: Errno(libc::EINVAL),
        message: format!("the configuration, line {line}: {why}"),
    })?;
    let login = login::log_in_anew(&config, credential)?;
    Ok(Ticket { name: login.record.fqdn.as_str().to_owned(), coordinators: login.directors.len() })
}

/// The node of this name. `EINVAL` for a name that is none of a node's, `ENOENT` where there is no such node.
pub fn resolve(name: &str) -> std::result::Result<Found, Fault> {
    let core = core()?;
    let parsed = Fqdn::parse(name)
        .map_err(|why| Fault { errno: Errno(libc::EINVAL), message: format!("\"{name}\" is no name: {why}") })?;
    if !core.names.is_ours(&parsed) {
        let message = format!(
            "{name}: not the name of a node here (nodes are those below {}; see `domains` in the configuration)",
            core.names.own().as_str().split_once('.').map_or("", |(_, domain)| domain)
        );
        return Err(Fault { errno: Errno(libc::EINVAL), message });
    }
    capi::ask(core, &parsed).map(Found::from).map_err(|code| match code {
        libc::EAI_NONAME => Fault {
            errno: Errno(libc::ENOENT),
            message: format!("{name}: no such node is registered (is it running, and is the name right?)"),
        },
        libc::EAI_AGAIN => Fault {
            errno: Errno(libc::EAGAIN),
            message: format!("{name}: the coordinator gave no answer in time (see `ntm netcheck`)"),
        },
        _ => Fault { errno: Errno(libc::EIO), message: format!("{name}: what was said of it cannot be believed") },
    })
}

/// What the node with this address is called, where it was met.
pub fn name_of(address: IpAddr) -> Option<String> {
    let core = start::core()?;
    if core.is_own(address) {
        return Some(core.names.own().as_str().to_owned());
    }
    if let Some(resolved) = core.names.by_address(address) {
        return Some(resolved.name.as_str().to_owned());
    }
    // One that came by itself and was never looked up.
    core.engine(|node| {
        let mut peers = node.peers();
        peers
            .find(|peer| address == peer.virtual4 || address == peer.virtual6)
            .map(|peer| peer.name.as_str().to_owned())
    })
}

/// Whether an address is in the ranges from which coordinators give addresses. Nothing is begun for that.
#[must_use]
pub fn is_virtual(address: IpAddr) -> bool {
    Core::is_of_virtual_range(address.to_canonical())
}

/// Connects to a virtual address. With `wait` false the descriptor is given at once, and a failure is shown on it.
pub fn connect(traffic: Traffic, remote: SocketAddr, wait: bool) -> std::result::Result<Link, Fault> {
    let core = core()?;
    if !core.is_virtual(remote.ip()) {
        return Err(Fault {
            errno: Errno(libc::ENETUNREACH),
            message: format!("{remote} is not an address of a node"),
        });
    }
    let family = if remote.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    Ok(connect_to(core, family, traffic.into(), remote, wait)?)
}

fn connect_to(core: &Arc<Core>, family: c_int, kind: Kind, remote: SocketAddr, wait: bool) -> Result<Link> {
    let flags = libc::SOCK_CLOEXEC | if wait { 0 } else { libc::SOCK_NONBLOCK };
    given(Socket::open(core, family, kind, flags)?, |fd, socket| {
        let connected = match socket.connect(fd, remote) {
            Ok(_) => true,
            Err(Errno(libc::EINPROGRESS)) => false,
            Err(why) => return Err(why),
        };
        carrying::carry(socket)?;
        Ok((connected, socket.local_address()))
    })
    .map(|(fd, (connected, local))| Link { fd, local, remote, connected })
}

/// Listens at a port of all the node's addresses. [`accept`] takes connections from the descriptor.
pub fn listen(port: u16, backlog: c_int) -> std::result::Result<OwnedFd, Fault> {
    let core = core()?;
    let listen = || -> Result<OwnedFd> {
        let fd = Socket::open(core, libc::AF_INET6, Kind::Stream, libc::SOCK_CLOEXEC)?;
        given(fd, |fd, socket| {
            socket.bind(fd, SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))?;
            socket.listen(backlog)?;
            carrying::carry(socket)
        })
        .map(|(fd, ())| fd)
    };
    listen().map_err(|errno| {
        let message = match errno {
            Errno(libc::EADDRINUSE) => format!("port {port} of this node is in use"),
            other => format!("port {port}: {other}"),
        };
        Fault { errno, message }
    })
}

/// A port that listens for the kernel's connections listens for nodes', too: who calls [`accept`] on the descriptor that
/// this gives gets both.
pub fn serve(kernel: OwnedFd, backlog: c_int) -> std::result::Result<OwnedFd, Fault> {
    core()?;
    let fd = kernel.into_raw_fd();
    let served = shim::serve(fd, backlog);
    drop(table::remove(fd));
    // SAFETY: it was this function's, and nothing else holds it any more.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(served.map(|()| fd)?)
}

/// Listens at a port that another process of this node gave up, for as long as somebody holds it.
pub fn take_over(port: shim::Port, backlog: c_int) -> std::result::Result<(), Fault> {
    let core = core()?;
    let port = carrying::Port { back: Own::new(port.back), kernel: port.kernel.map(Own::new) };
    Ok(carrying::take_over(core, port, backlog)?)
}

/// Whether somebody holds a descriptor that this process carries data for.
#[must_use]
pub fn is_needed() -> bool {
    shim::holds_connections()
}

/// Waits for the next connection at a descriptor that [`listen`] gave, in this process or another one, and tells who is at
/// its other end; `None` where it is one of the kernel's.
pub fn accept(listener: &impl AsFd) -> Result<(OwnedFd, Option<SocketAddr>)> {
    let (fd, remote) = carrying::accept(listener.as_fd().as_raw_fd(), libc::SOCK_CLOEXEC)?;
    drop(table::remove(fd));
    let remote = remote.map(|remote| SocketAddr::new(remote.ip().to_canonical(), remote.port()));
    // SAFETY: just made, and in no table any more.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, remote))
}

/// What `ntmfw_status` writes.
pub fn status() -> std::result::Result<String, Fault> {
    Ok(status::status(core()?))
}

/// The streams there are, as a JSON array.
pub fn flows() -> std::result::Result<String, Fault> {
    let core = core()?;
    let now = core.now();
    let told = core.stack.connections().into_iter().map(|connection| {
        let figures = connection.figures(now);
        let (received, queued) = connection.queues();
        json!({
            "protocol": "tcp",
            "local": connection.flow.local.to_string(),
            "remote": connection.flow.remote.to_string(),
            "peer": name_of(connection.flow.remote.ip()),
            "state": connection.state().to_string(),
            "sent": figures.acknowledged,
            "received": figures.received,
            "unread": received,
            "unsent": queued,
        })
    });
    Ok(told.collect::<serde_json::Value>().to_string())
}

/// The virtual packets that come and go from now on, in the format of pcap, until the descriptor is closed.
pub fn capture() -> std::result::Result<UnixStream, Fault> {
    core()?;
    let host = |why: std::io::Error| Fault::from(StartError::host("capture", why.into()));
    let (here, there) = UnixStream::pair().map_err(host)?;
    capture::begin(there).map_err(host)?;
    Ok(here)
}

/// Lets `act` make a socket of the library carry data, and takes it out of the table: it is whoever's it is given to.
fn given<T>(fd: RawFd, act: impl FnOnce(RawFd, &Arc<Socket>) -> Result<T>) -> Result<(OwnedFd, T)> {
    let socket = table::find(fd);
    let done = socket.as_ref().ok_or(Errno(libc::EBADF)).and_then(|socket| act(fd, socket));
    drop(table::remove(fd));
    // SAFETY: made for this, and in no table any more.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    done.map(|done| (fd, done))
}

fn core() -> std::result::Result<&'static Arc<Core>, Fault> {
    socket::begin(None).map_err(Fault::from)
}

impl From<Traffic> for Kind {
    fn from(traffic: Traffic) -> Self {
        match traffic {
            Traffic::Stream => Self::Stream,
            Traffic::Datagrams => Self::Datagram,
            Traffic::Echoes => Self::Echo,
        }
    }
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self { errno, message: errno.to_string() }
    }
}

impl From<StartError> for Fault {
    fn from(error: StartError) -> Self {
        Self { errno: error.errno, message: error.message }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}
