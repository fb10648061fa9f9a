//! Which descriptor is which socket.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::{Arc, RwLockWriteGuard};

use crate::descriptors::Numbers;
use crate::socket::carrying::Carried;
use crate::socket::state::Socket;
use crate::sync::Shared;

/// What stands behind a descriptor of ours.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A socket of this process: bytes go straight to the stack.
    Direct(Arc<Socket>),
    /// Bytes go through the descriptor itself.
    Carried(Arc<Carried>),
}

impl Entry {
    /// Whether the descriptor stands for it still. A program may close one without telling the library, and open something
    /// else.
    pub(crate) fn is_behind(&self, fd: RawFd) -> bool {
        match self {
            Self::Direct(socket) => socket.is_behind(fd),
            Self::Carried(carried) => carried.is_behind(fd),
        }
    }
}

pub(crate) type Entries = HashMap<RawFd, Entry>;

static TABLE: std::sync::LazyLock<Shared<Entries>> = std::sync::LazyLock::new(Shared::default);
/// The same numbers, for those who only want to know that a descriptor is none of ours.
static NUMBERS: Numbers = Numbers::new();

/// The socket that calls on this descriptor act on; `None`: they are made in the kernel, because the descriptor is
/// the kernel's, or because it carries data.
pub(crate) fn find(fd: RawFd) -> Option<Arc<Socket>> {
    match entry(fd)? {
        Entry::Direct(socket) => Some(socket),
        Entry::Carried(_) => None,
    }
}

/// What the descriptor carries, if it does.
pub(crate) fn carried(fd: RawFd) -> Option<Arc<Carried>> {
    match entry(fd)? {
        Entry::Direct(_) => None,
        Entry::Carried(carried) => Some(carried),
    }
}

/// Whether anything of ours stands behind the descriptor.
pub(crate) fn is_known(fd: RawFd) -> bool {
    NUMBERS.has(fd)
}

/// What stands behind the descriptor; `None`: it is the kernel's.
pub(crate) fn entry(fd: RawFd) -> Option<Entry> {
    if !is_known(fd) {
        return None;
    }
    TABLE.read().get(&fd).cloned()
}

/// The descriptor is this from now on; gives what it was, which was closed behind the library's back.
pub(crate) fn insert(fd: RawFd, entry: Entry) -> Option<Entry> {
    NUMBERS.add(fd);
    TABLE.write().insert(fd, entry)
}

/// The descriptor is the kernel's from now on; gives what it was.
pub(crate) fn remove(fd: RawFd) -> Option<Entry> {
    if !is_known(fd) {
        return None;
    }
    let entry = TABLE.write().remove(&fd);
    NUMBERS.remove(fd);
    entry
}

/// `copy` is what `fd` is from now on; gives what `copy` was.
pub(crate) fn share(fd: RawFd, copy: RawFd) -> Option<Entry> {
    match entry(fd) {
        Some(entry) => insert(copy, entry),
        None => remove(copy),
    }
}

/// The descriptors of what `which` picks.
pub(crate) fn descriptors(which: impl Fn(&Entry) -> bool) -> Vec<RawFd> {
    TABLE.read().iter().filter(|(_, entry)| which(entry)).map(|(fd, _)| *fd).collect()
}

/// The descriptors of a socket that calls act on directly.
pub(crate) fn descriptors_of(socket: &Socket) -> Vec<RawFd> {
    let mut all = descriptors(|entry| matches!(entry, Entry::Direct(held) if std::ptr::eq(Arc::as_ptr(held), socket)));
    all.retain(|fd| socket.is_behind(*fd));
    all
}

/// The descriptors of ours in a range.
pub(crate) fn descriptors_within(first: RawFd, last: RawFd) -> Vec<RawFd> {
    NUMBERS.within(first, last).collect()
}

/// Holds the table still.
pub(crate) fn hold() -> RwLockWriteGuard<'static, Entries> {
    TABLE.write()
}

/// What [`remove`] does, for whoever holds the table.
pub(crate) fn forget(held: &mut Entries, fd: RawFd) -> Option<Entry> {
    NUMBERS.remove(fd);
    held.remove(&fd)
}
