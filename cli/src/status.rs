//! `ntm status`: a row a peer.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use ntm_program::{Failure, ResultExt as _};

use crate::session::{Session, failure};
use crate::view::{Flow, Peer, View, millis, size, table};

/// Show this node and its peers: path, interface, round trip, and what the streams that are open now have carried
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Print everything as JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Go on, anew every second
    #[arg(long, short)]
    watch: bool,
}

impl Status {
    pub(crate) fn carry_out(self, session: Session) -> Result<(), Failure> {
        let node = session.node()?;
        let mut out = std::io::stdout();
        let clears = self.watch && out.is_terminal();
        loop {
            let text = if self.json {
                node.status().map_err(failure)? + "\n"
            } else {
                told(&View::of(&*node)?, &Flow::all(&*node)?)
            };
            let clear = if clears { "\x1b[H\x1b[2J" } else { "" };
            out.write_all(format!("{clear}{text}").as_bytes()).and_then(|()| out.flush()).context("standard output")?;
            if !self.watch {
                return Ok(());
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

fn told(view: &View, flows: &[Flow]) -> String {
    let registered = if view.registered { "registered" } else { "not registered: no coordinator answers" };
    let addresses = [&view.virtual4, &view.virtual6].into_iter().flatten().map(String::as_str).collect::<Vec<_>>();
    let head = format!("{}  {}  {registered}\n", view.name, addresses.join("  "));
    if view.peers.is_empty() {
        return head + "no peers\n";
    }
    let titles = ["PEER", "ADDRESS", "PATH", "INTERFACE", "RTT", "RX", "TX"].map(str::to_owned).to_vec();
    let rows: Vec<_> = [titles].into_iter().chain(view.peers.iter().map(|peer| row(peer, flows))).collect();
    head + &table(&rows)
}

fn row(peer: &Peer, flows: &[Flow]) -> Vec<String> {
    let of_peer = || flows.iter().filter(|flow| flow.peer.as_deref() == Some(&peer.name));
    let (received, sent) = of_peer().fold((0, 0), |(rx, tx), flow| (rx + flow.received, tx + flow.sent));
    let path = peer.path();
    vec![
        peer.name.clone(),
        peer.virtual4.clone(),
        path.map_or("none", |path| &path.kind).to_owned(),
        path.map_or("-", |path| &path.interface).to_owned(),
        millis(path.and_then(|path| path.rtt_us)),
        size(received),
        size(sent),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_a_row_with_its_path_and_what_its_streams_carried() {
        let view = r#"{"name": "a.x", "registered": true, "virtual4": "198.18.0.1", "virtual6": "fd4e:544d::1",
            "relays": [], "peers": [{"name": "b.x", "virtual4": "198.18.0.2", "virtual6": "fd4e:544d::2", "paths": [
                {"kind": "direct", "interface": "wlan0", "local": "10.0.0.1:1", "remote": "10.0.0.2:2", "proven": true,
                 "rtt_us": 800, "loss_per_mille": 0, "in_use": true}]}]}"#;
        let flow = |sent| {
            format!(
                r#"{{"protocol": "tcp", "local": "198.18.0.1:1", "remote": "198.18.0.2:2", "peer": "b.x",
                    "state": "ESTABLISHED", "sent": {sent}, "received": 5}}"#
            )
        };
        let flows: Vec<Flow> =
            [1_000, 2_000].map(|sent| serde_json::from_str(&flow(sent)).expect("a flow")).into_iter().collect();
        let text = told(&serde_json::from_str(view).expect("a view"), &flows);
        let row = text.lines().last().expect("a row");
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            ["b.x", "198.18.0.2", "direct", "wlan0", "0.8", "ms", "10", "B", "3.0", "KB"]
        );
    }
}
