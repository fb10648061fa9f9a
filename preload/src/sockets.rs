//! What makes a socket one that nodes reach or that reaches nodes, and what tells of it.

use std::sync::OnceLock;

use libc::{c_int, c_void, sockaddr, socklen_t};
use ntmfw::capi;
use ntmfw::shim;

use crate::agent;
use crate::ending;
use crate::real::{calls_on_sockets, real};
use crate::told;

/// Ports at which nodes may connect.
enum Ports {
    All,
    These(Vec<u16>),
}

impl Ports {
    fn get() -> &'static Self {
        static PORTS: OnceLock<Ports> = OnceLock::new();
        PORTS.get_or_init(|| match std::env::var("NTM_LISTEN").as_deref() {
            Ok("all") => Self::All,
            Ok(list) => Self::These(list.split(',').filter_map(|port| port.trim().parse().ok()).collect()),
            Err(_) => Self::These(Vec::new()),
        })
    }

    /// Whether there are any.
    fn any(&self) -> bool {
        !matches!(self, Self::These(ports) if ports.is_empty())
    }

    fn has(&self, port: u16) -> bool {
        match self {
            Self::All => port != 0,
            Self::These(ports) => ports.contains(&port),
        }
    }
}

/// An NTM socket takes the place of the kernel's, if nodes can be reached.
pub(crate) fn adopt(fd: c_int) -> bool {
    if agent::get().is_some() {
        told::cannot_because(
            "the agent has no sockets that are bound to a node's address, and no datagrams of sockets that are not \
             connected (`ntm --no-agent run` does without it)",
        );
        told::set_errno(libc::ENETUNREACH);
        return false;
    }
    match shim::adopt(fd) {
        Ok(()) => {
            ending::watch();
            true
        }
        Err(why) => {
            told::set_errno(why.0);
            // That it is no socket of the Internet is the kernel's to tell.
            if why.0 != libc::ENOTSOCK {
                told::cannot(why.0);
            }
            false
        }
    }
}

/// `connect(2)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    let real = real!(connect(c_int, *const sockaddr, socklen_t) -> c_int);
    if shim::is_inside() {
        // SAFETY: the caller's promise.
        return unsafe { real(fd, address, length) };
    }
    let _inside = shim::enter();
    // SAFETY: the caller's promise.
    if let Some(connected) = unsafe { agent::connect(fd, address, length) } {
        return connected;
    }
    // SAFETY: the caller's promise.
    if !shim::is_socket(fd) && (!unsafe { shim::is_virtual(address, length) } || !adopt(fd)) {
        // SAFETY: the caller's promise. For a virtual address the kernel says that there is no way there.
        return unsafe { real(fd, address, length) };
    }
    // SAFETY: the caller's promise.
    let connected = unsafe { capi::ntmfw_connect(fd, address, length) };
    let errno = told::errno();
    if connected == 0 || errno == libc::EINPROGRESS {
        shim::carry(fd);
    }
    told::set_errno(errno);
    connected
}

/// `bind(2)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    let real = real!(bind(c_int, *const sockaddr, socklen_t) -> c_int);
    if shim::is_inside() {
        // SAFETY: the caller's promise.
        return unsafe { real(fd, address, length) };
    }
    let _inside = shim::enter();
    // SAFETY: the caller's promise.
    let is_virtual = unsafe { shim::is_virtual(address, length) };
    if shim::is_socket(fd) || (is_virtual && adopt(fd)) {
        // SAFETY: the caller's promise.
        return unsafe { capi::ntmfw_bind(fd, address, length) };
    }
    // SAFETY: the caller's promise.
    let bound = unsafe { real(fd, address, length) };
    if bound == 0 && is_served(fd) && shim::is_of_datagrams(fd) {
        let _ = adopt(fd);
    }
    bound
}

/// Whether nodes may reach the port that a kernel's socket is bound to.
fn is_served(fd: c_int) -> bool {
    Ports::get().any() && shim::wildcard_port(fd).is_some_and(|port| Ports::get().has(port))
}

/// `listen(2)`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    let real = real!(listen(c_int, c_int) -> c_int);
    if shim::is_inside() {
        // SAFETY: only numbers go in.
        return unsafe { real(fd, backlog) };
    }
    let _inside = shim::enter();
    if shim::is_socket(fd) {
        let listens = capi::ntmfw_listen(fd, backlog);
        if listens == 0 {
            shim::carry(fd);
        }
        return listens;
    }
    // SAFETY: only numbers go in.
    let listens = unsafe { real(fd, backlog) };
    if listens == 0 && is_served(fd) {
        serve_nodes(fd, backlog);
    }
    listens
}

/// A port of the kernel's that listens is reached by nodes, too, by the agent's stack or this process's.
fn serve_nodes(fd: c_int, backlog: c_int) {
    match agent::get() {
        Some(agent) => {
            if let Err(why) = agent::serve(agent, fd, backlog) {
                told::cannot_because(&why.message);
            }
        }
        None => match shim::serve(fd, backlog) {
            Ok(()) => ending::watch(),
            Err(why) => told::cannot(why.0),
        },
    }
}

calls_on_sockets! {
    /// `accept(2)`
    fn accept(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int => ntmfw_accept;
    /// `accept4(2)`
    fn accept4(fd: c_int, address: *mut sockaddr, length: *mut socklen_t, flags: c_int) -> c_int => ntmfw_accept4;
    /// `shutdown(2)`
    fn shutdown(fd: c_int, how: c_int) -> c_int => ntmfw_shutdown;
    /// `getsockname(2)`
    fn getsockname(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int => ntmfw_getsockname;
    /// `getpeername(2)`
    fn getpeername(fd: c_int, address: *mut sockaddr, length: *mut socklen_t) -> c_int => ntmfw_getpeername;
    /// `getsockopt(2)`
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut c_void, length: *mut socklen_t) -> c_int
        => ntmfw_getsockopt;
    /// `setsockopt(2)`
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: socklen_t) -> c_int
        => ntmfw_setsockopt;
}
