//! The registry in a PostgreSQL database, for a domain with several DCs.
//!
//! ```text
//!  ntm_nodes    id, name, virtual4, virtual6, dc, sequence, row (row.rs), version
//!  ntm_gone     id, version: forgotten nodes
//!  ntm_revoked  id
//!  ntm_about    "format" → 1, "revocations" → how many were read
//! ```
//!
//! Whoever writes holds one advisory lock until the commit, so versions become visible in their order, and who has
//! read up to one has missed none. A writer first reads what the others wrote: then its picture of which
//! addresses are free is exact. The unique index on them is there so that a mistake could not go unnoticed.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use ntm_direction::{Application, Found, NotStored, Pool4, Stored};
use ntm_proto::id::{Fqdn, NodeId};
use ntm_proto::wire::message::Target;
use ntm_server::database::Database;
use ntm_server::{Failure, ResultExt as _};
use tokio::runtime::Handle;
use tokio_postgres::{Client, Config, IsolationLevel, Transaction};

use super::{Change, Loaded, News, Registry, Row, Unavailable, row};

const FORMAT: i64 = 1;
/// "ntm-dc", as a number: the advisory lock that writers hold.
const LOCK: i64 = 0x6e74_6d2d_6463;
/// How long the database may take for one step.
const PATIENCE: Duration = Duration::from_secs(5);
/// Forgotten nodes told of for this many versions; who was away longer reads everything at its start.
const GONE_KEPT: i64 = 1_000_000;

const SCHEMA: &str = "
    create table if not exists ntm_nodes (
        id bytea primary key, name text not null, virtual4 bigint not null unique, virtual6 bytea not null unique,
        dc text not null, sequence bigint not null, row bytea not null, version bigint not null);
    create index if not exists ntm_nodes_name on ntm_nodes (name);
    create index if not exists ntm_nodes_version on ntm_nodes (version);
    create table if not exists ntm_gone (id bytea primary key, version bigint not null);
    create index if not exists ntm_gone_version on ntm_gone (version);
    create table if not exists ntm_revoked (id bytea primary key);
    create table if not exists ntm_about (name text primary key, value bigint not null);
    create sequence if not exists ntm_version;
";

pub struct Postgres {
    runtime: Handle,
    database: Database,
    client: Option<Client>,
    dc: Fqdn,
    pool4: (Ipv4Addr, u8),
    pool: Pool4,
    /// Who has which address, as of `version`.
    known: HashMap<NodeId, Ipv4Addr>,
    version: i64,
    /// Read while writing, and not told yet.
    untold: Vec<News>,
    /// A commit failed: what is in memory may say more than the database.
    doubted: bool,
}

/// What a commit is about to write.
#[derive(Default)]
struct Draft {
    rows: HashMap<NodeId, Stored>,
    gone: HashSet<NodeId>,
    revoked: Vec<NodeId>,
    revocations: i64,
}

impl Postgres {
    /// Connects to the database `url` and makes the tables if there are none.
    pub fn open(url: &str, dc: Fqdn, pool4: (Ipv4Addr, u8), runtime: Handle) -> Result<Self, Failure> {
        let database = Database::at(url, |config: &mut Config| {
            config.application_name("ntm-dc").connect_timeout(PATIENCE).tcp_user_timeout(PATIENCE);
            config.options(format!("-c statement_timeout={0} -c lock_timeout={0}", PATIENCE.as_millis()));
        })
        .context("registry")?;
        let pool = Pool4::new(pool4.0, pool4.1);
        let mut registry = Self {
            runtime,
            database,
            client: None,
            dc,
            pool4,
            pool,
            known: HashMap::new(),
            version: 0,
            untold: Vec::new(),
            doubted: true,
        };
        registry.run(async |this: &mut Self, client: &mut Client| this.begin(client).await).map_err(|why| {
            Failure::new(format!("registry: {why}")).way_out("is PostgreSQL running, and may this user log in there?")
        })?;
        Ok(registry)
    }

