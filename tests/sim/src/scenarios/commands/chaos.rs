//! Totals of the chaos.

use crate::cli::{Failure, Report, Scenario};
use crate::scenarios::chaos;
use serde_json::json;

/// A failure that does not replay cannot be mended: each seed that this divides runs twice.
const REPLAYED: u64 = 50;

/// See [`chaos`].
#[derive(Clone, Copy, Debug)]
pub struct Chaos;

impl Scenario for Chaos {
    fn name(&self) -> &'static str {
        "chaos"
    }

    fn about(&self) -> &'static str {
        "Everything random for ten virtual minutes, with an attacker; all oracles on"
    }

    fn default_seeds(&self) -> u64 {
        60
    }

    fn run(&self, seed: u64, report: &mut Report) -> Result<(), Failure> {
        let outcome = chaos::run_seed(seed, report)?;
        if seed.is_multiple_of(REPLAYED) {
            if chaos::run_seed(seed, &Report::silent())? != outcome {
                return Err("the same seed took another course the second time".into());
            }
            report.metrics().total("seeds run twice and found the same", "", 1.0);
        }
        report
            .metrics()
            .total("seeds", "", 1.0)
            .total("virtual time", "h", outcome.time.as_secs_f64() / 3_600.0)
            .total("troubles", "", outcome.troubles as f64)
            .total("datagrams of the attacker", "", outcome.attacks as f64)
            .total("bytes received and checked", "", outcome.bytes as f64)
            .total("datagrams", "", outcome.datagrams as f64);
        report.details(json!({ "digest": format!("{:016x}", outcome.digest) }));
        Ok(())
    }
}
