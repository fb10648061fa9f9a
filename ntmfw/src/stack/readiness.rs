//! What a socket is ready for, who waits for that, and how the kernel's `poll` is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::stack::mirror::Mirror;
use crate::stack::parker::Parker;
use crate::sync::Lock;

/// The bits of `poll`.
pub(crate) const IN: u32 = libc::POLLIN as u32;
pub(crate) const OUT: u32 = libc::POLLOUT as u32;
pub(crate) const HUP: u32 = libc::POLLHUP as u32;
pub(crate) const ERR: u32 = libc::POLLERR as u32;
pub(crate) const RDHUP: u32 = libc::POLLRDHUP as u32;

#[derive(Debug, Default)]
pub(crate) struct Readiness {
    bits: AtomicU32,
    waiters: Lock<Vec<(Arc<Parker>, u32)>>,
    /// The descriptor that shows these bits, where the socket has one.
    mirror: Lock<Option<Arc<Lock<Mirror>>>>,
}

impl Readiness {
    pub(crate) fn bits(&self) -> u32 {
        self.bits.load(Ordering::Acquire)
    }

    pub(crate) fn has(&self, any_of: u32) -> bool {
        self.bits() & any_of != 0
    }

    /// The descriptor follows from now on.
    pub(crate) fn show_on(&self, mirror: &Arc<Lock<Mirror>>) {
        let mut shown = self.mirror.lock();
        shown.insert(mirror.clone()).lock().show(self.bits());
    }

    /// The descriptor is another's now.
    pub(crate) fn hide(&self) {
        *self.mirror.lock() = None;
    }

    /// The socket is ready for this and nothing else.
    pub(crate) fn set(&self, bits: u32) {
        let old = self.bits.swap(bits, Ordering::AcqRel);
        if old == bits {
            return;
        }
        let mut taken = false;
        let risen = bits & !old;
        if risen != 0 {
            for (parker, want) in self.waiters.lock().iter() {
                if want & risen != 0 {
                    parker.wake();
                    taken |= want & IN != 0;
                }
            }
        }
        // A thread that waits to read will have read before anybody could look. And that there is no more room to
        // send is shown when a call has met with that: a thread that waits for room needs no descriptor to tell it.
        let fallen = old & !bits;
        if (taken && risen == IN) || (risen == 0 && fallen == OUT) {
            return;
        }
        self.reflect();
    }

    /// More came of what there was already.
    pub(crate) fn show_arrival(&self) {
        if let Some(mirror) = self.mirror.lock().as_ref() {
            mirror.lock().show_arrival();
        }
    }

    pub(crate) fn add_waiter(&self, parker: &Arc<Parker>, want: u32) {
        self.waiters.lock().push((parker.clone(), want));
    }

    /// The thread waits no more. Where it left something unread, the descriptor shows that now.
    pub(crate) fn remove_waiter(&self, parker: &Arc<Parker>) {
        self.waiters.lock().retain(|(other, _)| !Arc::ptr_eq(other, parker));
    }

    /// Shows the bits that a waiting thread was expected to take, and did not.
    pub(crate) fn reflect(&self) {
        if let Some(mirror) = self.mirror.lock().as_ref() {
            mirror.lock().show(self.bits());
        }
    }
}
