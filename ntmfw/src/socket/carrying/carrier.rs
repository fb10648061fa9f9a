//! The thread that moves what passes through descriptors.
//!
//! It sleeps until a holder did something, which epoll tells once each time, or until a connection has something or
//! room again, which the connection's readiness tells ([`Call`]). It reads the tunnels meanwhile if nobody else does.

use std::collections::HashMap;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::Sender;
use once_cell::sync::OnceCell;

use crate::bell::Bell;
use crate::descriptors::Own;
use crate::errno::{Errno, Result};
use crate::negotiation::start::become_own_thread;
use crate::packet::reader::Beside;
use crate::runtime::Core;
use crate::socket::carrying::{Ends, Fate, holders_end, hung_up, label_of};
use crate::socket::polling;
use crate::socket::state::Socket;
use crate::stack::parker::Parker;
use crate::stack::readiness::Show;
use crate::sync::Lock;

/// What epoll tells at most in one go.
const EVENTS: usize = 64;
/// How long the thread may be busy with others.
const PATIENCE: Duration = Duration::from_secs(1);
/// The bell's number in the epoll set; carried sockets have others.
const BELL: u64 = 0;

/// What passes through one descriptor.
pub(crate) trait Cargo: Send {
    /// Moves what can be moved now, in a bounded time. `closing`: the process ends; nothing is waited for but what
    /// holders have written already.
    fn pump(&mut self, socket: &Arc<Socket>, ends: &Ends, closing: bool) -> Progress;

    /// Another descriptor that something comes from.
    fn source(&self) -> Option<RawFd> {
        None
    }
}

/// What a cargo came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing moves until one side does something.
    Waiting,
    /// There is more, and others shall have their turn first.
    More,
    /// Nothing will move any more: everything has, and holders have closed.
    Closed,
    /// The holders closed, and left unread what had come.
    Left,
    /// The connection failed.
    Broken(Errno),
}

/// Asks the thread to look at one socket.
#[derive(Debug)]
struct Call {
    number: u64,
    hub: &'static Hub,
    called: AtomicBool,
}

impl Show for Call {
    fn show(&self, _: u32) {
        if !self.called.swap(true, Ordering::AcqRel) {
            self.hub.tell(|letters| letters.due.push(self.number));
        }
    }

    /// Whatever there was has moved by then, or waits for room in the pair.
    fn show_arrival(&self) {}
}

/// A socket that carries data.
struct Freight {
    socket: Arc<Socket>,
    ends: Ends,
    cargo: Box<dyn Cargo>,
    call: Arc<Call>,
    fate: Arc<Fate>,
}

/// A socket that shall carry data.
pub(super) struct Load {
    pub(super) socket: Arc<Socket>,
    pub(super) ends: Ends,
    pub(super) cargo: Box<dyn Cargo>,
    pub(super) fate: Arc<Fate>,
}

/// A port that this process listens at no more: the library's end of its pair, and the port of the kernel's beside it.
pub(crate) struct Port {
    pub(crate) back: Own,
    pub(crate) kernel: Option<Own>,
}

/// What the thread is told.
#[derive(Default)]
struct Letters {
    new: Vec<Load>,
    due: Vec<u64>,
    /// Ends of pairs to look at now, and who waits until that is done.
    asked: Vec<(libc::ino_t, Sender<()>)>,
    /// The process ends: everything is to be closed, and that is to be told here.
    closing: Option<Sender<()>>,
    /// Another process will have the ports, which are to be told here.
    leaving: Option<Sender<Vec<Port>>>,
    unread: bool,
}

struct Hub {
    set: Own,
    bell: Bell,
    letters: Lock<Letters>,
    /// The sockets by the holders' ends of their pairs.
    carried: Lock<HashMap<libc::ino_t, Weak<Socket>>>,
}

static HUB: OnceCell<Hub> = OnceCell::new();

