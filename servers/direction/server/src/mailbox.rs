//! How other threads speak to the driver's.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use mio::Waker;
use ntm_direction::{Config, ForeignDc, Found, LookupFailed, NotStored, Stored};
use ntm_proto::id::{Fqdn, NodeId};
use ntm_proto::wire::message::Target;

/// Letters that the driver has not read; who writes one more waits.
const MAX_LETTERS: usize = 1 << 16;

/// What the driver is told.
#[derive(Debug)]
pub(crate) enum Letter {
    Stored(NodeId, Result<Box<Stored>, NotStored>),
    NodeFound(Target, Result<Option<Found>, LookupFailed>),
    /// A node registered with a sibling.
    Elsewhere(NodeId, u64),
    DomainFound(Fqdn, Box<Result<ForeignDc, LookupFailed>>),
    Revoked(Vec<NodeId>),
    Configure(Box<Config>),
    Stop,
}

/// The slit of the driver's mailbox; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    letters: SyncSender<Letter>,
    waker: Arc<Waker>,
}

impl Mailbox {
    pub(crate) fn new(waker: Waker) -> (Self, Receiver<Letter>) {
        let (letters, received) = sync_channel(MAX_LETTERS);
        (Self { letters, waker: Arc::new(waker) }, received)
    }

    /// Hands a letter in. False where the driver is gone.
    pub(crate) fn post(&self, letter: Letter) -> bool {
        self.post_quietly(letter) && self.waker.wake().is_ok()
    }

    /// Has the driver read what was handed in.
    pub(crate) fn wake(&self) {
        let _ = self.waker.wake();
    }

    /// Hands a letter in that need not be read before one that is [posted](Self::post).
    pub(crate) fn post_quietly(&self, letter: Letter) -> bool {
        match self.letters.try_send(letter) {
            Ok(()) => true,
            Err(std::sync::mpsc::TrySendError::Disconnected(_)) => false,
            Err(std::sync::mpsc::TrySendError::Full(letter)) => {
                let _ = self.waker.wake();
                self.letters.send(letter).is_ok()
            }
        }
    }
}
