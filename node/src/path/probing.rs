//! What probes teach of a path: its round trip, its loss, and how large a datagram gets through.

use alloc::vec::Vec;
use core::time::Duration;

use ntm_proto::time::Instant;

use super::{BASE_DATAGRAM, FULL_DATAGRAM};

/// Challenges on their way at once (QUIC bounds them likewise).
pub(super) const MAX_OUTSTANDING: usize = 4;
/// Challenges remembered, those given up included: a path that slowed down answers late.
const MAX_REMEMBERED: usize = 10;
const REMEMBER_FOR: Duration = Duration::from_secs(10);
/// How long a challenge is waited for where no round-trip time is known.
pub(super) const FIRST_PATIENCE: Duration = Duration::from_secs(1);
const MIN_TIMEOUT: Duration = Duration::from_millis(60);
const MAX_TIMEOUT: Duration = Duration::from_secs(3);
/// How long traffic may flow without an answer before the path is questioned, at least.
const MIN_PATIENCE: Duration = Duration::from_millis(250);
/// The weight of one probe in the loss estimate, as a shift.
const LOSS_SHIFT: u16 = 3;
/// Full-sized probes lost in a row that tell that the path has become narrower.
const NARROW_AFTER: u8 = 3;
/// Full-sized probes sent to a path that has not carried one yet.
const WIDE_TRIES: u8 = 5;
/// A narrow path is tried for more this often.
const WIDEN_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Challenge {
    nonce: u64,
    sent: Instant,
    size: usize,
    /// A probe for the path's capacity says nothing of the path when it is lost.
    for_capacity: bool,
    given_up: bool,
}

/// A probe to send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) nonce: u64,
    /// Bytes of the whole datagram.
    pub(crate) size: usize,
}

#[derive(Debug)]
pub(super) struct Probing {
    challenges: Vec<Challenge>,
    rtt: Option<Duration>,
    variance: Duration,
    /// Parts in 1,000 of the probes that went unanswered.
    loss: u16,
    capacity: usize,
    wide_tries: u8,
    wide_lost: u8,
    widen_at: Instant,
}

impl Probing {
    pub(super) fn new() -> Self {
        Self {
            challenges: Vec::new(),
            rtt: None,
            variance: Duration::ZERO,
            loss: 0,
            capacity: BASE_DATAGRAM,
            wide_tries: 0,
            wide_lost: 0,
            widen_at: Instant::ZERO,
        }
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    pub(super) fn loss(&self) -> u16 {
        self.loss
    }

    /// The path works again after it did not: what was lost meanwhile says little of it now.
    pub(super) fn forgive(&mut self, at_most: u16) {
        self.loss = self.loss.min(at_most);
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn outstanding(&self) -> usize {
        self.challenges.iter().filter(|challenge| !challenge.given_up).count()
    }

    pub(super) fn challenge(&mut self, now: Instant, nonce: u64) -> Probe {
        self.send(now, nonce, 0, false)
    }

    /// A full-sized probe, where it is worth sending one: while the path may be wider than is known, and
    /// now and then where it is in use, because paths become narrower under a route change.
    pub(super) fn wide_challenge(&mut self, now: Instant, busy: bool, nonce: impl FnOnce() -> u64) -> Option<Probe> {
        let is_wide = self.capacity >= FULL_DATAGRAM;
        let due = if is_wide { busy } else { self.wide_tries < WIDE_TRIES || now >= self.widen_at };
        if !due {
            return None;
        }
        self.wide_tries = self.wide_tries.saturating_add(1);
        self.widen_at = now + WIDEN_EVERY;
        Some(self.send(now, nonce(), FULL_DATAGRAM, true))
    }

    fn send(&mut self, now: Instant, nonce: u64, size: usize, for_capacity: bool) -> Probe {
        if self.challenges.len() >= MAX_REMEMBERED {
            self.challenges.remove(0);
        }
        self.challenges.push(Challenge { nonce, sent: now, size, for_capacity, given_up: false });
        Probe { nonce, size }
    }

    /// Takes a response, and tells when that was asked; `None` where nothing of the kind was. One that comes after it
    /// was given up still tells how long the path takes now.
    pub(super) fn answered(&mut self, now: Instant, nonce: u64) -> Option<Instant> {
        let at = self.challenges.iter().position(|challenge| challenge.nonce == nonce)?;
        let challenge = self.challenges.remove(at);
        if now >= challenge.sent + REMEMBER_FOR {
            return None;
        }
        self.sample(now.since(challenge.sent).min(MAX_TIMEOUT));
        self.loss -= self.loss >> LOSS_SHIFT;
        if challenge.for_capacity {
            self.wide_lost = 0;
        }
        self.capacity = self.capacity.max(challenge.size.min(FULL_DATAGRAM));
        Some(challenge.sent)
    }

    /// Gives up challenges that were waited for long enough; tells how many ordinary ones.
    pub(super) fn expire(&mut self, now: Instant) -> u8 {
        let timeout = self.timeout();
        let (mut lost, mut wide_lost) = (0_u8, 0_u8);
        for challenge in self.challenges.iter_mut().filter(|challenge| !challenge.given_up) {
            if now >= challenge.sent + timeout {
                challenge.given_up = true;
                if challenge.for_capacity {
                    wide_lost += 1;
                } else {
                    lost += 1;
                }
            }
        }
        self.challenges.retain(|challenge| now < challenge.sent + REMEMBER_FOR);
        for _ in 0..lost {
            self.loss += (1_000 - self.loss) >> LOSS_SHIFT;
        }
        if wide_lost > 0 && lost == 0 {
            self.wide_lost = self.wide_lost.saturating_add(wide_lost);
        }
        if self.wide_lost >= NARROW_AFTER && self.capacity > BASE_DATAGRAM {
            self.capacity = BASE_DATAGRAM;
            self.wide_lost = 0;
        }
        lost
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let timeout = self.timeout();
        self.challenges.iter().filter(|challenge| !challenge.given_up).map(|challenge| challenge.sent + timeout).min()
    }

    pub(super) fn sample(&mut self, rtt: Duration) {
        match self.rtt {
            None => {
                self.rtt = Some(rtt);
                self.variance = rtt / 2;
            }
            Some(old) => {
                let error = rtt.abs_diff(old);
                self.variance = (self.variance * 3 + error) / 4;
                self.rtt = Some((old * 7 + rtt) / 8);
            }
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        match self.rtt {
            Some(rtt) => (rtt + self.variance * 4 + Duration::from_millis(10)).clamp(MIN_TIMEOUT, MAX_TIMEOUT),
            None => FIRST_PATIENCE,
        }
    }

    /// How long traffic may go unanswered before the path is asked.
    pub(super) fn patience(&self) -> Duration {
        self.rtt.map_or(FIRST_PATIENCE, |rtt| (rtt * 2).max(MIN_PATIENCE))
    }
}
