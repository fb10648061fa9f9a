//! Probes, notices, and what happens when an interface of either end comes, changes or goes.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use ntm_proto::id::InterfaceId;
use ntm_proto::time::Instant;
use ntm_proto::wire::frame::{Frame, InterfaceNotice, PathChallenge, PathResponse};

use super::paths::Routes;
use super::{Arrival, Peer};
use crate::context::Context;
use crate::interface::{Change, Interfaces};
use crate::path::{Probe, Remote};
use crate::stats::DropReason;

/// How long probes go with a notice after the interfaces changed: a notice has no answer of its own.
const NOTICE_PERIOD: Duration = Duration::from_secs(2);

impl Peer {
    /// One of this node's interfaces changed: paths from endpoints that are gone end, every remote
    /// address that is known is tried from those that came, all at once, and the relay is told.
    pub(crate) fn handle_change(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces, change: &Change) {
        self.remember_remotes();
        self.paths.retain(|path| !path.is_direct() || !change.gone.contains(&path.local));
        self.spread_links(now, interfaces, change);
        for &local in &change.come {
            for (promise, (remote, interface)) in self.known_remotes().into_iter().enumerate() {
                let Remote::Direct(to) = remote else { continue };
                if to.is_ipv4() != local.address.is_ipv4() {
                    continue;
                }
                let Some(at) = self.paths.add(now, local, remote) else { continue };
                let path = self.paths.at_mut(at);
                path.promise = u8::try_from(promise).unwrap_or(u8::MAX);
                path.remote_interface = path.remote_interface.or(interface);
                path.vouch();
            }
        }
        self.paths.refresh_local(interfaces);
        self.update_costs(interfaces);
        self.notice_until = Some(now + NOTICE_PERIOD);
        self.next_recovery = now + super::RECOVER_PAUSES[0];
        self.recoveries = 0;
        self.rechoose(now, ctx);
        if self.is_dormant(now) {
            return;
        }
        self.send_notice(now, ctx, interfaces, self.paths.routes(now));
        self.run_probes(now, ctx, interfaces);
        self.run_links(now, ctx);
        self.flush(now, ctx);
    }

    /// One of this node's interfaces is about to end: traffic leaves it now, and the peer is told.
    pub(crate) fn handle_ending(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces) {
        self.paths.refresh_local(interfaces);
        self.spread_links(now, interfaces, &Change::default());
        self.notice_until = Some(now + NOTICE_PERIOD);
        self.rechoose(now, ctx);
        self.send_notice(now, ctx, interfaces, self.paths.routes(now));
        let places: Vec<usize> = (0..self.paths.len()).filter(|&at| self.paths.at(at).is_proven()).collect();
        for at in places {
            self.send_notice(now, ctx, interfaces, Routes::one(at));
        }
    }

    /// Remote addresses in the order in which they are worth trying from elsewhere: the active one, then
    /// proven ones, then the rest.
    fn remember_remotes(&mut self) {
        let mut known: Vec<_> = (0..self.paths.len())
            .map(|at| (!self.paths.is_active(at), self.paths.at(at)))
            .filter(|(_, path)| path.is_direct() && path.is_vouched())
            .map(|(idle, path)| (idle, path.rank(), path.remote, path.remote_interface))
            .collect();
        known.sort_by_key(|&(idle, rank, remote, _)| (idle, rank, remote));
        let mut best: Vec<_> = known.into_iter().map(|(_, _, remote, interface)| (remote, interface)).collect();
        best.extend(self.remembered.iter().copied());
        let mut seen = Vec::new();
        best.retain(|(remote, _)| {
            let new = !seen.contains(remote);
            if new {
                seen.push(*remote);
            }
            new
        });
        best.truncate(super::MAX_REMEMBERED);
        self.remembered = best;
    }

    /// What worked or was named before, then every other outer address that the peer's description holds:
    /// this node may have come to a network whose addresses it had no use for until now.
    fn known_remotes(&self) -> Vec<(Remote, Option<(InterfaceId, u16)>)> {
        let mut known = self.remembered.clone();
        for interface in &self.description.interfaces {
            let named = Some((interface.id, interface.generation));
            let outer = interface.addresses.iter().filter(|address| is_global(address.ip()));
            for &address in interface.reflexive.iter().chain(outer) {
                if !known.iter().any(|(remote, _)| *remote == Remote::Direct(address)) {
                    known.push((Remote::Direct(address), named));
                }
            }
        }
        known
    }

    fn send_notice(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces, routes: Routes) {
        if routes.is_empty() {
            return;
        }
        let notice = InterfaceNotice { sequence: ctx.sequence(now), live: interfaces.live() };
        let mut bytes = Vec::new();
        Frame::InterfaceNotice(notice).emit(&mut bytes);
        self.send_frame(now, ctx, routes, &bytes);
    }

