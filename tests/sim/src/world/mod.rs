//! The world: nodes, direction coordinators and relays on the virtual internet, and the loop that lets
//! time pass for them.
//!
//! A scenario builds a world, starts applications on nodes, and then alternates between doing something
//! (moving a node, killing a server) and letting time pass with [`World::run_until`] or
//! [`World::run_while`]. Everything that happens is a function of the seed and of what the scenario does.

mod apps;
mod domain;
mod node;
mod server;
mod streams;

pub use apps::{Beat, Family, Transfer};
pub use domain::Domain;
pub use node::{NODE_PORT, SimNode};
pub use server::{DIRECTOR_PORT, RELAY_PORT, SimDirector, SimRelay};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use ntm_node::Event;
use ntm_proto::id::Fqdn;
use ntm_proto::time::{Instant, UnixTime, WallClock};

use crate::net::{Delivery, Families, HostId, LinkProfile, LinkRef, Network, Place};
use crate::rng::Dice;

/// Calendar time at the beginning of every world: 2026-01-01.
const EPOCH: UnixTime = UnixTime::from_secs(1_767_225_600);

/// Somebody who lives in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    Node(usize),
    Director(usize),
    Relay(usize),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(at) => write!(f, "node{at}"),
            Self::Director(at) => write!(f, "dc{at}"),
            Self::Relay(at) => write!(f, "rs{at}"),
        }
    }
}

/// Called with each line of the trace.
type TraceHook = Box<dyn FnMut(Instant, &dyn fmt::Display)>;

/// The world. See the [module](self) for how to drive it.
pub struct World {
    pub net: Network,
    pub dice: Dice,
    now: Instant,
    pub domains: Vec<Domain>,
    nodes: Vec<SimNode>,
    directors: Vec<SimDirector>,
    relays: Vec<SimRelay>,
    hosts: BTreeMap<HostId, Who>,
    timers: BTreeSet<(Instant, Who)>,
    scheduled: BTreeMap<Who, Instant>,
    flows: usize,
    /// What an eavesdropper near the nodes has lately seen.
    overheard: VecDeque<Vec<u8>>,
    /// Bytes that hosts which are nobody's received and sent.
    strangers: BTreeMap<HostId, (u64, u64)>,
    trace: Option<TraceHook>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        Self {
            net: Network::new(dice.u64()),
            dice,
            now: Instant::ZERO,
            domains: Vec::new(),
            nodes: Vec::new(),
            directors: Vec::new(),
            relays: Vec::new(),
            hosts: BTreeMap::new(),
            timers: BTreeSet::new(),
            scheduled: BTreeMap::new(),
            flows: 0,
            overheard: VecDeque::new(),
            strangers: BTreeMap::new(),
            trace: None,
        }
    }

    pub fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn wall() -> WallClock {
        WallClock::new(Instant::ZERO, EPOCH)
    }

    /// A provider domain; gives its number.
    pub fn add_domain(&mut self, name: &str) -> usize {
        let name = Fqdn::parse(name).expect("a scenario gives proper names");
        self.domains.push(Domain::new(name, &mut self.dice));
        self.domains.len() - 1
    }

    /// A direction coordinator for the domain, at a host of its own in `place`.
    pub fn add_director(&mut self, domain: usize, place: Place, families: Families) -> usize {
        let host = self.net.add_host();
        let addresses = self.net.attach(host, 0, place, families);
        let sockets = addresses.iter().map(|&address| SocketAddr::new(address, DIRECTOR_PORT)).collect();
        let number = self.directors.len();
        let config = self.domains[domain].director_config(number, sockets, &mut self.dice);
        self.directors.push(SimDirector::new(self.now, host, domain, config, self.dice.seed()));
        self.hosts.insert(host, Who::Director(number));
        self.settle(Who::Director(number));
        number
    }

    /// A relay for the domain. Those of a domain must be added before its coordinators.
    pub fn add_relay(&mut self, domain: usize, place: Place, families: Families) -> usize {
        let host = self.net.add_host();
        let addresses = self.net.attach(host, 0, place, families);
        let sockets = addresses.iter().map(|&address| SocketAddr::new(address, RELAY_PORT)).collect();
        let number = self.relays.len();
        let config = self.domains[domain].relay_config(number, sockets, &mut self.dice);
        self.relays.push(SimRelay::new(self.now, host, config, self.dice.seed()));
        self.hosts.insert(host, Who::Relay(number));
        self.settle(Who::Relay(number));
        number
    }

    /// A node of the domain without any interface yet.
    pub fn add_node(&mut self, domain: usize, label: &str) -> usize {
        let host = self.net.add_host();
        let config = self.domains[domain].node_config(label, &mut self.dice);
        let number = self.nodes.len();
        self.nodes.push(SimNode::new(self.now, host, config, self.dice.seed()));
        self.hosts.insert(host, Who::Node(number));
        number
    }

    /// The same, with a configuration that differs from what a login would give.
    pub fn add_node_with(
        &mut self,
        domain: usize,
        label: &str,
        change: impl FnOnce(&Domain, &mut ntm_node::Config),
    ) -> usize {
        let number = self.add_node(domain, label);
        let mut config = self.nodes[number].config().clone();
        change(&self.domains[domain], &mut config);
        self.nodes[number] = SimNode::new(self.now, self.nodes[number].host(), config, self.dice.seed());
        number
    }

    /// Another host with the identity and ticket of `node`, but for what `change` does: a stolen disk, a restored backup.
    pub fn add_twin(&mut self, node: usize, change: impl FnOnce(&mut ntm_node::Config)) -> usize {
        let host = self.net.add_host();
        let mut config = self.nodes[node].config().clone();
        change(&mut config);
        let number = self.nodes.len();
        self.nodes.push(SimNode::new(self.now, host, config, self.dice.seed()));
        self.hosts.insert(host, Who::Node(number));
        number
    }

    pub fn node(&self, node: usize) -> &SimNode {
        &self.nodes[node]
    }

    pub fn node_mut(&mut self, node: usize) -> &mut SimNode {
        &mut self.nodes[node]
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub fn director(&self, director: usize) -> &SimDirector {
        &self.directors[director]
    }

    pub fn relay(&self, relay: usize) -> &SimRelay {
        &self.relays[relay]
    }

    pub fn host_of(&self, who: Who) -> HostId {
        match who {
            Who::Node(at) => self.nodes[at].host(),
            Who::Director(at) => self.directors[at].host(),
            Who::Relay(at) => self.relays[at].host(),
        }
    }
}

