//! Who may open the backups, and who tried to weaken them.

use crate::excerpt::Excerpt;
use crate::hex::EscrowKey;
use crate::id::CommandId;
use crate::shadow::{DesiredVersion, Weakening};
use crate::sign::SignatureFault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who can open the repository, should the box die.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum KeyState {
    /// The words were shown and two were asked back: the owner can.
    WordsConfirmed,
    /// The words were shown, nobody proved to have them.
    WordsShown,
    /// The root key is sealed to the organisation's escrow key.
    Escrowed {
        /// Which one.
        key: EscrowKey,
    },
    /// Nobody can. The box counts as not protected.
    NotRecoverable,
    /// A state of a newer version.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

impl KeyState {
    /// Whether somebody can open the backups without the box. Doubt counts as no.
    pub const fn is_recoverable(&self) -> bool {
        matches!(self, KeyState::WordsConfirmed | KeyState::Escrowed { .. })
    }
}

/// A desired document would have weakened something and had no valid signature. The document before stays in force, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyRefused {
    /// The version that was refused.
    pub version: DesiredVersion,
    /// What it would have weakened.
    pub weakenings: Excerpt<Weakening>,
    /// What was wrong with its signature.
    pub signature: SignatureFault,
}

/// Somebody tried something that only the holder of the command key may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Tamper {
    /// A destructive command without a valid signature.
    Command {
        /// Its id.
        command: CommandId,
        /// What was wrong.
        signature: SignatureFault,
    },
    /// The repository's newest record is older than the one before: somebody put back an old copy.
    RepositoryRolledBack,
    /// The case was opened.
    Case,
    /// Something of a newer version.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}
