//! `ntm nc`: standard input and output at the end of a connection.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;

use clap::Args;
use ntm_agent::{Node, Traffic, accept};
use ntm_program::{Failure, ResultExt as _};

use crate::open::{self, Family};
use crate::pump;
use crate::session::{Session, failure};

/// Connect standard input and output to a port of a node, or wait for a node to connect
#[derive(Debug, Args)]
pub(crate) struct Nc {
    /// The node; with --listen, the only one that may connect
    #[arg(required_unless_present = "listen")]
    name: Option<String>,
    /// Wait at this port until a node connects
    #[arg(long, short, value_name = "PORT", conflicts_with = "udp")]
    listen: Option<u16>,
    /// The port
    #[arg(value_name = "PORT", required_unless_present = "listen", conflicts_with = "listen")]
    port: Option<u16>,
    /// Datagrams of UDP: each line of standard input is one
    #[arg(long, short)]
    udp: bool,
    #[command(flatten)]
    family: Family,
}

impl Nc {
    pub(crate) fn carry_out(self, session: Session) -> Result<(), Failure> {
        let node = session.node()?;
        if let Some(port) = self.listen {
            let stream = await_peer(&*node, port, self.name.as_deref())?;
            return exchange(stream);
        }
        let (Some(name), Some(port)) = (&self.name, self.port) else {
            return Err(Failure::usage("a node and a port are wanted"));
        };
        let address = self.family.of(&open::find(&*node, name)?);
        if self.udp {
            let datagrams = open::datagrams(&*node, Traffic::Datagrams, SocketAddr::new(address, port))?;
            return exchange_datagrams(datagrams);
        }
        exchange(open::stream(&*node, address, port)?)
    }
}

/// The first connection to a port, from the node of this name where one is wanted.
fn await_peer(node: &dyn Node, port: u16, only: Option<&str>) -> Result<UnixStream, Failure> {
    let listener = node.listen(port).map_err(failure)?;
    loop {
        let (fd, remote) = accept(&listener).map_err(|why| Failure::new(format!("port {port}: {why}")))?;
        let name = remote.and_then(|remote| node.name_of(remote.ip()).ok().flatten());
        if only.is_none_or(|only| name.as_deref() == Some(only)) {
            let _ = writeln!(io::stderr(), "{} connected", name.unwrap_or_else(|| "an unknown node".to_owned()));
            return Ok(fd.into());
        }
    }
}

/// Both ways until both have said all. Who types at a terminal is not waited for when the peer has.
fn exchange(stream: UnixStream) -> Result<(), Failure> {
    let mut to_peer = stream.try_clone().context("descriptors")?;
    let input = std::thread::Builder::new().name("ntm-input".to_owned()).spawn(move || {
        let _ = pump::copy(&mut io::stdin().lock(), &mut to_peer);
        let _ = to_peer.shutdown(Shutdown::Write);
    });
    let input = input.context("cannot start a thread")?;
    let mut from_peer = stream;
    pump::copy(&mut from_peer, &mut io::stdout().lock()).context("the connection")?;
    if !io::stdin().is_terminal() {
        let _ = input.join();
    }
    Ok(())
}

/// Lines out as datagrams, datagrams in as they are; ends with standard input.
fn exchange_datagrams(datagrams: UnixStream) -> Result<(), Failure> {
    let mut from_peer = datagrams.try_clone().context("descriptors")?;
    std::thread::Builder::new()
        .name("ntm-output".to_owned())
        .spawn(move || {
            let _ = pump::copy(&mut from_peer, &mut io::stdout().lock());
        })
        .context("cannot start a thread")?;
    let mut line = String::new();
    while io::stdin().read_line(&mut line).context("standard input")? > 0 {
        (&datagrams).write_all(line.as_bytes()).context("the port")?;
        line.clear();
    }
    // What was answered to the last one has a moment to come.
    std::thread::sleep(std::time::Duration::from_secs(1));
    Ok(())
}
