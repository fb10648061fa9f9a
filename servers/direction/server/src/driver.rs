//! The thread that drives the coordinator.
//!
//! ```text
//! loop:  wait for a datagram, a letter or the coordinator's timer
//!        hand in what came, a bounded number from each socket in turn
//!        send what the coordinator wants sent, pass its events on
//! ```
//!
//! It never waits for the registry, a resolver or the push gateway: what they have no room for is answered as a
//! failure at once.

use std::io;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use ntm_direction::{Application, Coordinator, Event, Gauges, Gone, LookupFailed, NotStored, Stats};
use ntm_proto::id::{Fqdn, NodeId, PathId};
use ntm_proto::time::Instant;
use ntm_server::clock::{Clock, unix_now};

use crate::mailbox::{Letter, Mailbox};
use crate::sockets::Sockets;
use crate::store::{Change, Errand, Orders};

const MAILBOX: Token = Token(usize::MAX);
/// Batches read from one socket before the others have their turn.
const BATCHES: usize = 8;
/// Letters read before datagrams have their turn.
const LETTERS: usize = 1_024;
/// How often figures are published while there is something new.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(50);
/// How often the calendar clock is compared with the monotonic one, and the step that matters.
const CLOCK_INTERVAL: Duration = Duration::from_secs(5);
const CLOCK_STEP: u64 = 500;
/// Changes kept while the keeper has no room.
const MAX_OVERFLOW: usize = 1 << 16;

/// What is asked of the world outside, by the driver.
#[derive(Debug)]
pub(crate) enum Question {
    /// Answered by [`Letter::DomainFound`].
    FindDomain(Fqdn),
    Wake {
        token: Vec<u8>,
        node: NodeId,
        path_id: PathId,
    },
}

/// What the driver shows to others.
#[derive(Debug, Default)]
pub(crate) struct Published {
    figures: Mutex<Figures>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub stats: Stats,
    pub gauges: Gauges,
    /// Datagrams the kernel had no room for.
    pub unsent: u64,
    /// Steps of the calendar clock.
    pub clock_steps: u64,
    /// Questions and changes that found no room.
    pub unanswered: u64,
}

impl Published {
    pub(crate) fn read(&self) -> Figures {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the poll and the mailbox that wakes it.
pub(crate) fn mailbox() -> io::Result<(Poll, Mailbox, Receiver<Letter>)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), MAILBOX)?;
    let (mailbox, letters) = Mailbox::new(waker);
    Ok((poll, mailbox, letters))
}

#[derive(Debug)]
pub(crate) struct Driver {
    coordinator: Coordinator,
    sockets: Sockets,
    clock: Clock,
    poll: Poll,
    letters: Receiver<Letter>,
    orders: Orders,
    questions: tokio::sync::mpsc::Sender<Question>,
    published: Arc<Published>,
    overflow: std::collections::VecDeque<Change>,
    figures: Figures,
    published_at: Instant,
    clock_read_at: Instant,
    /// Calendar time less monotonic time, as the coordinator believes it.
    offset: u64,
}

