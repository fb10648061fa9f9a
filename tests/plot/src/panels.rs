//! Values over time, in panels below each other that share the time.

use std::fmt::Write as _;

use crate::sheet::{Anchor, Sheet, TOP, WIDTH, colour, short};

const LEFT: f64 = 70.0;
const RIGHT: f64 = 110.0;
const PANEL: f64 = 160.0;
const GAP: f64 = 44.0;
const TICKS: u32 = 4;
const MAX_POINTS: usize = 1_200;
/// Above the highest value of a panel.
const HEADROOM: f64 = 1.15;

#[derive(Clone, Debug, Default)]
pub struct Panels {
    pub title: String,
    /// What the time is counted in.
    pub x: &'static str,
    pub panels: Vec<Panel>,
    pub marks: Vec<Mark>,
}

/// What is higher than the scale is cut off.
#[derive(Clone, Debug, Default)]
pub struct Panel {
    pub unit: String,
    /// Where the scale ends; where the first line has its highest value if it is not said.
    pub highest: Option<f64>,
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug, Default)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// A span of time in which something happened.
#[derive(Clone, Debug)]
pub struct Mark {
    pub from: f64,
    pub to: f64,
    pub label: String,
}

impl Panels {
    pub fn svg(&self) -> String {
        let mut sheet = Sheet::new();
        let points = self.panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points);
        let end = points.map(|point| point.0).fold(f64::MIN_POSITIVE, f64::max);
        let mut top = TOP + 24.0;
        for panel in &self.panels {
            for mark in &self.marks {
                mark.draw(&mut sheet, top, end);
            }
            panel.draw(&mut sheet, top, end, self.x);
            top += PANEL + GAP;
        }
        sheet.finish(&self.title, top)
    }
}

fn across(time: f64, end: f64) -> f64 {
    LEFT + time / end * (WIDTH - LEFT - RIGHT)
}

impl Panel {
    fn draw(&self, sheet: &mut Sheet, top: f64, end: f64, x: &str) {
        let scale = self.lines.first().map_or(&[][..], |line| &line.points);
        let highest = || scale.iter().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max) * HEADROOM;
        let highest = self.highest.unwrap_or_else(highest);
        for tick in 0..=TICKS {
            let share = f64::from(tick) / f64::from(TICKS);
            let (y, right) = (top + PANEL * (1.0 - share), WIDTH - RIGHT);
            sheet.draw(format_args!("<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>"));
            sheet.text((LEFT - 6.0, y + 4.0), Anchor::End, "", &short(highest * share));
            let time = format!("{} {x}", short(end * share));
            sheet.text((across(end * share, end), top + PANEL + 16.0), Anchor::Middle, "", &time);
        }
        sheet.text((LEFT, top - 6.0), Anchor::Start, "heading", &self.unit);
        for (number, line) in self.lines.iter().enumerate() {
            let class = colour(number);
            let points =
                line.path(|(time, value)| (across(time, end), top + PANEL * (1.0 - (value / highest).clamp(0.0, 1.0))));
            sheet.draw(format_args!("<polyline class=\"{class}\" points=\"{points}\"/>"));
            let at = (WIDTH - RIGHT + 8.0, top + 14.0 + 16.0 * number as f64);
            sheet.text(at, Anchor::Start, &class, &line.name);
        }
    }
}

impl Line {
    fn path(&self, place: impl Fn((f64, f64)) -> (f64, f64)) -> String {
        let stride = self.points.len().div_ceil(MAX_POINTS).max(1);
        let mut path = String::new();
        for (x, y) in self.points.iter().step_by(stride).map(|point| place(*point)) {
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        path
    }
}

impl Mark {
    fn draw(&self, sheet: &mut Sheet, top: f64, end: f64) {
        let (x, width) = (across(self.from, end), across(self.to - self.from, end) - LEFT);
        let width = width.max(2.0);
        sheet.draw(format_args!(
            "<rect class=\"mark\" x=\"{x:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{PANEL}\"/>"
        ));
        sheet.text((x + width + 4.0, top + 12.0), Anchor::Start, "", &self.label);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_rises_with_its_values_and_what_exceeds_the_scale_is_cut_off() {
        let line = |name: &str, highest| Line { name: name.to_owned(), points: vec![(0.0, 0.0), (1.0, highest)] };
        let panel =
            Panel { unit: "MB".to_owned(), highest: None, lines: vec![line("first", 10.0), line("second", 1_000.0)] };
        let svg = Panels { title: "rising".to_owned(), x: "s", panels: vec![panel], marks: Vec::new() }.svg();
        let heights: Vec<Vec<f64>> = svg
            .lines()
            .filter_map(|line| line.strip_prefix("<polyline")?.split("points=\"").nth(1)?.split('"').next())
            .map(|points| points.split(' ').filter_map(|point| point.split_once(',')?.1.parse().ok()).collect())
            .collect();
        assert!(heights[0][0] > heights[0][1], "upwards is less: {heights:?}");
        assert!(heights[1][1] < heights[0][1] && heights[1][1] > 0.0, "{heights:?}");
    }

    #[test]
    fn many_points_make_a_file_of_bounded_size() {
        let points = (0..1_000_000).map(|at| (f64::from(at), f64::from(at % 7))).collect();
        let panel = Panel { unit: String::new(), highest: None, lines: vec![Line { name: String::new(), points }] };
        assert!(Panels { panels: vec![panel], ..Panels::default() }.svg().len() < 40_000);
    }
}
