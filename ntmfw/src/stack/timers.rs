//! When what must happen: the engine's next wish, and each connection's.

use std::cmp::{Ordering as Order, Reverse};
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use ntm_proto::time::Instant;

use crate::stack::tcp::Connection;
use crate::sync::Lock;

const NEVER: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Timers {
    /// In nanoseconds.
    engine: AtomicU64,
    connections: Lock<BinaryHeap<Reverse<Due>>>,
}

#[derive(Debug)]
struct Due {
    at: Instant,
    connection: Weak<Connection>,
}

impl Default for Timers {
    fn default() -> Self {
        Self { engine: AtomicU64::new(NEVER), connections: Lock::default() }
    }
}

impl Timers {
    /// Notes the engine's next wish; whether it is sooner than the last one.
    pub(crate) fn set_engine(&self, at: Option<Instant>) -> bool {
        let new = at.map_or(NEVER, Instant::as_nanos);
        let old = self.engine.swap(new, Ordering::SeqCst);
        new < old
    }

    pub(crate) fn engine_is_due(&self, now: Instant) -> bool {
        self.engine.load(Ordering::SeqCst) <= now.as_nanos()
    }

    /// Wakes the connection then. Each has at most one entry that matters: the connection remembers which.
    pub(crate) fn add(&self, at: Instant, connection: &Arc<Connection>) {
        self.connections.lock().push(Reverse(Due { at, connection: Arc::downgrade(connection) }));
    }

    /// The next connection whose time has come.
    pub(crate) fn pop_due(&self, now: Instant) -> Option<(Instant, Arc<Connection>)> {
        let mut connections = self.connections.lock();
        loop {
            if connections.peek().is_none_or(|due| due.0.at > now) {
                return None;
            }
            let Reverse(due) = connections.pop()?;
            if let Some(connection) = due.connection.upgrade() {
                return Some((due.at, connection));
            }
        }
    }

    /// When something is due next.
    pub(crate) fn next(&self) -> Option<Instant> {
        let connection = self.connections.lock().peek().map_or(NEVER, |due| due.0.at.as_nanos());
        let next = connection.min(self.engine.load(Ordering::SeqCst));
        (next != NEVER).then(|| Instant::from_nanos(next))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Order {
        self.at.cmp(&other.at)
    }
}
