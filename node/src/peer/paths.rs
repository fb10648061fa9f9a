//! All paths to one peer: finding, bounding and choosing among them.

use alloc::vec::Vec;
use core::time::Duration;

use ntm_proto::id::InterfaceId;
use ntm_proto::time::Instant;
use ntm_proto::wire::frame::LiveInterface;

use crate::event::PathView;
use crate::interface::{Endpoint, Interfaces};
use crate::keys::LinkId;
use crate::path::{Path, Proof, Rank, Remote};

/// Paths kept for one peer. When all are taken a failed direct one makes room, then an unproven one; relayed
/// ones are few already.
pub(crate) const MAX_PATHS: usize = 32;
/// Paths that carry the same datagram while none is known to work.
const MAX_SPRAY: usize = 3;
/// How long a second path carries copies where the active one neither answers nor fails.
const ECHO: Duration = Duration::from_millis(500);

type Key = (Endpoint, Remote);

#[derive(Debug, Default)]
pub(crate) struct Paths {
    list: Vec<Path>,
    active: Option<Key>,
    echo: Option<Echo>,
    /// The peer's interfaces as its last notice had them.
    live: Vec<LiveInterface>,
}

/// Another path gets copies beside the active one: the peer seems to have moved there, or the active one seems to be
/// breaking.
#[derive(Clone, Copy, Debug)]
struct Echo {
    since: Instant,
    over: Key,
}

impl Paths {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Path> {
        self.list.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Path> {
        self.list.iter_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn at_mut(&mut self, at: usize) -> &mut Path {
        &mut self.list[at]
    }

    pub(crate) fn at(&self, at: usize) -> &Path {
        &self.list[at]
    }

    pub(crate) fn find(&self, local: Endpoint, remote: Remote) -> Option<usize> {
        self.list.iter().position(|path| path.local == local && path.remote == remote)
    }

    /// The place of the path, which is made if there is none; `None` where every slot holds a better one.
    pub(crate) fn add(&mut self, now: Instant, local: Endpoint, remote: Remote) -> Option<usize> {
        if let Some(at) = self.find(local, remote) {
            return Some(at);
        }
        if self.list.len() >= MAX_PATHS {
            let worst = (0..self.list.len())
                .filter(|&at| self.list[at].is_direct())
                .filter(|&at| matches!(self.list[at].proof(), Proof::Failed | Proof::Unproven))
                .max_by_key(|&at| self.list[at].rank())?;
            self.list.swap_remove(worst);
        }
        self.list.push(Path::new(now, local, remote));
        Some(self.list.len() - 1)
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&Path) -> bool) {
        self.list.retain(keep);
        if self.active.is_some_and(|(local, remote)| self.find(local, remote).is_none()) {
            self.active = None;
        }
    }

    /// The peer's interface at the other end has a new generation: what led to the old one is dead.
    pub(crate) fn forget_older(&mut self, interface: InterfaceId, generation: u16) {
        self.retain(|path| match path.remote_interface {
            // A relayed path outlives the peer's moves: the relay follows them.
            Some((id, known)) if id == interface && path.is_direct() => !is_older(known, generation),
            _ => true,
        });
    }

    /// Applies the peer's complete list of interfaces. Direct paths to those it no longer has are dead; a
    /// relayed path may yet be bound from another, but is no first choice until it is.
    pub(crate) fn apply_live(&mut self, live: Vec<LiveInterface>) {
        self.retain(|path| match path.remote_interface {
            Some((id, known)) if path.is_direct() => {
                live.iter().any(|one| one.id == id && !is_older(known, one.generation))
            }
            _ => true,
        });
        self.live = live;
        self.refresh_remote();
    }

    /// What the peer last said of its interfaces decides which paths are about to end.
    pub(crate) fn refresh_remote(&mut self) {
        let live = &self.live;
        for path in &mut self.list {
            let Some((id, _)) = path.remote_interface else { continue };
            path.remote_ending = match live.iter().find(|one| one.id == id) {
                Some(one) => one.ending,
                None => !live.is_empty(),
            };
        }
    }

    pub(crate) fn refresh_local(&mut self, interfaces: &Interfaces) {
        for path in &mut self.list {
            path.local_ending = interfaces.is_ending(path.local.interface);
        }
    }

