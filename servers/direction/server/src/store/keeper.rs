//! The thread that writes the registry and the directory.
//!
//! While one commit runs, whatever comes meanwhile waits for the next: the more there is to write, the more goes
//! into each, so the disk's pace bounds how long a node waits and not how many are stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use ntm_direction::{LookupFailed, NotStored};
use ntm_proto::id::Fqdn;
use ntm_proto::wire::message::Target;

use super::{Change, MAX_BATCH, News, Queue, Registry};
use crate::directory::Directory;
use crate::mailbox::{Letter, Mailbox};

/// Errands that wait; who has more is told that the registry does not answer.
const MAX_ERRANDS: usize = 1 << 16;
/// Changes kept for a registry that does not work; on top the oldest are lost, which costs a node's wake token or
/// an address that is freed later.
const MAX_KEPT: usize = 1 << 16;
/// How often the other DCs' changes are read.
const NEWS_INTERVAL: Duration = Duration::from_millis(250);
/// The pause after a commit that failed.
const MEND_PAUSE: Duration = Duration::from_millis(500);

/// What the keeper is asked to do.
#[derive(Debug)]
pub(crate) enum Errand {
    Write(Change),
    Find(Target),
    /// Do what was given before, and end.
    Stop,
}

/// Where errands are given; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Orders(SyncSender<Errand>);

impl Orders {
    /// Gives an errand, or gives it back where there is no room.
    pub(crate) fn give(&self, errand: Errand) -> Result<(), Errand> {
        self.0.try_send(errand).map_err(|why| match why {
            TrySendError::Full(errand) | TrySendError::Disconnected(errand) => errand,
        })
    }

    /// Gives an errand, waiting for room.
    pub(crate) fn give_surely(&self, errand: Errand) {
        let _ = self.0.send(errand);
    }
}

/// How the keeper fares.
#[derive(Debug, Default)]
pub(crate) struct KeeperStats {
    pub commits: AtomicU64,
    pub written: AtomicU64,
    pub failures: AtomicU64,
    pub lost: AtomicU64,
    /// The last attempt failed.
    pub failing: AtomicBool,
}

pub(crate) struct Keeper {
    registry: Box<dyn Registry>,
    errands: Receiver<Errand>,
    mailbox: Mailbox,
    directory: Arc<Directory>,
    dc: Fqdn,
    stats: Arc<KeeperStats>,
    /// What could not be written yet.
    kept: Queue,
}

impl Keeper {
    pub(crate) fn new(
        registry: Box<dyn Registry>,
        mailbox: Mailbox,
        directory: Arc<Directory>,
        dc: Fqdn,
        stats: Arc<KeeperStats>,
    ) -> (Self, Orders) {
        let (orders, errands) = sync_channel(MAX_ERRANDS);
        let keeper = Self { registry, errands, mailbox, directory, dc, stats, kept: Queue::new() };
        (keeper, Orders(orders))
    }

    /// Works until nobody can give errands any more and all are done.
    pub(crate) fn run(mut self) {
        let mut read_news = Instant::now();
        loop {
            let (changes, targets, more) = self.take();
            let wrote = changes.is_empty() || self.write(changes);
            self.find(targets);
            if self.registry.is_shared() && read_news.elapsed() >= NEWS_INTERVAL {
                read_news = Instant::now();
                self.read_news();
            }
            if !more {
                return;
            }
            if !wrote {
                std::thread::sleep(MEND_PAUSE);
            }
        }
    }

