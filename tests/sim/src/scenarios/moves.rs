//! Transfers while nodes move: from network to network, IPv4 to IPv6, both ends at once, with the
//! coordinator dead, with a relay dead, and from interface to interface with notice.
//!
//! An interruption is measured from the instant at which the (last) mover has its new address to the first
//! virtual packet that arrives in each direction afterwards, with a datagram every millisecond.

use std::time::Duration;

use ntm_proto::time::Instant;

use super::spot::Spot;
use crate::cli::Report;
use crate::net::Families;
use crate::oracle;
use crate::stream::Source;
use crate::world::{Beat, Family, Transfer, Who, World};

/// What is allowed beyond the round trip.
pub const SLACK: Duration = Duration::from_millis(5);
const BEAT: Duration = Duration::from_millis(1);
const MOVES: usize = 3;
/// Between moves: long enough for paths to be proven and NATs to be punched anew.
const PAUSE: Duration = Duration::from_secs(4);
const RATE: u64 = 100_000;
const CHUNK: usize = 1_000;
/// Each way.
pub(super) const BYTES: u64 = 1_500_000;
/// smoltcp's own retransmission timer backs off for long; the transfer only has to end right.
const PATIENCE: Duration = Duration::from_secs(120);

/// What befalls the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Incident {
    /// One end moves.
    Roam,
    /// Both ends move at the same instant.
    BothAtOnce,
    /// One end moves while the coordinator is dead.
    DirectorDead,
    /// One end moves while the relay in use is dead and a spare lives.
    RelayDead,
    /// Flows leave an interface before it goes, with notice.
    Notice,
}

impl Incident {
    pub const ALL: [Self; 5] = [Self::Roam, Self::BothAtOnce, Self::DirectorDead, Self::RelayDead, Self::Notice];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Roam => "one end moves",
            Self::BothAtOnce => "both at once",
            Self::DirectorDead => "with the DC dead",
            Self::RelayDead => "with a relay dead",
            Self::Notice => "two interfaces, notice",
        }
    }
}

/// One move, measured.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub incident: Incident,
    /// Whether a direct path stayed possible without punching anew.
    pub direct: bool,
    /// The round trip that the interruption is measured against.
    pub rtt: Duration,
    /// Of the direction that took longer.
    pub interruption: Duration,
    /// Datagrams lost; only told for moves with notice.
    pub lost: u64,
}

impl Sample {
    pub fn is_within(&self) -> bool {
        match self.incident {
            Incident::Notice => self.lost == 0,
            _ => self.interruption <= self.rtt + SLACK,
        }
    }
}

struct Scene {
    world: World,
    relays: Vec<usize>,
    director: usize,
    nodes: [usize; 2],
    spots: [Spot; 2],
    /// Ends that moved while no coordinator could tell the other all their addresses.
    half_known: [bool; 2],
    transfer: Transfer,
}

/// One seed: a pair at random places, one kind of incident, three moves.
pub fn run_seed(seed: u64, report: &Report) -> Result<Vec<Sample>, String> {
    let incident = Incident::ALL[usize::try_from(seed).unwrap_or(0) % Incident::ALL.len()];
    let mut scene = set_up(seed, report)?;
    match incident {
        Incident::DirectorDead => {
            let director = Who::Director(scene.director);
            scene.world.set_up(director, false);
        }
        Incident::RelayDead => {
            let relays = scene.relays.clone();
            let relay = *scene.world.dice.pick(&relays);
            scene.world.set_up(Who::Relay(relay), false);
            scene.world.run_for(Duration::from_secs(25));
        }
        Incident::Roam | Incident::BothAtOnce | Incident::Notice => {}
    }
    let mut samples = Vec::new();
    for _ in 0..MOVES {
        let sample = match incident {
            Incident::BothAtOnce => move_both(&mut scene, incident)?,
            Incident::Notice => switch_interface(&mut scene)?,
            _ => move_one(&mut scene, incident)?,
        };
        samples.push(sample);
        scene.world.run_for(PAUSE);
    }
    let transfer = scene.transfer.clone();
    let ended = scene.world.run_while(PATIENCE, |_| !transfer.is_complete() && transfer.verdict().is_ok());
    transfer.verdict()?;
    if !ended {
        return Err(format!(
            "the transfer did not end in {PATIENCE:?}: {:?} of {BYTES} there, {:?} back",
            transfer.server_progress().received,
            transfer.client_progress().received
        ));
    }
    Ok(samples)
}

fn set_up(seed: u64, report: &Report) -> Result<Scene, String> {
    let mut world = World::new(seed);
    report.watch(&mut world);
    let domain = world.add_domain("ntm.example");
    let mut relays = Vec::new();
    for _ in 0..2 {
        let site = world.net.add_site(Families::DUAL);
        relays.push(world.add_relay(domain, site, Families::DUAL));
    }
    let servers = world.net.add_site(Families::DUAL);
    let director = world.add_director(domain, servers, Families::DUAL);
    let spots = [Spot::random(&mut world.dice), Spot::random(&mut world.dice)];
    let nodes = [world.add_node(domain, "alpha"), world.add_node(domain, "beta")];
    for (node, spot) in nodes.into_iter().zip(spots) {
        attach(&mut world, node, 0, spot, 10);
    }
    let registered =
        world.run_while(Duration::from_secs(5), |world| !nodes.iter().all(|&node| world.is_registered(node)));
    if !registered {
        return Err("a node did not register within 5 s".into());
    }
    world.run_for(Duration::from_secs(2));
    world.connect(nodes[0], nodes[1]);
    if !world.run_while(Duration::from_secs(5), |world| !world.node(nodes[0]).has_resolved()) {
        return Err("the name did not resolve".into());
    }
    let source = |salt| Source { seed: seed ^ salt, length: BYTES, rate: Some(RATE), chunk: CHUNK };
    let transfer = world.transfer(nodes[0], nodes[1], Family::V4, source(1), source(2));
    world.run_for(PAUSE);
    Ok(Scene { world, relays, director, nodes, spots, half_known: [false; 2], transfer })
}

