//! A link of the lab: frames from one device to another, late, lost or out of order as asked.
//!
//! ```text
//!   host ── veth ── [a]  this thread  [b] ── veth ── host
//!                    └─ forth ─────────▶│
//!                    │◀───────── back ──┘
//! ```
//! What a frame meets is decided by [`model`] from the time at which the kernel had it, so that a forwarder that
//! ran late makes no frame later than it must.

pub(crate) mod command;
pub(crate) mod impairment;
pub(crate) mod model;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use self::impairment::Impairment;
use self::model::{Fate, Model, Nanos};
use crate::kernel::clock;
use crate::kernel::packet::{BATCH, Frame, LARGEST, PacketSocket, Room};

/// Frames on their way at a time, in one direction; what comes on top is dropped.
const MAX_FRAMES: usize = 1 << 18;
/// How long the thread sleeps when nothing is on its way.
const IDLE: Nanos = 1_000_000_000;
/// A frame is sent when it is due within this: a sleep costs more.
const SOON: Nanos = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    Forth,
    Back,
}

/// What became of the frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) delivered: u64,
    pub(crate) bytes: u64,
    pub(crate) lost: u64,
    /// The queue before the rate was full, or too much was on its way.
    pub(crate) dropped: u64,
    /// The far device took no more.
    pub(crate) refused: u64,
    /// Frames that no wire would carry: their sender leaves the checksum or the cutting to a device.
    pub(crate) unfinished: u64,
    /// How long all frames together waited for the rate, their own time to be sent included.
    pub(crate) waited: Nanos,
}

/// Sees every frame that comes, before anything happens to it.
pub(crate) type Observer = Box<dyn FnMut(Direction, &[u8], Nanos) + Send>;

/// A running link; dropping it ends it, with what is on its way.
pub(crate) struct Link {
    shared: Arc<Mutex<Shared>>,
    wake: UnixStream,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Default)]
struct Shared {
    change: Option<[Impairment; 2]>,
    observer: Option<Observer>,
    counts: [Counts; 2],
    ends: bool,
}

