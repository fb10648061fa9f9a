//! Keys are replaced while data flows: crossing, lost and repeated handshakes, in every order.
#![cfg(any(feature = "aws-lc", feature = "pure-rust"))]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests say what went wrong by panicking")]

mod common;

use std::time::Duration;

use common::{End, at, connect, established, providers, psk};
use ntm_proto::session::pair::{HANDSHAKE_ATTEMPT, MAX_PAIRS, REJECT_AFTER, REKEY_AFTER, RESPONDER_GRACE};
use ntm_proto::session::{HandshakeError, Incoming, OpenError, SealError, SessionTimer};
use ntm_proto::time::Instant;
use ntm_proto::wire::outer::{HandshakeInit, HandshakeResponse};

fn pair() -> (End, End) {
    let provider = providers()[0];
    (End::new(provider, 1), End::new(provider, 2))
}

fn carries(now: Instant, from: &mut End, to: &mut End) {
    let datagram = from.session.seal(now, b"data").expect("keys");
    assert_eq!(to.open(now, &datagram).as_deref(), Some(&b"data"[..]));
}

#[test]
fn nothing_can_be_sent_before_a_handshake() {
    let (a, _) = pair();
    assert_eq!(a.session.seal(at(0), b"data"), Err(SealError::NoKey));
    assert_eq!(a.session.poll_timeout(), None);
}

#[test]
fn the_responder_may_speak_first() {
    let (mut a, mut b) = pair();
    connect(at(0), &mut a, &mut b);
    assert!(!b.session.is_confirmed(at(0)));
    carries(at(0), &mut b, &mut a);
    carries(at(0), &mut a, &mut b);
    assert!(b.session.is_confirmed(at(0)));
}

#[test]
fn the_first_datagram_from_the_initiator_confirms_and_no_other_does() {
    let (mut a, mut b) = pair();
    connect(at(0), &mut a, &mut b);
    let confirmed: Vec<bool> = (0..3)
        .map(|_| {
            let mut datagram = a.session.seal(at(0), b"data").unwrap();
            b.session.open_in_place(at(0), &mut datagram).unwrap().confirmed
        })
        .collect();
    assert_eq!(confirmed, [true, false, false]);
    let mut datagram = b.session.seal(at(0), b"data").unwrap();
    assert!(!a.session.open_in_place(at(0), &mut datagram).unwrap().confirmed, "the initiator needs no proof");
}

#[test]
fn when_both_begin_at_once_both_complete_and_settle_on_the_same_keys() {
    for (first, second) in [(1, 2), (2, 1), (3, 4), (5, 6)] {
        let provider = providers()[0];
        let (mut a, mut b) = (End::new(provider, first), End::new(provider, second));
        let (from_a, from_b) = (a.begin(at(0), &b.public()), b.begin(at(0), &a.public()));
        let (to_a, to_b) = (b.accept(at(0), &from_a).unwrap(), a.accept(at(0), &from_b).unwrap());
        // Before any answer arrives, and after either, and after both, data opens once its key is there.
        a.finish(at(0), &to_a).unwrap();
        carries(at(0), &mut a, &mut b);
        b.finish(at(0), &to_b).unwrap();
        for _ in 0..2 {
            carries(at(0), &mut a, &mut b);
            carries(at(0), &mut b, &mut a);
        }
        let sends_to = |end: &End| end.session.sealing(at(0)).unwrap().remote();
        assert!(b.indices.contains(&sends_to(&a)) && a.indices.contains(&sends_to(&b)));
        let (mut one, mut other) = (a.session.seal(at(0), b"x").unwrap(), b.session.seal(at(0), b"x").unwrap());
        assert!(b.session.open_in_place(at(0), &mut one).unwrap().highest);
        assert!(a.session.open_in_place(at(0), &mut other).unwrap().highest);

        // They share the pair, so exactly one of them is its initiator and wants new keys at 120 s.
        let wants =
            |end: &End| matches!(end.session.poll_timeout(), Some((when, SessionTimer::Rekey)) if when == at(120));
        assert!(wants(&a) ^ wants(&b));
    }
}

