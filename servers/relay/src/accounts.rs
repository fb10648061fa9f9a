//! Rates by account: what all grants that one account pays for may carry together.
//!
//! An account has a seat for as long as a grant has it: so there are never more seats than grants, and the seat of
//! an account that is idle goes with its last grant. Nothing is lost by that but how far the account was ahead of
//! its rate, which is a burst at the most.
//!
//! Invariant: a seat that `by_payer` leads to has as many grants as were given it and have not left.

use std::collections::BTreeMap;

use ntm_proto::session::Payer;
use ntm_proto::time::Instant;

use crate::pace::{ByteRate, Pace};

/// Where an account sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat(u32);

#[derive(Debug)]
pub(crate) struct Accounts {
    /// The same for every account; `None` for as much as comes.
    rate: Option<ByteRate>,
    by_payer: BTreeMap<Payer, Seat>,
    seats: Vec<Account>,
    free: Vec<Seat>,
}

#[derive(Debug)]
struct Account {
    payer: Payer,
    grants: u32,
    /// Of all that its grants carry, both ways.
    pace: Pace,
}

impl Seat {
    const fn at(self) -> usize {
        self.0 as usize
    }
}

impl Accounts {
    /// `rate` is in kilobytes a second; zero is no limit.
    pub(crate) fn new(rate: u32) -> Self {
        let mut accounts = Self { rate: None, by_payer: BTreeMap::new(), seats: Vec::new(), free: Vec::new() };
        accounts.set_rate(rate);
        accounts
    }

    pub(crate) fn set_rate(&mut self, rate: u32) {
        self.rate = (rate > 0).then(|| ByteRate::kilobytes(rate));
    }

    pub(crate) fn have_a_rate(&self) -> bool {
        self.rate.is_some()
    }

    /// A seat for one more grant of who pays.
    pub(crate) fn join(&mut self, payer: Payer) -> Seat {
        if let Some(seat) = self.by_payer.get(&payer) {
            self.seats[seat.at()].grants += 1;
            return *seat;
        }
        let account = Account { payer, grants: 1, pace: Pace::default() };
        let seat = match self.free.pop() {
            Some(seat) => {
                self.seats[seat.at()] = account;
                seat
            }
            None => {
                let seat = Seat(u32::try_from(self.seats.len()).expect("limits::MAX_GRANTS is far below 2^32"));
                self.seats.push(account);
                seat
            }
        };
        self.by_payer.insert(payer, seat);
        seat
    }

    /// One grant fewer; with the last the account goes.
    pub(crate) fn leave(&mut self, seat: Seat) {
        let account = &mut self.seats[seat.at()];
        account.grants -= 1;
        if account.grants == 0 {
            self.by_payer.remove(&account.payer);
            self.free.push(seat);
        }
    }

    /// Whether the account may have `bytes` more carried now; if so they are charged.
    pub(crate) fn admit(&mut self, now: Instant, seat: Seat, bytes: u64) -> bool {
        match &self.rate {
            Some(rate) => self.seats[seat.at()].pace.admit(now, &rate.with_burst(), bytes),
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn an_account_has_one_seat_until_its_last_grant_leaves() {
        let mut accounts = Accounts::new(1);
        let (payer, other) = (Payer([1; 3]), Payer([2; 3]));
        let seat = accounts.join(payer);
        assert_eq!(accounts.join(payer), seat);
        assert_ne!(accounts.join(other), seat);
        accounts.leave(seat);
        assert_eq!(accounts.join(payer), seat);
        accounts.leave(seat);
        accounts.leave(seat);
        assert_eq!((accounts.by_payer.len(), accounts.free.len()), (1, 1));
        assert_eq!(accounts.join(Payer([3; 3])), seat, "its place is used again");
        assert_eq!(accounts.seats.len(), 2);
    }

    #[test]
    fn who_takes_a_seat_anew_owes_nothing_for_who_had_it_before() {
        let mut accounts = Accounts::new(1);
        let seat = accounts.join(Payer([1; 3]));
        assert!(accounts.admit(Instant::ZERO, seat, limits::RATE_BURST_BYTES));
        assert!(!accounts.admit(Instant::ZERO, seat, 1));
        accounts.leave(seat);
        let seat = accounts.join(Payer([2; 3]));
        assert!(accounts.admit(Instant::ZERO, seat, limits::RATE_BURST_BYTES));
    }
}
