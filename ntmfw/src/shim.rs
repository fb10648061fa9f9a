//! What the preloaded shim asks of the library, beyond the calls that C programs make.
//!
//! A program under the shim has sockets of the kernel until one of them meets a virtual address, or listens at a port that
//! nodes may reach. Then an NTM socket takes its place behind the same descriptor, and carries data, so that nothing else
//! of what the program does with it needs to be seen.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use libc::{c_int, hostent, sockaddr, socklen_t};
use ntm_proto::id::Fqdn;

use crate::Errno;
use crate::capi;
use crate::descriptors::{self, Own};
use crate::elsewhere::Found;
use crate::errno::Result;
use crate::negotiation::config::Config;
use crate::negotiation::start;
use crate::socket::carrying;
use crate::socket::options;
use crate::socket::state::{Kind, Socket};
use crate::socket::table::{self, Entry};

pub use crate::inside::{Inside, enter, is_inside};
pub use crate::negotiation::start::refuse_signals;

/// What a socket of the kernel's was told that one of ours shall know.
const COPIED: [(c_int, c_int); 21] = [
    (libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (libc::SOL_SOCKET, libc::SO_REUSEPORT),
    (libc::SOL_SOCKET, libc::SO_TIMESTAMP),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO),
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO),
    (libc::SOL_SOCKET, libc::SO_LINGER),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
    (libc::IPPROTO_IP, libc::IP_TOS),
    (libc::IPPROTO_IP, libc::IP_TTL),
    (libc::IPPROTO_IP, libc::IP_PKTINFO),
    (libc::IPPROTO_IP, libc::IP_RECVTTL),
    (libc::IPPROTO_IP, libc::IP_RECVTOS),
    (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
];

/// The process that has sockets of ours.
static HOME: AtomicU32 = AtomicU32::new(0);

/// Whether the descriptor is an NTM socket. One that the program closed without a call that is seen (`fclose`, a system call
/// of its own) is forgotten here.
#[must_use]
pub fn is_socket(fd: RawFd) -> bool {
    table::is_known(fd) && table::entry(fd).is_some_and(|entry| entry.is_behind(fd) || forget(fd))
}

/// Whether the program, and not the library, asks about an NTM socket.
#[must_use]
pub fn is_met(fd: RawFd) -> bool {
    table::is_known(fd) && !is_inside() && is_socket(fd)
}

/// Whether connections or ports live in this process that others may hold descriptors of.
#[must_use]
pub fn holds_connections() -> bool {
    start::core().is_some() && carrying::carrier::is_busy()
}

/// A port that a process gives up and another one of the same node takes over ([`crate::service::take_over`]).
#[derive(Debug)]
pub struct Port {
    /// The library's end of the pair that holders of the port have the other end of.
    pub back: OwnedFd,
    /// The port of the kernel's beside it.
    pub kernel: Option<OwnedFd>,
}

/// Gives up the ports that others hold. With `closing` this process's own descriptors of them are closed.
#[must_use]
pub fn give_up_ports(closing: bool) -> Vec<Port> {
    let ports = carrying::give_up_ports(closing).into_iter();
    ports.map(|port| Port { back: port.back.into(), kernel: port.kernel.map(OwnedFd::from) }).collect()
}

/// Whether this is the process in which the runtime began, and not a child of `vfork` that borrows its memory.
#[must_use]
pub fn is_home() -> bool {
    HOME.load(Ordering::Acquire) == std::process::id()
}

/// Descriptors that the program before `exec` left to this one are known from now on.
pub fn recognise_inherited() {
    carrying::recognise_inherited();
}

fn forget(fd: RawFd) -> bool {
    drop(table::remove(fd));
    false
}

/// Whether the descriptor is one that the library works with, which the program knows nothing of.
#[must_use]
pub fn is_own(fd: RawFd) -> bool {
    descriptors::is_own(fd)
}

/// The library's own descriptors in a range, in order.
#[must_use]
pub fn own_within(first: RawFd, last: RawFd) -> Vec<RawFd> {
    descriptors::own_within(first, last)
}

/// The program closed these without `close`: what they were is over.
pub fn forget_within(first: RawFd, last: RawFd) {
    for fd in table::descriptors_within(first, last) {
        drop(table::remove(fd));
    }
}

/// Whether an address that a program gave is virtual.
///
/// # Safety
/// `address` is null or points to `length` bytes.
#[must_use]
pub unsafe fn is_virtual(address: *const sockaddr, length: socklen_t) -> bool {
    // SAFETY: the caller's promise.
    unsafe { virtual_address(address, length) }.is_some()
}

/// The address that a program gave, where it is virtual.
///
/// # Safety
/// As [`is_virtual`].
#[must_use]
pub unsafe fn virtual_address(address: *const sockaddr, length: socklen_t) -> Option<SocketAddr> {
    // SAFETY: the caller's promise.
    let address = unsafe { capi::read_address(address, length) }?;
    let ip = address.ip().to_canonical();
    start::is_virtual(ip).then(|| SocketAddr::new(ip, address.port()))
}

/// The name of the node that has a virtual address, where it is known.
#[must_use]
pub fn name_of(address: IpAddr) -> Option<String> {
    capi::name_of_address(address).map(|name| name.as_str().to_owned())
}

/// The node of a name, or what `getaddrinfo` says of it.
pub fn look_up(name: &CStr) -> std::result::Result<Found, c_int> {
    // SAFETY: a C string.
    unsafe { capi::find_node(name.as_ptr()) }.unwrap_or(Err(libc::EAI_NONAME)).map(Found::from)
}

