//! A release server of the bench, and a box that follows it: who offers a release here is the policy file of the box, as for somebody
//! without a control plane.

use super::ready;
use super::usb_backup::done;
use crate::bench::{Bench, Bus};
use crate::file_server::Served;
use crate::source_disk;
use anyhow::{Context, bail};
use saveos_release::{Bundle, Edition, Keys, publish};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

/// What is published, and from where.
pub(super) struct Releases {
    pub(super) folder: tempfile::TempDir,
    keys: Keys,
    /// Who signs bundles of the bench.
    keyring: PathBuf,
    root: PathBuf,
    version: u64,
    bundles: Vec<Bundle>,
    url: String,
    pub(super) served: Arc<Served>,
}

/// How long a new system may take to become healthy: for the daemon, which wants a tenth of it without a fault, then for the guard.
pub(super) const TRIAL: (u64, u64) = (120, 150);

impl Releases {
    /// A server that has nothing yet, with the keys that the images were made with.
    pub(super) fn of(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<Releases> {
        let keys = images.parent().context("images lie in a folder")?.join("keys");
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("served"))?;
        let (url, served) = bench.serve(&folder.path().join("served"))?;
        let keyring = keys.join("authority.pem");
        let (root, keys) = (keys.join("release-root.json"), Keys::make(&keys.join("release"))?);
        Ok(Releases { folder, keys, keyring, root, version: 0, bundles: Vec::new(), url, served })
    }

    pub(super) fn served(&self, name: &str) -> PathBuf {
        self.folder.path().join("served").join(name)
    }

    /// Publishes one more bundle, fresh for so many hours.
    pub(super) fn publish(&mut self, file: &Path, release: &str, hours: i64) -> anyhow::Result<()> {
        let (file, compatible, release) = (file.to_owned(), "saveos-qemu".to_owned(), release.to_owned());
        // Of a bundle that is none there is nothing to say.
        let root_hash = Bundle::inspect(&file, &self.keyring).ok().and_then(|bundle| bundle.root_hash);
        self.bundles.push(Bundle { file, compatible, release, root_hash, ..Bundle::default() });
        self.version += 1;
        let expires = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_hours(hours))?;
        let edition = Edition { version: self.version, expires };
        Ok(publish(&self.folder.path().join("served"), &self.root, &self.keys, edition, &self.bundles)?)
    }

    /// A new box with a disk that it has backed up, and that follows this server.
    pub(super) fn start_box(
        &self,
        bench: &mut dyn Bench,
        images: &Path,
        (daemon, guard): (u64, u64),
    ) -> anyhow::Result<()> {
        let source = self.folder.path().join("source.img");
        source_disk::make(&source)?;
        bench.flash(&images.join("disk.img"))?;
        bench.power_on()?;
        ready(bench, "A")?;
        let options = format!("SAVEOSD_OPTIONS=--policy /config/policy.json --releases {} --trial {daemon}", self.url);
        bench.console()?.run(&format!("printf '%s\\n' '{options}' SAVEOS_TRIAL={guard} >/config/saveosd.env"), SOON)?;
        bench.console()?.run("install -m 0600 -o saveos -g saveos /dev/null /config/policy.json", SOON)?;
        offer(bench, None)?;
        bench.plug(Bus::Usb, &source)?;
        done(bench, 1).map(drop)
    }
}

/// Wants a release of the box.
pub(super) fn offer(bench: &mut dyn Bench, release: Option<&str>) -> anyhow::Result<()> {
    let release = release.map_or_else(String::new, |release| format!(r#", "release": {{"release": "{release}"}}"#));
    let policy = format!(r#"{{"backup": {{"on_plug": "backup", "time_zone": "UTC"}}, "new_disk": "backup"{release}}}"#);
    let command = format!("echo '{policy}' >/config/policy.json; sync; systemctl restart saveosd");
    bench.console()?.run(&command, SOON).map(drop)
}

/// What the box says of its system, once it is what is waited for.
pub(super) fn firmware(
    bench: &mut dyn Bench,
    within: Duration,
    wanted: &dyn Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let deadline = Instant::now() + within;
    loop {
        let answer = bench.console()?.run("saveosd status --json || true", SOON)?;
        let status: Value = serde_json::from_str(&answer).unwrap_or_default();
        if wanted(&status["firmware"]) {
            return Ok(status["firmware"].clone());
        }
        if Instant::now() > deadline {
            let log = "journalctl -u saveosd -u saveos-slots -u rauc --no-pager --quiet -n 40 | cut -c1-300";
            bail!("the box stays so: {answer}\n{}", bench.console()?.run(log, SOON)?);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Whether an update to a release is in a state.
pub(super) fn is_at(firmware: &Value, release: &str, state: &str) -> bool {
    firmware["update"]["release"] == release && firmware["update"]["state"] == state
}
