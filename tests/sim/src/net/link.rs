//! A link: two directions, each with a delay and a share of what goes wrong on real ones.

use crate::net::trace::Drop;
use crate::rng::Dice;
use ntm_proto::time::Instant;
use std::time::Duration;

/// The largest IP packet an Ethernet-like link carries.
pub const ETHERNET_MTU: u16 = 1_500;

/// How often something happens, in steps of 2⁻³².
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probability(u32);

impl Probability {
    pub const NEVER: Self = Self(0);
    pub const ALWAYS: Self = Self(u32::MAX);

    /// `percent` of 100; below zero is never, from 100 on always.
    pub fn percent(percent: f64) -> Self {
        Self((percent / 100.0 * 4_294_967_296.0) as u32)
    }

    pub(crate) fn happens(self, dice: &mut Dice) -> bool {
        match self {
            Self::NEVER => false,
            Self::ALWAYS => true,
            Self(threshold) => dice.u32() < threshold,
        }
    }
}

/// Loss in bursts (Gilbert and Elliott's two states): each packet may enter or leave the bad state, in
/// which packets are lost with `loss`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    pub enter: Probability,
    pub leave: Probability,
    pub loss: Probability,
}

/// What one direction of a link does to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkProfile {
    /// One way.
    pub latency: Duration,
    /// Up to this much more, evenly spread; packets still keep their order.
    pub jitter: Duration,
    pub loss: Probability,
    pub burst: Option<Burst>,
    pub duplicate: Probability,
    /// How many packets are held back by up to `reorder_delay` while others overtake them.
    pub reorder: Probability,
    pub reorder_delay: Duration,
    /// Bytes a second; `None` is without limit.
    pub rate: Option<u64>,
    /// How much time's worth of packets may wait for a limited `rate` before the tail is dropped.
    pub queue: Duration,
    /// The largest IP packet; larger ones vanish, as with Don't Fragment and filtered ICMP.
    pub mtu: u16,
}

impl LinkProfile {
    /// Takes no time and loses nothing.
    pub const IDEAL: Self = Self {
        latency: Duration::ZERO,
        jitter: Duration::ZERO,
        loss: Probability::NEVER,
        burst: None,
        duplicate: Probability::NEVER,
        reorder: Probability::NEVER,
        reorder_delay: Duration::ZERO,
        rate: None,
        queue: Duration::from_millis(100),
        mtu: ETHERNET_MTU,
    };

    /// Loses nothing, takes `latency` one way.
    pub const fn with_latency(latency: Duration) -> Self {
        let mut profile = Self::IDEAL;
        profile.latency = latency;
        profile
    }
}

impl Default for LinkProfile {
    fn default() -> Self {
        Self::IDEAL
    }
}

/// Which way along a link: towards the core, or away from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Up = 0,
    Down = 1,
}

/// What became of a packet given to a link.
#[derive(Debug, PartialEq)]
pub(crate) enum Passage {
    Lost(Drop),
    Arrives { at: Instant, late: bool, copy: Option<Instant> },
}

#[derive(Clone, Debug, Default)]
struct Direction {
    profile: LinkProfile,
    bursting: bool,
    /// When the sender's queue is empty again.
    free_at: Instant,
    last_arrival: Instant,
}

#[derive(Clone, Debug)]
pub(crate) struct Link {
    directions: [Direction; 2],
    up: bool,
    /// Windows in which the link carries nothing, from each first instant to just before the second.
    outages: Vec<(Instant, Instant)>,
}

impl Link {
    pub(crate) fn new(profile: LinkProfile) -> Self {
        let direction = Direction { profile, ..Direction::default() };
        Self { directions: [direction.clone(), direction], up: true, outages: Vec::new() }
    }

    pub(crate) fn profile(&self, way: Way) -> &LinkProfile {
        &self.directions[way as usize].profile
    }

    /// Changes what the link does. What enters it from now on waits for nothing that entered before.
    pub(crate) fn set_profile(&mut self, way: Way, profile: LinkProfile) {
        self.directions[way as usize] = Direction { profile, ..Direction::default() };
    }

    /// Forgets its queues, as a link that leads somewhere else now.
    pub(crate) fn replug(&mut self) {
        for way in [Way::Up, Way::Down] {
            self.set_profile(way, *self.profile(way));
        }
    }

    pub(crate) fn set_up(&mut self, up: bool) {
        self.up = up;
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    pub(crate) fn add_outage(&mut self, from: Instant, until: Instant) {
        self.outages.push((from, until));
    }

    /// Gives a packet of `size` bytes (headers included) to the link at `now`.
    pub(crate) fn carry(&mut self, way: Way, now: Instant, size: usize, dice: &mut Dice) -> Passage {
        if !self.up || self.out(now) {
            return Passage::Lost(Drop::LinkDown);
        }
        let direction = &mut self.directions[way as usize];
        let profile = direction.profile;
        if size > usize::from(profile.mtu) {
            return Passage::Lost(Drop::TooBig);
        }
        if profile.loss.happens(dice) || direction.burst_loses(dice) {
            return Passage::Lost(Drop::Loss);
        }
        let Some(left) = direction.transmit(now, size) else {
            return Passage::Lost(Drop::QueueFull);
        };
        let at = left + profile.latency + direction.jitter(dice);
        let late = profile.reorder.happens(dice);
        let copy = profile.duplicate.happens(dice).then(|| at + dice.duration_below(profile.latency));
        if late {
            return Passage::Arrives { at: at + dice.duration_below(profile.reorder_delay), late, copy };
        }
        direction.last_arrival = direction.last_arrival.max(at);
        Passage::Arrives { at: direction.last_arrival, late, copy }
    }

    fn out(&mut self, now: Instant) -> bool {
        if self.outages.is_empty() {
            return false;
        }
        self.outages.retain(|&(_, until)| now < until);
        self.outages.iter().any(|&(from, _)| from <= now)
    }
}

impl Direction {
    fn burst_loses(&mut self, dice: &mut Dice) -> bool {
        let Some(burst) = self.profile.burst else {
            return false;
        };
        let switch = if self.bursting { burst.leave } else { burst.enter };
        self.bursting ^= switch.happens(dice);
        self.bursting && burst.loss.happens(dice)
    }

