//! What the library says of itself, as types.

use serde::Deserialize;

use ntm_agent::Node;
use ntm_program::{Failure, ResultExt as _};

use crate::session::failure;

#[derive(Debug, Deserialize)]
pub(crate) struct View {
    pub(crate) name: String,
    pub(crate) registered: bool,
    pub(crate) virtual4: Option<String>,
    pub(crate) virtual6: Option<String>,
    pub(crate) relays: Vec<Relay>,
    pub(crate) peers: Vec<Peer>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Relay {
    pub(crate) id: u64,
    pub(crate) addresses: Vec<std::net::SocketAddr>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) virtual4: String,
    pub(crate) virtual6: String,
    pub(crate) paths: Vec<Path>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Path {
    /// `direct` or `relay`.
    pub(crate) kind: String,
    pub(crate) interface: String,
    pub(crate) local: String,
    pub(crate) remote: String,
    pub(crate) proven: bool,
    pub(crate) rtt_us: Option<u64>,
    pub(crate) loss_per_mille: u16,
    pub(crate) in_use: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Flow {
    pub(crate) protocol: String,
    pub(crate) local: String,
    pub(crate) remote: String,
    pub(crate) peer: Option<String>,
    pub(crate) state: String,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl View {
    pub(crate) fn of(node: &dyn Node) -> Result<Self, Failure> {
        let text = node.status().map_err(failure)?;
        serde_json::from_str(&text).context("the library's word on its status")
    }

    /// The path to the peer of this name that packets take now.
    pub(crate) fn path_to(&self, name: &str) -> Option<&Path> {
        self.peers.iter().find(|peer| peer.name == name)?.path()
    }
}

impl Peer {
    pub(crate) fn path(&self) -> Option<&Path> {
        self.paths.iter().find(|path| path.in_use)
    }
}

impl Flow {
    pub(crate) fn all(node: &dyn Node) -> Result<Vec<Self>, Failure> {
        let text = node.flows().map_err(failure)?;
        serde_json::from_str(&text).context("the library's word on its streams")
    }
}

/// A round trip as people read it.
pub(crate) fn millis(micros: Option<u64>) -> String {
    micros.map_or_else(|| "-".to_owned(), |micros| format!("{:.1} ms", micros as f64 / 1_000.0))
}

/// A number of bytes as people read it.
pub(crate) fn size(bytes: u64) -> String {
    const STEPS: [&str; 4] = ["KB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for step in STEPS {
        if value < 1_000.0 {
            break;
        }
        value /= 1_000.0;
        unit = step;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// Rows with columns as wide as what is in them.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_told_in_the_unit_that_fits() {
        assert_eq!([size(0), size(999), size(1_000), size(1_550_000)], ["0 B", "999 B", "1.0 KB", "1.6 MB"]);
        assert_eq!([millis(None), millis(Some(1_250))], ["-", "1.2 ms"]);
    }

    #[test]
    fn a_table_has_its_columns_under_each_other() {
        let rows = [["a", "b"], ["long", "c"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "a     b\nlong  c\n");
    }
}
