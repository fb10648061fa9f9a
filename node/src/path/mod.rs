//! One path: a local endpoint, a way to the peer, and what is known of it.
//!
//! ```text
//!             response                    two probes unanswered
//! Unproven ─────────────▶ Proven ───────────────────────────────▶ Suspect
//!     │                     ▲                                        │
//!     │ no response         │ response                               │ no response
//!     ▼                     │                                        ▼
//!   Failed ─────────────────┴─────────────────────────────────────  Failed
//! ```
//! A probe is a path challenge; only its response, authenticated and naming the challenge's nonce,
//! proves a path. Whoever runs a path calls [`Path::expire`] and [`Path::probe`] when
//! [`Path::next_timeout`] has come.

mod probing;

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use ntm_proto::id::InterfaceId;
use ntm_proto::session::amplification::Allowance;
use ntm_proto::time::Instant;

use crate::event::{PathKind, PathView};
use crate::interface::Endpoint;
use crate::keys::LinkId;

pub(crate) use probing::Probe;
use probing::{FIRST_PATIENCE, MAX_OUTSTANDING, Probing};

/// What every IPv6 path carries: 1,280 less the IPv6 and UDP headers.
pub(crate) const BASE_DATAGRAM: usize = 1_232;
/// What a virtual packet of full size needs without being split, relay header included.
pub(crate) const FULL_DATAGRAM: usize =
    crate::VIRTUAL_MTU + ntm_proto::wire::outer::DATA_OVERHEAD + ntm_proto::wire::outer::RELAYED_HEADER;

/// When an unproven path is probed, after the first probe: both ends must be sending while NATs open.
const PUNCH_SCHEDULE: [Duration; 6] = [
    Duration::from_millis(60),
    Duration::from_millis(120),
    Duration::from_millis(240),
    Duration::from_millis(500),
    Duration::from_millis(1_000),
    Duration::from_millis(2_000),
];
/// A failed path is tried again this long after it failed (tailscale's relay → direct retry).
const RETRY_FAILED: Duration = Duration::from_secs(60);
/// Holds NAT mappings, whose timeouts may be as short as 30 s for UDP.
const HEARTBEAT_IDLE: Duration = Duration::from_secs(15);
/// While traffic flows, so that the round-trip time stays fresh (tailscale's heartbeat).
const HEARTBEAT_BUSY: Duration = Duration::from_secs(3);
/// Unanswered probes in a row that make a proven path suspect.
const SUSPECT_AFTER: u8 = 2;
/// Unanswered probes in a row that make a suspect path fail.
const FAILED_AFTER: u8 = 6;
/// Parts in 1,000 of lost probes above which a path is only a last resort.
const LOSSY: u16 = 300;
/// A path that is no better in kind must be faster by a third and this much to be changed to.
const CLEARLY_FASTER: Duration = Duration::from_millis(4);

/// Which way a path goes to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Remote {
    Direct(SocketAddr),
    Relayed(LinkId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Unproven,
    Proven,
    Suspect,
    Failed,
}

/// What a response taught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// When the challenge left.
    pub(crate) asked: Instant,
    /// The path was not proven before.
    pub(crate) newly_proven: bool,
}

/// What came of waiting for responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    /// The path's proof changed.
    pub(crate) changed: bool,
    /// A probe went unanswered.
    pub(crate) lost: bool,
}

/// The order in which paths are preferred: lower is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    trouble: u8,
    /// The last probe went unanswered: no reason to leave the path, a reason not to come to it.
    doubted: bool,
    cost: u16,
    relayed: bool,
    promise: u8,
    rtt: Duration,
}

impl Rank {
    /// Whether a path of this rank can carry traffic alone.
    pub(crate) fn is_usable(&self) -> bool {
        self.trouble <= 2
    }

    pub(crate) fn is_hopeless(&self) -> bool {
        self.trouble >= 5
    }

