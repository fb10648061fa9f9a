//! Who reads the sockets.
//!
//! Waking another thread costs more than everything else a packet costs, so a thread that waits for data reads
//! the sockets itself: it *leads*. Others that wait meanwhile *follow*: they sleep until what they wait for
//! happened. A leader that woke another thread and not itself resigns: that one will wait again in a moment, and
//! shall not be woken by somebody else a second time.
//!
//! ```text
//!            waits, nobody leads               what it waited for came
//!  thread ───────────────────────▶ leading ─────────────────────────────▶ goes on
//!     │                               │  ▲  │
//!     │ somebody leads                └──┘  │ its turn woke another thread
//!     ▼                               turn  ▼
//!  following ◀───────────────────────────────
//! ```
//!
//! Taking and leaving the lead costs no system call, because programs do both around every message. The
//! control thread finds out by itself whether anybody leads:
//!
//! ```text
//! armed     nobody leads: sleeps until a packet or a timer comes
//! patrol    looks after half a millisecond, and ever more seldom, up to four: where nobody has led since the last look,
//!           one that follows is made to lead, or the control thread is armed; where the same leader has slept for
//!           several looks, it goes
//! off duty  until that leader leaves, who wakes it: the only leader that makes a call
//! ```

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use libc::{pollfd, sigset_t};
use ntm_proto::time::Instant;
use quinn_udp::{BATCH_SIZE, RecvMeta};

use crate::bell::Bell;
use crate::descriptors::Own;
use crate::errno::{Errno, Result};
use crate::negotiation::netlink::Netlink;
use crate::packet::port::Port;
use crate::packet::route::flush_gathered;
use crate::runtime::Core;
use crate::stack::parker::Parker;
use crate::stack::readiness::Readiness;
use crate::sync::Lock;
use crate::time::timespec_of;

/// Room for one read: what the kernel joins into one buffer is at most this.
const BUFFER: usize = 65_536;
/// Buffers a read may fill; joined datagrams make more of little use.
const BUFFERS: usize = if BATCH_SIZE < 8 { BATCH_SIZE } else { 8 };

/// Reads of one buffer after which more are offered, to see whether datagrams queue up.
const SINGLE_READS: u32 = 8;

/// The pause between two looks of the control thread on patrol: it doubles while each look finds that somebody has led
/// since the last. Every look takes the processor from who leads, and on virtual machines its timer costs twice that.
const PATROL: Duration = Duration::from_micros(500);
const LONGEST_PATROL: Duration = Duration::from_millis(4);
/// Looks at the same leader after which it is relied on.
const LOOKS: u32 = 20;

const NEVER: u64 = u64::MAX;
const AWAKE: u64 = 0;

thread_local! {
    static PARKER: Arc<Parker> = Arc::new(Parker::default());
}

pub(crate) struct Reader {
    /// The sockets as one, for the control thread.
    inner: Own,
    kick: Bell,
    /// Only the control thread looks at it: news of interfaces is rare, and each descriptor that a leader waits for
    /// costs it time around every packet.
    netlink: Netlink,
    buffers: Lock<Buffers>,
    followers: Lock<Vec<Arc<Parker>>>,
    /// Until when the leader sleeps; zero while there is none, or it is awake.
    asleep_until: AtomicU64,
    /// Until when the control thread sleeps that minds the timers; zero while it does not.
    armed_until: AtomicU64,
    /// How often somebody took the lead.
    leads: AtomicU64,
    /// The control thread relies on who leads now, and must be woken when that ends.
    off_duty: AtomicBool,
    on_duty: Bell,
}

struct Buffers {
    bytes: Box<[u8]>,
    /// Datagrams come faster than they are read, so that asking before reading, and reading one at a time, would
    /// only cost calls. Where they come one by one it is reading in vain that costs.
    streaming: bool,
    /// Reads since it was last tried whether they do.
    single_reads: u32,
    packets: Vec<(usize, usize)>,
    joined: Vec<Vec<u8>>,
}

/// What a leader waits for beside the sockets: for calls that wait on descriptors.
#[derive(Debug, Default)]
pub(crate) struct Beside<'a> {
    pub(crate) extra: &'a mut [pollfd],
    /// The signals that are blocked meanwhile, where they are not the thread's.
    pub(crate) mask: Option<&'a sigset_t>,
}

/// The right to read, until it is dropped.
pub(crate) struct Lead<'a> {
    core: &'a Core,
    buffers: Option<MutexGuard<'a, Buffers>>,
}

