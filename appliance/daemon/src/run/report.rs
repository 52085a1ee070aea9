//! What the box is, in one document for the control plane: made anew every few seconds, numbered when something of it changed.

use super::{Daemon, RunError, health};
use crate::clock::Moment;
use crate::db::{self, DbError};
use crate::room;
use crate::{disks, machine};
use rusqlite::Connection;
use saveos_protocol::V1;
use saveos_protocol::fact::KeyState;
use saveos_protocol::hex::RepositoryId;
use saveos_protocol::shadow::{
    Applied, DesiredVersion, DiskReport, Reported, Section, SectionError, StoreReport, Version,
};
use saveos_protocol::text::Text;
use saveos_protocol::unit::{Bytes, Count, FactNumber};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Between two looks at what changed.
const LOOK: Duration = Duration::from_secs(2);
/// The number of the last document is remembered as.
const NUMBER: &str = "reported_number";

impl Daemon {
    pub(super) fn report(&mut self, now: &Moment) -> Result<(), RunError> {
        if self.next_report > Instant::now() {
            return Ok(());
        }
        self.next_report = Instant::now() + LOOK;
        let wanted = self.reported(now)?;
        let known = self.reported.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some_and(|known| {
            Reported { ver: known.ver, ts: known.ts, uptime: known.uptime, ..wanted.clone() } == known
        }) {
            return Ok(());
        }
        let ver = Version { stream: wanted.ver.stream, n: next_number(&self.db)? };
        *self.reported.lock().unwrap_or_else(PoisonError::into_inner) = Some(Reported { ver, ..wanted });
        Ok(())
    }

    fn reported(&self, now: &Moment) -> Result<Reported, RunError> {
        let mut errors = Vec::new();
        let mut wrong = |section, text: &str| errors.push(SectionError { section, text: Text::cut(text) });
        let store = match room::measure(self.bench.vault.path()) {
            Ok(found) => Some(StoreReport {
                disk: None,
                repository: RepositoryId(self.bench.vault.id().0),
                size_bytes: Bytes::saturating(found.size),
                free_bytes: Bytes::saturating(coarse(found.free, found.size)),
                level: found.level(None),
                snapshots: Count::saturating(self.snapshots()),
            }),
            Err(error) => {
                wrong(Section::Stores, &format!("the room in the store is not known: {error}"));
                None
            }
        };
        for twin in &self.twins {
            let text = format!("{} says the same of itself as another disk and is left alone", twin.path.display());
            wrong(Section::Disks, &text);
        }
        if self.unsealed.is_some() {
            wrong(Section::Key, "the root key could not be sealed to the escrow key");
        }
        if let Err(zone) = self.bench.rules.get().policy.check_zones() {
            wrong(Section::Policy, &format!("nobody knows the time zone {zone}"));
        }
        let in_force = self.bench.rules.get().version;
        let refused = db::note(&self.db, "desired_refused")?.and_then(|text| text.parse().ok());
        let refused = refused.map(DesiredVersion::saturating).filter(|refused| *refused > in_force);
        Ok(Reported {
            v: V1,
            ver: Version { stream: self.stream, n: FactNumber::saturating(0) },
            ts: now.ts,
            boot: now.boot,
            uptime: now.uptime,
            firmware: self.agent.firmware(),
            hardware: machine::hardware(),
            disks: self.disk_reports()?.into_iter().collect(),
            stores: store.into_iter().collect(),
            key: self.key_state()?,
            desired: Applied { ver: in_force, refused },
            errors: errors.into_iter().collect(),
        })
    }

    /// Those that are plugged in first: what does not fit is cut at the end.
    fn disk_reports(&self) -> Result<Vec<DiskReport>, RunError> {
        let mut rows = disks::all(&self.db)?;
        rows.sort_by_key(|row| (row.path.is_none(), std::cmp::Reverse(row.plugged)));
        let report = |row: disks::Row| {
            Ok::<_, RunError>(DiskReport {
                disk: row.id,
                identity: row.identity,
                bus: row.bus,
                size_bytes: Bytes::saturating(row.size),
                present: row.path.is_some(),
                smart: health::verdict(&self.db, row.id)?,
                last_snapshot: None,
                last_snapshot_ts: None,
            })
        };
        rows.into_iter().map(report).collect()
    }

    /// Records in the repository, whoever wrote them.
    fn snapshots(&self) -> u64 {
        let folder = self.bench.vault.path().join("snapshots");
        std::fs::read_dir(folder).map_or(0, |entries| entries.flatten().count() as u64)
    }

    fn key_state(&self) -> Result<KeyState, RunError> {
        let escrow = self.bench.rules.get().escrow;
        Ok(match (self.is_recoverable()?, escrow) {
            (true, Some(key)) if self.unsealed.is_none() => KeyState::Escrowed { key },
            (true, _) => KeyState::WordsConfirmed,
            (false, _) => KeyState::NotRecoverable,
        })
    }
}

/// In hundredths: a document that changes with every byte would be written and sent with every byte.
fn coarse(free: u64, size: u64) -> u64 {
    let step = (size / 100).max(1);
    free / step * step
}

fn next_number(db: &Connection) -> Result<FactNumber, DbError> {
    let last: u64 = db::note(db, NUMBER)?.and_then(|text| text.parse().ok()).unwrap_or(0);
    db::set_note(db, NUMBER, &(last + 1).to_string())?;
    Ok(FactNumber::saturating(last + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_reported_in_hundredths() {
        assert_eq!((coarse(1_999, 100_000), coarse(2_000, 100_000)), (1_000, 2_000));
        assert_eq!((coarse(5, 7), coarse(0, 0)), (5, 0));
    }
}
