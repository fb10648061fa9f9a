//! Datagrams that came one behind the other and go on one behind the other: sent with one call, from where they lie.

use std::net::SocketAddr;
use std::ops::Range;

/// What one call of the kernel may weigh: an IPv4 datagram of the largest size, less its headers.
const MAX_BYTES: usize = 65_000;

/// Datagrams from one address to another, all of `segment` bytes but the last, which may be shorter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Train {
    /// The relay's own address.
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) segment: usize,
    /// Where it lies in the buffer.
    pub(crate) bytes: Range<usize>,
    count: usize,
    /// How many one call can send.
    most: usize,
}

impl Train {
    pub(crate) fn new(from: SocketAddr, to: SocketAddr, bytes: Range<usize>, most: usize) -> Self {
        Self { from, to, segment: bytes.len(), bytes, count: 1, most }
    }

    /// How many datagrams it is.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Takes one more if it follows, is not longer, and the one before it was not shorter.
    pub(crate) fn couple(&mut self, from: SocketAddr, to: SocketAddr, bytes: &Range<usize>) -> bool {
        let follows = bytes.start == self.bytes.end && self.from == from && self.to == to;
        let whole = self.bytes.len() == self.segment * self.count;
        let fits = bytes.len() <= self.segment && self.count < self.most && bytes.end - self.bytes.start <= MAX_BYTES;
        let coupled = follows && whole && fits;
        if coupled {
            self.bytes.end = bytes.end;
            self.count += 1;
        }
        coupled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 1);
    const B: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)), 2);

    #[test]
    fn only_what_follows_and_fits_travels_together() {
        let mut train = Train::new(A, B, 0..100, 4);
        assert!(train.couple(A, B, &(100..200)));
        assert!(!train.couple(A, A, &(200..300)), "elsewhere");
        assert!(!train.couple(B, B, &(200..300)), "from elsewhere");
        assert!(!train.couple(A, B, &(300..400)), "a gap");
        assert!(!train.couple(A, B, &(200..301)), "longer");
        assert!(train.couple(A, B, &(200..250)), "a short one ends it");
        assert!(!train.couple(A, B, &(250..300)), "nothing comes behind a short one");
        let mut full = Train::new(A, B, 0..100, 2);
        assert!(full.couple(A, B, &(100..200)));
        assert!(!full.couple(A, B, &(200..300)), "too many");
        assert_eq!((train.count(), train.segment, train.bytes), (3, 100, 0..250));
    }

    #[test]
    fn no_train_is_heavier_than_the_kernel_takes() {
        let mut train = Train::new(A, B, 0..9_000, 64);
        let taken = (1..64).filter(|n| train.couple(A, B, &(n * 9_000..(n + 1) * 9_000))).count();
        assert_eq!(taken, 6);
    }
}
