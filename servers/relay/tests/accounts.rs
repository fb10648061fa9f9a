//! What all communications that one account pays for may carry together.

use core::time::Duration;

use ntm_proto::session::{Payer, RelayToken, TokenBody};
use ntm_proto::time::Instant;
use ntm_proto::wire::message::Side;
use ntm_proto::wire::outer::RELAYED_HEADER;
use ntm_relay::limits::{GRANT_IDLE, RATE_BURST_BYTES};
use ntm_relay::testing::{Client, DirectionServer, Rig, config, deliver, grant_key, inner, join, token_body};
use ntm_relay::{Changes, Config, DropReason, Relay, Shard};

const ALICE: Payer = Payer([1; 3]);
const BOB: Payer = Payer([2; 3]);
/// What each datagram weighs at the relay.
const DATAGRAM: usize = 1_024;

fn with_rate(kilobytes: u32) -> Config {
    let mut config = config();
    config.capacity.rate_per_account = kilobytes;
    config
}

/// The two sides of communication `number`, which `payer` pays for, both bound.
fn joined(rig: &mut Rig, number: u64, payer: Payer) -> [Client; 2] {
    let body = TokenBody { payer, ..token_body(number) };
    let mut a = Client::new(&body, Side::Initiator, &format!("192.0.2.1:{}", 1_000 + number));
    let mut b = Client::new(&body, Side::Responder, &format!("203.0.113.2:{}", 1_000 + number));
    join(rig, &mut a, &mut b);
    [a, b]
}

/// How many of `count` datagrams from each client, in turn, are carried.
fn carried(rig: &mut Rig, clients: &[&Client], count: u64) -> u64 {
    let before = rig.relay.stats().forwarded_datagrams;
    for number in 0..count {
        for client in clients {
            rig.say(client, &client.relayed(&inner(number, DATAGRAM - RELAYED_HEADER)));
        }
    }
    rig.relay.stats().forwarded_datagrams - before
}

#[test]
fn all_communications_of_an_account_share_one_rate_in_both_directions_and_another_account_keeps_its_own() {
    let mut rig = Rig::new(with_rate(128));
    let [a, b] = joined(&mut rig, 1, ALICE);
    let [c, d] = joined(&mut rig, 2, ALICE);
    let [other, _] = joined(&mut rig, 3, BOB);
    let burst = RATE_BURST_BYTES / DATAGRAM as u64;
    assert_eq!(carried(&mut rig, &[&a, &b, &c, &d], 100), burst);
    assert_eq!(carried(&mut rig, &[&a, &b, &c, &d], 100), 0);
    let refused = 800 - burst;
    assert_eq!(rig.relay.stats().dropped(DropReason::AccountRateLimited), refused);
    assert_eq!(rig.relay.stats().account_limited_bytes, refused * DATAGRAM as u64);

    assert_eq!(carried(&mut rig, &[&other], 100), burst, "what Alice used up is not Bob's");
    // 128 kB/s: 12,500 datagrams in a hundred seconds, whoever of the four sends them.
    let mut sum = 0;
    for _ in 0..1_000 {
        rig.advance(Duration::from_millis(100));
        sum += carried(&mut rig, &[&a, &b, &c, &d], 10);
    }
    assert_eq!(sum, 12_500);
}

#[test]
fn a_token_of_less_than_the_accounts_rate_holds_as_well() {
    let mut rig = Rig::new(with_rate(1_000_000));
    let body = TokenBody { payer: ALICE, rate: 1, ..token_body(1) };
    let mut a = Client::new(&body, Side::Initiator, "192.0.2.1:1000");
    let mut b = Client::new(&body, Side::Responder, "203.0.113.2:2000");
    join(&mut rig, &mut a, &mut b);
    assert_eq!(carried(&mut rig, &[&a], 100), RATE_BURST_BYTES / DATAGRAM as u64);
    assert!(rig.relay.stats().dropped(DropReason::RateLimited) > 0);
    assert_eq!(rig.relay.stats().dropped(DropReason::AccountRateLimited), 0);
}

#[test]
fn a_rate_can_be_set_changed_and_taken_away_while_the_relay_runs() {
    let mut rig = Rig::new(with_rate(0));
    let [a, b] = joined(&mut rig, 1, ALICE);
    assert_eq!(carried(&mut rig, &[&a, &b], 1_000), 2_000, "no rate");
    let adopt = |rig: &mut Rig, kilobytes| {
        let Config { cert, grant_keys, directors, capacity, .. } = with_rate(kilobytes);
        rig.relay.adopt(rig.now, Changes { cert, grant_keys, directors, capacity });
    };
    adopt(&mut rig, 128);
    assert_eq!(carried(&mut rig, &[&a, &b], 1_000), RATE_BURST_BYTES / DATAGRAM as u64);
    adopt(&mut rig, 0);
    assert_eq!(carried(&mut rig, &[&a, &b], 1_000), 2_000);
}

#[test]
fn an_account_comes_to_its_rate_again_after_all_its_grants_have_lapsed() {
    let mut rig = Rig::new(with_rate(128));
    let [a, _] = joined(&mut rig, 1, ALICE);
    carried(&mut rig, &[&a], 1_000);
    rig.advance(GRANT_IDLE);
    assert_eq!(rig.relay.stats().grants, 0);
    let [a, b] = joined(&mut rig, 2, ALICE);
    assert_eq!(carried(&mut rig, &[&a, &b], 1_000), RATE_BURST_BYTES / DATAGRAM as u64);
}

#[test]
fn no_node_can_say_that_somebody_else_pays() {
    let mut rig = Rig::new(with_rate(128));
    let [a, _] = joined(&mut rig, 1, ALICE);
    carried(&mut rig, &[&a], 100);
    let grants = rig.relay.stats().grants;
    for at in 1..4 {
        let mut forger = Client::new(&TokenBody { payer: ALICE, ..token_body(2) }, Side::Initiator, "192.0.2.9:9");
        let mut bytes = *forger.token.as_bytes();
        bytes[at] ^= 1;
        forger.token = RelayToken::from_bytes(bytes);
        // Even with the bind key that belongs to the changed token, which no node can make.
        forger.bind_key = grant_key().bind_key(&forger.token, forger.side);
        let bind = forger.bind(None);
        assert!(rig.say(&forger, &bind).is_empty());
    }
    assert_eq!((rig.relay.stats().dropped(DropReason::BadToken), rig.relay.stats().grants), (3, grants));
}

#[test]
fn the_first_datagram_in_a_bind_counts_as_any_other() {
    let mut rig = Rig::new(with_rate(128));
    let [a, mut b] = joined(&mut rig, 1, ALICE);
    carried(&mut rig, &[&a], 100);
    let mut again = a;
    let bind = again.bind(Some(&inner(1, 100)));
    deliver(&rig.say(&again, &bind), &mut [&mut b]);
    assert!(b.received.is_empty());
}

#[test]
fn a_relay_asks_for_the_grants_of_an_account_together_only_where_accounts_have_a_rate() {
    let reported = |kilobytes| {
        let mut dc = DirectionServer::default();
        let config = Config { directors: vec![dc.director()], ..with_rate(kilobytes) };
        let shard = Shard { number: 0, of: 6 };
        let mut rig = Rig { relay: Relay::new_shard(Instant::ZERO, config, [3; 32], shard), now: Instant::ZERO };
        for _ in 0..10 {
            let sent = rig.advance(Duration::from_millis(100));
            dc.converse(&mut rig, sent);
        }
        dc.reports.last().map(|report| report.shards.get())
    };
    assert_eq!((reported(1), reported(0)), (Some(6), Some(1)));
}
