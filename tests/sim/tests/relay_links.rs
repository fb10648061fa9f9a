//! Relay grants that come and go: the older ones leave nothing behind.

// Clippy sees no test in a test's helper.
#![allow(clippy::unwrap_used)]

mod common;

use common::bench::{Bench, LOCAL, NODE4, Puppet, packet4, v4};
use common::{MS, SECOND};
use ntm_node::{DropReason, PathKind};
use ntm_proto::crypto::Secret;
use ntm_proto::id::{InterfaceId, RelayId, RelayIndex};
use ntm_proto::session::relay_token::{RelayToken, bind_mac};
use ntm_proto::wire::frame::{Frame, PathResponse};
use ntm_proto::wire::message::{RelayGrant, Side};
use ntm_proto::wire::outer::{self, Outer};
use std::net::SocketAddr;

const RELAY: SocketAddr = v4(20, 8, 0, 1, 4_601);

fn bind_key() -> Secret {
    Secret::new([44; 32])
}

/// The relay's grant of this number; the relay gives it the same number as index.
fn grant(number: u8) -> RelayGrant {
    RelayGrant {
        relay: RelayId(1),
        addresses: vec![RELAY],
        side: Side::Initiator,
        token: RelayToken::from_bytes([number; RelayToken::LEN]),
        bind_key: bind_key(),
    }
}

fn relayed(number: u8, inner: &[u8]) -> Vec<u8> {
    outer::emit_relayed(RelayIndex(number.into()), inner)
}

/// Plays the relay and, behind it, a peer that is bound under every grant and answers all it is asked.
fn serve(bench: &mut Bench, peer: &mut Puppet) {
    loop {
        let datagrams = bench.take_sent_to(RELAY);
        if datagrams.is_empty() {
            return;
        }
        for datagram in datagrams {
            let (number, inner) = match Outer::parse(&datagram) {
                Ok(Outer::RelayBind(bind)) => {
                    let number = bind.token.as_bytes()[0];
                    let index = RelayIndex(number.into());
                    let mac = |covered: &[u8]| bind_mac(&bind_key(), covered);
                    let bound = outer::emit_relay_bound(bind.side, index, bind.sequence, LOCAL, false, mac);
                    bench.deliver(RELAY, &bound);
                    (number, bind.inner.map(<[u8]>::to_vec))
                }
                Ok(Outer::Relayed { index, inner }) => (u8::try_from(index.0).unwrap(), Some(inner.to_vec())),
                _ => continue,
            };
            if let Some(answer) = inner.and_then(|inner| answer(bench, peer, &inner)) {
                bench.deliver(RELAY, &relayed(number, &answer));
            }
        }
    }
}

fn answer(bench: &Bench, peer: &mut Puppet, datagram: &[u8]) -> Option<Vec<u8>> {
    if let Ok(Outer::HandshakeInit(_)) = Outer::parse(datagram) {
        return Some(peer.answer(bench.now, datagram));
    }
    let plaintext = peer.open(bench.now, datagram)?;
    let Ok(Frame::PathChallenge(challenge)) = Frame::parse(&plaintext) else { return None };
    let nonce = challenge.nonce;
    let response = PathResponse { nonce, interface: InterfaceId(0), generation: 1, observed: RELAY };
    Some(peer.frame(bench.now, &Frame::PathResponse(response)))
}

fn relayed_paths(bench: &Bench, peer: &Puppet) -> usize {
    bench.paths(peer).iter().filter(|path| matches!(path.kind, PathKind::Relayed(_))).count()
}

#[test]
fn what_comes_late_over_a_grant_that_was_replaced_is_taken_and_makes_no_path() {
    let mut bench = Bench::new(40);
    let mut peer = Puppet::new(1);
    for number in 1..100 {
        bench.direct(&peer, vec![grant(number)]);
        for _ in 0..30 {
            bench.advance(100 * MS);
            serve(&mut bench, &mut peer);
        }
        assert_eq!(relayed_paths(&bench, &peer), 1, "after grant {number}");
        // The peer has not noticed yet that there is a newer grant.
        let packet = packet4(peer.virtual4, NODE4, 100);
        for older in number.saturating_sub(3).max(1)..number {
            let late = peer.frame(bench.now, &Frame::Packet(&packet));
            assert_eq!(bench.deliver(RELAY, &relayed(older, &late)), Some(packet.clone()), "{older} of {number}");
            serve(&mut bench, &mut peer);
        }
        assert_eq!(relayed_paths(&bench, &peer), 1, "after grant {number}");
        bench.send(&peer, 100);
        bench.advance(SECOND);
        serve(&mut bench, &mut peer);
    }
    let before = bench.dropped(DropReason::UnknownIndex);
    let late = peer.frame(bench.now, &Frame::KeepAlive);
    bench.deliver(RELAY, &relayed(1, &late));
    assert_eq!(bench.dropped(DropReason::UnknownIndex), before + 1, "indexes are not honoured for ever");
}
