//! The fence by itself: with statements that ask for everything, as a handler would that forgot whose part of the tree it is for.

use super::*;
use crate::store::{Store, first, values};

/// Two customers with a box each, and an alert of nobody's box.
async fn given(folder: &std::path::Path) -> Option<Store> {
    let store = Store::for_test(folder).await;
    if matches!(store, Store::Sqlite(_)) {
        // The engine in a file has no policies; the suite `cluster` runs this on the other.
        return None;
    }
    let write = store.write(|tx| {
        for (site, path) in [("o", "/o/"), ("a", "/o/a/"), ("b", "/o/b/"), ("ab", "/o/ab/")] {
            let sql = "INSERT INTO node (id, path, kind, name, made_ms) VALUES ($1, $2, 'site', $1, 1)";
            tx.execute(sql, &values![site, path])?;
            let sql = "INSERT INTO appliance (id, node, name, public_key, hardware, firmware, enrolled_ms, serial, until_ms, desired,
                desired_ver, applied_ver) VALUES ($1, $1, $1, $1, '', '1', 1, '', 1, '', 0, 0)";
            tx.execute(sql, &values![site])?;
            let sql = "INSERT INTO disk (device, id, identity, bus, size_bytes, seen_ms) VALUES ($1, 'disk', '{}', 'usb', 1, 1)";
            tx.execute(sql, &values![site])?;
        }
        let sql = "INSERT INTO alert (id, fingerprint, rule, node, detail, raised_ms) VALUES ('x', 'x', 'route', 'o', '{}', 1)";
        tx.execute(sql, &[])
    });
    write.await.expect("room");
    Some(store)
}

async fn seen(store: &Store, sql: &'static str) -> Vec<String> {
    let rows = store.read(move |tx| tx.query(sql, &[])).await.expect("readable");
    rows.iter().map(|row| row.text(0).expect("a name").to_owned()).collect()
}

const BOXES: &str = "SELECT id FROM appliance ORDER BY id";
const DISKS: &str = "SELECT device FROM disk ORDER BY device";

#[tokio::test]
async fn who_asks_for_everything_sees_what_is_his() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(store) = given(folder.path()).await else { return };
    let as_person = |paths: &'static [&'static str]| {
        let store = store.clone();
        around(async move {
            within(paths.iter().copied());
            (seen(&store, BOXES).await, seen(&store, DISKS).await)
        })
    };
    let both = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        (names.clone(), names)
    };
    assert_eq!(as_person(&["/o/a/"]).await, both(&["a"]), "not the one whose path begins alike");
    assert_eq!(as_person(&["/o/a/", "/o/b/"]).await, both(&["a", "b"]));
    assert_eq!(as_person(&["/o/"]).await, both(&["a", "ab", "b", "o"]));
    assert_eq!(as_person(&[]).await, both(&[]), "who may see nothing is not who is nobody");
    // What belongs to no request, also on a connection that somebody's request had before.
    assert_eq!((seen(&store, BOXES).await, seen(&store, DISKS).await), both(&["a", "ab", "b", "o"]));
    let alerts = around(async {
        within(["/o/a/"].into_iter());
        seen(&store, "SELECT id FROM alert").await
    });
    assert_eq!(alerts.await, ["x"], "one of no box is the handlers' to show or not");
}

#[tokio::test]
async fn nobody_changes_what_is_another_s_or_gives_him_something() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(store) = given(folder.path()).await else { return };
    let changed = around(async {
        within(["/o/a/"].into_iter());
        store.write(|tx| tx.execute("UPDATE appliance SET name = 'mine'", &[])).await.expect("room")
    });
    assert_eq!(changed.await, 1);
    for sql in [
        "INSERT INTO disk (device, id, identity, bus, size_bytes, seen_ms) VALUES ('b', 'other', '{}', 'usb', 1, 1)",
        "UPDATE appliance SET node = 'b' WHERE id = 'a'",
    ] {
        let refused = around(async {
            within(["/o/a/"].into_iter());
            store.write(move |tx| tx.execute(sql, &[])).await
        });
        let why = refused.await.expect_err("it is refused");
        let why = std::error::Error::source(&why).map(ToString::to_string).unwrap_or_default();
        assert!(why.contains("row-level security") || why == "db error", "{why}");
    }
    let names = seen(&store, "SELECT name FROM appliance ORDER BY id").await;
    assert_eq!(names, ["mine", "ab", "b", "o"]);
}

#[tokio::test]
async fn another_task_of_a_request_is_fenced_when_it_says_so_and_what_is_for_all_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(store) = given(folder.path()).await else { return };
    let counts = around(async {
        within(["/o/a/"].into_iter());
        within(["/o/"].into_iter());
        let (one, other) = (store.clone(), store.clone());
        let same = tokio::spawn(as_here(async move { seen(&one, BOXES).await.len() })).await.expect("no panic");
        let all = without(async move { seen(&other, BOXES).await.len() }).await;
        (seen(&store, BOXES).await.len(), same, all)
    });
    assert_eq!(counts.await, (1, 1, 4), "and the first person stays the one");
}

#[test]
fn a_path_that_would_end_the_statement_begins_none() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(around(async {
        within(["/o/'; DROP TABLE node; --/"].into_iter());
        assert!(matches!(begin("BEGIN"), Err(StoreError::Damaged(_))));
    }));
    assert_eq!(begin("BEGIN").expect("nobody asks"), "BEGIN");
}

/// A step that adds a table with boxes in it has to say here what may be seen of it.
#[tokio::test]
async fn every_table_with_boxes_in_it_is_fenced() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(store) = given(folder.path()).await else { return };
    let sql = "SELECT CAST(table_name AS TEXT) FROM information_schema.columns WHERE column_name = 'device'
        AND table_schema = 'public' ORDER BY table_name";
    let with_boxes = seen(&store, sql).await;
    // Claims hang on a site, and one of any site must be known; parts of a bulk name what was refused; the log of a rollout is for all.
    let others = ["bulk_part", "claim", "rollout_log"];
    let fenced: Vec<&str> = with_boxes.iter().map(String::as_str).filter(|name| !others.contains(name)).collect();
    assert_eq!(fenced, TABLES);
    assert!(store.is_fenced().await.expect("it is known"));
    let row = store.read(|tx| first(tx, "SELECT COUNT(*) FROM pg_policies", &[])).await.expect("readable");
    assert_eq!(row.expect("a row").number(0).expect("a number"), TABLES.len() as u64 + 1);
}