    /// Runs one step on a connection, a new one where the last was lost.
    fn run<T>(
        &mut self,
        step: impl AsyncFnOnce(&mut Self, &mut Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Unavailable> {
        let runtime = self.runtime.clone();
        let said = |why: tokio_postgres::Error| {
            let detail = why.as_db_error().map(|why| why.message().to_owned());
            let cause = std::error::Error::source(&why).map(ToString::to_string);
            Unavailable(detail.or(cause).unwrap_or_else(|| why.to_string()))
        };
        runtime.block_on(async {
            let mut client = match self.client.take().filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => self.database.connect().await.map_err(said)?,
            };
            let outcome = tokio::time::timeout(PATIENCE * 2, step(self, &mut client)).await;
            match outcome {
                Ok(outcome) => {
                    self.client = Some(client);
                    outcome.map_err(said)
                }
                // Half a step may be on its way: that connection is used no more.
                Err(_) => Err(Unavailable("the database does not answer".into())),
            }
        })
    }

    async fn begin(&mut self, client: &mut Client) -> Result<(), tokio_postgres::Error> {
        let transaction = client.transaction().await?;
        transaction.execute("select pg_advisory_xact_lock($1)", &[&LOCK]).await?;
        transaction.batch_execute(SCHEMA).await?;
        transaction.execute("insert into ntm_about values ('format', $1) on conflict do nothing", &[&FORMAT]).await?;
        transaction.commit().await
    }

    /// Reads all that is stored, and makes the picture of it anew.
    async fn read_all(&mut self, client: &mut Client) -> Result<Loaded, tokio_postgres::Error> {
        let transaction = client.transaction().await?;
        transaction.execute("select pg_advisory_xact_lock($1)", &[&LOCK]).await?;
        self.pool = Pool4::new(self.pool4.0, self.pool4.1);
        self.known.clear();
        (self.version, self.doubted) = (0, false);
        let mut loaded = Loaded::default();
        for news in self.read_since(&transaction).await? {
            if let News::Row(row) = news {
                loaded.rows.push(*row);
            }
        }
        for found in transaction.query("select id from ntm_revoked", &[]).await? {
            loaded.revoked.extend(node_id(found.get(0)));
        }
        let about = transaction.query_opt("select value from ntm_about where name = 'revocations'", &[]).await?;
        loaded.revocations = about.and_then(|found| u64::try_from(found.get::<_, i64>(0)).ok()).unwrap_or(0);
        transaction.commit().await?;
        Ok(loaded)
    }

    /// What changed since the version that is known.
    async fn read_since(&mut self, transaction: &Transaction<'_>) -> Result<Vec<News>, tokio_postgres::Error> {
        let mut news = Vec::new();
        let mut newest = self.version;
        let gone = "select id, version from ntm_gone where version > $1";
        for found in transaction.query(gone, &[&self.version]).await? {
            newest = newest.max(found.get(1));
            let Some(id) = node_id(found.get(0)) else { continue };
            if let Some(address) = self.known.remove(&id) {
                self.pool.release(address);
            }
            news.push(News::Forgotten(id));
        }
        let changed = "select row, dc, version from ntm_nodes where version > $1 order by version";
        for found in transaction.query(changed, &[&self.version]).await? {
            newest = newest.max(found.get(2));
            let stored = row::parse(found.get(0));
            let dc = Fqdn::parse(found.get(1)).ok();
            let (Some(stored), Some(dc)) = (stored, dc) else {
                tracing::warn!("registry: a row that this version cannot read");
                continue;
            };
            // An address may have gone from one of these nodes to another: all are freed before any is taken.
            if let Some(before) = self.known.remove(&stored.record.node_id()) {
                self.pool.release(before);
            }
            news.push(News::Row(Box::new(Row { stored, dc })));
        }
        for item in &news {
            if let News::Row(row) = item {
                self.known.insert(row.stored.record.node_id(), row.stored.virtual4);
                self.pool.reserve(row.stored.virtual4);
            }
        }
        self.version = newest;
        Ok(news)
    }

    async fn write(
        &mut self,
        client: &mut Client,
        changes: &[Change],
    ) -> Result<Vec<Option<Result<Stored, NotStored>>>, tokio_postgres::Error> {
        let transaction = client.transaction().await?;
        transaction.execute("select pg_advisory_xact_lock($1)", &[&LOCK]).await?;
        let news = self.read_since(&transaction).await?;
        self.untold.extend(news);
        let before = self.read_before(&transaction, changes).await?;
        let mut draft = Draft::default();
        let answers = changes.iter().map(|change| self.draft(&before, &mut draft, change)).collect();
        self.write_draft(&transaction, &draft).await?;
        transaction.commit().await?;
        Ok(answers)
    }

    /// What is stored of the nodes that are to change, and where.
    async fn read_before(
        &self,
        transaction: &Transaction<'_>,
        changes: &[Change],
    ) -> Result<HashMap<NodeId, Row>, tokio_postgres::Error> {
        let ids: Vec<Vec<u8>> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Admit(application) => Some(application.record.node_id()),
                Change::Update(stored) => Some(stored.record.node_id()),
                Change::Forget(id) => Some(*id),
                Change::Revoke { .. } => None,
            })
            .map(|id| id.0.to_vec())
            .collect();
        let found = transaction.query("select row, dc from ntm_nodes where id = any($1)", &[&ids]).await?;
        let rows = found.iter().filter_map(|found| {
            let stored = row::parse(found.get(0))?;
            let dc = Fqdn::parse(found.get(1)).ok()?;
            Some((stored.record.node_id(), Row { stored, dc }))
        });
        Ok(rows.collect())
    }

    /// Decides what one change writes.
    fn draft(
        &mut self,
        before: &HashMap<NodeId, Row>,
        draft: &mut Draft,
        change: &Change,
    ) -> Option<Result<Stored, NotStored>> {
        match change {
            Change::Admit(application) => {
                let id = application.record.node_id();
                let known = draft.rows.get(&id).or_else(|| before.get(&id).map(|row| &row.stored)).cloned();
                let admitted = self.admit(&id, application, known, draft);
                return Some(admitted);
            }
            Change::Update(stored) => {
                let id = stored.record.node_id();
                let known = draft.rows.get(&id).or_else(|| before.get(&id).map(|row| &row.stored));
                let newer =
                    known.is_some_and(|known| known.virtual4 == stored.virtual4 && known.sequence <= stored.sequence);
                if newer {
                    draft.rows.insert(id, (**stored).clone());
                }
            }
            // A node that registered with another DC is that one's to forget.
            Change::Forget(id) => {
                if before.get(id).is_some_and(|row| row.dc == self.dc) && !draft.rows.contains_key(id) {
                    draft.gone.insert(*id);
                    if let Some(address) = self.known.remove(id) {
                        self.pool.release(address);
                    }
                }
            }
            Change::Revoke { upto, nodes } => {
                draft.revoked.extend(nodes);
                draft.revocations = draft.revocations.max(i64::try_from(*upto).unwrap_or(i64::MAX));
            }
        }
        None
    }

    fn admit(
        &mut self,
        id: &NodeId,
        application: &Application,
        known: Option<Stored>,
        draft: &mut Draft,
    ) -> Result<Stored, NotStored> {
        let Application { record, virtual6, sequence, wake_token } = application.clone();
        let virtual4 = match known {
            Some(known) if known.record.timestamp > record.timestamp || known.sequence > sequence => return Ok(known),
            Some(known) => known.virtual4,
            None => {
                let virtual4 = self.pool.assign(id).ok_or(NotStored::Full)?;
                self.known.insert(*id, virtual4);
                virtual4
            }
        };
        let stored = Stored { record, virtual4, virtual6, sequence, wake_token };
        draft.gone.remove(id);
        draft.rows.insert(*id, stored.clone());
        Ok(stored)
    }

    async fn write_draft(&self, transaction: &Transaction<'_>, draft: &Draft) -> Result<(), tokio_postgres::Error> {
        let bytes = |ids: &mut dyn Iterator<Item = &NodeId>| ids.map(|id| id.0.to_vec()).collect::<Vec<Vec<u8>>>();
        let dc = self.dc.as_str();
        if !draft.gone.is_empty() {
            let ids = bytes(&mut draft.gone.iter());
            transaction.execute("delete from ntm_nodes where id = any($1)", &[&ids]).await?;
            let told = "insert into ntm_gone select id, nextval('ntm_version') from unnest($1::bytea[]) as gone(id)
                on conflict (id) do update set version = excluded.version";
            transaction.execute(told, &[&ids]).await?;
            let old = "delete from ntm_gone where version < (select last_value from ntm_version) - $1";
            transaction.execute(old, &[&GONE_KEPT]).await?;
        }
        if !draft.rows.is_empty() {
            let stored: Vec<(&NodeId, &Stored)> = draft.rows.iter().collect();
            let ids = bytes(&mut stored.iter().map(|(id, _)| *id));
            let names: Vec<&str> = stored.iter().map(|(_, stored)| stored.record.fqdn.as_str()).collect();
            let virtual4: Vec<i64> = stored.iter().map(|(_, one)| i64::from(one.virtual4.to_bits())).collect();
            let virtual6: Vec<Vec<u8>> = stored.iter().map(|(_, one)| one.virtual6.octets().to_vec()).collect();
            let sequences: Vec<i64> =
                stored.iter().map(|(_, one)| i64::try_from(one.sequence).unwrap_or(i64::MAX)).collect();
            let rows: Vec<Vec<u8>> = stored.iter().map(|(_, stored)| row::emit(stored)).collect();
            let upsert = "insert into ntm_nodes
                select id, name, virtual4, virtual6, $7, sequence, row, nextval('ntm_version')
                from unnest($1::bytea[], $2::text[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bytea[])
                    as new(id, name, virtual4, virtual6, sequence, row)
                on conflict (id) do update set name = excluded.name, dc = excluded.dc,
                    sequence = excluded.sequence, row = excluded.row, version = excluded.version";
            transaction.execute(upsert, &[&ids, &names, &virtual4, &virtual6, &sequences, &rows, &dc]).await?;
            transaction.execute("delete from ntm_gone where id = any($1)", &[&ids]).await?;
        }
        if !draft.revoked.is_empty() {
            let ids = bytes(&mut draft.revoked.iter());
            let revoke = "insert into ntm_revoked select * from unnest($1::bytea[]) on conflict do nothing";
            transaction.execute(revoke, &[&ids]).await?;
            let upto = "insert into ntm_about values ('revocations', $1)
                on conflict (name) do update set value = greatest(ntm_about.value, excluded.value)";
            transaction.execute(upto, &[&draft.revocations]).await?;
        }
        Ok(())
    }

    async fn look(&self, client: &Client, targets: &[Target]) -> Result<Vec<Option<Found>>, tokio_postgres::Error> {
        let (mut names, mut ids, mut virtual4, mut virtual6) = (vec![], vec![], vec![], vec![]);
        for target in targets {
            match target {
                Target::Name(name) => names.push(name.as_str()),
                Target::Node(id) => ids.push(id.0.to_vec()),
                Target::Virtual4(address) => virtual4.push(i64::from(address.to_bits())),
                Target::Virtual6(address) => virtual6.push(address.octets().to_vec()),
            }
        }
        let query = "select row, dc from ntm_nodes
            where name = any($1) or id = any($2) or virtual4 = any($3) or virtual6 = any($4)";
        let mut found: Vec<Row> = Vec::new();
        for one in client.query(query, &[&names, &ids, &virtual4, &virtual6]).await? {
            if let (Some(stored), Ok(dc)) = (row::parse(one.get(0)), Fqdn::parse(one.get(1))) {
                found.push(Row { stored, dc });
            }
        }
        let is = |row: &&Row, target: &Target| match target {
            Target::Name(name) => row.stored.record.fqdn == *name,
            Target::Node(id) => row.stored.record.node_id() == *id,
            Target::Virtual4(address) => row.stored.virtual4 == *address,
            Target::Virtual6(address) => row.stored.virtual6 == *address,
        };
        let newest = |target: &Target| {
            let rows = found.iter().filter(|row| is(row, target));
            let row = rows.max_by_key(|row| row.stored.record.timestamp)?;
            Some(Found { node: row.stored.record.node_id(), dc: row.dc.clone() })
        };
        Ok(targets.iter().map(newest).collect())
    }
}

