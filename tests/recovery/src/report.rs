//! The measurements that the program makes: a table of goodputs, drawings of traces.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::path::Path;
use std::time::Duration;

use ntm_recovery::{Algorithm, Config};

use crate::link::{Conditions, Loss};
use crate::scenario;

const MEGABIT: u64 = 1_000_000;
const RATES: [u64; 3] = [20 * MEGABIT, 200 * MEGABIT, 1_000 * MEGABIT];
const TRIPS: [u64; 4] = [5, 20, 100, 300];
const BUFFERS: [f64; 2] = [1.0, 0.1];
const LOSSES: [(&str, Loss); 6] = [
    ("none", Loss::Never),
    ("0.01 %", Loss::Random(0.0001)),
    ("0.1 %", Loss::Random(0.001)),
    ("1 %", Loss::Random(0.01)),
    ("3 %", Loss::Random(0.03)),
    ("bursts", Loss::Bursts { part: 0.001, length: 20 }),
];

/// Prints what one flow gets, in Mbit/s: a row for each rate, round trip and buffer, a column for each loss.
pub fn goodput(algorithm: Algorithm) {
    let config = Config { algorithm, ..Config::default() };
    print!("{} Mbit/s of   ", algorithm.name());
    for (name, _) in LOSSES {
        print!("{name:>9}");
    }
    println!();
    for rate in RATES {
        for (trip, buffer) in TRIPS.into_iter().flat_map(|trip| BUFFERS.map(|buffer| (trip, buffer))) {
            print!("{:5} {trip:3} ms {buffer:.1}", rate / MEGABIT);
            for (_, loss) in LOSSES {
                let trip = Duration::from_millis(trip);
                let conditions = Conditions { loss, ..Conditions::clean(rate, trip, buffer) };
                let time = Duration::from_secs(5).max(trip * 100);
                let got = scenario::goodput(config, conditions, trip * 20, time, 1);
                print!("{:9.1}", got / MEGABIT as f64);
            }
            println!();
        }
    }
}

/// Writes a drawing for each control and each kind of trouble.
///
/// # Errors
/// Where a file cannot be written.
pub fn plots(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let trip = Duration::from_millis(40);
    let clean = Conditions::clean(100 * MEGABIT, trip, 1.0);
    let scenes = [
        ("clean", clean),
        ("loss", Conditions { loss: Loss::Random(0.001), ..clean }),
        ("bursts", Conditions { loss: Loss::Bursts { part: 0.001, length: 20 }, ..clean }),
        ("shallow", Conditions::clean(100 * MEGABIT, trip, 0.1)),
        ("bloat", Conditions::clean(20 * MEGABIT, trip, 20.0)),
        ("policer", Conditions { policer: Some((20 * MEGABIT, 100_000)), ..clean }),
        ("reorder", Conditions { reorder: 0.02, ..clean }),
    ];
    for algorithm in Algorithm::ALL {
        for (name, conditions) in scenes {
            let config = Config { algorithm, ..Config::default() };
            let trace = scenario::trace(config, conditions, Duration::from_secs(20), Duration::from_millis(20), 1);
            let title = format!("{}, {name}: {} Mbit/s, 40 ms", algorithm.name(), conditions.rate / MEGABIT);
            std::fs::write(directory.join(format!("{}-{name}.svg", algorithm.name())), trace.svg(&title))?;
        }
    }
    Ok(())
}
