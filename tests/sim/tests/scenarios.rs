//! The scenarios of `ntm-sim` at a size that suits every build; `make sim` runs them at their own.

use ntm_sim::cli::Report;
use ntm_sim::net::NatKind;
use ntm_sim::scenarios::matrix::{self, Cell, Route};
use ntm_sim::scenarios::moves::{self, Incident};
use ntm_sim::scenarios::setup;
use ntm_sim::scenarios::spot::Spot;
use ntm_sim::scenarios::{chaos, commands, demo};
use std::time::Duration;

const KINDS: [Spot; 5] = [
    Spot::V4Global,
    Spot::V4Nat(NatKind::PORT_RESTRICTED_CONE),
    Spot::V4Nat(NatKind::SYMMETRIC),
    Spot::V6Only,
    Spot::Dual,
];

fn cells() -> impl Iterator<Item = Cell> {
    KINDS.into_iter().flat_map(|initiator| {
        KINDS.into_iter().map(move |responder| {
            let cell = matrix::run_cell(0, initiator, responder, &Report::silent());
            cell.unwrap_or_else(|what| panic!("{}: {what}", matrix::name(initiator, responder)))
        })
    })
}

#[test]
fn pairs_are_direct_where_the_design_says_so_and_relayed_elsewhere() {
    // Rows are initiators, in the order of the kinds; a bar is direct, a dot relayed.
    let expected = ["|||.|", "||..|", "|...|", "...||", "|||||"].concat();
    let found: String = cells()
        .map(|cell| match cell.route() {
            Route::Direct => '|',
            Route::Relay => '.',
            Route::OneWay => '?',
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn the_first_byte_comes_as_soon_as_two_ideal_nodes_could_send_it() {
    for cell in cells() {
        matrix::judge(&cell).unwrap_or_else(|what| panic!("{}: {what}", cell.name()));
        let beyond = cell.first_byte.saturating_sub(cell.least);
        assert!(beyond < cell.rtt / 100, "{}: {:?}, possible are {:?}", cell.name(), cell.first_byte, cell.least);
    }
}

#[test]
fn ideal_nodes_take_the_times_that_one_reckons_by_hand() {
    // Every way through the core takes 10 ms: the request and the direction, the responder's first message, the
    // data. Over the relay each of the last two takes twice that. Where the initiator's port is known to
    // nobody in advance, it has to speak first, and data goes with its second message.
    for (initiator, responder, millis) in [
        (Spot::V4Global, Spot::V4Global, 40),
        (Spot::V6Only, Spot::V4Global, 60),
        (Spot::V4Nat(NatKind::SYMMETRIC), Spot::V4Global, 50),
        (Spot::V4Global, Spot::V4Nat(NatKind::SYMMETRIC), 40),
    ] {
        let cell = matrix::run_cell(0, initiator, responder, &Report::silent()).unwrap();
        let away = cell.least.abs_diff(Duration::from_millis(millis));
        assert!(away < Duration::from_millis(1), "{}: {:?}", cell.name(), cell.least);
    }
}

#[test]
fn registering_takes_one_round_trip_and_setting_up_less_than_the_paper_measured() {
    for case in &setup::CASES {
        let outcome = setup::run_case(0, case, &Report::silent()).unwrap();
        assert_eq!(outcome.registration, case.mn_dc, "{}", case.name);
        setup::judge(case, &outcome).unwrap();
    }
}

#[test]
fn transfers_survive_every_kind_of_move_with_interruptions_within_the_bound() {
    let mut seen = Vec::new();
    for seed in 0..Incident::ALL.len() as u64 {
        for sample in moves::run_seed(seed, &Report::silent()).unwrap() {
            assert!(sample.is_within(), "seed {seed}: {sample:?}");
            seen.push(sample.incident);
        }
    }
    assert!(Incident::ALL.iter().all(|incident| seen.contains(incident)));
}

#[test]
fn streams_come_through_ten_minutes_of_everything_going_wrong() {
    for seed in 1..4 {
        let outcome = chaos::run_seed(seed, &Report::silent()).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        assert!(outcome.bytes > 0 && outcome.troubles > 0);
    }
}

#[test]
fn a_seed_replays_datagram_for_datagram() {
    chaos::replays(4).unwrap();
    let [first, second] = [5, 6].map(|seed| chaos::run_seed(seed, &Report::silent()).unwrap().digest);
    assert_ne!(first, second, "different seeds are different stories");
}

#[test]
fn the_demonstration_tells_its_minute_and_loses_nothing() {
    let scenarios: [&dyn ntm_sim::cli::Scenario; 2] = [&demo::Demo, &commands::Setup];
    let mut out = Vec::new();
    let exit = ntm_sim::cli::run(&scenarios, ["ntm-sim", "--scenario", "demo"].map(Into::into), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(exit, ntm_sim::cli::Exit::Success, "{text}");
    for part in ["phone loses its network", "directly", "over relay", "NAT behind NAT", "IPv6 only", "global IPv4"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!text.contains("none "), "there is a path after every move: {text}");
}