impl Link {
    pub(crate) fn between(
        a: PacketSocket,
        b: PacketSocket,
        impairments: [Impairment; 2],
        seed: u64,
    ) -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("link".to_owned()).spawn(move || {
            let [forth, back] = impairments;
            let pipes = [Pipe::new(forth, seed), Pipe::new(back, seed ^ u64::MAX)];
            Forwarder { sockets: [a, b], pipes, room: Room::default(), shared: theirs, woken }.run()
        })?;
        Ok(Self { shared, wake, thread: Some(thread) })
    }

    /// From the next frame on.
    pub(crate) fn set(&self, impairments: [Impairment; 2]) {
        self.tell(|shared| shared.change = Some(impairments));
    }

    pub(crate) fn observe(&self, observer: Option<Observer>) {
        self.tell(|shared| shared.observer = observer);
    }

    pub(crate) fn counts(&self) -> [Counts; 2] {
        lock(&self.shared).counts
    }

    /// Waits for the link's end, which only an error brings.
    pub(crate) fn join(mut self) -> io::Result<()> {
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => Ok(()),
        }
    }

    fn tell(&self, what: impl FnOnce(&mut Shared)) {
        what(&mut lock(&self.shared));
        // A full stream wakes as well.
        let _ = (&self.wake).write(&[0]);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tell(|shared| shared.ends = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One direction: the model, and the frames that are on their way.
struct Pipe {
    model: Model,
    /// The soonest first; frames of the same time in the order in which they came.
    due: BinaryHeap<Reverse<(Nanos, u64, usize)>>,
    taken: u64,
    frames: Vec<Vec<u8>>,
    free: Vec<usize>,
    counts: Counts,
}

impl Pipe {
    fn new(impairment: Impairment, seed: u64) -> Self {
        Self {
            model: Model::new(impairment, seed),
            due: BinaryHeap::new(),
            taken: 0,
            frames: Vec::new(),
            free: Vec::new(),
            counts: Counts::default(),
        }
    }

    fn take(&mut self, frame: &Frame<'_>) {
        if frame.unfinished {
            self.counts.unfinished += 1;
            return;
        }
        match self.model.offer(frame.at, frame.bytes.len()) {
            Fate::Lost => self.counts.lost += 1,
            Fate::Dropped => self.counts.dropped += 1,
            Fate::Arrives(at) => self.keep(at, frame.bytes),
            Fate::ArrivesTwice(at) => {
                self.keep(at, frame.bytes);
                self.keep(at, frame.bytes);
            }
        }
        self.counts.waited += self.model.take_wait();
    }

    fn keep(&mut self, at: Nanos, bytes: &[u8]) {
        if self.due.len() >= MAX_FRAMES {
            self.counts.dropped += 1;
            return;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.frames.push(Vec::with_capacity(LARGEST.min(2_048)));
            self.frames.len() - 1
        });
        let room = &mut self.frames[place];
        room.clear();
        room.extend_from_slice(bytes);
        self.due.push(Reverse((at, self.taken, place)));
        self.taken += 1;
    }

    /// Sends what is due.
    fn release(&mut self, now: Nanos, socket: &PacketSocket, batch: &mut Vec<Vec<u8>>) {
        loop {
            let mut places = [0; BATCH];
            while let Some(Reverse((at, _, place))) = self.due.peek().copied()
                && at <= now + SOON
                && batch.len() < BATCH
            {
                self.due.pop();
                places[batch.len()] = place;
                batch.push(std::mem::take(&mut self.frames[place]));
            }
            if batch.is_empty() {
                return;
            }
            let refused = socket.send(batch) as u64;
            self.counts.refused += refused;
            self.counts.delivered += batch.len() as u64 - refused;
            self.counts.bytes += batch.iter().map(|frame| frame.len() as u64).sum::<u64>();
            for (frame, place) in batch.drain(..).zip(places) {
                self.frames[place] = frame;
                self.free.push(place);
            }
        }
    }

    fn next(&self) -> Option<Nanos> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }
}

struct Forwarder {
    sockets: [PacketSocket; 2],
    pipes: [Pipe; 2],
    room: Room,
    shared: Arc<Mutex<Shared>>,
    woken: UnixStream,
}

impl Forwarder {
    fn run(mut self) -> io::Result<()> {
        clock::sleep_precisely();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            if self.settle() {
                return Ok(());
            }
            let mut any = false;
            for (at, direction) in [Direction::Forth, Direction::Back].into_iter().enumerate() {
                any |= self.receive(at, direction)? > 0;
                self.pipes[at].release(clock::monotonic(), &self.sockets[1 - at], &mut batch);
            }
            if any {
                continue;
            }
            let now = clock::monotonic();
            let next = self.pipes.iter().filter_map(Pipe::next).min();
            let longest = next.map_or(IDLE, |at| at.saturating_sub(now).min(IDLE));
            if longest > SOON {
                clock::wait([self.sockets[0].as_fd(), self.sockets[1].as_fd(), self.woken.as_fd()], longest)?;
                while io::Read::read(&mut self.woken, &mut [0; 64]).is_ok_and(|count| count > 0) {}
            }
        }
    }

    /// Takes what was asked for, and tells the counts; whether the link ends.
    fn settle(&mut self) -> bool {
        let mut shared = lock(&self.shared);
        if let Some(impairments) = shared.change.take() {
            for (pipe, impairment) in self.pipes.iter_mut().zip(impairments) {
                pipe.model.change(impairment);
            }
        }
        shared.counts = [self.pipes[0].counts, self.pipes[1].counts];
        shared.ends
    }

    fn receive(&mut self, at: usize, direction: Direction) -> io::Result<usize> {
        let pipe = &mut self.pipes[at];
        let mut shared = lock(&self.shared);
        let mut observer = shared.observer.as_mut();
        self.sockets[at].receive(&mut self.room, |frame| {
            if let Some(observe) = &mut observer {
                observe(direction, frame.bytes, frame.at);
            }
            pipe.take(&frame);
        })
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
