//! Nodes without a library: [`ntm_node::Node`] on plain UDP sockets.
//!
//! For tests and demonstrations of the servers. A [`Fleet`] drives any number of nodes on one thread; what happens
//! to each comes out as [`Happened`]. What goes wrong in here is an error for whoever runs it, not a state to
//! live with.
#![forbid(unsafe_code)]

mod identity;
mod packet;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use ntm_node::{Config, ConnectError, Event, LocalInterface, Node, SendError};
use ntm_proto::crypto::default_provider;
use ntm_proto::id::{DeviceName, InterfaceId, PathId};
use ntm_proto::time::{Instant, UnixTime, WallClock};
use ntm_proto::wire::message::Target;

pub use identity::{Identity, NotAnIdentity};

/// The one interface that each node has.
const INTERFACE: InterfaceId = InterfaceId(1);
/// The longest datagram that is read.
const DATAGRAM: usize = 65_535;

/// Something that came of driving a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// The engine says.
    Event(Event),
    /// A peer sent this text.
    Received { from: Ipv4Addr, text: Vec<u8> },
}

/// Nodes on one thread.
#[derive(Debug)]
pub struct Fleet {
    poll: Poll,
    events: Events,
    started: std::time::Instant,
    members: Vec<Member>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Member {
    node: Node,
    socket: UdpSocket,
    local: SocketAddr,
    virtual4: Option<Ipv4Addr>,
    /// A stopped node hears and says nothing.
    stopped: bool,
}

impl Fleet {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1_024),
            started: std::time::Instant::now(),
            members: Vec::new(),
            buffer: vec![0; DATAGRAM],
        })
    }

    /// Adds a node with a socket at `bind`; gives its number.
    pub fn add(&mut self, identity: &Identity, bind: IpAddr) -> io::Result<usize> {
        let number = self.members.len();
        let mut socket = UdpSocket::bind(SocketAddr::new(bind, 0))?;
        let local = socket.local_addr()?;
        self.poll.registry().register(&mut socket, Token(number), Interest::READABLE)?;
        let now = self.now();
        let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let unix = UnixTime::from_millis(u64::try_from(unix.as_millis()).unwrap_or(u64::MAX));
        let config = Config {
            provider: default_provider(),
            record: identity.record.clone(),
            noise: identity.noise.clone(),
            ticket: identity.ticket.clone(),
            ticket_key: identity.key.clone(),
            directors: identity.directors(),
            relays: Vec::new(),
            wall: WallClock::new(now, unix),
            wake_token: identity.wake_token.clone(),
        };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let mut node = Node::new(now, config, seed);
        let name = DeviceName::parse("raw0").expect("a proper device name");
        let interface = LocalInterface { id: INTERFACE, name, addresses: vec![local], cost: 10, network: 0 };
        node.handle_interface(now, interface);
        let mut member = Member { node, socket, local, virtual4: None, stopped: false };
        member.transmit();
        self.members.push(member);
        Ok(number)
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn is_registered(&self, number: usize) -> bool {
        self.members.get(number).is_some_and(|member| member.node.is_registered())
    }

    /// The node's virtual IPv4 address, once it has registered.
    pub fn virtual4(&self, number: usize) -> Option<Ipv4Addr> {
        self.members.get(number)?.virtual4
    }

    /// The node's paths to its peer, as the engine shows them.
    pub fn node(&self, number: usize) -> Option<&Node> {
        self.members.get(number).map(|member| &member.node)
    }

    pub fn connect(&mut self, number: usize, target: Target) -> Result<PathId, ConnectError> {
        let now = self.now();
        let member = self.members.get_mut(number).ok_or(ConnectError::Busy)?;
        let asked = member.node.connect(now, target);
        member.transmit();
        asked
    }

    /// Sends a text to the peer that has this virtual address.
    pub fn send(&mut self, number: usize, to: Ipv4Addr, text: &[u8]) -> Result<(), SendError> {
        let now = self.now();
        let member = self.members.get_mut(number).ok_or(SendError::NotMine)?;
        let own = member.virtual4.ok_or(SendError::NotMine)?;
        let sent = member.node.send(now, &packet::carrying(own, to, text));
        member.transmit();
        sent
    }

    /// Gives the node another socket, as a move to another network does.
    pub fn rebind(&mut self, number: usize, bind: IpAddr) -> io::Result<()> {
        let now = self.now();
        let Some(member) = self.members.get_mut(number) else { return Ok(()) };
        self.poll.registry().deregister(&mut member.socket)?;
        member.socket = UdpSocket::bind(SocketAddr::new(bind, 0))?;
        member.local = member.socket.local_addr()?;
        self.poll.registry().register(&mut member.socket, Token(number), Interest::READABLE)?;
        let name = DeviceName::parse("raw0").expect("a proper device name");
        let interface = LocalInterface { id: INTERFACE, name, addresses: vec![member.local], cost: 10, network: 0 };
        member.node.handle_interface(now, interface);
        member.transmit();
        Ok(())
    }

    /// The node falls silent, as when its host loses power.
    pub fn stop(&mut self, number: usize) {
        if let Some(member) = self.members.get_mut(number) {
            member.stopped = true;
        }
    }

    /// A push message woke the node.
    pub fn wake(&mut self, number: usize) {
        let now = self.now();
        if let Some(member) = self.members.get_mut(number) {
            member.stopped = false;
            member.node.handle_wake(now);
            member.transmit();
        }
    }

    /// Drives all nodes for as long as `during`, or less where something happened, and gives that.
    pub fn drive(&mut self, during: Duration) -> io::Result<Vec<(usize, Happened)>> {
        let until = self.now() + during;
        let mut happened = Vec::new();
        loop {
            let now = self.now();
            let next = self.members.iter().filter(|member| !member.stopped);
            let next = next.filter_map(|member| member.node.poll_timeout()).map(|(at, _)| at).min();
            let wait = next.map_or(until, |at| at.min(until)).since(now);
            let polled = self.poll.poll(&mut self.events, Some(wait.saturating_add(Duration::from_micros(999))));
            if let Err(why) = polled
                && why.kind() != io::ErrorKind::Interrupted
            {
                return Err(why);
            }
            let now = self.now();
            for event in &self.events {
                if let Some(member) = self.members.get_mut(event.token().0) {
                    member.receive(event.token().0, now, &mut self.buffer, &mut happened);
                }
            }
            for (number, member) in self.members.iter_mut().enumerate() {
                if !member.stopped && member.node.poll_timeout().is_some_and(|(at, _)| at <= now) {
                    member.node.handle_timeout(now);
                    member.settle(number, &mut happened);
                }
            }
            if !happened.is_empty() || now >= until {
                return Ok(happened);
            }
        }
    }

    /// Drives until `done` says so. False where that did not come within `within`.
    pub fn drive_until(
        &mut self,
        within: Duration,
        mut done: impl FnMut(&Self, &[(usize, Happened)]) -> bool,
    ) -> io::Result<bool> {
        let until = self.now() + within;
        let mut happened = Vec::new();
        loop {
            if done(self, &happened) {
                return Ok(true);
            }
            let now = self.now();
            if now >= until {
                return Ok(false);
            }
            happened = self.drive(until.since(now).min(Duration::from_millis(100)))?;
        }
    }

    fn now(&self) -> Instant {
        let nanos = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Instant::from_nanos(nanos.saturating_add(1_000_000_000))
    }
}

impl Member {
    fn receive(&mut self, number: usize, now: Instant, buffer: &mut [u8], happened: &mut Vec<(usize, Happened)>) {
        while let Ok((length, from)) = self.socket.recv_from(buffer) {
            if self.stopped {
                continue;
            }
            let received = self.node.handle_datagram(now, INTERFACE, self.local, from, &mut buffer[..length]);
            if let Some((from, text)) = received.and_then(|received| packet::carried(&received.packet)) {
                happened.push((number, Happened::Received { from, text }));
            }
        }
        if !self.stopped {
            self.settle(number, happened);
        }
    }

    /// Sends what the engine wants sent and takes what it says.
    fn settle(&mut self, number: usize, happened: &mut Vec<(usize, Happened)>) {
        self.transmit();
        while let Some(event) = self.node.poll_event() {
            if let Event::Registered { virtual4, .. } = &event {
                self.virtual4 = Some(*virtual4);
            }
            happened.push((number, Happened::Event(event)));
        }
    }

    fn transmit(&mut self) {
        while let Some(transmit) = self.node.poll_transmit() {
            // What cannot be sent is lost, as on any network.
            let _ = self.socket.send_to(&transmit.datagram, transmit.to);
        }
    }
}
