//! Asks the disks how they are, on a thread of its own: a dying disk takes its time to say so.

use super::{Daemon, RunError};
use crate::clock::Moment;
use crate::db::{self, DbError};
use crate::smart::{self, Told};
use crate::{disks, outbox};
use rusqlite::Connection;
use saveos_protocol::fact::{Body, Smart, SmartVerdict};
use saveos_protocol::id::DiskId;
use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two questions to the same disks; one that comes is asked at once.
const EVERY: Duration = Duration::from_secs(6 * 3600);

/// Who was asked, and who is being asked.
#[derive(Default)]
pub(super) struct Health {
    next: Option<Instant>,
    asked: BTreeSet<DiskId>,
    asking: Option<JoinHandle<Vec<Smart>>>,
}

fn told_as(disk: DiskId) -> String {
    format!("smart {disk}")
}

/// What a disk said last.
pub(super) fn verdict(db: &Connection, disk: DiskId) -> Result<SmartVerdict, DbError> {
    Ok(last(db, disk)?.map_or(SmartVerdict::Silent, |told| told.verdict()))
}

fn last(db: &Connection, disk: DiskId) -> Result<Option<Told>, DbError> {
    Ok(db::note(db, &told_as(disk))?.and_then(|json| serde_json::from_str(&json).ok()))
}

impl Daemon {
    pub(super) fn look_at_health(&mut self, now: &Moment) -> Result<(), RunError> {
        if let Some(asking) = self.health.asking.take_if(|asking| asking.is_finished()) {
            let said = asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for smart in said {
                self.tell_health(smart, now)?;
            }
        }
        if self.health.asking.is_some() {
            return Ok(());
        }
        let plugged: Vec<(DiskId, PathBuf)> =
            disks::all(&self.db)?.into_iter().filter_map(|row| Some((row.id, row.path?))).collect();
        if self.health.next.is_none_or(|next| next <= Instant::now()) {
            self.health.asked.clear();
            self.health.next = Some(Instant::now() + EVERY);
        }
        self.health.asked.retain(|asked| plugged.iter().any(|(disk, _)| disk == asked));
        let new: Vec<(DiskId, PathBuf)> =
            plugged.into_iter().filter(|(disk, _)| self.health.asked.insert(*disk)).collect();
        // An image has nothing to say.
        let is_device =
            |path: &PathBuf| std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device());
        let new: Vec<(DiskId, PathBuf)> = new.into_iter().filter(|(_, path)| is_device(path)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let smartctl = self.smartctl.clone();
        let ask = move || new.iter().map(|(disk, path)| smart::judge(*disk, &smart::ask(&smartctl, path))).collect();
        let thread = std::thread::Builder::new().name("health".to_owned()).spawn(ask);
        self.health.asking = Some(thread.map_err(|source| RunError::Path { path: "a thread".into(), source })?);
        Ok(())
    }

    fn tell_health(&mut self, smart: Smart, now: &Moment) -> Result<(), RunError> {
        let disk = smart.disk;
        let Some(told) = smart::news(smart, last(&self.db, disk)?.as_ref(), now.ts) else { return Ok(()) };
        let step = self.db.transaction().map_err(DbError::from)?;
        db::set_note(&step, &told_as(disk), &serde_json::to_string(&told).unwrap_or_default())?;
        outbox::append(&step, now, Body::Smart(told.into()))?;
        step.commit().map_err(DbError::from)?;
        Ok(())
    }
}
