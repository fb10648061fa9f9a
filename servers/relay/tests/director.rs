//! The relay and its direction server.

use core::time::Duration;

use ntm_proto::id::TransactionId;
use ntm_proto::session::pair::{REJECT_AFTER, REKEY_AFTER};
use ntm_proto::wire::message::{Envelope, Message};
use ntm_proto::wire::outer::Outer;
use ntm_relay::shard::shard_of;
use ntm_relay::testing::{
    Client, DIRECTOR, DirectionServer, RELAY4, RELAY6, Rig, address, config, inner, join, token_body,
};
use ntm_relay::{Changes, Config, DropReason, Elsewhere, Relay, Shard, Timer, limits};

fn with(dc: &DirectionServer) -> Config {
    Config { directors: vec![dc.director()], ..config() }
}

/// Lets time pass in small steps, with the direction server answering.
fn live(rig: &mut Rig, dc: &mut DirectionServer, time: Duration) {
    let end = rig.now + time;
    while rig.now < end {
        let sent = rig.advance(Duration::from_millis(100).min(end.since(rig.now)));
        dc.converse(rig, sent);
    }
}

fn connected() -> (Rig, DirectionServer) {
    let mut dc = DirectionServer::default();
    let mut rig = Rig::new(with(&dc));
    assert_eq!(rig.relay.poll_timeout(), Some((rig.now, Timer::Directors)), "it calls at once");
    live(&mut rig, &mut dc, Duration::from_millis(100));
    (rig, dc)
}

#[test]
fn a_relay_reports_as_soon_as_it_starts() {
    let (rig, dc) = connected();
    assert_eq!(dc.hellos.len(), 1);
    assert_eq!(dc.reports.len(), 1);
    let report = &dc.reports[0];
    assert_eq!(report.addresses, [address(RELAY4), address(RELAY6)]);
    assert_eq!((report.load, report.draining), (0, false));
    assert_eq!(rig.relay.stats().reports_answered, 1);
}

#[test]
fn it_reports_again_and_again_with_its_load() {
    let mut dc = DirectionServer::default();
    let mut config = with(&dc);
    config.capacity.grants = 10;
    let mut rig = Rig::new(config);
    live(&mut rig, &mut dc, Duration::from_secs(1));
    for number in 0..5 {
        let (mut a, _) = Client::pair(number);
        let bind = a.bind(None);
        rig.say(&a, &bind);
    }
    live(&mut rig, &mut dc, Duration::from_secs(60));
    assert_eq!(dc.reports.len(), 7);
    assert_eq!(dc.reports[1].load, 5_000, "half of its grants are taken");
    assert_eq!(dc.hellos.len(), 1);
}

#[test]
fn the_load_is_that_of_the_line_where_it_is_busier_than_the_table() {
    let mut dc = DirectionServer::default();
    let mut config = with(&dc);
    config.capacity.bytes_per_second = 100_000;
    let mut rig = Rig::new(config);
    let (mut a, mut b) = Client::pair(1);
    join(&mut rig, &mut a, &mut b);
    for tag in 0..100 {
        rig.say(&a, &a.relayed(&inner(tag, 992)));
        live(&mut rig, &mut dc, Duration::from_millis(100));
    }
    live(&mut rig, &mut dc, Duration::from_millis(200));
    let load = dc.reports.last().unwrap().load;
    assert!((950..1_050).contains(&load), "a tenth of the line: {load}");
}

#[test]
fn a_draining_relay_says_so_at_once() {
    let (mut rig, mut dc) = connected();
    rig.relay.drain(rig.now);
    live(&mut rig, &mut dc, Duration::from_millis(100));
    assert!(dc.reports.last().unwrap().draining);
}

