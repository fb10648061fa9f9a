//! One worker: a thread with a shard of the relay and a socket for each address.
//!
//! ```text
//!   sockets ──recvmmsg, GRO──► Relay::handle_datagram ──► trains ──GSO──► sockets
//!                 │ for another worker          ▲    └──► streams
//!                 └─────────► Post ─────────────┘
//! ```
//! Invariant: everything in its buffer is sent, handed over or dropped before it receives again, so nothing of the
//! data path is copied or allocated but what is handed over.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use ntm_proto::id::PathId;
use ntm_proto::time::{Instant, WallClock};
use ntm_relay::{Changes, Elsewhere, Relay, Stats};
use ntm_server::clock::Clock;
use quinn_udp::{RecvMeta, Transmit};

use super::post::{Bell, Letter, Post, STREAMS};
use super::sockets::Port;
use super::train::Train;
use crate::stream::Streams;

/// Datagrams, or trains of them, that one call receives.
const BATCH: usize = quinn_udp::BATCH_SIZE;
/// Room for one of them: the largest there is, and a little more, so that the starts of the slots do not all fall
/// into the same few lines of the processor's caches.
const SLOT: usize = 65_536 + 17 * 64;
/// Batches from one socket before the others, the letters and the orders have their turn.
const BATCHES_A_TURN: usize = 8;
/// Letters read in one turn.
const LETTERS_A_TURN: usize = 256;
/// How often a busy worker writes down what it has done.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
/// The bell's token; the ports' are their numbers.
pub(super) const BELL: Token = Token(usize::MAX);

/// What control asks of a worker.
#[derive(Debug)]
pub(crate) enum Order {
    Adopt(Box<Changes>),
    Revoke(PathId),
    Elsewhere(Elsewhere),
    Wall(WallClock),
    Drain,
    Stop,
}

/// What a worker has done so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    pub(crate) relay: Stats,
    /// Datagrams received, by socket or letter.
    pub(crate) received: u64,
    /// Calls of the kernel that brought them.
    pub(crate) batches: u64,
    /// Datagrams that landed at the wrong worker.
    pub(crate) handed_over: u64,
    /// Calls of the kernel that sent some.
    pub(crate) sends: u64,
    /// Datagrams that the kernel had no room for.
    pub(crate) send_blocked: u64,
    /// Datagrams that the kernel refused: no route, too long.
    pub(crate) send_failed: u64,
}

/// Where a worker writes down its account and control reads it.
pub(crate) type Board = Arc<Mutex<Account>>;

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) number: u32,
    pub(crate) relay: Relay,
    pub(crate) poll: Poll,
    pub(crate) bell: Arc<Bell>,
    pub(crate) letters: Receiver<Letter>,
    pub(crate) orders: Receiver<Order>,
    pub(crate) clock: Clock,
    pub(crate) board: Board,
    /// The other workers, which hear of the direction servers through the first alone.
    pub(crate) colleagues: Vec<Desk>,
    pub(crate) out: Out,
}

/// Where a worker takes orders.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    pub(crate) orders: Sender<Order>,
    pub(crate) bell: Arc<Bell>,
}

impl Desk {
    pub(crate) fn order(&self, order: Order) {
        // A worker that has ended takes none; `Workers::is_broken` tells.
        let _ = self.orders.send(order);
        self.bell.ring();
    }
}

/// The ways out of a worker.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) ports: Vec<Port>,
    pub(crate) post: Arc<Post>,
    pub(crate) streams: Arc<Streams>,
    /// Addresses of the relay's certificate at which it does not listen: a NAT before it translates them.
    pub(crate) translated: Vec<SocketAddr>,
    pub(crate) account: Account,
}

impl Worker {
    /// Works until it is ordered to stop.
    pub(crate) fn run(mut self) -> io::Result<()> {
        for (number, port) in self.out.ports.iter().enumerate() {
            let descriptor = port.socket.as_raw_fd();
            self.poll.registry().register(&mut SourceFd(&descriptor), Token(number), Interest::READABLE)?;
        }
        let mut buffer = vec![0; BATCH * SLOT];
        let mut events = Events::with_capacity(64);
        // Readiness is told once; a port is ready until it says that it would block.
        let mut ready = vec![true; self.out.ports.len()];
        let mut published = self.clock.now();
        loop {
            let now = self.clock.now();
            if self.relay.poll_timeout().is_some_and(|(at, _)| at <= now) {
                self.relay.handle_timeout(now);
            }
            self.send_waiting();
            let busy = ready.contains(&true);
            if !busy || now >= published + PUBLISH_EVERY {
                self.publish();
                published = now;
            }
            let idle = self.relay.poll_timeout().map(|(at, _)| at.since(now));
            let patience = if busy { Some(Duration::ZERO) } else { idle };
            match self.poll.poll(&mut events, patience) {
                Err(why) if why.kind() != io::ErrorKind::Interrupted => return Err(why),
                _ => {}
            }
            for event in &events {
                match ready.get_mut(event.token().0) {
                    Some(ready) => *ready = true,
                    None => self.bell.stop(),
                }
            }
            for (number, ready) in ready.iter_mut().enumerate() {
                *ready = *ready && self.receive(number, &mut buffer);
            }
            if !self.read_letters() {
                self.bell.ring();
            }
            while let Ok(order) = self.orders.try_recv() {
                if matches!(order, Order::Stop) {
                    self.send_waiting();
                    self.publish();
                    return Ok(());
                }
                self.obey(order);
            }
        }
    }

