//! Values of several things beside each other.

use crate::sheet::{Anchor, Sheet, TOP, WIDTH, colour, short};

const LEFT: f64 = 190.0;
const RIGHT: f64 = 80.0;
const BAR: f64 = 20.0;
const HEADING: f64 = 34.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From nothing, for each group its own.
    Linear,
    /// One for all groups, in powers of ten.
    Logarithmic,
}

#[derive(Clone, Debug)]
pub struct Bars {
    pub title: String,
    pub unit: &'static str,
    pub scale: Scale,
    pub groups: Vec<Group>,
}

/// What is compared with each other.
#[derive(Clone, Debug)]
pub struct Group {
    pub heading: String,
    pub bars: Vec<Bar>,
}

#[derive(Clone, Debug)]
pub struct Bar {
    pub label: String,
    pub colour: usize,
    /// None where nothing was measured.
    pub value: Option<f64>,
    /// Between what the value lay.
    pub range: Option<(f64, f64)>,
}

impl Bars {
    /// The same things in every group, such as several programs in several tests, whatever their magnitude.
    pub fn of_series(
        title: String,
        unit: &'static str,
        series: &[&str],
        rows: impl IntoIterator<Item = (String, Vec<Option<f64>>)>,
    ) -> Self {
        let bars = |values: Vec<Option<f64>>| {
            let named = series.iter().zip(values).enumerate();
            named.map(|(colour, (name, value))| Bar { label: (*name).to_owned(), colour, value, range: None }).collect()
        };
        let groups = rows.into_iter().map(|(heading, values)| Group { heading, bars: bars(values) }).collect();
        Self { title, unit, scale: Scale::Logarithmic, groups }
    }

    pub fn svg(&self) -> String {
        let mut sheet = Sheet::new();
        let lengths: Lengths = match self.scale {
            Scale::Linear => Lengths::Linear,
            Scale::Logarithmic => self.powers(),
        };
        let mut y = TOP;
        for group in &self.groups {
            y += HEADING;
            sheet.text((12.0, y - 8.0), Anchor::Start, "heading", &group.heading);
            let most = group.bars.iter().filter_map(Bar::most).fold(f64::MIN_POSITIVE, f64::max);
            for bar in &group.bars {
                bar.draw(&mut sheet, y, |value| LEFT + lengths.share(value, most) * (WIDTH - LEFT - RIGHT), self.unit);
                y += BAR;
            }
        }
        sheet.finish(&self.title, y + 14.0)
    }

    fn powers(&self) -> Lengths {
        let all =
            || self.groups.iter().flat_map(|group| &group.bars).filter_map(|bar| bar.value).filter(|it| *it > 0.0);
        let least = all().fold(f64::MAX, f64::min).log10().floor();
        let most = all().fold(f64::MIN_POSITIVE, f64::max).log10().ceil().max(least + 1.0);
        Lengths::Powers(least, most)
    }
}

/// How long a bar is.
#[derive(Clone, Copy)]
enum Lengths {
    Linear,
    /// From this power of ten to that one.
    Powers(f64, f64),
}

impl Lengths {
    fn share(self, value: f64, most: f64) -> f64 {
        match self {
            Self::Linear => value / most,
            Self::Powers(least, most) => ((value.log10() - least) / (most - least)).clamp(0.0, 1.0),
        }
    }
}

impl Bar {
    fn most(&self) -> Option<f64> {
        self.range.map(|range| range.1).or(self.value)
    }

    fn draw(&self, sheet: &mut Sheet, y: f64, place: impl Fn(f64) -> f64, unit: &str) {
        let middle = y + BAR / 2.0 - 2.0;
        sheet.text((LEFT - 10.0, middle + 4.0), Anchor::End, "", &self.label);
        let Some(value) = self.value.filter(|value| *value > 0.0) else { return };
        let mut end = place(value).max(LEFT + 1.0);
        let (class, width, height) = (colour(self.colour), end - LEFT, BAR - 5.0);
        sheet.draw(format_args!(
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height}\"/>"
        ));
        if let Some((least, most)) = self.range {
            let (from, to) = (place(least), place(most));
            sheet.draw(format_args!(
                "<line class=\"range\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>"
            ));
            end = end.max(to);
        }
        sheet.text((end + 6.0, middle + 4.0), Anchor::Start, "", &format!("{} {unit}", short(value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widths(scale: Scale, values: &[Option<f64>]) -> Vec<f64> {
        let bars = values.iter().map(|value| Bar { label: "it".to_owned(), colour: 0, value: *value, range: None });
        let groups = vec![Group { heading: "a < b".to_owned(), bars: bars.collect() }];
        let svg = Bars { title: "which".to_owned(), unit: "ms", scale, groups }.svg();
        assert!(svg.contains("a &lt; b"));
        let rects = svg.lines().filter(|line| line.starts_with("<rect"));
        rects.filter_map(|line| line.split("width=\"").nth(1)?.split('"').next()?.parse().ok()).collect()
    }

    #[test]
    fn a_longer_bar_stands_for_more_and_what_was_not_measured_has_none() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            let found = widths(scale, &[Some(100.0), Some(2.0), None, Some(10.0)]);
            assert_eq!(found.len(), 3);
            assert!(found[0] > found[2] && found[2] > found[1]);
        }
    }

    #[test]
    fn without_a_logarithm_twice_as_long_is_twice_as_much() {
        let found = widths(Scale::Linear, &[Some(10.0), Some(20.0)]);
        assert!((found[1] - 2.0 * found[0]).abs() < 0.2);
    }
}
