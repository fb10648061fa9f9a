//! Datagrams at a steady beat, as a voice call sends them, measured by the end that receives.
//!
//! ```text
//! virtual IPv4 or IPv6 header ‖ UDP header ‖ flow(8) sequence(8) sent at(8, nanoseconds) ‖ pattern
//! ```
//! Invariant: every sequence number is counted once as received, later copies as duplicates; what lies
//! below the highest and is not received is lost.

use crate::stream::VIRTUAL_MTU;
use crate::stream::pattern::Pattern;
use crate::stream::segment::endpoints;
use ntm_proto::time::Instant;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    IpAddress, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, UDP_HEADER_LEN, UdpPacket, UdpRepr,
};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const HOP_LIMIT: u8 = 64;
/// Flow, sequence number, time.
const HEADER: usize = 24;
/// Sequence numbers that are remembered: about twelve days of a voice call.
const MAX_SEQUENCES: u64 = 1 << 26;

#[derive(Clone, Copy, Debug)]
pub struct CbrConfig {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Between two datagrams; `None` only receives.
    pub interval: Option<Duration>,
    /// UDP payload, at least 24.
    pub size: usize,
    /// The same at both ends; tells this flow's datagrams from others'.
    pub flow: u64,
    pub start: Instant,
    /// Sends nothing from here on.
    pub stop: Instant,
}

impl CbrConfig {
    /// 160 bytes each 20 ms both ways, like G.711.
    pub const fn voice(local: SocketAddr, remote: SocketAddr, flow: u64) -> Self {
        Self {
            local,
            remote,
            interval: Some(Duration::from_millis(20)),
            size: 160,
            flow,
            start: Instant::ZERO,
            stop: Instant::FAR_FUTURE,
        }
    }

    pub const fn interval(mut self, interval: Option<Duration>) -> Self {
        self.interval = interval;
        self
    }

    pub const fn between(mut self, start: Instant, stop: Instant) -> Self {
        self.start = start;
        self.stop = stop;
        self
    }

    /// The other end of this one's flow.
    pub const fn mirrored(self) -> Self {
        let Self { local, remote, .. } = self;
        Self { local: remote, remote: local, ..self }
    }
}

/// What one end received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reception {
    pub received: u64,
    pub duplicates: u64,
    /// Received after one with a higher sequence number.
    pub late: u64,
    /// With wrong content, or not of this flow.
    pub alien: u64,
    pub first_at: Option<Instant>,
    pub last_at: Option<Instant>,
    /// Between two datagrams that came, whatever their order.
    pub longest_gap: Duration,
    pub least_delay: Option<Duration>,
    pub greatest_delay: Option<Duration>,
    delays: Duration,
    /// One more than the highest sequence number.
    next: u64,
    seen: Vec<u64>,
}

impl Reception {
    /// Sent, as far as anybody can tell from what came later, and not received.
    pub fn lost(&self) -> u64 {
        self.next - self.received
    }

    /// Not received of `sent` datagrams; with it, those lost at the end show too.
    pub fn missing(&self, sent: u64) -> u64 {
        sent.saturating_sub(self.received)
    }

    pub fn mean_delay(&self) -> Option<Duration> {
        Some(self.delays / u32::try_from(self.received).ok().filter(|received| *received > 0)?)
    }

    /// The longest gap, that up to `now` included.
    pub fn longest_gap(&self, now: Instant) -> Duration {
        self.longest_gap.max(self.last_at.map_or(Duration::ZERO, |last| now.since(last)))
    }

    fn note(&mut self, now: Instant, sequence: u64, sent_at: Instant) {
        let (word, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit != 0 {
            self.duplicates += 1;
            return;
        }
        self.seen[word] |= bit;
        self.received += 1;
        self.late += u64::from(sequence < self.next);
        self.next = self.next.max(sequence + 1);
        self.first_at.get_or_insert(now);
        if let Some(last) = self.last_at.replace(now) {
            self.longest_gap = self.longest_gap.max(now.since(last));
        }
        let delay = now.since(sent_at);
        self.delays += delay;
        self.least_delay = Some(self.least_delay.map_or(delay, |least| least.min(delay)));
        self.greatest_delay = Some(self.greatest_delay.map_or(delay, |greatest| greatest.max(delay)));
    }
}

/// One end of a flow.
#[derive(Debug)]
pub struct Cbr {
    config: CbrConfig,
    sent: u64,
    reception: Reception,
}

impl Cbr {
    pub fn new(config: CbrConfig) -> Self {
        Self { config, sent: 0, reception: Reception::default() }
    }

