//! Nodes whose network lets no UDP through: their datagrams come through a TLS connection (`docs/protocol/tls.md`).
//!
//! A connection carries datagrams to two kinds of places and no other: to this relay itself, where they are treated like any
//! that came by UDP, and to the domain's direction servers, through a UDP socket that the connection has for itself. What
//! a connection sends is bounded in size, to direction servers also in kind and rate; what is for a connection that reads too
//! slowly is dropped, and one that reads nothing at all is closed.

mod accept;
mod connection;
mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ntm_proto::wire::stream::Carried;
use tokio::sync::mpsc;

pub(crate) use accept::serve;
pub(crate) use tls::{acceptor, self_signed};

/// Datagrams that wait for one connection.
const MAX_WAITING: usize = 128;

/// The connections that are open, by the address they came from, and what there is to count of all of them.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: RwLock<HashMap<SocketAddr, mpsc::Sender<Vec<u8>>>>,
    /// Where datagrams for direction servers may go.
    directors: RwLock<Arc<[SocketAddr]>>,
    pub(crate) counts: Counts,
}

/// Counters of all connections together; they only rise.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) accepted: AtomicU64,
    /// Connections above the bound, of all or of one address.
    pub(crate) refused: AtomicU64,
    /// Connections that did not finish their handshake.
    pub(crate) handshakes_failed: AtomicU64,
    /// Connections closed because of what they sent, or that they read nothing.
    pub(crate) misbehaved: AtomicU64,
    pub(crate) to_relay: AtomicU64,
    pub(crate) to_directors: AtomicU64,
    pub(crate) from_directors: AtomicU64,
    /// Datagrams for somebody else than this relay and its direction servers, or of a kind that those do not take.
    pub(crate) forbidden: AtomicU64,
    /// Datagrams for direction servers above a connection's rate.
    pub(crate) rate_limited: AtomicU64,
    /// Datagrams for connections that read too slowly, or are gone.
    pub(crate) dropped: AtomicU64,
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Streams {
    /// Sends a datagram of the relay's to the node at the other end of a connection.
    pub(crate) fn send(&self, to: SocketAddr, datagram: &[u8]) {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let sent = open.get(&to).is_some_and(|connection| connection.try_send(Carried::Relay(datagram).emit()).is_ok());
        if !sent {
            count(&self.counts.dropped);
        }
    }

    pub(crate) fn set_directors(&self, addresses: impl Iterator<Item = SocketAddr>) {
        *self.directors.write().unwrap_or_else(PoisonError::into_inner) = addresses.collect();
    }

    /// How many connections are open.
    pub(crate) fn len(&self) -> usize {
        self.open.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn is_director(&self, address: SocketAddr) -> bool {
        self.directors.read().unwrap_or_else(PoisonError::into_inner).contains(&address)
    }

    fn insert(&self, address: SocketAddr, connection: mpsc::Sender<Vec<u8>>) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(address, connection);
    }

    fn remove(&self, address: SocketAddr) {
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&address);
    }
}