    pub(crate) fn active(&self) -> Option<usize> {
        self.active.and_then(|(local, remote)| self.find(local, remote))
    }

    /// No path is the one to trust: the next datagrams go over the most promising few.
    pub(crate) fn forget_active(&mut self) {
        self.active = None;
    }

    pub(crate) fn active_remote(&self) -> Option<Remote> {
        self.active().map(|at| self.list[at].remote)
    }

    /// The link is gone, or leads from elsewhere now: so is its path.
    pub(crate) fn forget_link(&mut self, link: LinkId) {
        self.retain(|path| path.remote != Remote::Relayed(link));
    }

    pub(crate) fn is_active(&self, at: usize) -> bool {
        self.active() == Some(at)
    }

    /// Chooses the active path anew; tells the new one where that changed and there is one.
    pub(crate) fn rechoose(&mut self) -> Option<PathView> {
        let best = (0..self.list.len()).min_by_key(|&at| self.list[at].rank())?;
        let best_rank = self.list[best].rank();
        let current = self.active().map(|at| self.list[at].rank());
        let keep = match current {
            Some(rank) => rank.is_usable() && !best_rank.clearly_beats(&rank),
            None => false,
        };
        if keep {
            return None;
        }
        if !best_rank.is_usable() {
            self.active = None;
            return None;
        }
        let path = &self.list[best];
        let key = (path.local, path.remote);
        if self.active == Some(key) {
            return None;
        }
        self.active = Some(key);
        Some(path.view())
    }

    /// Something came by a path that was not known: the peer seems to have moved there. It carries copies until the
    /// active path answers what it is asked now.
    pub(crate) fn echo(&mut self, now: Instant, at: usize) {
        let path = &self.list[at];
        self.echo = Some(Echo { since: now, over: (path.local, path.remote) });
        if let Some(active) = self.active() {
            self.list[active].question(now);
        }
    }

    /// The path answered what was asked then.
    pub(crate) fn note_answer(&mut self, at: usize, asked: Instant) {
        if self.is_active(at) && self.echo.is_some_and(|echo| asked >= echo.since) {
            self.echo = None;
        }
    }

    /// The active path left a question unanswered: until it is known what that means, the next best one
    /// carries copies.
    pub(crate) fn hedge(&mut self, now: Instant) {
        let active = self.active();
        let best = (0..self.list.len())
            .filter(|&at| Some(at) != active && self.list[at].is_proven())
            .min_by_key(|&at| self.list[at].rank());
        if let Some(at) = best {
            self.echo(now, at);
        }
    }

    /// The paths a datagram takes now: the active one, or the most promising few where none is known
    /// to work; the receiver's replay window makes one of the copies.
    pub(crate) fn routes(&self, now: Instant) -> Routes {
        let mut routes = Routes::default();
        if let Some(active) = self.active() {
            routes.push(active);
            if let Some(Echo { since, over: (local, remote) }) = self.echo
                && now < since + ECHO
                && let Some(at) = self.find(local, remote)
                && at != active
                && !self.list[at].rank().is_hopeless()
            {
                routes.push(at);
            }
            return routes;
        }
        let mut ranked: Vec<(Rank, usize)> =
            (0..self.list.len()).map(|at| (self.list[at].rank(), at)).filter(|(rank, _)| !rank.is_hopeless()).collect();
        ranked.sort_unstable();
        // One of the copies goes through the relay where there is one: it works whatever NATs do.
        let relayed = ranked.iter().position(|&(_, at)| !self.list[at].is_direct());
        if let Some(place) = relayed
            && place >= MAX_SPRAY
        {
            ranked.swap(place, MAX_SPRAY - 1);
        }
        ranked.truncate(MAX_SPRAY);
        ranked.into_iter().for_each(|(_, at)| routes.push(at));
        routes
    }

    /// Probing starts again on everything not proven.
    pub(crate) fn restart_unproven(&mut self, now: Instant) {
        self.list.iter_mut().filter(|path| !path.is_proven()).for_each(|path| path.restart(now));
    }

    pub(crate) fn any_usable(&self) -> bool {
        self.list.iter().any(|path| path.rank().is_usable())
    }
}

/// At most [`MAX_SPRAY`] places in the list of paths.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Routes {
    places: [usize; MAX_SPRAY],
    len: usize,
}

