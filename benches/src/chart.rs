//! The medians as bars, with the least and the greatest.

use ntm_plot::{Bar, Bars, Group, Scale};

use crate::contender::Contender;
use crate::report::{Report, Row};

pub(crate) fn draw(report: &Report) -> String {
    let groups = report.groups().into_iter().map(|(heading, rows)| {
        let unit = rows[0].cell.test.units()[0];
        Group { heading: format!("{heading} ({unit})"), bars: rows.into_iter().map(bar).collect() }
    });
    let title = "medians, and between what the rounds lay".to_owned();
    Bars { title, unit: "", scale: Scale::Linear, groups: groups.collect() }.svg()
}

fn bar(row: &Row) -> Bar {
    let spread = row.main();
    Bar {
        label: row.cell.contender.to_string(),
        colour: usize::from(matches!(row.cell.contender, Contender::Ntmfw(_))),
        value: spread.map(|spread| spread.median),
        range: spread.map(|spread| (spread.least, spread.greatest)),
    }
}