#[test]
fn a_lost_answer_is_repaired_by_the_same_first_message() {
    let (mut a, mut b) = pair();
    let init = a.begin(at(0), &b.public());
    let lost = b.accept(at(0), &init).unwrap();
    let again = a.session.handshake_datagram().unwrap();
    assert_eq!(again, init);
    let response = b.accept(at(5), &again).unwrap();
    assert_eq!(response, lost, "the answer is the same, so either of them will do");
    assert_eq!(b.session.stats().repeated, 1);
    a.finish(at(5), &response).unwrap();
    carries(at(5), &mut a, &mut b);
    carries(at(5), &mut b, &mut a);
}

#[test]
fn a_doubled_first_message_changes_nothing_even_after_the_keys_are_in_use() {
    let (mut a, mut b) = pair();
    let init = a.begin(at(0), &b.public());
    let response = b.accept(at(0), &init).unwrap();
    a.finish(at(0), &response).unwrap();
    carries(at(0), &mut a, &mut b);
    let indices = b.indices.clone();
    assert_eq!(b.accept(at(1), &init), Some(response.clone()));
    assert_eq!(b.indices, indices);
    assert_eq!(a.finish(at(1), &response), Err(HandshakeError::UnknownIndex));
    carries(at(1), &mut a, &mut b);
    carries(at(1), &mut b, &mut a);
}

#[test]
fn an_old_first_message_replayed_is_no_repeat() {
    let (mut a, mut b) = pair();
    let old = a.begin(at(0), &b.public());
    b.accept(at(0), &old).unwrap();
    connect(at(1), &mut a, &mut b);
    carries(at(1), &mut a, &mut b);
    assert_eq!(b.accept(at(2), &old), None);
    carries(at(2), &mut b, &mut a);
}

#[test]
fn forged_answers_leave_the_handshake_in_flight() {
    let (mut a, mut b) = pair();
    let init = a.begin(at(0), &b.public());
    let response = b.accept(at(0), &init).unwrap();
    for at_byte in [12, 40, 60, response.len() - 33, response.len() - 20] {
        let mut forged = response.clone();
        forged[at_byte] ^= 1;
        assert!(a.finish(at(0), &forged).is_err());
        assert!(a.session.in_flight().is_some());
    }
    assert_eq!(a.session.stats().bad_responses, 5);
    a.finish(at(0), &response).unwrap();
    carries(at(0), &mut a, &mut b);
}

#[test]
fn data_on_its_way_during_a_rekey_arrives_whatever_overtakes_it() {
    let (mut a, mut b) = established(at(0));
    for round in 1..6 {
        let now = at(120 * round);
        let slow: Vec<_> =
            (0..20).map(|_| (a.session.seal(now, b"a").unwrap(), b.session.seal(now, b"b").unwrap())).collect();
        connect(now, &mut a, &mut b);
        // The responder still uses the old keys: it does not know that its answer arrived.
        carries(now, &mut b, &mut a);
        carries(now, &mut a, &mut b);
        carries(now, &mut b, &mut a);
        for (from_a, from_b) in slow.iter().rev() {
            assert!(b.open(now, from_a).is_some() && a.open(now, from_b).is_some());
            assert!(b.open(now, from_a).is_none(), "but only once");
        }
    }
}

#[test]
fn a_responder_keeps_the_old_keys_until_the_new_ones_are_confirmed() {
    let (mut a, mut b) = established(at(0));
    let old = b.session.sealing(at(120)).unwrap().remote();
    let init = a.begin(at(120), &b.public());
    let response = b.accept(at(120), &init).unwrap();
    assert_eq!(b.session.sealing(at(120)).unwrap().remote(), old);
    a.finish(at(120), &response).unwrap();
    carries(at(120), &mut a, &mut b);
    assert_ne!(b.session.sealing(at(120)).unwrap().remote(), old);
}

