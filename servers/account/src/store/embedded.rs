//! The store in one file of this host.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use redb::{
    Database, DatabaseError, ReadTransaction, ReadableDatabase as _, ReadableTable, TableDefinition, WriteTransaction,
};
use serde_json::Value;

use super::{Range, Store, StoreError, Table, Transaction, Work};

/// Pages kept in memory.
const CACHE: usize = 64 << 20;

/// A redb file. One process at a time has it.
#[derive(Debug)]
pub struct Embedded {
    database: Database,
}

impl Embedded {
    /// Opens the file, or makes it, readable for nobody else.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let named = |why: &dyn std::fmt::Display| StoreError::Unavailable(format!("{}: {why}", path.display()));
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|why| named(&why))?;
        let database = Database::builder().set_cache_size(CACHE).create(path).map_err(|why| match why {
            DatabaseError::DatabaseAlreadyOpen => StoreError::Locked(path.display().to_string()),
            other => named(&other),
        })?;
        let store = Self { database };
        // Every table is there from the beginning, so that readers need not ask.
        let transaction = store.begin()?;
        for table in Table::ALL {
            transaction.open_table(definition(table)).map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        Ok(store)
    }

    fn begin(&self) -> Result<WriteTransaction, StoreError> {
        let mut transaction = self.database.begin_write().map_err(failed)?;
        // The allocator's state goes along with each commit, so that a start after a crash reads no whole file.
        transaction.set_quick_repair(true);
        Ok(transaction)
    }
}

impl Store for Embedded {
    fn write_with(&self, work: Work<'_>) -> Result<(), StoreError> {
        let mut transaction = Writing(self.begin()?);
        if work(&mut transaction) {
            transaction.0.commit().map_err(failed)
        } else {
            transaction.0.abort().map_err(failed)
        }
    }

    fn read_with(&self, work: Work<'_>) -> Result<(), StoreError> {
        work(&mut Reading(self.database.begin_read().map_err(failed)?));
        Ok(())
    }

    fn is_shared(&self) -> bool {
        false
    }
}

struct Writing(WriteTransaction);
struct Reading(ReadTransaction);

impl Transaction for Writing {
    fn get(&mut self, table: Table, key: &str) -> Result<Option<Value>, StoreError> {
        get(&self.0.open_table(definition(table)).map_err(failed)?, table, key)
    }

    fn put(&mut self, table: Table, key: &str, value: Value) -> Result<(), StoreError> {
        let mut opened = self.0.open_table(definition(table)).map_err(failed)?;
        opened.insert(key, value.to_string().as_bytes()).map_err(failed)?;
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &str) -> Result<bool, StoreError> {
        let mut opened = self.0.open_table(definition(table)).map_err(failed)?;
        let removed = opened.remove(key).map_err(failed)?;
        Ok(removed.is_some())
    }

    fn scan(&mut self, table: Table, range: Range<'_>) -> Result<Vec<(String, Value)>, StoreError> {
        scan(&self.0.open_table(definition(table)).map_err(failed)?, table, range)
    }
}

impl Transaction for Reading {
    fn get(&mut self, table: Table, key: &str) -> Result<Option<Value>, StoreError> {
        get(&self.0.open_table(definition(table)).map_err(failed)?, table, key)
    }

    fn put(&mut self, _: Table, _: &str, _: Value) -> Result<(), StoreError> {
        Err(only_reading())
    }

    fn delete(&mut self, _: Table, _: &str) -> Result<bool, StoreError> {
        Err(only_reading())
    }

    fn scan(&mut self, table: Table, range: Range<'_>) -> Result<Vec<(String, Value)>, StoreError> {
        scan(&self.0.open_table(definition(table)).map_err(failed)?, table, range)
    }
}

fn definition(table: Table) -> TableDefinition<'static, &'static str, &'static [u8]> {
    TableDefinition::new(table.name())
}

fn get(
    opened: &impl ReadableTable<&'static str, &'static [u8]>,
    table: Table,
    key: &str,
) -> Result<Option<Value>, StoreError> {
    let found = opened.get(key).map_err(failed)?;
    found.map(|bytes| parse(table, key, bytes.value())).transpose()
}

fn scan(
    opened: &impl ReadableTable<&'static str, &'static [u8]>,
    table: Table,
    range: Range<'_>,
) -> Result<Vec<(String, Value)>, StoreError> {
    if range.from >= range.until {
        return Ok(Vec::new());
    }
    let mut rows = opened.range(range.from..range.until).map_err(failed)?;
    let mut found = Vec::new();
    while found.len() < range.limit {
        let Some(row) = (if range.backwards { rows.next_back() } else { rows.next() }) else { break };
        let (key, bytes) = row.map_err(failed)?;
        found.push((key.value().to_owned(), parse(table, key.value(), bytes.value())?));
    }
    Ok(found)
}

fn parse(table: Table, key: &str, bytes: &[u8]) -> Result<Value, StoreError> {
    serde_json::from_slice(bytes).map_err(|why| StoreError::Corrupt(format!("{} {key}: {why}", table.name())))
}

fn failed(why: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(why.to_string())
}

pub(super) fn only_reading() -> StoreError {
    StoreError::Unavailable("a reader tried to write".into())
}