    /// Sends the probes that are due and drops those nobody answered.
    pub(crate) fn run_probes(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces) {
        if self.session.sealing(now).is_none() {
            return;
        }
        let (mut changed, mut lost) = (false, false);
        let busy = self.is_busy(now);
        let notice = self.notice_until.is_some_and(|until| now < until);
        for at in 0..self.paths.len() {
            let expired = self.paths.at_mut(at).expire(now);
            changed |= expired.changed;
            lost |= expired.lost;
            if expired.lost && self.paths.is_active(at) {
                // Whatever broke may have broken other paths too: by the time this one is given up, it
                // should be known which of them still work.
                self.paths.hedge(now);
                self.paths.iter_mut().filter(|path| path.is_proven()).for_each(|path| path.question(now));
            }
            let busy = busy && self.paths.is_active(at);
            let probes = self.paths.at_mut(at).probe(now, busy, || ctx.rng.u64());
            if notice && !probes.is_empty() {
                self.send_notice(now, ctx, interfaces, Routes::one(at));
            }
            for probe in probes {
                self.send_probe(now, ctx, interfaces, at, probe);
            }
        }
        if lost {
            self.forget_silent_relays(now);
        }
        if changed {
            self.rechoose(now, ctx);
        }
    }

    fn send_probe(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces, at: usize, probe: Probe) {
        let interface = self.paths.at(at).local.interface;
        let challenge = PathChallenge { nonce: probe.nonce, interface, generation: interfaces.generation(interface) };
        let mut bytes = Vec::new();
        let excess = if self.is_unbound(at) { super::traffic::BIND_EXCESS } else { 0 };
        challenge.emit(probe.size.saturating_sub(Self::sealed_len(0) + excess), &mut bytes);
        self.send_frame(now, ctx, Routes::one(at), &bytes);
    }

    /// Answers a challenge the way it came, and takes from it which of the peer's interfaces this is.
    pub(crate) fn handle_challenge(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        interfaces: &Interfaces,
        arrival: Arrival,
        challenge: &PathChallenge,
    ) {
        let observed = match arrival.remote {
            Remote::Direct(from) => from,
            Remote::Relayed(link) => match self.link(link) {
                Some(link) => link.leg.server,
                None => return,
            },
        };
        let Some(at) = self.path_of(now, arrival) else {
            ctx.stats.drop(DropReason::Full);
            return;
        };
        let named = Some((challenge.interface, challenge.generation));
        let path = self.paths.at_mut(at);
        let moved = path.remote_interface != named;
        if moved && path.remote_interface.is_some() && !path.is_direct() {
            // The relay leads elsewhere now: what was known of this path was known of another.
            path.renew(now);
        }
        path.remote_interface = named;
        let response = PathResponse {
            nonce: challenge.nonce,
            interface: arrival.local.interface,
            generation: interfaces.generation(arrival.local.interface),
            observed,
        };
        let mut bytes = Vec::new();
        Frame::PathResponse(response).emit(&mut bytes);
        self.send_frame(now, ctx, Routes::one(at), &bytes);
        if moved {
            self.paths.forget_older(challenge.interface, challenge.generation);
            self.paths.refresh_remote();
            self.update_costs(interfaces);
            self.follow(now, ctx, interfaces, arrival);
        }
    }

    /// The peer was seen on a path for the first time: prove it, and use it if nothing better is left.
    fn follow(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces, arrival: Arrival) {
        if let Some(at) = self.paths.find(arrival.local, arrival.remote)
            && !self.paths.at(at).is_proven()
        {
            let path = self.paths.at_mut(at);
            path.promise = 0;
            path.restart(now);
            self.paths.echo(now, at);
        }
        self.rechoose(now, ctx);
        self.run_probes(now, ctx, interfaces);
        if self.paths.active().is_none() {
            self.flush(now, ctx);
        }
    }

    pub(crate) fn handle_path_response(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        interfaces: &Interfaces,
        response: &PathResponse,
    ) {
        let answered = (0..self.paths.len()).find_map(|at| {
            let answered = self.paths.at_mut(at).answered(now, response.nonce)?;
            Some((at, answered))
        });
        let Some((at, answered)) = answered else { return };
        self.paths.note_answer(at, answered.asked);
        self.paths.at_mut(at).remote_interface = Some((response.interface, response.generation));
        self.paths.refresh_remote();
        self.update_costs(interfaces);
        self.rechoose(now, ctx);
        if answered.newly_proven {
            self.drop_older_links();
            self.run_probes(now, ctx, interfaces);
        }
    }

    /// The peer's complete list of interfaces, newest first come.
    pub(crate) fn handle_notice(
        &mut self,
        now: Instant,
        ctx: &mut Context,
        interfaces: &Interfaces,
        notice: &InterfaceNotice,
    ) {
        if notice.sequence <= self.notice_taken {
            return;
        }
        self.notice_taken = notice.sequence;
        let before = self.paths.active().map(|at| (self.paths.at(at).local, self.paths.at(at).remote));
        self.paths.apply_live(notice.live.clone());
        self.remembered.retain(|(_, interface)| match interface {
            Some((id, generation)) => notice.live.iter().any(|live| live.id == *id && live.generation == *generation),
            None => true,
        });
        self.rechoose(now, ctx);
        self.run_probes(now, ctx, interfaces);
        if before.is_some() && self.paths.active().is_none() {
            self.flush(now, ctx);
        }
    }
}

/// Whether an address means the same host everywhere.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            !(v4.is_private() || v4.is_link_local() || v4.is_loopback() || v4.is_unspecified() || shared)
        }
        IpAddr::V6(v6) => {
            !(v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback() || v6.is_unspecified())
        }
    }
}
