//! The kernel's half of a datagram socket that has both, as under the shim: what the kernel's socket hears waits in the same
//! queue as what nodes send, and what goes to an address of the kernel's leaves through it.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use socket2::SockRef;

use crate::descriptors::Own;
use crate::errno::{Errno, Result};
use crate::negotiation::start::become_own_thread;
use crate::socket::state::unmapped;
use crate::stack::bindings::Holder as _;
use crate::stack::endpoint::{Arrival, Endpoint};
use crate::stack::ip::DEFAULT_HOPS;
use crate::stack::udp::MAX_DATAGRAM;

/// A kernel's socket whose datagrams an endpoint hears.
#[derive(Debug)]
pub(crate) struct Beside {
    kernel: Arc<Own>,
    endpoint: Weak<Endpoint>,
    /// Whether a thread listens.
    heard: AtomicBool,
    over: Arc<AtomicBool>,
}

impl Beside {
    /// One that is bound is listened to at once, others from when something was sent.
    pub(crate) fn new(kernel: Own, endpoint: &Arc<Endpoint>) -> Result<Self> {
        let kernel = Arc::new(kernel);
        let beside =
            Self { kernel, endpoint: Arc::downgrade(endpoint), heard: AtomicBool::default(), over: Arc::default() };
        if beside.local_address()?.port() != 0 {
            beside.listen()?;
        }
        Ok(beside)
    }

    pub(crate) fn local_address(&self) -> Result<SocketAddr> {
        let name = SockRef::from(&*self.kernel).local_addr()?;
        name.as_socket().ok_or(Errno(libc::ENOTSOCK))
    }

    /// Sends one datagram to an address in the form that the socket's family has.
    pub(crate) fn send(&self, parts: &[&[u8]], to: SocketAddr) -> Result<usize> {
        let sent = SockRef::from(&*self.kernel).send_to(&parts.concat(), &to.into())?;
        self.listen()?;
        Ok(sent)
    }

    /// Only this address is heard from now on.
    pub(crate) fn connect(&self, to: SocketAddr) -> Result<()> {
        SockRef::from(&*self.kernel).connect(&to.into())?;
        self.listen()
    }

    fn listen(&self) -> Result<()> {
        if self.heard.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let (kernel, endpoint, over) = (self.kernel.clone(), self.endpoint.clone(), self.over.clone());
        let spawned = std::thread::Builder::new().name("ntmfw-beside".to_owned()).spawn(move || {
            become_own_thread();
            hear(&kernel, &endpoint, &over);
        });
        spawned.map(|_| ()).map_err(Errno::from)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // It wakes the thread, although Linux says that such a socket cannot be shut down.
        let _ = SockRef::from(&*self.kernel).shutdown(std::net::Shutdown::Both);
    }
}

/// Moves datagrams into the endpoint's queue until the socket is closed.
fn hear(kernel: &Own, endpoint: &Weak<Endpoint>, over: &AtomicBool) {
    let socket = SockRef::from(kernel);
    // The descriptor's flags are those that the program set.
    let mut ready = libc::pollfd { fd: kernel.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut room = vec![MaybeUninit::uninit(); MAX_DATAGRAM];
    while !over.load(Ordering::Acquire) {
        // SAFETY: one valid entry.
        unsafe { libc::poll(&raw mut ready, 1, -1) };
        let Some(endpoint) = endpoint.upgrade() else { return };
        let Ok((length, from)) = socket.recv_from_with_flags(&mut room, libc::MSG_DONTWAIT) else {
            // Errors that the program asked to be kept keep the socket ready; nobody will read them.
            let _ = socket.recv_from_with_flags(&mut room, libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE);
            continue;
        };
        let Some(from) = from.as_socket().map(unmapped) else { continue };
        if endpoint.fits(Some(from)).is_none() {
            continue;
        }
        // SAFETY: so many bytes were written.
        let data = unsafe { std::slice::from_raw_parts(room.as_ptr().cast::<u8>(), length) };
        let to = if from.is_ipv4() { [0_u8; 4].into() } else { [0_u16; 8].into() };
        endpoint.receive(Arrival { from, to, hops: DEFAULT_HOPS, class: 0, at: SystemTime::now() }, data);
    }
}
