//! The state machine: what comes in is told apart here, what lapses is found here.

use core::net::SocketAddr;
use core::num::NonZeroU16;
use std::collections::VecDeque;

use ntm_proto::id::PathId;
use ntm_proto::identity::ServerCert;
use ntm_proto::rng::Rng;
use ntm_proto::session::relay_token::GrantKey;
use ntm_proto::time::{Instant, WallClock};
use ntm_proto::wire::message::{RelayReport, Side};
use ntm_proto::wire::outer::{self, Outer, OuterType};

use crate::accounts::Accounts;
use crate::config::{Capacity, Config, Director};
use crate::director::Links;
use crate::grant::{Health, Locals};
use crate::limits;
use crate::load::LoadMeter;
use crate::pace::{Pace, Rate, SourceMeter};
use crate::revoked::Revoked;
use crate::shard::Shard;
use crate::stats::{DropReason, Stats};
use crate::table::{Slot, Table};

/// A datagram to send at once, made in the buffer of the one that was handed in.
#[derive(Debug, PartialEq, Eq)]
pub struct Forward<'a> {
    /// The relay's own address to send from.
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub datagram: &'a [u8],
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The relay's own address to send from.
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub datagram: Vec<u8>,
}

/// Why the relay wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// A grant, a left index or a waiting datagram lapses.
    Grants,
    /// A direction server is due for a report, a handshake or a rekey.
    Directors,
}

/// A relay server. The crate's documentation has its driving loop and its invariants.
#[derive(Debug)]
pub struct Relay {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) table: Table,
    pub(crate) accounts: Accounts,
    pub(crate) locals: Locals,
    pub(crate) revoked: Revoked,
    pub(crate) stats: Stats,
    pub(crate) draining: bool,
    /// How far all binds together have used up their rate.
    pub(crate) binds: Pace,
    pub(crate) bind_sources: SourceMeter,
    ping_sources: SourceMeter,
    links: Links,
    load: LoadMeter,
    elsewhere: Elsewhere,
    transmits: VecDeque<Transmit>,
    /// What direction servers have revoked and the driver has not been told.
    revocations: VecDeque<PathId>,
}

/// What the other shards of the same relay carry: it belongs into the one report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    pub grants: usize,
    /// For how many grants there is room there, these included.
    pub room: usize,
    pub forwarded_bytes: u64,
}

/// What of its configuration a relay can change while it runs.
#[derive(Clone, Debug)]
pub struct Changes {
    pub cert: ServerCert,
    pub grant_keys: Vec<GrantKey>,
    pub directors: Vec<Director>,
    pub capacity: Capacity,
}

impl Relay {
    /// A relay that holds no grant yet and calls its direction servers at once.
    pub fn new(now: Instant, config: Config, seed: [u8; 32]) -> Self {
        Self::new_shard(now, config, seed, Shard::ONLY)
    }

    /// One of several relays behind one address. The first alone should have direction servers.
    pub fn new_shard(now: Instant, config: Config, seed: [u8; 32], shard: Shard) -> Self {
        let mut rng = Rng::from_seed(seed);
        let binds = Rate::events(limits::SOURCE_BINDS_PER_SECOND, limits::SOURCE_BIND_BURST);
        let pings = Rate::events(limits::SOURCE_PINGS_PER_SECOND, limits::SOURCE_PING_BURST);
        Self {
            table: Table::new(shard),
            accounts: Accounts::new(config.capacity.rate_per_account),
            locals: Locals::default(),
            revoked: Revoked::default(),
            stats: Stats::default(),
            draining: false,
            binds: Pace::default(),
            bind_sources: SourceMeter::new(binds, rng.u64()),
            ping_sources: SourceMeter::new(pings, rng.u64()),
            links: Links::new(now, &config, rng.fork()),
            load: LoadMeter::new(now),
            elsewhere: Elsewhere::default(),
            transmits: VecDeque::new(),
            revocations: VecDeque::new(),
            rng,
            config,
        }
    }

