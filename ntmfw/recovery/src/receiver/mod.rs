//! The receiving half: what came out of order waits here; acknowledgments tell of it.

mod growth;
mod reassembly;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

pub(crate) use self::growth::Growth;
pub use self::growth::WindowGrowth;
use self::reassembly::Reassembly;
use crate::seq::{self, Position};
use crate::wire::{CWR, Ecn, FIN, MAX_BLOCKS, Segment, renew};

/// Acknowledgments that wait to leave; the newest tell most.
const MAX_REPORTS: usize = 32;

/// The blocks of one acknowledgment, most telling first.
pub(crate) type Blocks = ([(u32, u32); MAX_BLOCKS], usize);

/// What becomes of a segment with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// smoltcp may see it as it is.
    Pass,
    /// smoltcp is to see its acknowledgment only.
    Held,
}

#[derive(Debug)]
pub(crate) struct Receiver {
    /// The next byte that smoltcp will see.
    next: Position,
    /// Where the window ends that the peer was offered. It may shrink by less than `grain`: windows are rounded down.
    edge: Position,
    grain: u64,
    waiting: Reassembly,
    /// In order now, for smoltcp.
    ready: VecDeque<(Vec<u8>, usize)>,
    reports: VecDeque<Blocks>,
    /// Blocks that came since a report left, and a duplicate to report.
    unreported: usize,
    duplicate: Option<(Position, Position)>,
    selective: bool,
    /// A mark came that the peer has not answered yet.
    echo: bool,
}

impl Receiver {
    pub(crate) fn new(next: Position, scale: u8, selective: bool) -> Self {
        Self {
            next,
            edge: next,
            grain: 1 << scale,
            waiting: Reassembly::default(),
            ready: VecDeque::new(),
            reports: VecDeque::new(),
            unreported: 0,
            duplicate: None,
            selective,
            echo: false,
        }
    }

    pub(crate) fn next(&self) -> Position {
        self.next
    }

    pub(crate) fn edge(&self) -> Position {
        self.edge
    }

    /// smoltcp offers a window, of which the peer is to know all but what is withheld; what it knows stays. What smoltcp
    /// acknowledges it has, also where it took more than was thought.
    pub(crate) fn offer(&mut self, acknowledged: Position, window: u64, withheld: u64) {
        self.next = self.next.max(acknowledged);
        self.edge = self.edge.max(acknowledged + window.saturating_sub(withheld)).min(acknowledged + window);
    }

    /// The peer may be told of more.
    pub(crate) fn widen(&mut self, edge: Position) {
        self.edge = self.edge.max(edge);
    }

    /// Whether acknowledgments tell the peer of a mark.
    pub(crate) fn echoes(&self) -> bool {
        self.echo
    }

    pub(crate) fn note_mark(&mut self, segment: &Segment<'_>, ecn: Ecn) {
        self.echo &= !segment.has(CWR);
        self.echo |= ecn == Ecn::Experienced;
    }

    pub(crate) fn handle_data(&mut self, segment: &Segment<'_>) -> Fate {
        let start = seq::extend(self.next, segment.sequence);
        let data_end = start + segment.payload.len() as u64;
        let end = data_end + u64::from(segment.has(FIN));
        if end <= self.next {
            self.report_duplicate(start, end);
            return Fate::Held;
        }
        if start <= self.next {
            if data_end > self.next && self.edge <= self.next {
                // The window is closed: smoltcp says so again.
                return Fate::Pass;
            }
            if data_end > self.edge {
                // smoltcp cuts off what lies beyond its window, but not the FIN behind it: it would lose the end.
                let fits = usize::try_from(self.edge - start).unwrap_or(0);
                self.ready.push_back((segment.truncated(fits), segment.transport));
                self.advance(self.edge);
                return Fate::Held;
            }
            self.advance(end);
            return Fate::Pass;
        }
        if data_end + self.grain > self.edge + 1 {
            // It might not fit any more when its turn comes, and must not be reported then.
            self.unreported = self.unreported.max(1);
            return Fate::Held;
        }
        match self.waiting.hold(start, end, segment) {
            Some(true) => {
                if self.unreported + 1 >= MAX_BLOCKS {
                    self.queue_report();
                }
                self.unreported += 1;
            }
            Some(false) => self.unreported = self.unreported.max(1),
            None => self.report_duplicate(start, end),
        }
        Fate::Held
    }

    /// A held segment that is in order now, as if it came just now.
    pub(crate) fn poll_ready(&mut self, acknowledged: Position, window: u16) -> Option<Vec<u8>> {
        let (mut packet, transport) = self.ready.pop_front()?;
        renew(&mut packet, transport, seq::wire(acknowledged), window);
        Some(packet)
    }

    /// A segment that is in order but whose acknowledgment is old: smoltcp would drop both.
    pub(crate) fn queue_renewed(&mut self, segment: &Segment<'_>) {
        self.ready.push_front((segment.packet.to_vec(), segment.transport));
    }

    /// The peer shall hear how things stand.
    pub(crate) fn report_soon(&mut self) {
        self.unreported = self.unreported.max(1);
    }

    /// What must be reported at once.
    pub(crate) fn poll_report(&mut self) -> Option<Blocks> {
        if let Some(report) = self.reports.pop_front() {
            return Some(report);
        }
        if self.unreported == 0 && self.duplicate.is_none() {
            return None;
        }
        Some(self.report())
    }

