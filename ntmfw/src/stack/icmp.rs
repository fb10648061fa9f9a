//! ICMP: echoes are answered, unreachable ports are told of and heard about.

use std::net::SocketAddr;

use ntm_proto::time::Instant;

use crate::packet::route::send_single;
use crate::runtime::Core;
use crate::stack::ip::{self, Packet};

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
/// What is quoted of the packet that could not be delivered: its headers.
const QUOTED: usize = 48;

pub(crate) fn handle(core: &Core, now: Instant, packet: &Packet<'_>) {
    let Some(header) = packet.payload.first_chunk::<HEADER>() else { return };
    match (packet.protocol, header[0], header[1]) {
        (ip::ICMP, V4_ECHO, 0) => answer(core, now, packet, V4_ECHO_REPLY),
        (ip::ICMPV6, V6_ECHO, 0) => answer(core, now, packet, V6_ECHO_REPLY),
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
    let start = ip::write_header(&mut message, packet.destination, packet.source, protocol, 64, length);
    message[start..start + 2].copy_from_slice(&[kind, code]);
    message[start + HEADER..start + length].copy_from_slice(quoted);
    send_single(core, now, &message[..start + length]);
}

fn answer(core: &Core, now: Instant, packet: &Packet<'_>, kind: u8) {
    let mut reply = vec![0; 40 + packet.payload.len()];
    let length = packet.payload.len();
    let start = ip::write_header(&mut reply, packet.destination, packet.source, packet.protocol, 64, length);
    reply[start..start + length].copy_from_slice(packet.payload);
    reply[start] = kind;
    send_single(core, now, &reply[..start + length]);
}

/// A datagram of ours found nobody. Only what came from the addressee itself is believed.
fn refused(core: &Core, packet: &Packet<'_>, quoted: &[u8]) {
    let Some((source, destination)) = quoted_endpoints(quoted) else { return };
    if destination.ip() != packet.source {
        return;
    }
    if let Some(endpoint) = core.stack.udp.find(source, Some(destination)) {
        endpoint.refused(destination);
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
