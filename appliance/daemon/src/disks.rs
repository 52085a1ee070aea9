//! Which disks are there. A folder of disk images stands in for the sockets of a box: a file that appears was plugged in, one
//! that goes was unplugged. Disks are known again by what they say of themselves; their data is not read for that.
//!
//! A file that is still being copied into the folder is no disk yet: it counts when it was the same at two looks.

use crate::db::DbError;
use crate::identity::random;
use rusqlite::{Connection, OptionalExtension, params};
use saveos_engine::layout::partition;
use saveos_engine::source::DiskSource;
use saveos_engine::source::Source;
use saveos_protocol::fact::DiskIdentity;
use saveos_protocol::id::DiskId;
use saveos_protocol::text::Mark;
use saveos_protocol::time::Timestamp;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A disk that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where.
    pub(crate) path: PathBuf,
    /// What it says of itself.
    pub(crate) identity: DiskIdentity,
    /// Bytes.
    pub(crate) size: u64,
}

/// What a look at the folder found changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Plugged in.
    pub(crate) came: Vec<Found>,
    /// Unplugged.
    pub(crate) went: Vec<PathBuf>,
}

/// A file as a look saw it: inode, bytes, time of change in nanoseconds.
type Look = (u64, u64, i128);

/// The folder and what was there at the last look.
pub(crate) struct Folder {
    path: PathBuf,
    seen: BTreeMap<PathBuf, Look>,
    here: BTreeMap<PathBuf, u64>,
    /// Told to be no disks; asked again when they change.
    refused: BTreeMap<PathBuf, Look>,
}

impl Folder {
    /// Nothing is there before the first look.
    pub(crate) fn new(path: &Path) -> Folder {
        Folder { path: path.to_owned(), seen: BTreeMap::new(), here: BTreeMap::new(), refused: BTreeMap::new() }
    }

    /// Looks. A folder that cannot be read holds no disk.
    pub(crate) fn look(&mut self) -> Change {
        let now = looks(&self.path);
        let mut change = Change::default();
        // Another file under the same name is another disk; one that somebody writes to is the same.
        self.here.retain(|path, inode| {
            let stays = now.get(path).is_some_and(|look| look.0 == *inode);
            if !stays {
                change.went.push(path.clone());
            }
            stays
        });
        self.refused.retain(|path, look| now.get(path) == Some(look));
        for (path, look) in &now {
            let asked = self.here.contains_key(path) || self.refused.contains_key(path);
            if !asked && self.seen.get(path) == Some(look) {
                match identify(path) {
                    Ok(found) => {
                        self.here.insert(path.clone(), look.0);
                        change.came.push(found);
                    }
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "not a disk");
                        self.refused.insert(path.clone(), *look);
                    }
                }
            }
        }
        self.seen = now;
        change
    }
}

fn looks(folder: &Path) -> BTreeMap<PathBuf, Look> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    let look = |entry: std::fs::DirEntry| {
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // Follows links: a link to a block device stands for that disk.
        let metadata = std::fs::metadata(entry.path()).ok().filter(|metadata| !metadata.is_dir() && !hidden)?;
        let changed = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Some((entry.path(), (metadata.ino(), metadata.len(), changed)))
    };
    entries.flatten().filter_map(look).collect()
}

/// Reads the partition table and nothing else.
fn identify(path: &Path) -> Result<Found, saveos_engine::source::SourceError> {
    let source = DiskSource::open(path)?;
    let table = partition::read(&source, source.sector_size());
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let identity = DiskIdentity {
        serial: Mark::cut(&name),
        model: Mark::cut("disk image"),
        table: Mark::cut(&table.identity),
        filesystem: None,
    };
    Ok(Found { path: path.to_owned(), identity, size: saveos_engine::read::ReadAt::len(&source) })
}

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