    fn advance(&mut self, until: Position) {
        self.next = self.next.max(until);
        if self.waiting.is_empty() {
            return;
        }
        while let Some(held) = self.waiting.take_until(self.next) {
            if held.end > self.next {
                self.next = held.end;
                self.ready.push_back((held.packet, held.transport));
            }
        }
        // RFC 5681, section 4.2: what fills a gap is acknowledged at once.
        self.unreported = self.unreported.max(1);
    }

    fn report_duplicate(&mut self, start: Position, end: Position) {
        if self.duplicate.is_some() {
            self.queue_report();
        }
        self.duplicate = Some((start, end));
    }

    fn queue_report(&mut self) {
        let report = self.report();
        if self.reports.len() >= MAX_REPORTS {
            self.reports.pop_front();
        }
        self.reports.push_back(report);
    }

    fn report(&mut self) -> Blocks {
        let mut blocks = [(0, 0); MAX_BLOCKS];
        self.unreported = 0;
        let duplicate = self.duplicate.take();
        if !self.selective {
            return (blocks, 0);
        }
        let mut count = 0;
        for (start, end) in duplicate.into_iter().chain(self.waiting.recent()).take(MAX_BLOCKS) {
            blocks[count] = (seq::wire(start), seq::wire(end));
            count += 1;
        }
        (blocks, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::segment;
    use crate::wire::{ACK, PSH};

    fn receiver() -> Receiver {
        let mut receiver = Receiver::new(seq::first(1_000), 0, true);
        receiver.offer(seq::first(1_000), 100_000, 0);
        receiver
    }

    fn give(receiver: &mut Receiver, sequence: u32, length: usize) -> Fate {
        let packet = segment(sequence, 1, ACK | PSH, length);
        receiver.handle_data(&Segment::parse(&packet).expect("a segment"))
    }

    fn blocks(receiver: &mut Receiver) -> Vec<(u32, u32)> {
        let (blocks, count) = receiver.poll_report().expect("a report is due");
        blocks[..count].to_vec()
    }

    #[test]
    fn what_comes_out_of_order_is_reported_newest_first_and_delivered_in_order() {
        let mut receiver = receiver();
        assert_eq!(give(&mut receiver, 1_100, 100), Fate::Held);
        assert_eq!(blocks(&mut receiver), [(1_100, 1_200)]);
        give(&mut receiver, 1_500, 100);
        give(&mut receiver, 1_300, 100);
        assert_eq!(blocks(&mut receiver), [(1_300, 1_400), (1_500, 1_600), (1_100, 1_200)]);
        give(&mut receiver, 1_200, 100);
        assert_eq!(blocks(&mut receiver), [(1_100, 1_400), (1_500, 1_600)]);
        assert_eq!(give(&mut receiver, 1_000, 100), Fate::Pass);
        assert_eq!(receiver.next(), seq::first(1_400));
        assert_eq!(blocks(&mut receiver), [(1_500, 1_600)]);
        let mut at = 1_100;
        while let Some(packet) = receiver.poll_ready(seq::first(5), 9) {
            let read = Segment::parse(&packet).expect("a segment");
            assert_eq!((read.sequence, read.acknowledgment, read.window), (at, 5, 9));
            at += 100;
        }
        assert_eq!(at, 1_400);
    }

    #[test]
    fn duplicates_are_reported_first() {
        let mut receiver = receiver();
        give(&mut receiver, 1_000, 200);
        give(&mut receiver, 1_400, 100);
        give(&mut receiver, 1_100, 100);
        assert_eq!(blocks(&mut receiver), [(1_100, 1_200), (1_400, 1_500)]);
        give(&mut receiver, 1_400, 100);
        assert_eq!(blocks(&mut receiver), [(1_400, 1_500), (1_400, 1_500)]);
        assert!(receiver.poll_report().is_none());
    }

    #[test]
    fn nothing_is_held_beyond_the_window_that_was_offered() {
        let mut receiver = receiver();
        assert_eq!(give(&mut receiver, 101_000, 1), Fate::Held);
        assert_eq!(blocks(&mut receiver), []);
        give(&mut receiver, 1_001, 50_000);
        give(&mut receiver, 1_000, 1);
        assert_eq!(receiver.next(), seq::first(51_001));
        assert!(receiver.waiting.is_empty());
    }

    #[test]
    fn what_is_withheld_is_not_offered_and_what_was_offered_stays() {
        let mut receiver = receiver();
        let offered = receiver.edge();
        receiver.offer(seq::first(2_000), 200_000, 150_000);
        assert_eq!(receiver.edge(), offered);
        receiver.offer(seq::first(2_000), 200_000, 50_000);
        assert_eq!(receiver.edge(), seq::first(152_000));
    }

    #[test]
    fn many_gaps_in_one_go_are_all_reported() {
        let mut receiver = receiver();
        for gap in 0..10 {
            give(&mut receiver, 2_000 + gap * 200, 100);
        }
        let mut seen = alloc::collections::BTreeSet::new();
        while let Some((blocks, count)) = receiver.poll_report() {
            seen.extend(blocks[..count].to_vec());
        }
        assert_eq!(seen.len(), 10);
    }
}
