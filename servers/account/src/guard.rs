//! Who may ask how often, and who has guessed too often.
//!
//! | what is counted | by whom | then |
//! |---|---|---|
//! | requests of any kind | address | refused until the bucket fills again |
//! | what costs a hash or a place in the store | address | the same, from a smaller bucket |
//! | wrong secrets | account and address together | locked, each time twice as long |
//! | wrong secrets | account, from everywhere | locked for a while: guessing from many addresses |
//! | wrong secrets | address, at all accounts | locked for a while: one password tried at many accounts |
//!
//! An IPv6 "address" is its /64. Accounts that do not exist are counted like those that do, in tables of their
//! own, so that inventing names pushes no real one out. All tables are bounded: the oldest half goes first.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::refusal::{Code, Refusal};

/// Entries in each half of a table.
pub const TABLE: usize = 32_768;
/// Wrong secrets at one account from one address before it is locked.
pub const GUESSES: u32 = 5;
/// Wrong secrets at one account from everywhere, or from one address everywhere.
pub const WIDE_GUESSES: u32 = 50;
/// The first lock; each further wrong secret after it doubles it.
pub const FIRST_LOCK: Duration = Duration::from_secs(30);
pub const LONGEST_LOCK: Duration = Duration::from_secs(3600);
/// Guesses older than this are forgotten.
const FORGET: Duration = Duration::from_secs(24 * 3600);

/// A bucket: so much at once, so much a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub burst: f64,
    pub per_second: f64,
}

/// How often one address may ask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    pub requests: Rate,
    pub costly: Rate,
}

/// Where somebody asks from, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(u64, bool);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(u64::from(u32::from(v4)), false),
            IpAddr::V6(v6) => Self((u128::from(v6) >> 64) as u64, true),
        }
    }
}

/// Whose secret is tried: the name, and whether there is such an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    pub account: String,
    pub exists: bool,
}

#[derive(Debug)]
pub struct Guard {
    rates: Rates,
    tables: Mutex<Tables>,
}

#[derive(Debug)]
struct Tables {
    requests: Halves<Network, Bucket>,
    costly: Halves<Network, Bucket>,
    pairs: [Halves<(String, Network), Guesses>; 2],
    accounts: [Halves<String, Guesses>; 2],
    networks: Halves<Network, Guesses>,
}

/// A secret that is being checked. Until it is known to be right it counts like a wrong one, so that guesses
/// sent all at once are no more than guesses sent one by one.
#[derive(Debug)]
pub struct Attempt<'a> {
    guard: &'a Guard,
    claim: Claim,
    network: Network,
}

impl Guard {
    pub fn new(rates: Rates) -> Self {
        let tables = Tables {
            requests: Halves::new(),
            costly: Halves::new(),
            pairs: [Halves::new(), Halves::new()],
            accounts: [Halves::new(), Halves::new()],
            networks: Halves::new(),
        };
        Self { rates, tables: Mutex::new(tables) }
    }

    /// Counts a request of any kind.
    pub fn request(&self, now: Instant, from: IpAddr) -> Result<(), Refusal> {
        self.tables().requests.entry(from.into()).take(now, self.rates.requests)
    }

    /// Counts a request that costs a hash or a durable write.
    pub fn costly(&self, now: Instant, from: IpAddr) -> Result<(), Refusal> {
        self.tables().costly.entry(from.into()).take(now, self.rates.costly)
    }

    /// Begins to check a secret, unless too many were wrong.
    pub fn attempt(&self, now: Instant, from: IpAddr, claim: Claim) -> Result<Attempt<'_>, Refusal> {
        let network = Network::from(from);
        let mut tables = self.tables();
        let exists = usize::from(claim.exists);
        tables.networks.entry(network).permits(now)?;
        tables.accounts[exists].entry(claim.account.clone()).permits(now)?;
        let pair = tables.pairs[exists].entry((claim.account.clone(), network));
        pair.permits(now)?;
        if pair.wrong % GUESSES + pair.in_flight >= GUESSES {
            return Err(too_many(Duration::from_secs(1)));
        }
        pair.in_flight += 1;
        drop(tables);
        Ok(Attempt { guard: self, claim, network })
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt<'_> {
    /// The secret was right: what was guessed wrong by this address at this account is forgotten.
    pub fn succeeded(self) {
        let mut tables = self.guard.tables();
        let exists = usize::from(self.claim.exists);
        tables.pairs[exists].entry((self.claim.account.clone(), self.network)).forgive();
        tables.networks.entry(self.network).forgive();
    }