/// What befalls nodes and servers.
impl World {
    /// Plugs an interface of a node in, or moves it, and tells the node at once.
    pub fn attach(&mut self, node: usize, iface: u8, place: Place, families: Families, cost: u8) {
        let host = self.nodes[node].host();
        self.net.attach(host, iface, place, families);
        self.nodes[node].attached(iface, cost);
        self.interface_changed(node, iface);
    }

    /// The same, with the latency from the interface to its place.
    pub fn attach_afar(
        &mut self,
        node: usize,
        iface: u8,
        place: Place,
        families: Families,
        cost: u8,
        latency: Duration,
    ) {
        let host = self.nodes[node].host();
        self.net.attach(host, iface, place, families);
        self.net.set_link(LinkRef::Access(host, iface), LinkProfile::with_latency(latency));
        self.nodes[node].attached(iface, cost);
        self.interface_changed(node, iface);
    }

    /// Unplugs an interface and tells the node.
    pub fn detach(&mut self, node: usize, iface: u8) {
        let host = self.nodes[node].host();
        self.net.detach(host, iface);
        self.interface_changed(node, iface);
    }

    /// The node learns of its interface as the network has it now.
    pub fn interface_changed(&mut self, node: usize, iface: u8) {
        let addresses = self.net.addresses(self.nodes[node].host(), iface).to_vec();
        let now = self.now;
        self.trace(format_args!("node{node}     interface {iface} has {addresses:?}"));
        self.nodes[node].interface_changed(now, iface, &addresses);
        self.settle(Who::Node(node));
    }

