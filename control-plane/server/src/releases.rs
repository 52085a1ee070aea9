//! What is published in `releases/` of the data folder: which releases there are, and which ones each follows.
//!
//! Read to offer what boxes can take, and believed no further: who signed it, and whether it is fresh, each box sees for itself.

pub(crate) mod line;

use saveos_protocol::hex::Digest;
use saveos_protocol::release::Said;
use saveos_protocol::text::Release;
use saveos_server::rollout::Routes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

/// One bundle that is a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) said: Said,
    pub(crate) bytes: u64,
}

/// What rollouts want to know of all that is published.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    /// Which release follows which.
    pub(crate) routes: Routes,
    /// Security epochs; of a release that is published for several machines, the lowest.
    pub(crate) epochs: BTreeMap<Release, u32>,
    /// Root hashes of the systems of a release, where each of its bundles has one.
    pub(crate) roots: BTreeMap<Release, BTreeSet<Digest>>,
}

impl Catalogue {
    pub(crate) fn of(all: Vec<Published>) -> Catalogue {
        let (mut epochs, mut roots) = (BTreeMap::new(), BTreeMap::<Release, BTreeSet<Digest>>::new());
        for Published { said, .. } in &all {
            let epoch = epochs.entry(said.release.clone()).or_insert(said.security_epoch);
            *epoch = said.security_epoch.min(*epoch);
            roots.entry(said.release.clone()).or_default().extend(said.root_hash);
        }
        for Published { said, .. } in all.iter().filter(|one| one.said.root_hash.is_none()) {
            roots.remove(&said.release);
        }
        let routes = Routes::new(all.into_iter().map(|one| (one.said.release, one.said.from)));
        Catalogue { routes, epochs, roots }
    }
}

/// Why it cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReleasesError {
    /// A file.
    #[error("could not read {0}")]
    File(String, #[source] std::io::Error),
    /// It is too long, or no metadata.
    #[error("{0} is no metadata of a release repository")]
    NotUnderstood(String),
}

#[derive(Deserialize)]
struct Signed<T> {
    signed: T,
}

/// Timestamp and snapshot: what to read next.
#[derive(Deserialize)]
struct Pointers {
    meta: BTreeMap<String, Pointer>,
}

#[derive(Deserialize)]
struct Pointer {
    version: u64,
}

#[derive(Deserialize)]
struct Targets {
    targets: BTreeMap<String, Target>,
}

#[derive(Deserialize)]
struct Target {
    length: u64,
    custom: Option<serde_json::Value>,
}

/// As long as a box takes it (`appliance/daemon/src/update/metadata.rs`).
const LONGEST: u64 = 4 << 20;

/// All bundles; `None` when nothing is published there: boxes may be told to look elsewhere.
pub(crate) fn read(folder: &Path) -> Result<Option<Vec<Published>>, ReleasesError> {
    let metadata = folder.join("metadata");
    let timestamp: Signed<Pointers> = match file(&metadata, "timestamp.json") {
        Err(ReleasesError::File(_, error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    let next = |pointers: &Signed<Pointers>, name: &str| match pointers.signed.meta.get(name) {
        Some(pointer) => Ok(format!("{}.{name}", pointer.version)),
        None => Err(ReleasesError::NotUnderstood(format!("what leads to {name}"))),
    };
    let snapshot: Signed<Pointers> = file(&metadata, &next(&timestamp, "snapshot.json")?)?;
    let targets: Signed<Targets> = file(&metadata, &next(&snapshot, "targets.json")?)?;
    // What goes with a bundle says nothing, and what a newer tool says is its own.
    let bundle = |target: Target| {
        let said = serde_json::from_value::<Said>(target.custom?).ok()?;
        Some(Published { said, bytes: target.length })
    };
    Ok(Some(targets.signed.targets.into_values().filter_map(bundle).collect()))
}

fn file<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<T, ReleasesError> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(folder.join(name)).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes));
    let length = read.map_err(|error| ReleasesError::File(name.to_owned(), error))? as u64;
    let found = serde_json::from_slice(&bytes).ok().filter(|_| length <= LONGEST);
    found.ok_or_else(|| ReleasesError::NotUnderstood(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn put(folder: &Path, name: &str, text: &str) {
        std::fs::create_dir_all(folder.join("metadata")).expect("a folder");
        let written =
            std::fs::File::create(folder.join("metadata").join(name)).map(|mut file| file.write_all(text.as_bytes()));
        written.expect("a file").expect("room");
    }

    #[test]
    fn what_the_timestamp_leads_to_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(read(folder.path()).expect("nothing is no error"), None);
        put(folder.path(), "timestamp.json", r#"{"signed": {"meta": {"snapshot.json": {"version": 7}}}}"#);
        assert!(matches!(read(folder.path()), Err(ReleasesError::File(name, _)) if name == "7.snapshot.json"));
        put(folder.path(), "7.snapshot.json", r#"{"signed": {"meta": {"targets.json": {"version": 3}}}}"#);
        put(folder.path(), "4.targets.json", "not yet");
        let bundle = r#"{"length": 9, "custom": {"release": "2.0", "compatible": "saveos-qemu", "security_epoch": 1, "from": ["1.0"]}}"#;
        let targets = format!(r#"{{"signed": {{"targets": {{"a.raucb": {bundle}, "a.cdx.json": {{"length": 5}}}}}}}}"#);
        put(folder.path(), "3.targets.json", &targets);
        let found = read(folder.path()).expect("readable").expect("published");
        let from: Vec<String> = found[0].said.from.iter().map(ToString::to_string).collect();
        assert_eq!((found.len(), found[0].bytes, from), (1, 9, vec!["1.0".to_owned()]));
        for text in ["", "{}", r#"{"signed": {"meta": {"snapshot.json": {"version": -1}}}}"#, &"[".repeat(100_000)] {
            put(folder.path(), "timestamp.json", text);
            assert!(matches!(read(folder.path()), Err(ReleasesError::NotUnderstood(_))), "{}", text.len());
        }
    }

    #[test]
    fn of_a_release_for_several_machines_the_lowest_epoch_counts_and_roots_only_where_all_have_one() {
        let published = |release: &str, security_epoch: u32, root_hash: Option<u8>| {
            let said = serde_json::json!({
                "release": release, "compatible": "saveos-qemu", "security_epoch": security_epoch,
                "root_hash": root_hash.map(|byte| format!("{byte:02x}").repeat(32)),
            });
            Published { said: serde_json::from_value(said).expect("it is understood"), bytes: 9 }
        };
        let all = vec![
            published("1.0", 3, Some(1)),
            published("1.0", 2, Some(2)),
            published("2.0", 4, Some(3)),
            published("2.0", 4, None),
        ];
        let (one, two): (Release, Release) = ("1.0".parse().expect("a release"), "2.0".parse().expect("a release"));
        let catalogue = Catalogue::of(all);
        assert_eq!((catalogue.epochs[&one], catalogue.epochs[&two]), (2, 4));
        assert_eq!(catalogue.roots[&one], BTreeSet::from([Digest([1; 32]), Digest([2; 32])]));
        assert!(!catalogue.roots.contains_key(&two), "boxes of the other machine cannot say one");
        assert!(catalogue.routes.has(&two));
    }
}