    /// Better enough to be worth a change of path: another class, or clearly faster.
    pub(crate) fn clearly_beats(&self, other: &Self) -> bool {
        let class = |rank: &Self| (rank.trouble, rank.cost, rank.relayed);
        match class(self).cmp(&class(other)) {
            core::cmp::Ordering::Less => true,
            core::cmp::Ordering::Greater => false,
            core::cmp::Ordering::Equal => self.rtt + CLEARLY_FASTER < other.rtt * 2 / 3,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) local: Endpoint,
    pub(crate) remote: Remote,
    /// The peer's interface at the other end and its generation, once the peer named it.
    pub(crate) remote_interface: Option<(InterfaceId, u16)>,
    pub(crate) remote_ending: bool,
    pub(crate) local_ending: bool,
    pub(crate) cost: u16,
    /// Where an unproven path stands among its like: lower was better when its ends last worked.
    pub(crate) promise: u8,
    pub(crate) allowance: Allowance,
    /// A direction named the address, or it proved itself at some time: worth trying from elsewhere.
    vouched: bool,
    proof: Proof,
    probing: Probing,
    lost_in_row: u8,
    attempts: u8,
    next_probe: Instant,
    /// The first datagram sent since the path was last heard on.
    unanswered_since: Option<Instant>,
}

impl Path {
    pub(crate) fn new(now: Instant, local: Endpoint, remote: Remote) -> Self {
        let mut allowance = Allowance::default();
        if matches!(remote, Remote::Relayed(_)) {
            // The relay itself limits what it sends to an address it has no proof of.
            allowance.prove();
        }
        Self {
            local,
            remote,
            remote_interface: None,
            remote_ending: false,
            local_ending: false,
            cost: 0,
            promise: u8::MAX,
            allowance,
            vouched: false,
            proof: Proof::Unproven,
            probing: Probing::new(),
            lost_in_row: 0,
            attempts: 0,
            next_probe: now,
            unanswered_since: None,
        }
    }

    pub(crate) fn proof(&self) -> Proof {
        self.proof
    }

    pub(crate) fn is_proven(&self) -> bool {
        self.proof == Proof::Proven
    }

    /// Somebody trusted vouches for the address: probes and a few packets may go there before it has
    /// proved itself.
    pub(crate) fn vouch(&mut self) {
        self.vouched = true;
        self.allowance.received(FULL_DATAGRAM);
    }

    pub(crate) fn is_vouched(&self) -> bool {
        self.vouched
    }

    pub(crate) fn is_direct(&self) -> bool {
        matches!(self.remote, Remote::Direct(_))
    }

    /// Bytes of the largest datagram known to get through.
    pub(crate) fn capacity(&self) -> usize {
        self.probing.capacity()
    }

    pub(crate) fn rank(&self) -> Rank {
        let trouble = match self.proof {
            Proof::Proven if self.local_ending || self.remote_ending => 2,
            Proof::Proven if self.probing.loss() >= LOSSY => 1,
            Proof::Proven => 0,
            Proof::Suspect => 3,
            Proof::Unproven => 4,
            Proof::Failed => 5,
        };
        let promise = if trouble >= 3 { self.promise } else { 0 };
        Rank {
            trouble,
            doubted: self.lost_in_row > 0,
            cost: self.cost,
            relayed: !self.is_direct(),
            promise,
            rtt: self.probing.rtt().unwrap_or(FIRST_PATIENCE),
        }
    }

    pub(crate) fn view(&self) -> PathView {
        PathView {
            interface: self.local.interface,
            local: self.local.address,
            kind: match self.remote {
                Remote::Direct(address) => PathKind::Direct(address),
                Remote::Relayed(link) => PathKind::Relayed(link.relay),
            },
            proven: self.is_proven(),
            rtt: self.probing.rtt(),
            loss: self.probing.loss(),
            cost: self.cost,
        }
    }

    /// Something authentic arrived on this path.
    pub(crate) fn heard(&mut self, bytes: usize) {
        self.allowance.received(bytes);
        self.unanswered_since = None;
        if self.proof == Proof::Proven {
            self.lost_in_row = 0;
        }
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.allowance.sent(bytes);
    }

    /// Data went out, which somebody will answer sooner or later.
    pub(crate) fn sent_data(&mut self, now: Instant) {
        self.unanswered_since.get_or_insert(now);
    }

    /// The peer answered a handshake over this path: as good as a response to a challenge.
    pub(crate) fn handshake_answered(&mut self, now: Instant, sent: Option<Instant>) {
        if let Some(sent) = sent {
            self.probing.sample(now.since(sent));
        }
        self.prove(now);
    }