impl Reader {
    pub(crate) fn new(netlink: Netlink) -> io::Result<Self> {
        let (kick, on_duty) = (Bell::new()?, Bell::new()?);
        let inner = epoll()?;
        let bytes = vec![0; BUFFERS * BUFFER].into_boxed_slice();
        let buffers = Buffers { bytes, streaming: false, single_reads: 0, packets: Vec::new(), joined: Vec::new() };
        Ok(Self {
            inner,
            kick,
            netlink,
            buffers: Lock::new(buffers),
            followers: Lock::default(),
            asleep_until: AtomicU64::new(AWAKE),
            armed_until: AtomicU64::new(AWAKE),
            leads: AtomicU64::new(0),
            off_duty: AtomicBool::new(false),
            on_duty,
        })
    }

    /// From now on what it has is read.
    pub(crate) fn watch(&self, source: &impl AsRawFd) -> io::Result<()> {
        watch(&self.inner, source.as_raw_fd())
    }

    /// Wakes whoever is responsible for reading and timers.
    pub(crate) fn kick(&self) {
        if self.sleeps_past(AWAKE) {
            self.kick.ring();
        }
    }

    /// Wakes it if it would sleep past `at`.
    pub(crate) fn wake_before(&self, at: Option<Instant>) {
        if at.is_some_and(|at| self.sleeps_past(at.as_nanos())) {
            self.kick.ring();
        }
    }

    fn sleeps_past(&self, at: u64) -> bool {
        at < self.asleep_until.load(Ordering::SeqCst) || at < self.armed_until.load(Ordering::SeqCst)
    }

    fn try_lead<'a>(&'a self, core: &'a Core) -> Option<Lead<'a>> {
        let buffers = self.buffers.try_lock()?;
        self.leads.fetch_add(1, Ordering::SeqCst);
        Some(Lead { core, buffers: Some(buffers) })
    }

    /// The control thread's whole life.
    pub(crate) fn run_control(&self, core: &Core) {
        let mut seen = 0;
        let mut unchanged = 0;
        let mut pause = PATROL;
        while !core.is_closing() {
            let leads = self.leads.load(Ordering::SeqCst);
            if leads != seen {
                (seen, unchanged) = (leads, 0);
                self.sleep_as_control(core, false, Some(pause));
                pause = (pause * 2).min(LONGEST_PATROL);
                continue;
            }
            pause = PATROL;
            if self.buffers.try_lock().is_none() {
                unchanged += 1;
                if unchanged < LOOKS {
                    self.sleep_as_control(core, false, Some(PATROL));
                } else {
                    self.go_off_duty(core, seen);
                }
            } else if !self.promote_follower() {
                seen = self.lead_as_control(core, seen);
            }
        }
    }

    /// Reads what is there, then sleeps until there is more.
    fn lead_as_control(&self, core: &Core, seen: u64) -> u64 {
        let Some(mut lead) = self.try_lead(core) else { return seen };
        let seen = self.leads.load(Ordering::SeqCst);
        let _ = lead.turn(Some(core.now()), &mut Beside::default());
        let next = core.timers.next();
        self.armed_until.store(next.map_or(NEVER, Instant::as_nanos), Ordering::SeqCst);
        drop(lead);
        core.settle();
        // What was asked for before the store above is seen here, what comes after kicks.
        let next = [next, core.timers.next()].into_iter().flatten().min();
        self.sleep_as_control(core, true, next.map(|at| at.since(core.now())));
        self.armed_until.store(AWAKE, Ordering::SeqCst);
        seen
    }

    fn go_off_duty(&self, core: &Core, seen: u64) {
        self.off_duty.store(true, Ordering::SeqCst);
        if self.leads.load(Ordering::SeqCst) == seen && self.buffers.try_lock().is_none() {
            self.sleep_as_control(core, false, None);
        }
        self.off_duty.store(false, Ordering::SeqCst);
    }

    fn promote_follower(&self) -> bool {
        let next = self.followers.lock().pop();
        next.inspect(|follower| follower.promote()).is_some()
    }

    fn sleep_as_control(&self, core: &Core, armed: bool, time: Option<Duration>) {
        let entry = |fd: RawFd| pollfd { fd, events: libc::POLLIN, revents: 0 };
        // The kernel passes over negative descriptors.
        let if_armed = |fd: &dyn AsRawFd| entry(if armed { fd.as_raw_fd() } else { -1 });
        let (on_duty, netlink) = (entry(self.on_duty.as_raw_fd()), entry(self.netlink.as_raw_fd()));
        let mut set = [on_duty, netlink, if_armed(&self.kick), if_armed(&self.inner)];
        if sleep(&mut set, time, None).is_err() {
            return;
        }
        let [on_duty, netlink, kick, _] = set.map(|entry| entry.revents != 0);
        if on_duty {
            self.on_duty.silence();
        }
        if kick {
            self.kick.silence();
        }
        if netlink {
            core.handle_host_news(self.netlink.take_changes());
            // Who leads now waits for the ports that there were.
            self.kick();
        }
    }

