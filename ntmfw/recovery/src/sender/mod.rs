//! The sending half: what is in flight, what is lost, what may go now.
//!
//! ```text
//!                 ┌──────── acknowledgments ────────┐
//!                 ▼                                 │
//! smoltcp ──▶ keeper ──▶ scoreboard ──▶ wire        │
//!                           │   ▲                   │
//!              rack, timers ┘   └ window (control, proportional rate reduction), pacer
//! ```

mod keeper;
mod pacing;
mod prr;
mod rack;
pub(crate) mod rate;
mod rtt;
mod scoreboard;
mod timers;
mod transmit;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use ntm_proto::time::Instant;

use self::keeper::Keeper;
use self::pacing::Pacer;
use self::prr::{Progress, RateReduction};
use self::rack::{Circumstances, Rack};
use self::rate::DeliveryRate;
use self::rtt::RoundTrips;
use self::scoreboard::{Delivery, Scoreboard};
use self::timers::Timers;
pub(crate) use self::transmit::Departure;
use crate::congestion::{Acknowledged, Algorithm, Controller, Signal};
use crate::memory::PathMemory;
use crate::seq::Position;
use crate::wire::MAX_BLOCKS;

/// RFC 5681's three duplicate acknowledgments, for peers that acknowledge nothing selectively.
const DUPLICATES: u32 = 3;

/// What stands in an acknowledgment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack {
    pub(crate) position: Position,
    /// In bytes.
    pub(crate) window: u64,
    pub(crate) blocks: [(Position, Position); MAX_BLOCKS],
    pub(crate) count: usize,
    /// The peer saw a mark (ECE).
    pub(crate) echo: bool,
    /// It came without data, so it may be a duplicate.
    pub(crate) bare: bool,
}

/// What repairs are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// Losses were found; until everything sent by then is acknowledged.
    Recovery {
        until: Position,
    },
    /// Nothing came back for a timeout. `judged` when it is known whether the timeout was right (RFC 5682).
    Timeout {
        until: Position,
        judged: bool,
    },
}

/// What must hold for the last congestion to have been none.
#[derive(Clone, Copy, Debug, Default)]
struct Doubt {
    /// Retransmitted bytes that the peer did not say it had twice.
    unexplained: u64,
    /// Where the episode began.
    since: Position,
    active: bool,
}

/// Why an acknowledgment is no news to smoltcp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The left edge moved, or the window.
    Yes,
    /// A duplicate while data is outstanding: smoltcp would make a retransmission of it.
    Duplicate,
    /// Older than what it knows.
    Old,
}

#[derive(Debug)]
pub(crate) struct Sender {
    segment: u64,
    selective: bool,
    capable: bool,
    keeper: Keeper,
    board: Scoreboard,
    trips: RoundTrips,
    rack: Rack,
    rate: DeliveryRate,
    pacer: Pacer,
    reduction: RateReduction,
    control: Box<dyn Controller>,
    phase: Phase,
    doubt: Doubt,
    timers: Timers,
    duplicates: u32,
    /// The peer's window ends here.
    edge: Position,
    window: u64,
    /// The window held the sender back until so much was delivered.
    limited_until: u64,
    /// Since when data takes this path.
    path_since: Instant,
    /// Marks of what was sent before this were answered.
    marked_until: Position,
    /// The next data says that the window was reduced (CWR).
    tell_reduced: bool,
    /// When the pacer lets more go.
    paced_until: Option<Instant>,
    /// Bytes that left again.
    resent: u64,
}

impl Sender {
    pub(crate) fn new(algorithm: Algorithm, first: Position, segment: u64, memory: &PathMemory) -> Self {
        let start = memory.start(segment);
        Self {
            segment,
            selective: false,
            capable: false,
            keeper: Keeper::default(),
            board: Scoreboard::new(first),
            trips: RoundTrips::new(),
            rack: Rack::new(),
            rate: DeliveryRate::new(),
            pacer: Pacer::default(),
            reduction: RateReduction::default(),
            control: algorithm.controller(&start),
            phase: Phase::Open,
            doubt: Doubt::default(),
            timers: Timers::default(),
            duplicates: 0,
            edge: first,
            window: 0,
            limited_until: 0,
            path_since: Instant::ZERO,
            marked_until: first,
            tell_reduced: false,
            paced_until: None,
            resent: 0,
        }
    }

