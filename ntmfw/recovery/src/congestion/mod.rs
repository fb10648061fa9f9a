//! Congestion control: how much may be in flight, and how fast it may leave.

mod bbr;
mod cubic;
mod hystart;

use alloc::boxed::Box;
use core::fmt::Debug;
use core::time::Duration;

use ntm_proto::time::Instant;

pub use crate::sender::rate::RateSample;

use self::bbr::Bbr;
use self::cubic::Cubic;

/// RFC 6928: ten segments to begin with.
pub(crate) const INITIAL_SEGMENTS: u64 = 10;
/// RFC 5681: no threshold below two segments.
pub(crate) const MIN_SEGMENTS: u64 = 2;

/// The controls that there are, by the names that `TCP_CONGESTION` knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 9438, with HyStart++ (RFC 9406).
    #[default]
    Cubic,
    /// The IETF's draft of BBR, without its bounds by random loss.
    Bbr,
}

impl Algorithm {
    pub const ALL: [Self; 2] = [Self::Cubic, Self::Bbr];

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
        }
    }

    pub(crate) fn controller(self, start: &Start) -> Box<dyn Controller> {
        match self {
            Self::Cubic => Box::new(Cubic::new(start)),
            Self::Bbr => Box::new(Bbr::new(start)),
        }
    }
}

/// What a connection, or its new path, begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) segment: u64,
    /// From earlier connections on the path, where there were any (RFC 9040).
    pub(crate) window: Option<u64>,
    pub(crate) threshold: Option<u64>,
    pub(crate) trip: Option<Duration>,
}

/// Why a control must slow down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Loss,
    /// A router marked instead of dropping (RFC 3168).
    Mark,
}

/// What an acknowledgment said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) now: Instant,
    /// Bytes that it delivered, and bytes that it showed to be lost.
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    /// Bytes in flight afterwards, and before.
    pub(crate) flying: u64,
    pub(crate) flew: u64,
    /// All bytes that were ever delivered; a round ends when what was sent at its begin is.
    pub(crate) total: u64,
    pub(crate) trip: Option<Duration>,
    pub(crate) smoothed: Duration,
    pub(crate) rate: Option<RateSample>,
    /// The window, not the application, held the sender back within the last round.
    pub(crate) limited: bool,
    /// Losses are being repaired.
    pub(crate) recovering: bool,
}

/// A congestion control of one connection.
pub(crate) trait Controller: Debug + Send + Sync {
    /// Bytes that may be in flight.
    fn window(&self) -> u64;
    /// The window that was right when congestion was last met.
    fn threshold(&self) -> Option<u64>;
    /// Bytes a second; none before a round trip was measured.
    fn pacing_rate(&self) -> Option<u64>;
    /// Whether the window holds during recovery as well; otherwise RFC 9937's does.
    fn models_the_path(&self) -> bool;
    fn acknowledged(&mut self, event: &Acknowledged);
    /// Congestion, at most once a round.
    fn congested(&mut self, now: Instant, signal: Signal);
    /// Losses are repaired.
    fn recovered(&mut self);
    /// Nothing came back for a retransmission timeout.
    fn timed_out(&mut self, now: Instant);
    /// The last congestion, or timeout, was none.
    fn undo(&mut self);
    /// Everything is to be learnt anew: the path is another one.
    fn restart(&mut self, start: &Start);
}
