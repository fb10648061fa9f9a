//! What smoltcp believes to be its network device: packets that came, and the flow's way out.

use std::cell::RefCell;
use std::net::IpAddr;
use std::num::NonZeroUsize;

use ntm_node::FlowKey;
use ntm_proto::time::Instant;
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, PacketMeta, RxToken, TxToken};
use smoltcp::time::Instant as StackInstant;

use crate::packet::route::Sender;
use crate::runtime::Core;
use crate::stack::ip;
use crate::stack::remains::Last;
use crate::stack::segment::Segment;

/// The largest segment that is asked of smoltcp in one piece. Cut for the network it fills one batch.
const MAX_SEGMENT: usize = 60_000;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(crate) struct Wire<'a> {
    pub(crate) core: &'a Core,
    pub(crate) now: Instant,
    pub(crate) incoming: &'a [&'a [u8]],
    pub(crate) way_out: &'a mut WayOut,
}

/// A connection's way out, and what left by it.
#[derive(Debug)]
pub(crate) struct WayOut {
    sender: Sender,
    /// The type of service, or traffic class, that packets have.
    pub(crate) class: u8,
    /// Segments that left.
    pub(crate) segments: u32,
    /// When data left last.
    pub(crate) data_at: Option<Instant>,
    /// The numbers that the last segment ended with.
    pub(crate) last: Option<Last>,
}

impl WayOut {
    pub(crate) fn new(flow: FlowKey) -> Self {
        Self { sender: Sender::new(flow), class: 0, segments: 0, data_at: None, last: None }
    }

    pub(crate) fn destination(&self) -> IpAddr {
        self.sender.flow().destination
    }

    fn send(&mut self, core: &Core, now: Instant, packet: &mut [u8], segment: Option<usize>) {
        ip::set_class(packet, self.class);
        if let Some(left) = Segment::parse(packet) {
            let cut = segment.map_or(1, |size| (left.data as usize).div_ceil(size).max(1));
            self.segments = self.segments.wrapping_add(u32::try_from(cut).unwrap_or(1));
            self.last = Some(Last { sequence: left.end(), acknowledge: left.acknowledge });
            if left.data > 0 {
                self.data_at = Some(now);
            }
        }
        self.sender.send(core, now, packet, segment);
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

pub(crate) struct Incoming<'a>(&'a [u8]);

pub(crate) struct Outgoing<'a> {
    core: &'a Core,
    now: Instant,
    way_out: &'a mut WayOut,
    segment: Option<usize>,
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
        let (first, rest) = self.incoming.split_first()?;
        self.incoming = rest;
        let outgoing = Outgoing { core: self.core, now: self.now, way_out: self.way_out, segment: None };
        Some((Incoming(first), outgoing))
    }

    fn transmit(&mut self, _: StackInstant) -> Option<Outgoing<'_>> {
        Some(Outgoing { core: self.core, now: self.now, way_out: self.way_out, segment: None })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities()
    }
}

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        SCRATCH.with_borrow_mut(|scratch| {
            if scratch.len() < length {
                scratch.resize(length, 0);
            }
            let packet = &mut scratch[..length];
            let result = f(packet);
            self.way_out.send(self.core, self.now, packet, self.segment);
            result
        })
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size.map(|size| usize::from(size.get()));
    }
}