/// From now on what passes through these ends is moved.
pub(super) fn take_on(load: Load) -> Result<()> {
    let hub = HUB.get_or_try_init(|| Hub::new().map_err(Errno::from))?;
    static RUNS: OnceCell<()> = OnceCell::new();
    RUNS.get_or_try_init(|| {
        let core = load.socket.core.clone();
        let name = "ntmfw-carrier".to_owned();
        let spawned = std::thread::Builder::new().name(name).spawn(move || {
            become_own_thread();
            hub.run(&core);
        });
        spawned.map(|_| ()).map_err(Errno::from)
    })?;
    label_of(&load.socket).attach(&load.ends.back);
    hub.carried.lock().insert(load.ends.front, Arc::downgrade(&load.socket));
    hub.tell(|letters| letters.new.push(load));
    Ok(())
}

/// The socket that passes through this end of a pair, if it is one of this process.
pub(super) fn find(front: libc::ino_t) -> Option<Weak<Socket>> {
    HUB.get()?.carried.lock().get(&front).cloned()
}

/// Whether anything passes through descriptors that somebody holds.
pub(crate) fn is_busy() -> bool {
    HUB.get().is_some_and(|hub| !hub.carried.lock().is_empty())
}

/// Looks at a socket now, for somebody who has closed a descriptor of it: where that was the last, it is over when this is
/// back.
pub(super) fn look_at(front: libc::ino_t) {
    let Some(hub) = HUB.get() else { return };
    let (done, looked) = crossbeam_channel::bounded(1);
    hub.tell(|letters| letters.asked.push((front, done)));
    let _ = looked.recv_timeout(PATIENCE);
}

/// Sends what holders have written so far and closes everything; gives up after `patience`.
pub(crate) fn close_all(patience: Duration) {
    let Some(hub) = HUB.get() else { return };
    let (done, all_done) = crossbeam_channel::bounded(1);
    hub.tell(|letters| letters.closing = Some(done));
    let _ = all_done.recv_timeout(patience);
}

/// Gives up the ports that others hold descriptors of, without their noticing.
pub(super) fn give_up_ports() -> Vec<Port> {
    let Some(hub) = HUB.get() else { return Vec::new() };
    let (told, ports) = crossbeam_channel::bounded(1);
    hub.tell(|letters| letters.leaving = Some(told));
    ports.recv_timeout(PATIENCE).unwrap_or_default()
}

