//! Targets metadata: which bundles are releases from now on. It is drafted from what is published, and signed by those who hold its keys.

use crate::bundle::Offered;
use crate::error::{ReleaseError, rule};
use std::num::NonZeroU64;
use tough::TargetName;
use tough::schema::{Signed, Targets};

/// The next targets metadata, not signed yet: what is published, without what is withdrawn, with what is added.
pub fn draft_targets(
    published: Option<&Signed<Targets>>,
    add: &[Offered],
    withdraw: &[String],
    expires: jiff::Timestamp,
) -> Result<Signed<Targets>, ReleaseError> {
    let version = published.map_or(Some(NonZeroU64::MIN), |published| published.signed.version.checked_add(1));
    let Some(version) = version else { return rule("there is no higher version") };
    let mut targets = Targets::new("1.0.0".to_owned(), version, expires);
    targets.delegations = None;
    targets.targets = published.map(|published| published.signed.targets.clone()).unwrap_or_default();
    for name in withdraw {
        withdraw_release(&mut targets, name)?;
    }
    for Offered { name, target, .. } in add {
        if targets.targets.get(name).is_some_and(|known| known.hashes != target.hashes) {
            return rule(format!("{} is published with other contents: a release never changes", name.raw()));
        }
        targets.add_target(name.clone(), target.clone());
    }
    Ok(Signed { signed: targets, signatures: Vec::new() })
}

/// `saveos-qemu-2.0.0`: its bundle and what goes with it.
fn withdraw_release(targets: &mut Targets, release: &str) -> Result<(), ReleaseError> {
    let before = targets.targets.len();
    targets.targets.retain(|name: &TargetName, _| {
        let kind = name.raw().strip_prefix(release).and_then(|rest| rest.strip_prefix('.'));
        !matches!(kind, Some("raucb" | "cdx.json" | "intoto.json"))
    });
    if targets.targets.len() < before {
        return Ok(());
    }
    rule(format!("no release {release} is published that could be withdrawn"))
}