    /// A virtual packet for this flow.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        match self.parse(packet) {
            Some((sequence, sent_at)) => self.reception.note(now, sequence, sent_at),
            None => self.reception.alien += 1,
        }
    }

    /// The next datagram due by `now`, as a virtual packet. Call until `None`.
    ///
    /// A driver that comes late gets them all, each stamped with the time it was due.
    pub fn poll_packet(&mut self, now: Instant) -> Option<Vec<u8>> {
        let due = self.due().filter(|due| *due <= now)?;
        let packet = self.emit(self.sent, due);
        self.sent += 1;
        Some(packet)
    }

    /// When the next datagram is due.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.due().map(|due| due.max(now))
    }

    /// Whether `packet` is between this flow's addresses and ports.
    pub fn owns(&self, packet: &[u8]) -> bool {
        endpoints(packet) == Some((self.config.remote, self.config.local))
    }

    pub fn config(&self) -> &CbrConfig {
        &self.config
    }

    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub fn reception(&self) -> &Reception {
        &self.reception
    }

    /// Starts measuring gaps and delays afresh, such as before a move; counts go on.
    pub fn forget_gaps(&mut self, now: Instant) {
        self.reception.longest_gap = Duration::ZERO;
        if self.reception.last_at.is_some() {
            self.reception.last_at = Some(now);
        }
    }

    fn due(&self) -> Option<Instant> {
        let interval = self.config.interval?;
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).saturating_mul(self.sent);
        let due = self.config.start + Duration::from_nanos(nanos);
        (due < self.config.stop && self.sent < MAX_SEQUENCES).then_some(due)
    }

    fn emit(&self, sequence: u64, at: Instant) -> Vec<u8> {
        let CbrConfig { local, remote, size, flow, .. } = self.config;
        let size = size.clamp(HEADER, VIRTUAL_MTU);
        let udp = UdpRepr { src_port: local.port(), dst_port: remote.port() };
        let length = UDP_HEADER_LEN + size;
        let (next_header, hop_limit) = (IpProtocol::Udp, HOP_LIMIT);
        let mut packet;
        let header = match (local.ip(), remote.ip()) {
            (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => {
                let ip = Ipv6Repr { src_addr, dst_addr, next_header, payload_len: length, hop_limit };
                packet = vec![0; ip.buffer_len() + length];
                ip.emit(&mut Ipv6Packet::new_unchecked(&mut packet[..]));
                ip.buffer_len()
            }
            (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
                let ip = Ipv4Repr { src_addr, dst_addr, next_header, payload_len: length, hop_limit };
                packet = vec![0; ip.buffer_len() + length];
                ip.emit(&mut Ipv4Packet::new_unchecked(&mut packet[..]), &ChecksumCapabilities::ignored());
                ip.buffer_len()
            }
            _ => panic!("a flow's two addresses are of one family"),
        };
        let fill = |payload: &mut [u8]| {
            payload[..8].copy_from_slice(&flow.to_be_bytes());
            payload[8..16].copy_from_slice(&sequence.to_be_bytes());
            payload[16..HEADER].copy_from_slice(&at.as_nanos().to_be_bytes());
            Pattern::new(flow ^ sequence).fill(0, &mut payload[HEADER..]);
        };
        let (from, to) = (IpAddress::from(local.ip()), IpAddress::from(remote.ip()));
        let mut datagram = UdpPacket::new_unchecked(&mut packet[header..]);
        udp.emit(&mut datagram, &from, &to, size, fill, &ChecksumCapabilities::ignored());
        packet
    }

    fn parse(&self, packet: &[u8]) -> Option<(u64, Instant)> {
        let payload = udp_payload(packet)?;
        let word = |index: usize| Some(u64::from_be_bytes(*payload.get(index * 8..)?.first_chunk()?));
        let (flow, sequence, sent_at) = (word(0)?, word(1)?, word(2)?);
        let expected = flow == self.config.flow && sequence < MAX_SEQUENCES && self.owns(packet);
        let intact = expected && Pattern::new(flow ^ sequence).check(0, &payload[HEADER..]).is_ok();
        intact.then_some((sequence, Instant::from_nanos(sent_at)))
    }
}

fn udp_payload(packet: &[u8]) -> Option<&[u8]> {
    let udp = match packet.first()? >> 4 {
        4 => {
            let ip = Ipv4Packet::new_checked(packet).ok()?;
            (ip.next_header() == IpProtocol::Udp).then(|| ip.payload())?
        }
        6 => {
            let ip = Ipv6Packet::new_checked(packet).ok()?;
            (ip.next_header() == IpProtocol::Udp).then(|| ip.payload())?
        }
        _ => return None,
    };
    Some(UdpPacket::new_checked(udp).ok()?.payload())
}
