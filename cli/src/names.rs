//! `ntm names`: names and the addresses behind them.

use std::io::Write as _;

use clap::Args;
use ntm_agent::Node;
use ntm_program::{Failure, ResultExt as _};

use crate::open;
use crate::session::Session;
use crate::view::{View, table};

/// Show names and virtual addresses: of this node and the peers it knows, or of the nodes that are named
#[derive(Debug, Args)]
pub(crate) struct Names {
    /// Nodes to ask the coordinator about
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

impl Names {
    pub(crate) fn carry_out(self, session: Session) -> Result<(), Failure> {
        let node = session.node()?;
        let rows = if self.names.is_empty() { known(&*node)? } else { asked(&*node, &self.names)? };
        std::io::stdout().write_all(table(&rows).as_bytes()).context("standard output")
    }
}

fn known(node: &dyn Node) -> Result<Vec<Vec<String>>, Failure> {
    let view = View::of(node)?;
    let own =
        vec![view.name, view.virtual4.unwrap_or_default(), view.virtual6.unwrap_or_default(), "(this node)".into()];
    let peers = view.peers.into_iter().map(|peer| vec![peer.name, peer.virtual4, peer.virtual6]);
    Ok([own].into_iter().chain(peers).collect())
}

fn asked(node: &dyn Node, names: &[String]) -> Result<Vec<Vec<String>>, Failure> {
    let row = |name: &String| {
        let found = open::find(node, name)?;
        Ok(vec![found.name, found.virtual4.to_string(), found.virtual6.to_string()])
    };
    names.iter().map(row).collect()
}
