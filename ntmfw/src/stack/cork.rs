//! Bytes of a stream that wait for more: `TCP_CORK` and `MSG_MORE`.

use std::time::Duration;

use ntm_proto::time::Instant;

/// The longest that bytes wait, as `tcp(7)` has it.
const PATIENCE: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub(crate) struct Cork {
    held: Vec<u8>,
    until: Option<Instant>,
}

impl Cork {
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn hold(&mut self, now: Instant, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.held.extend_from_slice(bytes);
            self.until.get_or_insert(now + PATIENCE);
        }
    }

    /// When the bytes must wait no longer.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whole segments' worth of what is held.
    pub(crate) fn full(&self, segment: usize) -> &[u8] {
        &self.held[..self.held.len() / segment * segment]
    }

    pub(crate) fn all(&self) -> &[u8] {
        &self.held
    }

    /// So many bytes wait no more.
    pub(crate) fn release(&mut self, count: usize) {
        self.held.drain(..count);
        if self.held.is_empty() {
            self.until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_segments_need_not_wait_and_the_rest_waits_from_its_first_byte_on() {
        let begin = Instant::from_millis(1_000);
        let mut cork = Cork::default();
        cork.hold(begin, b"abcde");
        cork.hold(begin + PATIENCE, b"fgh");
        assert_eq!((cork.full(3), cork.until()), (&b"abcdef"[..], Some(begin + PATIENCE)));
        cork.release(6);
        assert_eq!((cork.full(3), cork.all(), cork.len()), (&b""[..], &b"gh"[..], 2));
        cork.release(2);
        assert_eq!(cork.until(), None);
    }
}
