//! UDP endpoints.

use std::collections::VecDeque;
use std::net::SocketAddr;

use ntm_node::FlowKey;

use crate::errno::{Errno, Result};
use crate::packet::route::Sender;
use crate::runtime::Core;
use crate::stack::bindings::Holder;
use crate::stack::ip;
use crate::stack::readiness::{ERR, IN, OUT, Readiness};
use crate::sync::Lock;

const HEADER: usize = 8;
/// The most that one datagram can carry over IPv4 (RFC 768).
pub(crate) const MAX_DATAGRAM: usize = 65_507;
const DEFAULT_BUFFER: usize = 1 << 20;
/// What a queued datagram weighs beside its bytes: empty ones must not be for nothing.
const OVERHEAD: usize = 128;

/// A datagram that came.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) data: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct UdpEndpoint {
    pub(crate) readiness: Readiness,
    inner: Lock<Inner>,
    /// The way to where the last datagram went.
    sender: Lock<Option<Sender>>,
}

#[derive(Debug, Default)]
struct Inner {
    peer: Option<SocketAddr>,
    queue: VecDeque<Datagram>,
    queued: usize,
    limit: usize,
    error: Option<Errno>,
    deaf: bool,
}

impl UdpEndpoint {
    pub(crate) fn new() -> Self {
        let endpoint = Self {
            readiness: Readiness::default(),
            inner: Lock::new(Inner { limit: DEFAULT_BUFFER, ..Inner::default() }),
            sender: Lock::default(),
        };
        endpoint.readiness.set(OUT);
        endpoint
    }

    /// From now on only datagrams of this peer are heard, and errors about it; `None` ends that.
    pub(crate) fn set_peer(&self, peer: Option<SocketAddr>) {
        self.inner.lock().peer = peer;
    }

    pub(crate) fn set_limit(&self, bytes: usize) {
        self.inner.lock().limit = bytes;
    }

    /// Nothing more is to be heard.
    pub(crate) fn shutdown_receiving(&self) {
        let inner = &mut *self.inner.lock();
        inner.deaf = true;
        self.show(inner);
    }

    /// A datagram came. Where there is no room it is lost, as on any host.
    pub(crate) fn receive(&self, from: SocketAddr, data: &[u8]) {
        let inner = &mut *self.inner.lock();
        let weight = data.len() + OVERHEAD;
        if inner.queued + weight > inner.limit || inner.deaf {
            return;
        }
        inner.queued += weight;
        inner.queue.push_back(Datagram { from, data: data.to_vec() });
        self.show(inner);
    }

    /// Nobody hears at the place that a datagram was sent to.
    pub(crate) fn refused(&self, by: SocketAddr) {
        let inner = &mut *self.inner.lock();
        if inner.peer == Some(by) {
            inner.error = Some(Errno(libc::ECONNREFUSED));
            self.show(inner);
        }
    }

    /// The next datagram; `EAGAIN` where there is none.
    pub(crate) fn recv(&self, peek: bool) -> Result<Option<Datagram>> {
        let inner = &mut *self.inner.lock();
        if let Some(error) = inner.error.take() {
            self.show(inner);
            return Err(error);
        }
        if peek {
            if let Some(datagram) = inner.queue.front() {
                return Ok(Some(datagram.clone()));
            }
        } else if let Some(datagram) = inner.queue.pop_front() {
            inner.queued -= datagram.data.len() + OVERHEAD;
            self.show(inner);
            return Ok(Some(datagram));
        }
        if inner.deaf { Ok(None) } else { Err(Errno(libc::EAGAIN)) }
    }

    /// The length of the next datagram.
    pub(crate) fn next_length(&self) -> usize {
        self.inner.lock().queue.front().map_or(0, |datagram| datagram.data.len())
    }

    pub(crate) fn take_error(&self) -> Option<Errno> {
        let inner = &mut *self.inner.lock();
        let error = inner.error.take();
        self.show(inner);
        error
    }