    /// When the last bit has left the sender; `None` where its queue is full.
    fn transmit(&mut self, now: Instant, size: usize) -> Option<Instant> {
        let Some(rate) = self.profile.rate else {
            return Some(now);
        };
        let start = self.free_at.max(now);
        if start.since(now) > self.profile.queue {
            return None;
        }
        let nanos = (size as u128 * 1_000_000_000).div_ceil(u128::from(rate.max(1)));
        self.free_at = start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Some(self.free_at)
    }

    fn jitter(&self, dice: &mut Dice) -> Duration {
        if self.profile.jitter.is_zero() { Duration::ZERO } else { dice.duration_below(self.profile.jitter) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 1_000;

    fn arrivals(profile: LinkProfile, packets: u64) -> (Vec<Instant>, u64) {
        let (mut link, mut dice) = (Link::new(profile), Dice::new(1));
        let mut copies = 0;
        let arrived = (0..packets)
            .filter_map(|n| match link.carry(Way::Up, Instant::from_millis(n), SIZE, &mut dice) {
                Passage::Arrives { at, copy, .. } => {
                    copies += u64::from(copy.is_some());
                    Some(at)
                }
                Passage::Lost(_) => None,
            })
            .collect();
        (arrived, copies)
    }

    fn share(part: usize, of: u64) -> f64 {
        part as f64 / of as f64
    }

    #[test]
    fn an_ideal_link_delivers_everything_at_its_latency() {
        let (arrived, copies) = arrivals(LinkProfile::with_latency(Duration::from_millis(7)), 100);
        assert_eq!(arrived, (0..100).map(|n| Instant::from_millis(n + 7)).collect::<Vec<_>>());
        assert_eq!(copies, 0);
    }

    #[test]
    fn random_loss_and_duplication_come_as_often_as_asked() {
        let profile = LinkProfile {
            loss: Probability::percent(10.0),
            duplicate: Probability::percent(5.0),
            ..LinkProfile::IDEAL
        };
        let (arrived, copies) = arrivals(profile, 20_000);
        assert!((0.89..0.91).contains(&share(arrived.len(), 20_000)), "{}", arrived.len());
        assert!((0.04..0.05).contains(&share(copies as usize, 20_000)), "{copies}");
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_breaks_it() {
        let jitter = LinkProfile { jitter: Duration::from_millis(20), ..LinkProfile::IDEAL };
        assert!(arrivals(jitter, 1_000).0.is_sorted());
        let reorder =
            LinkProfile { reorder: Probability::percent(5.0), reorder_delay: Duration::from_millis(20), ..jitter };
        assert!(!arrivals(reorder, 1_000).0.is_sorted());
    }

    #[test]
    fn bursts_lose_packets_in_a_row() {
        let burst =
            Burst { enter: Probability::percent(1.0), leave: Probability::percent(10.0), loss: Probability::ALWAYS };
        let (arrived, _) = arrivals(LinkProfile { burst: Some(burst), ..LinkProfile::IDEAL }, 20_000);
        let lost = 20_000 - arrived.len();
        let runs = arrived.windows(2).filter(|pair| pair[1].since(pair[0]) > Duration::from_millis(1)).count();
        assert!((5..15).contains(&(lost / runs)), "{lost} lost in {runs} runs");
    }

    #[test]
    fn a_limited_link_spaces_packets_and_drops_the_tail() {
        let profile = LinkProfile { rate: Some(1_000_000), queue: Duration::from_millis(5), ..LinkProfile::IDEAL };
        let (mut link, mut dice) = (Link::new(profile), Dice::new(1));
        let outcomes: Vec<_> = (0..8).map(|_| link.carry(Way::Down, Instant::ZERO, SIZE, &mut dice)).collect();
        for (n, outcome) in (1..=6).zip(&outcomes) {
            assert_eq!(*outcome, Passage::Arrives { at: Instant::from_millis(n), late: false, copy: None });
        }
        assert_eq!(outcomes[6..], [Passage::Lost(Drop::QueueFull), Passage::Lost(Drop::QueueFull)]);
    }

    #[test]
    fn packets_above_the_mtu_or_in_an_outage_vanish() {
        let (mut link, mut dice) = (Link::new(LinkProfile::IDEAL), Dice::new(1));
        assert_eq!(link.carry(Way::Up, Instant::ZERO, 1_501, &mut dice), Passage::Lost(Drop::TooBig));
        link.add_outage(Instant::from_millis(10), Instant::from_millis(20));
        let mut fate = |millis| link.carry(Way::Up, Instant::from_millis(millis), 1_500, &mut dice);
        assert!(matches!(fate(9), Passage::Arrives { .. }));
        assert_eq!(fate(10), Passage::Lost(Drop::LinkDown));
        assert_eq!(fate(19), Passage::Lost(Drop::LinkDown));
        assert!(matches!(fate(20), Passage::Arrives { .. }));
    }
}
