//! Many short transfers through a tunnel that stands, one connection each.

use std::io;

use super::grid::{Cell, Loss};
use super::scene::{Answer, Contender, Scene, Sender};
use crate::report::Report;
use crate::run::domain::Files;

const COUNT: usize = 1_000;
const SIZE: usize = 100_000;
/// At a time.
const WIDTH: usize = 4;
const LINK: Cell = Cell { rate: 200, trip: 50, loss: Loss::Random(0.0), buffer: 1.0 };

pub(crate) fn run(files: &Files, report: &mut Report) -> io::Result<()> {
    let scene = Scene::new(files, "")?;
    report.line(&format!(
        "{COUNT} x {SIZE} bytes over {LINK}, {WIDTH} at a time: ms from connect() to the other end's close"
    ));
    report.line(&format!("{:40}{}", "", ["mean", "median", "p99"].map(|head| format!("{head:>10}")).concat()));
    let mut means = Vec::new();
    for contender in Contender::BOTH {
        for remembers in [false, true] {
            scene.let_kernel_remember(remembers)?;
            let settings = if remembers { "" } else { "remember_paths = false" };
            let _link = scene.link(LINK.impairments(), 1)?;
            let rest = ["cubic".to_owned(), COUNT.to_string(), SIZE.to_string(), WIDTH.to_string()];
            let answer = scene.client(Sender { settings, ..Sender::of(contender) }, "short", &rest)?.answer()?;
            let label = format!("{contender}, paths {}", if remembers { "remembered" } else { "unknown" });
            means.push(show(&label, &answer, report)?);
        }
    }
    let _quic = scene.serve_quic()?;
    for (connections, label) in [("each", "quic, a connection each"), ("one", "quic, streams of one connection")] {
        let _link = scene.link(LINK.impairments(), 1)?;
        let rest = [COUNT.to_string(), SIZE.to_string(), WIDTH.to_string(), connections.to_owned()];
        let answer = scene.quic_client("short", &rest)?.answer()?;
        means.push(show(label, &answer, report)?);
    }
    report.check_time(means[2] <= means[0] * 1.05, "without memory no later than the kernel's");
    report.check_time(means[3] < means[2], "sooner with memory than without");
    report.check_time(means[3] < means[4], "with memory sooner than QUIC in connections of their own");
    Ok(())
}

/// Gives the mean.
fn show(label: &str, answer: &Answer, report: &mut Report) -> io::Result<f64> {
    let figures = [answer.figure("mean")?, answer.figure("p50")?, answer.figure("p99")?];
    report.line(&format!("{label:40}{}", figures.map(|figure| format!("{figure:>10.1}")).concat()));
    Ok(figures[0])
}
