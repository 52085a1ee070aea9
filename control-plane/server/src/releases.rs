//! What is published in `releases/` of the data folder: which releases there are, and which ones each follows.
//!
//! Read to offer what boxes can take, and believed no further: who signed it, and whether it is fresh, each box sees for itself.

pub(crate) mod line;

use crate::objects::{Objects, ObjectsError};
use saveos_protocol::hex::Digest;
use saveos_protocol::release::Said;
use saveos_protocol::text::Release;
use saveos_server::rollout::Routes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

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
    /// Where it lies.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// What leads to it was there.
    #[error("{0} is missing in the release repository")]
    Missing(String),
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
pub(crate) async fn read(objects: &Objects) -> Result<Option<Vec<Published>>, ReleasesError> {
    let timestamp: Signed<Pointers> = match file(objects, "timestamp.json").await? {
        Some(found) => found,
        None => return Ok(None),
    };
    let snapshot: Signed<Pointers> = there(objects, &next(&timestamp, "snapshot.json")?).await?;
    let targets: Signed<Targets> = there(objects, &next(&snapshot, "targets.json")?).await?;
    // What goes with a bundle says nothing, and what a newer tool says is its own.
    let bundle = |target: Target| {
        let said = serde_json::from_value::<Said>(target.custom?).ok()?;
        Some(Published { said, bytes: target.length })
    };
    Ok(Some(targets.signed.targets.into_values().filter_map(bundle).collect()))
}

fn next(pointers: &Signed<Pointers>, name: &str) -> Result<String, ReleasesError> {
    match pointers.signed.meta.get(name) {
        Some(pointer) => Ok(format!("{}.{name}", pointer.version)),
        None => Err(ReleasesError::NotUnderstood(format!("what leads to {name}"))),
    }
}

async fn there<T: DeserializeOwned>(objects: &Objects, name: &str) -> Result<T, ReleasesError> {
    file(objects, name).await?.ok_or_else(|| ReleasesError::Missing(name.to_owned()))
}

async fn file<T: DeserializeOwned>(objects: &Objects, name: &str) -> Result<Option<T>, ReleasesError> {
    let Some(bytes) = objects.read(&format!("releases/metadata/{name}"), LONGEST).await? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|_| ReleasesError::NotUnderstood(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_timestamp_leads_to_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let objects = Objects::Folder(folder.path().to_owned());
        let put = async |name: &str, text: &str| {
            objects.write(&format!("releases/metadata/{name}"), text.to_owned()).await.expect("room");
        };
        assert_eq!(read(&objects).await.expect("nothing is no error"), None);
        put("timestamp.json", r#"{"signed": {"meta": {"snapshot.json": {"version": 7}}}}"#).await;
        assert!(matches!(read(&objects).await, Err(ReleasesError::Missing(name)) if name == "7.snapshot.json"));
        put("7.snapshot.json", r#"{"signed": {"meta": {"targets.json": {"version": 3}}}}"#).await;
        put("4.targets.json", "not yet").await;
        let bundle = r#"{"length": 9, "custom": {"release": "2.0", "compatible": "saveos-qemu", "security_epoch": 1, "from": ["1.0"]}}"#;
        let targets = format!(r#"{{"signed": {{"targets": {{"a.raucb": {bundle}, "a.cdx.json": {{"length": 5}}}}}}}}"#);
        put("3.targets.json", &targets).await;
        let found = read(&objects).await.expect("readable").expect("published");
        let from: Vec<String> = found[0].said.from.iter().map(ToString::to_string).collect();
        assert_eq!((found.len(), found[0].bytes, from), (1, 9, vec!["1.0".to_owned()]));
        for text in ["", "{}", r#"{"signed": {"meta": {"snapshot.json": {"version": -1}}}}"#, &"[".repeat(100_000)] {
            put("timestamp.json", text).await;
            assert!(matches!(read(&objects).await, Err(ReleasesError::NotUnderstood(_))), "{}", text.len());
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
