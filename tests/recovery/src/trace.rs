//! What a sender did over time, and a drawing of it.

use std::time::Duration;

use ntm_plot::{Line, Panel, Panels};
use ntm_recovery::View;

#[derive(Clone, Debug, Default)]
pub struct Trace {
    window: Values,
    in_flight: Values,
    trip: Values,
    minimum: Values,
    rate: Values,
    pacing: Values,
}

/// Seconds, and how much it was then.
type Values = Vec<(f64, f64)>;

impl Trace {
    pub fn add(&mut self, at: Duration, view: &View, rate: f64) {
        let at = at.as_secs_f64();
        self.window.push((at, view.window as f64 / 1e3));
        self.in_flight.push((at, view.in_flight as f64 / 1e3));
        self.trip.push((at, view.latest.as_secs_f64() * 1e3));
        self.minimum.push((at, view.minimum.unwrap_or_default().as_secs_f64() * 1e3));
        self.rate.push((at, rate / 1e6));
        self.pacing.push((at, view.pacing_rate.unwrap_or_default() as f64 * 8.0 / 1e6));
    }

    /// The drawing: window and bytes in flight, round trips, rates.
    pub fn svg(&self, title: &str) -> String {
        let panels = [
            ("kB", [("window", &self.window), ("in flight", &self.in_flight)]),
            ("ms", [("round trip", &self.trip), ("least", &self.minimum)]),
            // Goodput sets the scale: pacing in slow start would dwarf everything.
            ("Mbit/s", [("goodput", &self.rate), ("pacing", &self.pacing)]),
        ];
        let panels = panels.map(|(unit, lines)| Panel {
            unit: unit.to_owned(),
            highest: None,
            lines: lines.map(|(name, points)| Line { name: name.to_owned(), points: points.clone() }).into(),
        });
        Panels { title: title.to_owned(), x: "s", panels: panels.into(), marks: Vec::new() }.svg()
    }
}
