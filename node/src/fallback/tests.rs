use super::*;
use crate::testing::{address, at, endpoint};
use alloc::vec;

const HERE: &str = "10.0.0.2:4500";
const DIRECTOR: &str = "20.0.0.9:4600";
const RELAYS: [&str; 2] = ["20.0.0.1:4601", "20.0.0.2:4601"];
const PEER: &str = "30.0.0.1:5000";

/// A fallback with one endpoint, its randomness, and what it had sent.
struct Bench {
    fallback: Fallback,
    rng: Rng,
}

impl Bench {
    fn new() -> Self {
        let mut fallback = Fallback {
            directors: vec![address(DIRECTOR)],
            relays: RELAYS.map(address).to_vec(),
            ..Fallback::default()
        };
        fallback.handle_change(&Change { come: vec![endpoint(0, HERE)], ..Change::default() });
        Self { fallback, rng: Rng::from_seed([7; 32]) }
    }

    fn send(&mut self, now: u64, to: &str, datagram: &[u8]) -> Transmit {
        self.fallback.wrap(at(now), Transmit::by_udp(endpoint(0, HERE), address(to), datagram.to_vec()))
    }

    /// Runs what is due until `until`, or until an endpoint goes another way; gives what was sent, with its time in
    /// milliseconds.
    fn run(&mut self, until: u64) -> Vec<(u64, Transmit)> {
        let mut sent = Vec::new();
        loop {
            let now = self.fallback.next_timeout();
            if now > at(until) || !self.fallback.changed.is_empty() {
                return sent;
            }
            let millis = u64::try_from(now.since(at(0)).as_millis()).expect("a short test");
            sent.extend(self.fallback.handle_timeout(now, &mut self.rng).into_iter().map(|ping| (millis, ping)));
        }
    }

    /// Nobody answers from the beginning: gives the stream that is asked for, and when.
    fn until_blocked(&mut self) -> (u64, StreamId) {
        self.send(0, DIRECTOR, b"registration");
        self.run(2_000);
        match self.fallback.poll_order() {
            Some(StreamOrder::Open { id, from, relay, .. }) => {
                assert_eq!((from, relay), (address(HERE), address(RELAYS[0])));
                (2_000, id)
            }
            other => panic!("{other:?}"),
        }
    }

    fn until_carried(&mut self) -> StreamId {
        let (now, id) = self.until_blocked();
        self.fallback.handle_up(at(now), id);
        assert_eq!(self.fallback.take_changed(), [endpoint(0, HERE)]);
        id
    }
}

fn nonce(ping: &Transmit) -> u64 {
    match outer::Outer::parse(&ping.datagram) {
        Ok(outer::Outer::RelayPing { nonce }) => nonce,
        other => panic!("{other:?}"),
    }
}

#[test]
fn servers_that_answer_nothing_are_pinged_and_then_a_stream_is_asked_for() {
    let mut bench = Bench::new();
    assert_eq!(bench.fallback.next_timeout(), Instant::FAR_FUTURE);
    bench.send(0, PEER, b"data");
    assert_eq!(bench.fallback.next_timeout(), Instant::FAR_FUTURE, "a peer may be silent");
    bench.send(0, DIRECTOR, b"registration");
    let pings = bench.run(2_000);
    assert_eq!(pings.len(), 3 * RELAYS.len());
    assert!(pings.iter().all(|(_, ping)| ping.stream.is_none()));
    assert!(matches!(bench.fallback.poll_order(), Some(StreamOrder::Open { .. })));
    assert_eq!(bench.fallback.poll_order(), None, "one stream");
    assert!(bench.fallback.take_changed().is_empty(), "nothing goes another way before it is up");
}

#[test]
fn an_answer_to_a_ping_ends_the_doubt_and_another_does_not_begin_at_once() {
    let mut bench = Bench::new();
    bench.send(0, DIRECTOR, b"registration");
    let (when, ping) = bench.run(700).remove(0);
    assert!(!bench.fallback.handle_pong(at(when), ping.to, nonce(&ping) ^ 1), "not the number that was sent");
    assert!(!bench.fallback.handle_pong(at(when), address(PEER), nonce(&ping)), "not from where it was sent to");
    assert!(bench.fallback.handle_pong(at(when + 50), ping.to, nonce(&ping)));
    assert!(!bench.fallback.handle_pong(at(when + 50), ping.to, nonce(&ping)), "once");
    for millis in (1_000..10_000).step_by(500) {
        bench.send(millis, DIRECTOR, b"registration");
        assert_eq!(bench.run(millis), []);
    }
    assert_eq!(bench.fallback.poll_order(), None, "it is the coordinator that is silent");
}

