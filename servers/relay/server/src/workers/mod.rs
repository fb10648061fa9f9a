//! The data path: one worker a core, each with a shard of the relay and with sockets of its own.
//!
//! A grant lives in one shard, whose number its token's serial gives; the indices it is given lead to the same shard.
//! So workers share nothing while they forward: the kernel [steers](steer) each datagram to its shard, and what
//! lands elsewhere is [posted](post).

mod post;
mod sockets;
mod steer;
mod train;
mod worker;

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::channel;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use mio::{Poll, Waker};
use ntm_relay::{Capacity, Changes, Config, Elsewhere, Relay, Shard};
use ntm_server::clock::{Clock, random};
use ntm_server::{Failure, ResultExt as _};

pub(crate) use post::{Letter, Post, STREAMS};
pub(crate) use worker::Account;
use worker::{BELL, Board, Desk, Order, Out, Worker};

use crate::stream::Streams;
use post::Bell;

/// All workers of the relay. When it is dropped they go on: [`stop`](Self::stop) them.
#[derive(Debug)]
pub(crate) struct Workers {
    workers: Vec<Handle>,
    post: Arc<Post>,
    /// What each of them may take on.
    share: Capacity,
    /// Where the relay listens, ports filled in.
    pub(crate) listens: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Handle {
    desk: Desk,
    board: Board,
    thread: JoinHandle<()>,
}

impl Workers {
    /// Opens the sockets and starts `count` workers. The first talks to the direction servers.
    pub(crate) fn start(
        config: &Config,
        listen: &[SocketAddr],
        count: u32,
        clock: Clock,
        streams: &Arc<Streams>,
    ) -> Result<Self, Failure> {
        let ports = sockets::open(listen, count)?;
        let listens = ports[0].iter().map(|port| port.local(None)).collect();
        let polls = (0..count).map(|_| Poll::new()).collect::<Result<Vec<_>, _>>().context("cannot poll sockets")?;
        let bells = polls
            .iter()
            .map(|poll| Waker::new(poll.registry(), BELL).map(Bell::new))
            .collect::<Result<Vec<_>, _>>()
            .context("cannot poll sockets")?;
        let (post, letters) = Post::new(&bells);
        let post = Arc::new(post);
        let is_here = |address| is_own(address) && ports[0].iter().any(|port| port.sends_from(address));
        let translated: Vec<_> = config.addresses.iter().copied().filter(|address| !is_here(*address)).collect();
        let (desks, inboxes): (Vec<_>, Vec<_>) = bells
            .iter()
            .map(|bell| {
                let (orders, inbox) = channel();
                (Desk { orders, bell: bell.clone() }, inbox)
            })
            .unzip();
        let share = share(config.capacity, count);
        let mut workers = Vec::with_capacity(ports.len());
        let parts = ports.into_iter().zip(polls).zip(bells).zip(letters).zip(inboxes);
        for (number, ((((ports, poll), bell), letters), orders)) in (0..).zip(parts) {
            let mut config = Config { capacity: share, ..config.clone() };
            if number > 0 {
                config.directors.clear();
            }
            let desk = desks[number as usize].clone();
            let others = desks.iter().enumerate().filter(|(other, _)| *other != number as usize);
            let board = Board::default();
            let worker = Worker {
                number,
                relay: Relay::new_shard(clock.now(), config, random(), Shard { number, of: count }),
                poll,
                bell,
                letters,
                orders,
                clock,
                board: board.clone(),
                colleagues: others.map(|(_, desk)| desk.clone()).collect(),
                out: Out {
                    ports,
                    post: post.clone(),
                    streams: streams.clone(),
                    translated: translated.clone(),
                    account: Account::default(),
                },
            };
            let thread = std::thread::Builder::new().name(format!("worker {number}")).spawn(move || {
                if let Err(why) = worker.run() {
                    tracing::error!("worker {number} ended: {why}");
                }
            });
            let thread = thread.context("cannot start a worker")?;
            workers.push(Handle { desk, board, thread });
        }
        Ok(Self { workers, post, share, listens })
    }

    pub(crate) fn post(&self) -> &Arc<Post> {
        &self.post
    }

    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Whether one of the workers has ended, which none does unasked.
    pub(crate) fn is_broken(&self) -> bool {
        self.workers.iter().any(|worker| worker.thread.is_finished())
    }

    /// Where the workers write down what they do.
    pub(crate) fn ledger(&self) -> Ledger {
        Ledger { boards: self.workers.iter().map(|worker| worker.board.clone()).collect(), post: self.post.clone() }
    }

    pub(crate) fn adopt(&mut self, changes: &Changes) {
        self.share = share(changes.capacity, u32::try_from(self.workers.len()).unwrap_or(1));
        for (number, worker) in self.workers.iter().enumerate() {
            let mut changes = Changes { capacity: self.share, ..changes.clone() };
            if number > 0 {
                changes.directors.clear();
            }
            worker.desk.order(Order::Adopt(Box::new(changes)));
        }
    }

    pub(crate) fn drain(&self) {
        self.workers.iter().for_each(|worker| worker.desk.order(Order::Drain));
    }

    /// Tells each worker what it must know of the others and of the calendar clock.
    pub(crate) fn reconcile(&self, clock: Clock) {
        let accounts: Vec<_> = self.workers.iter().map(|worker| worker.account()).collect();
        if let Some(first) = self.workers.first() {
            let others = accounts.iter().skip(1);
            let grants = others.clone().map(|account| account.relay.grants).sum();
            let forwarded_bytes = others.map(|account| account.relay.forwarded_bytes).sum();
            let room = self.share.grants * (self.workers.len() - 1);
            first.desk.order(Order::Elsewhere(Elsewhere { grants, room, forwarded_bytes }));
        }
        for worker in &self.workers {
            worker.desk.order(Order::Wall(clock.wall()));
        }
    }

    /// Stops the workers and waits for them.
    pub(crate) fn stop(self) {
        self.workers.iter().for_each(|worker| worker.desk.order(Order::Stop));
        for worker in self.workers {
            let _ = worker.thread.join();
        }
    }
}

impl Handle {
    fn account(&self) -> Account {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What all workers have done.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    boards: Vec<Board>,
    post: Arc<Post>,
}

impl Ledger {
    pub(crate) fn accounts(&self) -> Vec<Account> {
        self.boards.iter().map(|board| board.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }

    /// Datagrams that found no room on their way to another worker.
    pub(crate) fn letters_dropped(&self) -> u64 {
        self.post.dropped()
    }
}

/// What one shard may take on; serials spread grants evenly, so a part for each and a little over fits all.
fn share(whole: Capacity, shards: u32) -> Capacity {
    let part = whole.grants.div_ceil(shards as usize);
    Capacity { grants: if shards > 1 { part + part / 8 + 1 } else { part }, ..whole }
}

/// Whether an address is one of this host's.
fn is_own(address: SocketAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(address.ip(), 0)).is_ok()
}