    /// What the handshake settled.
    pub(crate) fn settle(&mut self, selective: bool, capable: bool, trip: Option<(Instant, Duration)>) {
        self.selective = selective;
        self.capable = capable;
        if let Some((now, trip)) = trip {
            self.trips.sample(now, trip);
        }
    }

    pub(crate) fn buffer(&mut self, length: usize) -> Vec<u8> {
        self.keeper.buffer(length)
    }

    pub(crate) fn recycle(&mut self, buffer: Vec<u8>) {
        self.keeper.recycle(buffer);
    }

    /// Where what smoltcp gives next begins, unless it gives something again.
    pub(crate) fn end(&self) -> Position {
        self.keeper.end().unwrap_or(self.board.nxt())
    }

    pub(crate) fn una(&self) -> Position {
        self.board.una()
    }

    /// The first position that did not leave yet.
    pub(crate) fn nxt(&self) -> Position {
        self.board.nxt()
    }

    /// The shortest round trip of late.
    pub(crate) fn shortest_trip(&self) -> Option<Duration> {
        self.trips.minimum()
    }

    /// The payload of a full segment.
    pub(crate) fn segment(&self) -> u64 {
        self.segment
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.board.is_empty() && self.keeper.end().is_none()
    }

    /// Whether a byte at the end lies outside the peer's window: smoltcp probes.
    pub(crate) fn is_beyond_window(&self, position: Position) -> bool {
        position >= self.edge
    }

    /// Keeps `buffer[from..to]` of smoltcp's, cut to segments of `segment` bytes at most.
    pub(crate) fn keep(&mut self, buffer: Vec<u8>, from: usize, to: usize, fin: bool, push: bool) {
        let start = self.end();
        self.keeper.keep(start, buffer, from, to, fin, push);
    }

    pub(crate) fn set_segment(&mut self, segment: u64) {
        self.segment = segment;
    }

    pub(crate) fn clear(&mut self) {
        self.keeper.clear();
        self.board.clear();
        self.timers = Timers::default();
    }

    pub(crate) fn handle_ack(&mut self, now: Instant, ack: &Ack) -> News {
        if ack.position == self.end() + 1 {
            // A window probe was accepted: smoltcp sent it past the scoreboard.
            self.keeper.release(ack.position);
            self.board.skip_to(ack.position);
        } else if ack.position > self.end() {
            return News::Yes;
        } else if ack.position > self.board.nxt() {
            self.note_sent(now, ack.position);
        }
        let una = self.board.una();
        if ack.position < una {
            self.note_duplicate(ack);
            return News::Old;
        }
        let news =
            if ack.position > una || ack.window != self.window || self.is_idle() { News::Yes } else { News::Duplicate };
        self.window = ack.window;
        self.edge = self.edge.max(ack.position + ack.window);
        self.process(now, ack);
        news
    }

    /// The probe was accepted, and is known as data by now that has not left. When it was sent is not known.
    fn note_sent(&mut self, now: Instant, until: Position) {
        let start = self.board.nxt();
        let snapshot = self.rate.sending(now, self.board.flying(), until - start);
        self.board.extend(now, until - start, snapshot);
        self.board.resend(start, until, now, snapshot);
    }