/// What `gethostbyname` and its kin tell, with everything it points to in `room`; `None` where that is too small.
#[must_use]
pub fn lay_out(name: &str, address: IpAddr, room: &mut [MaybeUninit<u8>]) -> Option<hostent> {
    capi::lay_out(name, address, room)
}

/// Whether a name is a node's, as far as the configuration tells. Nothing is begun for that, and while the library begins
/// no name is: what it looks up then is the kernel's to reach.
#[must_use]
pub fn is_node(name: &CStr) -> bool {
    static DOMAINS: OnceLock<Vec<Fqdn>> = OnceLock::new();
    let Some(name) = name.to_str().ok().and_then(|name| Fqdn::parse(name).ok()) else { return false };
    let domains = DOMAINS.get_or_init(|| {
        let Ok(config) = Config::find(None) else { return Vec::new() };
        let own = config.name.as_str().split_once('.').and_then(|(_, domain)| Fqdn::parse(domain).ok());
        config.domains.into_iter().chain(own).collect()
    });
    !start::is_starting() && domains.iter().any(|domain| name.is_within(domain) && name != *domain)
}

/// Puts an NTM socket in the place of a kernel's, with the same flags, port and options. `ENOTSOCK` where it is no
/// stream or datagram socket of the Internet. Datagrams go on reaching the kernel's addresses, too.
pub fn adopt(fd: RawFd) -> Result<()> {
    HOME.store(std::process::id(), Ordering::Release);
    let (socket, front) = socket_like(fd)?;
    if socket.kind == Kind::Datagram {
        socket.stand_beside(duplicate(fd)?)?;
    }
    Socket::put_behind(fd, &front, Entry::Direct(socket))
}

/// A stream that has a peer, or is about to have one, or listens: its bytes pass through the descriptor from now on.
pub fn carry(fd: RawFd) {
    if table::find(fd).is_some_and(|socket| socket.kind == Kind::Stream) {
        carrying::carry_all([fd]);
    }
}

/// A port of the kernel's that listens is reached by nodes, too: who accepts on the descriptor gets both kinds of
/// connections.
pub fn serve(fd: RawFd, backlog: c_int) -> Result<()> {
    HOME.store(std::process::id(), Ordering::Release);
    let (socket, front) = socket_like(fd)?;
    let kernel = duplicate(fd)?;
    socket.listen(backlog)?;
    carrying::carry_beside(fd, front, &socket, kernel)
}

/// The port of a socket of the kernel's that is bound to no address in particular.
#[must_use]
pub fn wildcard_port(fd: RawFd) -> Option<u16> {
    let local = kernel_address(fd).ok()?;
    local.ip().to_canonical().is_unspecified().then_some(local.port())
}

/// Whether a kernel's socket is of datagrams.
#[must_use]
pub fn is_of_datagrams(fd: RawFd) -> bool {
    kernel_option(fd, libc::SOL_SOCKET, libc::SO_TYPE) == Ok(libc::SOCK_DGRAM)
}

fn duplicate(fd: RawFd) -> Result<Own> {
    // SAFETY: only numbers go in and come out.
    Ok(Own::made(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })?)
}

/// A socket of ours like one of the kernel's, and its descriptor.
fn socket_like(fd: RawFd) -> Result<(Arc<Socket>, OwnedFd)> {
    let (family, kind) = kernel_kind(fd)?;
    let core = capi::core()?;
    let (front, socket) = Socket::make(core, family, kind, libc::SOCK_CLOEXEC)?;
    for (level, name) in COPIED {
        let mut value = [0_u8; 16];
        let mut length = value.len() as socklen_t;
        // SAFETY: there is so much room.
        if unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &raw mut length) } == 0 {
            // What ours does not know is no loss.
            let _ = options::set(&socket, level, name, &value[..length as usize]);
        }
    }
    let local = kernel_address(fd)?;
    if local.port() != 0 {
        let any = if family == libc::AF_INET6 { [0_u16; 8].into() } else { [0_u8; 4].into() };
        socket.bind(fd, SocketAddr::new(any, local.port()))?;
    }
    Ok((socket, front))
}

/// The family and kind of a socket of the kernel's. `ENOTSOCK` where it is no stream or datagram socket of the Internet.
pub(crate) fn kernel_kind(fd: RawFd) -> Result<(c_int, Kind)> {
    let family = kernel_option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN)?;
    match (family, kernel_option(fd, libc::SOL_SOCKET, libc::SO_TYPE)?) {
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_STREAM) => Ok((family, Kind::Stream)),
        (libc::AF_INET | libc::AF_INET6, libc::SOCK_DGRAM) => {
            match kernel_option(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL)? {
                libc::IPPROTO_UDP => Ok((family, Kind::Datagram)),
                libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6 => Ok((family, Kind::Echo)),
                _ => Err(Errno(libc::ENOTSOCK)),
            }
        }
        _ => Err(Errno(libc::ENOTSOCK)),
    }
}

fn kernel_option(fd: RawFd, level: c_int, name: c_int) -> Result<c_int> {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as socklen_t;
    // SAFETY: there is room for an int.
    let failed = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut length) } < 0;
    if failed { Err(Errno::last()) } else { Ok(value) }
}

pub(crate) fn kernel_address(fd: RawFd) -> Result<SocketAddr> {
    // SAFETY: a number, for the time of the call; it is not closed.
    let socket = std::mem::ManuallyDrop::new(unsafe { socket2::Socket::from_raw_fd(fd) });
    socket.local_addr()?.as_socket().ok_or(Errno(libc::ENOTSOCK))
}
