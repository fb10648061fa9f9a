//! A minute in which a phone call and a transfer go on while one end moves.
//!
//! ```text
//!   phone ── home NAT ────────┐
//!         ── carrier's NATs ──┤                    ┌── relay
//!         ── IPv6 only ───────┼── the internet ────┼── coordinator
//!         ── global IPv4 ─────┘                    └── office NAT ── desk
//! ```

use std::time::Duration;

use ntm_node::{Event, PathKind, PathView};
use ntm_proto::time::Instant;
use serde::Serialize;

use super::spot::Spot;
use crate::cli::{Failure, Report, Scenario};
use crate::net::{Families, NatKind};
use crate::stream::Source;
use crate::world::{Beat, Family, Transfer, World};

const RATE: u64 = 100_000;
const CHUNK: usize = 1_000;
/// Each way, at [`RATE`]: fifty seconds' worth.
const BYTES: u64 = 5_000_000;
/// As a voice codec sends.
const VOICE: Duration = Duration::from_millis(20);
const LENGTH: Duration = Duration::from_secs(60);
/// Without any network, between two networks.
const AWAY: Duration = Duration::from_millis(200);
/// Notice that a host gives before it leaves an interface.
const NOTICE: Duration = Duration::from_millis(600);
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Demo;

impl Scenario for Demo {
    fn name(&self) -> &'static str {
        "demo"
    }

    fn about(&self) -> &'static str {
        "A narrated minute: a call and a transfer between two NATs while one end moves"
    }

    fn default_seeds(&self) -> u64 {
        1
    }

    fn run(&self, seed: u64, report: &mut Report) -> Result<(), Failure> {
        report.note(
            "Simulated network and virtual time, the real engine and servers; the lab on real kernels will take over.",
        );
        let mut demo = Demonstration::begin(seed, report)?;
        let home = Spot::V4Nat(NatKind::PORT_RESTRICTED_CONE);
        for (at, name, spot) in [
            (12, "a carrier's network, NAT behind NAT", Spot::DoubleNat),
            (24, "a network with IPv6 only; the desk has IPv4 only", Spot::V6Only),
            (36, "a network with a global IPv4 address", Spot::V4Global),
        ] {
            demo.pass(report, Instant::ZERO + Duration::from_secs(at));
            demo.move_to(report, name, spot)?;
        }
        demo.pass(report, Instant::ZERO + Duration::from_secs(46));
        demo.change_interface(report, home)?;
        demo.pass(report, Instant::ZERO + LENGTH);
        demo.end(report)
    }
}

/// One change of network.
#[derive(Clone, Debug, Serialize)]
struct Move {
    to: &'static str,
    path: String,
    rtt_ms: Option<f64>,
    /// From the new address to the first voice packet in the direction that took longer.
    resumed_after_ms: f64,
    voice_packets_lost: u64,
}

struct Demonstration {
    world: World,
    phone: usize,
    desk: usize,
    call: Beat,
    transfer: Transfer,
    /// Events of each that are told already.
    told: [usize; 2],
    moves: Vec<Move>,
    longest_gap: Duration,
}

impl Demonstration {
    fn begin(seed: u64, report: &mut Report) -> Result<Self, Failure> {
        let mut world = World::new(seed);
        report.watch(&mut world);
        let domain = world.add_domain("ntm.example");
        let servers = world.net.add_site(Families::DUAL);
        world.add_relay(domain, servers, Families::DUAL);
        world.add_director(domain, servers, Families::DUAL);
        let [phone, desk] = ["phone", "desk"].map(|label| world.add_node(domain, label));
        attach(&mut world, phone, 0, Spot::V4Nat(NatKind::PORT_RESTRICTED_CONE), 8);
        attach(&mut world, desk, 0, Spot::V4Nat(NatKind::RESTRICTED_CONE), 5);
        say(report, world.now(), "phone starts behind its home's NAT, desk behind its office's; both log in");
        let registered = |world: &mut World| !(world.is_registered(phone) && world.is_registered(desk));
        if !world.run_while(PATIENCE, registered) {
            return Err("a node did not register".into());
        }
        world.run_until(Instant::ZERO + Duration::from_secs(1));
        let mut told = [0; 2];
        tell(&world, [phone, desk], &mut told, report);
        say(report, world.now(), "phone calls desk.ntm.example");
        world.connect(phone, desk);
        if !world.run_while(PATIENCE, |world| !world.node(phone).has_resolved()) {
            return Err("the name did not resolve".into());
        }
        let call = world.beat(phone, desk, Family::V4, VOICE, Instant::ZERO + LENGTH - Duration::from_secs(1));
        let source = |salt| Source { seed: seed ^ salt, length: BYTES, rate: Some(RATE), chunk: CHUNK };
        let transfer = world.transfer(phone, desk, Family::V6, source(1), source(2));
        Ok(Self { world, phone, desk, call, transfer, told, moves: Vec::new(), longest_gap: Duration::ZERO })
    }

