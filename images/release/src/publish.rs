//! Puts what people signed where boxes read it, under the keys that a machine holds: snapshot (which targets metadata is the newest) and
//! timestamp (that somebody still stands behind it).
//!
//! Order of writes: bundles, targets, root, snapshot, timestamp. Only the last makes the rest visible, so a run that was interrupted is
//! run again. What boxes may be reading is never written over.

use crate::bundle::Offered;
use crate::ceremony::check_root;
use crate::document::{bytes, hex, parse, sign, standing};
use crate::error::{ReleaseError, rule};
use crate::key::Sign;
use crate::store::Store;
use serde::Serialize;
use std::collections::HashMap;
use std::num::NonZeroU64;
use tough::schema::{Hashes, Metafile, Role, Root, Signed, Snapshot, Targets, Timestamp};

/// What a machine signs with, and for how long.
pub struct Online<'a> {
    /// The key of the snapshot.
    pub snapshot: &'a dyn Sign,
    /// The key of the timestamp.
    pub timestamp: &'a dyn Sign,
    /// When both are signed.
    pub now: jiff::Timestamp,
    /// How long they are fresh.
    pub fresh_for: jiff::SignedDuration,
}

/// What boxes read from now on.
#[derive(Clone, Debug, Serialize)]
pub struct Published {
    /// Versions of the roles' metadata.
    pub root: NonZeroU64,
    /// Releases.
    pub targets: NonZeroU64,
    /// Which targets.
    pub snapshot: NonZeroU64,
    /// That it is fresh.
    pub timestamp: NonZeroU64,
    /// Until when somebody must have signed again.
    pub expires: jiff::Timestamp,
    /// Bundles and what goes with them that were not there before.
    pub added: Vec<String>,
}

/// The newest root, and those before it that are at hand: what they say of keys is believed, what lies in a repository is not.
#[derive(Clone, Debug)]
pub struct Roots {
    newest: Signed<Root>,
    earlier: Vec<Signed<Root>>,
}

impl Roots {
    /// In any order.
    pub fn new(mut roots: Vec<Signed<Root>>) -> Option<Roots> {
        roots.sort_by_key(|root| root.signed.version);
        roots.pop().map(|newest| Roots { newest, earlier: roots })
    }

    /// The one that is in force.
    pub fn newest(&self) -> &Signed<Root> {
        &self.newest
    }

    fn verify<T: Role>(&self, role: &Signed<T>) -> bool {
        std::iter::once(&self.newest).chain(&self.earlier).any(|root| root.signed.verify_role(role).is_ok())
    }
}

/// What is published: signed by those whom these roots know.
pub struct Found {
    /// That it is fresh.
    pub timestamp: Signed<Timestamp>,
    /// Which targets.
    pub snapshot: Signed<Snapshot>,
    /// Releases: the start of the next draft.
    pub targets: Signed<Targets>,
}

/// Publishes `targets`, or signs again what is published when there are none.
pub async fn publish(
    store: &Store,
    roots: &Roots,
    targets: Option<Signed<Targets>>,
    offered: &[Offered],
    online: &Online<'_>,
) -> Result<Published, ReleaseError> {
    let root = roots.newest();
    check_root(root, previous_root(store, root).await?.as_ref())?;
    if root.signed.expires <= online.now {
        return rule(format!(
            "root {} expired on {}: no box would believe it",
            root.signed.version, root.signed.expires
        ));
    }
    let found = find(store, roots).await?;
    let before = found.as_ref().map(|found| &found.targets);
    let Some(targets) = targets.or_else(|| before.cloned()) else {
        return rule("nothing is published that could be signed again");
    };
    check_targets(root, before, &targets, online.now)?;
    let added = put_files(store, &targets, offered).await?;

    let targets_file = bytes(&targets);
    store.put(&at(&targets.signed), &targets_file).await?;
    store.put(&at(&root.signed), &bytes(root)).await?;
    let next = |version: Option<NonZeroU64>| version.map_or(Some(NonZeroU64::MIN), |version| version.checked_add(1));
    let versions = (
        next(found.as_ref().map(|found| found.snapshot.signed.version)),
        next(found.as_ref().map(|found| found.timestamp.signed.version)),
    );
    let (Some(snapshot), Some(timestamp)) = versions else { return rule("there is no higher version") };
    // A second at the finest: boxes compare, they do not measure.
    let expires =
        jiff::Timestamp::from_second(online.now.as_second() + online.fresh_for.as_secs()).unwrap_or(online.now);
    let signed =
        state(&root.signed, (targets.signed.version, &targets_file), (snapshot, timestamp), expires, online).await?;
    store.put(&at(&signed.0.signed), &bytes(&signed.0)).await?;
    store.put(&at(&signed.1.signed), &bytes(&signed.1)).await?;
    let (root, targets) = (root.signed.version, targets.signed.version);
    Ok(Published { root, targets, snapshot, timestamp, expires, added })
}

/// Snapshot and timestamp of one state of a repository.
pub(crate) async fn state(
    root: &Root,
    (version, file): (NonZeroU64, &[u8]),
    (snapshot, timestamp): (NonZeroU64, NonZeroU64),
    expires: jiff::Timestamp,
    online: &Online<'_>,
) -> Result<(Signed<Snapshot>, Signed<Timestamp>), ReleaseError> {
    let mut of_snapshot = Snapshot::new("1.0.0".to_owned(), snapshot, expires);
    of_snapshot.meta.insert("targets.json".to_owned(), metafile(version, file));
    let mut of_snapshot = Signed { signed: of_snapshot, signatures: Vec::new() };
    sign(&mut of_snapshot, online.snapshot, &[root]).await?;
    let mut of_timestamp = Timestamp::new("1.0.0".to_owned(), timestamp, expires);
    of_timestamp.meta.insert("snapshot.json".to_owned(), metafile(snapshot, &bytes(&of_snapshot)));
    let mut of_timestamp = Signed { signed: of_timestamp, signatures: Vec::new() };
    sign(&mut of_timestamp, online.timestamp, &[root]).await?;
    Ok((of_snapshot, of_timestamp))
}

