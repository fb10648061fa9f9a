//! Questions to relays, from sockets of this program's own: how long, and what they see.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ntm_proto::wire::outer::{Outer, emit_relay_ping};

use super::verdict::Loops;

/// How often each relay is asked, and how long one answer may take.
const ROUNDS: u32 = 3;
const PATIENCE: Duration = Duration::from_millis(700);
const ROOM: usize = 2_048;
/// Nobody's addresses (RFC 5737, RFC 3849): to ask the kernel for a route, without a packet.
const FAR4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
const FAR6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9);

#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) rtt: Duration,
    pub(super) observed: SocketAddr,
}

#[derive(Debug)]
pub(super) struct Probed {
    /// One each server, the quickest.
    pub(super) answers: Vec<Option<Answer>>,
    pub(super) has_v4: bool,
    pub(super) has_v6: bool,
    /// The addresses from which this host reaches servers.
    pub(super) own4: Vec<Ipv4Addr>,
    pub(super) loops: Option<Loops>,
}

pub(super) fn probe(servers: &[SocketAddr]) -> io::Result<Probed> {
    let socket4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // A host may do without IPv6.
    let socket6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok();
    let answers: Vec<_> = servers
        .iter()
        .map(|server| {
            let socket = if server.is_ipv4() { Some(&socket4) } else { socket6.as_ref() };
            socket.and_then(|socket| ask(socket, *server))
        })
        .collect();
    let reached =
        |v4: bool| servers.iter().zip(&answers).any(|(server, answer)| server.is_ipv4() == v4 && answer.is_some());
    let own4 = servers.iter().filter_map(|server| own_address(*server)).filter_map(|own| match own {
        IpAddr::V4(own) => Some(own),
        IpAddr::V6(_) => None,
    });
    Ok(Probed {
        has_v4: reached(true) || own_address(FAR4).is_some(),
        has_v6: reached(false) || own_address(FAR6).is_some(),
        own4: own4.collect(),
        loops: loops(&socket4, servers, &answers)?,
        answers,
    })
}

/// The address from which this host would write there.
fn own_address(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn ask(socket: &UdpSocket, server: SocketAddr) -> Option<Answer> {
    (0..ROUNDS).filter_map(|_| ask_once(socket, server)).min_by_key(|answer| answer.rtt)
}

fn ask_once(socket: &UdpSocket, server: SocketAddr) -> Option<Answer> {
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).ok()?;
    let nonce = u64::from_be_bytes(nonce);
    let begun = Instant::now();
    socket.send_to(&emit_relay_ping(nonce), server).ok()?;
    let mut room = [0; ROOM];
    loop {
        let (length, from) = receive(socket, begun, &mut room)?;
        if let Ok(Outer::RelayPong { nonce: answered, observed }) = Outer::parse(&room[..length])
            && (answered, from) == (nonce, server)
        {
            return Some(Answer { rtt: begun.elapsed(), observed });
        }
    }
}

/// The next datagram within the patience since `begun`.
fn receive(socket: &UdpSocket, begun: Instant, room: &mut [u8]) -> Option<(usize, SocketAddr)> {
    let left = PATIENCE.checked_sub(begun.elapsed()).filter(|left| !left.is_zero())?;
    socket.set_read_timeout(Some(left)).ok()?;
    socket.recv_from(room).ok()
}

/// Two sockets write to what each other looks like from outside.
fn loops(first: &UdpSocket, servers: &[SocketAddr], answers: &[Option<Answer>]) -> io::Result<Option<Loops>> {
    let asked = servers.iter().zip(answers).find_map(|(server, answer)| Some((*server, (*answer)?)));
    let Some((server, seen)) = asked.filter(|(server, _)| server.is_ipv4()) else { return Ok(None) };
    let second = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let Some(other) = ask(&second, server) else { return Ok(None) };
    if arrives(&second, first, seen.observed) {
        return Ok(Some(Loops::AtOnce));
    }
    // Opens the way back, whether it arrives or not.
    let _ = first.send_to(b"open", other.observed);
    Ok(Some(if arrives(&second, first, seen.observed) { Loops::AfterAWord } else { Loops::Never }))
}

fn arrives(from: &UdpSocket, to: &UdpSocket, at: SocketAddr) -> bool {
    let mut nonce = [0; 16];
    if getrandom::fill(&mut nonce).is_err() || from.send_to(&nonce, at).is_err() {
        return false;
    }
    let begun = Instant::now();
    let mut room = [0; ROOM];
    while let Some((length, _)) = receive(to, begun, &mut room) {
        if room[..length] == nonce {
            return true;
        }
    }
    false
}