    fn pass(&mut self, report: &mut Report, until: Instant) {
        self.world.run_until(until);
        tell(&self.world, [self.phone, self.desk], &mut self.told, report);
    }

    fn path(&self) -> Option<PathView> {
        let peer = self.world.node(self.desk).id();
        self.world.node(self.phone).engine().paths(&peer).first().copied()
    }

    fn lost(&self) -> u64 {
        self.call.received_here().missing(self.call.sent_there())
            + self.call.received_there().missing(self.call.sent_here())
    }

    /// The phone leaves its network and, after a moment without any, is in another.
    fn move_to(&mut self, report: &mut Report, name: &'static str, spot: Spot) -> Result<(), Failure> {
        say(report, self.world.now(), "phone loses its network");
        self.note_gap();
        let lost = self.lost();
        self.world.detach(self.phone, 0);
        self.world.run_for(AWAY);
        tell(&self.world, [self.phone, self.desk], &mut self.told, report);
        let began = self.world.now();
        say(report, began, format_args!("phone is in {name}"));
        attach(&mut self.world, self.phone, 0, spot, 8);
        let before = [&self.call.received_here(), &self.call.received_there()].map(|reception| reception.received);
        let call = self.call.clone();
        let silent =
            |_: &mut World| call.received_here().received == before[0] || call.received_there().received == before[1];
        if !self.world.run_while(PATIENCE, silent) {
            return Err(Failure::new(format_args!("in {name} the call did not go on")));
        }
        let resumed = self.world.now();
        self.note_gap();
        tell(&self.world, [self.phone, self.desk], &mut self.told, report);
        say(
            report,
            resumed,
            format_args!("voice goes on both ways, {} ms after the new address", millis(resumed.since(began))),
        );
        self.pass(report, resumed + Duration::from_secs(5));
        self.remember(name, resumed.since(began), lost);
        Ok(())
    }

    /// A second interface comes up, the first is announced to end, and ends.
    fn change_interface(&mut self, report: &mut Report, spot: Spot) -> Result<(), Failure> {
        let name = "its home again, by a second interface and with notice";
        say(report, self.world.now(), "phone's second interface comes up in its home");
        self.note_gap();
        let lost = self.lost();
        attach(&mut self.world, self.phone, 1, spot, 8);
        self.pass(report, self.world.now() + Duration::from_secs(2));
        say(report, self.world.now(), "phone knows that its first interface will go");
        self.world.interface_ending(self.phone, 0);
        self.pass(report, self.world.now() + NOTICE);
        say(report, self.world.now(), "it goes");
        self.world.detach(self.phone, 0);
        self.pass(report, self.world.now() + Duration::from_secs(5));
        self.note_gap();
        self.remember(name, Duration::ZERO, lost);
        Ok(())
    }

    fn remember(&mut self, to: &'static str, resumed: Duration, lost: u64) {
        let path = self.path();
        self.moves.push(Move {
            to,
            path: path.map_or("none", |path| route(&path)).into(),
            rtt_ms: path.and_then(|path| path.rtt).map(millis),
            resumed_after_ms: millis(resumed),
            voice_packets_lost: self.lost() - lost,
        });
    }