    /// The secret was wrong. Whether that locked the account for this address, or as a whole.
    pub fn failed(self, now: Instant) -> bool {
        let mut tables = self.guard.tables();
        let exists = usize::from(self.claim.exists);
        let account = self.claim.account.clone();
        tables.networks.entry(self.network).wrong(now, WIDE_GUESSES);
        let account_locked = tables.accounts[exists].entry(account.clone()).wrong(now, WIDE_GUESSES);
        tables.pairs[exists].entry((account, self.network)).wrong(now, GUESSES) || account_locked
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut tables = self.guard.tables();
        let pair = tables.pairs[usize::from(self.claim.exists)].entry((self.claim.account.clone(), self.network));
        pair.in_flight = pair.in_flight.saturating_sub(1);
    }
}

/// A full bucket, until somebody takes from it.
#[derive(Debug, Default)]
struct Bucket(Option<(Instant, f64)>);

impl Bucket {
    fn take(&mut self, now: Instant, rate: Rate) -> Result<(), Refusal> {
        let (since, level) = self.0.unwrap_or((now, rate.burst));
        let filled = now.saturating_duration_since(since).as_secs_f64() * rate.per_second;
        let level = (level + filled).min(rate.burst);
        if level < 1.0 {
            self.0 = Some((now, level));
            return Err(too_many(Duration::from_secs_f64(((1.0 - level) / rate.per_second).clamp(1.0, 3600.0))));
        }
        self.0 = Some((now, level - 1.0));
        Ok(())
    }
}

/// Wrong secrets.
#[derive(Debug, Default)]
struct Guesses {
    wrong: u32,
    in_flight: u32,
    last: Option<Instant>,
    locked_until: Option<Instant>,
}

impl Guesses {
    fn permits(&mut self, now: Instant) -> Result<(), Refusal> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > FORGET) {
            self.forgive();
        }
        match self.locked_until {
            Some(until) if now < until => Err(too_many(until.saturating_duration_since(now))),
            _ => Ok(()),
        }
    }

    /// Counts one more; every `allowed`th locks. Whether this one did.
    fn wrong(&mut self, now: Instant, allowed: u32) -> bool {
        self.wrong = self.wrong.saturating_add(1);
        self.last = Some(now);
        let locks = self.wrong.is_multiple_of(allowed);
        if locks {
            let doublings = (self.wrong / allowed - 1).min(16);
            self.locked_until = Some(now + (FIRST_LOCK * 2_u32.pow(doublings)).min(LONGEST_LOCK));
        }
        locks
    }

    fn forgive(&mut self) {
        (self.wrong, self.last, self.locked_until) = (0, None, None);
    }
}

/// A bounded table in two halves: when the newer is full, the older is forgotten.
#[derive(Debug)]
struct Halves<K, V> {
    newer: HashMap<K, V, RandomState>,
    older: HashMap<K, V, RandomState>,
}

impl<K: Hash + Eq + Clone, V: Default> Halves<K, V> {
    fn new() -> Self {
        Self { newer: HashMap::default(), older: HashMap::default() }
    }

    fn entry(&mut self, key: K) -> &mut V {
        if !self.newer.contains_key(&key) {
            let kept = self.older.remove(&key).unwrap_or_default();
            if self.newer.len() >= TABLE {
                self.older = std::mem::take(&mut self.newer);
            }
            self.newer.insert(key.clone(), kept);
        }
        self.newer.entry(key).or_default()
    }
}

