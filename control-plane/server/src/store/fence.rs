//! The second fence between customers: whatever a request of a person asks of a database for several replicas, that database shows and
//! lets it change boxes of his part of the tree alone, also where a handler forgot to ask what he may.
//!
//! ```text
//! around (each request) ─▶ Access found ─▶ within(his places) ─▶ every transaction of the request: SET LOCAL saveos.tops
//!                                                              └▶ policies of tables with boxes in them
//! ```
//!
//! What belongs to no request (ingest, alerts, rollouts) sets nothing and sees everything. So does what a request does for all, such as the
//! broker's list of revocations: it says so by `without`. The engine in a file has one fence, the handlers'.

use super::StoreError;
use deadpool_postgres::Object;
use std::sync::OnceLock;

tokio::task_local! {
    /// Places of whoever asks, once he is known.
    static WITHIN: OnceLock<String>;
}

/// Tables in which every row is of a box, by their column `device`; and those of them in which one may be of none.
const TABLES: [&str; 14] = [
    "alert",
    "certificate",
    "command",
    "disk",
    "disk_health",
    "fact",
    "job",
    "log_request",
    "recovery_point",
    "reported",
    "room_sample",
    "silence",
    "store_room",
    "stream",
];
const OF_NONE: [&str; 2] = ["alert", "silence"];
/// Another text needs another name, and a word that drops this one.
const POLICY: &str = "saveos_fence_1";
/// Who may see nothing.
const NOWHERE: &str = "-";

/// Runs a request: not within anything until it is known who asks.
pub(crate) async fn around<T>(request: impl Future<Output = T>) -> T {
    WITHIN.scope(OnceLock::new(), request).await
}

/// From here on the request is that of a person who may see these paths and what is below them.
pub(crate) fn within<'p>(paths: impl Iterator<Item = &'p str>) {
    let paths = paths.collect::<Vec<_>>().join(" ");
    let paths = if paths.is_empty() { NOWHERE.to_owned() } else { paths };
    // No request, or one that is two persons', which stays the first one's.
    let _ = WITHIN.try_with(|within| within.set(paths));
}

/// What is done for all, whoever asked for it.
pub(crate) async fn without<T>(work: impl Future<Output = T>) -> T {
    WITHIN.scope(OnceLock::new(), work).await
}

/// The same person in another task.
pub(crate) fn as_here<W: Future>(work: W) -> impl Future<Output = W::Output> {
    // Now, and not in the other task.
    let here = now().map_or_else(OnceLock::new, OnceLock::from);
    WITHIN.scope(here, work)
}

fn now() -> Option<String> {
    WITHIN.try_with(|within| within.get().cloned()).ok().flatten()
}

/// What a transaction of this task begins with.
pub(super) fn begin(how: &str) -> Result<String, StoreError> {
    let Some(paths) = now() else { return Ok(how.to_owned()) };
    // Names of our own making; a quote in one would end the statement.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_ ".contains(&byte);
    if !paths.bytes().all(plain) {
        return Err(StoreError::Damaged("a path in the tree"));
    }
    Ok(format!("{how}; SET LOCAL saveos.tops = '{paths}'"))
}

/// Sets it up, where it is not as this release knows it. Whoever does not know it sets nothing, and sees what he saw.
pub(super) async fn raise(client: &Object) -> Result<(), StoreError> {
    let sql = "SELECT COUNT(*) FROM pg_policies WHERE policyname = $1 AND schemaname = current_schema()";
    let there: i64 = client.query_one(sql, &[&POLICY]).await?.try_get(0)?;
    if usize::try_from(there) == Ok(TABLES.len() + 1) {
        return Ok(());
    }
    // One after the other: who reads several of them meanwhile waits for us, and we never for him with another one in our hand.
    for statement in statements() {
        client.batch_execute(&statement).await?;
    }
    Ok(())
}

fn statements() -> Vec<String> {
    // In a subquery it is asked once, and not for each row. A setting that was local to a transaction before is empty, not away.
    let free = "(SELECT COALESCE(current_setting('saveos.tops', TRUE), '')) = ''";
    // `EXISTS`, which the planner may look up for each row of few or hash for many: `IN` would be hashed for one row as well.
    let seen = "EXISTS (SELECT 1 FROM node, unnest(string_to_array(current_setting('saveos.tops', TRUE), ' ')) AS top
        WHERE node.id = appliance.node AND starts_with(node.path, top))";
    let mut all = vec![policy("appliance", &format!("{free} OR {seen}"))];
    for table in TABLES {
        let of_none = if OF_NONE.contains(&table) { " OR device IS NULL" } else { "" };
        // The policy of `appliance` holds in there as well.
        let seen = format!("EXISTS (SELECT 1 FROM appliance WHERE appliance.id = {table}.device)");
        all.push(policy(table, &format!("{free}{of_none} OR {seen}")));
    }
    all
}

fn policy(table: &str, sees: &str) -> String {
    format!(
        "BEGIN; SET LOCAL lock_timeout = '60s'; ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
        ALTER TABLE {table} FORCE ROW LEVEL SECURITY; DROP POLICY IF EXISTS {POLICY} ON {table};
        CREATE POLICY {POLICY} ON {table} USING ({sees}); COMMIT"
    )
}

/// Whole tables are filled by COPY, which goes through no fence; in the transaction that fills them.
pub(super) fn lower() -> String {
    let tables = TABLES.iter().chain(&["appliance"]);
    tables.map(|table| format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY;")).collect()
}

/// And raised again in the same one.
pub(super) fn raise_again() -> String {
    let tables = TABLES.iter().chain(&["appliance"]);
    tables.map(|table| format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;")).collect()
}

/// Whether the user of the database climbs over it.
pub(super) const CLIMBS: &str = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user";

#[cfg(test)]
mod tests;
