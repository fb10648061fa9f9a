//! Memory for a connection's buffers.
//!
//! The system gives it page by page when it is first written, and takes it back whole: thousands of connections that
//! say little hold little. The allocator would hand out what others have used, cleared, which is held at once.

use std::ptr::NonNull;

/// Zeroed memory of its own.
#[derive(Debug)]
pub(crate) struct Pages {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory belongs to whoever has the value, as a vector's does.
unsafe impl Send for Pages {}

impl Pages {
    /// None where the system has no more.
    pub(crate) fn new(length: usize) -> Option<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: asks for new memory at no place in particular.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), length.max(1), libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if start == libc::MAP_FAILED {
            return None;
        }
        Some(Self { start: NonNull::new(start.cast())?, length })
    }

    /// The memory as bytes, for a holder that cannot say for how long it has them.
    ///
    /// # Safety
    ///
    /// It may be called once, and what it gave must be gone before `self` is.
    pub(crate) unsafe fn lend(&mut self) -> &'static mut [u8] {
        // SAFETY: that many bytes were mapped and are zero; the caller keeps them apart and within their life.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Pages {
    /// Gives the memory back to the system, which makes it zero.
    ///
    /// # Safety
    ///
    /// Nobody looks at it meanwhile, or cares for what is in it.
    pub(crate) unsafe fn forget(&mut self) {
        // SAFETY: the mapping is this value's own; the rest is the caller's promise. Where it fails, nothing changes.
        unsafe { libc::madvise(self.start.as_ptr().cast(), self.length.max(1), libc::MADV_DONTNEED) };
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nobody else has it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length.max(1)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_zero_and_can_be_written_to_its_end() {
        for length in [0, 1, 10_000] {
            let mut pages = Pages::new(length).expect("there is memory");
            // SAFETY: lent once, and used before `pages` goes.
            let bytes = unsafe { pages.lend() };
            assert!(bytes.len() == length && bytes.iter().all(|byte| *byte == 0));
            bytes.fill(1);
            // SAFETY: nobody else has it, and it is looked at only afterwards.
            unsafe { pages.forget() };
            assert!(bytes.iter().all(|byte| *byte == 0));
        }
    }
}
