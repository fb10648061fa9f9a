//! Every pair of network kinds: the table of DESIGN 4.6, direct wherever a direct path exists, and how
//! soon the first byte arrives.

use std::time::Duration;

use ntm_node::PathKind;
use ntm_proto::time::Instant;

use super::ideal;
use super::spot::Spot;
use crate::cli::Report;
use crate::net::{Families, LinkProfile, LinkRef, Place};
use crate::oracle;
use crate::rng::Dice;
use crate::stream::Source;
use crate::world::{Family, Who, World};

/// How long a pair may take to find its best path: punching and proving, with repeats.
const SETTLE: Duration = Duration::from_secs(6);
const TRANSFER: u64 = 20_000;
const MAX_ACCESS_MS: u64 = 40;
/// Ideal nodes send every quarter of a millisecond and so may miss an opening NAT by that much, once each way.
const RESOLUTION: Duration = Duration::from_micros(500);

/// What one pair came to.
#[derive(Clone, Debug)]
pub struct Cell {
    pub initiator: Spot,
    pub responder: Spot,
    /// Whether the oracle says that a direct path exists.
    pub possible: bool,
    /// Whether the initiator, and the responder, send directly in the end.
    pub direct: [bool; 2],
    /// From the request for the name to the first virtual packet at the responder.
    pub first_byte: Duration,
    /// What nobody could beat; see [`ideal`].
    pub least: Duration,
    /// The round trip of the best path.
    pub rtt: Duration,
}

/// How a pair's packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    Direct,
    /// At least one end sends directly although no pair of endpoints stays as it is: two mappings that depend on
    /// whom they send to chase each other, and each way found its own endpoint.
    OneWay,
    Relay,
}

impl Cell {
    pub fn name(&self) -> String {
        name(self.initiator, self.responder)
    }

    pub fn route(&self) -> Route {
        match self.direct {
            [false, false] => Route::Relay,
            [true, true] if self.possible => Route::Direct,
            _ => Route::OneWay,
        }
    }

    /// In round trips of the path.
    pub fn in_round_trips(&self) -> (f64, f64) {
        let rtt = self.rtt.as_secs_f64();
        (self.first_byte.as_secs_f64() / rtt, self.least.as_secs_f64() / rtt)
    }
}

/// What a cell is called.
pub fn name(initiator: Spot, responder: Spot) -> String {
    format!("{} → {}", initiator.name(), responder.name())
}

/// Where a pair and its servers live.
struct Places {
    servers: Place,
    ends: [Place; 2],
    /// From the ends to their places, one way.
    afar: [Duration; 2],
}

/// With seed 0 both ends are as far from the coordinator as from each other; with others, at random distances.
fn lay_out(seed: u64, world: &mut World, pair: [Spot; 2]) -> Places {
    let mut dice = Dice::new(seed);
    let servers = world.net.add_site(Families::DUAL);
    let ends = pair.map(|spot| spot.build(world));
    let most = if seed == 0 { 0 } else { MAX_ACCESS_MS };
    let afar = [(); 2].map(|()| Duration::from_millis(dice.between(0, most)));
    Places { servers, ends, afar }
}

/// What nobody could beat in the same place.
fn least(seed: u64, pair: [Spot; 2]) -> Option<Duration> {
    let mut world = World::new(seed);
    let places = lay_out(seed, &mut world, pair);
    let network = &mut world.net;
    let [director, relay, a, b] = [(); 4].map(|()| network.add_host());
    for server in [director, relay] {
        network.attach(server, 0, places.servers, Families::DUAL);
    }
    for (at, end) in [a, b].into_iter().enumerate() {
        network.attach(end, 0, places.ends[at], pair[at].families());
        network.set_link(LinkRef::Access(end, 0), LinkProfile::with_latency(places.afar[at]));
    }
    ideal::least_first_byte(network, [a, b], director, relay)
}

/// Builds the pair's world, connects, and looks.
pub fn run_cell(seed: u64, initiator: Spot, responder: Spot, report: &Report) -> Result<Cell, String> {
    let mut world = World::new(seed);
    report.watch(&mut world);
    let places = lay_out(seed, &mut world, [initiator, responder]);
    let domain = world.add_domain("ntm.example");
    let relay = world.add_relay(domain, places.servers, Families::DUAL);
    world.add_director(domain, places.servers, Families::DUAL);
    let [a, b] = ["alpha", "beta"].map(|label| world.add_node(domain, label));
    for (at, (node, spot)) in [(a, initiator), (b, responder)].into_iter().enumerate() {
        world.attach_afar(node, 0, places.ends[at], spot.families(), 10, places.afar[at]);
    }
    if !world.run_while(Duration::from_secs(3), |world| !(world.is_registered(a) && world.is_registered(b))) {
        return Err("a node did not register within 3 s".into());
    }
    // Relays are measured and NATs are known: what a node that has been up for a moment knows.
    world.run_for(Duration::from_secs(2));

    let hosts = [world.host_of(Who::Node(a)), world.host_of(Who::Node(b))];
    let verdict = oracle::direct_path_possible(&world.net, hosts[0], hosts[1]);
    let relayed = oracle::relayed_rtt(&world.net, hosts[0], hosts[1], world.host_of(Who::Relay(relay)));
    let rtt = verdict.best.map(|best| best.rtt).or(relayed).ok_or("neither a direct path nor a relay")?;

    let asked = world.now();
    world.connect(a, b);
    let resolved = world.run_while(Duration::from_secs(5), |world| !world.node(a).has_resolved());
    if !resolved {
        return Err("the name did not resolve within 5 s".into());
    }
    let end = world.now() + SETTLE;
    let beat = world.beat(a, b, Family::V4, Duration::from_millis(500), end);
    let transfer = world.transfer(a, b, Family::V6, Source::bulk(seed, TRANSFER), Source::bulk(seed + 1, TRANSFER));
    world.run_until(end);

    transfer.verdict()?;
    if !transfer.is_complete() {
        return Err(format!("the transfer did not complete in {SETTLE:?}"));
    }
    let first: Instant = beat.received_there().first_at.ok_or("no datagram arrived")?;
    let direct = |node: usize, peer: usize| {
        let peer = world.node(peer).id();
        let paths = world.node(node).engine().paths(&peer);
        paths.first().is_some_and(|path| path.proven && matches!(path.kind, PathKind::Direct(_)))
    };
    let direct = [direct(a, b), direct(b, a)];
    Ok(Cell {
        initiator,
        responder,
        possible: verdict.possible,
        direct,
        first_byte: first.since(asked),
        least: least(seed, [initiator, responder]).ok_or("even ideal nodes cannot talk")?,
        rtt,
    })
}

/// Fails where a direct path exists and the pair does not use it, and where the yardstick is wrong.
pub fn judge(cell: &Cell) -> Result<(), String> {
    if cell.first_byte + RESOLUTION < cell.least {
        return Err(format!("the first byte took {:?}, the least possible is {:?}", cell.first_byte, cell.least));
    }
    match (cell.possible, cell.direct) {
        (true, [false, false]) => Err("a direct path is possible, the pair is relayed".into()),
        (true, [true, false]) => Err("a direct path is possible, the responder sends over the relay".into()),
        (true, [false, true]) => Err("a direct path is possible, the initiator sends over the relay".into()),
        (true, [true, true]) | (false, _) => Ok(()),
    }
}
