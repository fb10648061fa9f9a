//! Where the account server keeps what it must not forget: ordered tables of JSON documents, changed in
//! transactions. The same trait stands on an embedded redb file and on PostgreSQL.
//!
//! ```text
//! accounts        NAME                          a user, the hash of its password
//! sessions        ACCOUNT/HASH                  a browser that signed in
//! nodes           FQDN                          a node: its id, its owner, its record
//! node_ids        NODE ID                       the name a node id stands under
//! owners          ACCOUNT/FQDN                  whose nodes are whose
//! revoked         NODE ID                       ids that never get a ticket again
//! revocations     NUMBER                        the same in the order they were revoked, for the servers
//! enrolment_keys  ID                            keys that log nodes in without a password, hashed
//! key_owners      ACCOUNT/ID                    whose keys are whose
//! servers         NAME                          DCs and RSs: certificate, relay id, keys
//! renewals        ISSUED/NODE/NONCE             renewals that were seen, until their time is over
//! audit           NUMBER                        who did what, the newest 100,000
//! meta            WORD                          counters, the domain's name
//! ```
//!
//! Invariants:
//! - A [`write()`] that returned `Ok` is on the disk: a crash at any later moment loses nothing of it.
//! - Writes happen one after the other, also between processes that share a PostgreSQL.
//! - A read sees one moment: never half of a write.
//! - Private keys of the domain are not here but in files beside (see [`crate::secrets`]).

mod embedded;
mod postgres;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use embedded::Embedded;
pub use postgres::Postgres;

/// A table of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    Accounts,
    Sessions,
    Nodes,
    NodeIds,
    Owners,
    Revoked,
    Revocations,
    EnrolmentKeys,
    KeyOwners,
    Servers,
    Renewals,
    Audit,
    Meta,
}

impl Table {
    pub const ALL: [Self; 13] = [
        Self::Accounts,
        Self::Sessions,
        Self::Nodes,
        Self::NodeIds,
        Self::Owners,
        Self::Revoked,
        Self::Revocations,
        Self::EnrolmentKeys,
        Self::KeyOwners,
        Self::Servers,
        Self::Renewals,
        Self::Audit,
        Self::Meta,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Sessions => "sessions",
            Self::Nodes => "nodes",
            Self::NodeIds => "node_ids",
            Self::Owners => "owners",
            Self::Revoked => "revoked",
            Self::Revocations => "revocations",
            Self::EnrolmentKeys => "enrolment_keys",
            Self::KeyOwners => "key_owners",
            Self::Servers => "servers",
            Self::Renewals => "renewals",
            Self::Audit => "audit",
            Self::Meta => "meta",
        }
    }
}

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Another process has the embedded store open.
    Locked(String),
    /// The disk, the database or the way to it fails.
    Unavailable(String),
    /// What stands in the store is not what this program writes.
    Corrupt(String),
}

/// A part of a table: keys from `from` (which is in) to `until` (which is not), at most `limit` of them.
#[derive(Clone, Copy, Debug)]
pub struct Range<'a> {
    pub from: &'a str,
    pub until: &'a str,
    pub limit: usize,
    pub backwards: bool,
}

/// Greater than every key.
pub const END: &str = "\u{10ffff}";