#[test]
fn an_end_that_lost_its_state_is_heard_again_after_one_handshake() {
    let (mut a, mut b) = established(at(0));
    for round in 1..4 {
        // More generations than the newcomer knows of.
        connect(at(round), &mut a, &mut b);
        carries(at(round), &mut a, &mut b);
    }
    let number = a.begun;
    let mut a = End::new(providers()[0], 1);
    a.begun = number;
    connect(at(10), &mut a, &mut b);
    carries(at(10), &mut a, &mut b);
    carries(at(10), &mut b, &mut a);
    connect(at(20), &mut b, &mut a);
    carries(at(20), &mut b, &mut a);
    carries(at(20), &mut a, &mut b);
}

#[test]
fn replayed_data_and_old_counters_are_refused() {
    let (mut a, mut b) = established(at(0));
    let first = a.session.seal(at(0), b"data").unwrap();
    assert!(b.open(at(0), &first).is_some());
    assert!(b.open(at(0), &first).is_none());
    let old = a.session.seal(at(0), b"data").unwrap();
    for _ in 0..300 {
        carries(at(0), &mut a, &mut b);
    }
    let mut copy = old.clone();
    assert_eq!(b.session.open_in_place(at(0), &mut copy), Err(OpenError::Replayed));
    assert_eq!(b.session.stats().replayed, 2);
}

#[test]
fn data_changed_anywhere_is_refused_and_the_true_datagram_still_opens() {
    let (a, mut b) = established(at(0));
    let datagram = a.session.seal(at(0), b"some data").unwrap();
    for at_byte in 0..datagram.len() {
        let mut forged = datagram.clone();
        forged[at_byte] ^= 1;
        assert!(b.open(at(0), &forged).is_none(), "byte {at_byte}");
    }
    for len in 0..datagram.len() {
        assert!(b.open(at(0), &datagram[..len]).is_none(), "{len} bytes");
    }
    assert_eq!(b.open(at(0), &datagram).as_deref(), Some(&b"some data"[..]));
}

#[test]
fn a_forged_counter_does_not_move_the_replay_window() {
    let (mut a, mut b) = established(at(0));
    let mut forged = a.session.seal(at(0), b"data").unwrap();
    forged[8..16].copy_from_slice(&(1_u64 << 50).to_be_bytes());
    assert!(b.open(at(0), &forged).is_none());
    carries(at(0), &mut a, &mut b);
}

#[test]
fn the_initiator_wants_new_keys_after_two_minutes_and_the_responder_a_little_later_if_it_hears_the_peer() {
    let (mut a, mut b) = established(at(0));
    let due = at(0) + REKEY_AFTER;
    assert_eq!(a.session.poll_timeout(), Some((due, SessionTimer::Rekey)));
    assert_eq!(a.session.handle_timeout(due - Duration::from_nanos(1)), None);
    assert_eq!(b.session.poll_timeout(), Some((at(0) + REJECT_AFTER, SessionTimer::Expire)), "silence");
    carries(at(100), &mut a, &mut b);
    assert_eq!(b.session.poll_timeout(), Some((due + RESPONDER_GRACE, SessionTimer::Rekey)));
    assert_eq!(a.session.handle_timeout(due), Some(SessionTimer::Rekey));
    assert_eq!(a.session.handle_timeout(due), None, "once is enough");
    connect(due, &mut a, &mut b);
    assert_eq!(a.session.poll_timeout().unwrap().0, at(180), "the end of the old keys");
}

#[test]
fn a_responder_does_not_begin_while_the_initiator_does() {
    let (mut a, mut b) = established(at(0));
    carries(at(100), &mut a, &mut b);
    let init = a.begin(at(134), &b.public());
    let response = b.accept(at(134), &init).unwrap();
    assert_eq!(b.session.handle_timeout(at(135)), None);
    a.finish(at(136), &response).unwrap();
    carries(at(136), &mut a, &mut b);
    assert_eq!(b.session.handle_timeout(at(137)), None);
}

