//! Disks as they are remembered: known again by what they say of themselves, wherever they are plugged in.

use super::Found;
use crate::db::DbError;
use crate::identity::random;
use rusqlite::{Connection, OptionalExtension, params};
use saveos_protocol::fact::{Bus, DiskIdentity};
use saveos_protocol::id::DiskId;
use saveos_protocol::time::Timestamp;
use std::path::{Path, PathBuf};

/// Whether a disk was known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Never seen: it is not read until its policy says so.
    New,
    /// Seen before.
    Before,
}

/// A disk that was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) id: DiskId,
    pub(crate) known: Known,
    /// It was plugged in before we were restarted, and stayed.
    pub(crate) stayed: bool,
}

/// Gives a disk its name, the one it had when it was known, and remembers where it is. `None` for one that says the same of
/// itself as another that is plugged in: a copy, whose snapshots would mix with those of its original, and which a restore
/// could take for it.
pub(crate) fn register(db: &Connection, found: &Found, now: Timestamp) -> Result<Option<Registered>, DbError> {
    let identity = serde_json::to_string(&found.identity).map_err(|_| DbError::Damaged("a disk's identity"))?;
    let path = found.path.to_string_lossy();
    let sql = "SELECT id, plugged_ms IS NOT NULL, path FROM disk WHERE identity = ?1";
    let known: Option<(String, bool, Option<String>)> =
        db.query_row(sql, [&identity], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
    let stayed = known.as_ref().is_some_and(|(_, plugged, _)| *plugged);
    if known.as_ref().and_then(|(.., other)| other.as_ref()).is_some_and(|other| *other != path) {
        return Ok(None);
    }
    let (id, known) = match known {
        Some((text, ..)) => (text.parse().map_err(|_| DbError::Damaged("a disk's name"))?, Known::Before),
        None => {
            let random = random().map_err(|_| DbError::Damaged("no random bytes"))?;
            (DiskId::from_parts(now, random), Known::New)
        }
    };
    let sql = "INSERT INTO disk (id, identity, size, path, plugged_ms, bus) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (id) DO UPDATE
               SET size = excluded.size, path = excluded.path, bus = excluded.bus,
               plugged_ms = coalesce(disk.plugged_ms, excluded.plugged_ms)";
    db.execute(sql, params![id.to_string(), identity, found.size, path, now.as_millis(), found.bus.as_str()])?;
    Ok(Some(Registered { id, known, stayed }))
}

/// A disk that went. Its name, if it had one.
pub(crate) fn leave(db: &Connection, path: &Path) -> Result<Option<DiskId>, DbError> {
    let sql = "UPDATE disk SET path = NULL, plugged_ms = NULL WHERE path = ?1 RETURNING id";
    let id: Option<String> = db.query_row(sql, [path.to_string_lossy()], |row| row.get(0)).optional()?;
    id.map(|text| text.parse().map_err(|_| DbError::Damaged("a disk's name"))).transpose()
}

/// At start nobody knows where the disks are until the first looks say so.
pub(crate) fn forget_places(db: &Connection) -> Result<(), DbError> {
    db.execute("UPDATE disk SET path = NULL", [])?;
    Ok(())
}

/// Disks that were plugged in when we stopped and are not there any more. Asked when the first looks are done.
pub(crate) fn leave_absent(db: &Connection) -> Result<Vec<DiskId>, DbError> {
    let sql = "UPDATE disk SET plugged_ms = NULL WHERE path IS NULL AND plugged_ms IS NOT NULL RETURNING id";
    let mut query = db.prepare(sql)?;
    let ids: Vec<String> = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    ids.iter().map(|id| id.parse().map_err(|_| DbError::Damaged("a disk's name"))).collect()
}

/// A disk as it is remembered.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) id: DiskId,
    /// What it said of itself.
    pub(crate) identity: DiskIdentity,
    /// How it is, or was, connected.
    pub(crate) bus: Bus,
    /// Bytes.
    pub(crate) size: u64,
    /// Where it is, when it is there.
    pub(crate) path: Option<PathBuf>,
    /// Since when.
    pub(crate) plugged: Option<Timestamp>,
}

/// All disks that were ever seen.
pub(crate) fn all(db: &Connection) -> Result<Vec<Row>, DbError> {
    let mut query = db.prepare_cached("SELECT id, identity, size, path, plugged_ms, bus FROM disk ORDER BY id")?;
    let mut rows = query.query([])?;
    let mut disks = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, identity): (String, String) = (row.get(0)?, row.get(1)?);
        disks.push(Row {
            id: id.parse().map_err(|_| DbError::Damaged("a disk's name"))?,
            identity: serde_json::from_str(&identity).map_err(|_| DbError::Damaged("a disk's identity"))?,
            bus: bus_of(&row.get::<_, String>(5)?),
            size: row.get(2)?,
            path: row.get::<_, Option<String>>(3)?.map(PathBuf::from),
            plugged: row.get::<_, Option<u64>>(4)?.map(Timestamp::saturating),
        });
    }
    Ok(disks)
}

fn bus_of(word: &str) -> Bus {
    Bus::ALL.iter().copied().find(|bus| bus.as_str() == word).unwrap_or(Bus::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use saveos_protocol::text::Mark;

    #[test]
    fn a_disk_keeps_its_name_when_it_comes_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = crate::db::open(folder.path()).expect("a database");
        let identity = DiskIdentity { serial: Mark::cut("WX11"), ..DiskIdentity::default() };
        let found = Found { path: "/dev/sda".into(), identity, bus: Bus::Sata, size: 7, partitions: Vec::new() };
        let now = crate::clock::now().ts;
        let first = register(&db, &found, now).expect("room").expect("a disk");
        assert_eq!((first.known, first.stayed), (Known::New, false));
        assert_eq!(leave(&db, Path::new("/dev/sda")).expect("readable"), Some(first.id));
        let elsewhere = Found { path: "/dev/sdb".into(), ..found.clone() };
        let again = Registered { known: Known::Before, ..first };
        assert_eq!(register(&db, &elsewhere, now).expect("room"), Some(again));
        assert_eq!(
            register(&db, &found, now).expect("room"),
            None,
            "a copy of a disk that is plugged in is not taken for it"
        );
        assert_eq!(all(&db).expect("readable")[0].path.as_deref(), Some(Path::new("/dev/sdb")));

        // We are restarted: it stayed, and was plugged in when it was.
        forget_places(&db).expect("room");
        let later = now.after(std::time::Duration::from_secs(60));
        assert!(register(&db, &elsewhere, later).expect("room").expect("a disk").stayed);
        assert_eq!(all(&db).expect("readable")[0].plugged, Some(now));
        // And again: now it is gone.
        forget_places(&db).expect("room");
        assert_eq!(leave_absent(&db).expect("room"), [first.id]);
        assert!(!register(&db, &elsewhere, later).expect("room").expect("a disk").stayed);
    }
}
