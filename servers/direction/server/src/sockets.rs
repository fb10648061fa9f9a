//! The UDP sockets: datagrams in and out in batches, each with the local address it came to.
//!
//! A socket bound to one address sends from there. One bound to all addresses of a family learns from the kernel
//! which of them a datagram came to, and answers from that.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use ntm_direction::{Datagram, Transmit};
use ntm_server::Failure;
use ntm_server::listening::cannot_listen;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

/// What the kernel may keep for us and for it of what we have no time for, if it lets us.
const BUFFER: usize = 8 << 20;
/// Room for one datagram, or for as many of one sender as the kernel joins.
const SLOT: usize = 1 << 16;

#[derive(Debug)]
pub(crate) struct Sockets {
    bound: Vec<Bound>,
    buffers: Vec<u8>,
    metas: Vec<RecvMeta>,
    /// Datagrams the kernel would not take.
    pub unsent: u64,
}

#[derive(Debug)]
struct Bound {
    socket: UdpSocket,
    state: UdpSocketState,
    address: SocketAddr,
}

impl Sockets {
    /// Binds every address, or says which cannot be and what to do.
    pub(crate) fn bind(addresses: &[SocketAddr]) -> Result<Self, Failure> {
        let bound = addresses
            .iter()
            .map(|&address| bind(address).map_err(|why| cannot_listen(address, "nodes", &why)))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { bound, buffers: vec![0; BATCH_SIZE * SLOT], metas: vec![RecvMeta::default(); BATCH_SIZE], unsent: 0 })
    }

    /// The addresses that were bound, ports filled in.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.bound.iter().map(|bound| bound.address).collect()
    }

    /// Registers the sockets under tokens from zero.
    pub(crate) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        for (number, bound) in self.bound.iter_mut().enumerate() {
            registry.register(&mut bound.socket, Token(number), Interest::READABLE)?;
        }
        Ok(())
    }

    /// Hands one batch from a socket to `take`. Gives the datagrams' number; zero where none wait.
    pub(crate) fn receive(&mut self, number: usize, take: impl FnOnce(&mut [Datagram<'_>])) -> usize {
        let Some(bound) = self.bound.get(number) else { return 0 };
        let mut slices: Vec<IoSliceMut<'_>> = self.buffers.chunks_mut(SLOT).map(IoSliceMut::new).collect();
        let received =
            bound.state.recv(UdpSockRef::from(&bound.socket), &mut slices, &mut self.metas).unwrap_or_default();
        let mut datagrams = Vec::with_capacity(received);
        for (buffer, meta) in self.buffers.chunks_mut(SLOT).zip(&self.metas).take(received) {
            let local = match meta.dst_ip {
                Some(ip) if bound.address.ip().is_unspecified() => SocketAddr::new(ip, bound.address.port()),
                _ => bound.address,
            };
            let joined = buffer[..meta.len.min(SLOT)].chunks_mut(meta.stride.max(1));
            datagrams.extend(joined.map(|bytes| Datagram { local, from: meta.addr, bytes }));
        }
        take(&mut datagrams);
        datagrams.len()
    }

    /// Sends a datagram from the local address it names. What the kernel has no room for is lost, as on any network.
    pub(crate) fn send(&mut self, transmit: &Transmit) {
        let from = transmit.from;
        let fits = |bound: &&Bound| {
            let own = bound.address;
            own == from || (own.ip().is_unspecified() && own.is_ipv4() == from.is_ipv4() && own.port() == from.port())
        };
        let Some(bound) = self.bound.iter().find(fits) else {
            self.unsent += 1;
            return;
        };
        let wildcard = bound.address.ip().is_unspecified() && !from.ip().is_unspecified();
        let outgoing = quinn_udp::Transmit {
            destination: transmit.to,
            ecn: None,
            contents: &transmit.datagram,
            segment_size: None,
            src_ip: wildcard.then_some(from.ip()),
        };
        if bound.state.try_send(UdpSockRef::from(&bound.socket), &outgoing).is_err() {
            self.unsent += 1;
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // As much as the host allows; less is no failure.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    socket.bind(&address.into())?;
    let socket: std::net::UdpSocket = socket.into();
    let address = socket.local_addr()?;
    let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
    Ok(Bound { socket: UdpSocket::from_std(socket), state, address })
}
