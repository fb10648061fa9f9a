//! Rate limits without timers: each is the time by which what was admitted would have gone through
//! at the permitted rate (the generic cell rate algorithm, as a virtual clock).

use core::hash::Hasher;
use core::net::IpAddr;
use std::hash::DefaultHasher;

use ntm_proto::time::Instant;

use crate::limits;

/// A rate and how far one may run ahead of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// What one unit takes, in nanoseconds of [`FRACTION`] bits after the point; zero is no limit.
    unit: u64,
    /// Nanoseconds that may be used up in advance.
    burst: u64,
}

/// Fine enough for terabytes a second, coarse enough for the largest datagram at a kilobyte a second.
const FRACTION: u32 = 20;

impl Rate {
    /// `count` events a second, `burst` of them at once.
    pub(crate) const fn events(count: u64, burst: u64) -> Self {
        let unit = (1_000_000_000 << FRACTION) / count;
        Self { unit, burst: cost(unit, burst) }
    }
}

/// A rate of bytes: half the room of a [`Rate`], because how far one may run ahead follows from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ByteRate {
    /// As in [`Rate`].
    unit: u64,
}

impl ByteRate {
    /// Kilobytes a second, zero for as many as come.
    pub(crate) fn kilobytes(rate: u32) -> Self {
        Self { unit: (1_000_000_u64 << FRACTION).checked_div(u64::from(rate)).unwrap_or(0) }
    }

    pub(crate) fn with_burst(self) -> Rate {
        let least = cost(self.unit, limits::RATE_BURST_BYTES);
        Rate { unit: self.unit, burst: least.max(limits::RATE_BURST.as_nanos() as u64) }
    }
}

/// Nanoseconds that `units` take.
const fn cost(unit: u64, units: u64) -> u64 {
    unit.saturating_mul(units) >> FRACTION
}

/// How far one flow has used up its rate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace(Instant);

impl Pace {
    /// Whether `units` more are within `rate` now; if so they are charged.
    pub(crate) fn admit(&mut self, now: Instant, rate: &Rate, units: u64) -> bool {
        let through = self.0.max(now).as_nanos().saturating_add(cost(rate.unit, units));
        if through - now.as_nanos() > rate.burst {
            return false;
        }
        self.0 = Instant::from_nanos(through);
        true
    }
}

/// A rate for each source, in memory that no number of forged sources can enlarge: sources share
/// meters by a keyed hash, so that nobody can choose whom to share with.
#[derive(Debug)]
pub(crate) struct SourceMeter {
    rate: Rate,
    key: u64,
    meters: Box<[Pace]>,
}

impl SourceMeter {
    pub(crate) fn new(rate: Rate, key: u64) -> Self {
        Self { rate, key, meters: vec![Pace::default(); limits::SOURCE_METERS].into_boxed_slice() }
    }

    pub(crate) fn admit(&mut self, now: Instant, source: IpAddr) -> bool {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.key);
        match source {
            IpAddr::V4(address) => hasher.write_u32(address.to_bits()),
            // Whoever has one address of a /64 has them all.
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => hasher.write_u32(address.to_bits()),
                None => hasher.write_u64((address.to_bits() >> 64) as u64),
            },
        }
        let meter = hasher.finish() as usize % self.meters.len();
        self.meters[meter].admit(now, &self.rate, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_its_burst_through_at_once_and_then_only_the_rate() {
        let rate = Rate::events(10, 5);
        let mut pace = Pace::default();
        let start = Instant::from_millis(77);
        assert_eq!((0..100).filter(|_| pace.admit(start, &rate, 1)).count(), 5);
        let later = Instant::from_millis(77 + 1_000);
        let admitted = (1..=1_000).filter(|ms| pace.admit(Instant::from_millis(77 + ms), &rate, 1)).count();
        assert_eq!(admitted, 10);
        assert!(!pace.admit(later, &rate, 1));
    }

    #[test]
    fn a_token_without_a_rate_is_never_held_back() {
        let rate = ByteRate::kilobytes(0).with_burst();
        let mut pace = Pace::default();
        assert!((0..100_000).all(|_| pace.admit(Instant::ZERO, &rate, 65_535)));
    }

    #[test]
    fn a_slow_token_still_passes_one_datagram_of_the_largest_size() {
        let rate = ByteRate::kilobytes(1).with_burst();
        let mut pace = Pace::default();
        assert!(pace.admit(Instant::ZERO, &rate, 65_535));
        assert!(!pace.admit(Instant::ZERO, &rate, 65_535));
    }

    #[test]
    fn the_addresses_of_one_network_share_a_meter_and_those_of_two_do_not() {
        let mut meter = SourceMeter::new(Rate::events(1, 1), 5);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(meter.admit(Instant::ZERO, address("2001:db8:0:1::1")));
        assert!(!meter.admit(Instant::ZERO, address("2001:db8:0:1:ffff::2")));
        assert!(meter.admit(Instant::ZERO, address("2001:db8:0:2::1")));
        assert!(meter.admit(Instant::ZERO, address("192.0.2.1")));
        assert!(!meter.admit(Instant::ZERO, address("::ffff:192.0.2.1")));
    }
}
