//! What the daemon says to a person at the box, and what it does when that person wants something.

use super::{Daemon, RunError, keys};
use crate::clock;
use crate::db::{self, DbError};
use crate::disks;
use crate::outbox;
use crate::queue;
use crate::status::{self, Answer, Question, Running, Status};
use crate::trust::Trust;
use crate::uplink;
use saveos_protocol::fact::{Body, KeyState, Trigger, Work};
use saveos_protocol::id::DiskId;
use std::sync::atomic::Ordering;

impl Daemon {
    pub(super) fn answer(&mut self) {
        let listener = match self.listener.try_clone() {
            Ok(listener) => listener,
            Err(error) => return tracing::warn!(%error, "the socket cannot be used"),
        };
        status::serve(&listener, &mut |question| {
            self.reply(question).unwrap_or_else(|error| {
                // With its causes: that the database failed helps nobody who does not read by what.
                let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
                Answer::Refused { why: causes.map(ToString::to_string).collect::<Vec<_>>().join(": ") }
            })
        });
    }

    pub(super) fn reply(&mut self, question: Question) -> Result<Answer, RunError> {
        let now = clock::now();
        let refuse = |why: &str| Ok(Answer::Refused { why: why.to_owned() });
        match question {
            Question::Status => Ok(Answer::Status(Box::new(self.status()?))),
            Question::Jobs => Ok(Answer::Jobs { jobs: queue::all(&self.db, 100)? }),
            Question::Disks => {
                let held = |disk: disks::Row| status::Disk { held: self.held.get(&disk.id).copied(), disk };
                Ok(Answer::Disks { disks: disks::all(&self.db)?.into_iter().map(held).collect() })
            }
            Question::Words => match &self.words {
                Some(words) => {
                    let answer = Answer::Words { words: words.phrase().to_owned(), confirm: words.asked() };
                    // Who has the escrow key opens it all the same.
                    if !self.is_recoverable()? {
                        outbox::append_alone(&mut self.db, &now, Body::Key(KeyState::WordsShown))?;
                    }
                    Ok(answer)
                }
                None => refuse("the words were confirmed and are shown no more"),
            },
            Question::Confirm { words } => match &self.words {
                Some(shown) if shown.are(&words) => {
                    let step = self.db.transaction().map_err(DbError::from)?;
                    db::set_note(&step, keys::CONFIRMED, "yes")?;
                    outbox::append(&step, &now, Body::Key(KeyState::WordsConfirmed))?;
                    step.commit().map_err(DbError::from)?;
                    self.words = None;
                    Ok(Answer::Confirmed)
                }
                Some(_) => refuse("these are not the words; they are shown again by `saveosd words`"),
                None => refuse("the words were confirmed before"),
            },
            Question::Approve { job, serial } => self.approve(&job, &serial),
            Question::Backup { disk } => {
                let Ok(disk) = disk.parse::<DiskId>() else { return refuse("not the name of a disk") };
                let Some(row) = disks::all(&self.db)?.into_iter().find(|row| row.id == disk) else {
                    return refuse("there is no such disk");
                };
                if row.path.is_none() {
                    return refuse("it is not plugged in");
                }
                let job = queue::add(&self.db, Work::Backup, Some(disk), &Trigger::Button, now.ts)?;
                Ok(Answer::Queued { job: job.to_string() })
            }
        }
    }

    /// Whose box it is; an enrolment that does not hold is told in the log.
    pub(super) fn owner(&self) -> Option<String> {
        let trust = Trust::read(&self.data, self.identity.device, &self.identity.public);
        trust.ok().flatten().map(|trust| trust.enrolment.owner.to_string())
    }

    fn status(&self) -> Result<Status, RunError> {
        let (code, owner) = (self.identity.claim_code(), self.owner());
        let claims = self.server.as_ref().filter(|_| owner.is_none());
        Ok(Status {
            version: env!("CARGO_PKG_VERSION"),
            firmware: self.agent.firmware(),
            device: self.identity.device.to_string(),
            claim_code: code.to_string(),
            claim_link: claims.map(|server| format!("{server}/enrol?code={code}")),
            owner,
            desired: self.bench.rules.get().version.get(),
            repository: self.bench.vault.path().display().to_string(),
            recoverable: self.is_recoverable()?,
            connected: self.is_connected(),
            clock_behind: self.clock_is_behind()?,
            outbox: outbox::level(&self.db)?,
            disks: disks::all(&self.db)?.iter().filter(|row| row.path.is_some()).count(),
            running: self.running.as_ref().map(|at_work| Running {
                job: at_work.job.clone(),
                bytes_done: at_work.meter.done.load(Ordering::Relaxed),
                bytes_total: at_work.meter.total.load(Ordering::Relaxed),
            }),
        })
    }

    pub(super) fn clock_is_behind(&self) -> Result<bool, RunError> {
        let trust = Trust::read(&self.data, self.identity.device, &self.identity.public).ok().flatten();
        let (begun, now) = (trust.map(|trust| trust.valid.0).unwrap_or_default(), clock::now().ts);
        Ok(now < begun || clock::is_behind(now, uplink::heard(&self.db)?))
    }

    /// The button of a box without one: whoever stands there names the job and the disk that is overwritten.
    fn approve(&self, job: &str, serial: &str) -> Result<Answer, RunError> {
        let refuse = |why: &str| Ok(Answer::Refused { why: why.to_owned() });
        let asking = job.parse().ok().map(|id| queue::asking(&self.db, id)).transpose()?.flatten();
        let Some(job) = asking else {
            return refuse("no job of that name asks for anything; `saveosd jobs` shows them");
        };
        let disk = disks::all(&self.db)?.into_iter().find(|row| Some(row.id) == job.disk);
        let named = disk.and_then(|row| row.identity.serial).is_some_and(|own| own.to_string() == serial);
        if !named {
            return refuse("this is not the serial number of the disk that the job overwrites");
        }
        queue::confirm(&self.db, &job)?;
        Ok(Answer::Queued { job: job.id.to_string() })
    }
}