    /// Takes in one datagram that arrived at the relay's own address `local`.
    ///
    /// This is the hot path: a datagram that only goes on is rewritten where it lies and handed
    /// back, and nothing is allocated. `datagram` is scratch afterwards.
    pub fn handle_datagram<'a>(
        &mut self,
        now: Instant,
        local: SocketAddr,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Option<Forward<'a>> {
        let outcome = match outer::peek(datagram) {
            Ok(OuterType::Relayed) => self.handle_relayed(now, from, datagram),
            Ok(OuterType::RelayBind) => self.handle_bind(now, local, from, datagram),
            Ok(OuterType::RelayPing) => self.handle_ping(now, local, from, datagram).map(Some),
            Ok(OuterType::HandshakeResponse | OuterType::CookieReply | OuterType::Data) => {
                self.handle_session(now, datagram).map(|()| None)
            }
            Ok(OuterType::HandshakeInit | OuterType::RelayBound | OuterType::RelayPong | OuterType::Punch) => {
                Err(DropReason::UnexpectedType)
            }
            Err(_) => Err(DropReason::Malformed),
        };
        outcome.unwrap_or_else(|reason| {
            self.stats.count(reason);
            None
        })
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(slot) = self.table.due(now) {
            self.check(now, slot);
        }
        self.run_links(now);
    }

    /// The next datagram to send, until there is none.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// When to call [`Relay::handle_timeout`], and why then.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let grants = self.table.next_check().map(|at| (at, Timer::Grants));
        let directors = self.links.next_timeout().map(|at| (at, Timer::Directors));
        grants.into_iter().chain(directors).min()
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Takes no new grants from now on, and tells the direction servers so. What is granted
    /// already goes on: the relay may be stopped once [`Stats::grants`] is zero.
    pub fn drain(&mut self, now: Instant) {
        self.draining = true;
        self.links.report_at(now);
        self.run_links(now);
    }

    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Replaces the keys under which tokens are accepted. Grants that are made stay, but are bound
    /// again only under a key that is still there.
    pub fn set_grant_keys(&mut self, keys: Vec<GrantKey>) {
        self.config.grant_keys = keys;
    }

    /// Goes on under another configuration. Grants and the sessions with direction servers that stay are
    /// not disturbed; those that are gone are forgotten, new ones called at once.
    pub fn adopt(&mut self, now: Instant, changes: Changes) {
        let Changes { cert, grant_keys, directors, capacity } = changes;
        (self.config.cert, self.config.grant_keys, self.config.capacity) = (cert, grant_keys, capacity);
        self.config.directors = directors;
        self.accounts.set_rate(capacity.rate_per_account);
        self.links.adopt(now, &self.config);
        self.links.report_at(now);
    }

    /// What the relay's other shards carry now.
    pub fn set_elsewhere(&mut self, elsewhere: Elsewhere) {
        self.elsewhere = elsewhere;
    }

    /// The next path that a direction server has revoked here, for the relay's other shards to
    /// [`revoke`](Self::revoke) as well.
    pub fn poll_revocation(&mut self) -> Option<PathId> {
        self.revocations.pop_front()
    }

    /// Forgets the grants of a path, and lets none be made from its tokens any more.
    pub fn revoke(&mut self, now: Instant, path_id: PathId) {
        if self.revoked.insert(now, path_id) {
            self.stats.revocations_evicted += 1;
        }
        for slot in self.table.of_path(path_id) {
            self.forget(slot);
            self.stats.grants_revoked += 1;
        }
    }

    /// The host's calendar clock has stepped.
    pub fn set_wall_clock(&mut self, wall: WallClock) {
        self.config.wall = wall;
    }

    /// Queues a datagram for the driver.
    pub(crate) fn transmit(&mut self, from: SocketAddr, to: SocketAddr, datagram: Vec<u8>) {
        if self.transmits.len() < limits::MAX_TRANSMITS {
            self.transmits.push_back(Transmit { from, to, datagram });
        } else {
            self.stats.count(DropReason::TransmitFull);
        }
    }

    /// Answers in the same bytes, so that a forged source gains nothing by it.
    fn handle_ping<'a>(
        &mut self,
        now: Instant,
        local: SocketAddr,
        from: SocketAddr,
        datagram: &'a mut [u8],
    ) -> Result<Forward<'a>, DropReason> {
        let Ok(Outer::RelayPing { nonce }) = Outer::parse(datagram) else { return Err(DropReason::Malformed) };
        if !self.ping_sources.admit(now, from.ip()) {
            return Err(DropReason::PingFlood);
        }
        datagram.copy_from_slice(&outer::emit_relay_pong(nonce, from));
        self.stats.pings += 1;
        Ok(Forward { from: local, to: from, datagram })
    }

    /// What a direction server says.
    fn handle_session(&mut self, now: Instant, datagram: &mut [u8]) -> Result<(), DropReason> {
        if let Some(path_id) = self.links.handle_datagram(now, datagram, &mut self.stats)? {
            self.revoke(now, path_id);
            // A driver with one shard takes none away; what it keeps is as good as told.
            if self.revocations.len() == limits::MAX_REVOKED {
                self.revocations.pop_front();
            }
            self.revocations.push_back(path_id);
        }
        self.run_links(now);
        Ok(())
    }

    /// Says to the direction servers what is due.
    fn run_links(&mut self, now: Instant) {
        if self.links.next_timeout().is_some_and(|at| at <= now) {
            let report = self.report(now);
            self.links.handle_timeout(now, &self.config, &report);
        }
        while let Some(Transmit { from, to, datagram }) = self.links.poll_transmit() {
            self.transmit(from, to, datagram);
        }
    }

    /// Looks at a grant of which something may have lapsed.
    fn check(&mut self, now: Instant, slot: Slot) {
        match self.table.route(slot).health(now) {
            Health::Expired => {
                self.forget(slot);
                self.stats.grants_expired += 1;
            }
            Health::Idle => {
                self.forget(slot);
                self.stats.grants_idle += 1;
            }
            Health::Good => {
                for side in [Side::Initiator, Side::Responder] {
                    self.drop_lapsed(now, slot, side);
                    let state = self.table.side_mut(slot, side);
                    if let Some(former) = state.former.take_if(|former| former.until <= now) {
                        self.table.release(former.binding.index);
                    }
                }
                self.table.postpone(slot);
            }
        }
    }

    fn forget(&mut self, slot: Slot) {
        let account = self.table.route(slot).account;
        if let Some(grant) = self.table.remove(slot) {
            self.accounts.leave(account);
            self.stats.held_bytes -= grant.sides.iter().map(|side| side.held.bytes()).sum::<usize>();
            self.stats.grants = self.table.len();
        }
    }

    /// Where accounts have no rate their grants may be anywhere, and are better spread.
    fn shards_of_accounts(&self) -> NonZeroU16 {
        let shards = if self.accounts.have_a_rate() { self.table.shards() } else { 1 };
        u16::try_from(shards).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN)
    }

    fn report(&mut self, now: Instant) -> RelayReport {
        let grants = self.config.capacity.grants.clamp(1, limits::MAX_GRANTS) + self.elsewhere.room;
        let held = self.table.len() + self.elsewhere.grants;
        let full = held.saturating_mul(10_000) / grants;
        let carried = self.stats.forwarded_bytes.saturating_add(self.elsewhere.forwarded_bytes);
        let busy = self.load.sample(now, carried, self.config.capacity.bytes_per_second);
        RelayReport {
            relay: self.config.id,
            addresses: self.config.addresses.clone(),
            load: u16::try_from(full).unwrap_or(u16::MAX).max(busy).min(10_000),
            draining: self.draining,
            shards: self.shards_of_accounts(),
        }
    }
}
