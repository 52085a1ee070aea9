//! A new box starts, by itself, and writes nothing that decides its next start.

use super::ready;
use crate::bench::Bench;
use crate::disk::partition;
use anyhow::{Context, bail, ensure};
use std::path::Path;
use std::time::Duration;

/// The disk of a box is larger than what an image is made for.
const LARGER: u64 = 256 << 20;
const SOON: Duration = Duration::from_secs(30);

pub(super) fn run(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    bench.flash(&images.join("disk.img"))?;
    let made = partition(&images.join("disk.img"), "data")?;
    let larger = bench.enlarge_system_disk(LARGER)?;
    bench.power_on()?;
    let at = ready(bench, "A")?;
    let console = bench.console()?;
    let settled = console.run("systemctl is-system-running --wait", Duration::from_secs(60));
    let failed = console.run("systemctl --failed --no-legend --plain", SOON)?;
    ensure!(failed.is_empty(), "units that failed: {failed}");
    settled?;
    if console.run("touch /etc/x /usr/x 2>/dev/null", SOON).is_ok() {
        bail!("the root can be written");
    }
    let mounted = console.run("cat /proc/self/mounts", SOON)?;
    for (place, kind) in [("/", "squashfs ro"), ("/config", "ext4 rw"), ("/data", "ext4 rw"), ("/var", "tmpfs rw")] {
        let found = mounted.lines().find_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words.get(1) == Some(&place)).then(|| format!("{} {}", words[2], &words[3][..2]))
        });
        ensure!(found.as_deref() == Some(kind), "{place} is {found:?}, not {kind}");
    }
    let verity = console.run("dmsetup status root", SOON)?;
    ensure!(verity.contains("verity V"), "the root is not proven: {verity}");
    let open = console.run("cat /proc/net/tcp /proc/net/tcp6 | grep -c ' 0A ' || true", SOON)?;
    ensure!(open == "0", "{open} open TCP ports");
    let machine = console.run("cat /etc/machine-id", SOON)?;
    ensure!(machine.len() == 32 && machine.bytes().all(|byte| byte.is_ascii_hexdigit()), "machine id {machine}");
    let daemon = console.run("systemctl show -p User,ActiveState --value saveosd", SOON)?;
    ensure!(daemon.replace('\n', " ") == "saveos active", "the daemon is {daemon}");
    if larger {
        let size = console.run("df -B1 --output=size /data | tail -n 1", SOON)?;
        let size: u64 = size.trim().parse().with_context(|| format!("df: {size}"))?;
        ensure!(
            size > made.end - made.start + LARGER / 2,
            "data has {size} bytes: it did not take the rest of the disk"
        );
    }
    bench.power_off()?;

    let range = partition(&images.join("disk.img"), "bootstate")?;
    let writes = bench.written()?;
    let decisive = writes.iter().filter(|entry| !entry.bytes.is_empty() && range.contains(&entry.at)).count();
    ensure!(decisive == 0, "a normal start wrote {decisive} times to the boot state");
    // The same box again: its name stays.
    bench.power_on()?;
    let again = ready(bench, "A")?;
    let same = bench.console()?.run("cat /etc/machine-id", SOON)?;
    ensure!(same == machine, "the machine id was {machine} and is {same}");
    Ok(format!(
        "ready after {:.1} s, then {:.1} s; {} writes, 0 to the boot state",
        at.as_secs_f64(),
        again.as_secs_f64(),
        writes.len()
    ))
}
