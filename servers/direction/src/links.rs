//! Sessions with nodes, a million at a time.
//!
//! A node's session is two raw keys, a counter and a small replay window; the cipher is made ready anew for
//! each datagram, which costs less than the cache misses of the expanded keys it would keep (AWS-LC's
//! take more than 500 bytes each). The session index names the row directly, so that no
//! hash stands between a datagram and its keys:
//!
//! ```text
//! session index   generation(10 bits)  row(22 bits)
//! ```
//!
//! The generation rises with every use of a row: a datagram of the row's last owner is counted as
//! unknown, not as forged. Other domains' DCs and the relays are few; their sessions live in
//! [`Session`](ntm_proto::session::pair::Session) and only their indices stand here.

use core::ops::Range;

use ntm_proto::crypto::{Provider, Secret, Suite};
use ntm_proto::id::SessionIndex;
use ntm_proto::session::handshake::Established;
use ntm_proto::session::pair::REJECT_AFTER;
use ntm_proto::session::replay::{ReplayWindow, SIGNAL_WINDOW_WORDS};
use ntm_proto::session::transport::{OpenError, OpeningKey, SealingKey};
use ntm_proto::time::Instant;
use ntm_proto::wire::outer::Data;

use crate::limits::MAX_LINKS;
use crate::slab::Slab;

const ROW_BITS: u32 = MAX_LINKS.trailing_zeros();
const GENERATIONS: u16 = 1 << (32 - ROW_BITS);

/// Who is at the other end of a session index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A registered node.
    Node(u32),
    /// A handshake that was answered and not confirmed.
    HalfOpen(u32),
    /// Another server.
    Peer(u32),
}

/// The rows behind the session indices this coordinator gave out.
#[derive(Debug)]
pub(crate) struct Links {
    rows: Slab<Row>,
    /// Of each row ever used: what its next use gets.
    generations: Vec<u16>,
}

#[derive(Debug)]
struct Row {
    owner: Owner,
    generation: u16,
    /// `None` while a handshake is in flight, and for peers always.
    keys: Option<Keys>,
}

#[derive(Debug)]
struct Keys {
    send: Secret,
    receive: Secret,
    window: ReplayWindow<SIGNAL_WINDOW_WORDS>,
    sent: u64,
    since: Instant,
    remote: SessionIndex,
    suite: Suite,
}

