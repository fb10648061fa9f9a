//! `ntm node`: the nodes of an account, at its account server.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ntm_login::account::{Account, OwnedNode};
use ntm_login::unix_now;
use ntm_program::{Failure, ResultExt as _};
use ntmfw::service;

use crate::login::read_secret;
use crate::session::failure;
use crate::view::table;

/// List, rename and revoke the nodes of an account; its password is asked for
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// Show the account's nodes
    List {
        #[command(flatten)]
        at: At,
    },
    /// Give a node another name; it hears of it at its next login
    Rename {
        /// What it is called
        name: String,
        /// What it shall be called
        new: String,
        #[command(flatten)]
        at: At,
    },
    /// Take a node's right to be one, for ever: a lost device
    Revoke {
        /// The node
        name: String,
        #[command(flatten)]
        at: At,
    },
}

/// Which account; what is not said is as in the configuration.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// The account server
    #[arg(long, value_name = "https://HOST[:PORT]")]
    server: Option<String>,
    /// A PEM file with the certificates to believe instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The account
    #[arg(long)]
    account: Option<String>,
}

impl Node {
    pub(crate) fn carry_out(self) -> Result<(), Failure> {
        let (Self::List { at } | Self::Rename { at, .. } | Self::Revoke { at, .. }) = &self;
        let account = at.sign_in()?;
        let done = match &self {
            Self::List { .. } => account.nodes().map(|nodes| table(&rows(&nodes))),
            Self::Rename { name, new, .. } => account.rename(name, new).map(|()| {
                format!("{name} is {new} from its next login on (`ntm login` there, with the new name in its configuration)\n")
            }),
            Self::Revoke { name, .. } => account.revoke(name).map(|()| format!("{name} is revoked\n")),
        };
        let text = done.map_err(|why| Failure::new(why.to_string()));
        // A session that is left ends by itself as well.
        let _ = account.sign_out();
        std::io::stdout().write_all(text?.as_bytes()).context("standard output")
    }
}

impl At {
    fn sign_in(&self) -> Result<Account, Failure> {
        let configured = match (&self.server, &self.account) {
            (Some(_), Some(_)) => None,
            _ => service::account_server().map_err(failure)?,
        };
        let url = self.server.clone().or_else(|| configured.as_ref().map(|one| one.url.clone()));
        let account = self.account.clone().or_else(|| configured.as_ref()?.account.clone());
        let ca = self.ca.clone().or_else(|| configured?.ca);
        let missing = |what: &str| Failure::usage(format!("the configuration names no {what}"));
        let url = url.ok_or_else(|| missing("account_server").way_out("--server https://HOST"))?;
        let account = account.ok_or_else(|| missing("account").way_out("--account NAME"))?;
        let password = read_secret("Password")?;
        Account::sign_in(&url, ca.as_deref(), &account, &password).map_err(|why| Failure::new(why.to_string()))
    }
}

fn rows(nodes: &[OwnedNode]) -> Vec<Vec<String>> {
    let now = unix_now().as_millis();
    let head = ["NODE", "SEEN", "STATE"].map(str::to_owned).to_vec();
    let rows = nodes.iter().map(|node| {
        let state = if node.revoked.is_some() { "revoked" } else { "good" };
        vec![node.name.clone(), ago(now.saturating_sub(node.seen)), state.to_owned()]
    });
    [head].into_iter().chain(rows).collect()
}

fn ago(millis: u64) -> String {
    const MINUTE: u64 = 60_000;
    match millis {
        0..MINUTE => "just now".to_owned(),
        _ if millis < 60 * MINUTE => format!("{} min ago", millis / MINUTE),
        _ if millis < 48 * 60 * MINUTE => format!("{} h ago", millis / (60 * MINUTE)),
        _ => format!("{} days ago", millis / (24 * 60 * MINUTE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_unit_that_fits() {
        let told = [0, 59_999, 60_000, 7_200_000, 172_800_000].map(ago);
        assert_eq!(told, ["just now", "just now", "1 min ago", "2 h ago", "2 days ago"]);
    }
}
