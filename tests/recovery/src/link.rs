//! One direction of a link: a queue before a bottleneck, then a delay; with every kind of trouble.

use std::collections::VecDeque;
use std::time::Duration;

use ntm_proto::time::Instant;

use crate::random::Random;

/// A burst of losses ends after so long even where few packets come: a sender that has fallen back to one packet a
/// timeout would else be kept down by it for minutes.
const LONGEST_BURST: Duration = Duration::from_millis(100);

/// How packets get lost on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Loss {
    #[default]
    Never,
    /// Each on its own.
    Random(f64),
    /// So many in a row, this part of all packets on average.
    Bursts { part: f64, length: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// Bits a second.
    pub rate: u64,
    pub delay: Duration,
    /// Bytes that may wait before the bottleneck.
    pub queue: u64,
    pub loss: Loss,
    /// Each packet is late by up to this, in order.
    pub jitter: Duration,
    /// A part of the packets is late by up to four times the delay's tenth, out of order.
    pub reorder: f64,
    pub duplicate: f64,
    /// A token bucket that drops: bits a second, and bytes of burst.
    pub policer: Option<(u64, u64)>,
    /// Packets are marked while more bytes than this wait.
    pub mark_above: Option<u64>,
    /// Nothing passes.
    pub down: bool,
}

impl Conditions {
    /// A clean link with a queue of `buffer` bandwidth-delay products (of the round trip over two such links).
    pub fn clean(rate: u64, trip: Duration, buffer: f64) -> Self {
        let product = rate as f64 / 8.0 * trip.as_secs_f64();
        Self {
            rate,
            delay: trip / 2,
            queue: ((product * buffer) as u64).max(3_000),
            loss: Loss::Never,
            jitter: Duration::ZERO,
            reorder: 0.0,
            duplicate: 0.0,
            policer: None,
            mark_above: None,
            down: false,
        }
    }
}

/// A packet that will arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub at: Instant,
    pub marked: bool,
}

#[derive(Debug)]
pub struct Link {
    pub conditions: Conditions,
    random: Random,
    /// When the bottleneck has sent what waits, and what waits: when each has left, and its length.
    free_at: Instant,
    waiting: VecDeque<(Instant, u64)>,
    queued: u64,
    burst_left: u32,
    burst_until: Instant,
    tokens: f64,
    tokens_at: Instant,
    last_arrival: Instant,
    pub dropped: u64,
    pub carried: u64,
}

impl Link {
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            random: Random::new(seed),
            free_at: Instant::ZERO,
            waiting: VecDeque::new(),
            queued: 0,
            burst_left: 0,
            burst_until: Instant::ZERO,
            tokens: conditions.policer.map_or(0.0, |(_, burst)| burst as f64),
            tokens_at: Instant::ZERO,
            last_arrival: Instant::ZERO,
            dropped: 0,
            carried: 0,
        }
    }

    /// A packet enters; when it, and maybe its copy, arrives.
    pub fn send(&mut self, now: Instant, length: usize, capable: bool) -> Vec<Arrival> {
        let length = length as u64;
        while self.waiting.front().is_some_and(|(left, _)| *left <= now) {
            self.queued -= self.waiting.pop_front().map_or(0, |(_, length)| length);
        }
        let full = self.queued + length > self.conditions.queue;
        if self.conditions.down || full || self.is_policed(now, length) || self.is_lost(now) {
            self.dropped += 1;
            return Vec::new();
        }
        let takes = Duration::from_nanos(length * 8 * 1_000_000_000 / self.conditions.rate);
        let marked = capable && self.conditions.mark_above.is_some_and(|bytes| self.queued > bytes);
        self.free_at = self.free_at.max(now) + takes;
        self.waiting.push_back((self.free_at, length));
        self.queued += length;
        self.carried += length;
        let at = self.arrival();
        let mut arrivals = vec![Arrival { at, marked }];
        if self.random.chance(self.conditions.duplicate) {
            arrivals.push(Arrival { at: at + Duration::from_micros(self.random.below(5_000)), marked });
        }
        arrivals
    }

    /// How long a packet would wait that enters now.
    pub fn queueing(&self, now: Instant) -> Duration {
        self.free_at.since(now)
    }

    fn arrival(&mut self) -> Instant {
        let in_order = self.free_at + self.conditions.delay + self.random_part(self.conditions.jitter);
        let in_order = in_order.max(self.last_arrival);
        if self.random.chance(self.conditions.reorder) {
            return in_order + self.random_part(self.conditions.delay * 2 / 5);
        }
        self.last_arrival = in_order;
        in_order
    }

    fn random_part(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(if nanos == 0 { 0 } else { self.random.below(nanos) })
    }

    fn is_policed(&mut self, now: Instant, length: u64) -> bool {
        let Some((rate, burst)) = self.conditions.policer else { return false };
        let earned = now.since(self.tokens_at).as_secs_f64() * rate as f64 / 8.0;
        self.tokens = (self.tokens + earned).min(burst as f64);
        self.tokens_at = now;
        let over = self.tokens < length as f64;
        if !over {
            self.tokens -= length as f64;
        }
        over
    }

    fn is_lost(&mut self, now: Instant) -> bool {
        if self.burst_left > 0 && now < self.burst_until {
            self.burst_left -= 1;
            return true;
        }
        match self.conditions.loss {
            Loss::Never => false,
            Loss::Random(part) => self.random.chance(part),
            Loss::Bursts { part, length } => {
                let begins = self.random.chance(part / f64::from(length));
                self.burst_left = if begins { length - 1 } else { 0 };
                self.burst_until = now + LONGEST_BURST;
                begins
            }
        }
    }
}
