//! What all threads share: the engine, the ports, the connections, and the clock they go by.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant as HostInstant;

use ntm_node::{Event, Node};
use ntm_proto::time::Instant;

use crate::negotiation::interfaces::{Devices, Known};
use crate::negotiation::names::Names;
use crate::negotiation::netlink::News;
use crate::negotiation::start::Registration;
use crate::negotiation::state::State;
use crate::negotiation::tidings::Tidings;
use crate::packet::port::Ports;
use crate::packet::reader::Reader;
use crate::packet::streams::Streams;
use crate::stack::Stack;
use crate::stack::tcp::StreamDefaults;
use crate::stack::timers::Timers;
use crate::sync::{Lock, Shared};

/// Packets to one's own address that wait for their turn; what comes on top is lost, as on any network.
const MAX_LOOPED: usize = 4_096;

/// The one runtime of the process.
pub(crate) struct Core {
    origin: HostInstant,
    engine: Lock<Node>,
    /// See [`Node::route_version`].
    pub(crate) route_version: Arc<AtomicU64>,
    pub(crate) ports: Ports,
    pub(crate) streams: Streams,
    pub(crate) reader: Reader,
    pub(crate) stack: Stack,
    pub(crate) names: Names,
    pub(crate) timers: Timers,
    interfaces: Known,
    /// Held so that nobody else runs as this node.
    _state: State,
    pub(crate) stream_defaults: StreamDefaults,
    pub(crate) registration: Registration,
    pub(crate) tidings: Tidings,
    closing: AtomicBool,
    virtual_addresses: Shared<Option<(Ipv4Addr, Ipv6Addr)>>,
    events: Lock<VecDeque<Event>>,
    looped: Lock<VecDeque<Vec<u8>>>,
    /// Whether `events` or `looped` hold anything.
    unsettled: AtomicBool,
}

/// What a runtime begins with.
pub(crate) struct Beginning {
    pub(crate) origin: HostInstant,
    pub(crate) node: Node,
    pub(crate) reader: Reader,
    pub(crate) streams: Streams,
    pub(crate) names: Names,
    pub(crate) interfaces: Known,
    pub(crate) state: State,
    pub(crate) stream_defaults: StreamDefaults,
}