/// What a driver works with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub coordinator: Coordinator,
    pub sockets: Sockets,
    pub clock: Clock,
    pub poll: Poll,
    pub letters: Receiver<Letter>,
    pub orders: Orders,
    pub questions: tokio::sync::mpsc::Sender<Question>,
    pub published: Arc<Published>,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let Parts { coordinator, mut sockets, clock, poll, letters, orders, questions, published } = parts;
        sockets.register(poll.registry())?;
        let now = clock.now();
        Ok(Self {
            coordinator,
            sockets,
            clock,
            poll,
            letters,
            orders,
            questions,
            published,
            overflow: std::collections::VecDeque::new(),
            figures: Figures::default(),
            published_at: Instant::ZERO,
            clock_read_at: now,
            offset: offset(now),
        })
    }

    /// Drives until a letter says to stop.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        let mut readable: Vec<bool> = vec![true; self.sockets.addresses().len()];
        loop {
            let now = self.clock.now();
            let busy = readable.contains(&true);
            let timeout = if busy { Duration::ZERO } else { self.timeout(now) };
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(why) if why.kind() != io::ErrorKind::Interrupted => return Err(why),
                _ => {}
            }
            for event in events.iter().filter(|event| event.token() != MAILBOX) {
                if let Some(readable) = readable.get_mut(event.token().0) {
                    *readable = true;
                }
            }
            if !self.read_letters() {
                self.publish(self.clock.now());
                return Ok(());
            }
            for (number, readable) in readable.iter_mut().enumerate() {
                *readable = *readable && self.read_socket(number);
            }
            let now = self.clock.now();
            if self.coordinator.poll_timeout().is_some_and(|(at, _)| at <= now) {
                self.coordinator.handle_timeout(now);
            }
            self.read_clock(now);
            self.flush(now);
            if now.since(self.published_at) >= PUBLISH_INTERVAL {
                self.publish(now);
            }
        }
    }

    /// How long nothing is to be done.
    fn timeout(&self, now: Instant) -> Duration {
        let mut until = self.clock_read_at + CLOCK_INTERVAL;
        if let Some((at, _)) = self.coordinator.poll_timeout() {
            until = until.min(at);
        }
        if self.figures.stats != *self.coordinator.stats() || !self.overflow.is_empty() {
            until = until.min(self.published_at + PUBLISH_INTERVAL);
        }
        // The poll counts in whole milliseconds: too early would be a busy wait.
        until.since(now).saturating_add(Duration::from_micros(999))
    }

    /// Reads what a socket has, within its turn. True where there may be more.
    fn read_socket(&mut self, number: usize) -> bool {
        for _ in 0..BATCHES {
            let now = self.clock.now();
            let coordinator = &mut self.coordinator;
            let taken = self.sockets.receive(number, |batch| coordinator.handle_batch(now, batch));
            self.flush(now);
            if taken == 0 {
                return false;
            }
        }
        true
    }

    /// Reads letters within their turn. False where one says to stop.
    fn read_letters(&mut self) -> bool {
        let now = self.clock.now();
        for _ in 0..LETTERS {
            let Ok(letter) = self.letters.try_recv() else { return true };
            match letter {
                Letter::Stored(node, stored) => {
                    self.coordinator.handle_stored(now, node, stored.map(|stored| *stored));
                }
                Letter::NodeFound(target, found) => self.coordinator.handle_node_found(now, &target, found),
                Letter::Elsewhere(node, sequence) => self.coordinator.handle_node_elsewhere(&node, sequence),
                Letter::DomainFound(name, found) => self.coordinator.handle_domain_found(now, &name, *found),
                Letter::Revoked(nodes) => {
                    nodes.into_iter().for_each(|node| self.coordinator.handle_revocation(now, node));
                }
                Letter::Configure(config) => {
                    self.coordinator.handle_config(*config);
                    self.offset = offset(now);
                }
                Letter::Stop => return false,
            }
            self.flush(now);
        }
        true
    }

    /// Sends what is to be sent and passes events on.
    fn flush(&mut self, now: Instant) {
        while let Some(event) = self.coordinator.poll_event() {
            self.pass_on(now, event);
        }
        while let Some(transmit) = self.coordinator.poll_transmit() {
            self.sockets.send(&transmit);
        }
        while let Some(change) = self.overflow.pop_front() {
            if let Err(Errand::Write(change)) = self.orders.give(Errand::Write(change)) {
                self.overflow.push_front(change);
                break;
            }
        }
    }

    fn pass_on(&mut self, now: Instant, event: Event) {
        match event {
            Event::Store(application) => self.store(now, application),
            Event::Registered(stored) => self.write(Change::Update(stored)),
            Event::Forgotten { node } => self.write(Change::Forget(node)),
            Event::FindNode(target) => {
                if self.orders.give(Errand::Find(target.clone())).is_err() {
                    self.figures.unanswered += 1;
                    self.coordinator.handle_node_found(now, &target, Err(LookupFailed));
                }
            }
            Event::FindDomain(name) => {
                if self.questions.try_send(Question::FindDomain(name.clone())).is_err() {
                    self.figures.unanswered += 1;
                    self.coordinator.handle_domain_found(now, &name, Err(LookupFailed));
                }
            }
            Event::Wake { token, node, path_id } => {
                if self.questions.try_send(Question::Wake { token, node, path_id }).is_err() {
                    self.figures.unanswered += 1;
                }
            }
            // What a node had stays its for a time; revocations come by way of the registry.
            Event::Deregistered { node, why } => match why {
                Gone::Left | Gone::Expired | Gone::Revoked => tracing::debug!("{node:?} is gone: {why:?}"),
            },
        }
    }

    fn store(&mut self, now: Instant, application: Box<Application>) {
        if let Err(Errand::Write(Change::Admit(application))) =
            self.orders.give(Errand::Write(Change::Admit(application)))
        {
            self.figures.unanswered += 1;
            self.coordinator.handle_stored(now, application.record.node_id(), Err(NotStored::Unavailable));
        }
    }

    fn write(&mut self, change: Change) {
        if self.overflow.len() >= MAX_OVERFLOW {
            self.overflow.pop_front();
            self.figures.unanswered += 1;
        }
        self.overflow.push_back(change);
    }

    /// Tells the coordinator where the calendar clock was set.
    fn read_clock(&mut self, now: Instant) {
        if now.since(self.clock_read_at) < CLOCK_INTERVAL {
            return;
        }
        self.clock_read_at = now;
        let offset = offset(now);
        if offset.abs_diff(self.offset) >= CLOCK_STEP {
            tracing::warn!("the host's clock was set: {} ms", i128::from(offset) - i128::from(self.offset));
            self.figures.clock_steps += 1;
            self.offset = offset;
            self.coordinator.handle_clock(self.clock.wall());
        }
    }

    fn publish(&mut self, now: Instant) {
        self.published_at = now;
        self.figures.stats = *self.coordinator.stats();
        self.figures.gauges = self.coordinator.gauges();
        self.figures.unsent = self.sockets.unsent;
        *self.published.figures.lock().unwrap_or_else(PoisonError::into_inner) = self.figures;
    }
}

fn offset(now: Instant) -> u64 {
    unix_now().as_millis().saturating_sub(now.as_millis())
}
