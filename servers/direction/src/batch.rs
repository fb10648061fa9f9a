//! Datagrams that come together.
//!
//! Among a million nodes nearly every datagram meets a session and a node that no cache holds, and most of what
//! it costs is waiting for memory: first for the session, then, once that has opened it, for the node. The
//! rows of a whole batch are known beforehand, and a processor that reads them one after the other waits
//! for many at once.

use core::hint::black_box;
use core::net::SocketAddr;

use ntm_proto::time::Instant;
use ntm_proto::wire::outer::Data;

use crate::coordinator::Coordinator;
use crate::links::Owner;

/// Datagrams whose rows are read ahead: so few that these stay in the first-level cache until they are used.
const AHEAD: usize = 32;

/// A datagram as it came.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// The local address it came to.
    pub local: SocketAddr,
    pub from: SocketAddr,
    /// Opened in place.
    pub bytes: &'a mut [u8],
}

impl Coordinator {
    /// Datagrams that came together, as `recvmmsg` gives them: does what [`Coordinator::handle_datagram`] does
    /// with each in turn, and with many nodes takes less time for it.
    pub fn handle_batch(&mut self, now: Instant, batch: &mut [Datagram<'_>]) {
        for some in batch.chunks_mut(AHEAD) {
            self.read_ahead(some);
            for Datagram { local, from, bytes } in some {
                self.handle_datagram(now, *local, *from, bytes);
            }
        }
    }

    /// Brings the rows of the datagrams into the caches, the sessions before the nodes that they lead to.
    fn read_ahead(&self, batch: &[Datagram<'_>]) {
        let indices = || batch.iter().filter_map(|datagram| Data::parse(datagram.bytes).ok()).map(|data| data.receiver);
        let sessions = indices().fold(0, |read, index| read ^ self.links.read_ahead(index));
        let nodes = indices().fold(0, |read, index| match self.links.owner(index) {
            Some(Owner::Node(row)) => read ^ self.registry.read_ahead(row),
            _ => read,
        });
        // Nobody wants the words; but what nobody wants is not read.
        black_box(sessions ^ nodes);
    }
}
