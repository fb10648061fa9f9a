//! The matrix as tables: who is direct, the papers' table beside it, and how soon the first byte arrives.

use crate::cli::{Failure, Report, Scenario};
use crate::net::Dependence;
use crate::scenarios::matrix::{self, Cell, Route};
use crate::scenarios::spot::Spot;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Table 1 of paper 002; rows and columns as in [`Class::ALL`].
const PAPER: [[char; 3]; 3] = [['◎', '◎', '○'], ['◎', '◎', '○'], ['○', '○', '◎']];
/// Wide enough for `ad/apd` and for `2.50/2.00`.
const ROUTE_WIDTH: usize = 8;
const TIME_WIDTH: usize = 10;

/// See [`matrix`].
#[derive(Clone, Copy, Debug)]
pub struct Matrix;

impl Scenario for Matrix {
    fn name(&self) -> &'static str {
        "matrix"
    }

    fn about(&self) -> &'static str {
        "Every pair of network kinds: direct or relayed, and how soon the first byte arrives"
    }

    fn default_seeds(&self) -> u64 {
        1
    }

    fn run(&self, seed: u64, report: &mut Report) -> Result<(), Failure> {
        let pairs: Vec<Pair> = all_pairs().filter(|(one, other)| report.wants(&matrix::name(*one, *other))).collect();
        let cells: Vec<Outcome> = run_cells(seed, &pairs, report);
        let table = Table { pairs: &pairs, cells: &cells };
        table.show_routes(report);
        table.show_classes(report);
        table.show_times(report);
        table.measure(report);
        report.details(pairs.iter().zip(&cells).map(as_json).collect::<Vec<_>>());
        table.verdict()
    }
}

type Pair = (Spot, Spot);
type Outcome = Result<Cell, String>;

fn all_pairs() -> impl Iterator<Item = Pair> {
    Spot::all().into_iter().flat_map(|one| Spot::all().into_iter().map(move |other| (one, other)))
}

/// Each thread takes the next cell that nobody has; every cell is a world of its own.
fn run_cells(seed: u64, pairs: &[Pair], report: &Report) -> Vec<Outcome> {
    let (next, cells) = (AtomicUsize::new(0), Mutex::new(vec![None; pairs.len()]));
    std::thread::scope(|scope| {
        for _ in 0..report.threads() {
            scope.spawn(|| {
                while let Some(&(one, other)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let cell = matrix::run_cell(seed, one, other, report);
                    let at = pairs.iter().position(|pair| *pair == (one, other));
                    let mut cells = cells.lock().unwrap_or_else(PoisonError::into_inner);
                    at.into_iter().for_each(|at| cells[at] = Some(cell.clone()));
                }
            });
        }
    });
    let cells = cells.into_inner().unwrap_or_else(PoisonError::into_inner);
    cells.into_iter().map(|cell| cell.unwrap_or_else(|| Err("was not run".into()))).collect()
}

/// What the papers' table distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    V4Global,
    V4Private,
    V6,
}

impl Class {
    const ALL: [Self; 3] = [Self::V4Global, Self::V4Private, Self::V6];

    const fn name(self) -> &'static str {
        match self {
            Self::V4Global => "IPv4 global",
            Self::V4Private => "IPv4 private",
            Self::V6 => "IPv6",
        }
    }

    /// The papers have no dual stack in their table.
    fn of(spot: Spot) -> Option<Self> {
        match spot {
            Spot::V4Global => Some(Self::V4Global),
            Spot::V4Nat(_) | Spot::DoubleNat => Some(Self::V4Private),
            Spot::V6Only => Some(Self::V6),
            Spot::Dual => None,
        }
    }
}

/// Whether the papers would call it a cone: one outside endpoint for all destinations.
fn is_cone(spot: Spot) -> bool {
    match spot {
        Spot::V4Nat(kind) => kind.mapping == Dependence::EndpointIndependent,
        _ => true,
    }
}

struct Table<'a> {
    pairs: &'a [Pair],
    cells: &'a [Outcome],
}

