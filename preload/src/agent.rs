//! The user's agent, where `ntm run` named one: it has the stack, and the program holds descriptors that carry data, which it
//! was given in the places of its own.
//!
//! Nothing is held between calls, so children and programs after `exec` find it by themselves.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::OnceLock;

use libc::{c_int, sockaddr, socklen_t};
use ntm_agent::{Client, Fault, Found, Node as _, SOCKET_VARIABLE, Traffic};
use ntmfw::{Errno, elsewhere, service, shim};

use crate::told;

/// The agent, if there is one for this program. From then on it is asked for names, too.
pub(crate) fn get() -> Option<&'static Client> {
    static AGENT: OnceLock<Option<Client>> = OnceLock::new();
    let agent = AGENT.get_or_init(|| {
        let path = std::env::var_os(SOCKET_VARIABLE)?;
        let _inside = shim::enter();
        let node = service::configured_name().ok();
        match Client::meet(Path::new(&path), node.as_deref()) {
            Ok(agent) => {
                elsewhere::use_names(Box::new(Names(agent.clone())));
                Some(agent)
            }
            // The program may still reach nodes by itself.
            Err(_) => None,
        }
    });
    agent.as_ref()
}

/// `connect`, where it is the agent's to do.
///
/// # Safety
/// As `connect`.
pub(crate) unsafe fn connect(fd: c_int, address: *const sockaddr, length: socklen_t) -> Option<c_int> {
    // SAFETY: the caller's promise.
    let to = unsafe { shim::virtual_address(address, length) }.filter(|_| !shim::is_socket(fd))?;
    let agent = get()?;
    let connected = elsewhere::traffic(fd).and_then(|traffic| {
        let wait = traffic != Traffic::Stream || !is_nonblocking(fd);
        let link = agent.connect(traffic, to, wait).map_err(|fault| fault.errno)?;
        elsewhere::connect(fd, &link)?;
        if link.connected { Ok(()) } else { Err(Errno(libc::EINPROGRESS)) }
    });
    Some(match connected {
        Ok(()) => 0,
        Err(errno) => {
            told::set_errno(errno.0);
            -1
        }
    })
}

/// A port of the kernel's listens for nodes as well.
pub(crate) fn serve(agent: &Client, fd: c_int, backlog: c_int) -> Result<(), Fault> {
    let status = status_of(fd);
    // SAFETY: the program's own descriptor, which it is about to get back; it lives for the call.
    let kernel = unsafe { BorrowedFd::borrow_raw(fd) };
    let front = agent.serve(kernel, backlog)?;
    elsewhere::listen(fd, &front)?;
    // The agent made the kernel's port, which it has now, one that does not block.
    // SAFETY: only numbers go in and come out.
    unsafe { libc::fcntl(fd, libc::F_SETFL, status) };
    Ok(())
}

fn is_nonblocking(fd: c_int) -> bool {
    let status = status_of(fd);
    status >= 0 && status & libc::O_NONBLOCK != 0
}

fn status_of(fd: c_int) -> c_int {
    // SAFETY: only numbers go in and come out.
    unsafe { libc::fcntl(fd, libc::F_GETFL) }
}

struct Names(Client);

impl elsewhere::Names for Names {
    fn resolve(&self, name: &str) -> Result<Found, c_int> {
        self.0.resolve(name).map_err(|fault| match fault.errno.0 {
            libc::ENOENT => libc::EAI_NONAME,
            libc::EIO | libc::EINVAL => libc::EAI_FAIL,
            _ => libc::EAI_AGAIN,
        })
    }

    fn name_of(&self, address: IpAddr) -> Option<String> {
        self.0.name_of(address).ok().flatten()
    }
}
