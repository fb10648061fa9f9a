//! What is known of a path from the connections that used it (RFC 9040).

use core::time::Duration;

use crate::congestion::Start;

/// What a connection learnt of its path. Whoever owns the paths keeps one for each and gives it to new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathMemory {
    known: Option<Known>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    window: u64,
    threshold: Option<u64>,
    trip: Duration,
}

impl PathMemory {
    pub(crate) fn of(window: u64, threshold: Option<u64>, trip: Option<Duration>) -> Self {
        Self { known: trip.map(|trip| Known { window, threshold, trip }) }
    }

    /// Adds what another connection learnt: newer knowledge counts as much as all older together.
    pub fn learn(&mut self, other: Self) {
        let Some(new) = other.known else { return };
        self.known = Some(match self.known {
            None => new,
            Some(old) => Known {
                window: u64::midpoint(old.window, new.window),
                threshold: match (old.threshold, new.threshold) {
                    (Some(old), Some(new)) => Some(u64::midpoint(old, new)),
                    (old, new) => new.or(old),
                },
                trip: (old.trip + new.trip) / 2,
            },
        });
    }

    /// Begins with half of the window that others had: they may still be there.
    pub(crate) fn start(&self, segment: u64) -> Start {
        match self.known {
            Some(known) => {
                Start { segment, window: Some(known.window / 2), threshold: known.threshold, trip: Some(known.trip) }
            }
            None => Start { segment, window: None, threshold: None, trip: None },
        }
    }
}
