//! As much of TURN (RFC 8656) as it takes to have coturn relay: an allocation, a channel, and its datagrams.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::Outcome;
use crate::load::{Flow, SIZE, socket};
use crate::scene::SERVER_IP;

pub(crate) const PORT: u16 = 3478;
const ALLOCATE: u16 = 0x0003;
const CHANNEL_BIND: u16 = 0x0009;
const SUCCESS: u16 = 0x0100;
const CHANNEL_NUMBER: u16 = 0x000c;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const REQUESTED_TRANSPORT: u16 = 0x0019;
const COOKIE: u32 = 0x2112_a442;
const CHANNEL: u16 = 0x4000;
const UDP: u8 = 17;
/// Bytes before the data in a channel's datagram.
const CHANNEL_HEADER: usize = 4;

/// Flows from a socket each, by an allocation each, to the one receiver.
pub(crate) fn flows(count: u16, receiver: &UdpSocket) -> Outcome<Vec<Flow>> {
    let server: SocketAddr = format!("{SERVER_IP}:{PORT}").parse()?;
    let peer = receiver.local_addr()?;
    let mut datagram = CHANNEL.to_be_bytes().to_vec();
    datagram.extend(u16::try_from(SIZE - CHANNEL_HEADER)?.to_be_bytes());
    datagram.resize(SIZE, 0xa5);
    (0..count)
        .map(|number| {
            let socket = socket()?;
            request(&socket, server, number, ALLOCATE, &attribute(REQUESTED_TRANSPORT, &[UDP, 0, 0, 0]))?;
            let channel = attribute(CHANNEL_NUMBER, &[CHANNEL.to_be_bytes(), [0; 2]].concat());
            let address = attribute(XOR_PEER_ADDRESS, &xor_address(peer)?);
            request(&socket, server, number, CHANNEL_BIND, &[channel, address].concat())?;
            Ok(Flow { socket, server, datagram: datagram.clone() })
        })
        .collect()
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    [&kind.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
}

fn xor_address(address: SocketAddr) -> Outcome<Vec<u8>> {
    let IpAddr::V4(ip) = address.ip() else { return Err("the bench speaks IPv4".into()) };
    let port = address.port() ^ (COOKIE >> 16) as u16;
    Ok([&[0, 1][..], &port.to_be_bytes(), &(ip.to_bits() ^ COOKIE).to_be_bytes()].concat())
}

/// Asks, again where nothing comes, until the server says that it is done.
fn request(socket: &UdpSocket, server: SocketAddr, number: u16, method: u16, attributes: &[u8]) -> Outcome<()> {
    let mut message = method.to_be_bytes().to_vec();
    message.extend(u16::try_from(attributes.len())?.to_be_bytes());
    message.extend(COOKIE.to_be_bytes());
    message.extend([0xb0; 9]);
    message.push((method & 0xff) as u8);
    message.extend(number.to_be_bytes());
    message.extend(attributes);
    let mut answer = [0; 2_048];
    for _ in 0..50 {
        socket.send_to(&message, server)?;
        let Ok((length, _)) = socket.recv_from(&mut answer) else { continue };
        if length >= 20 && answer[..2] == (method | SUCCESS).to_be_bytes() {
            return Ok(());
        }
        return Err(format!("coturn refuses: {:02x?}", &answer[..length]).into());
    }
    Err("coturn does not answer".into())
}
