//! A peer's relayed paths: the grant, the bind, the index the relay gave.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use ntm_proto::crypto::equal;
use ntm_proto::id::RelayIndex;
use ntm_proto::session::relay_token::bind_mac;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::RelayGrant;
use ntm_proto::wire::outer::{self, RelayBound};

use crate::context::Context;
use crate::interface::{Endpoint, Interfaces};
use crate::keys::{LinkId, PeerKey};

/// Holds the NAT's mapping towards the relay and the relay's soft state.
const REFRESH: Duration = Duration::from_secs(15);
/// When a bind that got no answer is repeated.
const RETRY: [Duration; 5] = [
    Duration::from_millis(150),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1_500),
    Duration::from_millis(3_000),
];

/// Datagrams that may ride on binds between one bind's turn and the next. A relay looks at few binds beside what it
/// relays: all that a busy node has to send, riding on binds, would itself keep the answer away.
const RIDERS: u32 = 256;

/// What a bind's answer changes in the table of relay indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewIndex {
    pub(crate) learned: Option<(SocketAddr, RelayIndex)>,
    pub(crate) outdated: Option<(SocketAddr, RelayIndex)>,
    /// The relay is about to stop, and no newer direction has replaced its grant yet.
    pub(crate) leave: bool,
}

/// One relay grant in use, from one local endpoint.
#[derive(Debug)]
pub(crate) struct RelayLink {
    peer: PeerKey,
    pub(crate) id: LinkId,
    pub(crate) grant: RelayGrant,
    pub(crate) leg: Leg,
    /// The newest direction holds this grant.
    pub(crate) is_current: bool,
    index: Option<RelayIndex>,
    /// An index the relay may have forgotten: better than nothing.
    doubted: Option<RelayIndex>,
    /// Datagrams that may still ride on binds until the next bind's turn.
    riders: u32,
    /// The newest index and, until another comes, the one before it: datagrams may still be on their
    /// way under it.
    previous: Option<(SocketAddr, RelayIndex)>,
    /// The newest bind's sequence number; each is made once and only rises.
    sequence: u64,
    bound_sequence: u64,
    unanswered: usize,
    next_bind: Instant,
}

impl RelayLink {
    pub(crate) fn new(now: Instant, peer: PeerKey, number: u32, grant: RelayGrant, leg: Leg) -> Self {
        Self {
            peer,
            id: LinkId { relay: grant.relay, number },
            grant,
            leg,
            is_current: true,
            index: None,
            doubted: None,
            riders: RIDERS,
            previous: None,
            sequence: 0,
            bound_sequence: 0,
            unanswered: 0,
            next_bind: now,
        }
    }

    /// Takes the link to another leg: what the relay knew of the old one is worth nothing.
    pub(crate) fn move_to(&mut self, now: Instant, leg: Leg) {
        self.leg = leg;
        self.doubt_index(now);
        self.doubted = None;
    }

    /// The relay no longer seems to know the index: bind again.
    pub(crate) fn doubt_index(&mut self, now: Instant) {
        self.doubted = self.index.take().or(self.doubted);
        self.riders = RIDERS;
        self.unanswered = 0;
        self.next_bind = now;
    }

    pub(crate) fn index(&self) -> Option<RelayIndex> {
        self.index
    }

    /// The newest index it ever had, and where: datagrams may still come under it.
    pub(crate) fn known_as(&self) -> Option<(SocketAddr, RelayIndex)> {
        self.previous
    }

    /// Whether the relay has let several binds go unanswered.
    pub(crate) fn is_silent(&self) -> bool {
        self.unanswered >= RETRY.len()
    }

    /// `datagram` as it must go to the relay: under the index, or riding on a bind until there is one. `None` where
    /// enough rides already.
    pub(crate) fn wrap(&mut self, now: Instant, ctx: &mut Context, datagram: &[u8]) -> Option<Vec<u8>> {
        if self.index.is_none() && (self.riders > 0 || now >= self.next_bind) {
            return Some(self.bind(now, ctx, datagram));
        }
        let index = self.index.or(self.doubted)?;
        Some(outer::emit_relayed(index, datagram))
    }

