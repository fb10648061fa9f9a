//! Traces as drawings that can be read in light and dark.

use std::fmt::Write;
use std::time::Duration;

use ntm_recovery::View;

const WIDTH: f64 = 900.0;
const PANEL: f64 = 170.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 110.0;
const GAP: f64 = 40.0;
const TICKS: u32 = 4;
const MAX_POINTS: usize = 1_200;

const STYLE: &str = "<style>svg{background:#fff;color:#222;font:12px sans-serif}text{fill:currentColor}\
.a{stroke:#0b62a4}.b{stroke:#c2410c}.ta{fill:#0b62a4}.tb{fill:#c2410c}.grid{stroke:#8884}polyline{fill:none;stroke-width:1.3}\
@media(prefers-color-scheme:dark){svg{background:#16181c;color:#e4e4e4}.a{stroke:#63b3ed}.b{stroke:#fb923c}\
.ta{fill:#63b3ed}.tb{fill:#fb923c}}</style>";

/// What a sender did over time.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    times: Vec<f64>,
    window: Vec<f64>,
    in_flight: Vec<f64>,
    trip: Vec<f64>,
    minimum: Vec<f64>,
    rate: Vec<f64>,
    pacing: Vec<f64>,
}

impl Trace {
    pub fn add(&mut self, at: Duration, view: &View, rate: f64) {
        self.times.push(at.as_secs_f64());
        self.window.push(view.window as f64 / 1e3);
        self.in_flight.push(view.in_flight as f64 / 1e3);
        self.trip.push(view.latest.as_secs_f64() * 1e3);
        self.minimum.push(view.minimum.unwrap_or_default().as_secs_f64() * 1e3);
        self.rate.push(rate / 1e6);
        self.pacing.push(view.pacing_rate.unwrap_or_default() as f64 * 8.0 / 1e6);
    }

    /// The drawing: window and bytes in flight, round trips, rates.
    pub fn svg(&self, title: &str) -> String {
        let panels = [
            ("kB", [("window", &self.window), ("in flight", &self.in_flight)]),
            ("ms", [("round trip", &self.trip), ("least", &self.minimum)]),
            ("Mbit/s", [("goodput", &self.rate), ("pacing", &self.pacing)]),
        ];
        let height = panels.len() as f64 * (PANEL + GAP) + GAP;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\
             <title>{title}</title>{STYLE}<text x=\"{LEFT}\" y=\"20\" font-weight=\"bold\">{title}</text>"
        );
        for (number, (unit, lines)) in panels.iter().enumerate() {
            self.draw(&mut svg, GAP + number as f64 * (PANEL + GAP), unit, lines);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn draw(&self, svg: &mut String, top: f64, unit: &str, lines: &[(&str, &Vec<f64>); 2]) {
        let end = self.times.last().copied().unwrap_or(1.0);
        // The first line sets the scale: pacing in slow start would dwarf everything.
        let highest = lines[0].1.iter().copied().fold(f64::MIN_POSITIVE, f64::max) * 1.15;
        let inner = WIDTH - LEFT - RIGHT;
        for tick in 0..=TICKS {
            let share = f64::from(tick) / f64::from(TICKS);
            let y = top + PANEL * (1.0 - share);
            let x = LEFT + inner * share;
            let right = WIDTH - RIGHT;
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.1} s</text>",
                LEFT - 6.0,
                y + 4.0,
                short(highest * share),
                top + PANEL + 16.0,
                end * share
            );
        }
        let _ = write!(svg, "<text x=\"{LEFT}\" y=\"{:.1}\">{unit}</text>", top - 4.0);
        for (class, (name, values)) in ["a", "b"].into_iter().zip(lines) {
            let stride = values.len().div_ceil(MAX_POINTS).max(1);
            let mut points = String::new();
            for (time, value) in self.times.iter().zip(values.iter()).step_by(stride) {
                let x = LEFT + inner * time / end;
                let y = top + PANEL * (1.0 - (value / highest).min(1.0));
                let _ = write!(points, "{x:.1},{y:.1} ");
            }
            let y = top + if class == "a" { 14.0 } else { 30.0 };
            let _ = write!(
                svg,
                "<polyline class=\"{class}\" points=\"{points}\"/>\
                 <text class=\"t{class}\" x=\"{:.1}\" y=\"{y:.1}\">{name}</text>",
                WIDTH - RIGHT + 8.0
            );
        }
    }
}

fn short(value: f64) -> String {
    if value >= 1e4 { format!("{:.0}k", value / 1e3) } else { format!("{value:.0}") }
}
