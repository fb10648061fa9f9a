//! What the relay did, and what it refused to do, counted.

/// Why a datagram, or what it carried, came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// No outer datagram that this version knows, or one cut short.
    Malformed,
    /// An outer datagram that has no business at a relay.
    UnexpectedType,
    /// From an address that nothing can be sent to, or from the relay itself.
    UnusableSource,
    /// A bind at more of the relay's own addresses than it keeps apart.
    TooManyLocals,
    /// `Relayed` with an index nobody was told.
    UnknownIndex,
    /// `Relayed` with somebody else's index.
    WrongSource,
    /// `Relayed` with an index that its side left behind longer ago than the grace.
    LeftIndex,
    /// What stands inside is nothing that a relay forwards.
    InnerForbidden,
    /// Above the rate that the token grants.
    RateLimited,
    /// Above the rate of the account that pays.
    AccountRateLimited,
    /// The other side has not bound yet, or has not proven its address, and no room is left to wait.
    HoldFull,
    /// Waited for the other side, in vain.
    HoldExpired,
    /// The relay is asked to bind more often than it can look at, by this source too.
    BindFlood,
    /// A token under a key that the relay does not have.
    UnknownKey,
    /// A token that no direction server made.
    BadToken,
    /// A token, or the grant it made, past its time.
    TokenExpired,
    /// A token that would live longer than the relay accepts.
    TokenTooLong,
    /// A bind by somebody who has the token and not the key.
    BadMac,
    /// A bind whose sequence number has been used: a replay, or a duplicate.
    Replayed,
    /// A bind to a communication that a direction server has revoked.
    Revoked,
    /// A bind to a new grant while the table is full.
    TableFull,
    /// A bind to a new grant while the relay is draining.
    Draining,
    /// More pings from one source than are answered.
    PingFlood,
    /// The driver does not take away what the relay wants to send.
    TransmitFull,
    /// A session datagram for no session with a direction server.
    UnknownSession,
    /// A session datagram that its session does not open.
    Unauthentic,
    /// An authentic message that a direction server has no reason to send here.
    UnexpectedMessage,
}

impl DropReason {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 27] = [
        Self::Malformed,
        Self::UnexpectedType,
        Self::UnusableSource,
        Self::TooManyLocals,
        Self::UnknownIndex,
        Self::WrongSource,
        Self::LeftIndex,
        Self::InnerForbidden,
        Self::RateLimited,
        Self::AccountRateLimited,
        Self::HoldFull,
        Self::HoldExpired,
        Self::BindFlood,
        Self::UnknownKey,
        Self::BadToken,
        Self::TokenExpired,
        Self::TokenTooLong,
        Self::BadMac,
        Self::Replayed,
        Self::Revoked,
        Self::TableFull,
        Self::Draining,
        Self::PingFlood,
        Self::TransmitFull,
        Self::UnknownSession,
        Self::Unauthentic,
        Self::UnexpectedMessage,
    ];
}

/// Counters since the relay was made. They only rise, but for `grants` and `held_bytes`, which say
/// what is so now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Grants in the table now.
    pub grants: usize,
    /// Bytes that wait for a side to bind or to prove its address, now.
    pub held_bytes: usize,
    /// Datagrams sent on, with their outer header.
    pub forwarded_datagrams: u64,
    pub forwarded_bytes: u64,
    /// Bytes that were dropped because they were above the rate of the account that pays.
    pub account_limited_bytes: u64,
    /// Datagrams that had to wait before they could be sent on.
    pub held_datagrams: u64,
    /// Binds that were good.
    pub binds: u64,
    /// Those of them that moved a side to another address.
    pub rebinds: u64,
    /// Addresses proven by a datagram with the index that only they were told.
    pub proven: u64,
    pub pings: u64,
    pub grants_made: u64,
    pub grants_expired: u64,
    pub grants_idle: u64,
    pub grants_revoked: u64,
    /// Revocations that were forgotten before their time to make room.
    pub revocations_evicted: u64,
    /// Sessions with direction servers that came up, rekeys included.
    pub director_sessions: u64,
    /// Reports that a direction server has acknowledged.
    pub reports_answered: u64,
    dropped: [u64; DropReason::ALL.len()],
}

impl Stats {
    /// How much was dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// How much was dropped altogether.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    pub(crate) fn count(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        for (number, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }
}
