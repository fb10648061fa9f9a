//! ICMP: echoes are answered, and sent by sockets; unreachable ports are told of and heard about.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use ntm_node::FlowKey;
use ntm_proto::time::Instant;

use crate::errno::{Errno, Result};
use crate::packet::route::send_single;
use crate::runtime::Core;
use crate::stack::endpoint::{Arrival, Endpoint};
use crate::stack::ip::{self, Packet, Stamp};

/// Types and codes of RFC 792 and RFC 4443.
const V4_ECHO: u8 = 8;
const V4_ECHO_REPLY: u8 = 0;
const V4_UNREACHABLE: u8 = 3;
const V4_PORT: u8 = 3;
const V6_ECHO: u8 = 128;
const V6_ECHO_REPLY: u8 = 129;
const V6_UNREACHABLE: u8 = 1;
const V6_PORT: u8 = 4;
const HEADER: usize = 8;
const IDENTIFIER: std::ops::Range<usize> = 4..6;
/// The most that one packet of either family carries.
const MAX_ECHO: usize = 65_535 - 20;
/// What is quoted of the packet that could not be delivered: its headers.
const QUOTED: usize = 48;

pub(crate) fn handle(core: &Core, now: Instant, packet: &Packet<'_>) {
    let Some(header) = packet.payload.first_chunk::<HEADER>() else { return };
    match (packet.protocol, header[0], header[1]) {
        (ip::ICMP, V4_ECHO, 0) => answer(core, now, packet, V4_ECHO_REPLY),
        (ip::ICMPV6, V6_ECHO, 0) => answer(core, now, packet, V6_ECHO_REPLY),
        (ip::ICMP, V4_ECHO_REPLY, 0) | (ip::ICMPV6, V6_ECHO_REPLY, 0) => hear_reply(core, packet, header),
        (ip::ICMP, V4_UNREACHABLE, V4_PORT) | (ip::ICMPV6, V6_UNREACHABLE, V6_PORT) => {
            refused(core, packet, &packet.payload[HEADER..]);
        }
        _ => {}
    }
}

/// Tells the sender of a UDP packet that nobody hears at that port.
pub(crate) fn send_unreachable(core: &Core, now: Instant, packet: &Packet<'_>) {
    let quoted = &packet.whole[..packet.whole.len().min(QUOTED)];
    let (protocol, kind, code) = if packet.source.is_ipv4() {
        (ip::ICMP, V4_UNREACHABLE, V4_PORT)
    } else {
        (ip::ICMPV6, V6_UNREACHABLE, V6_PORT)
    };
    let mut message = [0; 40 + HEADER + QUOTED];
    let length = HEADER + quoted.len();
    let start = ip::write_header(&mut message, packet.destination, packet.source, protocol, Stamp::default(), length);
    message[start..start + 2].copy_from_slice(&[kind, code]);
    message[start + HEADER..start + length].copy_from_slice(quoted);
    send_single(core, now, &message[..start + length]);
}

fn answer(core: &Core, now: Instant, packet: &Packet<'_>, kind: u8) {
    let mut reply = vec![0; 40 + packet.payload.len()];
    let length = packet.payload.len();
    let start =
        ip::write_header(&mut reply, packet.destination, packet.source, packet.protocol, Stamp::default(), length);
    reply[start..start + length].copy_from_slice(packet.payload);
    reply[start] = kind;
    send_single(core, now, &reply[..start + length]);
}

/// Sends an echo request, which `data` is but for its identifier: that is the socket's.
pub(crate) fn send_echo(
    core: &Core,
    endpoint: &Endpoint,
    from: SocketAddr,
    to: IpAddr,
    stamp: Stamp,
    data: &[u8],
) -> Result<()> {
    let (protocol, kind) = if to.is_ipv4() { (ip::ICMP, V4_ECHO) } else { (ip::ICMPV6, V6_ECHO) };
    if data.len() > MAX_ECHO {
        return Err(Errno(libc::EMSGSIZE));
    }
    if data.len() < HEADER || data[..2] != [kind, 0] {
        return Err(Errno(libc::EINVAL));
    }
    let start = ip::header_length(to);
    let mut packet = vec![0; start + data.len()];
    ip::write_header(&mut packet, from.ip(), to, protocol, stamp, data.len());
    packet[start..].copy_from_slice(data);
    packet[start + IDENTIFIER.start..start + IDENTIFIER.end].copy_from_slice(&from.port().to_be_bytes());
    let flow = FlowKey { source: from.ip(), destination: to, protocol, source_port: 0, destination_port: 0 };
    endpoint.send(core, flow, &packet);
    Ok(())
}

/// An answer for the socket whose identifier it has.
fn hear_reply(core: &Core, packet: &Packet<'_>, header: &[u8; HEADER]) {
    let identifier = u16::from_be_bytes([header[IDENTIFIER.start], header[IDENTIFIER.start + 1]]);
    let (local, from) = (SocketAddr::new(packet.destination, identifier), SocketAddr::new(packet.source, 0));
    if let Some(endpoint) = core.stack.echo.find(local, Some(from)) {
        let Stamp { hops, class } = packet.stamp();
        endpoint.receive(Arrival { from, to: local.ip(), hops, class, at: SystemTime::now() }, packet.payload);
    }
}

/// A datagram of ours found nobody. Only what came from the addressee itself is believed.
fn refused(core: &Core, packet: &Packet<'_>, quoted: &[u8]) {
    let Some((source, destination)) = quoted_endpoints(quoted) else { return };
    if destination.ip() != packet.source {
        return;
    }
    if let Some(endpoint) = core.stack.udp.find(source, Some(destination)) {
        endpoint.fail(destination, Errno(libc::ECONNREFUSED));
    }
}

/// The ends of a quoted UDP packet, which may be cut short.
fn quoted_endpoints(quoted: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let mut whole = quoted.to_vec();
    let length = u16::try_from(quoted.len()).ok()?;
    match whole.first()? >> 4 {
        4 => whole.get_mut(2..4)?.copy_from_slice(&length.to_be_bytes()),
        6 => whole.get_mut(4..6)?.copy_from_slice(&length.checked_sub(40)?.to_be_bytes()),
        _ => return None,
    }
    let packet = Packet::parse(&whole)?;
    (packet.protocol == ip::UDP).then(|| packet.endpoints())?
}
