//! Ports that accept connections.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ntm_proto::time::Instant;

use crate::errno::{Errno, Result};
use crate::runtime::Core;
use crate::stack::FlowId;
use crate::stack::bindings::Holder;
use crate::stack::readiness::{HUP, IN, Readiness};
use crate::stack::segment::Segment;
use crate::stack::tcp::{Connection, TcpOptions};
use crate::sync::Lock;

/// A port that accepts connections.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) readiness: Readiness,
    backlog: AtomicUsize,
    half_open: AtomicUsize,
    queue: Lock<VecDeque<Arc<Connection>>>,
    options: Lock<TcpOptions>,
    closed: AtomicBool,
}

impl Listener {
    pub(crate) fn new(backlog: usize, options: TcpOptions) -> Self {
        Self {
            readiness: Readiness::default(),
            backlog: AtomicUsize::new(backlog),
            half_open: AtomicUsize::new(0),
            queue: Lock::default(),
            options: Lock::new(options),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn set_backlog(&self, backlog: usize) {
        self.backlog.store(backlog, Ordering::Release);
    }

    pub(crate) fn set_options(&self, options: TcpOptions) {
        *self.options.lock() = options;
    }

    pub(crate) fn options(&self) -> TcpOptions {
        *self.options.lock()
    }

    /// The next connection that was made; `EINVAL` after the port was closed.
    pub(crate) fn accept(&self) -> Result<Arc<Connection>> {
        let mut queue = self.queue.lock();
        if self.is_closed() {
            return Err(Errno(libc::EINVAL));
        }
        let next = queue.pop_front();
        self.readiness.set(if queue.is_empty() { 0 } else { IN });
        next.ok_or(Errno(libc::EAGAIN))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Takes a new connection up, if there is room for it.
    fn admit(&self) -> bool {
        let waiting = self.queue.lock().len() + self.half_open.load(Ordering::Acquire);
        if waiting > self.backlog.load(Ordering::Acquire) {
            return false;
        }
        self.half_open.fetch_add(1, Ordering::AcqRel);
        true
    }

    /// A connection is made; false where nobody will take it, because the port was closed meanwhile.
    pub(crate) fn established(&self, connection: &Arc<Connection>) -> bool {
        self.half_open_ended();
        let mut queue = self.queue.lock();
        if self.is_closed() {
            return false;
        }
        queue.push_back(connection.clone());
        self.readiness.set(IN);
        true
    }

    /// A connection that was being made is made, or will not be.
    pub(crate) fn half_open_ended(&self) {
        self.half_open.fetch_sub(1, Ordering::AcqRel);
    }

    /// The application closed the port: who waits for a connection is told, and what nobody accepted is reset.
    pub(crate) fn close(&self, core: &Core) {
        let left: Vec<_> = {
            let mut queue = self.queue.lock();
            self.closed.store(true, Ordering::Release);
            queue.drain(..).collect()
        };
        self.readiness.set(IN | HUP);
        for connection in left {
            connection.close(core, true);
        }
    }
}

impl Holder for Listener {
    fn fits(&self, _: Option<SocketAddr>) -> Option<u8> {
        Some(0)
    }
}

/// A segment for which there is no connection: one is made if it begins one and somebody listens. True also where
/// it is dropped because too many wait: the other end will try again.
pub(crate) fn accept(core: &Core, now: Instant, flow: FlowId, packet: &[u8]) -> bool {
    if !Segment::parse(packet).is_some_and(|segment| segment.is_first()) {
        return false;
    }
    let Some(listener) = core.stack.tcp.find(flow.local, Some(flow.remote)) else { return false };
    if !listener.admit() {
        return true;
    }
    let connection = Connection::incoming(core, now, flow, &listener);
    if core.stack.add(&connection) {
        connection.receive(core, now, &[packet]);
    } else {
        listener.half_open_ended();
    }
    true
}
