//! What is signed of a bundle beside its length and hash: in the release repository, as `custom` of a target.

use crate::hex::Digest;
use crate::text::{Release, Text};
use serde::{Deserialize, Serialize};

/// What a bundle is, by those who hold the targets keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Which release.
    pub release: Release,
    /// For which boxes: `saveos-qemu`.
    pub compatible: String,
    /// A box that confirmed a higher one refuses it.
    pub security_epoch: u32,
    /// Releases from which a box may go to this one at once: all, when none is named. A list and no lowest version, because names of
    /// releases have no order that holds for ever.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Release>,
    /// The root of the tree of hashes of its system: a box runs the release when it says that this one is its kernel's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_hash: Option<Digest>,
    /// What changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<Text>,
}

impl Said {
    /// Whether a box that runs a release may go to this one at once.
    pub fn may_follow(&self, running: &Release) -> bool {
        self.from.is_empty() || self.from.contains(running)
    }
}