impl Hub {
    fn new() -> std::io::Result<Self> {
        // SAFETY: takes a number and gives a descriptor or an error.
        let set = Own::made(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        let bell = Bell::new()?;
        let hub = Self { set, bell, letters: Lock::default(), carried: Lock::default() };
        hub.watch(hub.bell.as_raw_fd(), libc::EPOLLIN, BELL)?;
        Ok(hub)
    }

    fn watch(&self, fd: RawFd, events: libc::c_int, number: u64) -> std::io::Result<()> {
        let mut event = libc::epoll_event { events: events.cast_unsigned(), u64: number };
        // SAFETY: `event` is valid for the call; both descriptors are only numbers to the kernel.
        if unsafe { libc::epoll_ctl(self.set.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(())
    }

    fn tell(&self, write: impl FnOnce(&mut Letters)) {
        let mut letters = self.letters.lock();
        write(&mut letters);
        if !std::mem::replace(&mut letters.unread, true) {
            self.bell.ring();
            // Where it was a leader that rang, the thread reads for itself from now on: what another processor has
            // decrypted is slow to move.
            Parker::note_woken();
        }
    }

    /// The thread's whole life.
    fn run(&'static self, core: &Core) {
        let mut freights: HashMap<u64, Freight> = HashMap::new();
        let mut last = BELL;
        let mut closing: Option<Sender<()>> = None;
        let mut due: Vec<u64> = Vec::new();
        loop {
            self.wait(&mut due);
            let letters = self.take_letters();
            for load in letters.new {
                last += 1;
                if let Some(freight) = self.take_up(last, load) {
                    freights.insert(last, freight);
                }
            }
            due.extend(letters.due);
            for (front, _) in &letters.asked {
                due.extend(
                    freights.iter().filter(|(_, freight)| freight.ends.front == *front).map(|(number, _)| number),
                );
            }
            if let Some(told) = letters.leaving {
                let _ = told.send(self.give_up_ports(&mut freights));
            }
            if let Some(done) = letters.closing {
                closing = Some(done);
                due.extend(freights.keys());
            }
            due.sort_unstable();
            due.dedup();
            for number in due.drain(..) {
                let Some(freight) = freights.get_mut(&number) else { continue };
                match freight.pump(closing.is_some()) {
                    Progress::Waiting => {}
                    Progress::More => freight.call.show(0),
                    over => {
                        if let Some(freight) = freights.remove(&number) {
                            self.carried.lock().remove(&freight.ends.front);
                            freight.end(over);
                        }
                    }
                }
            }
            core.settle();
            for (_, done) in letters.asked {
                let _ = done.send(());
            }
            if freights.is_empty()
                && let Some(done) = closing.take()
            {
                let _ = done.send(());
            }
        }
    }

    fn give_up_ports(&self, freights: &mut HashMap<u64, Freight>) -> Vec<Port> {
        let ports = freights.extract_if(|_, freight| freight.socket.listener().is_some());
        let given = ports.filter_map(|(_, freight)| {
            self.carried.lock().remove(&freight.ends.front);
            freight.into_port()
        });
        given.collect()
    }

    /// Waits until something is due, or somebody wrote.
    fn wait(&self, due: &mut Vec<u64>) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        let set = self.set.as_raw_fd();
        let mut watched = [libc::pollfd { fd: set, events: libc::POLLIN, revents: 0 }];
        let mut beside = Beside { extra: &mut watched, mask: None };
        let told = polling::wait(None, &mut beside, |time| {
            let time = polling::to_milliseconds(time);
            // SAFETY: there is room for so many events.
            polling::counted(unsafe { libc::epoll_wait(set, events.as_mut_ptr(), EVENTS as libc::c_int, time) })
        });
        due.extend(events[..told.unwrap_or(0)].iter().map(|event| event.u64).filter(|number| *number != BELL));
    }

    fn take_letters(&self) -> Letters {
        let mut letters = self.letters.lock();
        if letters.unread {
            self.bell.silence();
        }
        std::mem::take(&mut letters)
    }

    fn take_up(&'static self, number: u64, load: Load) -> Option<Freight> {
        let Load { socket, ends, cargo, fate } = load;
        let call = Arc::new(Call { number, hub: self, called: AtomicBool::new(false) });
        let freight = Freight { socket, ends, cargo, call, fate };
        let watched = [Some(freight.ends.back.as_raw_fd()), freight.cargo.source()];
        let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        if let Err(why) = watched.into_iter().flatten().try_for_each(|fd| self.watch(fd, events, number)) {
            // Without memory for the watch nobody could move anything.
            freight.end(Progress::Broken(why.into()));
            return None;
        }
        let call = freight.call.clone();
        freight.socket.with_readiness(|readiness| readiness.show_on(call));
        Some(freight)
    }
}

impl Freight {
    fn pump(&mut self, closing: bool) -> Progress {
        // What happens from here on asks for another look.
        self.call.called.store(false, Ordering::Release);
        if self.ends.is_veiled() && !self.socket.is_connecting() {
            // Who sees that it can write asks who is there.
            self.fate.made.store(true, Ordering::Release);
            let front = self.ends.front;
            self.ends.unveil(|| holders_end(&self.socket, front));
        }
        self.cargo.pump(&self.socket, &self.ends, closing)
    }

    /// `None` where nobody holds it any more.
    fn into_port(self) -> Option<Port> {
        // SAFETY: only numbers go in and come out.
        let copy = |fd| unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
        let kernel = self.cargo.source().and_then(|fd| Own::made(copy(fd)).ok());
        let is_held = !hung_up(&self.ends);
        self.socket.close_unattended(false);
        is_held.then_some(Port { back: self.ends.back, kernel })
    }

    fn end(self, how: Progress) {
        if let Progress::Broken(why) = how {
            self.fate.failure.store(why.0, Ordering::Release);
            self.show_reset();
        }
        // Before the connection's ports are free for others.
        drop(self.ends);
        self.socket.close_unattended(how == Progress::Left);
    }

    /// Closing an end with something unread in it is a reset for the other one. Where holders have written nothing,
    /// that something must be put there; where this process has no descriptor to do so, holders see an end.
    fn show_reset(&self) {
        if let Some(front) = holders_end(&self.socket, self.ends.front) {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: one byte is read from a valid place.
            unsafe { libc::send(front.as_raw_fd(), [0_u8].as_ptr().cast(), 1, flags) };
        }
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hub")
    }
}