    /// Starts the probing again from the beginning, at once.
    pub(crate) fn restart(&mut self, now: Instant) {
        if matches!(self.proof, Proof::Failed) {
            self.proof = Proof::Unproven;
        }
        if self.proof != Proof::Proven {
            self.attempts = 0;
            self.lost_in_row = 0;
        }
        self.next_probe = now;
    }

    /// The path has another far end than before: all that was learned of it is forgotten.
    pub(crate) fn renew(&mut self, now: Instant) {
        self.proof = Proof::Unproven;
        self.probing = Probing::new();
        self.lost_in_row = 0;
        self.unanswered_since = None;
        self.restart(now);
    }

    /// Questions a path at once, because something else says that it may have broken.
    pub(crate) fn question(&mut self, now: Instant) {
        self.next_probe = self.next_probe.min(now);
    }

    /// After a long silence a path that was proven is no better than a hope.
    pub(crate) fn distrust(&mut self, now: Instant) {
        if self.proof == Proof::Proven {
            self.proof = Proof::Suspect;
            self.lost_in_row = 0;
        }
        self.restart(now);
    }

    /// Takes the peer's response to a challenge; `None` where this path asked nothing of the kind.
    pub(crate) fn answered(&mut self, now: Instant, nonce: u64) -> Option<Answered> {
        let asked = self.probing.answered(now, nonce)?;
        let newly_proven = self.proof != Proof::Proven;
        self.prove(now);
        Some(Answered { asked, newly_proven })
    }

    /// Gives up challenges that were waited for long enough, with what follows from that.
    pub(crate) fn expire(&mut self, now: Instant) -> Expired {
        let before = self.proof;
        let lost = self.probing.expire(now);
        self.lost_in_row = self.lost_in_row.saturating_add(lost);
        let tried = usize::from(self.attempts) > PUNCH_SCHEDULE.len() && self.probing.outstanding() == 0;
        self.proof = match self.proof {
            Proof::Proven if self.lost_in_row >= SUSPECT_AFTER => Proof::Suspect,
            Proof::Suspect if self.lost_in_row >= FAILED_AFTER => Proof::Failed,
            Proof::Unproven if tried => Proof::Failed,
            proof => proof,
        };
        if self.proof == Proof::Failed && before != Proof::Failed {
            self.next_probe = now + RETRY_FAILED;
        }
        if lost > 0 && matches!(self.proof, Proof::Proven | Proof::Suspect) {
            self.next_probe = now;
        }
        Expired { changed: self.proof != before, lost: lost > 0 }
    }

    /// The probes that are due, if any are. `busy` is whether this path carries traffic now.
    pub(crate) fn probe(&mut self, now: Instant, busy: bool, mut nonce: impl FnMut() -> u64) -> Vec<Probe> {
        let mut probes = Vec::new();
        let in_doubt = self.doubt_at().is_some_and(|at| now >= at);
        if !(in_doubt || now >= self.next_probe) || self.probing.outstanding() >= MAX_OUTSTANDING {
            return probes;
        }
        if self.proof == Proof::Failed {
            self.restart(now);
        }
        let first = self.attempts == 0 && self.proof == Proof::Unproven;
        self.attempts = self.attempts.saturating_add(1);
        let pause = match self.proof {
            // The second question goes out before the first is given up: two losses are needed.
            Proof::Proven | Proof::Suspect if in_doubt || self.lost_in_row > 0 => self.probing.timeout() / 2,
            Proof::Proven if busy => HEARTBEAT_BUSY,
            Proof::Proven => HEARTBEAT_IDLE,
            Proof::Suspect => self.probing.timeout(),
            Proof::Unproven | Proof::Failed => {
                let step = usize::from(self.attempts - 1).min(PUNCH_SCHEDULE.len() - 1);
                PUNCH_SCHEDULE[step]
            }
        };
        self.next_probe = now + pause;
        probes.push(self.probing.challenge(now, nonce()));
        if first || (self.proof == Proof::Proven && !in_doubt) {
            // Full-sized at once: where it arrives it is worth a round trip of unsplit packets, and it
            // lets the other end answer with data before it has proof of this address.
            probes.extend(self.probing.wide_challenge(now, busy, nonce));
        }
        probes
    }

    /// When [`Path::expire`] or [`Path::probe`] has something to do.
    pub(crate) fn next_timeout(&self) -> Instant {
        let full = self.probing.outstanding() >= MAX_OUTSTANDING;
        let probe = if full { Instant::FAR_FUTURE } else { self.next_probe };
        [self.probing.next_expiry(), self.doubt_at()].into_iter().flatten().fold(probe, Instant::min)
    }

