//! What is not a release for this box never touches a slot: unsigned, made for another machine, cut short, out of date, put together
//! from two editions, or set back.

use super::releases::{Releases, TRIAL, firmware, offer};
use crate::bench::Bench;
use crate::disk::partition;
use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(120);

pub(super) fn run(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    let mut releases = Releases::of(bench, images)?;
    let workshop = Workshop::open(releases.folder.path(), images)?;
    let good = workshop.bundle("saveos-qemu", "4.0.0", &workshop.keys)?;
    releases.start_box(bench, images, TRIAL)?;
    let mut refused = Vec::new();
    let mut refuse = |bench: &mut dyn Bench, release: &str, reason: &str, why: &str| -> anyhow::Result<()> {
        offer(bench, Some(release))?;
        let is_refused =
            |firmware: &Value| firmware["update"]["release"] == release && firmware["update"]["reason"] == reason;
        let said = firmware(bench, SOON, &is_refused).with_context(|| format!("{release}: {why}"))?;
        let text = said["update"]["text"].as_str().unwrap_or_default();
        ensure!(text.contains(why), "{release} was refused for another reason than {why}: {said}");
        refused.push(text.to_owned());
        Ok(())
    };

    releases.publish(&workshop.bundle("saveos-qemu", "4.1.0", &workshop.strangers()?)?, "4.1.0", 24)?;
    refuse(bench, "4.1.0", "install", "the bundle is refused")?;

    releases.publish(&workshop.bundle("saveos-toaster", "4.2.0", &workshop.keys)?, "4.2.0", 24)?;
    refuse(bench, "4.2.0", "install", "rauc install failed")?;

    releases.publish(&good, "4.3.0", 24)?;
    let targets = std::fs::read_dir(releases.served("targets"))?.flatten().map(|entry| entry.path());
    let cut =
        targets.into_iter().find(|path| path.to_string_lossy().ends_with("4.3.0.raucb")).context("it was published")?;
    std::fs::File::options().write(true).open(cut)?.set_len(10_000)?;
    refuse(bench, "4.3.0", "download", "another range")?;

    refuse(bench, "4.4.0", "refused", "no signed bundle")?;

    let timestamp = releases.served("metadata/timestamp.json");
    let older = std::fs::read(&timestamp)?;
    releases.publish(&good, "4.5.0", 24)?;
    // The box has seen it.
    refuse(bench, "4.4.1", "refused", "no signed bundle")?;
    let newer = std::fs::read(&timestamp)?;
    put(&timestamp, &older)?;
    refuse(bench, "4.5.0", "refused", "older")?;

    put(&timestamp, &newer)?;
    let snapshots = releases.served("metadata");
    std::fs::copy(snapshots.join("3.snapshot.json"), snapshots.join("4.snapshot.json"))?;
    refuse(bench, "4.5.1", "refused", "4.snapshot.json")?;

    releases.publish(&good, "4.6.0", -1)?;
    refuse(bench, "4.6.0", "refused", "expired")?;

    bench.power_off()?;
    let disk = bench.system_disk()?.to_owned();
    let written = bench.written()?;
    for name in ["kernel-a", "root-a", "kernel-b", "root-b", "bootstate"] {
        let place = partition(&disk, name)?;
        let touched =
            written.iter().filter(|entry| entry.at < place.end && place.start < entry.at + entry.bytes.len() as u64);
        ensure!(touched.count() == 0, "{name} was written to");
    }
    Ok(format!(
        "{} refused, and nothing was written to a slot or to the boot state: {}",
        refused.len(),
        refused.join("; ")
    ))
}

/// Makes bundles that are small, for none of them is ever installed.
struct Workshop {
    folder: PathBuf,
    script: PathBuf,
    keys: PathBuf,
}

impl Workshop {
    fn open(folder: &Path, images: &Path) -> anyhow::Result<Workshop> {
        let folder = folder.join("bundles");
        std::fs::create_dir(&folder)?;
        for image in ["kernel.img", "root.img"] {
            // Bytes that do not compress: a bundle of a block or less is none.
            let mut number = 1u32;
            let mut random = || {
                number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (number >> 24) as u8
            };
            let bytes: Vec<u8> = std::iter::repeat_with(&mut random).take(65536).collect();
            put(&folder.join(image), &bytes)?;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/build");
        Ok(Workshop { folder, script, keys: images.parent().context("images lie in a folder")?.join("keys") })
    }

    fn strangers(&self) -> anyhow::Result<PathBuf> {
        let keys = self.folder.join("strangers");
        self.run("keys.sh", &[keys.as_os_str()])?;
        Ok(keys)
    }

    fn bundle(&self, compatible: &str, release: &str, keys: &Path) -> anyhow::Result<PathBuf> {
        let bundle = self.folder.join(format!("{release}.raucb"));
        let [certificate, key, keyring] = ["signer.pem", "signer.key", "authority.pem"].map(|name| keys.join(name));
        let words =
            [compatible.as_ref(), release.as_ref(), self.folder.as_os_str(), certificate.as_ref(), key.as_ref()];
        self.run("bundle.sh", &[&words[..], &[keyring.as_ref(), bundle.as_ref()]].concat())?;
        Ok(bundle)
    }

    fn run(&self, name: &str, words: &[&std::ffi::OsStr]) -> anyhow::Result<()> {
        let output = Command::new(self.script.join(name)).args(words).output()?;
        if !output.status.success() {
            bail!("{name}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    Ok(std::fs::File::create(path)?.write_all(bytes)?)
}
