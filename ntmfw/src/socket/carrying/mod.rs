//! Descriptors that carry data: what is written to the descriptor itself reaches the peer, and what the peer sends
//! can be read from it, whoever holds it: a child of `fork`, a program after `exec`, a process it was passed to.
//!
//! ```text
//! direct     application ── ntmfw_* calls ── socket ── connection         the descriptor only shows readiness
//! carried    any holder ── read, write ── descriptor ═ pair ═ carrier ── connection
//! ```
//!
//! A socket is switched once, in the middle of a stream if need be, and stays so. From then on one thread, the
//! [`carrier`], moves bytes between the other end of the descriptor's pair and the connection, in the connection's own
//! buffers: where one side takes no more, the other is not read. The connection ends when the last holder closes.
//!
//! - [`carrier`]: the thread;
//! - [`stream`], [`datagrams`], [`connections`]: what it moves for each kind of socket. A port that listens carries
//!   connections: each is accepted and passed through the pair to whoever calls `accept` there;
//! - [`label`]: what such a descriptor says of itself;
//! - [`options`].

pub(crate) mod carrier;
mod connections;
mod datagrams;
mod label;
mod options;
mod stream;

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Weak};

use libc::c_int;

use crate::descriptors::Own;
use crate::errno::{Errno, Result};
use crate::runtime::{self, Core};
use crate::socket::carrying::carrier::{Cargo, Load};
use crate::socket::carrying::connections::Connections;
use crate::socket::carrying::datagrams::Datagrams;
use crate::socket::carrying::label::Label;
use crate::socket::carrying::stream::Stream;
use crate::socket::kernel;
use crate::socket::state::{Kind, Socket};
use crate::socket::table::{self, Entry};
use crate::stack::mirror::Mirror;
use crate::stack::pair::{Ends, inode_of, unread};

pub(crate) use carrier::Port;
pub(crate) use connections::accept;
pub(crate) use options::{get, set};

/// What is known of a socket whose descriptor carries data, in the process that switched it and in its children.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) family: c_int,
    pub(crate) kind: Kind,
    pub(crate) local: SocketAddr,
    /// Who is at the other end, or is about to be.
    remote: Option<SocketAddr>,
    pub(crate) listening: bool,
    /// The holders' end of the pair.
    front: libc::ino_t,
    fate: Arc<Fate>,
    /// The socket, where it lives in this process.
    socket: Weak<Socket>,
}

/// What became of it, as the carrier tells those who hold descriptors of it.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// It has a peer, or had one.
    made: AtomicBool,
    /// Why it failed, until somebody asks.
    failure: AtomicI32,
}

impl Fate {
    fn of(socket: &Socket) -> Arc<Self> {
        Arc::new(Self { made: AtomicBool::new(!socket.is_connecting()), failure: AtomicI32::default() })
    }
}

impl Carried {
    fn of(socket: &Arc<Socket>, ends: &Ends) -> Self {
        let mut carried = Self::labelled(label_of(socket), ends.front, Arc::downgrade(socket));
        carried.fate = Fate::of(socket);
        carried
    }

    /// What a descriptor that was inherited or passed says of itself.
    fn labelled(label: Label, front: libc::ino_t, socket: Weak<Socket>) -> Self {
        let Label { family, kind, listening, local, remote } = label;
        let fate = Arc::new(Fate { made: AtomicBool::new(true), failure: AtomicI32::default() });
        Self { family, kind, local, remote, listening, front, fate, socket }
    }

