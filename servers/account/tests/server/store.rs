//! Both stores keep the same promises.

use std::sync::Arc;

use ntm_account::store::{self, END, Range, Store, StoreError, Table, Transaction, numbered};
use serde_json::json;

use super::harness::Folder;
use super::postgres::Postgres;

#[test]
fn the_embedded_store_keeps_its_promises() {
    let folder = Folder::new();
    let place = folder.path().join("store.redb").display().to_string();
    promises(&|| store::open(&place).expect("opens"));
}

#[test]
fn postgresql_keeps_the_same_promises() {
    let postgres = Postgres::start();
    promises(&|| store::open(&postgres.url()).expect("opens"));
}

#[test]
fn an_embedded_store_that_another_process_has_is_said_to_be_locked() {
    let folder = Folder::new();
    let place = folder.path().join("store.redb").display().to_string();
    let _held = store::open(&place).expect("opens");
    assert_eq!(store::open(&place).expect_err("locked"), StoreError::Locked(place));
}

#[test]
fn a_database_that_cannot_be_reached_is_said_to_be_and_not_waited_for() {
    let why = store::open("postgres://ntm@127.0.0.1:1/ntm").expect_err("nobody listens there");
    assert!(matches!(why, StoreError::Unavailable(_)), "{why}");
    let elsewhere = "postgres://ntm@db.example/ntm?sslrootcert=/nowhere.pem";
    let why = store::open(elsewhere).expect_err("another host is spoken to by TLS only");
    assert!(why.to_string().contains("/nowhere.pem"), "{why}");
}

/// `open` opens the same store each time.
fn promises(open: &dyn Fn() -> Arc<dyn Store>) {
    let store = open();
    what_is_written_is_read(&*store);
    what_is_refused_leaves_no_trace(&*store);
    ranges_are_in_order(&*store);
    writers_follow_one_another(&store);
    readers_see_one_moment_and_write_nothing(&*store);
    drop(store);
    let again = open();
    let kept = store::read(&*again, |tx| tx.get(Table::Accounts, "alice")).expect("reads");
    assert_eq!(kept, Some(json!({ "n": 2, "text": "ümlaut \"quoted\" \u{1f600}" })));
}

fn what_is_written_is_read(store: &dyn Store) {
    let first = json!({ "n": u64::MAX, "list": [1, null, true] });
    let second = json!({ "n": 2, "text": "ümlaut \"quoted\" \u{1f600}" });
    let seen = store::write(store, |tx| {
        tx.put(Table::Accounts, "alice", first.clone())?;
        let within = tx.get(Table::Accounts, "alice")?;
        tx.put(Table::Accounts, "bob", first.clone())?;
        Ok::<_, StoreError>(within)
    });
    assert_eq!(seen.expect("writes"), Some(first.clone()));
    let read = |key: &str| store::read(store, |tx| tx.get(Table::Accounts, key)).expect("reads");
    assert_eq!(read("alice"), Some(first));
    store::write(store, |tx| tx.put(Table::Accounts, "alice", second.clone())).expect("writes");
    assert_eq!(read("alice"), Some(second));
    let delete = || store::write(store, |tx| tx.delete(Table::Accounts, "bob")).expect("deletes");
    assert_eq!((delete(), delete(), read("bob"), read("carol")), (true, false, None, None));
    assert_eq!(store::read(store, |tx| tx.get(Table::Nodes, "alice")).expect("reads"), None);
}

fn what_is_refused_leaves_no_trace(store: &dyn Store) {
    let refused = store::write(store, |tx| {
        tx.put(Table::Nodes, "half", json!(1))?;
        Err::<(), _>(StoreError::Corrupt("a change of mind".into()))
    });
    assert_eq!(refused, Err(StoreError::Corrupt("a change of mind".into())));
    assert_eq!(store::read(store, |tx| tx.get(Table::Nodes, "half")).expect("reads"), None);
}

fn ranges_are_in_order(store: &dyn Store) {
    let keys = ["a", "a-b", "a/1", "a/2", "a/\u{e9}", "a0", "ab", "b/1", "B", "Z"];
    store::write(store, |tx| keys.iter().try_for_each(|key| tx.put(Table::Owners, key, json!(true)))).expect("writes");
    let scan = |from: &str, until: &str, limit: usize, backwards: bool| -> Vec<String> {
        let range = Range { from, until, limit, backwards };
        let rows = store::read(store, |tx| tx.scan(Table::Owners, range)).expect("reads");
        rows.into_iter().map(|(key, _)| key).collect()
    };
    // The order of bytes, whatever the database's locale is.
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    assert_eq!(scan("", END, 100, false), sorted);
    sorted.reverse();
    assert_eq!(scan("", END, 100, true), sorted);
    assert_eq!(scan("a", "a0", 100, false), ["a", "a-b", "a/1", "a/2", "a/\u{e9}"]);
    assert_eq!(scan("a/", END, 2, false), ["a/1", "a/2"]);
    assert_eq!(scan("", "b", 2, true), ["ab", "a0"]);
    assert_eq!(scan("b", "a", 9, false), [""; 0]);
    let below = store::read(store, |tx| tx.keys_below(Table::Owners, "a/", 9)).expect("reads");
    assert_eq!(below, ["1", "2", "\u{e9}"]);
    assert!(numbered(9) < numbered(10) && numbered(10) < numbered(u64::MAX));
}

fn writers_follow_one_another(store: &Arc<dyn Store>) {
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let store = Arc::clone(store);
            let count = move || {
                let numbers = (0..25).map(|_| store::write(&*store, |tx| tx.count_up("races")).expect("writes"));
                numbers.collect::<Vec<_>>()
            };
            std::thread::spawn(count)
        })
        .collect();
    let mut numbers: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().expect("ran")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}

fn readers_see_one_moment_and_write_nothing(store: &dyn Store) {
    store::write(store, |tx| tx.put(Table::Meta, "moment", json!(1))).expect("writes");
    store::read(store, |tx| {
        let before = tx.get(Table::Meta, "moment")?;
        store::write(store, |tx| tx.put(Table::Meta, "moment", json!(2)))?;
        assert_eq!(tx.get(Table::Meta, "moment")?, before);
        Ok::<_, StoreError>(())
    })
    .expect("reads");
    let denied = |work: &dyn Fn(&mut dyn Transaction) -> bool| store::read(store, |tx| Ok::<_, StoreError>(work(tx)));
    assert_eq!(denied(&|tx| tx.put(Table::Meta, "moment", json!(3)).is_err()), Ok(true));
    assert_eq!(denied(&|tx| tx.delete(Table::Meta, "moment").is_err()), Ok(true));
    assert_eq!(store::read(store, |tx| tx.get(Table::Meta, "moment")), Ok(Some(json!(2))));
}
