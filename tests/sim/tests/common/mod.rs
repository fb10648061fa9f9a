//! What the scenarios about nodes share: a small world, and questions to it.

// Clippy sees no test in a test's helper, and no test file uses all of this.
#![allow(clippy::unwrap_used, dead_code)]

pub(crate) mod bench;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use ntm_node::{Event, PathKind, PathView};
use ntm_proto::time::Instant;
use ntm_sim::net::{Families, Place, What};
use ntm_sim::scenarios::spot::Spot;
use ntm_sim::world::{Beat, World};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
/// Core paths take 10 ms one way where a scenario says nothing else, access links nothing.
pub(crate) const RTT: Duration = Duration::from_millis(20);

/// One domain with one coordinator and one relay, each at a site of its own.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) domain: usize,
    pub(crate) director: usize,
    pub(crate) relay: usize,
}

impl Scene {
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let domain = world.add_domain("ntm.example");
        let [for_relay, for_director] = [(); 2].map(|()| world.net.add_site(Families::DUAL));
        let relay = world.add_relay(domain, for_relay, Families::DUAL);
        let director = world.add_director(domain, for_director, Families::DUAL);
        Self { world, domain, director, relay }
    }

    /// A node with one interface in a network of this kind.
    pub(crate) fn node(&mut self, label: &str, spot: Spot) -> usize {
        let place = spot.build(&mut self.world);
        self.node_at(label, place, spot.families())
    }

    pub(crate) fn node_at(&mut self, label: &str, place: Place, families: Families) -> usize {
        let node = self.world.add_node(self.domain, label);
        self.world.attach(node, 0, place, families, 10);
        node
    }

    /// Two nodes in networks of these kinds, registered, their surveys over.
    pub(crate) fn with_pair(seed: u64, here: Spot, there: Spot) -> (Self, usize, usize) {
        let mut scene = Self::new(seed);
        let a = scene.node("a", here);
        let b = scene.node("b", there);
        scene.world.run_for(3 * SECOND);
        assert!(scene.world.is_registered(a) && scene.world.is_registered(b), "both register");
        (scene, a, b)
    }

    /// The same with a session between them and every path settled.
    pub(crate) fn connected(seed: u64, here: Spot, there: Spot) -> (Self, usize, usize) {
        let (mut scene, a, b) = Self::with_pair(seed, here, there);
        connect(&mut scene.world, a, b);
        scene.world.run_for(3 * SECOND);
        (scene, a, b)
    }
}

/// `from` asks for `to` and has a session with it within five seconds.
pub(crate) fn connect(world: &mut World, from: usize, to: usize) {
    world.connect(from, to);
    let peer = world.node(to).id();
    let up = world
        .run_while(5 * SECOND, |world| !world.events(from).iter().any(|(_, event)| *event == Event::PeerUp { peer }));
    assert!(up, "no session: {:?}", world.events(from));
}

pub(crate) fn count(world: &World, node: usize, wanted: impl Fn(&Event) -> bool) -> usize {
    world.events(node).iter().filter(|(_, event)| wanted(event)).count()
}

pub(crate) fn first(world: &World, node: usize, wanted: impl Fn(&Event) -> bool) -> Option<Instant> {
    world.events(node).iter().find(|(_, event)| wanted(event)).map(|&(at, _)| at)
}

/// How often the traffic of `node` went another way since `since`.
pub(crate) fn path_changes(world: &World, node: usize, since: Instant) -> usize {
    world.events(node).iter().filter(|(at, event)| *at >= since && matches!(event, Event::PathChanged { .. })).count()
}

/// The paths of `from` to `to`, the one in use first.
pub(crate) fn paths(world: &World, from: usize, to: usize) -> Vec<PathView> {
    world.node(from).engine().paths(&world.node(to).id())
}

pub(crate) fn is_direct(path: &PathView) -> bool {
    matches!(path.kind, PathKind::Direct(_))
}

/// Nothing is lost or damaged. What was sent before any path was proven may come twice.
pub(crate) fn assert_none_missing(beat: &Beat) {
    for (sent, got) in [(beat.sent_there(), beat.received_here()), (beat.sent_here(), beat.received_there())] {
        assert_eq!(got.missing(sent), 0, "of {sent}: {:?} lost in between, {:?}", got.lost(), got.last_at);
        assert_eq!(got.alien, 0);
    }
}

/// Nothing is lost, damaged or doubled of what both ends have sent.
pub(crate) fn assert_whole(beat: &Beat) {
    for (sent, got) in [(beat.sent_there(), beat.received_here()), (beat.sent_here(), beat.received_there())] {
        assert_eq!(got.missing(sent), 0, "of {sent}: {:?} lost in between, {:?}", got.lost(), got.last_at);
        assert_eq!((got.duplicates, got.alien), (0, 0));
    }
}

/// What went over the wire between hosts, counted by a trace.
#[derive(Clone, Default)]
pub(crate) struct Wire(Rc<RefCell<Vec<Passed>>>);

/// When, from where, to where, how many bytes.
type Passed = (Instant, IpAddr, IpAddr, usize);

impl Wire {
    /// Notes every datagram sent from now on.
    pub(crate) fn tap(world: &mut World) -> Self {
        let wire = Self::default();
        let log = wire.clone();
        world.net.set_trace(move |event| {
            if matches!(event.what, What::Sent { .. }) {
                log.0.borrow_mut().push((event.at, event.from.ip(), event.to.ip(), event.payload.len()));
            }
        });
        wire
    }

    /// Datagrams sent between two addresses, either way, in `[from, until)`.
    pub(crate) fn between(&self, a: IpAddr, b: IpAddr, from: Instant, until: Instant) -> usize {
        let sent = self.0.borrow();
        let pair = |x, y| (x, y) == (a, b) || (x, y) == (b, a);
        sent.iter().filter(|&&(at, x, y, _)| from <= at && at < until && pair(x, y)).count()
    }

    /// Datagrams and bytes sent from one address to another since `since`.
    pub(crate) fn one_way(&self, a: IpAddr, b: IpAddr, since: Instant) -> (usize, usize) {
        let sent = self.0.borrow();
        let sizes = sent.iter().filter(|&&(at, x, y, _)| at >= since && (x, y) == (a, b)).map(|&(.., size)| size);
        sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size))
    }
}

/// The first address of a node's interface.
pub(crate) fn address(world: &World, node: usize, iface: u8) -> IpAddr {
    world.net.addresses(world.node(node).host(), iface)[0]
}
