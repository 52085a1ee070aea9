//! A disk that is looked at and backed up gets no write, not even of a journal or a time stamp, and is mounted nowhere: counted
//! by the kernel, on a device that could be written.

#[path = "support/support.rs"]
mod support;

use support::{Image, Kind, Loop, Ran, Repo, can, saveos, skip, tool};

#[test]
fn a_source_is_never_written() {
    if let Err(missing) = can(Kind::Ext.tools()).and_then(|()| can(&["losetup"])) {
        skip!("{missing}");
    }
    let image = Image::blank(16 << 20);
    image.format(Kind::Ext, "mke2fs -q -F -t ext4");
    let device = Loop::new(&image.path(), &[]).expect("a loop device");
    let before = blake3::hash(&image.bytes());
    let writes_before = writes(&device.0);
    let repo = Repo::new();
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let planned = Ran::of(saveos().args(["plan", &device.0])).exits(0);
    assert!(planned.text().contains("ext"), "{}", planned.text());
    repo.backup(device.0.as_ref(), "disk");
    assert!(!mounts().contains(&format!(" {} ", device.0)), "the source is mounted");
    repo.backup(device.0.as_ref(), "disk");
    assert_eq!(writes(&device.0), writes_before, "writes and flushes of the source");
    assert_eq!(blake3::hash(&image.bytes()), before);

    // The counters see a write.
    tool(&["dd", "if=/dev/zero", &format!("of={}", device.0), "count=8", "conv=fsync"]);
    assert_ne!(writes(&device.0), writes_before, "the counters are blind");
}

/// Writes and sectors written so far, as the kernel counts them: fields 5 and 7 of the device's statistics.
fn writes(device: &str) -> (u64, u64) {
    let name = device.trim_start_matches("/dev/");
    let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat")).expect("statistics of a block device");
    let fields: Vec<u64> = stat.split_whitespace().map(|field| field.parse().expect("a number")).collect();
    (fields[4], fields[6])
}
