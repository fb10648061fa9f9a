//! What datagrams come to and go from: a queue, a peer, an error that waits to be told.
//!
//! UDP ports and ICMP echo identifiers have the same one; how their packets look is [`super::udp`]'s and
//! [`super::icmp`]'s.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use ntm_node::FlowKey;

use crate::errno::{Errno, Result};
use crate::packet::route::Sender;
use crate::runtime::Core;
use crate::stack::bindings::Holder;
use crate::stack::ip::Segments;
use crate::stack::readiness::{ERR, HUP, IN, OUT, RDHUP, Readiness};
use crate::sync::Lock;

const DEFAULT_BUFFER: usize = 1 << 20;
/// What a queued datagram weighs beside its bytes: empty ones must not be for nothing.
const OVERHEAD: usize = 128;

/// How a datagram came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) from: SocketAddr,
    /// The address of ours that it was sent to.
    pub(crate) to: IpAddr,
    pub(crate) hops: u8,
    /// The type of service, or traffic class.
    pub(crate) class: u8,
    pub(crate) at: SystemTime,
}

/// How one datagram shall leave, where that is not as the socket says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) source: Option<IpAddr>,
    pub(crate) hops: Option<u8>,
    pub(crate) class: Option<u8>,
}

/// A datagram that came.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) arrival: Arrival,
    pub(crate) data: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Endpoint {
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
    /// Nothing is to be heard any more.
    deaf: bool,
    /// Nothing is to be sent any more.
    mute: bool,
    /// It is not known yet whether anybody has the peer's address.
    unsure: bool,
    /// A datagram in the making, and where it goes: sent when a part comes that says that no more does.
    corked: Option<(SocketAddr, Vec<u8>)>,
}

impl Endpoint {
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

    /// Whether it is still to be found out who has the peer's address.
    pub(crate) fn is_unsure(&self) -> bool {
        self.inner.lock().unsure
    }

    pub(crate) fn set_unsure(&self, unsure: bool) {
        self.inner.lock().unsure = unsure;
    }

    pub(crate) fn set_limit(&self, bytes: usize) {
        self.inner.lock().limit = bytes;
    }

    /// Nothing more is to be heard, sent, or neither.
    pub(crate) fn shutdown(&self, receiving: bool, sending: bool) {
        let inner = &mut *self.inner.lock();
        inner.deaf |= receiving;
        inner.mute |= sending;
        self.show(inner);
    }

    /// A datagram came. Where there is no room it is lost, as on any host.
    pub(crate) fn receive(&self, arrival: Arrival, data: &[u8]) {
        let inner = &mut *self.inner.lock();
        let weight = data.len() + OVERHEAD;
        if inner.queued + weight > inner.limit || inner.deaf {
            return;
        }
        inner.queued += weight;
        inner.queue.push_back(Datagram { arrival, data: data.to_vec() });
        if inner.queue.len() > 1 {
            self.readiness.show_arrival();
        }
        self.show(inner);
    }

    /// What was sent to `to` did not arrive. Only who is connected to it is told.
    pub(crate) fn fail(&self, to: SocketAddr, error: Errno) {
        let inner = &mut *self.inner.lock();
        if inner.peer == Some(to) {
            inner.error = Some(error);
            self.show(inner);
        }
    }

    /// The next datagram; `None` where nothing is heard any more, `EAGAIN` where nothing came.
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

    /// Whether something may be sent: not where an error waits to be told, nor after the sending side was shut down.
    pub(crate) fn check_sending(&self) -> Result<()> {
        if self.inner.lock().mute {
            return Err(Errno(libc::EPIPE));
        }
        self.take_error().map_or(Ok(()), Err)
    }

    /// Where the datagram that is in the making goes.
    pub(crate) fn corked_for(&self) -> Option<SocketAddr> {
        self.inner.lock().corked.as_ref().map(|(to, _)| *to)
    }

    /// Adds to the datagram that is in the making, which may have `limit` bytes.
    pub(crate) fn cork(&self, to: SocketAddr, data: &[u8], limit: usize) -> Result<()> {
        let inner = &mut *self.inner.lock();
        let (_, held) = inner.corked.get_or_insert_with(|| (to, Vec::new()));
        if held.len() + data.len() > limit {
            return Err(Errno(libc::EMSGSIZE));
        }
        held.extend_from_slice(data);
        Ok(())
    }

