//! Measuring the way to each relay: the direction coordinator chooses relays by these times, and what
//! two servers see of one socket tells what its NAT does.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use ntm_proto::id::RelayId;
use ntm_proto::time::Instant;
use ntm_proto::wire::message::{MAX_RELAYS, RelayInfo, RelayRtt};
use ntm_proto::wire::outer;

use crate::context::Context;
use crate::event::RelayView;
use crate::interface::{Endpoint, Interfaces};

/// A survey ends when every ping is answered, or after this.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Pings that got no answer are sent a second time after this.
const REPEAT_AFTER: Duration = Duration::from_millis(500);
/// Round-trip times are measured again this often.
const EVERY: Duration = Duration::from_secs(600);
/// Pings in one survey.
const MAX_PINGS: usize = 64;

#[derive(Debug)]
struct Ping {
    nonce: u64,
    relay: RelayId,
    local: Endpoint,
    server: SocketAddr,
    sent: Instant,
    rtt: Option<Duration>,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Measuring { began: Instant, repeated: bool },
}

#[derive(Debug)]
pub(crate) struct Survey {
    relays: Vec<RelayInfo>,
    pings: Vec<Ping>,
    phase: Phase,
    next: Instant,
    rtts: Vec<RelayRtt>,
}

impl Survey {
    pub(crate) fn new() -> Self {
        Self { relays: Vec::new(), pings: Vec::new(), phase: Phase::Idle, next: Instant::FAR_FUTURE, rtts: Vec::new() }
    }

    /// The best round-trip time to each relay that answered.
    pub(crate) fn rtts(&self) -> Vec<RelayRtt> {
        self.rtts.clone()
    }

    /// The relays there are, each with the best round trip if it answered.
    pub(crate) fn views(&self) -> Vec<RelayView> {
        let rtt = |relay| self.rtts.iter().find(|rtt| rtt.relay == relay).map(|rtt| rtt.rtt);
        self.relays
            .iter()
            .map(|info| RelayView { relay: info.relay, addresses: info.addresses.clone(), rtt: rtt(info.relay) })
            .collect()
    }

    pub(crate) fn set_relays(&mut self, now: Instant, relays: Vec<RelayInfo>) {
        if self.relays != relays {
            self.relays = relays;
            self.relays.truncate(MAX_RELAYS);
            self.next = now;
        }
    }

    /// The interfaces changed: what was measured is no longer true.
    pub(crate) fn restart(&mut self, now: Instant) {
        if !self.relays.is_empty() {
            self.next = now;
        }
    }

    pub(crate) fn next_timeout(&self) -> Instant {
        match self.phase {
            Phase::Idle => self.next,
            Phase::Measuring { began, repeated: false } => self.next.min(began + REPEAT_AFTER),
            Phase::Measuring { began, repeated: true } => self.next.min(began + PATIENCE),
        }
    }

    /// Says whether a survey came to its end.
    pub(crate) fn handle_timeout(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces) -> bool {
        if now >= self.next {
            self.begin(now, ctx, interfaces);
            return false;
        }
        match &mut self.phase {
            Phase::Measuring { began, repeated } if !*repeated && now >= *began + REPEAT_AFTER => {
                *repeated = true;
                for ping in self.pings.iter_mut().filter(|ping| ping.rtt.is_none()) {
                    ping.sent = now;
                    ctx.transmit(ping.local, ping.server, outer::emit_relay_ping(ping.nonce));
                }
                false
            }
            Phase::Measuring { began, .. } if now >= *began + PATIENCE => {
                self.finish();
                true
            }
            _ => false,
        }
    }

    fn begin(&mut self, now: Instant, ctx: &mut Context, interfaces: &Interfaces) {
        self.next = now + EVERY;
        self.pings.clear();
        for local in interfaces.endpoints() {
            for relay in &self.relays {
                let server = relay.addresses.iter().find(|server| server.is_ipv4() == local.address.is_ipv4());
                let Some(&server) = server else { continue };
                if self.pings.len() >= MAX_PINGS {
                    break;
                }
                let nonce = ctx.rng.u64();
                self.pings.push(Ping { nonce, relay: relay.relay, local, server, sent: now, rtt: None });
                ctx.transmit(local, server, outer::emit_relay_ping(nonce));
            }
        }
        self.phase = if self.pings.is_empty() { Phase::Idle } else { Phase::Measuring { began: now, repeated: false } };
    }

    /// Takes a pong. Gives the endpoint it is about where it answers a ping, and whether it was the last.
    pub(crate) fn handle_pong(&mut self, now: Instant, from: SocketAddr, nonce: u64) -> Option<(Endpoint, bool)> {
        let ping =
            self.pings.iter_mut().find(|ping| ping.nonce == nonce && ping.server == from && ping.rtt.is_none())?;
        ping.rtt = Some(now.since(ping.sent));
        let local = ping.local;
        let done = matches!(self.phase, Phase::Measuring { .. }) && self.pings.iter().all(|ping| ping.rtt.is_some());
        if done {
            self.finish();
        }
        Some((local, done))
    }

