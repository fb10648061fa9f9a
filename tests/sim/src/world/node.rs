//! A node in the world: the engine, its interfaces, and the applications on its virtual addresses.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use ntm_node::{Config, Event, FlowKey, LocalInterface, Node, Received};
use ntm_proto::id::{DeviceName, Fqdn, InterfaceId, NodeId};
use ntm_proto::time::Instant;
use ntm_proto::wire::message::Target;

use super::streams::{Arrived, NodeEnds};
use crate::net::{Delivery, HostId, Network};

/// The UDP port every node uses on every address.
pub const NODE_PORT: u16 = 4_500;

/// Something that talks in virtual packets.
pub(crate) trait App {
    fn accepts(&self, flow: &FlowKey) -> bool;
    fn handle_packet(&mut self, now: Instant, packet: &[u8]);
    /// The path under the peer's packets changed: what waits for a retransmission may go at once.
    fn path_changed(&mut self, now: Instant);
    fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>>;
    fn poll_timeout(&mut self, now: Instant) -> Option<Instant>;
}

pub struct SimNode {
    host: HostId,
    config: Config,
    engine: Node,
    costs: BTreeMap<u8, u8>,
    /// How often each interface was attached.
    networks: BTreeMap<u8, u32>,
    interfaces: BTreeMap<u8, Vec<IpAddr>>,
    streams: NodeEnds,
    addresses: Option<(Ipv4Addr, Ipv6Addr)>,
    events: Vec<(Instant, Event)>,
    apps: Vec<Rc<RefCell<dyn App>>>,
    /// Virtual packets the engine would not take.
    refused: u64,
    /// Datagrams that left with the tail of a virtual packet readable in them.
    leaks: u64,
    /// Datagrams handed to the network.
    sent: u64,
    /// Virtual packets that no application of this node waits for.
    strays: VecDeque<Vec<u8>>,
}

/// Virtual packets for nobody that are kept, to be looked at.
const MAX_STRAYS: usize = 256;
/// Datagrams an eavesdropper remembers.
const MAX_OVERHEARD: usize = 256;
/// How much of a virtual packet's end is looked for in what leaves.
const TAIL: usize = 24;

impl SimNode {
    pub(crate) fn new(now: Instant, host: HostId, config: Config, seed: [u8; 32]) -> Self {
        Self {
            host,
            engine: Node::new(now, config.clone(), seed),
            config,
            costs: BTreeMap::new(),
            networks: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            streams: NodeEnds::default(),
            addresses: None,
            events: Vec::new(),
            apps: Vec::new(),
            refused: 0,
            leaks: 0,
            sent: 0,
            strays: VecDeque::new(),
        }
    }

    pub fn host(&self) -> HostId {
        self.host
    }

    pub fn name(&self) -> &Fqdn {
        &self.config.record.fqdn
    }

    pub fn id(&self) -> NodeId {
        self.engine.id()
    }

    pub fn engine(&self) -> &Node {
        &self.engine
    }

    pub fn engine_mut(&mut self) -> &mut Node {
        &mut self.engine
    }

    /// The virtual addresses, once registered.
    pub fn addresses(&self) -> Option<(Ipv4Addr, Ipv6Addr)> {
        self.addresses
    }

    pub fn events(&self) -> &[(Instant, Event)] {
        &self.events
    }

    /// Whether some name this node asked for was resolved.
    pub fn has_resolved(&self) -> bool {
        self.events.iter().any(|(_, event)| matches!(event, Event::Resolved { .. }))
    }

    /// Datagrams that left this node.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The next virtual packet that arrived for no application.
    pub fn take_stray(&mut self) -> Option<Vec<u8>> {
        self.strays.pop_front()
    }

    /// What the login gave it.
    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn leaks(&self) -> u64 {
        self.leaks
    }

    pub fn refused(&self) -> u64 {
        self.refused
    }

    pub(crate) fn timer(&self) -> impl std::fmt::Debug {
        self.engine.poll_timeout()
    }

    pub(crate) fn add_app(&mut self, app: Rc<RefCell<dyn App>>) {
        self.apps.push(app);
    }

    pub(crate) fn attached(&mut self, iface: u8, cost: u8) {
        self.costs.insert(iface, cost);
        *self.networks.entry(iface).or_default() += 1;
    }

    /// The process is killed and started again: a new engine, the same identity, the interfaces as they are.
    pub(crate) fn restart(&mut self, now: Instant, seed: [u8; 32], net: &mut Network) {
        self.streams.clear(now, net, self.host);
        self.engine = Node::new(now, self.config.clone(), seed);
        for (iface, addresses) in self.interfaces.clone() {
            self.interface_changed(now, iface, &addresses);
        }
    }

