//! Looks at the room in the store now and then, and tells of it.

use super::{Daemon, RunError};
use crate::clock::Moment;
use crate::db::{self, DbError};
use crate::outbox;
use crate::room;
use saveos_protocol::fact::{Body, StoreLevel};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// How often it looks; a job that writes fast fills little in that time.
const LOOK: Duration = Duration::from_secs(30);
/// What was told last is remembered as.
const TOLD: &str = "room_told";

impl Daemon {
    pub(super) fn look_at_room(&mut self, now: &Moment) -> Result<(), RunError> {
        if self.next_room > Instant::now() {
            return Ok(());
        }
        self.next_room = Instant::now() + LOOK;
        let found = match room::measure(self.bench.vault.path()) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the room in the store is not known");
                return Ok(());
            }
        };
        *self.room.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.used());
        self.store_is_full = found.level(None) == StoreLevel::Full;
        let last = db::note(&self.db, TOLD)?.and_then(|told| serde_json::from_str(&told).ok());
        let Some((capacity, told)) = room::news(found, last, now.ts) else { return Ok(()) };
        let step = self.db.transaction().map_err(DbError::from)?;
        db::set_note(&step, TOLD, &serde_json::to_string(&told).unwrap_or_default())?;
        outbox::append(&step, now, Body::StoreCapacity(capacity))?;
        step.commit().map_err(DbError::from)?;
        Ok(())
    }
}
