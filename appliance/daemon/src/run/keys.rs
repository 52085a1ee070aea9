//! Who could open the backups if the box died: the owner by the words, the organisation by its escrow key. Until one of them
//! can, the box says so.

use super::{Daemon, RunError};
use crate::clock::Moment;
use crate::db::{self, DbError};
use crate::outbox;
use saveos_protocol::fact::{Body, KeyState};
use saveos_protocol::unit::DesiredVersion;

/// What the owner's confirmation is remembered as.
pub(super) const CONFIRMED: &str = "words_confirmed";
/// What the escrow key is remembered as that the root key is sealed to.
const ESCROWED: &str = "escrowed_to";

impl Daemon {
    /// Until somebody proved to have the words, nobody could open the backups without this box.
    pub(super) fn make_words(&mut self, now: &Moment) -> Result<(), RunError> {
        if db::note(&self.db, CONFIRMED)?.is_none() {
            self.words = Some(self.bench.vault.new_words()?);
        }
        if !self.is_recoverable()? {
            outbox::append_alone(&mut self.db, now, Body::Key(KeyState::NotRecoverable))?;
        }
        Ok(())
    }

    /// Whether somebody could open the backups without this box.
    pub(super) fn is_recoverable(&self) -> Result<bool, DbError> {
        Ok(db::note(&self.db, CONFIRMED)?.is_some() || db::note(&self.db, ESCROWED)?.is_some_and(|key| !key.is_empty()))
    }

    /// Seals the root key to whom the desired document names, and to nobody else; tells of it when it is done.
    pub(super) fn seal_to_escrow(&mut self, now: &Moment) -> Result<(), RunError> {
        let rules = self.bench.rules.get();
        if rules.version == DesiredVersion::ZERO {
            // No document is no order: one that was lost or damaged lets nobody out.
            return Ok(());
        }
        let wanted = rules.escrow;
        let text = wanted.map_or_else(String::new, |key| key.to_string());
        let known = db::note(&self.db, ESCROWED)?.unwrap_or_default();
        if known == text || self.unsealed == Some(wanted) {
            return Ok(());
        }
        if let Err(error) = self.bench.vault.seal_to(wanted.as_ref().map(|key| &key.0)) {
            // Backups go on, and the box says that nobody could open them; the next start or another key tries again.
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the root key could not be sealed to the escrow key"
            );
            self.unsealed = Some(wanted);
            return Ok(());
        }
        let step = self.db.transaction().map_err(DbError::from)?;
        db::set_note(&step, ESCROWED, &text)?;
        let state = match wanted {
            Some(key) => KeyState::Escrowed { key },
            None if db::note(&step, CONFIRMED)?.is_some() => KeyState::WordsConfirmed,
            None => KeyState::NotRecoverable,
        };
        outbox::append(&step, now, Body::Key(state))?;
        step.commit().map_err(DbError::from)?;
        Ok(())
    }
}