/// A view of the store that is one moment, and in a [`write()`] the changes made so far.
pub trait Transaction {
    fn get(&mut self, table: Table, key: &str) -> Result<Option<Value>, StoreError>;
    fn put(&mut self, table: Table, key: &str, value: Value) -> Result<(), StoreError>;
    /// Whether there was anything to delete.
    fn delete(&mut self, table: Table, key: &str) -> Result<bool, StoreError>;
    fn scan(&mut self, table: Table, range: Range<'_>) -> Result<Vec<(String, Value)>, StoreError>;
}

/// What is done in a transaction; the answer says whether to keep it.
pub type Work<'a> = &'a mut dyn FnMut(&mut dyn Transaction) -> bool;

/// A store. Its calls block: give them a thread that may. Use it through [`read`] and [`write()`].
pub trait Store: Send + Sync + fmt::Debug {
    /// Runs `work` and, where it says so, makes its changes durable before this returns.
    fn write_with(&self, work: Work<'_>) -> Result<(), StoreError>;
    fn read_with(&self, work: Work<'_>) -> Result<(), StoreError>;
    /// Whether other processes may change it too.
    fn is_shared(&self) -> bool;
}

/// Carries `work` out whole, durably, or not at all.
pub fn write<T, E: From<StoreError>>(
    store: &dyn Store,
    work: impl FnOnce(&mut dyn Transaction) -> Result<T, E>,
) -> Result<T, E> {
    let mut outcome = None;
    let mut work = Some(work);
    store.write_with(&mut |transaction| {
        let Some(work) = work.take() else { return false };
        let result = work(transaction);
        let keep = result.is_ok();
        outcome = Some(result);
        keep
    })?;
    outcome.unwrap_or_else(|| Err(StoreError::Unavailable("the store did not do the work".into()).into()))
}

/// Looks at one moment of the store.
pub fn read<T, E: From<StoreError>>(
    store: &dyn Store,
    work: impl FnOnce(&mut dyn Transaction) -> Result<T, E>,
) -> Result<T, E> {
    let mut outcome = None;
    let mut work = Some(work);
    store.read_with(&mut |transaction| {
        if let Some(work) = work.take() {
            outcome = Some(work(transaction));
        }
        false
    })?;
    outcome.unwrap_or_else(|| Err(StoreError::Unavailable("the store did not do the work".into()).into()))
}

/// Opens the store that `place` names: a `postgres://` URL or the path of a redb file.
pub fn open(place: &str) -> Result<Arc<dyn Store>, StoreError> {
    if place.starts_with("postgres://") || place.starts_with("postgresql://") {
        Ok(Arc::new(Postgres::open(place)?))
    } else {
        Ok(Arc::new(Embedded::open(Path::new(place))?))
    }
}

impl dyn Transaction + '_ {
    pub fn find<T: DeserializeOwned>(&mut self, table: Table, key: &str) -> Result<Option<T>, StoreError> {
        self.get(table, key)?.map(|value| document(table, key, value)).transpose()
    }

    pub fn save<T: Serialize>(&mut self, table: Table, key: &str, value: &T) -> Result<(), StoreError> {
        let value =
            serde_json::to_value(value).map_err(|why| StoreError::Corrupt(format!("{} {key}: {why}", table.name())))?;
        self.put(table, key, value)
    }

    pub fn list<T: DeserializeOwned>(
        &mut self,
        table: Table,
        range: Range<'_>,
    ) -> Result<Vec<(String, T)>, StoreError> {
        let rows = self.scan(table, range)?;
        rows.into_iter().map(|(key, value)| document(table, &key, value).map(|value| (key, value))).collect()
    }

    /// The keys that begin with `prefix`, without it.
    pub fn keys_below(&mut self, table: Table, prefix: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let until = format!("{prefix}{END}");
        let rows = self.scan(table, Range { from: prefix, until: &until, limit, backwards: false })?;
        Ok(rows.into_iter().map(|(key, _)| key[prefix.len()..].to_owned()).collect())
    }

    /// The next number of a counter, which begins with 0.
    pub fn count_up(&mut self, counter: &str) -> Result<u64, StoreError> {
        let number = self.counter(counter)?;
        self.save(Table::Meta, counter, &(number + 1))?;
        Ok(number)
    }

    /// How far a counter is.
    pub fn counter(&mut self, counter: &str) -> Result<u64, StoreError> {
        Ok(self.find(Table::Meta, counter)?.unwrap_or(0))
    }
}

/// A number as a key, so that keys are ordered as numbers are.
pub fn numbered(number: u64) -> String {
    format!("{number:020}")
}

fn document<T: DeserializeOwned>(table: Table, key: &str, value: Value) -> Result<T, StoreError> {
    serde_json::from_value(value).map_err(|why| StoreError::Corrupt(format!("{} {key}: {why}", table.name())))
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked(place) => write!(f, "{place} is open in another process"),
            Self::Unavailable(why) => write!(f, "the store fails: {why}"),
            Self::Corrupt(why) => write!(f, "the store holds what this version does not write: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}