    fn bind(&mut self, now: Instant, ctx: &mut Context, inner: &[u8]) -> Vec<u8> {
        if now >= self.next_bind {
            self.take_turn(now);
        }
        self.riders = self.riders.saturating_sub(1);
        self.sequence = ctx.note_bind(now, self.peer, self.id);
        let RelayGrant { side, token, bind_key, .. } = &self.grant;
        let inner = (!inner.is_empty()).then_some(inner);
        outer::emit_relay_bind(*side, self.sequence, token, inner, |covered| bind_mac(bind_key, covered))
    }

    /// The bind that was due is made, with data or without.
    fn take_turn(&mut self, now: Instant) {
        if self.unanswered >= 2 {
            // The relay may have restarted and forgotten the index: some of what follows rides on binds again.
            self.doubted = self.index.take().or(self.doubted);
        }
        self.next_bind = now + RETRY[self.unanswered.min(RETRY.len() - 1)];
        self.unanswered = self.unanswered.saturating_add(1);
        self.riders = RIDERS;
    }

    /// Takes the relay's answer; `None` where it is not authentic or old.
    pub(crate) fn handle_bound(&mut self, now: Instant, bound: &RelayBound<'_>) -> Option<NewIndex> {
        if bound.sequence <= self.bound_sequence || bound.sequence > self.sequence {
            return None;
        }
        if !equal(&bind_mac(&self.grant.bind_key, bound.covered()), bound.mac) {
            return None;
        }
        self.bound_sequence = bound.sequence;
        self.unanswered = 0;
        self.next_bind = now + REFRESH;
        let leave = bound.leaving && self.is_current;
        let known = (self.leg.server, bound.index);
        if self.index == Some(bound.index) {
            return Some(NewIndex { learned: None, outdated: None, leave });
        }
        self.index = Some(bound.index);
        self.doubted = None;
        let outdated = self.previous.replace(known);
        Some(NewIndex { learned: Some(known), outdated: outdated.filter(|old| *old != known), leave })
    }

    /// Under the index, and ends at the relay: proves to it that this address is where the index was sent.
    pub(crate) fn proof(&self) -> Option<Vec<u8>> {
        Some(outer::emit_relayed(self.index?, &outer::PUNCH))
    }

    pub(crate) fn next_timeout(&self) -> Instant {
        self.next_bind
    }

    /// The bind that is due, if one is.
    pub(crate) fn handle_timeout(&mut self, now: Instant, ctx: &mut Context) -> Option<Vec<u8>> {
        (now >= self.next_bind).then(|| self.bind(now, ctx, &[]))
    }
}

/// The way between this node and a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) local: Endpoint,
    pub(crate) server: SocketAddr,
}