#[test]
fn a_relay_calls_until_it_is_answered_and_ever_less_often() {
    let mut dc = DirectionServer::default();
    let mut rig = Rig::new(with(&dc));
    let sent = rig.advance(Duration::from_secs(3_600));
    assert!((110..200).contains(&sent.len()), "{} calls in an hour", sent.len());
    live(&mut rig, &mut dc, limits::HANDSHAKE_RETRY_MAX);
    assert_eq!(dc.reports.len(), 1 + usize::from(dc.reports.len() > 1), "once it answers it is told");
}

#[test]
fn each_hello_has_a_higher_sequence_number_than_the_one_before() {
    let mut dc = DirectionServer::default();
    let mut rig = Rig::new(with(&dc));
    for transmit in rig.advance(Duration::from_secs(60)) {
        dc.handle(rig.now, &transmit.datagram);
    }
    assert!(dc.hellos.len() > 3);
    assert!(dc.hellos.is_sorted_by(|a, b| a < b), "{:?}", dc.hellos);
}

#[test]
fn a_direction_server_that_restarts_knows_the_relay_again_soon() {
    let (mut rig, mut dc) = connected();
    live(&mut rig, &mut dc, Duration::from_secs(100));
    dc.restart();
    let bound = limits::REPORT_EVERY + limits::REPORT_RETRY * limits::REPORT_TRIES + Duration::from_millis(200);
    live(&mut rig, &mut dc, bound);
    assert_eq!((dc.hellos.len(), dc.reports.len()), (1, 1));
}

#[test]
fn a_lost_report_is_sent_again_without_a_new_session() {
    let (mut rig, mut dc) = connected();
    let lost = rig.advance(limits::REPORT_EVERY);
    assert_eq!(lost.len(), 1);
    live(&mut rig, &mut dc, limits::REPORT_RETRY + Duration::from_millis(100));
    assert_eq!((dc.hellos.len(), dc.reports.len()), (1, 2));
}

#[test]
fn the_session_gets_new_keys_before_the_old_ones_end() {
    let (mut rig, mut dc) = connected();
    live(&mut rig, &mut dc, REKEY_AFTER + Duration::from_secs(1));
    assert_eq!(dc.hellos.len(), 2);
    live(&mut rig, &mut dc, REJECT_AFTER * 10);
    let sessions = rig.relay.stats().director_sessions;
    assert!((16..=17).contains(&sessions), "{sessions}");
    assert!(dc.reports.len() > 180, "not one report was missed: {}", dc.reports.len());
    assert_eq!(rig.relay.stats().dropped_total(), 0);
}

#[test]
fn a_direction_server_that_never_acknowledges_is_still_told() {
    let (mut rig, mut dc) = connected();
    dc.answers_reports = false;
    live(&mut rig, &mut dc, Duration::from_secs(120));
    assert!(dc.reports.len() >= 12, "{}", dc.reports.len());
    assert!(dc.hellos.len() <= 12, "{}", dc.hellos.len());
}

#[test]
fn a_revoked_communication_is_cut_and_cannot_be_bound_again() {
    let (mut rig, mut dc) = connected();
    let (mut a, mut b) = Client::pair(1);
    join(&mut rig, &mut a, &mut b);
    let (mut c, mut d) = Client::pair(2);
    c.move_to("192.0.2.3:3");
    d.move_to("192.0.2.4:4");
    join(&mut rig, &mut c, &mut d);

    let order = dc.revoke(rig.now, 77, token_body(1).path_id).unwrap();
    let sent = rig.input(address(RELAY4), address(DIRECTOR), &order);
    dc.converse(&mut rig, sent);
    assert_eq!(dc.acknowledged, [TransactionId(77)]);
    assert_eq!((rig.relay.stats().grants, rig.relay.stats().grants_revoked), (1, 1));

    assert!(rig.say(&a, &a.relayed(&inner(1, 100))).is_empty());
    let bind = a.bind(None);
    assert!(rig.say(&a, &bind).is_empty());
    assert_eq!(rig.relay.stats().dropped(DropReason::Revoked), 1);
    assert_eq!(rig.say(&c, &c.relayed(&inner(2, 100))).len(), 1, "the other one goes on");

    // An order may come twice: the answer to it was lost.
    let order = dc.revoke(rig.now, 78, token_body(1).path_id).unwrap();
    let sent = rig.input(address(RELAY4), address(DIRECTOR), &order);
    dc.converse(&mut rig, sent);
    assert_eq!(dc.acknowledged.len(), 2);
}

