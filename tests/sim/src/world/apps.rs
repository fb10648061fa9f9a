//! Applications in the world: a TCP transfer and a beat of datagrams between two nodes.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use ntm_node::FlowKey;
use ntm_proto::time::Instant;

use super::node::App;
use super::{Who, World};
use crate::stream::{Cbr, CbrConfig, Progress, Reception, Role, Source, TcpConfig, TcpPeer};

/// The server side of the first flow listens here; later ones count on.
const FIRST_PORT: u16 = 20_000;

/// Which of the virtual addresses a flow uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// A TCP connection between two nodes, seen from both ends.
#[derive(Clone, Debug)]
pub struct Transfer {
    pub client: Rc<RefCell<TcpPeer>>,
    pub server: Rc<RefCell<TcpPeer>>,
}

/// Datagrams at a steady beat, both ways.
#[derive(Clone, Debug)]
pub struct Beat {
    pub here: Rc<RefCell<Cbr>>,
    pub there: Rc<RefCell<Cbr>>,
}

impl Transfer {
    pub fn is_complete(&self) -> bool {
        self.client.borrow().is_complete() && self.server.borrow().is_complete()
    }

    /// Fails where a byte was lost, doubled, moved or damaged, or the connection broke.
    pub fn verdict(&self) -> Result<(), String> {
        self.client.borrow().verdict().map_err(|what| format!("at the client: {what}"))?;
        self.server.borrow().verdict().map_err(|what| format!("at the server: {what}"))
    }

    pub fn client_progress(&self) -> Progress {
        *self.client.borrow().progress()
    }

    pub fn server_progress(&self) -> Progress {
        *self.server.borrow().progress()
    }
}

impl Beat {
    /// What the node that the beat was started from received.
    pub fn received_here(&self) -> Reception {
        self.here.borrow().reception().clone()
    }

    pub fn received_there(&self) -> Reception {
        self.there.borrow().reception().clone()
    }

    pub fn sent_here(&self) -> u64 {
        self.here.borrow().sent()
    }

    pub fn sent_there(&self) -> u64 {
        self.there.borrow().sent()
    }

    /// Starts measuring gaps afresh.
    pub fn forget_gaps(&self, now: Instant) {
        self.here.borrow_mut().forget_gaps(now);
        self.there.borrow_mut().forget_gaps(now);
    }
}

impl World {
    /// A transfer of `up` bytes from `client` to `server` and `down` bytes back. Both must be registered,
    /// and the client must have asked for the way.
    pub fn transfer(&mut self, client: usize, server: usize, family: Family, up: Source, down: Source) -> Transfer {
        let (local, remote) = self.flow_addresses(client, server, family);
        let config = TcpConfig::new(Role::Connect, local, remote).send(up).expect(down).seed(self.dice.u64());
        let transfer = Transfer {
            client: Rc::new(RefCell::new(TcpPeer::new(config))),
            server: Rc::new(RefCell::new(TcpPeer::new(config.mirrored()))),
        };
        self.node_mut(client).add_app(transfer.client.clone());
        self.node_mut(server).add_app(transfer.server.clone());
        self.settle(Who::Node(server));
        self.settle(Who::Node(client));
        transfer
    }

    /// A datagram every `interval` both ways, from now until `stop`.
    pub fn beat(&mut self, here: usize, there: usize, family: Family, interval: Duration, stop: Instant) -> Beat {
        let start = self.now();
        self.beat_of(here, there, family, |voice| voice.interval(Some(interval)).between(start, stop))
    }

    /// A beat that differs from a voice call as `shape` says.
    pub fn beat_of(
        &mut self,
        here: usize,
        there: usize,
        family: Family,
        shape: impl FnOnce(CbrConfig) -> CbrConfig,
    ) -> Beat {
        let (local, remote) = self.flow_addresses(here, there, family);
        let config = shape(CbrConfig::voice(local, remote, self.dice.u64()));
        let beat = Beat {
            here: Rc::new(RefCell::new(Cbr::new(config))),
            there: Rc::new(RefCell::new(Cbr::new(config.mirrored()))),
        };
        self.node_mut(here).add_app(beat.here.clone());
        self.node_mut(there).add_app(beat.there.clone());
        self.settle(Who::Node(here));
        self.settle(Who::Node(there));
        beat
    }

    fn flow_addresses(&mut self, here: usize, there: usize, family: Family) -> (SocketAddr, SocketAddr) {
        let port = FIRST_PORT + u16::try_from(self.next_flow()).expect("fewer flows than ports");
        let address = |world: &Self, node: usize| -> IpAddr {
            let (v4, v6) = world.node(node).addresses().expect("the node is registered");
            match family {
                Family::V4 => IpAddr::V4(v4),
                Family::V6 => IpAddr::V6(v6),
            }
        };
        (SocketAddr::new(address(self, here), port), SocketAddr::new(address(self, there), port))
    }
}

/// Whether a packet that arrived belongs to the flow between these two ends.
fn is_between(flow: &FlowKey, local: SocketAddr, remote: SocketAddr) -> bool {
    flow.source == remote.ip()
        && flow.source_port == remote.port()
        && flow.destination == local.ip()
        && flow.destination_port == local.port()
}

impl App for TcpPeer {
    fn accepts(&self, flow: &FlowKey) -> bool {
        is_between(flow, self.config().local, self.config().remote)
    }

    fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        Self::handle_packet(self, now, packet);
    }

    fn path_changed(&mut self, now: Instant) {
        Self::path_changed(self, now);
    }

    fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        Self::poll_packet(self, now)
    }

    fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        Self::poll_timeout(self, now)
    }
}

impl App for Cbr {
    fn accepts(&self, flow: &FlowKey) -> bool {
        is_between(flow, self.config().local, self.config().remote)
    }

    fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        Self::handle_packet(self, now, packet);
    }

    fn path_changed(&mut self, _now: Instant) {}

    fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        Self::poll_packet(self, now)
    }

    fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        Self::poll_timeout(self, now)
    }
}
