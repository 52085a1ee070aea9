//! What the daemon tells its update agent in a turn.

use super::{Daemon, RunError};
use crate::args::with_slash;
use crate::clock::Moment;
use crate::disks;
use crate::identity::Identity;
use crate::trust::Trust;
use crate::update::agent::Look;
use crate::uplink;
use saveos_engine::lease::LeaseKind;
use std::path::Path;
use url::Url;

impl Daemon {
    pub(super) fn look_at_update(&mut self, now: &Moment) -> Result<(), RunError> {
        if !self.agent.is_due() {
            return Ok(());
        }
        let plugged = disks::all(&self.db)?.into_iter().filter(|row| row.path.is_some());
        let (bench, boot) = (&self.bench, now.boot.to_string());
        let (data, identity) = (&self.data, &self.identity);
        let look = Look {
            offer: self.bench.rules.get().policy.release.clone(),
            busy: self.running.is_some(),
            disks: plugged.map(|row| row.id).collect(),
            heard: uplink::heard(&self.db)?,
            store: &|| bench.vault.repository(LeaseKind::Reader, &boot).is_ok(),
            device: identity.device,
            server: &|| server(data, identity),
        };
        self.agent.turn(&self.db, &look, now, &self.wishes)?;
        Ok(())
    }
}

/// Whom the box is enrolled with: releases come from there, and so does the word that they still stand.
fn server(data: &Path, identity: &Identity) -> Option<(Url, String)> {
    let trust = Trust::read(data, identity.device, &identity.public).ok()??;
    let server: Url = trust.enrolment.uplink.server.parse().ok()?;
    Some((with_slash(server), trust.authorities))
}
