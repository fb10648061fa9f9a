//! The workers' UDP sockets: for each address to listen at one socket a worker, all in one `SO_REUSEPORT` group.

use std::io;
use std::net::{IpAddr, SocketAddr};

use ntm_server::Failure;
use ntm_server::listening::cannot_listen;
use quinn_udp::{UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use super::steer::{leave_times_out, steer};

/// What a socket should hold while its worker is busy elsewhere: some 20 ms of 10 Gbit/s. The kernel counts its own
/// overhead against it.
const BUFFER: usize = 16 << 20;

/// One worker's end of one address.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) socket: Socket,
    pub(crate) state: UdpSocketState,
    /// Unspecified where the socket takes what comes to any address of the host.
    listen: SocketAddr,
}

impl Port {
    /// The relay's own address that a datagram came to.
    pub(crate) fn local(&self, destination: Option<IpAddr>) -> SocketAddr {
        match destination {
            Some(ip) if self.listen.ip().is_unspecified() => SocketAddr::new(ip, self.listen.port()),
            _ => self.listen,
        }
    }

    /// Whether what is to leave from `local` leaves here.
    pub(crate) fn sends_from(&self, local: SocketAddr) -> bool {
        let same_ip = self.listen.ip() == local.ip();
        let any_ip = self.listen.ip().is_unspecified() && self.listen.is_ipv4() == local.is_ipv4();
        self.listen.port() == local.port() && (same_ip || any_ip)
    }

    /// What the kernel must be told to send from; a socket with an address of its own needs no telling.
    pub(crate) fn source(&self, local: SocketAddr) -> Option<IpAddr> {
        self.listen.ip().is_unspecified().then(|| local.ip())
    }

    /// One more call for all that waits in the socket's queue.
    pub(crate) fn reference(&self) -> UdpSockRef<'_> {
        UdpSockRef::from(&self.socket)
    }
}

/// Opens the ports of all workers: one list a worker, in the order of `listen`. Port 0 is any free port, the same for
/// all workers.
pub(crate) fn open(listen: &[SocketAddr], workers: u32) -> Result<Vec<Vec<Port>>, Failure> {
    let mut ports: Vec<Vec<Port>> = (0..workers).map(|_| Vec::with_capacity(listen.len())).collect();
    for &address in listen {
        let complain = |why: io::Error| cannot_listen(address, "UDP", &why);
        // A group lets anybody of this user in, so a relay that runs already is only noticed without one.
        // A port that the kernel chooses is free, and must not be let go again.
        if address.port() != 0 {
            bind(address, false).map_err(complain)?;
        }
        let mut first = Some(bind(address, true).map_err(complain)?);
        let address = first.as_ref().map_or(Ok(address), local_address).map_err(complain)?;
        for port in &mut ports {
            let socket = first.take().map_or_else(|| bind(address, true), Ok).map_err(complain)?;
            let state = UdpSocketState::new((&socket).into()).map_err(complain)?;
            // What is not used costs time with each datagram.
            let _ = leave_times_out(&socket);
            let _ = if address.is_ipv4() { socket.set_recv_tos_v4(false) } else { socket.set_recv_tclass_v6(false) };
            let _ = state.set_recv_buffer_size((&socket).into(), BUFFER);
            let _ = state.set_send_buffer_size((&socket).into(), BUFFER);
            port.push(Port { socket, state, listen: address });
        }
        if let Some(port) = ports[0].last().filter(|_| workers > 1) {
            // The kernel counts the sockets of a group in the order in which they were bound.
            if let Err(why) = steer(&port.socket, workers) {
                tracing::warn!("{address}: the kernel does not steer datagrams to workers, which costs speed: {why}");
            }
        }
    }
    if let Some(port) = ports[0].first()
        && let Ok(size) = port.state.recv_buffer_size(port.reference())
        && size < BUFFER
    {
        tracing::warn!(
            "receive buffers hold {} KB, which bursts may overflow (sysctl net.core.rmem_max={BUFFER})",
            size / 1024
        );
    }
    Ok(ports)
}

fn bind(address: SocketAddr, in_group: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(in_group)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("no IP address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_to_one_address_of_many_leaves_from_there() {
        let port = |listen: &str| Port {
            listen: listen.parse().expect("an address"),
            ..open(&["127.0.0.1:0".parse().expect("an address")], 1).expect("opens").remove(0).remove(0)
        };
        let any = port("0.0.0.0:4501");
        let there: SocketAddr = "192.0.2.7:4501".parse().expect("an address");
        assert_eq!(any.local(Some(there.ip())), there);
        assert!(any.sends_from(there));
        assert!(!any.sends_from("[2001:db8::1]:4501".parse().expect("an address")));
        assert_eq!(any.source(there), Some(there.ip()));
        let one = port("192.0.2.7:4501");
        assert_eq!(one.local(None), there);
        assert_eq!(one.source(there), None);
        assert!(!one.sends_from("192.0.2.8:4501".parse().expect("an address")));
    }

    #[test]
    fn a_port_that_another_relay_has_is_said_to_be_taken() {
        let first = open(&["127.0.0.1:0".parse().expect("an address")], 2).expect("opens");
        let taken = first[0][0].local(None);
        assert_eq!(first[1][0].local(None), taken);
        let complaint = open(&[taken], 2).expect_err("it is taken").to_string();
        assert!(complaint.contains(&taken.to_string()) && complaint.contains("another program has it"), "{complaint}");
    }
}
