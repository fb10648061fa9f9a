//! The registry in one file, for a domain with one DC.
//!
//! ```text
//!  nodes     node id(32) → row (row.rs)
//!  revoked   node id(32) → nothing
//!  about     "format" → 1, "revocations" → how many were read, "clock" → when it was last written
//! ```

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;

use ntm_direction::{Application, NotStored, Pool4, Stored};
use ntm_proto::id::{Fqdn, NodeId};
use ntm_server::clock::unix_now;
use ntm_server::{Failure, ResultExt as _};
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::{Change, Loaded, Registry, Row, Unavailable, row};

const NODES: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("nodes");
const REVOKED: TableDefinition<'_, [u8; 32], ()> = TableDefinition::new("revoked");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const FORMAT: u64 = 1;
/// How far the host's clock may stand before the last time the file was written, in milliseconds.
const CLOCK_SLACK: u64 = 300_000;
/// Memory for the file's pages.
const CACHE: usize = 64 << 20;

/// A registry that only this process writes.
pub struct Embedded {
    database: Database,
    dc: Fqdn,
    pool: Pool4,
    pool4: (Ipv4Addr, u8),
    /// Who has which address.
    known: HashMap<NodeId, Ipv4Addr>,
    /// A commit failed: what is in memory may say more than the file.
    doubted: bool,
}

impl Embedded {
    /// Opens the file, or makes a new one.
    pub fn open(path: &Path, dc: Fqdn, pool4: (Ipv4Addr, u8)) -> Result<Self, Failure> {
        let name = path.display();
        let database = Database::builder().set_cache_size(CACHE).create(path).map_err(|why| match why {
            DatabaseError::DatabaseAlreadyOpen => Failure::new(format!("{name}: another process has this registry"))
                .way_out("stop the other ntm-dc, or name another file"),
            why => Failure::new(format!("{name}: {why}"))
                .way_out("the folder must exist and be writable by this user; restore a damaged file from a backup"),
        })?;
        let pool = Pool4::new(pool4.0, pool4.1);
        let mut registry = Self { database, dc, pool, pool4, known: HashMap::new(), doubted: false };
        registry.begin().context(name)?;
        Ok(registry)
    }

    fn begin(&mut self) -> Result<(), Failure> {
        let write = self.database.begin_write().context("registry")?;
        {
            write.open_table(NODES).context("registry")?;
            write.open_table(REVOKED).context("registry")?;
            let mut about = write.open_table(ABOUT).context("registry")?;
            let format = about.get("format").context("registry")?.map(|value| value.value());
            if format.is_some_and(|format| format != FORMAT) {
                return Err(Failure::new("written by another version of ntm-dc").way_out("run that version"));
            }
            let clock = about.get("clock").context("registry")?.map_or(0, |value| value.value());
            let now = unix_now().as_millis();
            if now + CLOCK_SLACK < clock {
                let behind = (clock - now) / 1_000;
                return Err(Failure::new(format!("written {behind} s after what this host's clock says"))
                    .way_out("set the host's clock"));
            }
            about.insert("format", FORMAT).context("registry")?;
        }
        write.commit().context("registry")
    }

    fn write(&mut self, changes: &[Change]) -> Result<Vec<Option<Result<Stored, NotStored>>>, redb::Error> {
        let write = self.database.begin_write()?;
        let mut answers = Vec::with_capacity(changes.len());
        {
            let mut nodes = write.open_table(NODES)?;
            let mut revoked = write.open_table(REVOKED)?;
            let mut about = write.open_table(ABOUT)?;
            for change in changes {
                let mut answer = None;
                match change {
                    Change::Admit(application) => {
                        let id = application.record.node_id();
                        let before = nodes.get(id.0)?.and_then(|found| row::parse(found.value()));
                        let admitted = self.admit(&id, application, before);
                        if let Ok(stored) = &admitted {
                            nodes.insert(id.0, row::emit(stored).as_slice())?;
                        }
                        answer = Some(admitted);
                    }
                    Change::Update(stored) => {
                        let id = stored.record.node_id();
                        // What was forgotten meanwhile stays so: its address may be another's.
                        if self.known.get(&id) == Some(&stored.virtual4) {
                            nodes.insert(id.0, row::emit(stored).as_slice())?;
                        }
                    }
                    Change::Forget(id) => {
                        nodes.remove(id.0)?;
                        if let Some(address) = self.known.remove(id) {
                            self.pool.release(address);
                        }
                    }
                    Change::Revoke { upto, nodes } => {
                        for node in nodes {
                            revoked.insert(node.0, ())?;
                        }
                        about.insert("revocations", *upto)?;
                    }
                }
                answers.push(answer);
            }
            about.insert("clock", unix_now().as_millis())?;
        }
        write.commit()?;
        Ok(answers)
    }