    /// The host knows that an interface will go soon.
    pub fn interface_ending(&mut self, node: usize, iface: u8) {
        let now = self.now;
        self.trace(format_args!("node{node}     interface {iface} will end"));
        self.nodes[node].interface_ending(now, iface);
        self.settle(Who::Node(node));
    }

    /// Switches a server's host off: what it knew in memory stays, as after a network outage.
    pub fn set_up(&mut self, who: Who, up: bool) {
        let host = self.host_of(who);
        self.trace(format_args!("{who} is switched {}", if up { "on" } else { "off" }));
        self.net.set_host_up(host, up);
    }

    /// Kills a server and starts it anew with nothing but its configuration.
    pub fn restart(&mut self, who: Who) {
        let (now, seed) = (self.now, self.dice.seed());
        self.trace(format_args!("{who} starts anew"));
        match who {
            Who::Node(at) => self.nodes[at].restart(now, seed, &mut self.net),
            Who::Director(at) => self.directors[at].restart(now, seed),
            Who::Relay(at) => self.relays[at].restart(now, seed),
        }
        self.settle(who);
    }

    /// Speaks to a node's engine as its driver or application does.
    pub fn engine<T>(&mut self, node: usize, act: impl FnOnce(Instant, &mut ntm_node::Node) -> T) -> T {
        let now = self.now;
        let result = act(now, self.nodes[node].engine_mut());
        self.settle(Who::Node(node));
        result
    }

    /// `from` asks for the way to `to` by name.
    pub fn connect(&mut self, from: usize, to: usize) {
        let name = self.nodes[to].name().clone();
        let now = self.now;
        self.trace(format_args!("node{from}     asks for {name}"));
        self.nodes[from].connect(now, name);
        self.settle(Who::Node(from));
    }
}

/// Time.
impl World {
    /// Lets time pass until `until`.
    pub fn run_until(&mut self, until: Instant) {
        while self.step(until) {}
        self.now = until;
    }

    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Lets time pass while `going` says so, at most until `limit`. Says whether `going` ended it.
    pub fn run_while(&mut self, limit: Duration, mut going: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.now + limit;
        while going(self) {
            if !self.step(until) {
                self.now = until;
                return !going(self);
            }
        }
        true
    }

    /// Lets the next thing happen, if it happens by `until`.
    fn step(&mut self, until: Instant) -> bool {
        let timer = self.timers.first().map_or(Instant::FAR_FUTURE, |&(at, _)| at);
        let datagram = self.net.next_event().unwrap_or(Instant::FAR_FUTURE);
        let next = timer.min(datagram).max(self.now);
        if next > until {
            return false;
        }
        self.now = next;
        if datagram <= next {
            while let Some(delivery) = self.net.poll(next) {
                self.deliver(delivery);
            }
        }
        while let Some(&(at, who)) = self.timers.first()
            && at <= next
        {
            self.timers.remove(&(at, who));
            self.scheduled.remove(&who);
            self.wake(who);
            self.settle(who);
            if self.scheduled.get(&who).is_some_and(|again| *again <= next) {
                // A machine that wants to be woken at once again must not stop time.
                self.spin(who);
            }
        }
        true
    }

    fn spin(&mut self, who: Who) {
        const PATIENCE: usize = 64;
        for _ in 0..PATIENCE {
            self.wake(who);
            self.settle(who);
            if self.scheduled.get(&who).is_none_or(|again| *again > self.now) {
                return;
            }
        }
        panic!("{who:?} asks to be woken at {:?} for ever: {}", self.now, self.timer_of(who));
    }

