//! What one flow gets of links with loss, in turns.
//!
//! Both flows of a cell lose the same frames by number. What counts is what arrives within the same time from the first
//! byte on, slow start included.

use std::io::{self, Write as _};

use super::grid::{Cell, Grid};
use super::scene::{Contender, Scene, Sender};
use crate::report::Report;
use crate::run::domain::Files;

/// The least that is claimed of the ratio of goodputs, in the middle and anywhere.
const MEDIAN: f64 = 1.0;
const LEAST: f64 = 0.85;
const WORST_SHOWN: usize = 8;

/// Mbit/s of goodput, the kernel's first.
#[derive(Clone, Copy, Debug)]
struct Pair([f64; 2]);

impl Pair {
    fn ratio(self) -> f64 {
        self.0[1] / self.0[0]
    }
}

pub(crate) fn run(grid: &Grid, files: &Files, report: &mut Report) -> io::Result<()> {
    let scene = Scene::new(files, &grid.settings)?;
    scene.let_kernel_remember(false)?;
    let [send, receive] = scene.kernel_bounds()?;
    report.line(&format!(
        "goodput of one flow in Mbit/s over {} s or thirty round trips, {} round(s);",
        grid.seconds, grid.rounds
    ));
    report.line(&format!("the kernel's buffers grow to {send} bytes for sending and {receive} for receiving"));
    for congestion in &grid.congestion {
        let cells = grid.cells();
        let mut pairs = Vec::new();
        for (number, cell) in cells.iter().enumerate() {
            let _ = write!(io::stderr(), "{congestion}, {} of {}: ", number + 1, cells.len());
            // Each cell has losses of its own, or the luck of one would be that of all.
            match measure(&scene, grid, congestion, cell, number as u64 * grid.rounds) {
                Ok(pair) => {
                    let _ = writeln!(io::stderr(), "{}", row(cell, pair));
                    pairs.push((*cell, pair));
                }
                Err(why) => report.check(false, &format!("{congestion}, {cell}: {why}")),
            }
        }
        show(congestion, &pairs, report);
    }
    Ok(())
}

/// The medians of the rounds.
fn measure(scene: &Scene, grid: &Grid, congestion: &str, cell: &Cell, first_seed: u64) -> io::Result<Pair> {
    let mut rounds = Vec::new();
    for seed in first_seed..first_seed + grid.rounds {
        let mut pair = Pair([0.0; 2]);
        for (contender, goodput) in Contender::BOTH.into_iter().zip(&mut pair.0) {
            *goodput = flow(scene, grid, contender, congestion, cell, seed)?;
        }
        rounds.push(pair);
    }
    rounds.sort_by(|one, other| one.ratio().total_cmp(&other.ratio()));
    Ok(rounds[rounds.len() / 2])
}

fn flow(scene: &Scene, grid: &Grid, contender: Contender, congestion: &str, cell: &Cell, seed: u64) -> io::Result<f64> {
    let seconds = cell.seconds(grid.seconds);
    let _link = scene.link(cell.impairments(), seed)?;
    let rest = [congestion.to_owned(), "0".to_owned(), seconds.to_string()];
    let answer = scene.client(Sender { settings: &grid.settings, ..Sender::of(contender) }, "bulk", &rest)?.answer()?;
    Ok(answer.figure("bytes")? * 8e-6 / seconds)
}

fn show(congestion: &str, pairs: &[(Cell, Pair)], report: &mut Report) {
    let mut sorted: Vec<_> = pairs.iter().collect();
    sorted.sort_by(|one, other| one.1.ratio().total_cmp(&other.1.ratio()));
    let Some((_, middle)) = sorted.get(sorted.len() / 2) else { return };
    let below = sorted.iter().filter(|(_, pair)| pair.ratio() < LEAST).count();
    report.line("");
    report.line(&format!(
        "{congestion} beside the kernel's {congestion}: median ratio {:.2}, {below} of {} cells below {LEAST}; the worst:",
        middle.ratio(),
        pairs.len(),
    ));
    for (cell, pair) in sorted.iter().take(WORST_SHOWN) {
        report.line(&row(cell, *pair));
    }
    report.line("");
    report.line(&format!("{:40}{:>9}{:>9}{:>8}", congestion, "kernel", "ntmfw", "ratio"));
    for (cell, pair) in pairs {
        report.line(&row(cell, *pair));
    }
    report.check_time(middle.ratio() >= MEDIAN, &format!("{congestion}: the median ratio is at least {MEDIAN}"));
    report.check_time(below == 0, &format!("{congestion}: no cell is below {LEAST}"));
}

fn row(cell: &Cell, pair: Pair) -> String {
    let [kernel, ntmfw] = pair.0;
    format!("{:40}{kernel:>9.2}{ntmfw:>9.2}{:>8.2}", cell.to_string(), pair.ratio())
}
