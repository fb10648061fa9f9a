//! Which descriptor is which socket.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::socket::state::Socket;
use crate::sync::Shared;

static TABLE: std::sync::LazyLock<Shared<HashMap<RawFd, Arc<Socket>>>> = std::sync::LazyLock::new(Shared::default);

/// The socket of this descriptor; `None`: it is the kernel's.
pub(crate) fn find(fd: RawFd) -> Option<Arc<Socket>> {
    TABLE.read().get(&fd).cloned()
}

/// The descriptor is this socket from now on. Whatever it was before was closed behind the library's back.
pub(crate) fn insert(fd: RawFd, socket: Arc<Socket>) {
    let old = TABLE.write().insert(fd, socket);
    drop(old);
}

/// The descriptor is the kernel's from now on.
pub(crate) fn remove(fd: RawFd) -> Option<Arc<Socket>> {
    TABLE.write().remove(&fd)
}

/// The descriptors of a socket.
pub(crate) fn descriptors_of(socket: &Socket) -> Vec<RawFd> {
    let table = TABLE.read();
    table.iter().filter(|(_, held)| std::ptr::eq(Arc::as_ptr(held), socket)).map(|(fd, _)| *fd).collect()
}
