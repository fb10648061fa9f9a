//! How much an address may be sent before it has proven that it receives.
//!
//! The source address of a datagram is whatever its sender wrote. Until the address has answered
//! something only its owner could have read, it is sent at most three times the bytes that came from
//! it, so nobody gains by forging a victim's address.

/// RFC 9000, 8.1 ("three times").
pub const AMPLIFICATION_FACTOR: u64 = 3;

/// The account of one unproven address.
///
/// ```
/// # use ntm_proto::session::Allowance;
/// let mut address = Allowance::default();
/// address.received(100);
/// assert!(address.permits(300));
/// address.sent(300);
/// assert!(!address.permits(1));
/// address.prove();
/// assert!(address.permits(1_000_000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    received: u64,
    sent: u64,
    proven: bool,
}

impl Allowance {
    /// For an address that needs no proof.
    pub const fn proven() -> Self {
        Self { received: 0, sent: 0, proven: true }
    }

    /// `bytes` came from the address.
    pub fn received(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes as u64);
    }

    /// Whether `bytes` more may be sent to it.
    pub fn permits(&self, bytes: usize) -> bool {
        self.proven || bytes as u64 <= self.left()
    }

    /// `bytes` were sent to it.
    pub fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes as u64);
    }

    /// It answered what only its owner could have read.
    pub fn prove(&mut self) {
        self.proven = true;
    }

    pub fn is_proven(&self) -> bool {
        self.proven
    }

    fn left(&self) -> u64 {
        self.received.saturating_mul(AMPLIFICATION_FACTOR).saturating_sub(self.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_sent_nothing_is_sent_nothing() {
        assert!(!Allowance::default().permits(1));
    }

    #[test]
    fn an_unproven_address_never_gets_more_than_three_times_what_it_sent() {
        let mut address = Allowance::default();
        let mut sent = 0;
        for _ in 0..10 {
            address.received(50);
            while address.permits(40) {
                address.sent(40);
                sent += 40;
            }
        }
        assert!(sent <= 3 * 500, "{sent}");
        assert!(sent > 3 * 500 - 40, "{sent}");
    }

    #[test]
    fn a_proven_address_has_no_limit() {
        let mut address = Allowance::default();
        address.prove();
        assert!(address.is_proven() && address.permits(usize::MAX));
    }
}
