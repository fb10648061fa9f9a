//! One direction of a link as a state machine: when does a frame that comes now arrive at the other end, if at all?

use std::time::Duration;

use super::impairment::Impairment;

/// Nanoseconds on the caller's clock.
pub(crate) type Nanos = u64;

#[derive(Debug)]
pub(crate) struct Model {
    impairment: Impairment,
    chance: Chance,
    /// When the sender of a link with a rate is done with what it has taken.
    busy_until: Nanos,
    /// Frames that are not meant to be overtaken arrive no sooner than this.
    last_arrival: Nanos,
    /// Of small frames and of large ones: of two flows over links of one seed the same data are lost, by number, whatever
    /// each says besides.
    losses: [Losses; 2],
    /// How long the last frame that was not dropped waits for the rate.
    wait: Nanos,
}

/// Larger frames carry data.
const SMALL: usize = 1_000;

/// Which frames are lost.
#[derive(Debug)]
struct Losses {
    chance: Chance,
    in_burst: bool,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Lost,
    /// The queue was full.
    Dropped,
    Arrives(Nanos),
    /// Twice at once.
    ArrivesTwice(Nanos),
}

impl Model {
    pub(crate) fn new(impairment: Impairment, seed: u64) -> Self {
        let losses = [1, 2].map(|kind| Losses { chance: Chance(seed.rotate_left(32) ^ kind), in_burst: false });
        Self { impairment, chance: Chance(seed), busy_until: 0, last_arrival: 0, losses, wait: 0 }
    }

    pub(crate) fn change(&mut self, impairment: Impairment) {
        // A link that became shorter may overtake what is still on the longer one, as a new route does.
        self.last_arrival = 0;
        self.impairment = impairment;
    }

    pub(crate) fn offer(&mut self, now: Nanos, bytes: usize) -> Fate {
        let Impairment { delay, jitter, reorder, late, duplicate, rate, queue, .. } = self.impairment;
        let mut sent = now;
        if let Some(rate) = rate {
            let begins = self.busy_until.max(now);
            let waiting = u128::from(begins - now) * u128::from(rate) / 8_000_000_000;
            if waiting + bytes as u128 > u128::from(queue) {
                return Fate::Dropped;
            }
            let takes = bytes as u128 * 8_000_000_000 / u128::from(rate);
            sent = begins + u64::try_from(takes).unwrap_or(u64::MAX / 4);
            self.busy_until = sent;
            self.wait = sent - now;
        }
        if self.losses[usize::from(bytes >= SMALL)].take(&self.impairment) {
            return Fate::Lost;
        }
        let mut arrival = sent + nanos(delay) + self.chance.below(nanos(jitter));
        if self.chance.happens(reorder) {
            arrival += nanos(late);
        } else {
            arrival = arrival.max(self.last_arrival);
            self.last_arrival = arrival;
        }
        if self.chance.happens(duplicate) { Fate::ArrivesTwice(arrival) } else { Fate::Arrives(arrival) }
    }

    /// How long the last frame waits for the rate; told once.
    pub(crate) fn take_wait(&mut self) -> Nanos {
        std::mem::take(&mut self.wait)
    }
}

impl Losses {
    /// Whether the next frame is lost. Gilbert's model: in a burst everything is, outside nothing.
    fn take(&mut self, impairment: &Impairment) -> bool {
        let Impairment { loss, burst, .. } = *impairment;
        if burst <= 1.0 || loss >= 1.0 {
            return self.chance.happens(loss);
        }
        self.in_burst = if self.in_burst {
            !self.chance.happens(1.0 / burst)
        } else {
            // Bursts begin so often that a share of `loss` of all frames lies within one.
            self.chance.happens((loss / (burst * (1.0 - loss))).min(1.0))
        };
        self.in_burst
    }
}

fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}

/// SplitMix64: the same seed gives the same link.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && ((self.next() >> 11) as f64) < share * 2.0_f64.powi(53)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Nanos = 1_000_000;

    fn model(text: &str) -> Model {
        Model::new(text.parse().expect("a right description"), 1)
    }

    /// Offers frames of 1,000 bytes, one each `gap`.
    fn offer(model: &mut Model, frames: u64, gap: Nanos) -> Vec<Fate> {
        (0..frames).map(|at| model.offer(1_000 + at * gap, 1_000)).collect()
    }

    fn share_lost(fates: &[Fate]) -> f64 {
        fates.iter().filter(|fate| **fate == Fate::Lost).count() as f64 / fates.len() as f64
    }

    #[test]
    fn every_frame_takes_the_delay() {
        assert_eq!(model("delay=20ms").offer(5, 100), Fate::Arrives(5 + 20 * MILLISECOND));
    }

    #[test]
    fn a_rate_spaces_frames_and_a_full_queue_drops_them() {
        // 8 Mbit/s: a frame of 1,000 bytes takes a millisecond.
        let mut link = model("rate=8mbit,queue=3000");
        let fates: Vec<Fate> = (0..5).map(|_| link.offer(0, 1_000)).collect();
        let expected = [1, 2, 3].map(|at| Fate::Arrives(at * MILLISECOND));
        assert_eq!(fates[..3], expected);
        assert_eq!(fates[3..], [Fate::Dropped, Fate::Dropped]);
        assert_eq!(link.offer(MILLISECOND, 1_000), Fate::Arrives(4 * MILLISECOND));
    }

    #[test]
    fn as_much_is_lost_as_was_asked_for_alone_or_in_bursts() {
        for (text, wanted, longest) in
            [("loss=0.02", 0.02, 1.2), ("loss=0.02,burst=8", 0.02, 10.0), ("loss=1", 1.0, 1e9)]
        {
            let fates = offer(&mut model(text), 400_000, 1_000);
            let lost = share_lost(&fates);
            assert!((lost - wanted).abs() <= wanted * 0.15, "{text}: {lost}");
            let bursts = fates.windows(2).filter(|pair| pair[0] != Fate::Lost && pair[1] == Fate::Lost).count();
            let length = lost * fates.len() as f64 / bursts.max(1) as f64;
            assert!(length <= longest, "{text}: bursts of {length}");
        }
        let fates = offer(&mut model("loss=0.02,burst=8"), 400_000, 1_000);
        let bursts = fates.windows(2).filter(|pair| pair[0] != Fate::Lost && pair[1] == Fate::Lost).count() as f64;
        assert!(share_lost(&fates) * fates.len() as f64 / bursts > 6.0);
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let arrivals = |text: &str| -> Vec<Nanos> {
            let fates = offer(&mut model(text), 10_000, 10_000);
            fates.iter().filter_map(|fate| if let Fate::Arrives(at) = fate { Some(*at) } else { None }).collect()
        };
        let jittered = arrivals("delay=10ms,jitter=5ms");
        assert!(jittered.is_sorted() && jittered[0] < 15 * MILLISECOND + 1_000);
        let shuffled = arrivals("delay=10ms,reorder=0.1");
        let overtaken = shuffled.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!((500..1_500).contains(&overtaken), "{overtaken}");
    }

    #[test]
    fn the_same_seed_gives_the_same_link() {
        let text = "delay=1ms,jitter=1ms,loss=0.1,burst=3,reorder=0.1,duplicate=0.1";
        assert_eq!(offer(&mut model(text), 1_000, 1_000), offer(&mut model(text), 1_000, 1_000));
    }
}