    fn prove(&mut self, now: Instant) {
        self.allowance.prove();
        self.vouched = true;
        self.lost_in_row = 0;
        self.unanswered_since = None;
        if self.proof != Proof::Proven {
            self.proof = Proof::Proven;
            self.attempts = 0;
            self.probing.forgive(LOSSY / 2);
            // A path proven by its small probe learns its capacity at once.
            let narrow = self.probing.capacity() < FULL_DATAGRAM;
            let soon = if narrow { now } else { now + HEARTBEAT_BUSY };
            self.next_probe = soon;
        }
    }

    /// When traffic has gone without any answer for long enough that the path must be asked.
    fn doubt_at(&self) -> Option<Instant> {
        match (self.proof, self.probing.outstanding(), self.unanswered_since) {
            (Proof::Proven, 0, Some(since)) => Some(since + self.probing.patience()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, at, endpoint};

    const THERE: &str = "20.1.0.2:4500";

    fn path() -> Path {
        Path::new(at(0), endpoint(0, "10.0.0.2:4500"), Remote::Direct(address(THERE)))
    }

    /// Nonces count up from here.
    struct Nonces(u64);

    impl Nonces {
        fn probe(&mut self, path: &mut Path, now: Instant, busy: bool) -> Vec<Probe> {
            path.probe(now, busy, || {
                self.0 += 1;
                self.0
            })
        }
    }

    /// A path whose probes are answered after `rtt` until `until`; gives how often it was probed, full-sized probes
    /// aside.
    fn answer_until(path: &mut Path, nonces: &mut Nonces, until: Instant, rtt: Duration, busy: bool) -> usize {
        let mut probed = 0;
        let mut answers: Vec<(Instant, u64)> = Vec::new();
        loop {
            let answer = answers.iter().map(|(at, _)| *at).min().unwrap_or(Instant::FAR_FUTURE);
            let now = path.next_timeout().min(answer);
            if now > until {
                return probed;
            }
            if let Some(at) = answers.iter().position(|(at, _)| *at <= now) {
                let (_, nonce) = answers.swap_remove(at);
                assert!(path.answered(now, nonce).is_some());
                continue;
            }
            path.expire(now);
            for probe in nonces.probe(path, now, busy) {
                probed += usize::from(probe.size == 0);
                path.sent(probe.size);
                answers.push((now + rtt, probe.nonce));
            }
        }
    }

    /// Lets time pass without any answer; gives the proof at each change with its time.
    fn silence_until(path: &mut Path, nonces: &mut Nonces, until: Instant) -> Vec<(u64, Proof)> {
        let mut changes = Vec::new();
        let mut before = path.proof();
        while path.next_timeout() <= until {
            let now = path.next_timeout();
            path.expire(now);
            nonces.probe(path, now, true);
            if path.proof() != before {
                before = path.proof();
                changes.push((now.as_millis(), before));
            }
        }
        changes
    }

    #[test]
    fn an_answer_proves_the_path_and_tells_its_round_trip_time() {
        let (mut path, mut nonces) = (path(), Nonces(0));
        let probes = nonces.probe(&mut path, at(0), false);
        assert_eq!(probes.iter().map(|probe| probe.size).collect::<Vec<_>>(), [0, FULL_DATAGRAM]);
        assert_eq!(path.answered(at(30), probes[0].nonce), Some(Answered { asked: at(0), newly_proven: true }));
        assert!(path.is_proven());
        assert_eq!(path.view().rtt, Some(Duration::from_millis(30)));
        assert_eq!(path.capacity(), BASE_DATAGRAM);
        assert_eq!(path.answered(at(31), probes[1].nonce), Some(Answered { asked: at(0), newly_proven: false }));
        assert_eq!(path.capacity(), FULL_DATAGRAM);
    }

    #[test]
    fn an_answer_counts_once_and_only_to_a_challenge_of_this_path() {
        let (mut path, mut nonces) = (path(), Nonces(0));
        let probes = nonces.probe(&mut path, at(0), false);
        assert_eq!(path.answered(at(1), 999), None);
        assert!(path.answered(at(1), probes[0].nonce).is_some());
        assert_eq!(path.answered(at(2), probes[0].nonce), None);
    }

    #[test]
    fn an_unproven_path_is_probed_on_the_punching_schedule_and_fails_and_is_tried_again_a_minute_later() {
        let (mut path, mut nonces) = (path(), Nonces(0));
        let changes = silence_until(&mut path, &mut nonces, at(100_000));
        assert_eq!(changes[0].1, Proof::Failed);
        assert!((4_000..8_000).contains(&changes[0].0), "{changes:?}");
        let again = changes.iter().find(|(_, proof)| *proof == Proof::Unproven).expect("tried again");
        assert_eq!(again.0, changes[0].0 + RETRY_FAILED.as_millis() as u64);
    }

    #[test]
    fn a_proven_path_that_falls_silent_is_suspect_soon_and_fails_later() {
        let (mut path, mut nonces) = (path(), Nonces(0));
        answer_until(&mut path, &mut nonces, at(20_000), Duration::from_millis(20), true);
        assert!(path.is_proven());
        path.sent_data(at(20_000));
        let changes = silence_until(&mut path, &mut nonces, at(40_000));
        assert_eq!([changes[0].1, changes[1].1], [Proof::Suspect, Proof::Failed]);
        // Traffic is waited for for 250 ms, then two probes for 60 ms each.
        assert!(changes[0].0 <= 20_000 + 500, "{changes:?}");
        assert!(changes[1].0 <= 20_000 + 1_500, "{changes:?}");
    }

    #[test]
    fn one_lost_probe_changes_nothing_but_the_loss() {
        let (mut path, mut nonces) = (path(), Nonces(0));
        answer_until(&mut path, &mut nonces, at(20_000), Duration::from_millis(20), true);
        path.question(at(20_100));
        let probes = nonces.probe(&mut path, at(20_100), false);
        assert_eq!(probes.len(), 1);
        let expired = path.expire(at(23_200));
        assert_eq!(expired, Expired { changed: false, lost: true });
        assert!(path.is_proven() && path.view().loss > 0);
        answer_until(&mut path, &mut nonces, at(60_000), Duration::from_millis(20), true);
        assert!(path.view().loss < 125, "{}", path.view().loss);
    }

    #[test]
    fn what_is_heard_keeps_a_path_from_being_doubted() {
        let (mut path, mut nonces) = (path(), Nonces(0));
        answer_until(&mut path, &mut nonces, at(20_000), Duration::from_millis(20), false);
        path.sent_data(at(20_000));
        let doubted = path.next_timeout();
        path.heard(100);
        assert!(path.next_timeout() > doubted);
    }

    #[test]
    fn probes_are_rarer_without_traffic_and_their_number_bounded_without_answers() {
        let busy = answer_until(&mut path(), &mut Nonces(0), at(600_000), Duration::from_millis(20), true);
        let idle = answer_until(&mut path(), &mut Nonces(0), at(600_000), Duration::from_millis(20), false);
        assert!((190..=215).contains(&busy), "{busy}");
        assert!((38..=48).contains(&idle), "{idle}");
        let (mut path, mut nonces) = (path(), Nonces(0));
        for millis in 0..100 {
            path.question(at(millis));
            nonces.probe(&mut path, at(millis), true);
        }
        assert!(nonces.0 <= MAX_OUTSTANDING as u64 + 1, "{}", nonces.0);
    }

    #[test]
    fn a_lost_probe_for_capacity_says_nothing_of_the_path() {
        let (mut path, mut nonces) = (path(), Nonces(0));
        let mut now = at(0);
        for _ in 0..30 {
            for probe in nonces.probe(&mut path, now, true) {
                if probe.size == 0 {
                    path.answered(now + Duration::from_millis(20), probe.nonce);
                }
            }
            now = path.next_timeout().max(now);
            path.expire(now);
        }
        assert!(path.is_proven());
        assert_eq!((path.view().loss, path.capacity()), (0, BASE_DATAGRAM));
    }

    #[test]
    fn a_path_that_ceases_to_carry_large_datagrams_is_found_out_by_its_full_sized_probes() {
        let (mut path, mut nonces) = (path(), Nonces(0));
        answer_until(&mut path, &mut nonces, at(20_000), Duration::from_millis(20), true);
        assert_eq!(path.capacity(), FULL_DATAGRAM);
        let mut now = path.next_timeout();
        while now < at(35_000) {
            path.expire(now);
            for probe in nonces.probe(&mut path, now, true) {
                if probe.size == 0 {
                    path.answered(now, probe.nonce);
                }
            }
            now = path.next_timeout();
        }
        assert!(path.is_proven());
        assert_eq!(path.capacity(), BASE_DATAGRAM);
        // It becomes wide again in time.
        answer_until(&mut path, &mut nonces, at(120_000), Duration::from_millis(20), true);
        assert_eq!(path.capacity(), FULL_DATAGRAM);
    }

    #[test]
    fn one_answer_that_was_held_up_for_long_makes_no_slow_path() {
        let (mut path, mut nonces) = (path(), Nonces(0));
        answer_until(&mut path, &mut nonces, at(20_000), Duration::from_millis(20), true);
        path.question(at(20_000));
        let held_up = nonces.probe(&mut path, at(20_000), false)[0].nonce;
        path.expire(at(20_500));
        path.answered(at(29_900), held_up);
        assert!(path.view().rtt < Some(Duration::from_millis(500)), "{:?}", path.view());
        path.question(at(30_000));
        let forgotten = nonces.probe(&mut path, at(30_000), false)[0].nonce;
        assert_eq!(path.answered(at(45_000), forgotten), None);
    }

    #[test]
    fn better_paths_rank_lower() {
        let rank = |trouble, cost, relayed, rtt| Rank {
            trouble,
            doubted: false,
            cost,
            relayed,
            promise: 0,
            rtt: Duration::from_millis(rtt),
        };
        let order = [
            rank(0, 10, false, 50),
            rank(0, 10, false, 80),
            rank(0, 10, true, 5),
            rank(0, 20, false, 5),
            rank(1, 1, false, 1),
            rank(2, 1, false, 1),
            rank(3, 1, false, 1),
        ];
        assert!(order.is_sorted());
        assert!(rank(0, 10, false, 90).clearly_beats(&rank(0, 10, true, 10)), "direct before relayed");
        assert!(rank(0, 10, true, 90).clearly_beats(&rank(0, 20, false, 10)), "cheap before direct");
        assert!(rank(0, 90, true, 90).clearly_beats(&rank(1, 1, false, 1)), "sound before cheap");
        assert!(!rank(0, 10, false, 45).clearly_beats(&rank(0, 10, false, 50)), "not for a little");
        assert!(!rank(0, 10, false, 1).clearly_beats(&rank(0, 10, false, 3)), "nor for very little");
        assert!(rank(0, 10, false, 20).clearly_beats(&rank(0, 10, false, 50)));
        for one in order {
            assert!(!one.clearly_beats(&one));
        }
    }

    #[test]
    fn a_direct_path_is_sent_three_times_what_came_from_it_until_it_is_proven() {
        let (mut path, mut nonces) = (path(), Nonces(0));
        assert!(!path.allowance.permits(1));
        path.heard(100);
        assert!(path.allowance.permits(300) && !path.allowance.permits(301));
        path.sent(300);
        assert!(!path.allowance.permits(1));
        let probes = nonces.probe(&mut path, at(0), false);
        path.answered(at(20), probes[0].nonce);
        assert!(path.allowance.permits(1_000_000));
    }

    #[test]
    fn a_path_that_becomes_slower_stays_sound() {
        let (mut path, mut nonces) = (path(), Nonces(0));
        answer_until(&mut path, &mut nonces, at(20_000), Duration::from_millis(20), true);
        // Answers come, each later than the path would wait for.
        let mut answers: Vec<(Instant, u64)> = Vec::new();
        let mut now = at(20_000);
        while now < at(60_000) {
            now = path.next_timeout().min(answers.first().map_or(Instant::FAR_FUTURE, |(at, _)| *at));
            if answers.first().is_some_and(|(at, _)| *at <= now) {
                path.answered(now, answers.remove(0).1);
                continue;
            }
            path.expire(now);
            answers.extend(
                nonces.probe(&mut path, now, true).iter().map(|probe| (now + Duration::from_millis(200), probe.nonce)),
            );
        }
        assert!(path.is_proven());
        assert!(path.view().rtt >= Some(Duration::from_millis(150)), "{:?}", path.view());
        assert!(path.view().loss < LOSSY, "{:?}", path.view());
    }
}
