//! Virtual packets out: sealed and sent by the thread that made them.
//!
//! ```text
//! one large TCP segment from the stack                       one sendmsg with segmentation offload
//! ┌────┬─────┬───────────────────────────┐     ┌───────┬──────┬────┬─────┬─────────┬─────┐┌─────── …
//! │ IP │ TCP │ payload, many segments    │ ──▶ │relay? │ data │ IP │ TCP │ payload │ tag ││
//! └────┴─────┴───────────────────────────┘     └───────┴──────┴────┴─────┴─────────┴─────┘└─────── …
//!                                                       └─ header ─┘ └──── sealed ──┘
//! ```
//!
//! A [`Sender`] belongs to one flow and keeps the engine's route for it. Where the engine gives none (no proven
//! path yet, two paths at once, a packet that must be split) the packets take the engine's own way.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ntm_node::{FlowKey, Route};
use ntm_proto::id::InterfaceId;
use ntm_proto::time::Instant;
use ntm_proto::wire::outer::{DATA_HEADER, RELAYED_HEADER, TAG, write_relayed_header};

use crate::packet::port::Port;
use crate::runtime::Core;
use crate::stack::ip::Segments;

/// What one call to the kernel may carry (the length of an IP packet, less its headers).
const MAX_BATCH: usize = 65_000;

thread_local! {
    /// Where datagrams are put together; never held over a call into the stack.
    static BATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What tells a path from others to the same peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PathName {
    pub(crate) interface: InterfaceId,
    pub(crate) to: SocketAddr,
    pub(crate) relayed: bool,
}

/// One flow's way out.
#[derive(Debug)]
pub(crate) struct Sender {
    flow: FlowKey,
    known: Option<Known>,
}

#[derive(Debug)]
struct Known {
    route: Route,
    port: Arc<Port>,
    version: u64,
}

impl Sender {
    pub(crate) fn new(flow: FlowKey) -> Self {
        Self { flow, known: None }
    }

    pub(crate) fn flow(&self) -> &FlowKey {
        &self.flow
    }

    /// The path that packets take, where a single one is proven.
    pub(crate) fn path(&mut self, core: &Core, now: Instant) -> Option<PathName> {
        self.renew(core, now);
        let route = &self.known.as_ref()?.route;
        Some(PathName { interface: route.interface, to: route.to, relayed: route.relay.is_some() })
    }

    /// Sends a virtual packet, or a segment as the packets that it is cut into.
    pub(crate) fn send(&mut self, core: &Core, now: Instant, cut: &Segments<'_>) {
        if core.is_own(self.flow.destination) {
            core.loop_back(cut.uncut());
            return;
        }
        self.renew(core, now);
        match &self.known {
            Some(known) if cut.largest() <= known.route.capacity => {
                if known.send(cut).is_err() {
                    // The key is used up: the engine makes another.
                    self.known = None;
                    send_slowly(core, now, cut);
                }
            }
            _ => send_slowly(core, now, cut),
        }
    }

    fn renew(&mut self, core: &Core, now: Instant) {
        let version = core.route_version.load(Ordering::Acquire);
        if self.known.as_ref().is_some_and(|known| known.version == version && now < known.route.until) {
            return;
        }
        self.known = core.engine(|node| node.route(now, &self.flow)).and_then(|route| {
            let port = match self.known.take() {
                Some(known) if known.port.interface == route.interface && known.port.address == route.from => {
                    known.port
                }
                _ => core.ports.find(route.interface, route.from)?,
            };
            Some(Known { route, port, version })
        });
    }
}

struct Exhausted;

impl Known {
    fn send(&self, cut: &Segments<'_>) -> Result<(), Exhausted> {
        let header = if self.route.relay.is_some() { RELAYED_HEADER } else { 0 };
        let size = header + DATA_HEADER + cut.largest() + TAG;
        let per_batch = (MAX_BATCH / size).min(self.port.max_segments()).max(1);
        BATCH.with_borrow_mut(|batch| {
            let mut next = 0;
            while next < cut.count() {
                let until = (next + per_batch).min(cut.count());
                batch.resize(per_batch * size, 0);
                let mut filled = 0;
                for number in next..until {
                    let length = header + DATA_HEADER + cut.length(number) + TAG;
                    let datagram = &mut batch[filled..filled + length];
                    if let Some(index) = self.route.relay {
                        write_relayed_header(datagram, index);
                    }
                    let sealed = &mut datagram[header..];
                    cut.write(number, &mut sealed[DATA_HEADER..length - header - TAG]);
                    self.route.key.seal_in_place(sealed).map_err(|_| Exhausted)?;
                    filled += length;
                }
                self.port.send(self.route.to, &batch[..filled], size);
                next = until;
            }
            Ok(())
        })
    }
}

/// Sends a packet of no flow.
pub(crate) fn send_single(core: &Core, now: Instant, packet: &[u8]) {
    match FlowKey::of(packet) {
        Some(flow) if core.is_own(flow.destination) => core.loop_back(packet.to_vec()),
        _ => send_slowly(core, now, &Segments::whole(packet)),
    }
}

/// Through the engine, which finds a way or keeps the packet until there is one.
fn send_slowly(core: &Core, now: Instant, cut: &Segments<'_>) {
    let mut packet = vec![0; cut.largest()];
    core.engine(|node| {
        for number in 0..cut.count() {
            let packet = &mut packet[..cut.length(number)];
            cut.write(number, packet);
            // A peer that is not known yet will be, or its connection says that it is not.
            let _ = node.send(now, packet);
        }
    });
}
