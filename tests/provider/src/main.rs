//! A provider domain in one small process: a direction coordinator, a relay, and nodes that are logged in.
//!
//! ```text
//! ntm-provider --directory DIR --node a --node b [--address 127.0.0.1] [--interface lo]
//! ```
//!
//! makes `DIR/a/config.toml` with its state beside it, so that `NTMFW_CONFIG=DIR/a/config.toml` is all that a
//! program needs to be `a.ntm.example`; then prints `ready` and serves until its standard input ends.
#![forbid(unsafe_code)]

mod domain;
mod drive;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::domain::Domain;

#[derive(Debug, Parser)]
struct Arguments {
    /// Where the nodes' configurations go
    #[arg(long)]
    directory: PathBuf,
    /// A node's first label; may be given many times
    #[arg(long = "node", required = true)]
    nodes: Vec<String>,
    /// Where the servers listen
    #[arg(long, default_value = "127.0.0.1")]
    address: IpAddr,
    /// Interfaces that the nodes shall use
    #[arg(long = "interface", default_value = "lo")]
    interfaces: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "ntm-provider: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> std::io::Result<()> {
    let socket = || UdpSocket::bind(SocketAddr::new(arguments.address, 0));
    let (direction, relay) = (socket()?, socket()?);
    let mut domain = Domain::new();
    let relay_config = domain.relay(relay.local_addr()?, direction.local_addr()?);
    let direction_config = domain.direction(direction.local_addr()?);
    for label in &arguments.nodes {
        domain.log_in(label, &arguments.directory.join(label), &arguments.interfaces)?;
    }
    drive::direction(direction, direction_config);
    drive::relay(relay, relay_config);
    writeln!(std::io::stdout(), "ready")?;
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