impl Table<'_> {
    fn outcome(&self, pair: Pair) -> Option<&Outcome> {
        self.pairs.iter().position(|known| *known == pair).map(|at| &self.cells[at])
    }

    fn good(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter().filter_map(|cell| cell.as_ref().ok())
    }

    fn show_routes(&self, report: &mut Report) {
        report.note("initiators in rows, responders in columns; NATs by mapping/filtering:");
        report.note("ei endpoint-independent, ad address-dependent, apd address- and port-dependent");
        report.note("◎ direct  ○ over the relay  ◇ direct, with an endpoint of its own each way  ✗ failed");
        self.show(report, ROUTE_WIDTH, |outcome| mark(outcome).to_string());
    }

    fn show_times(&self, report: &mut Report) {
        report.note("time from asking for the name to the first byte at the responder, in round trips of the best");
        report.note("path; after a stroke the least possible, where that is less");
        self.show(report, TIME_WIDTH, |outcome| match outcome {
            Ok(cell) if is_least(cell) => format!("{:.2}", cell.in_round_trips().0),
            Ok(cell) => format!("{:.2}/{:.2}", cell.in_round_trips().0, cell.in_round_trips().1),
            Err(_) => "✗".into(),
        });
    }

    fn show(&self, report: &mut Report, width: usize, cell: impl Fn(&Outcome) -> String) {
        let short = |spot: Spot| spot.name().trim_start_matches("nat ").to_owned();
        let columns: Vec<Spot> = Spot::all().into_iter().filter(|spot| self.has_column(*spot)).collect();
        let head: String = columns.iter().map(|spot| format!("{:>width$}", short(*spot))).collect();
        report.note(format_args!("{:8}{head}", ""));
        for row in Spot::all() {
            let in_row = |column: &Spot| self.outcome((row, *column)).map_or_else(String::new, &cell);
            let line: String = columns.iter().map(|column| format!("{:>width$}", in_row(column))).collect();
            if !line.trim().is_empty() {
                report.note(format_args!("{:8}{line}", short(row)));
            }
        }
        report.note("");
    }

    fn has_column(&self, spot: Spot) -> bool {
        self.pairs.iter().any(|(_, responder)| *responder == spot)
    }

    /// Paper 002 tried one NAT of the cone kind; ours are all of the kind, and then all that there are.
    fn show_classes(&self, report: &mut Report) {
        let head: String = Class::ALL.iter().map(|class| format!("{:>16}", class.name())).collect();
        report.note(format_args!(
            "as paper 002, table 1, has it: the paper's mark, ours on cone NATs, and on all of them"
        ));
        report.note(format_args!("{:13}{head}", ""));
        for (row, papers) in Class::ALL.into_iter().zip(PAPER) {
            let cells = Class::ALL.into_iter().zip(papers).map(|(column, paper)| {
                let (cones, all) = (self.class_marks(row, column, true), self.class_marks(row, column, false));
                format!("{:>16}", format!("{paper}  {cones}  {all}"))
            });
            report.note(format_args!("{:13}{}", row.name(), cells.collect::<String>()));
        }
        report.note("");
    }

    /// One mark where all cells of the two classes have it, else how many have which.
    fn class_marks(&self, row: Class, column: Class, cones: bool) -> String {
        let member = |spot: Spot, class| Class::of(spot) == Some(class) && (!cones || is_cone(spot));
        let marks = self.pairs.iter().zip(self.cells);
        let marks: Vec<char> = marks
            .filter(|((one, other), _)| member(*one, row) && member(*other, column))
            .map(|(_, outcome)| mark(outcome))
            .collect();
        let count = |wanted: char| marks.iter().filter(|mark| **mark == wanted).count();
        let kinds: Vec<char> = ['◎', '◇', '○', '✗'].into_iter().filter(|kind| count(*kind) > 0).collect();
        match kinds.as_slice() {
            [] => "-".into(),
            [one] => one.to_string(),
            _ => kinds.iter().map(|kind| format!("{}{kind}", count(*kind))).collect::<Vec<_>>().join(" "),
        }
    }

    fn measure(&self, report: &mut Report) {
        let cells: Vec<&Cell> = self.good().collect();
        let alike = |cell: &&&Cell| {
            let back = self.outcome((cell.responder, cell.initiator));
            back.is_none_or(|back| back.as_ref().is_ok_and(|back| back.route() == cell.route()))
        };
        let possible = cells.iter().filter(|cell| cell.possible).count();
        let direct = cells.iter().filter(|cell| cell.route() == Route::Direct).count();
        let metrics = report.metrics();
        for cell in &cells {
            let (took, least) = cell.in_round_trips();
            metrics.add("time to first byte", "RTT", took);
            metrics.add("beyond the least possible", "RTT", took - least);
        }
        metrics
            .share("pairs that transferred", cells.len(), self.cells.len())
            .share("direct where the oracle knows a direct path", direct, possible)
            .share("the same when the other end begins", cells.iter().filter(alike).count(), cells.len())
            .share("first byte at the least possible", cells.iter().filter(|cell| is_least(cell)).count(), cells.len());
    }

    fn verdict(&self) -> Result<(), Failure> {
        let failed: Vec<(String, String)> = self
            .pairs
            .iter()
            .zip(self.cells)
            .filter_map(|((one, other), outcome)| {
                let verdict = outcome.as_ref().map_err(String::clone).and_then(matrix::judge);
                Some((matrix::name(*one, *other), verdict.err()?))
            })
            .collect();
        let Some((first, _)) = failed.first() else { return Ok(()) };
        let what: Vec<String> = failed.iter().map(|(cell, what)| format!("{cell}: {what}")).collect();
        Err(Failure::new(what.join("; ")).in_case(first))
    }
}

fn mark(outcome: &Outcome) -> char {
    match outcome.as_ref().map(|cell| (cell.route(), matrix::judge(cell).is_ok())) {
        Ok((Route::Direct, _)) => '◎',
        Ok((Route::OneWay, true)) => '◇',
        Ok((Route::Relay, true)) => '○',
        Ok((_, false)) | Err(_) => '✗',
    }
}

/// To the hundredth of a round trip that the table shows.
fn is_least(cell: &Cell) -> bool {
    let (took, least) = cell.in_round_trips();
    took - least < 0.005
}

fn as_json((pair, outcome): (&Pair, &Outcome)) -> serde_json::Value {
    let (initiator, responder) = (pair.0.name(), pair.1.name());
    match outcome {
        Err(what) => json!({ "initiator": initiator, "responder": responder, "failed": what }),
        Ok(cell) => json!({
            "initiator": initiator,
            "responder": responder,
            "direct_possible": cell.possible,
            "route": match cell.route() {
                Route::Direct => "direct",
                Route::OneWay => "one-way",
                Route::Relay => "relay",
            },
            "initiator_direct": cell.direct[0],
            "responder_direct": cell.direct[1],
            "first_byte_ms": cell.first_byte.as_secs_f64() * 1_000.0,
            "least_ms": cell.least.as_secs_f64() * 1_000.0,
            "rtt_ms": cell.rtt.as_secs_f64() * 1_000.0,
        }),
    }
}
