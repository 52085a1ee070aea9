//! Disks that came and went, and what is told of them.

use super::{Daemon, FIRST_LOOKS, RunError};
use crate::clock::Moment;
use crate::disks::{self, Found, Known};
use crate::outbox;
use saveos_protocol::fact::{Body, DiskGone, DiskIdentified, DiskSeen};
use saveos_protocol::unit::Bytes;

impl Daemon {
    pub(super) fn look_at_disks(&mut self, now: &Moment) -> Result<(), RunError> {
        let mut change = self.watch.look(self.wishes.wants_rescan());
        self.looks = self.looks.saturating_add(1);
        for path in &change.went {
            self.twins.retain(|twin| twin.path != *path);
            let Some(disk) = disks::leave(&self.db, path)? else { continue };
            let during = self.running.as_ref().filter(|at_work| at_work.job.disk == Some(disk));
            let during = during.map(|at_work| at_work.job.id);
            outbox::append_alone(&mut self.db, now, Body::DiskGone(DiskGone { disk, during }))?;
        }
        if !change.went.is_empty() {
            // The one it was like may have gone.
            change.came.append(&mut self.twins);
        }
        for found in change.came {
            self.meet(found, now)?;
        }
        if self.looks == FIRST_LOOKS {
            for disk in disks::leave_absent(&self.db)? {
                outbox::append_alone(&mut self.db, now, Body::DiskGone(DiskGone { disk, during: None }))?;
            }
        }
        Ok(())
    }

    fn meet(&mut self, found: Found, now: &Moment) -> Result<(), RunError> {
        let Some(disk) = disks::register(&self.db, &found, now.ts)? else {
            tracing::error!(path = %found.path.display(), "it says the same of itself as another disk that is plugged in");
            self.twins.push(found);
            return Ok(());
        };
        if disk.stayed {
            return Ok(());
        }
        let seen = DiskSeen {
            disk: disk.id,
            identity: found.identity.clone(),
            bus: found.bus,
            size_bytes: Bytes::saturating(found.size),
            new: disk.known == Known::New,
        };
        outbox::append_alone(&mut self.db, now, Body::DiskSeen(seen))?;
        let partitions = found.partitions.into_iter().collect();
        let identified = DiskIdentified { disk: disk.id, identity: found.identity, partitions };
        outbox::append_alone(&mut self.db, now, Body::DiskIdentified(identified))?;
        Ok(())
    }
}