/// Gives a disk its name, the one it had when it was known, and remembers where it is.
pub(crate) fn register(db: &Connection, found: &Found, now: Timestamp) -> Result<Registered, DbError> {
    let identity = serde_json::to_string(&found.identity).map_err(|_| DbError::Damaged("a disk's identity"))?;
    let path = found.path.to_string_lossy();
    let sql = "SELECT id, plugged_ms IS NOT NULL FROM disk WHERE identity = ?1";
    let known: Option<(String, bool)> =
        db.query_row(sql, [&identity], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let stayed = known.as_ref().is_some_and(|(_, plugged)| *plugged);
    let (id, known) = match known {
        Some((text, _)) => (text.parse().map_err(|_| DbError::Damaged("a disk's name"))?, Known::Before),
        None => {
            let random = random().map_err(|_| DbError::Damaged("no random bytes"))?;
            (DiskId::from_parts(now, random), Known::New)
        }
    };
    let sql = "INSERT INTO disk (id, identity, size, path, plugged_ms) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (id) DO UPDATE
               SET size = excluded.size, path = excluded.path, plugged_ms = coalesce(disk.plugged_ms, excluded.plugged_ms)";
    db.execute(sql, params![id.to_string(), identity, found.size, path, now.as_millis()])?;
    Ok(Registered { id, known, stayed })
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
    /// Bytes.
    pub(crate) size: u64,
    /// Where it is, when it is there.
    pub(crate) path: Option<PathBuf>,
    /// Since when.
    pub(crate) plugged: Option<Timestamp>,
}

/// All disks that were ever seen.
pub(crate) fn all(db: &Connection) -> Result<Vec<Row>, DbError> {
    let mut query = db.prepare_cached("SELECT id, identity, size, path, plugged_ms FROM disk ORDER BY id")?;
    let mut rows = query.query([])?;
    let mut disks = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, identity): (String, String) = (row.get(0)?, row.get(1)?);
        disks.push(Row {
            id: id.parse().map_err(|_| DbError::Damaged("a disk's name"))?,
            identity: serde_json::from_str(&identity).map_err(|_| DbError::Damaged("a disk's identity"))?,
            size: row.get(2)?,
            path: row.get::<_, Option<String>>(3)?.map(PathBuf::from),
            plugged: row.get::<_, Option<u64>>(4)?.map(Timestamp::saturating),
        });
    }
    Ok(disks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(folder: &Path, name: &str, len: u64) {
        std::fs::File::create(folder.join(name)).and_then(|file| file.set_len(len)).expect("room");
    }

    #[test]
    fn a_file_is_a_disk_when_it_has_come_to_rest() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut watched = Folder::new(folder.path());
        assert_eq!(watched.look(), Change::default());
        put(folder.path(), "nas.img", 1 << 20);
        assert_eq!(watched.look(), Change::default());
        put(folder.path(), "nas.img", 2 << 20);
        assert_eq!(watched.look(), Change::default());
        let change = watched.look();
        assert_eq!((change.came.len(), change.came[0].size), (1, 2 << 20));
        assert_eq!(watched.look(), Change::default());
        std::fs::remove_file(folder.path().join("nas.img")).expect("it was there");
        assert_eq!(watched.look().went, [folder.path().join("nas.img")]);
    }

    #[test]
    fn what_is_no_disk_is_told_once_and_asked_again_when_it_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut watched = Folder::new(folder.path());
        put(folder.path(), "empty.img", 0);
        for _ in 0..4 {
            assert_eq!(watched.look(), Change::default());
        }
        assert_eq!(watched.refused.len(), 1);
        put(folder.path(), "empty.img", 1 << 20);
        watched.look();
        assert_eq!((watched.look().came.len(), watched.refused.len()), (1, 0));
    }

    #[test]
    fn a_disk_keeps_its_name_when_it_comes_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let db = crate::db::open(folder.path()).expect("a database");
        let identity = DiskIdentity { serial: Mark::cut("WX11"), ..DiskIdentity::default() };
        let found = Found { path: "/dev/sda".into(), identity, size: 7 };
        let now = crate::clock::now().ts;
        let first = register(&db, &found, now).expect("room");
        assert_eq!((first.known, first.stayed), (Known::New, false));
        assert_eq!(leave(&db, Path::new("/dev/sda")).expect("readable"), Some(first.id));
        let elsewhere = Found { path: "/dev/sdb".into(), ..found };
        let again = Registered { known: Known::Before, ..first };
        assert_eq!(register(&db, &elsewhere, now).expect("room"), again);
        assert_eq!(all(&db).expect("readable")[0].path.as_deref(), Some(Path::new("/dev/sdb")));

        // We are restarted: it stayed, and was plugged in when it was.
        forget_places(&db).expect("room");
        let later = now.after(std::time::Duration::from_secs(60));
        assert!(register(&db, &elsewhere, later).expect("room").stayed);
        assert_eq!(all(&db).expect("readable")[0].plugged, Some(now));
        // And again: now it is gone.
        forget_places(&db).expect("room");
        assert_eq!(leave_absent(&db).expect("room"), [first.id]);
        assert!(!register(&db, &elsewhere, later).expect("room").stayed);
    }
}