    fn timer_of(&self, who: Who) -> String {
        match who {
            Who::Node(at) => format!("{:?}", self.nodes[at].timer()),
            Who::Director(at) => format!("{:?}", self.directors[at].timer()),
            Who::Relay(at) => format!("{:?}", self.relays[at].timer()),
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let Some(&who) = self.hosts.get(&delivery.host) else {
            self.strangers.entry(delivery.host).or_default().0 += delivery.payload.len() as u64;
            return;
        };
        let now = self.now;
        match who {
            Who::Node(at) => self.nodes[at].deliver(now, delivery),
            Who::Director(at) => self.directors[at].deliver(now, delivery),
            Who::Relay(at) => self.relays[at].deliver(now, &mut self.net, delivery),
        }
        self.settle(who);
    }

    fn wake(&mut self, who: Who) {
        let now = self.now;
        match who {
            Who::Node(at) => self.nodes[at].wake(now),
            Who::Director(at) => self.directors[at].wake(now),
            Who::Relay(at) => self.relays[at].wake(now),
        }
    }

    /// After anything happened to somebody: what they want sent, and when they want to be woken.
    fn settle(&mut self, who: Who) {
        let now = self.now;
        let next = match who {
            Who::Node(at) => {
                let known = self.nodes[at].events().len();
                let next = self.nodes[at].settle(now, &mut self.net, &mut self.overheard);
                self.trace_events(at, known);
                next
            }
            Who::Director(at) => {
                let next = self.directors[at].settle(now, &mut self.net);
                self.answer_lookups(at);
                next
            }
            Who::Relay(at) => self.relays[at].settle(now, &mut self.net),
        };
        if let Some(at) = self.scheduled.remove(&who) {
            self.timers.remove(&(at, who));
        }
        if let Some(at) = next {
            self.timers.insert((at, who));
            self.scheduled.insert(who, at);
        }
    }

    /// Ordinary DNS, which the world does not simulate: a coordinator that looks for a domain finds it.
    fn answer_lookups(&mut self, director: usize) {
        let now = self.now;
        while let Some(domain) = self.directors[director].take_lookup() {
            let found = self.domains.iter().find(|known| *known.name() == domain).and_then(Domain::foreign);
            self.directors[director].found(now, &domain, found);
            self.directors[director].settle(now, &mut self.net);
        }
    }
}

/// Looking.
impl World {
    /// Has `hook` told of what befalls nodes and servers and of every event of a node from now on. The
    /// network has a hook of its own.
    pub fn set_trace(&mut self, hook: impl FnMut(Instant, &dyn fmt::Display) + 'static) {
        self.trace = Some(Box::new(hook));
    }

    fn trace(&mut self, line: fmt::Arguments<'_>) {
        if let Some(hook) = &mut self.trace {
            hook(self.now, &line);
        }
    }

    /// Those of a node's events that came after the first `known`.
    fn trace_events(&mut self, node: usize, known: usize) {
        if let Some(hook) = &mut self.trace {
            for (at, event) in &self.nodes[node].events()[known..] {
                hook(*at, &format_args!("node{node}     {event:?}"));
            }
        }
    }

    fn next_flow(&mut self) -> usize {
        self.flows += 1;
        self.flows
    }

    /// The node's events, in order.
    pub fn events(&self, node: usize) -> &[(Instant, Event)] {
        self.nodes[node].events()
    }

    /// Bytes that a host without any role received and sent.
    pub fn stranger_traffic(&self, host: HostId) -> (u64, u64) {
        self.strangers.get(&host).copied().unwrap_or_default()
    }

    /// Some datagram a node sent lately.
    pub fn overheard(&mut self) -> Option<Vec<u8>> {
        let choices = self.overheard.len() as u64;
        (choices > 0).then(|| self.overheard[self.dice.below(choices) as usize].clone())
    }

    /// A host without any role sends a datagram.
    pub fn attack(&mut self, host: HostId, from: SocketAddr, to: SocketAddr, datagram: Vec<u8>) {
        self.strangers.entry(host).or_default().1 += datagram.len() as u64;
        let now = self.now;
        // A family the attacker has no address of: the datagram goes nowhere.
        let _ = self.net.send(now, host, 0, from, to, datagram);
    }

    pub fn is_registered(&self, node: usize) -> bool {
        self.nodes[node].engine().is_registered()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("now", &self.now)
            .field("nodes", &self.nodes)
            .field("directors", &self.directors)
            .field("relays", &self.relays)
            .field("net", &self.net)
            .finish_non_exhaustive()
    }
}
