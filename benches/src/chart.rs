//! The medians as bars, readable on light and on dark paper.

use std::fmt::Write as _;

use crate::contender::Contender;
use crate::report::{Report, Row};

const WIDTH: f64 = 720.0;
const LABEL: f64 = 150.0;
const FIGURE: f64 = 70.0;
const LINE: f64 = 22.0;
const HEADING: f64 = 34.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.h{font-weight:600}.own{fill:#0a7d4f}\
.peer{fill:#8a96a3}.range{stroke:#24292f}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.own{fill:#3fb983}\
.peer{fill:#6b7682}.range{stroke:#e6edf3}}";

pub(crate) fn draw(report: &Report) -> String {
    let mut body = String::new();
    let mut y = 0.0;
    for (heading, rows) in report.groups() {
        y += HEADING;
        let unit = rows[0].cell.test.units()[0];
        let _ = writeln!(body, "<text class='h' x='0' y='{}'>{heading} ({unit})</text>", y - 10.0);
        let longest =
            rows.iter().filter_map(|row| row.main()).fold(f64::MIN_POSITIVE, |most, it| most.max(it.greatest));
        for row in rows {
            bar(&mut body, row, y, (WIDTH - LABEL - FIGURE) / longest);
            y += LINE;
        }
    }
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {}' width='{WIDTH}'><style>{STYLE}</style>\n{body}</svg>\n",
        y + 6.0
    )
}

fn bar(body: &mut String, row: &Row, y: f64, scale: f64) {
    let Some(spread) = row.main() else { return };
    let class = if matches!(row.cell.contender, Contender::Ntmfw(_)) { "own" } else { "peer" };
    let (length, middle) = (spread.median * scale, y + LINE / 2.0);
    let (from, to) = (LABEL + spread.least * scale, LABEL + spread.greatest * scale);
    let _ = writeln!(
        body,
        "<text x='0' y='{}'>{}</text><rect class='{class}' x='{LABEL}' y='{}' width='{length:.1}' height='{}'/>\
<line class='range' x1='{from:.1}' x2='{to:.1}' y1='{middle}' y2='{middle}'/><text x='{:.1}' y='{}'>{:.2}</text>",
        middle + 4.0,
        row.cell.contender,
        y + 3.0,
        LINE - 6.0,
        to.max(LABEL + length) + 6.0,
        middle + 4.0,
        spread.median,
    );
}
