//! Root metadata: whose signatures count, and how many of them. It is drafted by one, signed by all who hold a root key, and followed by
//! the next when a key is lost, stolen or old. (The Update Framework, 6.1: key management and migration.)

use crate::document::{id, standing};
use crate::error::{ReleaseError, rule};
use crate::key::PublicKey;
use std::collections::HashMap;
use std::num::NonZeroU64;
use tough::schema::{RoleKeys, RoleType, Root, Signed};

/// Every role that has keys: those that people hold, then those that a machine may.
pub const ROLES: [RoleType; 4] = [RoleType::Root, RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp];
const BY_PEOPLE: [RoleType; 2] = [RoleType::Root, RoleType::Targets];

/// Who signs for a role.
#[derive(Clone, Debug)]
pub struct Holders {
    /// Their public keys.
    pub keys: Vec<PublicKey>,
    /// How many of them are enough.
    pub threshold: u64,
}

/// The next root metadata, not signed yet. Roles that are not given stay as they were.
pub fn draft_root(
    after: Option<&Signed<Root>>,
    roles: &[(RoleType, Holders)],
    expires: jiff::Timestamp,
) -> Result<Signed<Root>, ReleaseError> {
    let mut root = match after {
        Some(after) => {
            let version = after.signed.version.checked_add(1);
            let Some(version) = version else { return rule("there is no higher version") };
            Root { version, expires, ..after.signed.clone() }
        }
        None => Root {
            spec_version: "1.0.0".to_owned(),
            consistent_snapshot: true,
            version: NonZeroU64::MIN,
            expires,
            keys: HashMap::new(),
            roles: HashMap::new(),
            _extra: HashMap::new(),
        },
    };
    for (role, holders) in roles {
        let mut keyids = Vec::new();
        for key in &holders.keys {
            let id = id(key)?;
            if keyids.contains(&id) {
                return rule(format!("one key is given twice for {role}: its holder would count for two"));
            }
            root.keys.insert(id.clone(), key.clone());
            keyids.push(id);
        }
        let threshold = NonZeroU64::new(holders.threshold).filter(|threshold| threshold.get() <= keyids.len() as u64);
        let Some(threshold) = threshold else {
            return rule(format!("{} keys cannot give {} signatures of {role}", keyids.len(), holders.threshold));
        };
        root.roles.insert(*role, RoleKeys { keyids, threshold, _extra: HashMap::new() });
    }
    for role in ROLES {
        if !root.roles.contains_key(&role) {
            return rule(format!("nobody is named who signs {role}"));
        }
    }
    let ids = |role: &RoleType| root.roles.get(role).map_or(&[][..], |role| &role.keyids[..]);
    let by_machine = ROLES.iter().filter(|role| !BY_PEOPLE.contains(role)).flat_map(ids);
    if by_machine.clone().any(|id| BY_PEOPLE.iter().flat_map(ids).any(|other| other == id)) {
        return rule(
            "one key is given for a role that people sign and for one that a machine signs: who steals it has both",
        );
    }
    let used: Vec<_> = ROLES.iter().flat_map(ids).cloned().collect();
    root.keys.retain(|id, _| used.contains(id));
    Ok(Signed { signed: root, signatures: Vec::new() })
}

/// Whether a root is valid by itself, and follows the one before.
pub fn check_root(root: &Signed<Root>, after: Option<&Signed<Root>>) -> Result<(), ReleaseError> {
    enough(root, &root.signed)?;
    let Some(after) = after else { return Ok(()) };
    if Some(root.signed.version) != after.signed.version.checked_add(1) {
        return rule(format!("root {} does not follow root {}", root.signed.version, after.signed.version));
    }
    enough(root, &after.signed)
}

fn enough(root: &Signed<Root>, by: &Root) -> Result<(), ReleaseError> {
    let standing = standing(root, by)?;
    if standing.is_enough() {
        return Ok(());
    }
    let (signed, threshold) = (standing.signed.len(), standing.threshold);
    rule(format!(
        "root {} has {signed} of {threshold} signatures that root {} asks for",
        root.signed.version, by.version
    ))
}
