//! The distribution of interruptions.

use crate::cli::{Failure, Report, Scenario};
use crate::scenarios::moves::{self, Incident, SLACK, Sample};
use serde_json::json;
use std::time::Duration;

/// See [`moves`].
#[derive(Clone, Copy, Debug)]
pub struct Moves;

impl Scenario for Moves {
    fn name(&self) -> &'static str {
        "moves"
    }

    fn about(&self) -> &'static str {
        "Transfers while nodes move: interruptions against one round trip, and no byte lost or doubled"
    }

    fn run(&self, seed: u64, report: &mut Report) -> Result<(), Failure> {
        report.note(format_args!(
            "an interruption may take one round trip and {} ms; it is measured from the new address to the first",
            SLACK.as_millis()
        ));
        report.note("packet in each direction, with a datagram every millisecond");
        let samples = moves::run_seed(seed, report)?;
        // A seed that comes here without an error has had every byte once, in order and intact.
        let both_ways = 2.0 * moves::BYTES as f64;
        report.metrics().total("bytes received and checked", "", both_ways).total("bytes lost or doubled", "", 0.0);
        samples.iter().for_each(|sample| measure(sample, report));
        report.details(samples.iter().map(as_json).collect::<Vec<_>>());
        let outside: Vec<String> = samples.iter().filter(|sample| !sample.is_within()).map(complaint).collect();
        if outside.is_empty() { Ok(()) } else { Err(outside.join("; ").into()) }
    }
}

/// The table's rows are by what happened and by which way was to be had at once.
fn kind(sample: &Sample) -> String {
    match (sample.incident, sample.direct) {
        (Incident::Notice, _) => sample.incident.name().into(),
        (incident, true) => format!("{}, direct", incident.name()),
        (incident, false) => format!("{}, relay", incident.name()),
    }
}

fn measure(sample: &Sample, report: &mut Report) {
    let (kind, within) = (kind(sample), usize::from(sample.is_within()));
    let metrics = report.metrics();
    if sample.incident == Incident::Notice {
        metrics.count(format!("{kind}: packets lost"), sample.lost);
    } else {
        metrics.add(format!("{kind}: beyond the round trip"), "ms", beyond(sample));
        metrics.add(format!("{kind}: in round trips"), "RTT", in_round_trips(sample));
    }
    metrics.share(format!("{kind}: within the bound"), within, 1);
}

/// In milliseconds; negative where it took less than a round trip.
fn beyond(sample: &Sample) -> f64 {
    millis(sample.interruption) - millis(sample.rtt)
}

fn in_round_trips(sample: &Sample) -> f64 {
    sample.interruption.as_secs_f64() / sample.rtt.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn complaint(sample: &Sample) -> String {
    match sample.incident {
        Incident::Notice => format!("{}: {} packets lost", kind(sample), sample.lost),
        _ => format!(
            "{}: interrupted for {:.1} ms, at most {:.1} ms allowed",
            kind(sample),
            millis(sample.interruption),
            millis(sample.rtt + SLACK)
        ),
    }
}

fn as_json(sample: &Sample) -> serde_json::Value {
    json!({
        "incident": sample.incident.name(),
        "direct": sample.direct,
        "rtt_ms": millis(sample.rtt),
        "interruption_ms": millis(sample.interruption),
        "packets_lost": sample.lost,
        "within": sample.is_within(),
    })
}
