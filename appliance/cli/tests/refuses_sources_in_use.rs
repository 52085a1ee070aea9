//! Promise: a disk that somebody may write to while it is read is refused, or its snapshot proves nothing.

#[path = "support/support.rs"]
mod support;

use std::os::unix::fs::OpenOptionsExt;
use support::{Image, Loop, Repo, can, noise, skip, text, write_at};

/// O_EXCL of Linux on x86 and ARM: what LVM, md, LUKS, swap and mounts hold a device with.
const EXCLUSIVE: i32 = 0o200;

#[test]
fn a_disk_that_the_kernel_has_given_away_is_refused_or_live() {
    if let Err(reason) = can(&["losetup"]) {
        skip!("{reason}");
    }
    let image = Image::blank(8 << 20);
    write_at(&image.path(), 0, &noise(5, 1 << 20));
    let device = Loop::new(&image.path(), &[]).expect("a loop device");
    let repo = Repo::new();
    let holder = std::fs::File::options().read(true).custom_flags(EXCLUSIVE).open(&device.0).expect("nobody has it");
    repo.run(&["backup", &device.0]).refuses("is in use");
    // The image below is written when its loop device is.
    repo.run(&["backup", text(&image.path())]).refuses("is in use");
    let live = repo.json(&["backup", &device.0, "--live"]).exits(3).last("summary");
    assert_eq!(live["state"], "live");
    drop(holder);
    repo.backup(device.0.as_ref(), "free again");
}