    fn process(&mut self, now: Instant, ack: &Ack) {
        let una = self.board.una();
        let flew = self.board.flying();
        let mut delivery = Delivery::default();
        let highest = self.board.highest();
        self.board.acknowledge(ack.position, &mut delivery);
        let needless = self.note_duplicate(ack);
        for (left, right) in &ack.blocks[usize::from(needless)..ack.count.max(usize::from(needless))] {
            if *right > *left && *left >= ack.position && *right <= self.board.nxt() {
                self.board.select(*left, *right, highest, &mut delivery);
            }
        }
        self.keeper.release(ack.position);
        let advanced = ack.position > una;
        if advanced {
            self.timers.progressed(now);
        }
        // What was sent before a timeout may have arrived long ago, its acknowledgment lost with an outage; what was sent on
        // another path says nothing of this one.
        let trip = delivery.original_sent_at.filter(|sent_at| *sent_at >= self.path_since).map(|sent_at| {
            match self.timers.timed_out_since(sent_at) {
                true => now.since(sent_at).min(self.trips.most_credible()),
                false => now.since(sent_at),
            }
        });
        if let Some(trip) = trip {
            self.trips.sample(now, trip);
        }
        let sample = self.rate.deliver(now, delivery.bytes, delivery.snapshot, self.trips.minimum());
        self.rack.update(now, &delivery, self.trips.minimum().unwrap_or_default());

        self.judge_timeout(&delivery);
        self.end_repairs();
        let lost = self.find_losses(now, ack, advanced, &delivery);
        if self.timers.probe_repaired(ack.position, needless) && self.phase == Phase::Open {
            self.congestion(now, Signal::Loss);
            self.control.recovered();
        }
        if ack.echo && self.capable && self.phase == Phase::Open && ack.position >= self.marked_until {
            self.marked_until = self.board.nxt();
            self.tell_reduced = true;
            self.congestion(now, Signal::Mark);
        }
        let recovering = matches!(self.phase, Phase::Recovery { .. });
        self.control.acknowledged(&Acknowledged {
            now,
            delivered: delivery.bytes,
            lost,
            flying: self.board.flying(),
            flew,
            total: self.rate.delivered(),
            trip,
            smoothed: self.trips.smoothed().unwrap_or_default(),
            rate: sample,
            limited: self.limited_until + self.segment >= self.rate.delivered(),
            recovering,
        });
        if recovering && !self.control.models_the_path() {
            self.reduction.progress(&Progress {
                delivered: delivery.bytes,
                flying: self.board.flying(),
                threshold: self.control.threshold().unwrap_or(u64::MAX),
                safe: advanced && lost == 0,
                segment: self.segment,
            });
        }
        self.arm(now);
    }

    /// Whether the first block tells of data that came twice (RFC 2883); if so, what follows.
    fn note_duplicate(&mut self, ack: &Ack) -> bool {
        let Some((left, right)) = ack.blocks[..ack.count].first().copied() else { return false };
        let enclosed = ack.count > 1 && ack.blocks[1].0 <= left && right <= ack.blocks[1].1;
        if right <= left || !(right <= ack.position || enclosed) {
            return false;
        }
        if self.timers.probe_explains(right) {
            return true;
        }
        if self.doubt.active && self.doubt.unexplained > 0 && right > self.doubt.since {
            self.rack.widen(self.board.una(), self.board.nxt());
            self.doubt.unexplained = self.doubt.unexplained.saturating_sub(right - left);
            if self.doubt.unexplained == 0 {
                self.undo();
            }
        }
        true
    }

    /// What arrived and was sent once only, before the timeout, shows that the timeout was premature.
    fn judge_timeout(&mut self, delivery: &Delivery) {
        let Phase::Timeout { until, judged: false } = self.phase else { return };
        if delivery.bytes == 0 {
            return;
        }
        self.phase = Phase::Timeout { until, judged: true };
        if delivery.original_start.is_some_and(|start| start < until) {
            self.board.find_again();
            self.undo();
            self.phase = Phase::Open;
        }
    }

    fn undo(&mut self) {
        self.doubt.active = false;
        self.control.undo();
        if let Phase::Recovery { .. } = self.phase {
            self.phase = Phase::Open;
        }
    }

    fn end_repairs(&mut self) {
        match self.phase {
            Phase::Recovery { until } if self.board.una() >= until => {
                self.phase = Phase::Open;
                self.rack.recovered();
                self.control.recovered();
            }
            Phase::Timeout { until, .. } if self.board.una() >= until => self.phase = Phase::Open,
            _ => {}
        }
    }