/// The legs to a relay, one an interface, the preferred first.
pub(crate) fn legs(addresses: &[SocketAddr], interfaces: &Interfaces) -> Vec<Leg> {
    let mut legs: Vec<Leg> = Vec::new();
    for local in interfaces.endpoints() {
        let server = addresses.iter().find(|server| server.is_ipv4() == local.address.is_ipv4());
        let taken = legs.iter().any(|leg| leg.local.interface == local.interface);
        if let (Some(&server), false) = (server, taken) {
            legs.push(Leg { local, server });
        }
    }
    legs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, at, context, endpoint, interfaces, sent};
    use alloc::vec;
    use ntm_proto::crypto::Secret;
    use ntm_proto::id::RelayId;
    use ntm_proto::session::relay_token::RelayToken;
    use ntm_proto::wire::message::Side;
    use ntm_proto::wire::outer::Outer;

    const SERVER: &str = "20.0.0.1:4601";

    fn grant() -> RelayGrant {
        RelayGrant {
            relay: RelayId(1),
            addresses: vec![address(SERVER)],
            side: Side::Initiator,
            token: RelayToken::from_bytes([7; RelayToken::LEN]),
            bind_key: Secret::new([8; 32]),
        }
    }

    fn link() -> (Context, RelayLink) {
        let leg = Leg { local: endpoint(0, "10.0.0.2:1"), server: address(SERVER) };
        (context(), RelayLink::new(at(0), PeerKey(0), 0, grant(), leg))
    }

    fn bound(sequence: u64, index: u32, key: &Secret) -> Vec<u8> {
        let here = address("10.0.0.2:1");
        outer::emit_relay_bound(Side::Initiator, RelayIndex(index), sequence, here, false, |covered| {
            bind_mac(key, covered)
        })
    }

    fn answer(link: &mut RelayLink, now: u64, sequence: u64, index: u32) -> Option<NewIndex> {
        let datagram = bound(sequence, index, &Secret::new([8; 32]));
        link.handle_bound(at(now), &RelayBound::parse(&datagram).expect("well formed"))
    }

    #[test]
    fn until_the_relay_answers_datagrams_ride_on_binds_and_then_under_the_index() {
        let (mut ctx, mut link) = link();
        let first = link.wrap(at(0), &mut ctx, &[4, 1, 1, 1]).expect("it may ride");
        let Ok(Outer::RelayBind(bind)) = Outer::parse(&first) else { panic!("a bind was expected") };
        assert_eq!(bind.inner, Some(&[4, 1, 1, 1][..]));
        let new = answer(&mut link, 5, bind.sequence, 77).expect("authentic");
        assert_eq!(new, NewIndex { learned: Some((address(SERVER), RelayIndex(77))), outdated: None, leave: false });
        let second = link.wrap(at(6), &mut ctx, &[4, 1, 1, 1]);
        assert_eq!(second, Some(outer::emit_relayed(RelayIndex(77), &[4, 1, 1, 1])));
    }

    #[test]
    fn a_relay_that_says_it_leaves_is_left_until_a_newer_direction_has_come() {
        let (mut ctx, mut link) = link();
        let mut answer = |link: &mut RelayLink, now| {
            link.wrap(at(now), &mut ctx, &[]);
            link.doubt_index(at(now));
            let key = Secret::new([8; 32]);
            let here = address("10.0.0.2:1");
            let (side, index) = (Side::Initiator, RelayIndex(1));
            link.wrap(at(now), &mut ctx, &[]);
            let mac = |covered: &[u8]| bind_mac(&key, covered);
            let bound = outer::emit_relay_bound(side, index, link.sequence, here, true, mac);
            link.handle_bound(at(now), &RelayBound::parse(&bound).expect("well formed")).expect("authentic").leave
        };
        assert!(answer(&mut link, 1));
        assert!(answer(&mut link, 2), "the direction server may not know it yet");
        link.is_current = false;
        assert!(!answer(&mut link, 3));
    }

    #[test]
    fn a_bind_is_repeated_until_answered_and_refreshed_afterwards() {
        let (mut ctx, mut link) = link();
        let mut times = vec![];
        for _ in 0..6 {
            let now = link.next_timeout();
            assert!(link.handle_timeout(now, &mut ctx).is_some());
            times.push(now.as_millis());
        }
        assert_eq!(times, [0, 150, 450, 1_050, 2_550, 5_550]);
        assert!(link.is_silent());
        let sequence = link.sequence;
        assert!(answer(&mut link, 6_000, sequence, 1).is_some());
        assert!(!link.is_silent());
        assert_eq!(link.next_timeout(), at(6_000) + REFRESH);
        assert_eq!(link.handle_timeout(at(7_000), &mut ctx), None);
    }

    #[test]
    fn forged_old_and_future_answers_are_refused() {
        let (mut ctx, mut link) = link();
        let Some(_) = link.handle_timeout(at(0), &mut ctx) else { panic!("a bind is due") };
        let sequence = link.sequence;
        let forged = bound(sequence, 66, &Secret::new([9; 32]));
        assert_eq!(link.handle_bound(at(1), &RelayBound::parse(&forged).expect("well formed")), None);
        assert_eq!(answer(&mut link, 1, sequence + 1, 66), None, "to a bind that was never made");
        assert!(answer(&mut link, 1, sequence, 1).is_some());
        assert_eq!(answer(&mut link, 2, sequence, 66), None, "a second time");
        assert_eq!(link.index(), Some(RelayIndex(1)));
    }

    #[test]
    fn the_index_before_is_honoured_until_the_next_but_one() {
        let (mut ctx, mut link) = link();
        let mut outdated = vec![];
        for index in 1..4 {
            link.doubt_index(at(u64::from(index)));
            let now = link.next_timeout();
            link.handle_timeout(now, &mut ctx);
            let sequence = link.sequence;
            outdated.push(answer(&mut link, u64::from(index), sequence, index).expect("authentic").outdated);
        }
        let server = address(SERVER);
        assert_eq!(outdated, [None, Some((server, RelayIndex(1))), Some((server, RelayIndex(2)))]);
    }

    #[test]
    fn a_relay_that_answers_no_more_is_bound_anew_with_the_data() {
        let (mut ctx, mut link) = link();
        link.handle_timeout(at(0), &mut ctx);
        let sequence = link.sequence;
        answer(&mut link, 1, sequence, 5);
        for _ in 0..3 {
            let now = link.next_timeout();
            link.handle_timeout(now, &mut ctx);
        }
        for _ in 0..2 {
            let now = link.next_timeout();
            assert_eq!(riding(&mut link, &mut ctx, now), RIDERS);
            let under_the_index = Some(outer::emit_relayed(RelayIndex(5), &[4, 0, 0, 0]));
            assert_eq!(link.wrap(now, &mut ctx, &[4, 0, 0, 0]), under_the_index, "the relay may know it after all");
        }
    }

    /// The datagrams that leave on binds when there are many to send at once.
    fn riding(link: &mut RelayLink, ctx: &mut Context, now: Instant) -> u32 {
        let rides = |datagram: Option<Vec<u8>>| {
            datagram.is_some_and(|one| matches!(Outer::parse(&one), Ok(Outer::RelayBind(_))))
        };
        (0..1_000).map(|_| u32::from(rides(link.wrap(now, ctx, &[4, 0, 0, 0])))).sum()
    }

    #[test]
    fn few_datagrams_ride_on_binds_before_the_first_index_and_after_a_move() {
        let (mut ctx, mut link) = link();
        assert_eq!(riding(&mut link, &mut ctx, at(0)), RIDERS);
        assert_eq!(link.wrap(at(1), &mut ctx, &[4, 0, 0, 0]), None);
        let sequence = link.sequence;
        answer(&mut link, 2, sequence, 5);
        assert_eq!(riding(&mut link, &mut ctx, at(3)), 0);
        link.move_to(at(4), Leg { local: endpoint(1, "10.1.0.2:1"), server: address(SERVER) });
        assert_eq!(riding(&mut link, &mut ctx, at(4)), RIDERS);
        assert_eq!(link.wrap(at(5), &mut ctx, &[4, 0, 0, 0]), None, "the relay does not know the index from there");
    }

    #[test]
    fn binds_do_not_make_the_numbers_run_ahead_that_the_coordinator_and_peers_see() {
        let (mut ctx, mut link) = link();
        let before = ctx.sequence(at(0));
        for turn in 0..100 {
            link.doubt_index(at(turn));
            riding(&mut link, &mut ctx, at(turn));
        }
        assert_eq!(ctx.sequence(at(100)), before + 100);
    }

    #[test]
    fn each_bind_has_a_higher_number_than_every_one_before_also_of_other_links() {
        let (mut ctx, mut one) = link();
        let (_, mut two) = link();
        let mut last = 0;
        for _ in 0..RIDERS {
            for link in [&mut one, &mut two] {
                link.wrap(at(0), &mut ctx, &[4, 0, 0, 0]);
                assert!(link.sequence > last);
                last = link.sequence;
            }
        }
        assert_eq!(sent(&mut ctx), []);
    }

    #[test]
    fn a_relay_is_reached_over_one_address_of_each_interface_that_speaks_its_family() {
        let here = interfaces(&[(0, &["10.0.0.2:1", "10.0.0.3:1"]), (1, &["[fd00::2]:1"]), (2, &["10.2.0.2:1"])]);
        let found: Vec<_> = legs(&[address(SERVER)], &here).iter().map(|leg| leg.local).collect();
        assert_eq!(found, [endpoint(0, "10.0.0.2:1"), endpoint(2, "10.2.0.2:1")]);
        assert_eq!(legs(&[], &here), []);
    }
}
