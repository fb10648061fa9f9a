//! Measurements that tests and the program share.

use std::time::Duration;

use ntm_recovery::Config;

use crate::application::Application;
use crate::link::Conditions;
use crate::trace::Trace;
use crate::world::{Flow, World};

/// More than any measurement sends.
const ENDLESS: u64 = 1 << 50;
const BUFFER_PRODUCTS: u64 = 3;
const MIN_BUFFER: usize = 256 << 10;

/// A flow that sends for ever, with buffers that never hold it back.
pub fn endless(config: Config, conditions: &Conditions) -> Flow {
    let trip_bytes = conditions.rate as f64 / 8.0 * conditions.delay.as_secs_f64() * 2.0;
    let needed = BUFFER_PRODUCTS * (trip_bytes as u64 + conditions.queue);
    let buffer = usize::try_from(needed).unwrap_or(usize::MAX).clamp(MIN_BUFFER, 512 << 20);
    Flow { config, client: Application::sending(ENDLESS), server: Application::default(), buffer }
}

/// The way back of a link: as fast and as far, without trouble.
pub fn clean_return(conditions: &Conditions) -> Conditions {
    let trip = conditions.delay * 2;
    Conditions { queue: conditions.queue.max(1 << 20), ..Conditions::clean(conditions.rate, trip, 1.0) }
}

/// Goodput of one flow in bits a second, from `warm_up` on for `time`.
pub fn goodput(config: Config, conditions: Conditions, warm_up: Duration, time: Duration, seed: u64) -> f64 {
    let mut world = World::new(conditions, clean_return(&conditions), seed);
    let flow = world.add(endless(config, &conditions));
    world.run(warm_up);
    let before = world.received(flow);
    world.run(warm_up + time);
    (world.received(flow) - before) as f64 * 8.0 / time.as_secs_f64()
}

/// Goodputs of two flows that begin `apart`, over `time` from when both run.
pub fn rivals(configs: [Config; 2], conditions: Conditions, apart: Duration, time: Duration, seed: u64) -> [f64; 2] {
    let mut world = World::new(conditions, clean_return(&conditions), seed);
    let first = world.add(endless(configs[0], &conditions));
    world.run(apart);
    let second = world.add(endless(configs[1], &conditions));
    // Convergence is not asked of the first quarter.
    let from = apart + time / 4;
    world.run(from);
    let before = [world.received(first), world.received(second)];
    world.run(apart + time);
    let after = [world.received(first), world.received(second)];
    [0, 1].map(|flow| (after[flow] - before[flow]) as f64 * 8.0 / (time * 3 / 4).as_secs_f64())
}

/// Jain's index of fairness: 1 where all have the same.
pub fn fairness(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}

/// Runs one flow and notes how it stands every `step`.
pub fn trace(config: Config, conditions: Conditions, time: Duration, step: Duration, seed: u64) -> Trace {
    let mut world = World::new(conditions, clean_return(&conditions), seed);
    let flow = world.add(endless(config, &conditions));
    let mut trace = Trace::default();
    let mut before = 0;
    while world.elapsed() < time {
        world.run(world.elapsed() + step);
        let received = world.received(flow);
        let rate = (received - before) as f64 * 8.0 / step.as_secs_f64();
        before = received;
        trace.add(world.elapsed(), &world.view(flow), rate);
    }
    trace
}