/// A data datagram of a node, opened.
#[derive(Debug)]
pub(crate) struct OpenedLink {
    pub(crate) row: u32,
    pub(crate) owner: Owner,
    pub(crate) plaintext: Range<usize>,
    /// Nothing sent later has come before.
    pub(crate) newest: bool,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self { rows: Slab::new(MAX_LINKS), generations: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A new index for `owner`; `None` where all are taken.
    pub(crate) fn reserve(&mut self, owner: Owner) -> Option<SessionIndex> {
        let row = self.rows.insert(Row { owner, generation: 0, keys: None }).ok()?;
        if row as usize >= self.generations.len() {
            self.generations.resize(row as usize + 1, 0);
        }
        let generation = self.generations[row as usize];
        self.rows.get_mut(row)?.generation = generation;
        Some(SessionIndex(u32::from(generation) << ROW_BITS | row))
    }

    pub(crate) fn establish(&mut self, now: Instant, row: u32, established: &Established) {
        if let Some(slot) = self.rows.get_mut(row) {
            slot.keys = Some(Keys {
                send: established.send.clone(),
                receive: established.receive.clone(),
                window: ReplayWindow::new(),
                sent: 0,
                since: now,
                remote: established.remote,
                suite: established.suite,
            });
        }
    }

    pub(crate) fn set_owner(&mut self, row: u32, owner: Owner) {
        if let Some(row) = self.rows.get_mut(row) {
            row.owner = owner;
        }
    }

    /// Whose index it is.
    pub(crate) fn owner(&self, index: SessionIndex) -> Option<Owner> {
        let row = self.row(index)?;
        self.rows.get(row).map(|row| row.owner)
    }

    pub(crate) fn remove(&mut self, row: u32) {
        if self.rows.remove(row).is_some()
            && let Some(generation) = self.generations.get_mut(row as usize)
        {
            *generation = (*generation + 1) % GENERATIONS;
        }
    }

    pub(crate) fn remove_index(&mut self, index: SessionIndex) {
        if let Some(row) = self.row(index) {
            self.remove(row);
        }
    }

    /// Opens a data datagram in place, once.
    pub(crate) fn open(
        &mut self,
        provider: &'static dyn Provider,
        now: Instant,
        datagram: &mut [u8],
    ) -> Result<OpenedLink, OpenError> {
        let Data { receiver: index, counter, .. } = Data::parse(datagram).map_err(|_| OpenError::Malformed)?;
        let number = self.row(index).ok_or(OpenError::UnknownIndex)?;
        let row = self.rows.get_mut(number).ok_or(OpenError::UnknownIndex)?;
        let keys = row.keys.as_mut().ok_or(OpenError::UnknownIndex)?;
        if now.since(keys.since) >= REJECT_AFTER {
            return Err(OpenError::UnknownIndex);
        }
        keys.window.check(counter)?;
        let opening = OpeningKey::new(provider, keys.suite, &keys.receive);
        let (counter, plaintext) = opening.open_in_place(datagram)?;
        let newest = keys.window.highest().is_none_or(|highest| counter > highest);
        keys.window.accept(counter)?;
        Ok(OpenedLink { row: number, owner: row.owner, plaintext, newest })
    }

    /// Seals `plaintext` for the node behind the row; `None` where its keys are too old or worn.
    pub(crate) fn seal(
        &mut self,
        provider: &'static dyn Provider,
        now: Instant,
        row: u32,
        plaintext: &[u8],
    ) -> Option<Vec<u8>> {
        let keys = self.rows.get_mut(row)?.keys.as_mut()?;
        if now.since(keys.since) >= REJECT_AFTER {
            return None;
        }
        let key = SealingKey::resume(provider, keys.suite, &keys.send, keys.remote, keys.sent);
        let datagram = key.seal(plaintext).ok()?;
        keys.sent += 1;
        Some(datagram)
    }

    /// Whether the row's keys may still be used.
    pub(crate) fn is_fresh(&self, now: Instant, row: u32) -> bool {
        self.expires(row).is_some_and(|expires| now < expires)
    }

    /// When the row's keys may be used no more.
    pub(crate) fn expires(&self, row: u32) -> Option<Instant> {
        Some(self.rows.get(row)?.keys.as_ref()?.since + REJECT_AFTER)
    }

    /// Reads a word of each cache line that opening and answering a datagram will need.
    pub(crate) fn read_ahead(&self, index: SessionIndex) -> u64 {
        let Some(Row { keys: Some(keys), generation, .. }) = self.rows.get(Self::row_of(index)) else { return 0 };
        let [send, receive] = [&keys.send, &keys.receive].map(|key| u64::from(key.expose()[0]));
        u64::from(*generation) ^ keys.sent ^ keys.window.highest().unwrap_or(0) ^ send ^ receive
    }

    pub(crate) fn row_of(index: SessionIndex) -> u32 {
        index.0 & ((1 << ROW_BITS) - 1)
    }

    fn row(&self, index: SessionIndex) -> Option<u32> {
        let row = Self::row_of(index);
        let generation = self.rows.get(row)?.generation;
        (u32::from(generation) == index.0 >> ROW_BITS).then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_not_valid_for_the_next_user_of_its_row() {
        let mut links = Links::new();
        let first = links.reserve(Owner::Node(1)).unwrap();
        assert_eq!(links.owner(first), Some(Owner::Node(1)));
        links.remove_index(first);
        links.remove_index(first);
        assert_eq!(links.owner(first), None);
        let second = links.reserve(Owner::Peer(2)).unwrap();
        assert_eq!(Links::row_of(second), Links::row_of(first));
        assert_eq!((links.owner(first), links.owner(second)), (None, Some(Owner::Peer(2))));
        links.remove_index(first);
        assert_eq!(links.len(), 1);
    }
}
