//! What was measured: medians, and how far the rounds lay apart.

use std::fmt;

use crate::cell::{Cell, Figures};

#[derive(Default)]
pub(crate) struct Report(Vec<Row>);

pub(crate) struct Row {
    pub(crate) cell: Cell,
    figures: Vec<Figures>,
    failures: Vec<String>,
}

/// Least, median, greatest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) greatest: f64,
}

impl Report {
    pub(crate) fn add(&mut self, cell: Cell, figures: Figures) {
        self.row(cell).figures.push(figures);
    }

    pub(crate) fn fail(&mut self, cell: Cell, why: &str) {
        self.row(cell).failures.push(why.to_owned());
    }

    pub(crate) fn complete(&self) -> bool {
        self.0.iter().all(|row| row.failures.is_empty())
    }

    fn row(&mut self, cell: Cell) -> &mut Row {
        let at = self.0.iter().position(|row| row.cell == cell).unwrap_or_else(|| {
            self.0.push(Row { cell, figures: Vec::new(), failures: Vec::new() });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    /// The rows of each comparison.
    pub(crate) fn groups(&self) -> Vec<(String, Vec<&Row>)> {
        let mut groups: Vec<(String, Vec<&Row>)> = Vec::new();
        for row in &self.0 {
            let heading = row.cell.heading();
            match groups.iter_mut().find(|(known, _)| *known == heading) {
                Some((_, rows)) => rows.push(row),
                None => groups.push((heading, vec![row])),
            }
        }
        groups
    }
}

impl Row {
    pub(crate) fn main(&self) -> Option<Spread> {
        Spread::of(self.figures.iter().map(|figures| figures.main))
    }

    fn second(&self) -> Option<Spread> {
        Spread::of(self.figures.iter().map(|figures| figures.second))
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Some(Self { least: *values.first()?, median: values[values.len() / 2], greatest: *values.last()? })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (heading, rows) in self.groups() {
            let [main, second] = rows[0].cell.test.units();
            writeln!(f, "{heading}")?;
            writeln!(f, "  {:<20} {main:>12}   {:>19}   {second:>12}", "", "least … greatest")?;
            for row in rows {
                let name = row.cell.contender.to_string();
                if let (Some(main), Some(second)) = (row.main(), row.second()) {
                    let range = format!("{:.2} … {:.2}", main.least, main.greatest);
                    writeln!(f, "  {name:<20} {:>12.2}   {range:>19}   {:>12.2}", main.median, second.median)?;
                }
                for why in &row.failures {
                    writeln!(f, "  {name:<20} failed: {why}")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
