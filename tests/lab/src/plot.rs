//! Plots as SVG, readable on light and dark ground.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 210.0;
const RIGHT: f64 = 70.0;
const BAR: f64 = 16.0;
const TOP: f64 = 58.0;

/// Values of several things beside each other, on a logarithmic scale.
#[derive(Debug, Default)]
pub(crate) struct Bars {
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    /// What each colour stands for.
    pub(crate) series: Vec<String>,
    /// A label and a value for each of the series.
    pub(crate) rows: Vec<(String, Vec<Option<f64>>)>,
}

/// A value over time.
#[derive(Debug, Default)]
pub(crate) struct Curve {
    pub(crate) title: String,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Bars {
    pub(crate) fn svg(&self) -> String {
        let values: Vec<f64> = self
            .rows
            .iter()
            .flat_map(|(_, values)| values.iter().flatten().copied())
            .filter(|value| *value > 0.0)
            .collect();
        let least = values.iter().copied().fold(f64::MAX, f64::min).log10().floor();
        let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max).log10().ceil().max(least + 1.0);
        let place = |value: f64| LEFT + (value.log10() - least) / (most - least) * (WIDTH - LEFT - RIGHT);
        let group = BAR * self.series.len() as f64 + 14.0;
        let height = TOP + group * self.rows.len() as f64 + 40.0;
        let mut body = String::new();
        for power in least as i32..=most as i32 {
            let (x, label) = (place(10_f64.powi(power)), 10_f64.powi(power));
            let _ = writeln!(body, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{:.1}\"/>", height - 34.0);
            let _ = writeln!(
                body,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label} {}</text>",
                height - 16.0,
                self.unit
            );
        }
        for (at, name) in self.series.iter().enumerate() {
            let x = LEFT + 180.0 * at as f64;
            let _ = writeln!(body, "<rect class=\"s{at}\" x=\"{x}\" y=\"34\" width=\"11\" height=\"11\"/>");
            let _ = writeln!(body, "<text x=\"{}\" y=\"44\">{}</text>", x + 17.0, escaped(name));
        }
        for (row, (label, values)) in self.rows.iter().enumerate() {
            let top = TOP + 7.0 + group * row as f64;
            let middle = top + BAR * self.series.len() as f64 / 2.0 + 4.0;
            let _ = writeln!(
                body,
                "<text x=\"{}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 10.0,
                escaped(label)
            );
            for (at, value) in values.iter().enumerate() {
                let Some(value) = value.filter(|value| *value > 0.0) else { continue };
                let (y, width) = (top + BAR * at as f64, place(value) - LEFT);
                let _ = writeln!(
                    body,
                    "<rect class=\"s{at}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{}\"/>",
                    width.max(1.0),
                    BAR - 3.0
                );
                let _ = writeln!(
                    body,
                    "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    LEFT + width.max(1.0) + 5.0,
                    y + 11.0,
                    short(value)
                );
            }
        }
        framed(&self.title, height, &body)
    }
}

impl Curve {
    pub(crate) fn svg(&self) -> String {
        const HEIGHT: f64 = 300.0;
        let most = |of: fn(&(f64, f64)) -> f64| self.points.iter().map(of).fold(f64::MIN_POSITIVE, f64::max);
        let (right, high) = (most(|point| point.0), most(|point| point.1) * 1.15);
        let (bottom, left) = (HEIGHT - 40.0, 70.0);
        let x = |value: f64| left + value / right * (WIDTH - left - 30.0);
        let y = |value: f64| bottom - value / high * (bottom - TOP);
        let mut body = String::new();
        for step in 0..=4 {
            let (share_x, share_y) = (right * f64::from(step) / 4.0, high * f64::from(step) / 4.0);
            let _ = writeln!(body, "<path class=\"grid\" d=\"M{left} {:.1}H{}\"/>", y(share_y), WIDTH - 30.0);
            let _ = writeln!(
                body,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                left - 8.0,
                y(share_y) + 4.0,
                short(share_y)
            );
            let _ = writeln!(
                body,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                x(share_x),
                HEIGHT - 20.0,
                short(share_x)
            );
        }
        let _ = writeln!(body, "<text x=\"{left}\" y=\"44\">{}</text>", escaped(self.y));
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            WIDTH - 30.0,
            HEIGHT - 4.0,
            escaped(self.x)
        );
        let path: Vec<String> =
            self.points.iter().map(|&(at, value)| format!("{:.1} {:.1}", x(at), y(value))).collect();
        let _ = writeln!(body, "<path class=\"curve\" d=\"M{}\"/>", path.join("L"));
        framed(&self.title, HEIGHT, &body)
    }
}

fn framed(title: &str, height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" height=\"{height:.0}\">\n\
         <style>\n\
         text{{font:12px sans-serif;fill:#222}}.title{{font-size:15px}}.grid{{stroke:#ccc;fill:none}}\n\
         .s0{{fill:#1f6fb2}}.s1{{fill:#c4622d}}.s2{{fill:#4a8f4a}}.s3{{fill:#8a5aa8}}.curve{{stroke:#1f6fb2;stroke-width:2;fill:none}}\n\
         @media(prefers-color-scheme:dark){{text{{fill:#ddd}}.grid{{stroke:#555}}.s0{{fill:#6ab0ee}}.s1{{fill:#f0965f}}.s2{{fill:#86c986}}.s3{{fill:#c39be0}}.curve{{stroke:#6ab0ee}}}}\n\
         </style>\n<text class=\"title\" x=\"12\" y=\"20\">{}</text>\n{body}</svg>\n",
        escaped(title)
    )
}

fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_bar_stands_for_more_and_what_was_not_measured_has_none() {
        let bars = Bars {
            title: "a < b".to_owned(),
            unit: "ms",
            series: vec!["theirs".to_owned(), "ours".to_owned()],
            rows: vec![("one".to_owned(), vec![Some(100.0), Some(1.0)]), ("two".to_owned(), vec![Some(10.0), None])],
        };
        let svg = bars.svg();
        let widths: Vec<f64> = svg
            .lines()
            .filter(|line| line.contains("height=\"13\""))
            .filter_map(|line| line.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(widths.len(), 3);
        assert!(widths[0] > widths[2] && widths[2] > widths[1]);
        assert!(svg.contains("a &lt; b"));
    }
}
