//! The clocks that the cores are handed.

use std::time::Instant as HostInstant;

pub use ntm_login::unix_now;
use ntm_proto::time::{Instant, WallClock};

/// The driver's monotonic clock; copies agree with one another.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: HostInstant,
}

impl Clock {
    /// Starts at one second, so that a core may look a little into the past.
    pub fn start() -> Self {
        Self { origin: HostInstant::now() }
    }

    pub fn now(&self) -> Instant {
        let nanos = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Instant::from_nanos(nanos.saturating_add(1_000_000_000))
    }

    /// What the host's calendar says now.
    pub fn wall(&self) -> WallClock {
        WallClock::new(self.now(), unix_now())
    }
}

/// A seed for a core, from the operating system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("a host without randomness cannot run a server");
    bytes
}
