//! A box without a battery for its clock starts in 1970: it takes the date of its system for the earliest that it can be, and backs up.

use super::{ready, usb_backup};
use crate::bench::{Bench, Bus};
use crate::source_disk;
use anyhow::{Context, ensure};
use std::path::Path;
use std::time::{Duration, SystemTime};

const SOON: Duration = Duration::from_secs(60);
/// Longer ago than any image of today was made.
const AGO: u64 = 366 * 86_400;

pub(super) fn run(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source.img");
    source_disk::make(&source)?;
    bench.flash(&images.join("disk.img"))?;
    bench.forget_the_time();
    bench.power_on()?;
    ready(bench, "A")?;
    let console = bench.console()?;
    let began = console.run("cat /sys/class/rtc/rtc0/since_epoch", SOON)?;
    let began: u64 = began.parse().with_context(|| format!("the hardware's clock: {began}"))?;
    ensure!(began < 86_400, "its clock does not say 1970 but {began}");
    let floor = console.run("stat -c %Y /usr/lib/clock-epoch; date +%s", SOON)?;
    let (floor, now) = floor.split_once('\n').context("two numbers")?;
    let (floor, now): (u64, u64) = (floor.parse()?, now.parse()?);
    let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    ensure!(now >= floor && now < floor + 3600, "the system says {now}, its date is {floor}");
    ensure!(floor + AGO > today, "its date is {floor}");
    usb_backup::eager(bench)?;
    bench.plug(Bus::Usb, &source)?;
    usb_backup::done(bench, 1)?;
    let words = usb_backup::write_words_down(bench)?;
    let restored = usb_backup::restored(bench, &words)?;
    ensure!(restored == usb_backup::checksum(&source)?, "{restored} came back");
    Ok(format!("the clock said {began} s after 1970 began; the system starts at its own date and backs up"))
}
