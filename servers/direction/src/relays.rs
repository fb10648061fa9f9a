//! Which relays to offer for a communication: those that make the way between the two nodes
//! shortest, by the round-trip times the nodes measured and the load the relays report.

use core::net::SocketAddr;
use core::time::Duration;

use ntm_proto::id::RelayId;
use ntm_proto::wire::message::{NodeDescription, RelayRtt};

use crate::plan::families;

/// Relays offered for one communication: the best, and a spare for when it dies.
pub const OFFERED: usize = 2;
/// What an unmeasured round trip counts as: worse than nearly every measured one, so that a relay
/// nobody has tried is taken only where nothing better is known.
pub const UNKNOWN_RTT: Duration = Duration::from_millis(300);
/// What a fully loaded relay adds: halfway round the world is better than a queue.
pub const FULL_LOAD_PENALTY: Duration = Duration::from_millis(200);
/// What a relay adds that was configured and has not reported.
pub const SILENT_PENALTY: Duration = Duration::from_millis(250);

/// A relay as the choice sees it.
#[derive(Clone, Copy, Debug)]
pub struct Relay<'a> {
    pub relay: RelayId,
    pub addresses: &'a [SocketAddr],
    /// Parts in 10,000 of what it can carry.
    pub load: u16,
    /// It has told us lately that it lives.
    pub reporting: bool,
}

/// The relays to offer, the best first, at most [`OFFERED`]. Relays that are leaving or dead are not to be
/// passed in. `responder` is `None` where another domain's DC has not described it yet.
pub fn choose<'a>(
    initiator: &NodeDescription,
    responder: Option<&NodeDescription>,
    relays: impl Iterator<Item = Relay<'a>>,
) -> Vec<RelayId> {
    let reachable = |node: &NodeDescription, relay: &Relay<'_>| {
        let (v4, v6) = families(node);
        relay.addresses.iter().any(|address| if address.is_ipv4() { v4 } else { v6 })
    };
    let mut scored: Vec<(Duration, RelayId)> = relays
        .filter(|relay| reachable(initiator, relay))
        .filter(|relay| responder.is_none_or(|responder| reachable(responder, relay)))
        .map(|relay| {
            let there = rtt(&initiator.relay_rtts, relay.relay);
            let onward = responder.map_or(UNKNOWN_RTT, |responder| rtt(&responder.relay_rtts, relay.relay));
            let load = FULL_LOAD_PENALTY * u32::from(relay.load.min(10_000)) / 10_000;
            let silence = if relay.reporting { Duration::ZERO } else { SILENT_PENALTY };
            (there + onward + load + silence, relay.relay)
        })
        .collect();
    scored.sort_unstable();
    scored.truncate(OFFERED);
    scored.into_iter().map(|(_, relay)| relay).collect()
}

fn rtt(measured: &[RelayRtt], relay: RelayId) -> Duration {
    measured.iter().find(|one| one.relay == relay).map_or(UNKNOWN_RTT, |one| one.rtt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{describe, interface};

    const BOTH: &[&str] = &["198.51.100.1:3478", "[2001:db8::1]:3478"];

    fn node(v4: bool, rtts: &[(u32, u64)]) -> NodeDescription {
        let address = if v4 { "192.0.2.1:5000" } else { "[2001:db8:1::1]:5000" };
        let mut node = describe(1, vec![interface(1, &[address], &[address])]);
        node.relay_rtts =
            rtts.iter().map(|&(id, ms)| RelayRtt { relay: RelayId(id), rtt: Duration::from_millis(ms) }).collect();
        node
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn relay(id: u32, addresses: &[SocketAddr], load: u16) -> Relay<'_> {
        Relay { relay: RelayId(id), addresses, load, reporting: true }
    }

    #[test]
    fn the_relay_on_the_shortest_way_comes_first_with_one_spare() {
        let at = addresses(BOTH);
        let (one, other) = (node(true, &[(1, 10), (2, 40), (3, 90)]), node(true, &[(1, 90), (2, 20), (3, 90)]));
        let relays = [relay(1, &at, 0), relay(2, &at, 0), relay(3, &at, 0)];
        assert_eq!(choose(&one, Some(&other), relays.into_iter()), [RelayId(2), RelayId(1)]);
    }

    #[test]
    fn a_loaded_relay_gives_way_to_a_farther_idle_one() {
        let at = addresses(BOTH);
        let both = node(true, &[(1, 10), (2, 40)]);
        let relays = [relay(1, &at, 9_000), relay(2, &at, 0)];
        assert_eq!(choose(&both, Some(&both), relays.into_iter())[0], RelayId(2));
    }

    #[test]
    fn an_unmeasured_relay_is_the_last_resort() {
        let at = addresses(BOTH);
        let both = node(true, &[(7, 250)]);
        let relays = [relay(1, &at, 0), relay(7, &at, 0)];
        assert_eq!(choose(&both, Some(&both), relays.into_iter()), [RelayId(7), RelayId(1)]);
    }

    #[test]
    fn a_relay_is_offered_only_where_both_ends_can_speak_to_it() {
        let (v4, both) = (addresses(&BOTH[..1]), addresses(BOTH));
        let relays = [relay(1, &v4, 0), relay(2, &both, 0)];
        assert_eq!(choose(&node(true, &[]), Some(&node(false, &[])), relays.into_iter()), [RelayId(2)]);
        assert_eq!(choose(&node(false, &[]), None, relays.into_iter()), [RelayId(2)]);
    }

    #[test]
    fn a_relay_that_has_not_reported_comes_after_those_that_have() {
        let at = addresses(BOTH);
        let silent = Relay { reporting: false, ..relay(1, &at, 0) };
        assert_eq!(choose(&node(true, &[]), None, [silent, relay(2, &at, 0)].into_iter()), [RelayId(2), RelayId(1)]);
    }
}