impl Core {
    pub(crate) fn new(beginning: Beginning) -> Self {
        let Beginning { origin, node, reader, streams, names, interfaces, state, stream_defaults } = beginning;
        Self {
            origin,
            route_version: node.route_version(),
            engine: Lock::new(node),
            ports: Ports::default(),
            streams,
            reader,
            stack: Stack::default(),
            names,
            timers: Timers::default(),
            interfaces,
            _state: state,
            stream_defaults,
            registration: Registration::default(),
            tidings: Tidings::default(),
            closing: AtomicBool::new(false),
            virtual_addresses: Shared::new(None),
            events: Lock::new(VecDeque::new()),
            looped: Lock::new(VecDeque::new()),
            unsettled: AtomicBool::new(false),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        now_since(self.origin)
    }

    /// Lets the engine act, sends what it wants sent, and notes when it wants to be woken. What it tells is
    /// dealt with in [`settle`](Self::settle), because the caller may hold a connection.
    pub(crate) fn engine<T>(&self, act: impl FnOnce(&mut Node) -> T) -> T {
        let mut node = self.engine.lock();
        let result = act(&mut node);
        while let Some(transmit) = node.poll_transmit() {
            if let Some(stream) = transmit.stream {
                self.streams.send(stream, transmit.datagram);
            } else if let Some(port) = self.ports.find(transmit.interface, transmit.from) {
                port.send(transmit.to, &transmit.datagram, transmit.datagram.len());
            }
        }
        while let Some(order) = node.poll_stream() {
            self.streams.obey(self, order);
        }
        let mut events = Vec::new();
        while let Some(event) = node.poll_event() {
            events.push(event);
        }
        let next = node.poll_timeout().map(|(at, _)| at);
        drop(node);
        if !events.is_empty() {
            self.events.lock().extend(events);
            self.unsettled.store(true, Ordering::Release);
            self.reader.kick();
        }
        if self.timers.set_engine(next) {
            self.reader.wake_before(next);
        }
        result
    }

    /// Does what could not be done while a connection was held. Called by threads that hold nothing, after
    /// everything they do.
    pub(crate) fn settle(&self) {
        while self.unsettled.swap(false, Ordering::AcqRel) {
            loop {
                let Some(packet) = self.looped.lock().pop_front() else { break };
                self.stack.handle_packets(self, self.now(), &[&packet]);
            }
            loop {
                let Some(event) = self.events.lock().pop_front() else { break };
                self.handle_event(event);
            }
        }
    }

    /// Does what is due.
    pub(crate) fn run_timers(&self) {
        let now = self.now();
        if self.timers.engine_is_due(now) {
            self.engine(|node| node.handle_timeout(now));
        }
        while let Some((at, connection)) = self.timers.pop_due(now) {
            connection.handle_timeout(self, at);
        }
    }

    /// What the host calls the interfaces.
    pub(crate) fn devices(&self) -> Devices {
        self.interfaces.devices()
    }

    /// The host's interfaces may have changed.
    pub(crate) fn refresh_interfaces(&self) {
        self.interfaces.refresh(self);
    }

    pub(crate) fn handle_host_news(&self, news: News) {
        if news.interfaces {
            self.refresh_interfaces();
        }
        if news.routes {
            self.interfaces.retry_unrouted(self);
        }
    }

    /// The process is about to do without the library.
    pub(crate) fn close(&self) {
        self.engine(|node| node.handle_leaving(self.now()));
        self.closing.store(true, Ordering::Release);
        self.reader.kick();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// A packet to one of our own addresses.
    pub(crate) fn loop_back(&self, packet: Vec<u8>) {
        let mut looped = self.looped.lock();
        if looped.len() < MAX_LOOPED {
            looped.push_back(packet);
            self.unsettled.store(true, Ordering::Release);
        }
    }

    /// The node's own address of the family of `like`, once it is registered.
    pub(crate) fn own_address(&self, like: IpAddr) -> Option<IpAddr> {
        let (virtual4, virtual6) = (*self.virtual_addresses.read())?;
        Some(if like.is_ipv4() { IpAddr::V4(virtual4) } else { IpAddr::V6(virtual6) })
    }

    pub(crate) fn virtual_addresses(&self) -> Option<(Ipv4Addr, Ipv6Addr)> {
        *self.virtual_addresses.read()
    }

    /// Whether an address belongs to the virtual network.
    pub(crate) fn is_virtual(&self, address: IpAddr) -> bool {
        let network = |address: Ipv6Addr| u128::from(address) >> 64;
        let is_near = |address| self.virtual_addresses().is_some_and(|(_, own)| network(own) == network(address));
        Self::is_of_virtual_range(address) || matches!(address, IpAddr::V6(address) if is_near(address))
    }

    /// Whether an address is in the ranges from which coordinators give addresses.
    pub(crate) fn is_of_virtual_range(address: IpAddr) -> bool {
        match address {
            // RFC 2544's benchmarking range, which no network routes.
            IpAddr::V4(address) => matches!(address.octets(), [198, 18 | 19, ..]),
            IpAddr::V6(address) => address.segments()[..2] == [0xfd4e, 0x544d],
        }
    }

    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        self.own_address(address) == Some(address)
    }

    fn handle_event(&self, event: Event) {
        if let Event::Registered { virtual4, virtual6 } = &event {
            *self.virtual_addresses.write() = Some((*virtual4, *virtual6));
        }
        self.registration.handle_event(&event);
        self.tidings.tell(self, &event);
        if let Event::PathChanged { peer, .. } = &event {
            self.stack.path_changed(self, peer);
        }
        self.names.handle_event(self, &event);
    }
}

static CHILD: AtomicBool = AtomicBool::new(false);

/// Whether this process was forked from the one that runs the node: nothing of the node may be touched then.
pub(crate) fn is_child() -> bool {
    CHILD.load(Ordering::Acquire)
}

/// This process was forked from the one that runs the node.
pub(crate) fn become_child() {
    CHILD.store(true, Ordering::Release);
}

/// The engine's time: begins at a second, so that it may look back a little.
pub(crate) fn now_since(origin: HostInstant) -> Instant {
    let nanos = u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Instant::from_nanos(nanos.saturating_add(1_000_000_000))
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("virtual_addresses", &self.virtual_addresses()).finish_non_exhaustive()
    }
}
