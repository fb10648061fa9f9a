//! How many answers a source gets over UDP, where anybody can write any source.
//!
//! A source is a /24 of IPv4 or a /56 of IPv6: what one forger makes answers go to. Above its rate every second
//! question gets an empty answer that says to come over TCP, where a source proves itself; the others get none.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Sources told apart; where there are more, those that are quiet are forgotten, and all others share one.
const MAX_SOURCES: usize = 1 << 16;
/// A burst is what comes in this many seconds at the rate.
const BURST_SECONDS: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Answer,
    /// Say only that the answer is to be had over TCP.
    Truncate,
    Drop,
}

#[derive(Debug)]
pub(super) struct Limiter {
    interval: Duration,
    burst: Duration,
    sources: HashMap<u64, Source>,
    swept: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Source {
    /// When its next question would come if they came evenly.
    expected: Duration,
    over: u32,
}

/// Whom all share for whom there is no room.
const CROWD: u64 = u64::MAX;

impl Limiter {
    pub(super) fn new(rate: u32) -> Self {
        let interval = Duration::from_secs(1) / rate.max(1);
        let burst = interval * rate.max(1).saturating_mul(BURST_SECONDS);
        Self { interval, burst, sources: HashMap::new(), swept: Duration::ZERO }
    }

    pub(super) fn judge(&mut self, now: Duration, from: IpAddr) -> Verdict {
        let mut key = key(from);
        if !self.sources.contains_key(&key) && self.sources.len() >= MAX_SOURCES {
            // At most once a second, or sweeping itself would be the load.
            if now.saturating_sub(self.swept) >= Duration::from_secs(1) {
                self.swept = now;
                self.sources.retain(|_, source| source.expected > now);
            }
            if self.sources.len() >= MAX_SOURCES {
                key = CROWD;
            }
        }
        let source = self.sources.entry(key).or_default();
        let expected = source.expected.max(now);
        if expected - now <= self.burst {
            source.expected = expected + self.interval;
            return Verdict::Answer;
        }
        source.over = source.over.wrapping_add(1);
        if source.over % 2 == 1 { Verdict::Truncate } else { Verdict::Drop }
    }
}

fn key(from: IpAddr) -> u64 {
    match from {
        IpAddr::V4(ip) => u64::from(ip.to_bits() >> 8),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => u64::from(ip.to_bits() >> 8),
            None => (ip.to_bits() >> 72) as u64 | 1 << 63,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gets_its_rate_and_every_second_question_above_it_is_sent_to_tcp() {
        let mut limiter = Limiter::new(10);
        let (now, from) = (Duration::from_secs(9), IpAddr::from([192, 0, 2, 1]));
        let verdicts: Vec<_> = (0..1_000).map(|_| limiter.judge(now, from)).collect();
        let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
        assert_eq!(count(Verdict::Answer), 21);
        assert!(count(Verdict::Truncate) <= 490 && count(Verdict::Drop) >= 489);
        assert_eq!(limiter.judge(now, [192, 0, 2, 200].into()), Verdict::Drop);
        assert_eq!(limiter.judge(now, [192, 0, 3, 1].into()), Verdict::Answer);
        assert_eq!(limiter.judge(now + Duration::from_millis(200), from), Verdict::Answer);
    }

    #[test]
    fn ever_more_sources_take_no_more_memory() {
        let mut limiter = Limiter::new(10);
        for number in 0..(MAX_SOURCES as u32 + 1_000) {
            limiter.judge(Duration::from_secs(1), std::net::Ipv4Addr::from_bits(number << 8).into());
        }
        assert!(limiter.sources.len() <= MAX_SOURCES + 1);
    }
}
