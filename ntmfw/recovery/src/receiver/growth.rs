//! How much of the receive buffer is offered: what the application takes in some round trips, as other systems' receivers
//! have it. A program that reads slowly is sent little ahead; one that keeps up never holds the sender back.

use core::time::Duration;

use ntm_proto::time::Instant;

/// A receive window that begins small.
#[derive(Clone, Copy, Debug)]
pub struct WindowGrowth {
    /// What is offered at first.
    pub first: u64,
    /// The size of smoltcp's receive buffer.
    pub most: u64,
}

/// The window is so many times what was taken in a round trip: a sender that doubles its own in each finds room, and a
/// queue on the way that makes round trips longer than the shortest takes nothing away.
const TRIPS_AHEAD: u64 = 4;
/// Where the handshake told no round trip.
const ASSUMED_TRIP: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Growth {
    limit: u64,
    most: u64,
    taken: u64,
    since: Instant,
}

impl Growth {
    pub(crate) fn new(config: WindowGrowth) -> Self {
        let WindowGrowth { first, most } = config;
        Self { limit: first.min(most), most, taken: 0, since: Instant::ZERO }
    }

    /// The application took bytes.
    pub(crate) fn take(&mut self, now: Instant, bytes: u64, trip: Option<Duration>) {
        self.taken += bytes;
        let trip = trip.unwrap_or(ASSUMED_TRIP);
        let passed = now.since(self.since);
        if passed >= trip {
            // Looked at late, what was taken is more than a round trip's.
            let taken = u128::from(self.taken) * trip.as_nanos() / passed.as_nanos().max(1);
            let wanted = taken * u128::from(TRIPS_AHEAD);
            self.limit = self.limit.max(u64::try_from(wanted).unwrap_or(u64::MAX)).min(self.most);
            self.taken = 0;
            self.since = now;
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// What of the buffer is not offered.
    pub(crate) fn withheld(&self) -> u64 {
        self.most - self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_what_is_taken_in_a_round_trip_up_to_its_bound_and_never_shrinks() {
        let trip = Some(Duration::from_millis(10));
        let at = Instant::from_millis;
        let mut growth = Growth::new(WindowGrowth { first: 1_000, most: 10_000 });
        growth.take(at(100), 10, trip);
        assert_eq!((growth.limit(), growth.withheld()), (1_000, 9_000));
        growth.take(at(105), 600, trip);
        growth.take(at(110), 400, trip);
        assert_eq!(growth.limit(), 4_000);
        growth.take(at(120), 10, trip);
        assert_eq!(growth.limit(), 4_000);
        growth.take(at(140), 2_400, trip);
        assert_eq!(growth.limit(), 4_800, "that came in two round trips");
        growth.take(at(150), 100_000, trip);
        assert_eq!((growth.limit(), growth.withheld()), (10_000, 0));
    }
}