    fn finish(&mut self) {
        self.phase = Phase::Idle;
        self.rtts = self
            .relays
            .iter()
            .filter_map(|relay| {
                let pings = self.pings.iter().filter(|ping| ping.relay == relay.relay);
                let rtt = pings.filter_map(|ping| ping.rtt).min()?;
                Some(RelayRtt { relay: relay.relay, rtt })
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, at, context, interfaces, sent};
    use alloc::vec;

    fn relay(number: u8) -> RelayInfo {
        let addresses = vec![
            SocketAddr::new([20, 0, 0, number].into(), 4_601),
            SocketAddr::new([0x2400, 0, 0, 0, 0, 0, 0, u16::from(number)].into(), 4_601),
        ];
        RelayInfo { relay: RelayId(number.into()), addresses }
    }

    fn nonce(ping: &[u8]) -> u64 {
        match outer::Outer::parse(ping) {
            Ok(outer::Outer::RelayPing { nonce }) => nonce,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_endpoint_asks_every_relay_of_its_family_and_the_best_answer_counts() {
        let (mut ctx, mut survey) = (context(), Survey::new());
        let here = interfaces(&[(0, &["10.0.0.2:1"]), (1, &["10.1.0.2:1", "[fd00::2]:1"])]);
        assert_eq!(survey.next_timeout(), Instant::FAR_FUTURE);
        survey.set_relays(at(0), vec![relay(1), relay(2)]);
        assert_eq!(survey.next_timeout(), at(0));
        assert!(!survey.handle_timeout(at(0), &mut ctx, &here));
        let pings = sent(&mut ctx);
        assert_eq!(pings.len(), 6);
        assert!(pings.iter().all(|(from, to, _)| from.address.is_ipv4() == to.is_ipv4()));
        let mut done = None;
        for (number, (from, to, ping)) in (1..).zip(&pings) {
            let (endpoint, last) = survey.handle_pong(at(10 * number), *to, nonce(ping)).expect("it answers a ping");
            assert_eq!(endpoint, *from);
            done = Some(last);
        }
        assert_eq!(done, Some(true));
        let least = |relay: u8| {
            let to_it = |to: &SocketAddr| to.ip() == relay_address(relay, to.is_ipv4());
            let at = pings.iter().position(|(_, to, _)| to_it(to)).expect("asked");
            Duration::from_millis(10 * (at as u64 + 1))
        };
        let expected: Vec<RelayRtt> =
            [1, 2].map(|number| RelayRtt { relay: RelayId(number.into()), rtt: least(number) }).into();
        assert_eq!(survey.rtts(), expected);
    }

    fn relay_address(number: u8, v4: bool) -> core::net::IpAddr {
        let relay = relay(number);
        relay.addresses.iter().find(|address| address.is_ipv4() == v4).expect("both families").ip()
    }

    #[test]
    fn a_pong_from_elsewhere_with_another_nonce_or_twice_is_no_answer() {
        let (mut ctx, mut survey) = (context(), Survey::new());
        let here = interfaces(&[(0, &["10.0.0.2:1"])]);
        survey.set_relays(at(0), vec![relay(1), relay(2)]);
        survey.handle_timeout(at(0), &mut ctx, &here);
        let pings = sent(&mut ctx);
        let (_, to, ping) = &pings[0];
        assert!(survey.handle_pong(at(1), address("66.6.6.6:4601"), nonce(ping)).is_none());
        assert!(survey.handle_pong(at(1), *to, nonce(ping) ^ 1).is_none());
        assert!(survey.handle_pong(at(1), *to, nonce(ping)).is_some());
        assert!(survey.handle_pong(at(2), *to, nonce(ping)).is_none());
    }

    #[test]
    fn a_silent_relay_is_asked_twice_and_then_left_out() {
        let (mut ctx, mut survey) = (context(), Survey::new());
        let here = interfaces(&[(0, &["10.0.0.2:1"])]);
        survey.set_relays(at(0), vec![relay(1), relay(2)]);
        survey.handle_timeout(at(0), &mut ctx, &here);
        let pings = sent(&mut ctx);
        survey.handle_pong(at(5), pings[0].1, nonce(&pings[0].2));
        let again = survey.next_timeout();
        assert!(!survey.handle_timeout(again, &mut ctx, &here));
        assert_eq!(sent(&mut ctx).len(), 1);
        let end = survey.next_timeout();
        assert!(survey.handle_timeout(end, &mut ctx, &here), "it is over");
        assert_eq!(survey.rtts().len(), 1);
        assert!(survey.next_timeout() >= at(0) + EVERY);
    }

    #[test]
    fn the_number_of_pings_is_bounded() {
        let (mut ctx, mut survey) = (context(), Survey::new());
        let texts: Vec<_> = (0..8).map(|id| [2, 3, 4, 5].map(|host| alloc::format!("10.{id}.0.{host}:1"))).collect();
        let mut here = Interfaces::default();
        for (id, texts) in (0..).zip(&texts) {
            here.set(crate::testing::interface(id, &texts.each_ref().map(|text| text.as_str())));
        }
        survey.set_relays(at(0), (1..=50).map(relay).collect());
        survey.handle_timeout(at(0), &mut ctx, &here);
        assert_eq!(sent(&mut ctx).len(), MAX_PINGS);
    }

    #[test]
    fn without_relays_nothing_is_ever_due() {
        let (mut ctx, mut survey) = (context(), Survey::new());
        let here = interfaces(&[(0, &["10.0.0.2:1"])]);
        survey.restart(at(0));
        assert_eq!(survey.next_timeout(), Instant::FAR_FUTURE);
        survey.set_relays(at(0), vec![]);
        assert_eq!(survey.next_timeout(), Instant::FAR_FUTURE);
        assert!(!survey.handle_timeout(at(0), &mut ctx, &here));
        assert_eq!(sent(&mut ctx), []);
    }
}
