//! What smoltcp believes to be its network device: packets that came, and the flow's way out.

use std::borrow::Cow;
use std::net::IpAddr;
use std::num::NonZeroUsize;

use ntm_node::FlowKey;
use ntm_proto::time::Instant;
use ntm_recovery::{Config as RecoveryConfig, Ecn, Recovery, Transmit};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant as StackInstant;

use crate::packet::route::Sender;
use crate::runtime::Core;
use crate::stack::ip::{self, Segments};
use crate::stack::remains::Last;
use crate::stack::segment::Segment;

/// The largest segment that is asked of smoltcp in one piece. Cut for the network it fills one batch.
const MAX_SEGMENT: usize = 60_000;

pub(crate) struct Wire<'a> {
    pub(crate) core: &'a Core,
    pub(crate) now: Instant,
    pub(crate) incoming: &'a [&'a [u8]],
    pub(crate) way_out: &'a mut WayOut,
}

/// Segments without anything in them that smoltcp may write in a row. 0.14 writes them without end once the time of a
/// probe for a closed window has come and everything, the end included, is acknowledged.
const MOST_EMPTY: u32 = 4;

/// A connection's way out, and what left by it.
#[derive(Debug)]
pub(crate) struct WayOut {
    sender: Sender,
    /// The type of service, or traffic class, that packets have.
    pub(crate) class: u8,
    /// Segments that left.
    pub(crate) segments: u32,
    /// Segments without anything in them that smoltcp wrote in a row, unasked.
    empty: u32,
    /// When data left last.
    pub(crate) data_at: Option<Instant>,
    /// The numbers that smoltcp's last segment ended with.
    pub(crate) last: Option<Last>,
    /// What smoltcp's segments pass, and those that come, before they are sent or seen.
    pub(crate) recovery: Recovery,
}

impl WayOut {
    pub(crate) fn new(flow: FlowKey, recovery: RecoveryConfig) -> Self {
        let recovery = Recovery::new(recovery);
        Self { sender: Sender::new(flow), class: 0, segments: 0, empty: 0, data_at: None, last: None, recovery }
    }

    pub(crate) fn destination(&self) -> IpAddr {
        self.sender.flow().destination
    }

    /// smoltcp wrote a packet.
    fn take(&mut self, now: Instant, packet: Vec<u8>, length: usize, segment: Option<usize>) {
        if let Some(left) = Segment::parse(&packet[..length]) {
            self.empty = if left.end() == left.sequence { self.empty + 1 } else { 0 };
            self.last = Some(Last { sequence: left.end(), acknowledge: left.acknowledge });
        }
        self.recovery.handle_outgoing(now, packet, length, segment);
    }

    /// smoltcp is about to act, or to see a segment.
    pub(crate) fn begin(&mut self) {
        self.empty = 0;
    }

    /// Whether smoltcp would go on writing segments without anything in them.
    pub(crate) fn goes_round(&self) -> bool {
        self.empty >= MOST_EMPTY
    }

    /// Sends what may leave now.
    pub(crate) fn flush(&mut self, core: &Core, now: Instant) {
        while let Some(Transmit { headers, payload, segment, .. }) = self.recovery.poll_transmit(now) {
            ip::set_class(headers, self.class);
            let cut = Segments::cut(headers, payload, segment);
            self.segments = self.segments.wrapping_add(u32::try_from(cut.count()).unwrap_or(1));
            if !payload.is_empty() {
                self.data_at = Some(now);
            }
            self.sender.send(core, now, &cut);
        }
    }

    /// What others learnt of the path is for a connection that is being made.
    pub(crate) fn recall(&mut self, core: &Core, now: Instant) {
        if core.stream_defaults.remember_paths
            && let Some(path) = self.sender.path(core, now)
        {
            self.recovery.set_memory(&core.stack.memories.of(now, self.destination(), path));
        }
    }

    /// What it learnt is for others.
    pub(crate) fn bequeath(&mut self, core: &Core, now: Instant) {
        if let Some(path) = self.sender.path(core, now) {
            core.stack.memories.learn(now, self.destination(), path, self.recovery.learnt());
        }
    }