fn too_many(wait: Duration) -> Refusal {
    Refusal::new(Code::TooMany, "too many attempts; wait before the next").retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard() -> Guard {
        let rate = Rate { burst: 3.0, per_second: 1.0 };
        Guard::new(Rates { requests: rate, costly: rate })
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn alice() -> Claim {
        Claim { account: "alice".into(), exists: true }
    }

    fn guess_wrong(guard: &Guard, now: Instant, from: IpAddr, times: u32) -> u32 {
        let attempts = (0..times).map_while(|_| guard.attempt(now, from, alice()).ok());
        attempts.map(|attempt| u32::from(attempt.failed(now))).sum()
    }

    #[test]
    fn five_wrong_passwords_lock_the_account_for_that_address_and_for_no_other() {
        let (guard, now) = (guard(), Instant::now());
        assert_eq!(guess_wrong(&guard, now, address(1), 100), 1);
        let refused = guard.attempt(now, address(1), alice()).expect_err("locked");
        assert_eq!((refused.code, refused.retry_after), (Code::TooMany, Some(FIRST_LOCK)));
        assert!(guard.attempt(now, address(2), alice()).is_ok());
        let bob = Claim { account: "bob".into(), exists: true };
        assert!(guard.attempt(now, address(1), bob).is_ok());
        assert!(guard.attempt(now + FIRST_LOCK, address(1), alice()).is_ok());
    }

    #[test]
    fn each_further_lock_is_twice_as_long() {
        let (guard, mut now) = (guard(), Instant::now());
        let mut locks = Vec::new();
        for _ in 0..9 {
            guess_wrong(&guard, now, address(1), GUESSES);
            let refused = guard.attempt(now, address(1), alice()).expect_err("locked");
            let wait = refused.retry_after.expect("says how long");
            locks.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(locks, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
    }

    #[test]
    fn guesses_sent_all_at_once_are_no_more_than_guesses_one_by_one() {
        let (guard, now) = (guard(), Instant::now());
        let at_once: Vec<_> = (0..100).filter_map(|_| guard.attempt(now, address(1), alice()).ok()).collect();
        assert_eq!(at_once.len(), GUESSES as usize);
        drop(at_once);
        assert!(guard.attempt(now, address(1), alice()).is_ok());
    }

    #[test]
    fn guesses_from_many_addresses_lock_the_account() {
        let (guard, now) = (guard(), Instant::now());
        let tried: u32 = (0..100).map(|last| guess_wrong(&guard, now, address(last), 1)).sum();
        assert_eq!(tried, 1);
        assert!(guard.attempt(now, address(200), alice()).is_err());
    }

    #[test]
    fn one_address_that_tries_many_accounts_is_locked() {
        let (guard, now) = (guard(), Instant::now());
        let tried = (0..1000).map_while(|number| {
            let claim = Claim { account: format!("user{number}"), exists: number % 2 == 0 };
            guard.attempt(now, address(1), claim).ok().map(|attempt| attempt.failed(now))
        });
        assert_eq!(tried.count(), WIDE_GUESSES as usize);
        assert!(guard.attempt(now, address(2), alice()).is_ok());
    }

    #[test]
    fn the_right_password_forgives_what_was_mistyped() {
        let (guard, now) = (guard(), Instant::now());
        for _ in 0..10 {
            guess_wrong(&guard, now, address(1), GUESSES - 1);
            guard.attempt(now, address(1), alice()).expect("not locked").succeeded();
        }
    }

    #[test]
    fn names_that_do_not_exist_are_locked_alike_and_push_no_real_one_out() {
        let (guard, now) = (guard(), Instant::now());
        guess_wrong(&guard, now, address(1), GUESSES);
        for number in 0..3 * TABLE {
            let from = IpAddr::from((number as u32 + (10 << 24)).to_be_bytes());
            let claim = Claim { account: format!("invented{number}"), exists: false };
            guard.attempt(now, from, claim).expect("new to it").failed(now);
        }
        assert!(guard.attempt(now, address(1), alice()).is_err());
        let nobody = || Claim { account: "nobody".into(), exists: false };
        for _ in 0..GUESSES {
            guard.attempt(now, address(9), nobody()).expect("not locked").failed(now);
        }
        assert!(guard.attempt(now, address(9), nobody()).is_err());
    }

    #[test]
    fn a_bucket_fills_again_and_is_one_for_a_whole_ipv6_network() {
        let (guard, now) = (guard(), Instant::now());
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        for last in 0..3 {
            assert!(guard.costly(now, v6(last)).is_ok());
        }
        assert_eq!(guard.costly(now, v6(9)).expect_err("empty").code, Code::TooMany);
        assert!(guard.costly(now, IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1])).is_ok());
        assert!(guard.costly(now + Duration::from_secs(1), v6(9)).is_ok());
    }

    #[test]
    fn the_tables_do_not_grow_beyond_their_bounds() {
        let (guard, now) = (guard(), Instant::now());
        for number in 0..(3 * TABLE as u32) {
            let _ = guard.request(now, IpAddr::from(number.to_be_bytes()));
        }
        let tables = guard.tables();
        assert!(tables.requests.newer.len() + tables.requests.older.len() <= 2 * TABLE);
    }
}