#[test]
fn a_revocation_just_after_a_move_leaves_no_index_behind() {
    let (mut rig, mut dc) = connected();
    let (mut a, mut b) = Client::pair(1);
    join(&mut rig, &mut a, &mut b);
    let (old_address, old) = (a.address, a.relayed(&inner(1, 100)));
    a.move_to("198.18.0.77:999");
    let bind = a.bind(None);
    rig.say(&a, &bind);
    let order = dc.revoke(rig.now, 1, token_body(1).path_id).unwrap();
    rig.input(address(RELAY4), address(DIRECTOR), &order);
    assert_eq!(rig.input(a.relay, old_address, &old), []);
    assert_eq!(rig.relay.stats().dropped(DropReason::UnknownIndex), 1);
}

#[test]
fn an_order_that_is_replayed_or_touched_does_nothing() {
    let (mut rig, mut dc) = connected();
    let (mut a, mut b) = Client::pair(1);
    let order = dc.revoke(rig.now, 1, token_body(9).path_id).unwrap();
    for byte in 0..order.len() {
        let mut bad = order.clone();
        bad[byte] ^= 1;
        assert_eq!(rig.input(address(RELAY4), address(DIRECTOR), &bad), [], "byte {byte}");
    }
    assert_eq!(rig.input(address(RELAY4), address(DIRECTOR), &order).len(), 1);
    assert_eq!(rig.input(address(RELAY4), address(DIRECTOR), &order), []);
    assert!(rig.relay.stats().dropped(DropReason::Unauthentic) > 1);
    join(&mut rig, &mut a, &mut b);
    assert_eq!(rig.say(&a, &a.relayed(&inner(1, 100))).len(), 1);
}

#[test]
fn a_message_that_makes_no_sense_from_a_direction_server_is_counted() {
    let (mut rig, mut dc) = connected();
    for message in [Message::RelayAck, Message::RouteDirectionAck] {
        let datagram = dc.signal(rig.now, &Envelope { transaction: TransactionId(4_000), message }).unwrap();
        assert_eq!(rig.input(address(RELAY4), address(DIRECTOR), &datagram), []);
    }
    assert_eq!(rig.relay.stats().dropped(DropReason::UnexpectedMessage), 2);
}

#[test]
fn a_stranger_cannot_answer_for_the_direction_server() {
    let dc = DirectionServer::default();
    let mut rig = Rig::new(with(&dc));
    let mut impostor = DirectionServer::default();
    impostor.psk = ntm_proto::crypto::Secret::new([0; 32]);
    let sent = rig.advance(Duration::ZERO);
    impostor.converse(&mut rig, sent);
    assert_eq!(rig.relay.stats().director_sessions, 0);
    assert!(impostor.reports.is_empty());
}

#[test]
fn a_direction_server_of_a_family_the_relay_does_not_speak_is_not_called() {
    let dc = DirectionServer::default();
    let mut config = with(&dc);
    config.addresses = vec![address(RELAY6)];
    let mut rig = Rig::new(config);
    assert_eq!(rig.advance(Duration::from_secs(60)), []);
    assert_eq!(rig.relay.poll_timeout(), None);
}

#[test]
fn a_direction_server_is_called_at_each_of_its_addresses_in_turn() {
    let dc = DirectionServer::default();
    let mut config = with(&dc);
    config.directors[0].addresses =
        vec![address("198.51.100.8:4500"), address("[2001:db8:9::1]:4500"), address(DIRECTOR)];
    let mut rig = Rig::new(config);
    let sent = rig.advance(Duration::from_secs(60));
    let mut called: Vec<_> = sent.iter().take(3).map(|transmit| transmit.to).collect();
    assert!(sent.iter().all(|transmit| transmit.from.is_ipv4() == transmit.to.is_ipv4()));
    called.dedup();
    assert_eq!(called.len(), 3);
}