/// Attaches a node to a new network of that kind, at a random distance from everything.
fn attach(world: &mut World, node: usize, iface: u8, spot: Spot, cost: u8) {
    let latency = Duration::from_millis(world.dice.between(2, 60));
    let place = spot.build(world);
    world.attach_afar(node, iface, place, spot.families(), cost, latency);
}

/// Moves one end, after a time without any network.
fn move_one(scene: &mut Scene, incident: Incident) -> Result<Sample, String> {
    let mover = usize::from(scene.world.dice.chance(1, 2));
    take_away(scene, &[mover]);
    let spot = place_anew(scene, mover);
    let peer = scene.spots[1 - mover];
    // A dual-stack peer that moved after the coordinator died is known by the one address it was seen at.
    let known = !(scene.half_known[1 - mover] && peer == Spot::Dual);
    scene.half_known[mover] |= incident == Incident::DirectorDead;
    let open = known && peer.is_open_to_strangers() && shares_family(spot, peer);
    measure(scene, incident, open)
}

fn move_both(scene: &mut Scene, incident: Incident) -> Result<Sample, String> {
    take_away(scene, &[0, 1]);
    for mover in 0..2 {
        place_anew(scene, mover);
    }
    // Neither knows the other's new address: only the relay can tell them at once.
    measure(scene, incident, false)
}

fn take_away(scene: &mut Scene, movers: &[usize]) {
    for &mover in movers {
        scene.world.detach(scene.nodes[mover], 0);
    }
    let gap = Duration::from_millis(scene.world.dice.below(800));
    scene.world.run_for(gap);
}

fn place_anew(scene: &mut Scene, mover: usize) -> Spot {
    let spot = Spot::random(&mut scene.world.dice);
    scene.spots[mover] = spot;
    attach(&mut scene.world, scene.nodes[mover], 0, spot, 10);
    spot
}

fn shares_family(one: Spot, other: Spot) -> bool {
    let (one, other) = (one.families(), other.families());
    (one.v4 && other.v4) || (one.v6 && other.v6)
}

fn measure(scene: &mut Scene, incident: Incident, open: bool) -> Result<Sample, String> {
    let began = scene.world.now();
    let beat = start_beat(scene, began);
    let arrived = |beat: &Beat| beat.received_here().first_at.is_some() && beat.received_there().first_at.is_some();
    let came = scene.world.run_while(Duration::from_secs(30), |_| !arrived(&beat));
    if !came {
        return Err(format!(
            "{}: no datagram for 30 s between {} and {}",
            incident.name(),
            scene.spots[0].name(),
            scene.spots[1].name()
        ));
    }
    let first = [beat.received_here(), beat.received_there()].map(|reception| reception.first_at.unwrap_or(began));
    let interruption = first.into_iter().max().unwrap_or(began).since(began);
    let hosts = scene.nodes.map(|node| scene.world.host_of(Who::Node(node)));
    let direct = oracle::direct_rtt(&scene.world.net, hosts[0], hosts[1]);
    // The spare relay may be the farther one.
    let relayed = scene
        .relays
        .iter()
        .filter(|&&relay| scene.world.net.is_host_up(scene.world.host_of(Who::Relay(relay))))
        .filter_map(|&relay| {
            oracle::relayed_rtt(&scene.world.net, hosts[0], hosts[1], scene.world.host_of(Who::Relay(relay)))
        })
        .max();
    let rtt = if open { direct } else { relayed.max(direct) };
    let rtt = rtt.ok_or("the model knows no path")?;
    Ok(Sample { incident, direct: open, rtt, interruption, lost: 0 })
}

fn start_beat(scene: &mut Scene, now: Instant) -> Beat {
    scene.world.beat(scene.nodes[0], scene.nodes[1], Family::V6, BEAT, now + Duration::from_secs(2))
}

/// A second interface comes up, the first is announced to end, and ends.
fn switch_interface(scene: &mut Scene) -> Result<Sample, String> {
    let mover = usize::from(scene.world.dice.chance(1, 2));
    let node = scene.nodes[mover];
    let host = scene.world.host_of(Who::Node(node));
    let old = scene.world.net.interfaces(host).next().ok_or("the mover has no interface")?;
    let new = 1 - old;
    let spot = Spot::random(&mut scene.world.dice);
    let beat = start_beat_for(scene, Duration::from_secs(4));
    attach(&mut scene.world, node, new, spot, 20);
    scene.world.run_for(Duration::from_secs(2));
    scene.world.interface_ending(node, old);
    // Notice must be given early enough for it to cross and for what was sent before it to arrive.
    scene.world.run_for(Duration::from_millis(600));
    scene.world.detach(node, old);
    scene.spots[mover] = spot;
    scene.world.run_for(Duration::from_secs(3));
    let lost = beat.received_here().missing(beat.sent_there()) + beat.received_there().missing(beat.sent_here());
    Ok(Sample { incident: Incident::Notice, direct: false, rtt: Duration::ZERO, interruption: Duration::ZERO, lost })
}

fn start_beat_for(scene: &mut Scene, time: Duration) -> Beat {
    let stop = scene.world.now() + time;
    scene.world.beat(scene.nodes[0], scene.nodes[1], Family::V6, BEAT, stop)
}
