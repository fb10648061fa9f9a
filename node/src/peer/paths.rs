//! All paths to one peer: finding, bounding and choosing among them.

use alloc::vec::Vec;

use ntm_proto::id::InterfaceId;
use ntm_proto::time::Instant;
use ntm_proto::wire::frame::LiveInterface;

use crate::event::PathView;
use crate::interface::{Endpoint, Interfaces};
use crate::path::{Path, Proof, Rank, Remote};

/// Paths kept for one peer. When all are taken a failed one makes room, then an unproven one.
pub(crate) const MAX_PATHS: usize = 32;
/// Paths that carry the same datagram while none is known to work.
const MAX_SPRAY: usize = 3;

type Key = (Endpoint, Remote);

#[derive(Debug, Default)]
pub(crate) struct Paths {
    list: Vec<Path>,
    active: Option<Key>,
    /// Until then another path gets copies beside the active one: the peer seems to have moved there, or
    /// the active one seems to be breaking.
    echo_until: Option<(Instant, Key)>,
    /// The peer's interfaces as its last notice had them.
    live: Vec<LiveInterface>,
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

    /// Data of the peer came from where no path was known: it seems to have moved there.
    pub(crate) fn echo(&mut self, at: usize, until: Instant) {
        let path = &self.list[at];
        self.echo_until = Some((until, (path.local, path.remote)));
    }

    /// The active path left a question unanswered: until it is known what that means, the next best one
    /// carries copies.
    pub(crate) fn hedge(&mut self, until: Instant) {
        let active = self.active();
        let best = (0..self.list.len())
            .filter(|&at| Some(at) != active && self.list[at].is_proven())
            .min_by_key(|&at| self.list[at].rank());
        if let Some(at) = best {
            self.echo(at, until);
        }
    }

    /// The paths a datagram takes now: the active one, or the most promising few where none is known
    /// to work; the receiver's replay window makes one of the copies.
    pub(crate) fn routes(&self, now: Instant) -> Routes {
        let mut routes = Routes::default();
        if let Some(active) = self.active() {
            routes.push(active);
            if let Some((until, (local, remote))) = self.echo_until
                && now < until
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