    fn find_losses(&mut self, now: Instant, ack: &Ack, advanced: bool, delivery: &Delivery) -> u64 {
        let mut lost = 0;
        if self.selective {
            lost = self.detect(now);
        } else if advanced {
            self.duplicates = 0;
            if self.phase != Phase::Open {
                // RFC 6582: what follows a partial acknowledgment is lost as well.
                lost = self.board.lose_first(self.segment);
            }
        } else if ack.bare && delivery.bytes == 0 && !self.board.is_empty() {
            self.duplicates += 1;
            if self.duplicates == DUPLICATES {
                lost = self.board.lose_first(self.segment);
            }
        }
        self.lost(now, lost);
        lost
    }

    /// What the time says of losses now.
    fn detect(&mut self, now: Instant) -> u64 {
        let circumstances = self.circumstances();
        let (lost, next) = self.rack.detect(now, &mut self.board, &circumstances);
        self.timers.reorder_at = next;
        lost
    }

    fn circumstances(&self) -> Circumstances {
        Circumstances {
            minimum: self.trips.minimum().unwrap_or_default(),
            smoothed: self.trips.smoothed().unwrap_or_default(),
            recovering: self.phase != Phase::Open,
            segment: self.segment,
        }
    }

    fn lost(&mut self, now: Instant, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.rate.lose(bytes);
        if self.phase == Phase::Open {
            self.reduction = RateReduction::begin(self.board.flying() + bytes);
            self.congestion(now, Signal::Loss);
            self.phase = Phase::Recovery { until: self.board.nxt() };
        }
    }

    fn congestion(&mut self, now: Instant, signal: Signal) {
        self.doubt = Doubt { unexplained: 0, since: self.board.una(), active: signal == Signal::Loss };
        self.marked_until = self.board.nxt();
        self.tell_reduced |= self.capable;
        self.control.congested(now, signal);
    }

    /// The way to the peer is another one. Where the old one has fallen silent it took with it what was in flight,
    /// and that is sent again at once.
    pub(crate) fn handle_path_change(&mut self, now: Instant, memory: &PathMemory) {
        let silent = self.is_silent(now);
        self.control.restart(&memory.start(self.segment));
        self.pacer.reset();
        self.timers.path_changed(now);
        self.rack.forget();
        self.trips.begin_anew();
        self.path_since = now;
        self.phase = Phase::Open;
        self.doubt.active = false;
        if silent {
            let lost = self.board.lose(|_| true);
            self.rate.lose(lost);
            self.transmit_at_once();
        }
        self.arm(now);
    }

    pub(crate) fn set_algorithm(&mut self, algorithm: Algorithm) {
        let learnt = self.learnt();
        self.control = algorithm.controller(&learnt.start(self.segment));
    }

    /// What the next connection on this path may begin with.
    pub(crate) fn learnt(&self) -> PathMemory {
        PathMemory::of(self.control.window(), self.control.threshold(), self.trips.smoothed())
    }

    /// Bytes that may be in flight and that the peer has room for.
    pub(crate) fn usable_window(&self) -> u64 {
        self.allowed().min(self.window)
    }

    /// How it stands, for whoever draws or shows it.
    pub(crate) fn view(&self) -> View {
        View {
            window: self.allowed(),
            in_flight: self.board.flying(),
            unsent: self.end() - self.board.nxt(),
            smoothed: self.trips.smoothed(),
            latest: self.trips.latest(),
            minimum: self.trips.minimum(),
            pacing_rate: self.control.pacing_rate(),
            threshold: self.control.threshold(),
            lost: self.rate.lost(),
            resent: self.resent,
        }
    }
}

/// How a connection's sender stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Bytes that may be in flight, and those that are.
    pub window: u64,
    pub in_flight: u64,
    pub unsent: u64,
    pub smoothed: Option<Duration>,
    pub latest: Duration,
    pub minimum: Option<Duration>,
    /// Bytes a second.
    pub pacing_rate: Option<u64>,
    pub threshold: Option<u64>,
    /// All bytes that were ever declared lost, and that were ever sent again.
    pub lost: u64,
    pub resent: u64,
}
