//! The store in a PostgreSQL, which several account servers of one domain may share.
//!
//! Each table is `ntm_NAME (key text COLLATE "C" PRIMARY KEY, value jsonb)`: ordered as the embedded store orders,
//! and readable for whoever administers the database. Writers take one advisory lock, so that they follow one
//! another as they do in the embedded store, and nobody has to retry.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ntm_server::database::Database;
use serde_json::Value;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, IsolationLevel};

use super::embedded::only_reading;
use super::{Range, Store, StoreError, Table, Transaction, Work};

/// Connections to the database, and so transactions at once.
const CONNECTIONS: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a statement may take before the database gives it up.
const STATEMENT_TIMEOUT: &str = "10s";
/// Which advisory lock is the writers'.
const WRITERS_LOCK: i64 = 0x6e74_6d2d_6173;

/// Connections to a PostgreSQL.
#[derive(Debug)]
pub struct Postgres {
    /// Drives the connections. Taken only when the store is dropped.
    runtime: Option<Runtime>,
    database: Database,
    idle: Mutex<Vec<Client>>,
    permits: Semaphore,
}

impl Postgres {
    /// Connects and makes the tables that are missing.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let adapt = |config: &mut tokio_postgres::Config| {
            config.connect_timeout(CONNECT_TIMEOUT).application_name("ntm-as");
        };
        let database = Database::at(url, adapt).map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(failed)?;
        let store = Self {
            runtime: Some(runtime),
            database,
            idle: Mutex::new(Vec::new()),
            permits: Semaphore::new(CONNECTIONS),
        };
        store.handle().block_on(store.make_tables())?;
        Ok(store)
    }

    async fn make_tables(&self) -> Result<(), StoreError> {
        let mut client = self.connect().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        lock(&transaction).await?;
        for table in Table::ALL {
            let name = table.name();
            let make = format!(
                "CREATE TABLE IF NOT EXISTS ntm_{name} (key text COLLATE \"C\" PRIMARY KEY, value jsonb NOT NULL)"
            );
            transaction.batch_execute(&make).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        self.give_back(client);
        Ok(())
    }

    async fn connect(&self) -> Result<Client, StoreError> {
        let client = self.database.connect().await.map_err(failed)?;
        // A commit that is acknowledged is on the disk, whatever the database's defaults say.
        let settings = format!(
            "SET synchronous_commit = on; SET client_min_messages = warning; SET statement_timeout = '{STATEMENT_TIMEOUT}'"
        );
        client.batch_execute(&settings).await.map_err(failed)?;
        Ok(client)
    }

    async fn client(&self) -> Result<Client, StoreError> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(client) if client.is_closed() => {}
                Some(client) => return Ok(client),
                None => return self.connect().await,
            }
        }
    }

    fn give_back(&self, client: Client) {
        if !client.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
        }
    }

    fn handle(&self) -> Handle {
        self.runtime.as_ref().expect("taken only by drop").handle().clone()
    }

    fn run(&self, work: Work<'_>, reading: bool) -> Result<(), StoreError> {
        let handle = self.handle();
        let _permit = handle.block_on(self.permits.acquire()).map_err(failed)?;
        let mut client = handle.block_on(self.client())?;
        {
            let isolation = if reading { IsolationLevel::RepeatableRead } else { IsolationLevel::ReadCommitted };
            let begin = client.build_transaction().isolation_level(isolation).read_only(reading).start();
            let transaction = handle.block_on(begin).map_err(failed)?;
            if !reading {
                handle.block_on(lock(&transaction))?;
            }
            let mut open = Open { handle: &handle, transaction, reading };
            if work(&mut open) && !reading {
                handle.block_on(open.transaction.commit()).map_err(failed)?;
            } else {
                handle.block_on(open.transaction.rollback()).map_err(failed)?;
            }
        }
        self.give_back(client);
        Ok(())
    }
}

impl Store for Postgres {
    fn write_with(&self, work: Work<'_>) -> Result<(), StoreError> {
        self.run(work, false)
    }

    fn read_with(&self, work: Work<'_>) -> Result<(), StoreError> {
        self.run(work, true)
    }

    fn is_shared(&self) -> bool {
        true
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Open<'a> {
    handle: &'a Handle,
    transaction: tokio_postgres::Transaction<'a>,
    reading: bool,
}

impl Open<'_> {
    fn query(
        &self,
        statement: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        self.handle.block_on(self.transaction.query_typed(statement, parameters)).map_err(failed)
    }

    fn may_write(&self) -> Result<(), StoreError> {
        if self.reading { Err(only_reading()) } else { Ok(()) }
    }
}

impl Transaction for Open<'_> {
    fn get(&mut self, table: Table, key: &str) -> Result<Option<Value>, StoreError> {
        let statement = format!("SELECT value FROM ntm_{} WHERE key = $1", table.name());
        let rows = self.query(&statement, &[(&key, Type::TEXT)])?;
        rows.first().map(|row| row.try_get(0).map_err(failed)).transpose()
    }

    fn put(&mut self, table: Table, key: &str, value: Value) -> Result<(), StoreError> {
        self.may_write()?;
        let statement = format!(
            "INSERT INTO ntm_{} (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            table.name()
        );
        self.query(&statement, &[(&key, Type::TEXT), (&value, Type::JSONB)])?;
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &str) -> Result<bool, StoreError> {
        self.may_write()?;
        let statement = format!("DELETE FROM ntm_{} WHERE key = $1 RETURNING key", table.name());
        Ok(!self.query(&statement, &[(&key, Type::TEXT)])?.is_empty())
    }

    fn scan(&mut self, table: Table, range: Range<'_>) -> Result<Vec<(String, Value)>, StoreError> {
        let order = if range.backwards { "DESC" } else { "ASC" };
        let statement = format!(
            "SELECT key, value FROM ntm_{} WHERE key >= $1 AND key < $2 ORDER BY key {order} LIMIT $3",
            table.name()
        );
        let limit = i64::try_from(range.limit).unwrap_or(i64::MAX);
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&range.from, Type::TEXT), (&range.until, Type::TEXT), (&limit, Type::INT8)];
        let rows = self.query(&statement, &parameters)?;
        rows.iter().map(|row| Ok((row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?))).collect()
    }
}

async fn lock(transaction: &tokio_postgres::Transaction<'_>) -> Result<(), StoreError> {
    let lock = format!("SELECT pg_advisory_xact_lock({WRITERS_LOCK})");
    transaction.batch_execute(&lock).await.map_err(failed)
}

/// The whole chain of causes in one line; the outermost alone says little.
fn failed(why: impl std::error::Error) -> StoreError {
    let mut text = why.to_string();
    let mut cause = why.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    StoreError::Unavailable(text.replace('\n', " "))
}