impl Registry for Postgres {
    fn load(&mut self) -> Result<Loaded, Failure> {
        self.run(async |this: &mut Self, client: &mut Client| this.read_all(client).await).context("registry")
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Vec<Option<Result<Stored, NotStored>>>, Unavailable> {
        if self.doubted {
            let loaded = self.run(async |this: &mut Self, client: &mut Client| this.read_all(client).await)?;
            self.untold.extend(loaded.rows.into_iter().map(|row| News::Row(Box::new(row))));
        }
        let outcome = self.run(async |this: &mut Self, client: &mut Client| this.write(client, changes).await);
        self.doubted |= outcome.is_err();
        outcome
    }

    fn find(&mut self, targets: &[Target]) -> Result<Vec<Option<Found>>, Unavailable> {
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        self.run(async |this: &mut Self, client: &mut Client| this.look(client, targets).await)
    }

    fn news(&mut self) -> Result<Vec<News>, Unavailable> {
        let read = self.run(async |this: &mut Self, client: &mut Client| {
            // One picture for all it reads: versions that appear in between are left for the next time.
            let transaction =
                client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
            let news = this.read_since(&transaction).await?;
            transaction.commit().await?;
            Ok(news)
        });
        let mut news = core::mem::take(&mut self.untold);
        match read {
            Ok(read) => {
                news.extend(read);
                Ok(news)
            }
            Err(why) => {
                self.untold = news;
                self.doubted = true;
                Err(why)
            }
        }
    }

    fn is_shared(&self) -> bool {
        true
    }
}

fn node_id(bytes: &[u8]) -> Option<NodeId> {
    bytes.try_into().ok().map(NodeId)
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").field("dc", &self.dc).field("version", &self.version).finish_non_exhaustive()
    }
}
