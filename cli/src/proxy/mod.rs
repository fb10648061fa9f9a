//! `ntm proxy`: for programs that the shim cannot take. SOCKS5 and HTTP at one port of this host: the first byte tells which.
//!
//! Names of nodes lead through tunnels, all others to where they always lead.

mod http;
mod socks;

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;
use ntm_agent::Node;
use ntm_program::{Failure, ResultExt as _};

use crate::open;
use crate::pump::{self, End};
use crate::session::Session;

/// Connections at a time; what comes on top is closed at once.
const MAX_CONNECTIONS: usize = 1_024;
/// How long a program may take to say where it wants to go.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serve SOCKS5 and HTTP proxying on this host, for programs that `ntm run` cannot take
#[derive(Debug, Args)]
pub(crate) struct Proxy {
    /// Where to serve: a port of 127.0.0.1, or an address of this host and a port
    #[arg(long, short, value_name = "[IP:]PORT", default_value = "1080", value_parser = place)]
    listen: SocketAddr,
}

fn place(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    }
    let place: SocketAddr = text.parse().map_err(|_| "a port, or an address and a port".to_owned())?;
    // Whoever reaches the port uses the node's name.
    if place.ip().is_loopback() { Ok(place) } else { Err(format!("{} is not a loopback address", place.ip())) }
}

/// Where a program wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
}

/// Why it does not get there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    NoSuchHost(String),
    Refused(String),
    Unreachable(String),
}

impl Proxy {
    pub(crate) fn carry_out(self, session: Session) -> Result<(), Failure> {
        let node = session.node()?;
        let listener = TcpListener::bind(self.listen).context(self.listen)?;
        let at = listener.local_addr().context(self.listen)?;
        writeln!(io::stdout(), "serving SOCKS5 and HTTP at {at}").context("standard output")?;
        io::stdout().flush().context("standard output")?;
        let busy = Arc::new(AtomicUsize::new(0));
        for client in listener.incoming().flatten() {
            if busy.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS {
                busy.fetch_sub(1, Ordering::AcqRel);
                continue;
            }
            let (node, held) = (node.clone(), busy.clone());
            let spawned = std::thread::Builder::new().name("ntm-proxy".to_owned()).spawn(move || {
                // A program that breaks off has nobody to be told.
                let _ = serve(&*node, client);
                held.fetch_sub(1, Ordering::AcqRel);
            });
            if spawned.is_err() {
                busy.fetch_sub(1, Ordering::AcqRel);
            }
        }
        Ok(())
    }
}

fn serve(node: &dyn Node, mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(PATIENCE))?;
    let mut first = [0];
    client.read_exact(&mut first)?;
    if first[0] == socks::VERSION { socks::serve(node, client) } else { http::serve(node, client, first[0]) }
}

/// Goes there, and lets `greet` say what was reached and give what goes there first; then bytes go both ways.
fn go(
    node: &dyn Node,
    mut client: TcpStream,
    target: &Target,
    first: &[u8],
    greet: impl FnOnce(&mut TcpStream, Result<(), &Trouble>) -> io::Result<()>,
) -> io::Result<()> {
    match reach(node, target) {
        Ok(way) => {
            greet(&mut client, Ok(()))?;
            client.set_read_timeout(None)?;
            match way {
                Way::Node(stream) => join(client, stream, first),
                Way::Kernel(stream) => join(client, stream, first),
            }
        }
        Err(trouble) => greet(&mut client, Err(&trouble)),
    }
}

fn join(client: TcpStream, mut there: impl End, first: &[u8]) -> io::Result<()> {
    there.write_all(first)?;
    pump::join(client, there)
}

enum Way {
    Node(std::os::unix::net::UnixStream),
    Kernel(TcpStream),
}

fn reach(node: &dyn Node, target: &Target) -> Result<Way, Trouble> {
    let address = match target.host.parse::<IpAddr>() {
        Ok(address) => Some(address),
        Err(_) => match node.resolve(&target.host) {
            Ok(found) => Some(found.virtual4.into()),
            // No name of a node's: the host's own look-up knows.
            Err(fault) if fault.errno.0 == libc::EINVAL => None,
            Err(fault) if fault.errno.0 == libc::ENOENT => return Err(Trouble::NoSuchHost(fault.message)),
            Err(fault) => return Err(Trouble::Unreachable(fault.message)),
        },
    };
    if let Some(address) = address.filter(|address| ntmfw::service::is_virtual(*address)) {
        return open::stream(node, address, target.port)
            .map(Way::Node)
            .map_err(|why| Trouble::Refused(why.to_string()));
    }
    let reached = match address {
        Some(address) => TcpStream::connect((address, target.port)),
        None => TcpStream::connect((target.host.as_str(), target.port)),
    };
    reached.map(Way::Kernel).map_err(|why| match why.kind() {
        io::ErrorKind::ConnectionRefused => Trouble::Refused(why.to_string()),
        _ if why.raw_os_error().is_none() => Trouble::NoSuchHost(format!("{}: {why}", target.host)),
        _ => Trouble::Unreachable(why.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_hosts_programs_are_served() {
        assert_eq!(place("1080"), Ok("127.0.0.1:1080".parse().expect("a place")));
        assert!(place("[::1]:1080").is_ok());
        assert!(place("0.0.0.0:1080").is_err() && place("192.0.2.1:1080").is_err() && place("here").is_err());
    }
}