    /// Whether it is what the descriptor stands for.
    pub(crate) fn is_behind(&self, fd: RawFd) -> bool {
        inode_of(&fd) == Ok(self.front)
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> Result<SocketAddr> {
        let made = self.fate.made.load(Ordering::Acquire);
        self.remote.filter(|_| made).ok_or(Errno(libc::ENOTCONN))
    }

    /// Of a descriptor that another process made.
    pub(crate) fn foreign(
        family: c_int,
        kind: Kind,
        local: SocketAddr,
        remote: Option<SocketAddr>,
        front: &OwnedFd,
    ) -> Result<Self> {
        let label = Label { family, kind, listening: remote.is_none(), local, remote };
        Ok(Self::labelled(label, inode_of(front)?, Weak::new()))
    }

    /// The socket, for what only the stack knows; none in a child, and none when the connection is over.
    pub(crate) fn socket(&self) -> Option<Arc<Socket>> {
        if runtime::is_child() { None } else { self.socket.upgrade() }
    }
}

impl Drop for Carried {
    /// The process has closed its last descriptor of this. A port is free when the call is back, unless others hold it.
    fn drop(&mut self) {
        if self.listening && !runtime::is_child() {
            carrier::look_at(self.front);
        }
    }
}

/// Makes the socket's descriptors carry data. `ENOTCONN` for one that has neither a peer nor listens.
pub(crate) fn carry(socket: &Arc<Socket>) -> Result<()> {
    let cargo = cargo(socket).ok_or(Errno(libc::ENOTCONN))?;
    let Some((ends, replacement)) = take_ends(socket)? else { return Ok(()) };
    let carried = Arc::new(Carried::of(socket, &ends));
    for fd in table::descriptors_of(socket) {
        if let Some(replacement) = &replacement {
            kernel::put_behind(fd, &replacement.front)?;
        }
        socket.options.lock().apply_to_kernel(fd, socket.family);
        drop(table::insert(fd, Entry::Carried(carried.clone())));
    }
    if let Some(replacement) = replacement {
        replacement.old.dismiss();
    }
    carrier::take_on(Load { socket: socket.clone(), ends, cargo, fate: carried.fate.clone() })
}

/// The same for a connection that was accepted and that nobody has yet, with the one descriptor that it was made with.
fn carry_new(fd: OwnedFd, socket: &Arc<Socket>) -> Result<OwnedFd> {
    let cargo = cargo(socket).ok_or(Errno(libc::ENOTCONN))?;
    let Some((ends, replacement)) = take_ends(socket)? else { return Ok(fd) };
    carrier::take_on(Load { socket: socket.clone(), ends, cargo, fate: Fate::of(socket) })?;
    Ok(replacement.map_or(fd, |replacement| replacement.front))
}

/// The same for a port of ours, made with the descriptor `front`, that takes the place of one of the kernel's at `fd`.
/// Whoever accepts there gets connections of both.
pub(crate) fn carry_beside(fd: RawFd, front: OwnedFd, socket: &Arc<Socket>, kernel: Own) -> Result<()> {
    let listener = socket.listener().ok_or(Errno(libc::EINVAL))?;
    let Some((ends, replacement)) = take_ends(socket)? else { return Err(Errno(libc::EINVAL)) };
    let front = replacement.map_or(front, |replacement| replacement.front);
    let carried = Arc::new(Carried::of(socket, &ends));
    Socket::put_behind(fd, &front, Entry::Carried(carried.clone()))?;
    let cargo = Box::new(Connections::new(listener, Some(kernel)));
    carrier::take_on(Load { socket: socket.clone(), ends, cargo, fate: carried.fate.clone() })
}

/// The ports of this process that others hold descriptors of, for another one to have. It listens at them no more. With
/// `closing` this process's own descriptors do not count.
pub(crate) fn give_up_ports(closing: bool) -> Vec<Port> {
    if closing {
        for fd in table::descriptors(|entry| matches!(entry, Entry::Carried(carried) if carried.listening)) {
            let entry = table::remove(fd);
            if entry.is_some_and(|entry| entry.is_behind(fd)) {
                // SAFETY: the process ends; nothing of it will use the number.
                unsafe { libc::close(fd) };
            }
        }
    }
    carrier::give_up_ports()
}

/// Listens at a port that another process of this node gave up, for those who hold descriptors of it.
pub(crate) fn take_over(core: &Arc<Core>, port: Port, backlog: c_int) -> Result<()> {
    let label = Label::on(&port.back).filter(|label| label.listening).ok_or(Errno(libc::EINVAL))?;
    let (front, socket) = Socket::make(core, label.family, label.kind, libc::SOCK_CLOEXEC)?;
    socket.bind(front.as_raw_fd(), label.local)?;
    socket.listen(backlog)?;
    let listener = socket.listener().ok_or(Errno(libc::EINVAL))?;
    drop(socket.take_mirror());
    let fate = Fate::of(&socket);
    let cargo = Box::new(Connections::new(listener, port.kernel));
    carrier::take_on(Load { socket, ends: Ends::inherited(port.back)?, cargo, fate })
}

/// The application's descriptor of a new pair, and what showed on the one whose place it takes.
struct Replacement {
    front: OwnedFd,
    old: Mirror,
}

/// Takes the pair from what showed the socket's readiness, or makes one where that can carry nothing; `None`: the
/// socket's descriptors carry data already.
fn take_ends(socket: &Arc<Socket>) -> Result<Option<(Ends, Option<Replacement>)>> {
    let Some(mirror) = socket.take_mirror() else { return Ok(None) };
    Ok(Some(match mirror.into_ends() {
        Ok(ends) => (ends?, None),
        Err(old) => {
            let (front, ends) = Ends::open(pair_for(socket.kind) | libc::SOCK_CLOEXEC, socket.is_connecting())?;
            (ends, Some(Replacement { front, old }))
        }
    }))
}

/// The kind of local sockets that have the boundaries of these, and an end.
fn pair_for(kind: Kind) -> c_int {
    match kind {
        Kind::Stream => libc::SOCK_STREAM,
        Kind::Datagram | Kind::Echo => libc::SOCK_SEQPACKET,
    }
}

fn label_of(socket: &Socket) -> Label {
    Label {
        family: socket.family,
        kind: socket.kind,
        listening: socket.listener().is_some(),
        local: socket.local_address(),
        remote: socket.peer_meant(),
    }
}

/// Descriptors that carry data and that this program has from the one before `exec` are known from now on.
pub(crate) fn recognise_inherited() {
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { return };
    for fd in descriptors.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok()) {
        if let Some(label) = Label::of(fd)
            && let Ok(front) = inode_of(&fd)
        {
            drop(table::insert(fd, Entry::Carried(Arc::new(Carried::labelled(label, front, Weak::new())))));
        }
    }
}