    pub(crate) fn interface_changed(&mut self, now: Instant, iface: u8, addresses: &[IpAddr]) {
        self.interfaces.insert(iface, addresses.to_vec());
        let interface = LocalInterface {
            id: InterfaceId(iface),
            name: DeviceName::parse(&format!("sim{iface}")).expect("a short name"),
            addresses: addresses.iter().map(|&address| SocketAddr::new(address, NODE_PORT)).collect(),
            cost: self.costs.get(&iface).copied().unwrap_or(10),
            network: self.networks.get(&iface).copied().unwrap_or(0),
        };
        self.engine.handle_interface(now, interface);
    }

    pub(crate) fn interface_ending(&mut self, now: Instant, iface: u8) {
        self.engine.handle_interface_ending(now, InterfaceId(iface));
    }

    pub(crate) fn connect(&mut self, now: Instant, name: Fqdn) {
        // A refusal comes out as an event or as a packet that goes nowhere: both are looked at.
        let _ = self.engine.connect(now, Target::Name(name));
    }

    pub(crate) fn deliver(&mut self, now: Instant, mut delivery: Delivery) {
        if delivery.local.port() == NODE_PORT {
            let (interface, local, from) = (InterfaceId(delivery.iface), delivery.local, delivery.from);
            let received = self.engine.handle_datagram(now, interface, local, from, &mut delivery.payload);
            Self::take(&self.apps, &mut self.strays, now, received);
            return;
        }
        match self.streams.deliver(&delivery) {
            Some(Arrived::Up(id)) => self.engine.handle_stream_up(now, id),
            Some(Arrived::Down(id)) => self.engine.handle_stream_down(now, id),
            Some(Arrived::Frame(id, mut frame)) => {
                let received = self.engine.handle_frame(now, id, &mut frame);
                Self::take(&self.apps, &mut self.strays, now, received);
            }
            None => {}
        }
    }

    fn take(
        apps: &[Rc<RefCell<dyn App>>],
        strays: &mut VecDeque<Vec<u8>>,
        now: Instant,
        received: Option<Received<'_>>,
    ) {
        let Some(received) = received else { return };
        let Some(flow) = FlowKey::of(&received.packet) else { return };
        if let Some(app) = apps.iter().find(|app| app.borrow().accepts(&flow)) {
            app.borrow_mut().handle_packet(now, &received.packet);
            return;
        }
        if strays.len() >= MAX_STRAYS {
            strays.pop_front();
        }
        strays.push_back(received.packet.into_owned());
    }

    pub(crate) fn wake(&mut self, now: Instant) {
        if self.engine.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.engine.handle_timeout(now);
        }
    }

    /// Lets applications and engine say all they have to say; tells when either wants to be woken.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        net: &mut Network,
        overheard: &mut VecDeque<Vec<u8>>,
    ) -> Option<Instant> {
        let mut tail = None;
        loop {
            self.take_events(now);
            let mut said = false;
            for app in &self.apps {
                while let Some(packet) = app.borrow_mut().poll_packet(now) {
                    said = true;
                    if self.engine.send(now, &packet).is_err() {
                        self.refused += 1;
                    }
                    tail = packet.last_chunk::<TAIL>().copied().filter(|_| packet.len() > 4 * TAIL);
                }
            }
            if !said {
                break;
            }
        }
        while let Some(transmit) = self.engine.poll_transmit() {
            self.sent += 1;
            if let Some(tail) = tail {
                self.leaks += u64::from(transmit.datagram.windows(TAIL).any(|window| window == tail));
            }
            if overheard.len() >= MAX_OVERHEARD {
                overheard.pop_front();
            }
            overheard.push_back(transmit.datagram.clone());
            if let Some(stream) = transmit.stream {
                self.streams.send(now, net, self.host, stream, &transmit.datagram);
                continue;
            }
            // An address that has just gone, a link that is down: the datagram is lost, as in a kernel.
            let _ = net.send(now, self.host, transmit.interface.0, transmit.from, transmit.to, transmit.datagram);
        }
        while let Some(order) = self.engine.poll_stream() {
            self.streams.obey(now, &order, net, self.host);
        }
        for failed in self.streams.run(now, net, self.host) {
            self.engine.handle_stream_down(now, failed);
        }
        let engine = self.engine.poll_timeout().map(|(at, _)| at).into_iter().chain(self.streams.next_timeout()).min();
        let apps = self.apps.iter().filter_map(|app| app.borrow_mut().poll_timeout(now));
        engine.into_iter().chain(apps).min()
    }

    fn take_events(&mut self, now: Instant) {
        while let Some(event) = self.engine.poll_event() {
            match &event {
                Event::Registered { virtual4, virtual6 } => self.addresses = Some((*virtual4, *virtual6)),
                Event::PathChanged { .. } => {
                    self.apps.iter().for_each(|app| app.borrow_mut().path_changed(now));
                }
                _ => {}
            }
            self.events.push((now, event));
        }
    }
}

impl fmt::Debug for SimNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNode")
            .field("host", &self.host)
            .field("name", self.name())
            .field("interfaces", &self.interfaces)
            .field("addresses", &self.addresses)
            .field("events", &self.events.len())
            .finish_non_exhaustive()
    }
}
