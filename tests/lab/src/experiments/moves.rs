//! A move, and what a call saw of it.

use std::collections::BTreeSet;

use super::call::Call;
use crate::forward::model::Nanos;
use crate::kernel::clock;
use crate::net::mobile::Moved;
use crate::report::{median, milliseconds};
use crate::run::agent::Agent;

/// Between the two ends, when the one that moves has a network.
pub(super) const ROUND_TRIP: Nanos = 20_000_000;
/// Between datagrams of the voice.
const VOICE: Nanos = 20_000_000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) without_address: Nanos,
    pub(crate) detection: Nanos,
    pub(crate) tunnel: Nanos,
    pub(crate) first_byte: Nanos,
    pub(crate) voice_gap: Nanos,
    pub(crate) transfer_gap: Nanos,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    /// As many of the voice's datagrams were in flight, or had nowhere to go, in the outage.
    pub(crate) most_lost: u64,
}

/// A column of the tables.
type Column = (&'static str, fn(&Sample) -> u64, bool);

const COLUMNS: [Column; 8] = [
    ("no address", |s| s.without_address, true),
    ("detected", |s| s.detection, true),
    ("tunnel", |s| s.tunnel, true),
    ("first byte", |s| s.first_byte, true),
    ("voice gap", |s| s.voice_gap, true),
    ("TCP gap", |s| s.transfer_gap, true),
    ("UDP lost", |s| s.lost, false),
    ("UDP twice", |s| s.twice, false),
];

impl Sample {
    /// To be taken when the call goes on again.
    pub(crate) fn of(call: &Call, caller: &Agent, callee: &Agent, moved: Moved) -> Self {
        let (here, there) = (call.at_caller(caller), call.at_callee(callee));
        let now = clock::monotonic();
        let first = [here.first_after(moved.first_out), there.first_after(moved.first_out)].into_iter().flatten().min();
        let numbers: Vec<u64> =
            there.voice.iter().filter(|heard| heard.at > moved.left).map(|heard| heard.number).collect();
        let different: BTreeSet<u64> = numbers.iter().copied().collect();
        let span = different.first().zip(different.last()).map_or(0, |(first, last)| last - first + 1);
        let outage = moved.first_out.saturating_sub(moved.left) + ROUND_TRIP;
        Self {
            without_address: moved.gained.saturating_sub(moved.left),
            detection: moved.first_out.saturating_sub(moved.gained),
            tunnel: moved.first_back - moved.first_out,
            first_byte: first.map_or(Nanos::MAX, |first| first - moved.first_out),
            voice_gap: here.voice_gap(moved.left, now).max(there.voice_gap(moved.left, now)),
            transfer_gap: here.transfer_gap(moved.left, now).max(there.transfer_gap(moved.left, now)),
            lost: span - different.len() as u64,
            twice: (numbers.len() - different.len()) as u64,
            most_lost: outage / VOICE + 1,
        }
    }
}

pub(super) fn head() -> String {
    line("into", COLUMNS.iter().map(|(name, ..)| (*name).to_owned()))
}

/// Medians.
pub(super) fn row(name: &str, samples: &[Sample]) -> String {
    line(name, COLUMNS.iter().map(|(_, of, time)| shown(median(samples.iter().map(of)), *time)))
}

pub(super) fn worst(samples: &[Sample]) -> String {
    line("worst", COLUMNS.iter().map(|(_, of, time)| shown(samples.iter().map(of).max().unwrap_or(0), *time)))
}

fn shown(value: u64, time: bool) -> String {
    if time { milliseconds(value) } else { value.to_string() }
}

fn line(name: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.map(|cell| format!("{cell:>12}")).collect();
    format!("{name:14}{cells}")
}
