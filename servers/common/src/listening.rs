//! Addresses that a server listens at, and what to say where it cannot.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use ntm_program::Failure;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;

/// Listens for TCP at all of these addresses. `[::]` serves IPv4 as well, unless another of them does at the same port.
pub fn listen(addresses: &[SocketAddr], purpose: &str) -> Result<Vec<TcpListener>, Failure> {
    let serves4 = |port| addresses.iter().any(|other| other.is_ipv4() && other.port() == port);
    let bound = addresses.iter().map(|&address| {
        let only6 = serves4(address.port());
        tcp(address, only6).map_err(|why| cannot_listen(address, purpose, &why))
    });
    bound.collect()
}

fn tcp(address: SocketAddr, only6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(only6)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The complaint about an address that cannot be listened at, with the way out.
pub fn cannot_listen(address: SocketAddr, purpose: &str, why: &std::io::Error) -> Failure {
    let failure = Failure::new(format!("cannot listen at {address} for {purpose}: {why}"));
    match why.kind() {
        std::io::ErrorKind::AddrInUse => failure.way_out("another program has it: stop that or choose another"),
        std::io::ErrorKind::AddrNotAvailable => failure.way_out("no interface of this host has that address"),
        std::io::ErrorKind::PermissionDenied => {
            failure.way_out("ports below 1024 need CAP_NET_BIND_SERVICE; the systemd unit gives it")
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ipv6_leaves_its_port_to_ipv4_where_both_are_asked_for() {
        let first = tcp(SocketAddr::from(([0, 0, 0, 0], 0)), false).expect("a free port");
        let port = first.local_addr().expect("it is bound").port();
        let any6 = SocketAddr::from(([0_u16; 8], port));
        assert!(tcp(any6, false).is_err(), "it would take IPv4 as well");
        tcp(any6, true).expect("IPv6 alone is free");
    }
}
