//! Hours of random trouble: transfers in both directions while the link does its worst.
//!
//! Oracles: every byte arrives once and in order (the applications check each), every connection ends in order,
//! and no stream stands still for longer than what was done to it explains.

use std::time::Duration;

use ntm_recovery::{Algorithm, Config, PathMemory, WindowGrowth};

use crate::application::Application;
use crate::link::{Conditions, Loss};
use crate::random::Random;
use crate::world::{Flow, World};

/// Silence that needs no outage: a few timeouts in a row on a path that loses a twentieth.
const UNEXPLAINED: Duration = Duration::from_secs(25);
/// After an outage the timer may have backed off by as much again, twice where the first retransmission is lost.
const BACK_OFF: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Less than a segment would be sent a byte at a time, with a second's wait before each.
const SMALLEST_WINDOW: u64 = 8 << 10;

/// What an episode came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    pub episodes: u64,
    pub bytes: u64,
    pub time: Duration,
    pub longest_stall: Duration,
}

impl Summary {
    pub fn add(&mut self, other: &Self) {
        self.episodes += other.episodes;
        self.bytes += other.bytes;
        self.time += other.time;
        self.longest_stall = self.longest_stall.max(other.longest_stall);
    }
}

/// One connection's life in trouble.
///
/// # Errors
/// Says what went wrong.
pub fn episode(seed: u64) -> Result<Summary, String> {
    let mut random = Random::new(seed);
    let mut world = World::new(conditions(&mut random), conditions(&mut random), seed);
    let (algorithm, ecn) = (random.pick(&Algorithm::ALL), random.chance(0.5));
    let volume = |random: &mut Random| if random.chance(0.2) { 0 } else { 1 << random.between(4, 24) };
    let (client, server) = (Application::sending(volume(&mut random)), Application::sending(volume(&mut random)));
    let buffer = 1 << random.between(14, 21);
    // From a generator of its own: what seeds found before windows grew stays found.
    let mut others = Random::new(!seed);
    let first = (buffer as u64 >> others.between(0, 4)).max(SMALLEST_WINDOW);
    let window_growth = others.chance(0.5).then_some(WindowGrowth { first, most: buffer as u64 });
    let config = Config { algorithm, ecn, window_growth, ..Config::default() };
    let flow = world.add(Flow { config, client, server, buffer });
    // Outages since a byte last came, the one before included: its back-off may reach into them.
    let mut excused = Duration::ZERO;
    let mut longest_stall = Duration::ZERO;
    while !world.is_over(flow) {
        let elapsed = world.elapsed();
        if elapsed > PATIENCE {
            return Err(format!("seed {seed}: not over after {elapsed:?}"));
        }
        let before = world.received(flow);
        let change = change(&mut world, &mut random, flow);
        excused += change;
        world.finish(elapsed + Duration::from_millis(random.between(1, 20_000)).max(change));
        let stall = world.take_longest_stall(flow);
        longest_stall = longest_stall.max(stall);
        if stall > UNEXPLAINED + excused * BACK_OFF {
            return Err(format!("seed {seed}: {stall:?} without a byte at {:?}", world.elapsed()));
        }
        if world.received(flow) > before {
            excused = change;
        }
    }
    Ok(Summary { episodes: 1, bytes: world.received(flow), time: world.elapsed(), longest_stall })
}

/// Does something to the link or the application; for how long that stops everything.
fn change(world: &mut World, random: &mut Random, flow: usize) -> Duration {
    let direction = random.pick(&[0, 1]);
    match random.below(6) {
        0 => {
            let down = Duration::from_millis(1 << random.between(4, 16));
            world.links[direction].conditions.down = true;
            if random.chance(0.5) {
                world.links[1 - direction].conditions.down = true;
            }
            world.run(world.elapsed() + down);
            for link in &mut world.links {
                link.conditions.down = false;
            }
            if random.chance(0.5) {
                world.change_path(flow, &PathMemory::default());
            }
            down
        }
        1 => {
            world.links[direction].conditions = conditions(random);
            world.change_path(flow, &PathMemory::default());
            Duration::ZERO
        }
        2 => {
            // Not for as long as smoltcp's TIME-WAIT, at whose end it forgets what was not read.
            let away = Duration::from_millis(random.between(1, 8_000));
            world.set_lazy(flow, true);
            world.run(world.elapsed() + away);
            world.set_lazy(flow, false);
            // A window update that is lost is made up for by probes, which back off.
            away
        }
        _ => {
            world.links[direction].conditions = conditions(random);
            Duration::ZERO
        }
    }
}

fn conditions(random: &mut Random) -> Conditions {
    let rate = 100_000 << random.between(0, 10);
    let trip = Duration::from_millis(1 << random.between(0, 9));
    let buffer = random.pick(&[0.1, 0.5, 1.0, 4.0, 30.0]);
    let loss = match random.below(4) {
        0 => Loss::Random(random.pick(&[0.0001, 0.001, 0.01, 0.05])),
        1 => Loss::Bursts { part: random.pick(&[0.001, 0.01, 0.03]), length: random.pick(&[2, 5, 20]) },
        _ => Loss::Never,
    };
    let clean = Conditions::clean(rate, trip, buffer);
    let sometimes = |random: &mut Random, most: f64| if random.chance(0.3) { most } else { 0.0 };
    Conditions {
        queue: clean.queue.max(15_000),
        loss,
        jitter: if random.chance(0.3) { trip / 4 } else { Duration::ZERO },
        reorder: sometimes(random, 0.05),
        duplicate: sometimes(random, 0.01),
        policer: random.chance(0.1).then_some((rate / 2, 30_000)),
        mark_above: random.chance(0.3).then_some(clean.queue / 4),
        ..clean
    }
}
