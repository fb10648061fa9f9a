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

use crate::capture;
use crate::packet::port::Port;
use crate::runtime::Core;
use crate::stack::ip::Segments;

/// What one call to the kernel may carry (the length of an IP packet, less its headers).
const MAX_BATCH: usize = 65_000;

thread_local! {
    /// Where datagrams are put together; never held over a call into the stack.
    static BATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Where they wait for each other while this thread is [`gathering`].
    static GATHERED: RefCell<Option<Gathered>> = const { RefCell::new(None) };
}

/// Single datagrams that leave together: all as long as the first, but for the last.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    count: usize,
    way: Option<Way>,
}

struct Way {
    port: Arc<Port>,
    to: SocketAddr,
    size: usize,
}

/// Lets the single datagrams that this thread sends meanwhile leave in few calls to the kernel.
pub(crate) fn gathering<T>(act: impl FnOnce() -> T) -> T {
    GATHERED.set(Some(Gathered::default()));
    let result = act();
    flush_gathered();
    GATHERED.set(None);
    result
}

/// What was gathered leaves now; to be called before anything that may take time.
pub(crate) fn flush_gathered() {
    GATHERED.with_borrow_mut(|gathered| gathered.iter_mut().for_each(Gathered::flush));
}

impl Gathered {
    /// Room for a datagram of `length` bytes that goes the way of `known`.
    fn room(&mut self, known: &Known, length: usize) -> &mut [u8] {
        let fits = self.way.as_ref().is_some_and(|way| {
            let same_way = way.to == known.route.to && Arc::ptr_eq(&way.port, &known.port);
            let all_whole = self.bytes.len() == self.count * way.size && length <= way.size;
            let has_room = self.bytes.len() + length <= MAX_BATCH && self.count < way.port.max_segments();
            same_way && all_whole && has_room
        });
        if !fits {
            self.flush();
            self.way = Some(Way { port: known.port.clone(), to: known.route.to, size: length });
        }
        let filled = self.bytes.len();
        self.bytes.resize(filled + length, 0);
        self.count += 1;
        &mut self.bytes[filled..]
    }

    /// Takes back the room that was given last.
    fn give_up(&mut self, length: usize) {
        self.bytes.truncate(self.bytes.len() - length);
        self.count -= 1;
    }

    fn flush(&mut self) {
        if let Some(way) = self.way.take()
            && self.count > 0
        {
            way.port.send(way.to, &self.bytes, way.size);
        }
        self.bytes.clear();
        self.count = 0;
    }
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
        capture::sent(cut);
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
        let size = self.datagram_length(cut.largest());
        if cut.count() == 1 {
            let gathered = GATHERED.with_borrow_mut(|gathered| {
                let gathered = gathered.as_mut()?;
                let sealed = self.seal(cut, 0, gathered.room(self, size));
                if sealed.is_err() {
                    gathered.give_up(size);
                }
                Some(sealed)
            });
            if let Some(sealed) = gathered {
                return sealed;
            }
        }
        let per_batch = (MAX_BATCH / size).min(self.port.max_segments()).max(1);
        BATCH.with_borrow_mut(|batch| {
            let mut next = 0;
            while next < cut.count() {
                let until = (next + per_batch).min(cut.count());
                batch.resize(per_batch * size, 0);
                let mut filled = 0;
                for number in next..until {
                    let length = self.datagram_length(cut.length(number));
                    self.seal(cut, number, &mut batch[filled..filled + length])?;
                    filled += length;
                }
                self.port.send(self.route.to, &batch[..filled], size);
                next = until;
            }
            Ok(())
        })
    }

    /// The length of the datagram around a packet.
    fn datagram_length(&self, packet: usize) -> usize {
        self.relayed_header() + DATA_HEADER + packet + TAG
    }

    fn relayed_header(&self) -> usize {
        if self.route.relay.is_some() { RELAYED_HEADER } else { 0 }
    }

    /// Makes a datagram of one packet; `datagram` has its length.
    fn seal(&self, cut: &Segments<'_>, number: usize, datagram: &mut [u8]) -> Result<(), Exhausted> {
        if let Some(index) = self.route.relay {
            write_relayed_header(datagram, index);
        }
        let sealed = &mut datagram[self.relayed_header()..];
        let end = sealed.len() - TAG;
        cut.write(number, &mut sealed[DATA_HEADER..end]);
        self.route.key.seal_in_place(sealed).map(drop).map_err(|_| Exhausted)
    }
}

/// Sends a packet of no flow.
pub(crate) fn send_single(core: &Core, now: Instant, packet: &[u8]) {
    capture::sent(&Segments::whole(packet));
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