    /// Takes a turn's worth of datagrams from a port. False where there are no more.
    fn receive(&mut self, number: usize, buffer: &mut [u8]) -> bool {
        let mut metas = [RecvMeta::default(); BATCH];
        for _ in 0..BATCHES_A_TURN {
            let mut slots = buffer.chunks_exact_mut(SLOT).map(IoSliceMut::new);
            let mut slots: [IoSliceMut<'_>; BATCH] =
                std::array::from_fn(|_| slots.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
            let port = &self.out.ports[number];
            let received = match port.state.recv(port.reference(), &mut slots, &mut metas) {
                Ok(received) => received,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return false,
                // What an earlier datagram came to elsewhere; the next call brings the next one.
                Err(_) => continue,
            };
            self.out.account.batches += 1;
            let now = self.clock.now();
            for (meta, slot) in metas[..received].iter().zip(buffer.chunks_exact_mut(SLOT)) {
                let local = self.out.ports[number].local(meta.dst_ip);
                self.take(now, local, meta.addr, &mut slot[..meta.len], meta.stride);
                self.send_waiting();
            }
        }
        true
    }

    /// Takes in datagrams of `stride` bytes that lie one behind the other, and sends on what is to be sent on.
    fn take(&mut self, now: Instant, local: SocketAddr, from: SocketAddr, datagrams: &mut [u8], stride: usize) {
        let mut train: Option<Train> = None;
        let mut start = 0;
        while start < datagrams.len() {
            let end = datagrams.len().min(start + stride.max(1));
            let datagram = &mut datagrams[start..end];
            start = end;
            self.out.account.received += 1;
            if let Some(owner) = self.out.post.owner(datagram).filter(|owner| *owner != self.number) {
                self.out.account.handed_over += 1;
                self.out.post.send(owner, Letter { local, from, datagram: datagram.to_vec() });
                continue;
            }
            let Some(forward) = self.relay.handle_datagram(now, local, from, datagram) else { continue };
            // What goes on of a datagram is its end.
            let bytes = end - forward.datagram.len()..end;
            let (from, to) = (forward.from, forward.to);
            if let Some(train) = &mut train
                && train.couple(from, to, &bytes)
            {
                continue;
            }
            let most = self.out.segments(from);
            if let Some(full) = train.replace(Train::new(from, to, bytes, most)) {
                self.out.send(&full, datagrams);
            }
        }
        if let Some(last) = train {
            self.out.send(&last, datagrams);
        }
    }

    /// Reads a turn's worth of letters. False where there may be more.
    fn read_letters(&mut self) -> bool {
        for _ in 0..LETTERS_A_TURN {
            let Ok(Letter { local, from, mut datagram }) = self.letters.try_recv() else { return true };
            let now = self.clock.now();
            let stride = datagram.len();
            self.take(now, local, from, &mut datagram, stride);
            self.send_waiting();
        }
        false
    }

    /// Sends what the relay says of its own accord.
    fn send_waiting(&mut self) {
        while let Some(transmit) = self.relay.poll_transmit() {
            let train = Train::new(transmit.from, transmit.to, 0..transmit.datagram.len(), 1);
            self.out.send(&train, &transmit.datagram);
        }
        while let Some(path_id) = self.relay.poll_revocation() {
            self.colleagues.iter().for_each(|colleague| colleague.order(Order::Revoke(path_id)));
        }
    }

    fn obey(&mut self, order: Order) {
        let now = self.clock.now();
        match order {
            Order::Adopt(changes) => self.relay.adopt(now, *changes),
            Order::Revoke(path_id) => self.relay.revoke(now, path_id),
            Order::Elsewhere(elsewhere) => self.relay.set_elsewhere(elsewhere),
            Order::Wall(wall) => self.relay.set_wall_clock(wall),
            Order::Drain => self.relay.drain(now),
            Order::Stop => {}
        }
    }

    fn publish(&mut self) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        *board = Account { relay: self.relay.stats().clone(), ..self.out.account.clone() };
    }
}

impl Out {
    /// Datagrams that one call can send from `local`.
    fn segments(&self, local: SocketAddr) -> usize {
        self.port(local).map_or(1, |port| port.state.max_gso_segments())
    }

    fn port(&self, local: SocketAddr) -> Option<&Port> {
        self.ports.iter().find(|port| port.sends_from(local))
    }

    /// The port for what is said to a direction server from an address that a NAT outside makes.
    fn port_behind_nat(&self, local: SocketAddr) -> Option<&Port> {
        let translated = self.translated.contains(&local);
        self.ports.iter().find(|port| translated && port.local(None).is_ipv4() == local.is_ipv4())
    }

    fn send(&mut self, train: &Train, buffer: &[u8]) {
        let contents = &buffer[train.bytes.clone()];
        if train.from == STREAMS {
            contents.chunks(train.segment.max(1)).for_each(|datagram| self.streams.send(train.to, datagram));
            return;
        }
        let count = train.count() as u64;
        self.account.sends += 1;
        let translated = self.translated.contains(&train.from);
        let port = if translated { self.port_behind_nat(train.from) } else { self.port(train.from) };
        let Some(port) = port else {
            self.account.send_failed += count;
            return;
        };
        let transmit = Transmit {
            destination: train.to,
            ecn: None,
            contents,
            segment_size: (count > 1).then_some(train.segment),
            src_ip: if translated { None } else { port.source(train.from) },
        };
        match port.state.try_send(port.reference(), &transmit) {
            Ok(()) => {}
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => self.account.send_blocked += count,
            Err(_) => self.account.send_failed += count,
        }
    }
}
