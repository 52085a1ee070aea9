//! What the daemon tells its update agent in a turn.

use super::{Daemon, RunError};
use crate::args::with_slash;
use crate::clock::Moment;
use crate::disks;
use crate::identity::Identity;
use crate::plan;
use crate::trust::Trust;
use crate::update::agent::Look;
use saveos_engine::lease::LeaseKind;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;
use url::Url;

/// The control plane counts as reachable so long after it was heard.
const CONNECTED: Duration = Duration::from_secs(3600);

impl Daemon {
    /// The control plane's broker took a heartbeat of this daemon not long ago.
    pub(super) fn is_connected(&self) -> bool {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < CONNECTED)
    }

    pub(super) fn look_at_update(&mut self, now: &Moment) -> Result<(), RunError> {
        if !self.agent.is_due() {
            return Ok(());
        }
        let plugged = disks::all(&self.db)?.into_iter().filter(|row| row.path.is_some());
        let (bench, boot) = (&self.bench, now.boot.to_string());
        let (data, identity) = (&self.data, &self.identity);
        let rules = self.bench.rules.get();
        let look = Look {
            no_restart: plan::why_no_restart(&rules.policy, now.ts),
            offer: rules.policy.release.clone(),
            busy: self.running.is_some(),
            disks: plugged.map(|row| row.id).collect(),
            connected: self.is_connected(),
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
