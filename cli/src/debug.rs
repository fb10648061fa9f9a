//! `ntm debug`: paths, streams, packets.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ntm_program::{Failure, ResultExt as _};

use crate::session::{Session, failure};
use crate::view::{Flow, View, millis, table};

/// Look into tunnels, streams and packets
#[derive(Debug, Subcommand)]
pub(crate) enum Debug {
    /// Show every path to every peer, with its addresses, round trip and loss
    Tunnels,
    /// Show the streams that are open, and what they carried
    Flows,
    Capture(Capture),
}

/// Write virtual packets, as they are before they are sealed and after they were opened, in the format of pcap
#[derive(Debug, Args)]
pub(crate) struct Capture {
    /// Where to; standard output where it is not said
    #[arg(long, short, value_name = "FILE")]
    write: Option<PathBuf>,
    /// End after so many packets
    #[arg(long, short = 'n', value_name = "NUMBER")]
    count: Option<u64>,
}

impl Debug {
    pub(crate) fn carry_out(self, session: Session) -> Result<(), Failure> {
        let node = session.node()?;
        let rows = match self {
            Self::Tunnels => tunnels(&View::of(&*node)?),
            Self::Flows => flows(&Flow::all(&*node)?),
            Self::Capture(capture) => return capture.carry_out(node.capture().map_err(failure)?.into()),
        };
        io::stdout().write_all(table(&rows).as_bytes()).context("standard output")
    }
}

fn titles<const N: usize>(titles: [&str; N]) -> Vec<String> {
    titles.map(str::to_owned).to_vec()
}

fn tunnels(view: &View) -> Vec<Vec<String>> {
    let head = titles(["PEER", "PATH", "STATE", "INTERFACE", "LOCAL", "REMOTE", "RTT", "LOSS"]);
    let rows = view.peers.iter().flat_map(|peer| {
        peer.paths.iter().map(|path| {
            let state = if path.in_use {
                "in use"
            } else if path.proven {
                "proven"
            } else {
                "tried"
            };
            let remote = if path.kind == "relay" { format!("relay {}", path.remote) } else { path.remote.clone() };
            vec![
                peer.name.clone(),
                path.kind.clone(),
                state.to_owned(),
                path.interface.clone(),
                path.local.clone(),
                remote,
                millis(path.rtt_us),
                format!("{:.1} %", f64::from(path.loss_per_mille) / 10.0),
            ]
        })
    });
    [head].into_iter().chain(rows).collect()
}

fn flows(flows: &[Flow]) -> Vec<Vec<String>> {
    let head = titles(["PROTOCOL", "LOCAL", "REMOTE", "PEER", "STATE", "SENT", "RECEIVED"]);
    let rows = flows.iter().map(|flow| {
        vec![
            flow.protocol.clone(),
            flow.local.clone(),
            flow.remote.clone(),
            flow.peer.clone().unwrap_or_else(|| "-".to_owned()),
            flow.state.to_lowercase(),
            flow.sent.to_string(),
            flow.received.to_string(),
        ]
    });
    [head].into_iter().chain(rows).collect()
}

impl Capture {
    fn carry_out(self, mut packets: UnixStream) -> Result<(), Failure> {
        let mut to: Box<dyn Write> = match &self.write {
            Some(path) => Box::new(File::create(path).context(path.display())?),
            None if io::stdout().is_terminal() => {
                return Err(Failure::usage("packets are no text")
                    .way_out("name a file with --write, or pipe into tcpdump -r -"));
            }
            None => Box::new(io::stdout().lock()),
        };
        copy(&mut packets, &mut to, self.count).context("capture").map(drop)
    }
}

/// Copies the head and so many packets; gives how many came.
fn copy(from: &mut impl io::Read, to: &mut impl Write, count: Option<u64>) -> io::Result<u64> {
    const HEAD: usize = 24;
    const PACKET_HEAD: usize = 16;
    let mut head = [0; HEAD];
    from.read_exact(&mut head)?;
    to.write_all(&head)?;
    to.flush()?;
    let mut copied = 0;
    while count.is_none_or(|count| copied < count) {
        let mut head = [0; PACKET_HEAD];
        match from.read_exact(&mut head) {
            Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => break,
            read => read?,
        }
        let [.., a, b, c, d, _, _, _, _] = head;
        let length = u32::from_ne_bytes([a, b, c, d]);
        to.write_all(&head)?;
        io::copy(&mut from.take(length.into()), to)?;
        to.flush()?;
        copied += 1;
    }
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_packets_are_copied_whole() {
        let packet = |bytes: &[u8]| {
            let length = u32::try_from(bytes.len()).expect("short").to_ne_bytes();
            [&[0; 8], &length[..], &length[..], bytes].concat()
        };
        let file = [vec![1; 24], packet(b"one"), packet(b"second"), packet(b"third")].concat();
        let mut got = Vec::new();
        assert_eq!(copy(&mut &file[..], &mut got, Some(2)).expect("copied"), 2);
        assert_eq!(got, file[..24 + 16 + 3 + 16 + 6]);
        assert_eq!(copy(&mut &file[..], &mut Vec::new(), None).expect("copied"), 3);
    }
}