    /// Sends a datagram to a virtual address.
    pub(crate) fn send(&self, core: &Core, from: SocketAddr, to: SocketAddr, hops: u8, data: &[u8]) -> Result<()> {
        if data.len() > MAX_DATAGRAM {
            return Err(Errno(libc::EMSGSIZE));
        }
        if let Some(error) = self.inner.lock().error.take() {
            return Err(error);
        }
        thread_local! {
            static PACKET: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
        }
        PACKET.with_borrow_mut(|packet| {
            let start = ip::header_length(to.ip());
            packet.resize(start + HEADER + data.len(), 0);
            ip::write_header(packet, from.ip(), to.ip(), ip::UDP, hops, HEADER + data.len());
            let length = u16::try_from(HEADER + data.len()).map_err(|_| Errno(libc::EMSGSIZE))?;
            let header = &mut packet[start..start + HEADER];
            header[..2].copy_from_slice(&from.port().to_be_bytes());
            header[2..4].copy_from_slice(&to.port().to_be_bytes());
            header[4..6].copy_from_slice(&length.to_be_bytes());
            header[6..8].fill(0);
            packet[start + HEADER..].copy_from_slice(data);
            let flow = FlowKey {
                source: from.ip(),
                destination: to.ip(),
                protocol: ip::UDP,
                source_port: from.port(),
                destination_port: to.port(),
            };
            let mut sender = self.sender.lock();
            let sender = match &mut *sender {
                Some(sender) if *sender.flow() == flow => sender,
                other => other.insert(Sender::new(flow)),
            };
            sender.send(core, core.now(), packet, None);
            Ok(())
        })
    }

    fn show(&self, inner: &Inner) {
        let readable = !inner.queue.is_empty() || inner.deaf;
        let failed = inner.error.is_some();
        self.readiness.set(OUT | if readable { IN } else { 0 } | if failed { IN | ERR } else { 0 });
    }
}

impl Holder for UdpEndpoint {
    /// A connected endpoint hears its peer alone, and before all others.
    fn fits(&self, remote: Option<SocketAddr>) -> Option<u8> {
        match (self.inner.lock().peer, remote) {
            (None, _) => Some(0),
            (Some(peer), Some(remote)) if peer == remote => Some(1),
            _ => None,
        }
    }
}

/// What a UDP packet carries, from its header on.
pub(crate) fn data(payload: &[u8]) -> Option<&[u8]> {
    let header: &[u8; HEADER] = payload.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    payload.get(HEADER..length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(port: u16) -> SocketAddr {
        SocketAddr::new([198, 18, 0, 1].into(), port)
    }

    #[test]
    fn datagrams_come_out_whole_and_in_order_and_peeking_leaves_them() {
        let endpoint = UdpEndpoint::new();
        assert_eq!(endpoint.recv(false).map(|_| ()), Err(Errno(libc::EAGAIN)));
        endpoint.receive(end(1), b"one");
        endpoint.receive(end(3), b"");
        assert!(endpoint.readiness.has(IN));
        let next = |peek| endpoint.recv(peek).expect("there is one").expect("not shut down");
        assert_eq!((next(true).data, endpoint.next_length()), (b"one".to_vec(), 3));
        assert_eq!(next(false).from, end(1));
        assert_eq!(next(false).data, b"");
        assert!(!endpoint.readiness.has(IN));
    }

    #[test]
    fn a_full_queue_loses_what_comes_and_empty_datagrams_fill_it_too() {
        let endpoint = UdpEndpoint::new();
        endpoint.set_limit(10_000);
        for _ in 0..100_000 {
            endpoint.receive(end(1), b"");
        }
        let taken = std::iter::from_fn(|| endpoint.recv(false).ok().flatten()).count();
        assert!(taken > 0 && taken <= 10_000 / OVERHEAD);
    }

    #[test]
    fn only_a_connected_endpoint_is_told_that_nobody_hears_and_only_once() {
        let endpoint = UdpEndpoint::new();
        endpoint.refused(end(9));
        assert_eq!(endpoint.take_error(), None);
        endpoint.set_peer(Some(end(9)));
        endpoint.refused(end(8));
        assert_eq!(endpoint.take_error(), None);
        endpoint.refused(end(9));
        assert_eq!(endpoint.recv(false).map(|_| ()), Err(Errno(libc::ECONNREFUSED)));
        assert_eq!(endpoint.recv(false).map(|_| ()), Err(Errno(libc::EAGAIN)));
    }

    #[test]
    fn what_a_udp_header_says_is_not_believed_beyond_the_packet() {
        assert_eq!(data(&[0, 1, 0, 2, 0, 10, 0, 0, 7, 7, 7]), Some(&[7, 7][..]), "less than there is");
        assert_eq!(data(&[0, 1, 0, 2, 0, 12, 0, 0, 7, 7, 7]), None, "more than there is");
        assert_eq!(data(&[0, 1, 0, 2, 0, 7, 0, 0]), None, "less than a header");
        assert_eq!(data(&[0; 7]), None);
    }
}
