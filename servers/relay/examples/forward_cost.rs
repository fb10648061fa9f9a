//! What forwarding one datagram costs, by the number of grants in the table.
//!
//! ```sh
//! cargo run --release -p ntm-relay --example forward_cost
//! ```
//! Each datagram belongs to a grant chosen at random, so that the numbers include what the caches
//! of a busy relay miss. The copy of the datagram that stands for receiving it is timed alone, and
//! taken off.
#![allow(clippy::print_stdout, reason = "this is what the program is for")]

use core::hint::black_box;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use ntm_proto::rng::Rng;
use ntm_proto::session::TokenBody;
use ntm_proto::wire::message::Side;
use ntm_proto::wire::outer::{self, Outer, PUNCH, RELAYED_HEADER};
use ntm_relay::testing::{Client, EPOCH, RELAY4, Rig, address, config, inner, token_body};

const SIZE: usize = 1_400;
const DATAGRAMS: usize = 2_000_000;

/// One side of a grant: where it is, and what it was told.
struct Bound {
    at: SocketAddr,
    header: [u8; RELAYED_HEADER],
}

fn main() {
    println!("{:>10}  {:>12}  {:>12}", "grants", "ns/datagram", "ns/bind");
    for grants in [1, 1_000, 100_000] {
        let (forward, bind) = measure(grants);
        println!("{grants:>10}  {forward:>12.1}  {bind:>12.1}");
    }
}

fn measure(grants: usize) -> (f64, f64) {
    let mut config = config();
    config.capacity.grants = grants;
    let mut rig = Rig::new(config);
    let mut bound = Vec::with_capacity(2 * grants);
    let mut binding = Duration::ZERO;
    for number in 0..grants {
        let body = TokenBody { expires: EPOCH + Duration::from_secs(80_000), ..token_body(number as u64) };
        for side in [Side::Initiator, Side::Responder] {
            bound.push(bind(&mut rig, &body, side, &mut binding));
        }
        rig.advance(Duration::from_micros(100));
    }

    let local = address(RELAY4);
    let mut rng = Rng::from_seed([1; 32]);
    let order: Vec<_> = (0..DATAGRAMS).map(|_| rng.below(bound.len() as u64) as usize).collect();
    let template = outer::emit_relayed(ntm_proto::id::RelayIndex(0), &inner(1, SIZE));
    let mut buffer = template.clone();
    let mut run = |forward: bool| {
        let start = std::time::Instant::now();
        for &side in &order {
            let Bound { at, header } = &bound[side];
            buffer[..RELAYED_HEADER].copy_from_slice(header);
            if forward {
                let forward = rig.relay.handle_datagram(rig.now, local, *at, black_box(&mut buffer));
                assert!(black_box(forward).is_some());
            } else {
                black_box(&mut buffer);
            }
        }
        start.elapsed()
    };
    run(true);
    let (whole, copy) = (run(true), run(false));
    let forward = whole.saturating_sub(copy).as_nanos() as f64 / DATAGRAMS as f64;
    assert_eq!(rig.relay.stats().dropped_total(), 0);
    (forward, binding.as_nanos() as f64 / (2 * grants) as f64)
}

/// Binds one side and has it prove its address.
fn bind(rig: &mut Rig, body: &TokenBody, side: Side, time: &mut Duration) -> Bound {
    let number = body.serial as u32;
    let network = if side == Side::Initiator { 10 << 24 } else { 11 << 24 };
    let mut client = Client::new(body, side, "192.0.2.1:1");
    client.address = SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(network + number)), 4_500);
    let mut datagram = client.bind(None);
    let start = std::time::Instant::now();
    black_box(rig.relay.handle_datagram(rig.now, client.relay, client.address, &mut datagram));
    *time += start.elapsed();
    let answer = rig.relay.poll_transmit().expect("a good bind is answered");
    let Ok(Outer::RelayBound(bound)) = Outer::parse(&answer.datagram) else { panic!("answered with {answer:?}") };
    let mut punch = outer::emit_relayed(bound.index, &PUNCH);
    rig.relay.handle_datagram(rig.now, client.relay, client.address, &mut punch);
    let mut header = [0; RELAYED_HEADER];
    outer::write_relayed_header(&mut header, bound.index);
    Bound { at: client.address, header }
}