#[test]
fn after_three_minutes_nothing_is_sealed_or_opened_and_the_owner_is_told() {
    let (a, mut b) = established(at(0));
    let late = a.session.seal(at(179), b"data").unwrap();
    let end = at(0) + REJECT_AFTER;
    assert_eq!(a.session.seal(end, b"data"), Err(SealError::NoKey));
    let mut copy = late.clone();
    assert_eq!(b.session.open_in_place(end, &mut copy), Err(OpenError::UnknownIndex));
    assert_eq!(b.session.handle_timeout(end), Some(SessionTimer::Expire));
    b.settle();
    assert!(b.indices.is_empty());
    assert_eq!(b.session.poll_timeout(), None);
}

#[test]
fn keys_whose_answer_came_late_are_renewed_before_the_responder_drops_them() {
    let (mut a, mut b) = pair();
    let init = a.begin(at(0), &b.public());
    b.accept(at(0), &init).unwrap();
    let response = b.accept(at(85), &init).unwrap();
    a.finish(at(85), &response).unwrap();
    carries(at(85), &mut a, &mut b);
    assert_eq!(a.session.poll_timeout(), Some((at(120), SessionTimer::Rekey)));
    carries(at(179), &mut a, &mut b);
    assert_eq!(a.session.seal(at(180), b"data"), Err(SealError::NoKey), "the responder has dropped its half");
}

#[test]
fn a_handshake_nobody_answers_is_given_up() {
    let (mut a, b) = pair();
    a.begin(at(0), &b.public());
    let end = at(0) + HANDSHAKE_ATTEMPT;
    assert_eq!(a.session.poll_timeout(), Some((end, SessionTimer::Expire)));
    assert_eq!(a.session.handle_timeout(end), Some(SessionTimer::Expire));
    a.settle();
    assert!(a.indices.is_empty() && a.session.handshake_datagram().is_none());
}

#[test]
fn a_peer_that_begins_without_end_costs_a_bounded_number_of_keys_and_not_the_ones_in_use() {
    let (mut a, mut b) = established(at(0));
    let slow = a.session.seal(at(0), b"data").unwrap();
    for _ in 0..100 {
        let init = a.begin(at(1), &b.public());
        b.accept(at(1), &init).unwrap();
        assert!(b.indices.len() <= MAX_PAIRS);
    }
    assert!(b.session.stats().displaced > 0);
    assert!(b.open(at(1), &slow).is_some());
    carries(at(1), &mut a, &mut b);
    carries(at(1), &mut b, &mut a);
}

#[test]
fn a_wrong_psk_leaves_the_sessions_as_they_were() {
    let (mut a, mut b) = established(at(0));
    let init = a.begin(at(1), &b.public());
    let parsed = HandshakeInit::parse(&init).unwrap();
    let incoming = Incoming::read(b.provider, &mut b.rng, &b.key, &parsed).unwrap();
    let wrong = ntm_proto::crypto::Secret::new([1; 32]);
    let index = ntm_proto::id::SessionIndex(1);
    b.indices.insert(index);
    let response = b.session.accept(at(1), incoming, &wrong, index, b"").unwrap();
    assert_eq!(
        a.session.handle_response(at(1), &HandshakeResponse::parse(&response).unwrap()),
        Err(HandshakeError::Unauthentic)
    );
    carries(at(1), &mut a, &mut b);
    carries(at(1), &mut b, &mut a);
    assert_ne!(psk(), wrong);
}

#[test]
fn highest_is_said_of_the_newest_word_of_the_peer_alone() {
    let (mut a, mut b) = established(at(0));
    let datagrams: Vec<_> = (0..4).map(|_| a.session.seal(at(0), b"data").unwrap()).collect();
    connect(at(1), &mut a, &mut b);
    let newer: Vec<_> = (0..4).map(|_| a.session.seal(at(1), b"data").unwrap()).collect();
    let mut open = |datagram: &[u8]| b.session.open_in_place(at(1), &mut datagram.to_vec()).unwrap().highest;
    assert!(open(&datagrams[1]));
    assert!(!open(&datagrams[0]));
    assert!(open(&datagrams[2]));
    assert!(open(&newer[2]));
    assert!(!open(&datagrams[3]), "higher on its own keys, but those are the old ones");
    assert!(!open(&newer[0]));
    assert!(open(&newer[3]));
}