    /// What is to be written of a node: what it had, with what is newer.
    fn admit(&mut self, id: &NodeId, application: &Application, before: Option<Stored>) -> Result<Stored, NotStored> {
        let Application { record, virtual6, sequence, wake_token } = application.clone();
        if let Some(before) = before {
            if before.record.timestamp > record.timestamp || before.sequence > sequence {
                return Ok(before);
            }
            return Ok(Stored { record, virtual4: before.virtual4, virtual6, sequence, wake_token });
        }
        let virtual4 = self.pool.assign(id).ok_or(NotStored::Full)?;
        self.known.insert(*id, virtual4);
        Ok(Stored { record, virtual4, virtual6, sequence, wake_token })
    }
}

impl Registry for Embedded {
    fn load(&mut self) -> Result<Loaded, Failure> {
        let read = self.database.begin_read().context("registry")?;
        let mut loaded = Loaded::default();
        self.pool = Pool4::new(self.pool4.0, self.pool4.1);
        self.known.clear();
        for entry in read.open_table(NODES).context("registry")?.iter().context("registry")? {
            let (id, bytes) = entry.context("registry")?;
            let id = NodeId(id.value());
            let stored = row::parse(bytes.value()).filter(|stored| stored.record.node_id() == id);
            let Some(stored) = stored else {
                return Err(Failure::new("registry: a damaged row").way_out("restore the file from a backup"));
            };
            self.pool.reserve(stored.virtual4);
            self.known.insert(id, stored.virtual4);
            loaded.rows.push(Row { stored, dc: self.dc.clone() });
        }
        for entry in read.open_table(REVOKED).context("registry")?.iter().context("registry")? {
            loaded.revoked.push(NodeId(entry.context("registry")?.0.value()));
        }
        let about = read.open_table(ABOUT).context("registry")?;
        loaded.revocations = about.get("revocations").context("registry")?.map_or(0, |value| value.value());
        Ok(loaded)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Vec<Option<Result<Stored, NotStored>>>, Unavailable> {
        if self.doubted {
            self.load().map_err(|why| Unavailable(why.to_string()))?;
            self.doubted = false;
        }
        self.write(changes).map_err(|why| {
            self.doubted = true;
            Unavailable(why.to_string())
        })
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("nodes", &self.known.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ntm_server::testing::Folder;

    use crate::store::testing::application;

    fn open(path: &Path) -> Result<Embedded, Failure> {
        Embedded::open(path, Fqdn::parse("dc1.ntm.example").expect("a name"), ([198, 18, 0, 0].into(), 29))
    }

    fn admit(registry: &mut Embedded, seed: u8, sequence: u64) -> Result<Stored, NotStored> {
        let change = Change::Admit(Box::new(application(seed, sequence)));
        registry.commit(&[change]).expect("commits").remove(0).expect("an answer")
    }

    #[test]
    fn a_node_has_the_same_address_after_the_file_was_opened_again() {
        let folder = Folder::new();
        let path = folder.path().join("registry.redb");
        let mut registry = open(&path).expect("opens");
        let first = admit(&mut registry, 1, 10).expect("stored");
        registry.commit(&[Change::Revoke { upto: 3, nodes: vec![NodeId([9; 32])] }]).expect("commits");
        drop(registry);
        let mut registry = open(&path).expect("opens");
        let loaded = registry.load().expect("loads");
        assert_eq!((loaded.rows[0].stored.clone(), loaded.revocations), (first.clone(), 3));
        assert_eq!(loaded.revoked, [NodeId([9; 32])]);
        assert_eq!(admit(&mut registry, 1, 11).expect("stored").virtual4, first.virtual4);
    }

    #[test]
    fn a_replayed_application_changes_nothing() {
        let folder = Folder::new();
        let mut registry = open(&folder.path().join("registry.redb")).expect("opens");
        let newest = admit(&mut registry, 1, 20).expect("stored");
        assert_eq!(admit(&mut registry, 1, 10), Ok(newest));
    }

    #[test]
    fn a_full_pool_refuses_and_a_forgotten_node_makes_room() {
        let folder = Folder::new();
        let mut registry = open(&folder.path().join("registry.redb")).expect("opens");
        let mut given: Vec<_> = (1..=6).map(|seed| admit(&mut registry, seed, 1).expect("room").virtual4).collect();
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 6);
        assert_eq!(admit(&mut registry, 7, 1), Err(NotStored::Full));
        registry.commit(&[Change::Forget(application(3, 1).record.node_id())]).expect("commits");
        assert!(admit(&mut registry, 7, 1).is_ok());
    }

    #[test]
    fn a_file_that_another_process_has_is_refused_with_the_way_out() {
        let folder = Folder::new();
        let path = folder.path().join("registry.redb");
        let _held = open(&path).expect("opens");
        let why = open(&path).expect_err("locked").to_string();
        assert!(why.contains("another process") && why.contains("stop the other"), "{why}");
    }
}
