//! How datagrams that are for another worker get there, and how those of streams get to a worker: bounded queues, and
//! what does not fit is dropped, as a network would.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use mio::Waker;
use ntm_relay::shard::shard_of;

/// Datagrams that wait for one worker.
const MAX_WAITING: usize = 4_096;

/// The relay's "own address" of everything that comes through a stream. No datagram can come to port 0, so it is
/// never mistaken for one of the sockets'.
pub(crate) const STREAMS: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0);

/// A datagram, as if it had just been received.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) local: SocketAddr,
    pub(crate) from: SocketAddr,
    pub(crate) datagram: Vec<u8>,
}

/// The letter boxes of all workers.
#[derive(Debug)]
pub(crate) struct Post {
    boxes: Vec<LetterBox>,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct LetterBox {
    letters: SyncSender<Letter>,
    bell: Arc<Bell>,
}

/// Wakes a worker, once until it has looked.
#[derive(Debug)]
pub(crate) struct Bell {
    waker: Waker,
    rung: AtomicBool,
}

impl Bell {
    pub(crate) fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self { waker, rung: AtomicBool::new(false) })
    }

    pub(crate) fn ring(&self) {
        // Whoever rings second leaves what he brings to the look that the first ring causes: `SeqCst` on both sides
        // orders "bring, then ring" against "stop the bell, then look".
        if !self.rung.swap(true, Ordering::SeqCst) {
            // Only a closed poll refuses, and then there is nobody to wake.
            let _: io::Result<()> = self.waker.wake();
        }
    }

    /// To be called before looking.
    pub(crate) fn stop(&self) {
        self.rung.store(false, Ordering::SeqCst);
    }
}

impl Post {
    /// Letter boxes for the workers with these bells, and what each of them takes its letters from.
    pub(crate) fn new(bells: &[Arc<Bell>]) -> (Self, Vec<Receiver<Letter>>) {
        let mut boxes = Vec::with_capacity(bells.len());
        let mut receivers = Vec::with_capacity(bells.len());
        for bell in bells {
            let (letters, receiver) = sync_channel(MAX_WAITING);
            boxes.push(LetterBox { letters, bell: bell.clone() });
            receivers.push(receiver);
        }
        (Self { boxes, dropped: AtomicU64::new(0) }, receivers)
    }

    /// The worker that a datagram must go to; none where it may stay.
    pub(crate) fn owner(&self, datagram: &[u8]) -> Option<u32> {
        match self.boxes.len() {
            0 | 1 => None,
            shards => shard_of(datagram, u32::try_from(shards).ok()?),
        }
    }

    /// Sends a letter to `worker`, or drops it and counts that.
    pub(crate) fn send(&self, worker: u32, letter: Letter) {
        let Some(to) = self.boxes.get(worker as usize) else { return };
        match to.letters.try_send(letter) {
            Ok(()) => to.bell.ring(),
            Err(_) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