    /// The datagram that was in the making.
    pub(crate) fn uncork(&self) -> Option<(SocketAddr, Vec<u8>)> {
        self.inner.lock().corked.take()
    }

    /// Sends a packet of the flow.
    pub(crate) fn send(&self, core: &Core, flow: FlowKey, packet: &[u8]) {
        let mut sender = self.sender.lock();
        let sender = match &mut *sender {
            Some(sender) if *sender.flow() == flow => sender,
            other => other.insert(Sender::new(flow)),
        };
        sender.send(core, core.now(), &Segments::whole(packet));
    }

    fn show(&self, inner: &Inner) {
        let mut bits = OUT;
        if !inner.queue.is_empty() || inner.deaf {
            bits |= IN;
        }
        if inner.deaf {
            bits |= RDHUP;
        }
        if inner.deaf && inner.mute {
            bits |= HUP;
        }
        if inner.error.is_some() {
            bits |= ERR;
        }
        self.readiness.set(bits);
    }
}

impl Holder for Endpoint {
    /// A connected endpoint hears its peer alone, and before all others.
    fn fits(&self, remote: Option<SocketAddr>) -> Option<u8> {
        match (self.inner.lock().peer, remote) {
            (None, _) => Some(0),
            (Some(peer), Some(remote)) if peer == remote => Some(1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(port: u16) -> SocketAddr {
        SocketAddr::new([198, 18, 0, 1].into(), port)
    }

    fn from(port: u16) -> Arrival {
        Arrival { from: end(port), to: end(0).ip(), hops: 64, class: 0, at: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn datagrams_come_out_whole_and_in_order_and_peeking_leaves_them() {
        let endpoint = Endpoint::new();
        assert_eq!(endpoint.recv(false).map(|_| ()), Err(Errno(libc::EAGAIN)));
        endpoint.receive(from(1), b"one");
        endpoint.receive(from(3), b"");
        assert!(endpoint.readiness.has(IN));
        let next = |peek| endpoint.recv(peek).expect("there is one").expect("not shut down");
        assert_eq!((next(true).data, endpoint.next_length()), (b"one".to_vec(), 3));
        assert_eq!(next(false).arrival, from(1));
        assert_eq!(next(false).data, b"");
        assert!(!endpoint.readiness.has(IN));
    }

    #[test]
    fn a_full_queue_loses_what_comes_and_empty_datagrams_fill_it_too() {
        let endpoint = Endpoint::new();
        endpoint.set_limit(10_000);
        for _ in 0..100_000 {
            endpoint.receive(from(1), b"");
        }
        let taken = std::iter::from_fn(|| endpoint.recv(false).ok().flatten()).count();
        assert!(taken > 0 && taken <= 10_000 / OVERHEAD);
    }

    #[test]
    fn only_a_connected_endpoint_is_told_that_nobody_hears_and_only_once() {
        let endpoint = Endpoint::new();
        let refused = Errno(libc::ECONNREFUSED);
        endpoint.fail(end(9), refused);
        assert_eq!(endpoint.take_error(), None);
        endpoint.set_peer(Some(end(9)));
        endpoint.fail(end(8), refused);
        assert_eq!(endpoint.take_error(), None);
        endpoint.fail(end(9), refused);
        assert!(endpoint.readiness.has(ERR));
        assert_eq!(endpoint.recv(false).map(|_| ()), Err(refused));
        assert_eq!(endpoint.recv(false).map(|_| ()), Err(Errno(libc::EAGAIN)));
        assert!(!endpoint.readiness.has(ERR));
    }

    #[test]
    fn a_datagram_in_the_making_grows_as_far_as_one_may() {
        let endpoint = Endpoint::new();
        assert_eq!(endpoint.cork(end(1), b"ab", 4), Ok(()));
        assert_eq!(endpoint.cork(end(1), b"cd", 4), Ok(()));
        assert_eq!(endpoint.cork(end(1), b"e", 4), Err(Errno(libc::EMSGSIZE)));
        assert_eq!(endpoint.uncork(), Some((end(1), b"abcd".to_vec())));
        assert_eq!(endpoint.uncork(), None);
    }
}
