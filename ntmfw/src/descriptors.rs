//! The library's own descriptors: which numbers they have, kept out of the application's way.
//!
//! They are noted so that a forked child can close its copies (a connection ends when its last descriptor is closed,
//! and a copy that nobody knows of would keep it open), and so that a program that closes whatever it finds can be
//! kept from closing these.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers from here on are not noted; Linux gives none above its own limit of the same size.
const NUMBERS: usize = 1 << 20;

/// A set of descriptors that is read without a lock, also by a child whose other threads are gone.
#[derive(Debug)]
pub(crate) struct Numbers([AtomicU64; NUMBERS / 64]);

impl Numbers {
    pub(crate) const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; NUMBERS / 64])
    }

    pub(crate) fn has(&self, fd: RawFd) -> bool {
        self.place(fd).is_some_and(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    }

    pub(crate) fn add(&self, fd: RawFd) {
        if let Some((word, bit)) = self.place(fd) {
            word.fetch_or(bit, Ordering::AcqRel);
        }
    }

    pub(crate) fn remove(&self, fd: RawFd) {
        if let Some((word, bit)) = self.place(fd) {
            word.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// Those from `first` to `last`, in order.
    pub(crate) fn within(&self, first: RawFd, last: RawFd) -> impl Iterator<Item = RawFd> {
        let words = self.0.iter().zip((0..).step_by(64));
        let all = words.flat_map(|(word, lowest)| {
            let bits = word.load(Ordering::Acquire);
            (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| lowest + bit)
        });
        all.skip_while(move |fd| *fd < first).take_while(move |fd| *fd <= last)
    }

    /// Empties the set and gives what was in it.
    fn take_all(&self) -> Vec<RawFd> {
        let all: Vec<_> = self.within(0, RawFd::MAX).collect();
        all.iter().for_each(|fd| self.remove(*fd));
        all
    }

    fn place(&self, fd: RawFd) -> Option<(&AtomicU64, u64)> {
        let number = usize::try_from(fd).ok()?;
        Some((self.0.get(number / 64)?, 1 << (number % 64)))
    }
}

static OWN: Numbers = Numbers::new();

/// Whether this is a descriptor of the library, which the application has no business with.
pub(crate) fn is_own(fd: RawFd) -> bool {
    OWN.has(fd)
}

/// Those in a range, in order.
pub(crate) fn own_within(first: RawFd, last: RawFd) -> Vec<RawFd> {
    OWN.within(first, last).collect()
}

/// In a child, after `fork`: lets go of everything that belongs to the parent's library.
pub(crate) fn close_all_own() {
    for fd in OWN.take_all() {
        // SAFETY: the number is that of a descriptor of the library, which does not run in this process.
        unsafe { libc::close(fd) };
    }
}

/// Notes a descriptor for as long as this lives: to be dropped before the descriptor is closed.
#[derive(Debug)]
pub(crate) struct Noted(RawFd);

impl Noted {
    pub(crate) fn new(fd: &impl AsRawFd) -> Self {
        OWN.add(fd.as_raw_fd());
        Self(fd.as_raw_fd())
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        OWN.remove(self.0);
    }
}

/// A descriptor of the library, noted.
#[derive(Debug)]
pub(crate) struct Own {
    // Dropped in this order.
    _noted: Noted,
    fd: OwnedFd,
}

impl Own {
    /// Moves it out of the low numbers, which are the application's: `select` can use nothing above 1,023. Where the
    /// limit leaves no higher number, it stays.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        const ABOVE: libc::c_int = 1_024;
        // SAFETY: makes another descriptor of one that is owned.
        let lifted = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, ABOVE) };
        let fd = if lifted < 0 {
            fd
        } else {
            // SAFETY: the system just made it, and nobody else has it.
            unsafe { OwnedFd::from_raw_fd(lifted) }
        };
        Self { _noted: Noted::new(&fd), fd }
    }

    /// The descriptor that a system call just made, or its error.
    pub(crate) fn made(result: RawFd) -> io::Result<Self> {
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the system just made the descriptor, and nobody else has it.
        Ok(Self::new(unsafe { OwnedFd::from_raw_fd(result) }))
    }
}

impl From<Own> for OwnedFd {
    /// It is whoever's it is given to.
    fn from(own: Own) -> Self {
        own.fd
    }
}

impl AsRawFd for Own {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Own {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_librarys_own_descriptors_are_known_while_they_live_and_leave_the_low_numbers_alone() {
        let file = std::fs::File::open("/dev/null").expect("a file");
        let own = Own::new(file.into());
        assert!(own.as_raw_fd() >= 1_024 && is_own(own.as_raw_fd()));
        // A number that no other test is given.
        const FAR: RawFd = 60_000;
        assert!(!is_own(FAR));
        let noted = Noted::new(&FAR);
        assert!(is_own(FAR));
        drop(noted);
        assert!(!is_own(FAR));
    }

    #[test]
    fn a_set_gives_all_its_numbers_once_and_holds_no_nonsense() {
        static SET: Numbers = Numbers::new();
        for fd in [-1, 0, 63, 64, 70_000, RawFd::MAX] {
            SET.add(fd);
        }
        SET.remove(63);
        assert!(!SET.has(-1) && !SET.has(RawFd::MAX));
        assert_eq!(SET.within(1, 64).collect::<Vec<_>>(), [64]);
        assert_eq!(SET.take_all(), [0, 64, 70_000]);
        assert!(SET.take_all().is_empty());
    }
}
