//! What becomes of sockets when the process ends by `exit` or by returning from `main`.
//!
//! They are closed as if the program had closed them, and what it wrote is given a while to arrive. A process that is
//! killed, or ends by `_exit`, tells its peers nothing.

use std::time::Duration;

use crate::errno::{Errno, Result};
use crate::inside;
use crate::negotiation::start;
use crate::packet::reader::wait_for;
use crate::runtime::Core;
use crate::socket::carrying::carrier;
use crate::socket::table::{self, Entry};
use crate::stack::readiness::{ERR, Readiness};

/// How long a process stays for what it wrote.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it looks whether that has arrived.
const STEP: Duration = Duration::from_millis(5);

/// From now on the end of the process is noticed.
pub(crate) fn watch() -> Result<()> {
    // SAFETY: a function that lives as long as the process.
    if unsafe { libc::atexit(at_exit) } != 0 { Err(Errno(libc::ENOMEM)) } else { Ok(()) }
}

extern "C" fn at_exit() {
    let _inside = inside::enter();
    // None in a child.
    let Some(core) = start::core() else { return };
    // On another thread: `exit` may have been called from a signal's handler in the middle of one of our calls, whose
    // locks would then be waited for in vain.
    let (done, closed) = crossbeam_channel::bounded(1);
    let closing = std::thread::Builder::new().spawn(move || {
        start::become_own_thread();
        close_everything(core);
        let _ = done.send(());
    });
    if closing.is_ok() {
        let _ = closed.recv_timeout(PATIENCE * 2);
    }
}

fn close_everything(core: &Core) {
    let until = core.now() + PATIENCE;
    for fd in table::descriptors(|entry| matches!(entry, Entry::Direct(_))) {
        if let Some(Entry::Direct(socket)) = table::remove(fd) {
            // Another thread may be in a call on it; the process ends all the same.
            socket.close_unattended(false);
        }
    }
    carrier::close_all(PATIENCE);
    let nothing = Readiness::default();
    while core.now() < until && core.stack.has_unsent() {
        let _ = wait_for(core, &nothing, ERR, Some(core.now() + STEP));
    }
}