fn cargo(socket: &Arc<Socket>) -> Option<Box<dyn Cargo>> {
    if let Some(connection) = socket.connection() {
        return Some(Box::new(Stream::new(connection)));
    }
    if let Some(listener) = socket.listener() {
        return Some(Box::new(Connections::new(listener, None)));
    }
    match socket.endpoint() {
        Some((endpoint, Some(_))) => Some(Box::new(Datagrams::new(endpoint))),
        _ => None,
    }
}

/// Whoever gets one of these descriptors will read and write it by itself: those that are ours carry data from now
/// on. What has no peer yet stays as it is.
pub(crate) fn carry_all(fds: impl IntoIterator<Item = RawFd>) {
    for socket in fds.into_iter().filter_map(table::find) {
        let _ = carry(&socket);
    }
}

/// A descriptor in this process of the end that the holders have, if there is one.
fn holders_end(socket: &Arc<Socket>, front: libc::ino_t) -> Option<OwnedFd> {
    let own =
        |entry: &Entry| matches!(entry, Entry::Carried(carried) if carried.socket.as_ptr() == Arc::as_ptr(socket));
    table::descriptors(own).into_iter().find_map(|fd| {
        // SAFETY: only numbers go in and come out.
        let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
        // SAFETY: where it is one, the system just made it, and nobody else has it.
        let copy = (copy >= 0).then(|| unsafe { OwnedFd::from_raw_fd(copy) })?;
        // The application may have closed it without telling, and opened something else.
        (inode_of(&copy) == Ok(front)).then_some(copy)
    })
}

/// Reads from the library's end, without waiting.
fn take(ends: &Ends, room: &mut [u8]) -> Result<usize> {
    // SAFETY: the room is as large as said.
    let got = unsafe { libc::recv(ends.back.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), libc::MSG_DONTWAIT) };
    usize::try_from(got).map_err(|_| Errno::last())
}

/// Writes to the library's end, without waiting.
fn give(ends: &Ends, data: &[u8]) -> Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: so many bytes are there.
    let given = unsafe { libc::send(ends.back.as_raw_fd(), data.as_ptr().cast(), data.len(), flags) };
    usize::try_from(given).map_err(|_| Errno::last())
}

/// Bytes that holders have written and that were not taken yet.
fn written(ends: &Ends) -> usize {
    unread(&ends.back)
}

/// Whether nobody holds the other end any more, or whoever does has shut both directions.
fn hung_up(ends: &Ends) -> bool {
    let mut entry = libc::pollfd { fd: ends.back.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one valid entry.
    unsafe { libc::poll(&raw mut entry, 1, 0) };
    entry.revents & libc::POLLHUP != 0
}

/// No more bytes go this way through the library's end.
fn shut(ends: &Ends, how: c_int) {
    // SAFETY: only numbers go in.
    unsafe { libc::shutdown(ends.back.as_raw_fd(), how) };
}
