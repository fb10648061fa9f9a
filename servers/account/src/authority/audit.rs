//! Who did what: written in the same transaction as what was done, bounded to the newest lines.

use ntm_server::clock::unix_now;

use super::{Authority, Caller};
use crate::records::AuditEntry;
use crate::refusal::Refusal;
use crate::store::{Range, StoreError, Table, Transaction, numbered};

/// Lines that are kept.
const MAX_ENTRIES: u64 = 100_000;
const COUNTER: &str = "audit";

pub(super) fn note(tx: &mut dyn Transaction, by: &Caller, what: &str, about: &str) -> Result<(), StoreError> {
    let number = tx.count_up(COUNTER)?;
    let entry = AuditEntry {
        at: unix_now().as_millis(),
        who: by.account.clone(),
        what: what.to_owned(),
        about: about.to_owned(),
        from: by.from.clone(),
    };
    tx.save(Table::Audit, &numbered(number), &entry)?;
    if let Some(old) = number.checked_sub(MAX_ENTRIES) {
        tx.delete(Table::Audit, &numbered(old))?;
    }
    Ok(())
}

impl Authority {
    /// Writes a line about something that changed nothing else, such as a lock after wrong passwords.
    pub fn note(&self, by: &Caller, what: &str, about: &str) -> Result<(), Refusal> {
        Ok(self.write(|tx| note(tx, by, what, about))?)
    }

    /// At most `limit` lines before line `before`, the newest first, with their numbers.
    pub fn audit_log(&self, before: Option<u64>, limit: usize) -> Result<Vec<(u64, AuditEntry)>, Refusal> {
        let until = numbered(before.unwrap_or(u64::MAX));
        let range = Range { from: "", until: &until, limit, backwards: true };
        let rows = self.read(|tx| tx.list::<AuditEntry>(Table::Audit, range))?;
        Ok(rows.into_iter().filter_map(|(key, entry)| Some((key.parse().ok()?, entry))).collect())
    }
}