impl Routes {
    pub(crate) fn one(at: usize) -> Self {
        let mut routes = Self::default();
        routes.push(at);
        routes
    }

    fn push(&mut self, at: usize) {
        if self.len < MAX_SPRAY {
            self.places[self.len] = at;
            self.len += 1;
        }
    }

    pub(crate) fn places(&self) -> &[usize] {
        &self.places[..self.len]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Whether `known` came before `now_said`, in serial-number arithmetic (RFC 1982).
fn is_older(known: u16, now_said: u16) -> bool {
    known != now_said && now_said.wrapping_sub(known) < 0x8000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::LinkId;
    use crate::testing::{at, endpoint};
    use core::net::SocketAddr;
    use ntm_proto::id::RelayId;

    fn here(interface: u8) -> Endpoint {
        endpoint(interface, &alloc::format!("10.0.{interface}.2:4500"))
    }

    fn direct(number: u16) -> Remote {
        Remote::Direct(SocketAddr::new([20, 1, 0, 2].into(), number))
    }

    fn relayed() -> Remote {
        Remote::Relayed(LinkId { relay: RelayId(1), number: 0 })
    }

    fn add(paths: &mut Paths, local: Endpoint, remote: Remote) -> usize {
        paths.add(at(0), local, remote).expect("there is room")
    }

    fn prove(paths: &mut Paths, place: usize, rtt: u64) {
        let path = paths.at_mut(place);
        path.restart(at(0));
        let probes = path.probe(at(0), false, || rtt);
        assert!(path.answered(at(rtt), probes[0].nonce).is_some());
    }

    /// One proven path, which is active.
    fn with_active() -> (Paths, usize) {
        let mut paths = Paths::default();
        let good = add(&mut paths, here(0), direct(1));
        prove(&mut paths, good, 20);
        paths.rechoose();
        (paths, good)
    }

    fn live(entries: &[(u8, u16, bool)]) -> Vec<LiveInterface> {
        let entry = |&(id, generation, ending)| LiveInterface { id: InterfaceId(id), generation, ending };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn a_path_is_there_once() {
        let mut paths = Paths::default();
        assert_eq!(add(&mut paths, here(0), direct(1)), add(&mut paths, here(0), direct(1)));
        add(&mut paths, here(1), direct(1));
        add(&mut paths, here(0), direct(2));
        assert_eq!(paths.len(), 3);
    }

    #[test]
    fn however_many_addresses_appear_proven_paths_stay_and_the_number_is_bounded() {
        let (mut paths, _) = with_active();
        for number in 2..5_000 {
            assert!(paths.add(at(0), here(0), direct(number)).is_some(), "an unproven one makes room");
        }
        assert_eq!(paths.len(), MAX_PATHS);
        let active = paths.active().expect("it stays");
        assert_eq!(paths.at(active).remote, direct(1));
        for place in 0..paths.len() {
            prove(&mut paths, place, 20);
        }
        assert_eq!(paths.add(at(0), here(0), direct(9_999)), None, "no proven path makes room");
    }

    #[test]
    fn the_best_proven_path_is_used_and_a_little_better_one_does_not_take_its_place() {
        let mut paths = Paths::default();
        assert_eq!(paths.rechoose(), None);
        let relay = add(&mut paths, here(0), relayed());
        let slow = add(&mut paths, here(0), direct(1));
        let fast = add(&mut paths, here(1), direct(1));
        assert_eq!(paths.rechoose(), None, "none is proven");
        prove(&mut paths, relay, 20);
        assert_eq!(paths.rechoose().map(|view| view.kind), Some(crate::PathKind::Relayed(RelayId(1))));
        prove(&mut paths, slow, 100);
        assert!(paths.rechoose().is_some() && paths.is_active(slow), "direct, though slower");
        prove(&mut paths, fast, 90);
        assert_eq!(paths.rechoose(), None);
        assert!(paths.is_active(slow));
        paths.retain(|path| path.remote != direct(1) || path.local != here(0));
        assert_eq!(paths.active(), None);
        assert!(paths.rechoose().is_some());
    }

    #[test]
    fn what_is_ending_is_left_for_anything_that_works() {
        let mut paths = Paths::default();
        let relay = add(&mut paths, here(1), relayed());
        let good = add(&mut paths, here(0), direct(1));
        prove(&mut paths, relay, 200);
        prove(&mut paths, good, 20);
        paths.rechoose();
        paths.at_mut(good).local_ending = true;
        assert!(paths.rechoose().is_some());
        assert!(paths.is_active(relay));
        paths.at_mut(relay).local_ending = true;
        assert!(paths.any_usable(), "an ending path is better than none");
    }

    #[test]
    fn without_a_proven_path_a_few_copies_go_out_one_of_them_through_the_relay() {
        let mut paths = Paths::default();
        assert!(paths.routes(at(0)).is_empty());
        for number in 1..10 {
            let place = add(&mut paths, here(0), direct(number));
            paths.at_mut(place).promise = 0;
        }
        let relay = add(&mut paths, here(0), relayed());
        let routes = paths.routes(at(0));
        assert_eq!(routes.places().len(), MAX_SPRAY);
        assert!(routes.places().contains(&relay));
    }

    #[test]
    fn a_newly_seen_address_gets_copies_for_a_while_beside_the_active_path() {
        let (mut paths, good) = with_active();
        let new = add(&mut paths, here(0), direct(2));
        paths.echo(at(0), new);
        assert_eq!(paths.routes(at(100)).places(), [good, new]);
        assert_eq!(paths.routes(at(500)).places(), [good]);
    }

    #[test]
    fn copies_end_when_the_active_path_answers_what_was_asked_since() {
        let (mut paths, good) = with_active();
        let new = add(&mut paths, here(0), direct(2));
        paths.echo(at(100), new);
        assert!(!paths.at_mut(good).probe(at(100), false, || 7).is_empty(), "it is asked at once");
        for (place, asked) in [(good, at(99)), (new, at(100))] {
            paths.note_answer(place, asked);
            assert_eq!(paths.routes(at(101)).places(), [good, new]);
        }
        paths.note_answer(good, at(100));
        assert_eq!(paths.routes(at(101)).places(), [good]);
    }

    #[test]
    fn a_newer_generation_ends_direct_paths_to_the_older_and_no_others() {
        let mut paths = Paths::default();
        for (number, named) in [(1, Some((0, 5))), (2, Some((0, 6))), (3, Some((1, 5))), (4, None)] {
            let place = add(&mut paths, here(0), direct(number));
            paths.at_mut(place).remote_interface = named.map(|(id, generation)| (InterfaceId(id), generation));
        }
        let relay = add(&mut paths, here(0), relayed());
        paths.at_mut(relay).remote_interface = Some((InterfaceId(0), 5));
        paths.forget_older(InterfaceId(0), 6);
        let left: Vec<Remote> = paths.iter().map(|path| path.remote).collect();
        assert_eq!(left, [direct(2), direct(3), direct(4), relayed()]);
        paths.forget_older(InterfaceId(0), 4);
        assert_eq!(paths.len(), 4, "an older word changes nothing");
    }

    #[test]
    fn a_notice_ends_paths_to_interfaces_it_does_not_list_and_marks_those_that_end() {
        let mut paths = Paths::default();
        for (number, id) in [(1, 0), (2, 1), (3, 2)] {
            let place = add(&mut paths, here(0), direct(number));
            paths.at_mut(place).remote_interface = Some((InterfaceId(id), 1));
        }
        paths.apply_live(live(&[(0, 1, false), (1, 1, true)]));
        let left: Vec<_> = paths.iter().map(|path| (path.remote, path.remote_ending)).collect();
        assert_eq!(left, [(direct(1), false), (direct(2), true)]);
        paths.apply_live(live(&[(0, 1, false), (1, 1, false)]));
        assert!(paths.iter().all(|path| !path.remote_ending), "it stays after all");
    }

    #[test]
    fn generations_wrap_around() {
        assert!(is_older(1, 2) && !is_older(2, 1) && !is_older(2, 2));
        assert!(is_older(u16::MAX, 0) && !is_older(0, u16::MAX));
        assert!(is_older(0, 0x7fff) && !is_older(0, 0x8000));
    }

    #[test]
    fn a_path_of_unknown_speed_does_not_displace_a_proven_one() {
        let (mut paths, good) = with_active();
        let promising = add(&mut paths, here(1), direct(2));
        paths.at_mut(promising).promise = 0;
        assert_eq!(paths.rechoose(), None);
        assert_eq!(paths.at(good).view().rtt, Some(Duration::from_millis(20)));
    }
}
