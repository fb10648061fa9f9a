//! `TCP_INFO`: `struct tcp_info` of `<linux/tcp.h>`, as far as it is known here; the rest is zero.

use std::time::Duration;

use smoltcp::socket::tcp::State;

use crate::socket::state::{Socket, unmapped};

/// Where the fields stand that are filled in.
mod field {
    pub(super) const STATE: usize = 0;
    pub(super) const OPTIONS: usize = 5;
    pub(super) const SND_MSS: usize = 16;
    pub(super) const RCV_MSS: usize = 20;
    pub(super) const UNACKED: usize = 24;
    pub(super) const LAST_DATA_SENT: usize = 44;
    pub(super) const LAST_DATA_RECV: usize = 52;
    pub(super) const PMTU: usize = 60;
    pub(super) const RTT: usize = 68;
    pub(super) const SND_SSTHRESH: usize = 76;
    pub(super) const SND_CWND: usize = 80;
    pub(super) const ADVMSS: usize = 84;
    pub(super) const RCV_SPACE: usize = 96;
    pub(super) const TOTAL_RETRANS: usize = 100;
    pub(super) const PACING_RATE: usize = 104;
    pub(super) const BYTES_ACKED: usize = 120;
    pub(super) const BYTES_RECEIVED: usize = 128;
    pub(super) const SEGS_OUT: usize = 136;
    pub(super) const SEGS_IN: usize = 140;
    pub(super) const NOTSENT_BYTES: usize = 144;
    pub(super) const MIN_RTT: usize = 148;
}

/// Up to and including the shortest round trip.
const LENGTH: usize = 152;
/// What Linux says where slow start has no end yet.
const NO_THRESHOLD: u32 = i32::MAX as u32;
/// What the stack agrees on with its peers: selective acknowledgements and scaled windows.
const OPTIONS: u8 = 2 | 4;

pub(super) fn tcp_info(socket: &Socket) -> Vec<u8> {
    let mut info = vec![0; LENGTH];
    let Some(connection) = socket.connection() else {
        info[field::STATE] = linux_state(if socket.listener().is_some() { State::Listen } else { State::Closed });
        return info;
    };
    let state = connection.state();
    let figures = connection.figures(socket.core.now());
    let segment = super::largest_segment(unmapped(connection.flow.remote).is_ipv6());
    let sender = figures.sender;
    let segments = |bytes: u64| number(bytes / segment as u64);
    let millis = |since: Option<Duration>| number(since.map_or(0, |since| since.as_millis()));
    let trip = sender.smoothed.unwrap_or_else(|| round_trip(socket));
    info[field::STATE] = linux_state(state);
    info[field::OPTIONS] = if connection.is_established() { OPTIONS } else { 0 };
    let mut put = |at: usize, value: &[u8]| info[at..at + value.len()].copy_from_slice(value);
    put(field::SND_MSS, &number(segment).to_ne_bytes());
    put(field::RCV_MSS, &number(segment).to_ne_bytes());
    put(field::UNACKED, &number(sender.in_flight.div_ceil(segment as u64)).to_ne_bytes());
    put(field::LAST_DATA_SENT, &millis(figures.since_sent).to_ne_bytes());
    put(field::LAST_DATA_RECV, &millis(figures.since_received).to_ne_bytes());
    put(field::PMTU, &number(ntm_node::VIRTUAL_MTU).to_ne_bytes());
    put(field::RTT, &number(trip.as_micros()).to_ne_bytes());
    put(field::SND_SSTHRESH, &sender.threshold.map_or(NO_THRESHOLD, segments).to_ne_bytes());
    put(field::SND_CWND, &segments(sender.window).to_ne_bytes());
    put(field::ADVMSS, &number(segment).to_ne_bytes());
    put(field::RCV_SPACE, &number(figures.receive_room).to_ne_bytes());
    put(field::TOTAL_RETRANS, &segments(sender.resent).to_ne_bytes());
    put(field::PACING_RATE, &sender.pacing_rate.unwrap_or(u64::MAX).to_ne_bytes());
    put(field::BYTES_ACKED, &figures.acknowledged.to_ne_bytes());
    put(field::BYTES_RECEIVED, &figures.received.to_ne_bytes());
    put(field::SEGS_OUT, &figures.segments_out.to_ne_bytes());
    put(field::SEGS_IN, &figures.segments_in.to_ne_bytes());
    put(field::NOTSENT_BYTES, &number(sender.unsent).to_ne_bytes());
    put(field::MIN_RTT, &number(sender.minimum.unwrap_or(trip).as_micros()).to_ne_bytes());
    info
}

/// The round trip that the path in use was measured to take, for connections that have measured none.
fn round_trip(socket: &Socket) -> Duration {
    let Some(connection) = socket.connection() else { return Duration::ZERO };
    let peer = unmapped(connection.flow.remote).ip();
    let rtt = socket.core.engine(|node| node.paths(&node.peer_at(peer)?).first()?.rtt);
    rtt.unwrap_or_default()
}

fn number(value: impl TryInto<u32>) -> u32 {
    value.try_into().unwrap_or(u32::MAX)
}

/// The numbers of `<netinet/tcp.h>`.
fn linux_state(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
    }
}