    /// Packets go another way now.
    pub(crate) fn path_changed(&mut self, core: &Core, now: Instant) {
        let path = self.sender.path(core, now);
        let known = path.map(|path| core.stack.memories.of(now, self.destination(), path)).unwrap_or_default();
        self.recovery.handle_path_change(now, &known);
    }
}

/// What the device can do: no checksums, large segments over IPv4.
pub(crate) fn capabilities() -> DeviceCapabilities {
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = ntm_node::VIRTUAL_MTU;
    capabilities.checksum = ChecksumCapabilities::ignored();
    capabilities.segmentation.tcpv4 = NonZeroUsize::new(MAX_SEGMENT);
    // Not over IPv6: smoltcp 0.14 asks for large segments there as well, and then drops them as unsendable.
    capabilities
}

pub(crate) fn stack_time(now: Instant) -> StackInstant {
    StackInstant::from_micros(i64::try_from(now.as_nanos() / 1_000).unwrap_or(i64::MAX))
}

pub(crate) struct Incoming<'a>(Cow<'a, [u8]>);

pub(crate) struct Outgoing<'a> {
    core: &'a Core,
    now: Instant,
    way_out: &'a mut WayOut,
    segment: Option<usize>,
}

impl<'a> Wire<'a> {
    /// The next packet that smoltcp is to see.
    fn next_inward(&mut self) -> Option<Cow<'a, [u8]>> {
        let recovery = &mut self.way_out.recovery;
        loop {
            if let Some(packet) = recovery.poll_inward() {
                return Some(Cow::Owned(packet));
            }
            let (first, rest) = self.incoming.split_first()?;
            self.incoming = rest;
            if recovery.handle_incoming(self.now, first, Ecn::NotCapable) {
                return Some(Cow::Borrowed(first));
            }
        }
    }
}

impl Device for Wire<'_> {
    type RxToken<'b>
        = Incoming<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Outgoing<'b>
    where
        Self: 'b;

    fn receive(&mut self, _: StackInstant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        let packet = self.next_inward()?;
        // What answers a segment has its reason.
        self.way_out.begin();
        let outgoing = Outgoing { core: self.core, now: self.now, way_out: self.way_out, segment: None };
        Some((Incoming(packet), outgoing))
    }

    fn transmit(&mut self, _: StackInstant) -> Option<Outgoing<'_>> {
        (!self.way_out.goes_round()).then_some(Outgoing {
            core: self.core,
            now: self.now,
            way_out: self.way_out,
            segment: None,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities()
    }
}

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = self.way_out.recovery.buffer(length);
        let result = f(&mut packet[..length]);
        self.way_out.take(self.now, packet, length, self.segment);
        self.way_out.flush(self.core, self.now);
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size.map(|size| usize::from(size.get()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(data: usize) -> Vec<u8> {
        let mut packet = vec![0; 40 + data];
        let ends = [1, 2].map(|last| IpAddr::from([198, 18, 0, last]));
        ip::write_header(&mut packet, ends[0], ends[1], ip::TCP, ip::Stamp::default(), 20 + data);
        packet[32] = 5 << 4;
        packet[33] = ip::TCP_ACK;
        packet
    }

    #[test]
    fn segments_with_nothing_in_them_come_to_an_end_and_others_do_not() {
        let ends = [1, 2].map(|last| IpAddr::from([198, 18, 0, last]));
        let [source, destination] = ends;
        let flow = FlowKey { source, destination, protocol: ip::TCP, source_port: 1, destination_port: 2 };
        let mut way_out = WayOut::new(flow, RecoveryConfig::default());
        let take = |way_out: &mut WayOut, data| {
            way_out.take(Instant::from_millis(1), packet(data), 40 + data, None);
            way_out.goes_round()
        };
        let until_stopped = (1..100).find(|_| take(&mut way_out, 0));
        assert_eq!(until_stopped, Some(MOST_EMPTY));
        way_out.begin();
        assert!((0..100).all(|_| !take(&mut way_out, 0) && !take(&mut way_out, 7)));
    }
}