#[test]
fn a_relay_that_adopts_other_direction_servers_calls_the_new_one_and_keeps_the_sessions_it_has() {
    let (mut rig, mut dc) = connected();
    let sessions = rig.relay.stats().director_sessions;
    let Config { cert, grant_keys, capacity, .. } = config();
    let changes = |directors| Changes { cert: cert.clone(), grant_keys: grant_keys.clone(), directors, capacity };
    let mut other = dc.director();
    other.noise_key = [0x0c; 32];
    rig.relay.adopt(rig.now, changes(vec![other, dc.director()]));
    live(&mut rig, &mut dc, Duration::from_secs(25));
    assert_eq!(dc.hellos.len(), 1, "the one it had is not called again");
    assert_eq!(rig.relay.stats().director_sessions, sessions);
    assert!(dc.reports.len() >= 3, "it goes on being reported to");

    rig.relay.adopt(rig.now, changes(Vec::new()));
    let reports = dc.reports.len();
    live(&mut rig, &mut dc, Duration::from_secs(25));
    assert_eq!(dc.reports.len(), reports, "one that is gone is told nothing");
    assert_eq!(rig.relay.poll_timeout(), None);
}

#[test]
fn what_other_shards_carry_is_part_of_the_one_report() {
    let mut dc = DirectionServer::default();
    let mut config = with(&dc);
    config.capacity.grants = 10;
    let mut rig = Rig::new(config);
    rig.relay.set_elsewhere(Elsewhere { grants: 12, room: 30, forwarded_bytes: 0 });
    live(&mut rig, &mut dc, Duration::from_secs(1));
    assert_eq!(dc.reports[0].load, 3_000, "12 of 40 are taken");
}

#[test]
fn a_revocation_is_handed_out_for_the_other_shards() {
    let (mut rig, mut dc) = connected();
    let path_id = token_body(1).path_id;
    let datagram = dc.revoke(rig.now, 7, path_id).expect("a session");
    rig.input(address(RELAY4), address(DIRECTOR), &datagram);
    assert_eq!(rig.relay.poll_revocation(), Some(path_id));
    assert_eq!(rig.relay.poll_revocation(), None);

    let mut shard = Rig::new(config());
    shard.relay.revoke(shard.now, path_id);
    let (mut a, _) = Client::pair(1);
    let bind = a.bind(None);
    assert!(shard.say(&a, &bind).is_empty());
    assert_eq!(shard.relay.stats().dropped(DropReason::Revoked), 1);
}

#[test]
fn a_draining_relay_says_so_in_its_answers_to_binds() {
    let mut rig = Rig::new(config());
    let (mut a, _) = Client::pair(1);
    let leaving = |sent: &[ntm_relay::Transmit]| match Outer::parse(&sent[0].datagram) {
        Ok(Outer::RelayBound(bound)) => bound.leaving,
        other => panic!("{other:?}"),
    };
    let bind = a.bind(None);
    assert!(!leaving(&rig.say(&a, &bind)));
    rig.relay.drain(rig.now);
    let bind = a.bind(None);
    assert!(leaving(&rig.say(&a, &bind)));
}

#[test]
fn each_shard_allots_indices_that_lead_to_it() {
    for number in 0..3 {
        let shard = Shard { number, of: 3 };
        let mut rig = Rig::new(config());
        rig.relay = Relay::new_shard(rig.now, config(), [9; 32], shard);
        for grant in 0..20 {
            let (mut a, mut b) = Client::pair(grant);
            join(&mut rig, &mut a, &mut b);
            for client in [&a, &b] {
                let relayed = client.relayed(&inner(1, 100));
                assert_eq!(shard_of(&relayed, 3), Some(number));
            }
        }
    }
}
