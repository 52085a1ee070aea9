//! What the daemon tells its update agent in a turn.

use super::{Daemon, RunError};
use crate::args::with_slash;
use crate::clock::Moment;
use crate::disks;
use crate::trust::Trust;
use crate::update::agent::Look;
use crate::uplink;
use saveos_engine::lease::LeaseKind;

impl Daemon {
    pub(super) fn look_at_update(&mut self, now: &Moment) -> Result<(), RunError> {
        let plugged = disks::all(&self.db)?.into_iter().filter(|row| row.path.is_some());
        let (bench, boot) = (&self.bench, now.boot.to_string());
        let look = Look {
            offer: self.bench.rules.get().policy.release.clone(),
            busy: self.running.is_some(),
            disks: plugged.map(|row| row.id).collect(),
            heard: uplink::heard(&self.db)?,
            store: &|| bench.vault.repository(LeaseKind::Reader, &boot).is_ok(),
            server: self.releases_of_server(),
        };
        self.agent.turn(&self.db, &look, now, &self.wishes)?;
        Ok(())
    }

    /// Releases come from whom the box is enrolled with.
    fn releases_of_server(&self) -> Option<(url::Url, String)> {
        let trust = Trust::read(&self.data, self.identity.device, &self.identity.public).ok()??;
        let server: url::Url = trust.enrolment.uplink.server.parse().ok()?;
        Some((with_slash(server).join("releases/").ok()?, trust.authorities))
    }
}
