//! Two flows at one narrow place: what each gets, and how long frames wait there.

use std::io;

use clap::Args;

use super::grid::{Cell, Loss};
use super::scene::{Contender, SENDERS, Scene, Sender};
use crate::report::Report;
use crate::run::domain::Files;

/// How long, and where.
#[derive(Clone, Debug, Args)]
pub(crate) struct Span {
    /// Mbit/s; the queue is one product of rate and round trip
    #[arg(long, value_delimiter = ',', default_value = "20,200")]
    rates: Vec<u64>,
    /// Round trips in milliseconds
    #[arg(long, value_delimiter = ',', default_value = "20,100")]
    trips: Vec<u64>,
    /// What counts, after a third of that in which flows may converge
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
}

const LEAST_JAIN: f64 = 0.9;
const SHARES: std::ops::RangeInclusive<f64> = 0.4..=0.6;

const PAIRS: [(&str, [Contender; 2]); 3] = [
    ("kernel, kernel", [Contender::Kernel; 2]),
    ("ntmfw, ntmfw", [Contender::Ntmfw; 2]),
    ("ntmfw, kernel", [Contender::Ntmfw, Contender::Kernel]),
];

/// What two flows got, in Mbit/s, and how long frames waited on average, in milliseconds.
struct Shared {
    goodputs: [f64; 2],
    wait: f64,
}

impl Shared {
    fn share(&self) -> f64 {
        self.goodputs[0] / self.goodputs.iter().sum::<f64>()
    }

    /// Jain's index: 1 where both have the same.
    fn jain(&self) -> f64 {
        let squares: f64 = self.goodputs.iter().map(|one| one * one).sum();
        self.goodputs.iter().sum::<f64>().powi(2) / (2.0 * squares)
    }
}

pub(crate) fn run(span: &Span, files: &Files, report: &mut Report) -> io::Result<()> {
    let scene = Scene::new(files, "")?;
    scene.let_kernel_remember(false)?;
    report.line(&format!("two flows of cubic, {} s after a third of that together", span.seconds));
    let heads = ["Mbit/s", "Mbit/s", "share", "Jain", "wait, ms"].map(|head| format!("{head:>10}")).concat();
    report.line(&format!("{:40}{heads}", ""));
    let links = span.rates.iter().flat_map(|&rate| span.trips.iter().map(move |&trip| (rate, trip)));
    for (rate, trip) in links {
        let cell = Cell { rate, trip, loss: Loss::Random(0.0), buffer: 1.0 };
        for (name, pair) in PAIRS {
            let label = format!("{rate:>4} Mbit/s {trip:>4} ms  {name}");
            match measure(&scene, &cell, pair, span.seconds) {
                Ok(shared) => show(&label, &shared, pair, report),
                Err(why) => report.check(false, &format!("{label}: {why}")),
            }
        }
    }
    Ok(())
}

fn measure(scene: &Scene, cell: &Cell, pair: [Contender; 2], seconds: f64) -> io::Result<Shared> {
    let link = scene.link(cell.impairments(), 1)?;
    let rest = ["cubic".to_owned(), (seconds / 3.0).to_string(), seconds.to_string()];
    let start = |at: usize| scene.client(Sender { node: SENDERS[at], ..Sender::of(pair[at]) }, "bulk", &rest);
    let clients = [start(0)?, start(1)?];
    let mut goodputs = [0.0; 2];
    for (client, goodput) in clients.into_iter().zip(&mut goodputs) {
        *goodput = client.answer()?.figure("bytes")? * 8e-6 / seconds;
    }
    let [forth, _] = link.counts();
    Ok(Shared { goodputs, wait: forth.waited as f64 / forth.delivered.max(1) as f64 / 1e6 })
}

fn show(label: &str, shared: &Shared, pair: [Contender; 2], report: &mut Report) {
    let Shared { goodputs: [one, other], wait } = shared;
    let (share, jain) = (shared.share(), shared.jain());
    report.line(&format!("{label:40}{one:>10.2}{other:>10.2}{share:>10.2}{jain:>10.3}{wait:>10.2}"));
    if pair.contains(&Contender::Ntmfw) {
        report.check_time(jain >= LEAST_JAIN, &format!("{label}: Jain's index is at least {LEAST_JAIN}"));
        report.check_time(SHARES.contains(&share), &format!("{label}: the share is from 0.4 to 0.6"));
    }
}
