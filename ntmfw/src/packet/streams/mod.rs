//! TLS connections to relays, for networks that let no UDP through (`docs/protocol/tls.md`).
//!
//! ```text
//! engine ──orders, frames──▶ [letters] ──▶ one thread of its own, TLS ──▶ relay
//! reader ◀── news, frames ─── [news] ◀────────────┘
//! ```
//! Nothing of it exists before the engine asks for the first connection. Whoever reads the ports reads the news as well, so what
//! comes by TLS wakes threads as what comes by UDP does.

mod connection;
mod worker;

use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ntm_node::{StreamId, StreamOrder};
use once_cell::sync::OnceCell;

use crate::bell::Bell;
use crate::runtime::Core;
use crate::sync::Lock;

/// Letters and news that wait; frames on top are lost, as datagrams for a full socket are.
const MAX_POST: usize = 4_096;

/// To the thread.
#[derive(Debug)]
enum Letter {
    Open(Opening),
    Send(StreamId, Vec<u8>),
    Close(StreamId),
}

/// A connection that is wanted.
#[derive(Debug)]
struct Opening {
    id: StreamId,
    /// The local address; its port does not count.
    from: SocketAddr,
    /// The device that the address is of.
    device: Option<Vec<u8>>,
    relay: SocketAddr,
}

/// From the thread.
#[derive(Debug)]
enum News {
    Up(StreamId),
    Down(StreamId),
    Frame(StreamId, Vec<u8>),
}

/// What the thread and the others pass each other.
#[derive(Debug)]
struct Post {
    letters: Lock<Vec<Letter>>,
    letters_came: Bell,
    news: Lock<Vec<News>>,
    news_came: Bell,
    has_news: AtomicBool,
}

/// All connections of this node.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Where relays listen for TLS.
    port: u16,
    post: OnceCell<Arc<Post>>,
}

impl Streams {
    pub(crate) fn new(port: u16) -> Self {
        Self { port, post: OnceCell::new() }
    }

    /// The engine wants a connection, or no longer.
    pub(crate) fn obey(&self, core: &Core, order: StreamOrder) {
        match order {
            StreamOrder::Open { id, interface, from, relay } => {
                // Without descriptors there is no connection, and the engine tries again.
                let Ok(post) = self.post.get_or_try_init(|| Post::start(core)) else { return };
                let relay = SocketAddr::new(relay.ip(), self.port);
                let device = core.ports.find(interface, from).and_then(|port| port.device());
                post.write(Letter::Open(Opening { id, from, device, relay }));
            }
            StreamOrder::Close(id) => self.write(Letter::Close(id)),
        }
    }

    /// A frame of the engine leaves by a connection.
    pub(crate) fn send(&self, id: StreamId, frame: Vec<u8>) {
        self.write(Letter::Send(id, frame));
    }

    fn write(&self, letter: Letter) {
        if let Some(post) = self.post.get() {
            post.write(letter);
        }
    }

    /// What can be read while there is something to [`receive`](Self::receive).
    pub(crate) fn source(&self) -> Option<RawFd> {
        self.post.get().map(|post| post.news_came.as_raw_fd())
    }

    /// Hands in what came; gives how much that was.
    pub(crate) fn receive(&self, core: &Core) -> usize {
        let Some(post) = self.post.get().filter(|post| post.has_news.load(Ordering::Acquire)) else { return 0 };
        let news = post.take_news();
        let (count, now) = (news.len(), core.now());
        let packets: Vec<Vec<u8>> = core.engine(|node| {
            news.into_iter()
                .filter_map(|news| match news {
                    News::Up(id) => {
                        node.handle_stream_up(now, id);
                        None
                    }
                    News::Down(id) => {
                        node.handle_stream_down(now, id);
                        None
                    }
                    News::Frame(id, mut frame) => {
                        node.handle_frame(now, id, &mut frame).map(|received| received.packet.into_owned())
                    }
                })
                .collect()
        });
        let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        core.stack.handle_packets(core, now, &packets);
        count
    }
}

impl Post {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            letters: Lock::default(),
            letters_came: Bell::new()?,
            news: Lock::default(),
            news_came: Bell::new()?,
            has_news: AtomicBool::new(false),
        })
    }

    fn start(core: &Core) -> std::io::Result<Arc<Self>> {
        let post = Arc::new(Self::new()?);
        core.reader.watch(&post.news_came)?;
        worker::start(post.clone())?;
        // Who waits for the ports must wait for the news as well.
        core.reader.kick();
        Ok(post)
    }

    fn write(&self, letter: Letter) {
        let mut letters = self.letters.lock();
        if letters.len() >= MAX_POST && matches!(letter, Letter::Send(..)) {
            return;
        }
        letters.push(letter);
        if letters.len() == 1 {
            self.letters_came.ring();
        }
    }

    fn take_letters(&self) -> Vec<Letter> {
        let mut letters = self.letters.lock();
        self.letters_came.silence();
        std::mem::take(&mut *letters)
    }

    fn tell(&self, news: News) {
        let mut all = self.news.lock();
        if all.len() >= MAX_POST && matches!(news, News::Frame(..)) {
            return;
        }
        all.push(news);
        if all.len() == 1 {
            self.has_news.store(true, Ordering::Release);
            self.news_came.ring();
        }
    }

    fn take_news(&self) -> Vec<News> {
        let mut all = self.news.lock();
        self.has_news.store(false, Ordering::Release);
        self.news_came.silence();
        std::mem::take(&mut *all)
    }
}

#[cfg(test)]
mod tests;