    /// All that waits, up to a batch; waits for the first.
    fn take(&mut self) -> (Vec<Change>, Vec<Target>, bool) {
        let mut changes = Vec::new();
        let mut targets = Vec::new();
        let mut more = true;
        let mut sort = |errand| match errand {
            Errand::Write(change) => changes.push(change),
            Errand::Find(target) => targets.push(target),
            Errand::Stop => more = false,
        };
        let taken = self.kept.len().min(MAX_BATCH);
        self.kept.drain(..taken).for_each(&mut sort);
        if taken == 0 {
            match self.errands.recv_timeout(NEWS_INTERVAL) {
                Ok(errand) => sort(errand),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => sort(Errand::Stop),
            }
        }
        for _ in taken..MAX_BATCH {
            match self.errands.try_recv() {
                Ok(errand) => sort(errand),
                Err(_) => break,
            }
        }
        (changes, targets, more)
    }

    fn write(&mut self, changes: Vec<Change>) -> bool {
        let outcome = self.registry.commit(&changes);
        self.stats.failing.store(outcome.is_err(), Ordering::Relaxed);
        match outcome {
            Ok(answers) => {
                self.stats.commits.fetch_add(1, Ordering::Relaxed);
                self.stats.written.fetch_add(changes.len() as u64, Ordering::Relaxed);
                for (change, answer) in changes.into_iter().zip(answers) {
                    self.tell(change, answer);
                }
                self.mailbox.wake();
                true
            }
            Err(why) => {
                self.stats.failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!("registry: {why}");
                changes.into_iter().for_each(|change| self.keep(change));
                self.mailbox.wake();
                false
            }
        }
    }

    /// Tells everybody whom it concerns what was written.
    fn tell(&mut self, change: Change, answer: Option<Result<ntm_direction::Stored, NotStored>>) {
        match change {
            Change::Admit(application) => {
                let node = application.record.node_id();
                let stored = answer.unwrap_or(Err(NotStored::Unavailable)).map(Box::new);
                if let Ok(stored) = &stored {
                    self.directory.list(stored);
                }
                self.mailbox.post_quietly(Letter::Stored(node, stored));
            }
            Change::Update(stored) => self.directory.list(&stored),
            Change::Forget(node) => self.directory.strike(&node),
            Change::Revoke { nodes, .. } => {
                nodes.iter().for_each(|node| self.directory.strike(node));
                self.mailbox.post_quietly(Letter::Revoked(nodes));
            }
        }
    }

    /// Keeps a change for later; a node that waits is told.
    fn keep(&mut self, change: Change) {
        if let Change::Admit(application) = change {
            let node = application.record.node_id();
            self.mailbox.post_quietly(Letter::Stored(node, Err(NotStored::Unavailable)));
            return;
        }
        if self.kept.len() >= MAX_KEPT {
            self.kept.pop_front();
            self.stats.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.kept.push_back(Errand::Write(change));
    }

    fn find(&mut self, targets: Vec<Target>) {
        for targets in targets.chunks(MAX_BATCH) {
            let found = self.registry.find(targets);
            if let Err(why) = &found {
                tracing::error!("registry: {why}");
            }
            for (at, target) in targets.iter().enumerate() {
                let found = match &found {
                    Ok(found) => Ok(found.get(at).cloned().flatten()),
                    Err(_) => Err(LookupFailed),
                };
                self.mailbox.post_quietly(Letter::NodeFound(target.clone(), found));
            }
            self.mailbox.wake();
        }
    }

    fn read_news(&mut self) {
        let news = match self.registry.news() {
            Ok(news) => news,
            Err(why) => {
                self.stats.failures.fetch_add(1, Ordering::Relaxed);
                self.stats.failing.store(true, Ordering::Relaxed);
                tracing::error!("registry: {why}");
                return;
            }
        };
        self.stats.failing.store(false, Ordering::Relaxed);
        for item in news {
            match item {
                News::Row(row) => {
                    self.directory.list(&row.stored);
                    if row.dc != self.dc {
                        let letter = Letter::Elsewhere(row.stored.record.node_id(), row.stored.sequence);
                        self.mailbox.post_quietly(letter);
                    }
                }
                News::Forgotten(node) => self.directory.strike(&node),
            }
        }
        self.mailbox.wake();
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("dc", &self.dc).finish_non_exhaustive()
    }
}