#[test]
fn an_answer_of_a_server_ends_the_silence() {
    let mut bench = Bench::new();
    bench.send(0, DIRECTOR, b"registration");
    bench.fallback.heard(at(100), endpoint(0, HERE));
    assert_eq!(bench.fallback.next_timeout(), Instant::FAR_FUTURE);
    bench.send(200, DIRECTOR, b"registration");
    bench.run(1_000);
    bench.fallback.heard(at(1_100), endpoint(0, HERE));
    assert_eq!(bench.fallback.next_timeout(), Instant::FAR_FUTURE, "also after it was doubted");
}

#[test]
fn a_stream_carries_what_is_for_its_relay_and_the_coordinators_and_nothing_else() {
    let mut bench = Bench::new();
    let id = bench.until_carried();
    let to_relay = bench.send(3_000, RELAYS[0], b"to the relay");
    assert_eq!((to_relay.stream, &to_relay.datagram), (Some(id), &Carried::Relay(b"to the relay").emit()));
    let to_director = bench.send(3_000, DIRECTOR, b"to the coordinator");
    let expected = Carried::Director(address(DIRECTOR), b"to the coordinator").emit();
    assert_eq!((to_director.stream, to_director.datagram), (Some(id), expected));
    assert_eq!(bench.send(3_000, PEER, b"to a peer").stream, None);
    assert_eq!(bench.send(3_000, RELAYS[1], b"to another relay").stream, None);
    assert_eq!(bench.send(3_000, DIRECTOR, &[0; MAX_DATAGRAM + 1]).stream, None, "no frame is as long");
    assert!(bench.fallback.carries(endpoint(0, HERE), address(RELAYS[0])));
    assert!(!bench.fallback.carries(endpoint(0, HERE), address(PEER)));
    assert!(!bench.fallback.carries(endpoint(1, HERE), address(RELAYS[0])), "another endpoint");
}

#[test]
fn a_bind_at_another_relay_has_a_stream_of_its_own_until_nobody_uses_it() {
    let mut bench = Bench::new();
    let home = bench.until_carried();
    let bind = [6; 84];
    assert_eq!(bench.send(3_000, RELAYS[1], &bind).stream, None);
    let Some(StreamOrder::Open { id, relay, .. }) = bench.fallback.poll_order() else { panic!("a stream") };
    assert_eq!(relay, address(RELAYS[1]));
    bench.send(3_100, RELAYS[1], &bind);
    assert_eq!(bench.fallback.poll_order(), None, "one is enough");
    bench.fallback.handle_up(at(3_200), id);
    assert!(bench.fallback.take_changed().is_empty(), "nothing else goes another way");
    assert_eq!(bench.send(3_300, RELAYS[1], &bind).stream, Some(id));
    for until in (4_000..63_000).step_by(1_000) {
        bench.run(until);
        for stream in [home, id] {
            bench.fallback.handle_frame(at(until), stream);
        }
    }
    assert!(bench.fallback.carries(endpoint(0, HERE), address(RELAYS[1])));
    bench.run(64_000);
    assert!(!bench.fallback.carries(endpoint(0, HERE), address(RELAYS[1])));
    assert!(core::iter::from_fn(|| bench.fallback.poll_order()).any(|order| order == StreamOrder::Close(id)));
}

#[test]
fn a_stream_that_was_opened_for_a_bind_takes_over_what_is_for_the_coordinators() {
    let mut bench = Bench::new();
    let home = bench.until_carried();
    bench.send(3_000, RELAYS[1], &[6; 84]);
    let Some(StreamOrder::Open { id, .. }) = bench.fallback.poll_order() else { panic!("a stream") };
    bench.fallback.handle_up(at(3_100), id);
    bench.fallback.handle_down(at(3_200), home);
    assert_eq!(bench.send(3_300, DIRECTOR, b"update").stream, None);
    bench.run(4_000);
    assert_eq!(bench.send(4_000, DIRECTOR, b"update").stream, Some(id));
    assert_eq!(bench.fallback.take_changed(), [endpoint(0, HERE)]);
    assert_eq!(bench.fallback.poll_order(), None, "no other is needed");
}