/// Where metadata lies.
pub(crate) fn at(role: &impl Role) -> String {
    format!("metadata/{}", role.filename(true))
}

/// Where a bundle lies.
pub(crate) fn target_at(offered: &Offered) -> String {
    format!("targets/{}.{}", hex(&offered.target.hashes.sha256), offered.name.resolved())
}

/// The root before this one, as it is published. Somebody else may have put it there: it is only good to refuse what boxes would.
async fn previous_root(store: &Store, root: &Signed<Root>) -> Result<Option<Signed<Root>>, ReleaseError> {
    let version = root.signed.version.get();
    let name = |version: u64| format!("metadata/{version}.root.json");
    if let Some(same) = store.get(&name(version)).await?
        && parse::<Signed<Root>>(&same, "the published root")?.signed != root.signed
    {
        return rule(format!("another root {version} is published"));
    }
    if store.get(&name(version.saturating_add(1))).await?.is_some() {
        return rule(format!("root {version} was replaced: a newer one is published"));
    }
    match store.get(&name(version - 1)).await? {
        Some(previous) => parse(&previous, "the published root before").map(Some),
        None if version == 1 => Ok(None),
        None => rule(format!("root {} is not published: boxes need every root, one after the other", version - 1)),
    }
}

/// What is published now, if anything is.
pub async fn find(store: &Store, roots: &Roots) -> Result<Option<Found>, ReleaseError> {
    previous_root(store, roots.newest()).await?;
    let Some(file) = store.get("metadata/timestamp.json").await? else { return Ok(None) };
    let timestamp: Signed<Timestamp> = parse(&file, "the published timestamp")?;
    let snapshot: Signed<Snapshot> = follow(store, &timestamp.signed.meta, "snapshot").await?;
    let targets: Signed<Targets> = follow(store, &snapshot.signed.meta, "targets").await?;
    if !(roots.verify(&timestamp) && roots.verify(&snapshot) && roots.verify(&targets)) {
        return rule(
            "what is published is signed by nobody whom this root knows; after a change of keys, give the root before as well",
        );
    }
    Ok(Some(Found { timestamp, snapshot, targets }))
}

async fn follow<T: serde::de::DeserializeOwned>(
    store: &Store,
    meta: &HashMap<String, Metafile>,
    role: &str,
) -> Result<Signed<T>, ReleaseError> {
    let name = format!("{role}.json");
    let Some(file) = meta.get(&name) else { return rule(format!("what is published names no {role} metadata")) };
    let name = format!("metadata/{}.{name}", file.version);
    match store.get(&name).await? {
        Some(found) => parse(&found, &name),
        None => rule(format!("{name} is not there, though it is published")),
    }
}

fn check_targets(
    root: &Signed<Root>,
    before: Option<&Signed<Targets>>,
    targets: &Signed<Targets>,
    now: jiff::Timestamp,
) -> Result<(), ReleaseError> {
    let standing = standing(targets, &root.signed)?;
    let version = targets.signed.version;
    if !standing.is_enough() {
        let (signed, threshold) = (standing.signed.len(), standing.threshold);
        return rule(format!(
            "targets {version} has {signed} of {threshold} signatures that root {} asks for",
            standing.root
        ));
    }
    if targets.signed.expires <= now {
        return rule(format!("targets {version} expired on {}: no box would believe it", targets.signed.expires));
    }
    match before {
        Some(before) if before.signed.version > version => {
            rule(format!("targets {version} is older than what is published: {}", before.signed.version))
        }
        Some(before) if before.signed.version == version && before.signed != targets.signed => {
            rule(format!("another targets {version} is published: draft again from that one"))
        }
        _ => Ok(()),
    }
}

/// Every target is there, or is put there: a box never reads of a bundle that it cannot fetch.
async fn put_files(store: &Store, targets: &Signed<Targets>, offered: &[Offered]) -> Result<Vec<String>, ReleaseError> {
    let mut added = Vec::new();
    let mut names: Vec<_> = targets.signed.targets.iter().collect();
    names.sort_by_key(|(name, _)| name.raw().to_owned());
    for (name, target) in names {
        let of_it = |offered: &&Offered| offered.name == *name && offered.target.hashes == target.hashes;
        let file = offered.iter().find(of_it);
        let place = target_at(&Offered { name: name.clone(), file: Default::default(), target: target.clone() });
        if store.length(&place).await? == Some(target.length) {
            continue;
        }
        let Some(file) = file else {
            return rule(format!("{} is signed, but its file was not given and is not there yet", name.raw()));
        };
        store.put_file(&place, &file.file).await?;
        added.push(name.raw().to_owned());
    }
    Ok(added)
}

fn metafile(version: NonZeroU64, file: &[u8]) -> Metafile {
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, file).as_ref().to_vec().into();
    let hashes = Some(Hashes { sha256, _extra: HashMap::new() });
    Metafile { length: Some(file.len() as u64), hashes, version, _extra: HashMap::new() }
}