    /// Nobody leads any more, which the control thread notices by itself unless it was told to rely on somebody.
    fn leave(&self, core: &Core) {
        if self.off_duty.swap(false, Ordering::SeqCst) {
            self.on_duty.ring();
        }
        // Armed, it knows nothing of timers that came since: a leader that takes the kick for its own keeps it asleep.
        if self.armed_until.load(Ordering::SeqCst) != AWAKE {
            self.wake_before(core.timers.next());
        }
    }
}

impl Lead<'_> {
    /// Reads what is there and hands it out; where there is nothing, waits for something, for `until`, for a
    /// timer or for what is `beside`. `EINTR` where a signal came while waiting.
    pub(crate) fn turn(&mut self, until: Option<Instant>, beside: &mut Beside<'_>) -> Result<()> {
        let core = self.core;
        core.run_timers();
        let ports = core.ports.all();
        let at_once = until.is_some_and(|at| at <= core.now());
        if (at_once || self.streaming()) && self.read(&ports) {
            return Ok(());
        }
        if at_once {
            return Ok(());
        }
        let next = [until, core.timers.next()].into_iter().flatten().min();
        core.reader.asleep_until.store(next.map_or(NEVER, Instant::as_nanos), Ordering::SeqCst);
        // What was asked for before the line above is seen here, what comes after kicks.
        let next = [next, core.timers.next()].into_iter().flatten().min();
        let woken = wait(core, &ports, next.map(|at| at.since(core.now())), beside);
        core.reader.asleep_until.store(AWAKE, Ordering::SeqCst);
        if woken? {
            self.read(&ports);
        }
        core.run_timers();
        Ok(())
    }

    fn streaming(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.streaming)
    }

    /// Reads every port once; whether there was anything.
    fn read(&mut self, ports: &[Arc<Port>]) -> bool {
        let Some(buffers) = self.buffers.as_deref_mut() else { return false };
        let several = buffers.streaming || buffers.single_reads >= SINGLE_READS;
        let limit = if several { BUFFERS } else { 1 };
        let by_udp: usize = ports.iter().map(|port| buffers.read(self.core, port, limit)).sum();
        let datagrams = by_udp + self.core.streams.receive(self.core);
        buffers.streaming = datagrams > 1;
        buffers.single_reads = if several { 0 } else { buffers.single_reads + 1 };
        datagrams > 0
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.buffers = None;
        self.core.reader.leave(self.core);
    }
}

impl Buffers {
    /// Reads a port once, filling at most `limit` buffers; gives the number of datagrams.
    fn read(&mut self, core: &Core, port: &Port, limit: usize) -> usize {
        let mut meta = [RecvMeta::default(); BUFFERS];
        let mut slices: [IoSliceMut<'_>; BUFFERS] = {
            let mut parts = self.bytes.chunks_exact_mut(BUFFER);
            std::array::from_fn(|_| IoSliceMut::new(parts.next().unwrap_or_default()))
        };
        let Ok(count) = port.receive(&mut slices[..limit], &mut meta[..limit]) else { return 0 };
        let now = core.now();
        let mut datagrams = 0;
        self.packets.clear();
        self.joined.clear();
        let base = self.bytes.as_ptr() as usize;
        core.engine(|node| {
            for (number, meta) in meta.iter().enumerate().take(count) {
                let start = number * BUFFER;
                let filled = &mut self.bytes[start..start + meta.len.min(BUFFER)];
                for datagram in filled.chunks_mut(meta.stride.max(1)) {
                    datagrams += 1;
                    match node.handle_datagram(now, port.interface, port.address, meta.addr, datagram) {
                        None => {}
                        Some(received) => match received.packet {
                            std::borrow::Cow::Borrowed(packet) => {
                                self.packets.push((packet.as_ptr() as usize - base, packet.len()));
                            }
                            std::borrow::Cow::Owned(packet) => self.joined.push(packet),
                        },
                    }
                }
            }
        });
        let lying = self.packets.iter().map(|&(at, length)| &self.bytes[at..at + length]);
        let packets: Vec<&[u8]> = lying.chain(self.joined.iter().map(Vec::as_slice)).collect();
        core.stack.handle_packets(core, now, &packets);
        datagrams
    }
}

