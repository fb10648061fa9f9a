//! A node that binds with somebody else's address does not turn the relay against them.

use ntm_proto::wire::outer::PUNCH;
use ntm_relay::testing::{Client, Rig, address, config, deliver, inner, join};

const VICTIM: &str = "203.0.113.66:53";

/// Bytes sent to the victim.
fn to_victim(sent: &[ntm_relay::Transmit]) -> usize {
    sent.iter().filter(|transmit| transmit.to == address(VICTIM)).map(|transmit| transmit.datagram.len()).sum()
}

#[test]
fn a_forged_source_is_sent_at_most_three_times_what_came_from_it() {
    let mut rig = Rig::new(config());
    let (mut a, mut b) = Client::pair(1);
    join(&mut rig, &mut a, &mut b);

    // The nodes work together: one binds as the victim, the other sends all it can.
    let (mut received, mut sent_to_victim) = (0, 0);
    b.move_to(VICTIM);
    for round in 0..20 {
        if round % 5 == 0 {
            let bind = b.bind(Some(&[&PUNCH[..], &[0; 100]].concat()));
            received += bind.len();
            sent_to_victim += to_victim(&rig.say(&b, &bind));
        }
        for size in [1_400, 300, 100, 40] {
            let sent = rig.say(&a, &a.relayed(&inner(round, size)));
            sent_to_victim += to_victim(&sent);
        }
        assert!(sent_to_victim <= 3 * received, "{sent_to_victim} of {received}");
    }
    assert!(sent_to_victim > 2 * received, "the bound is what stopped it: {sent_to_victim} of {received}");
}

#[test]
fn binding_to_and_fro_earns_no_more() {
    let mut rig = Rig::new(config());
    let (mut a, mut b) = Client::pair(1);
    join(&mut rig, &mut a, &mut b);
    let (mut received, mut sent_to_victim) = (0, 0);
    for round in 0..30 {
        b.move_to(if round % 2 == 0 { VICTIM } else { "203.0.113.2:2000" });
        let bind = b.bind(None);
        received += if round % 2 == 0 { bind.len() } else { 0 };
        sent_to_victim += to_victim(&rig.say(&b, &bind));
        for size in [1_400, 200, 60] {
            sent_to_victim += to_victim(&rig.say(&a, &a.relayed(&inner(round, size))));
        }
        assert!(sent_to_victim <= 3 * received, "{sent_to_victim} of {received}");
    }
}

#[test]
fn the_old_index_does_not_prove_the_new_address() {
    let mut rig = Rig::new(config());
    let (mut a, mut b) = Client::pair(1);
    join(&mut rig, &mut a, &mut b);
    let (home, proof) = (b.address, b.relayed(&PUNCH));
    b.move_to(VICTIM);
    let bind = b.bind(None);
    let mut sent_to_victim = to_victim(&rig.say(&b, &bind));
    rig.input(b.relay, home, &proof);
    rig.input(b.relay, address(VICTIM), &proof);
    for tag in 0..50 {
        sent_to_victim += to_victim(&rig.say(&a, &a.relayed(&inner(tag, 200))));
    }
    assert!(sent_to_victim <= 3 * bind.len());
}

#[test]
fn the_answer_to_a_bind_is_shorter_than_the_bind() {
    let mut rig = Rig::new(config());
    let (mut a, _) = Client::pair(1);
    let bind = a.bind(None);
    let sent = rig.say(&a, &bind);
    assert!(sent.iter().map(|transmit| transmit.datagram.len()).sum::<usize>() < bind.len());
    deliver(&sent, &mut [&mut a]);
    assert!(a.index.is_some());
}