#[test]
fn streams_that_come_to_nothing_are_tried_at_the_next_relay_and_ever_more_slowly() {
    let mut bench = Bench::new();
    let (mut now, mut id) = bench.until_blocked();
    let mut relays = Vec::new();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        bench.fallback.handle_down(at(now), id);
        let failed = now;
        let relay;
        (now, relay, id) = loop {
            now += 100;
            bench.run(now);
            if let Some(StreamOrder::Open { id, relay, .. }) = bench.fallback.poll_order() {
                break (now, relay, id);
            }
        };
        relays.push(relay);
        pauses.push(now - failed);
    }
    assert!(relays.iter().step_by(2).all(|relay| *relay == address(RELAYS[1])));
    assert!(relays.iter().skip(1).step_by(2).all(|relay| *relay == address(RELAYS[0])));
    assert!(pauses.is_sorted() && pauses[0] <= 600 && pauses[7] >= 39_000, "{pauses:?}");
}

#[test]
fn a_pong_by_udp_brings_the_endpoint_back() {
    let mut bench = Bench::new();
    let id = bench.until_carried();
    let pings = bench.run(5_000);
    let (_, ping) = pings.iter().find(|(_, ping)| ping.stream.is_none()).expect("UDP is tried again");
    assert!(bench.fallback.handle_pong(at(5_000), ping.to, nonce(ping)));
    assert_eq!(bench.fallback.take_changed(), [endpoint(0, HERE)]);
    assert_eq!(bench.fallback.poll_order(), Some(StreamOrder::Close(id)));
    assert_eq!(bench.send(5_000, DIRECTOR, b"update").stream, None);
}

#[test]
fn an_answer_while_no_stream_is_up_brings_the_endpoint_back_as_well() {
    let mut bench = Bench::new();
    let id = bench.until_carried();
    bench.fallback.handle_down(at(3_000), id);
    assert!(bench.fallback.take_changed().is_empty(), "there is no other way yet");
    bench.fallback.heard(at(3_100), endpoint(0, HERE));
    assert!(bench.fallback.next_timeout() <= at(3_100), "the rest of the engine is told at once");
    assert_eq!(bench.fallback.take_changed(), [endpoint(0, HERE)]);
}

#[test]
fn orders_that_nobody_takes_are_bounded() {
    let mut bench = Bench::new();
    bench.send(0, DIRECTOR, b"registration");
    bench.run(24 * 3_600_000);
    assert_eq!(bench.fallback.orders.len(), MAX_ORDERS);
}

#[test]
fn what_a_stream_brings_does_not_count_as_udp() {
    let mut bench = Bench::new();
    let id = bench.until_carried();
    assert_eq!(bench.fallback.handle_frame(at(3_000), id), Some((endpoint(0, HERE), address(RELAYS[0]))));
    bench.fallback.heard(at(3_000), endpoint(0, HERE));
    assert!(bench.fallback.take_changed().is_empty());
    assert!(bench.fallback.carries(endpoint(0, HERE), address(RELAYS[0])));
}

#[test]
fn a_stream_that_falls_silent_is_replaced() {
    let mut bench = Bench::new();
    let id = bench.until_carried();
    let sent = bench.run(42_000);
    let asked = sent.iter().filter(|(_, ping)| ping.stream == Some(id)).count();
    assert_eq!(asked, 2, "it was asked whether it works");
    assert!(!bench.fallback.carries(endpoint(0, HERE), address(RELAYS[0])));
    bench.run(46_000);
    let orders: Vec<_> = core::iter::from_fn(|| bench.fallback.poll_order()).collect();
    let [StreamOrder::Close(closed), StreamOrder::Open { id: next, .. }] = orders[..] else { panic!("{orders:?}") };
    assert_eq!(closed, id);
    bench.fallback.handle_up(at(46_000), next);
    assert_eq!(bench.fallback.take_changed(), [endpoint(0, HERE)], "what was bound must be bound again");
}

#[test]
fn an_endpoint_that_goes_takes_its_streams_along() {
    let mut bench = Bench::new();
    let id = bench.until_carried();
    bench.fallback.handle_change(&Change { gone: vec![endpoint(0, HERE)], ..Change::default() });
    assert_eq!(bench.fallback.poll_order(), Some(StreamOrder::Close(id)));
    assert_eq!(bench.fallback.next_timeout(), Instant::FAR_FUTURE);
    assert_eq!(bench.fallback.handle_frame(at(3_000), id), None);
}

#[test]
fn without_relays_nothing_is_ever_due() {
    let mut bench = Bench::new();
    bench.fallback.relays.clear();
    bench.send(0, DIRECTOR, b"registration");
    assert_eq!(bench.fallback.next_timeout(), Instant::FAR_FUTURE);
}
