//! One UDP socket on one address of one interface.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use ntm_proto::id::InterfaceId;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::descriptors::Noted;
use crate::sync::Shared;

/// Asked of the kernel for each direction; it gives what its limits allow.
const KERNEL_BUFFER: usize = 4 << 20;
/// How long a full socket may hold up a sender before the datagrams are given up.
const PATIENCE: Duration = Duration::from_millis(20);

/// A bound socket.
pub(crate) struct Port {
    pub(crate) interface: InterfaceId,
    pub(crate) address: SocketAddr,
    _noted: Noted,
    socket: std::net::UdpSocket,
    state: UdpSocketState,
    way: AtomicU8,
}

/// What sending by a port has shown so far.
mod way {
    pub(super) const UNTRIED: u8 = 0;
    /// The kernel knew no route from this address yet.
    pub(super) const NONE: u8 = 1;
    pub(super) const FOUND: u8 = 2;
}

impl Port {
    /// Binds to `address` on the device of that name.
    pub(crate) fn open(interface: InterfaceId, device: &str, address: SocketAddr) -> io::Result<Self> {
        let socket =
            Socket::new(Domain::for_address(address), Type::DGRAM.cloexec().nonblocking(), Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Binding to a device needs no privilege since Linux 5.7; where it fails, routing decides as ever.
        let _ = socket.bind_device(Some(device.as_bytes()));
        socket.bind(&address.into())?;
        let socket = std::net::UdpSocket::from(socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let _ = state.set_send_buffer_size(UdpSockRef::from(&socket), KERNEL_BUFFER);
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), KERNEL_BUFFER);
        leave_out_what_nobody_reads(&socket);
        let address = socket.local_addr()?;
        let way = AtomicU8::new(way::UNTRIED);
        Ok(Self { interface, address, _noted: Noted::new(&socket), socket, state, way })
    }

    /// The device that it is bound to.
    pub(crate) fn device(&self) -> Option<Vec<u8>> {
        SockRef::from(&self.socket).device().ok().flatten()
    }

    /// Datagrams that one call may send.
    pub(crate) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Sends `contents` as datagrams of `segment` bytes, the last one maybe shorter. A full socket is waited
    /// for a little; what cannot be sent is lost, as on any network.
    pub(crate) fn send(&self, to: SocketAddr, contents: &[u8], segment: usize) {
        for _ in 0..2 {
            match self.try_send(to, contents, segment) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_writable(),
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) => {
                    let _ = self.way.compare_exchange(way::UNTRIED, way::NONE, Ordering::Relaxed, Ordering::Relaxed);
                    return;
                }
                Err(_) => return,
                Ok(()) => {
                    if self.way.load(Ordering::Relaxed) != way::FOUND {
                        self.way.store(way::FOUND, Ordering::Relaxed);
                    }
                    return;
                }
            }
        }
    }

    fn try_send(&self, to: SocketAddr, contents: &[u8], segment: usize) -> io::Result<()> {
        if segment >= contents.len() {
            // The plain call: one that can carry more costs the kernel more to read.
            return self.socket.send_to(contents, to).map(drop);
        }
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size: Some(segment), src_ip: None };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit)
    }

    /// Whether something was sent by it, and nothing could leave.
    pub(crate) fn is_unrouted(&self) -> bool {
        self.way.load(Ordering::Relaxed) == way::NONE
    }

    /// Whether anything has left by it.
    pub(crate) fn is_routed(&self) -> bool {
        self.way.load(Ordering::Relaxed) == way::FOUND
    }

    /// There is a new route: what was tried in vain may work now.
    pub(crate) fn try_again(&self) {
        self.way.store(way::UNTRIED, Ordering::Relaxed);
    }

    /// Reads what is there, at most one batch; `WouldBlock` where there is nothing.
    pub(crate) fn receive(&self, buffers: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> io::Result<usize> {
        self.state.recv(UdpSockRef::from(&self.socket), buffers, meta)
    }

    fn wait_writable(&self) {
        let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: `poll` is one valid pollfd for the time of the call.
        unsafe { libc::poll(&raw mut poll, 1, PATIENCE.as_millis() as libc::c_int) };
    }
}

/// `quinn-udp` asks to be told where each datagram was sent to and when it came, which costs each of them time; a port has
/// one address, and the engine has its clock.
fn leave_out_what_nobody_reads(socket: &std::net::UdpSocket) {
    let off: libc::c_int = 0;
    for (level, option) in [
        (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS),
        (libc::IPPROTO_IP, libc::IP_PKTINFO),
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    ] {
        // SAFETY: the value has the size said. An option of the other family is refused, which is as well.
        unsafe {
            let size = size_of::<libc::c_int>() as libc::socklen_t;
            libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const off).cast(), size);
        }
    }
}

impl AsRawFd for Port {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port").field("interface", &self.interface).field("address", &self.address).finish()
    }
}

/// All ports that are open.
#[derive(Debug, Default)]
pub(crate) struct Ports(Shared<Arc<[Arc<Port>]>>);

impl Ports {
    /// The list as it is now. Leaders ask for it around every packet: it is made anew when it changes, not when it is read.
    pub(crate) fn all(&self) -> Arc<[Arc<Port>]> {
        self.0.read().clone()
    }

    pub(crate) fn find(&self, interface: InterfaceId, address: SocketAddr) -> Option<Arc<Port>> {
        self.0.read().iter().find(|port| port.interface == interface && port.address == address).cloned()
    }

    pub(crate) fn add(&self, port: Arc<Port>) {
        let mut ports = self.0.write();
        *ports = ports.iter().cloned().chain([port]).collect();
    }

    /// Closes the ports for which `keep` is false.
    pub(crate) fn retain(&self, mut keep: impl FnMut(&Arc<Port>) -> bool) {
        let mut ports = self.0.write();
        *ports = ports.iter().filter(|port| keep(port)).cloned().collect();
    }
}