    /// The longest silence so far, in either direction.
    fn note_gap(&mut self) {
        let now = self.world.now();
        let gaps = [self.call.received_here(), self.call.received_there()].map(|reception| reception.longest_gap(now));
        self.longest_gap = gaps.into_iter().fold(self.longest_gap, Duration::max);
    }

    fn end(&mut self, report: &mut Report) -> Result<(), Failure> {
        self.transfer.verdict()?;
        if !self.transfer.is_complete() {
            return Err("the transfer did not complete".into());
        }
        say(report, self.world.now(), "both hang up");
        report.note("");
        report.note(format_args!(
            "{:>12} {:>10} {:>12} {:>12}  phone moved to",
            "path", "RTT", "resumed in", "voice lost"
        ));
        for Move { to, path, rtt_ms, resumed_after_ms, voice_packets_lost } in &self.moves {
            let rtt = rtt_ms.map_or_else(|| "?".into(), |rtt| format!("{rtt:.1} ms"));
            let resumed = format!("{resumed_after_ms:.1} ms");
            report.note(format_args!("{path:>12} {rtt:>10} {resumed:>12} {voice_packets_lost:>12}  {to}"));
        }
        report.note(
            "resumed: from the new address to the first voice packet of the later direction; one is sent every 20 ms",
        );
        report.note("");
        let sent = self.call.sent_here() + self.call.sent_there();
        report
            .metrics()
            .total("bytes received and checked", "", 2.0 * BYTES as f64)
            .total("bytes lost, doubled or out of place", "", 0.0)
            .share("voice packets lost", self.lost() as usize, sent as usize)
            .total("longest silence of the call", "ms", millis(self.longest_gap))
            .total("of which without any network", "ms", millis(AWAY));
        report.details(&self.moves);
        Ok(())
    }
}

fn attach(world: &mut World, node: usize, iface: u8, spot: Spot, latency: u64) {
    let place = spot.build(world);
    world.attach_afar(node, iface, place, spot.families(), 10, Duration::from_millis(latency));
}

fn say(report: &mut Report, now: Instant, what: impl std::fmt::Display) {
    report.note(format_args!("{:>8.3} s  {what}", now.since(Instant::ZERO).as_secs_f64()));
}

/// What happened to both nodes since they were last looked at, in order.
fn tell(world: &World, nodes: [usize; 2], told: &mut [usize; 2], report: &mut Report) {
    let mut news: Vec<(Instant, String)> = Vec::new();
    for (who, (node, told)) in ["phone", "desk"].into_iter().zip(nodes.into_iter().zip(told)) {
        let events = world.events(node);
        news.extend(
            events[*told..].iter().filter_map(|(at, event)| Some((*at, format!("{who} {}", describe(event)?)))),
        );
        *told = events.len();
    }
    news.sort_by_key(|(at, _)| *at);
    for (at, what) in news {
        say(report, at, what);
    }
}

fn describe(event: &Event) -> Option<String> {
    Some(match event {
        Event::Registered { virtual4, virtual6 } => format!("is registered: {virtual4}, {virtual6}, for good"),
        Event::RegistrationLost => "hears of no coordinator any more".into(),
        Event::Resolved { name, virtual4, .. } => format!("knows that {name} is {virtual4}"),
        Event::ConnectFailed { reason, .. } => format!("cannot connect: {reason:?}"),
        Event::PeerUp { .. } => "has a session with its peer".into(),
        Event::PeerLost { .. } => "has lost its peer".into(),
        Event::PathChanged { path, .. } => {
            let rtt = path.rtt.map_or_else(String::new, |rtt| format!(", {:.1} ms there and back", millis(rtt)));
            match path.kind {
                PathKind::Direct(to) => format!("sends directly to {to}{rtt}"),
                PathKind::Relayed(relay) => format!("sends over relay {}{rtt}", relay.0),
            }
        }
        Event::Superseded | Event::RegistrationRefused(_) | Event::TicketRefused(_) => return None,
    })
}

fn route(path: &PathView) -> &'static str {
    match path.kind {
        PathKind::Direct(_) => "direct",
        PathKind::Relayed(_) => "relay",
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