/// Waits until `readiness` has one of the bits `want`, as a leader or following one. `EAGAIN` when `until` has
/// come, `EINTR` after a signal.
pub(crate) fn wait_for(core: &Core, readiness: &Readiness, want: u32, until: Option<Instant>) -> Result<()> {
    if readiness.has(want) {
        return Ok(());
    }
    flush_gathered();
    let parker = PARKER.with(Arc::clone);
    readiness.add_waiter(&parker, want);
    let outcome = lead_or_follow(core, &parker, until, || readiness.has(want));
    readiness.remove_waiter(&parker);
    core.settle();
    outcome
}

/// Waits until `done`; whoever makes it true wakes the parker of this thread.
fn lead_or_follow(core: &Core, parker: &Arc<Parker>, until: Option<Instant>, done: impl Fn() -> bool) -> Result<()> {
    let past = || until.is_some_and(|at| core.now() >= at);
    let reader = &core.reader;
    loop {
        if done() {
            return Ok(());
        }
        if past() {
            return Err(Errno(libc::EAGAIN));
        }
        if let Some(mut lead) = reader.try_lead(core) {
            Parker::take_woken();
            loop {
                lead.turn(until, &mut Beside::default())?;
                core.settle();
                if done() {
                    return Ok(());
                }
                if past() {
                    return Err(Errno(libc::EAGAIN));
                }
                if Parker::take_woken() {
                    break;
                }
            }
        }
        reader.followers.lock().push(parker.clone());
        let parked = if done() { Ok(()) } else { parker.park(until.map(|at| at.since(core.now()))) };
        let mut followers = reader.followers.lock();
        followers.retain(|other| !Arc::ptr_eq(other, parker));
        drop(followers);
        // Whose turn it was to lead and who does not passes that on.
        if parker.take_promotion() && (done() || past() || parked.is_err()) {
            reader.leave(core);
        }
        parked?;
    }
}

/// For calls that wait on descriptors in the kernel (`poll` and its kin): leads if nobody does, and waits for the
/// sockets and for what is `beside` at once. False where somebody else leads, or should: the caller waits in the kernel alone.
pub(crate) fn lead_beside(
    core: &Core,
    until: Option<Instant>,
    beside: &mut Beside<'_>,
    mut done: impl FnMut() -> bool,
) -> Result<bool> {
    let Some(mut lead) = core.reader.try_lead(core) else { return Ok(false) };
    Parker::take_woken();
    while !done() && until.is_none_or(|at| core.now() < at) {
        lead.turn(until, beside)?;
        core.settle();
        if Parker::take_woken() {
            return Ok(done());
        }
    }
    Ok(true)
}

/// Sleeps until a port, the kick or what is `beside` has something, or the time is over; whether a port has.
fn wait(core: &Core, ports: &[Arc<Port>], timeout: Option<Duration>, beside: &mut Beside<'_>) -> Result<bool> {
    thread_local! {
        static SET: RefCell<Vec<pollfd>> = const { RefCell::new(Vec::new()) };
    }
    let entry = |fd: RawFd| pollfd { fd, events: libc::POLLIN, revents: 0 };
    SET.with_borrow_mut(|set| {
        set.clear();
        set.extend(ports.iter().map(|port| entry(port.as_raw_fd())));
        set.extend(core.streams.source().map(entry));
        let sources = set.len();
        set.push(entry(core.reader.kick.as_raw_fd()));
        set.extend_from_slice(beside.extra);
        sleep(set, timeout, beside.mask)?;
        if set[sources].revents != 0 {
            core.reader.kick.silence();
        }
        beside.extra.copy_from_slice(&set[sources + 1..]);
        Ok(set[..sources].iter().any(|entry| entry.revents != 0))
    })
}

/// Sleeps until one of `set` has what it waits for, or the time is over; with other signals blocked, where `mask` says.
fn sleep(set: &mut [pollfd], time: Option<Duration>, mask: Option<&sigset_t>) -> Result<()> {
    let time = time.map(timespec_of);
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let mask = mask.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `set` holds that many entries; the time and the mask are null or valid for the call.
    let ready = unsafe { libc::ppoll(set.as_mut_ptr(), set.len() as libc::nfds_t, time, mask) };
    if ready < 0 { Err(Errno::last()) } else { Ok(()) }
}

fn epoll() -> io::Result<Own> {
    // SAFETY: takes a number and gives a descriptor or an error.
    Own::made(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

fn watch(set: &Own, fd: RawFd) -> io::Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: 0 };
    // SAFETY: `event` is valid for the call; both descriptors are only numbers to the kernel.
    if unsafe { libc::epoll_ctl(set.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}
