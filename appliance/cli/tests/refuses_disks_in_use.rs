//! A restore never goes to a disk that somebody uses, whatever is forced: loop devices stand in for disks, with partitions,
//! mounts, swap and claims of other programs. After each refusal the disk is as it was.

#[path = "support/support.rs"]
mod support;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use support::{Image, Loop, Ran, Repo, can, noise, saveos, skip, text, tool, tool_result, write_at};

const MIB: u64 = 1 << 20;

/// A disk of two partitions, of `mib` and 8 MiB, as an image and as a device. The kernel is told of the partitions, since not
/// every kernel reads partition tables.
fn two_partitions(mib: u64) -> (Image, Loop) {
    let image = Image::blank((mib + 10) * MIB);
    write_at(&image.path(), (mib + 2) * MIB, &noise(1, 100_000));
    let device = Loop::new(&image.path(), &["-P"]).expect("a loop device");
    for (number, start, len) in [("1", 1, mib), ("2", mib + 1, 8)] {
        tool(&["addpart", &device.0, number, &(start * 2048).to_string(), &(len * 2048).to_string()]);
    }
    (image, device)
}

fn can_partition(tools: &[&str]) -> Result<(), String> {
    can(&[&["addpart", "losetup", "mke2fs", "/dev/loop-control"], tools].concat())
}

/// A partition mounted on a folder, until the end of the test.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(device: &str, options: &str) -> Mounted {
        let home = tempfile::tempdir().expect("a scratch folder");
        tool(&["mount", "-o", options, device, text(home.path())]);
        Mounted(home)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        tool_result(&["umount", text(self.0.path())]);
    }
}

/// A repository with a snapshot of 2 MiB.
fn filled() -> Repo {
    let (repo, disk) = (Repo::new(), Image::blank(2 * MIB));
    write_at(&disk.path(), 0, &noise(2, 300_000));
    repo.backup(&disk.path(), "disk");
    repo
}

/// Refused with these words and the name of the disk, with and without `--force`; nothing is written.
#[track_caller]
fn is_refused(repo: &Repo, image: &Image, target: &str, why: &str) {
    let before = blake3::hash(&image.bytes());
    for force in [&[][..], &["--force"]] {
        let ran = repo.run(&[&["restore", "latest", target], force].concat());
        let ran = ran.refuses(&format!("refused, even with --force: {target} (loop over {}", image.text()));
        assert!(ran.err.trim_end().ends_with(why), "{why:?} in {}", ran.err);
    }
    assert_eq!(blake3::hash(&image.bytes()), before, "{target} was written to");
}

#[test]
fn the_disk_of_the_repository_is_refused() {
    if let Err(missing) = can_partition(&[]) {
        skip!("{missing}");
    }
    let (image, device) = two_partitions(96);
    let first = format!("{}p1", device.0);
    tool(&["mke2fs", "-q", "-F", &first]);
    let mounted = Mounted::new(&first, "rw");
    let (outside, disk) = (Repo::new(), Image::blank(2 * MIB));
    let (inside, key) = (mounted.0.path().join("repo"), outside.key());
    let within = ["--repo", text(&inside), "--key-file", text(&key)];
    Ran::of(saveos().args(["init", text(&inside), "--key-file", text(&key)])).exits(0);
    Ran::of(saveos().args(["backup", &disk.text()]).args(within)).exits(0);
    for part in ["", "p1", "p2"] {
        let target = format!("{}{part}", device.0);
        let ran = Ran::of(saveos().args(["restore", "latest", &target, "--force"]).args(within));
        let ran = ran.refuses(&format!("refused, even with --force: {target} (loop over "));
        assert!(ran.err.trim_end().ends_with("holds the repository"), "{}", ran.err);
    }
    // Its own leases are written in there; the other partition is as it was.
    assert!(image.bytes()[98 << 20..][..100_000] == noise(1, 100_000), "the other partition was written to");
    Ran::of(saveos().arg("verify").args(within)).exits(0);
}

#[test]
fn the_neighbour_of_a_mounted_partition_is_refused() {
    if let Err(missing) = can_partition(&[]) {
        skip!("{missing}");
    }
    let (repo, (image, device)) = (filled(), two_partitions(8));
    let (first, second) = (format!("{}p1", device.0), format!("{}p2", device.0));
    tool(&["mke2fs", "-q", "-F", &first]);
    let mounted = Mounted::new(&first, "ro");
    let at = mounted.0.path().display();
    is_refused(&repo, &image, &device.0, &format!("is mounted at {at}"));
    is_refused(&repo, &image, &first, &format!("is mounted at {at}"));
    is_refused(&repo, &image, &second, &format!("is on a disk that is mounted at {at}"));
    drop(mounted);
    repo.run(&["restore", "latest", &second, "--force"]).exits(0);
}

/// Our tables of mounts show our namespace; a container or another session may have mounted the disk all the same.
#[test]
fn a_disk_that_is_mounted_where_we_cannot_see_it_is_refused() {
    if let Err(missing) = can_partition(&["unshare"]) {
        skip!("{missing}");
    }
    let (repo, (image, device)) = (filled(), two_partitions(8));
    let (first, second) = (format!("{}p1", device.0), format!("{}p2", device.0));
    tool(&["mke2fs", "-q", "-F", &first]);
    let home = tempfile::tempdir().expect("a scratch folder");
    let script = "mount -o ro \"$0\" \"$1\" && echo mounted && exec cat";
    let mut other = Command::new("unshare")
        .args(["-m", "sh", "-c", script, &first, text(home.path())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut said = String::new();
    BufReader::new(other.stdout.take().expect("a pipe")).read_line(&mut said).expect("a line");
    assert_eq!(said, "mounted\n");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&first), "we see it, so the test shows nothing");
    is_refused(&repo, &image, &device.0, "is in use by another program");
    is_refused(&repo, &image, &first, "is in use by another program");
    is_refused(&repo, &image, &second, "is in use by another program");
    drop(other.stdin.take());
    other.wait().expect("it ends with its input");
    repo.run(&["restore", "latest", &second, "--force"]).exits(0);
}

/// What LUKS, LVM and md do with a member: they open it for themselves alone.
#[test]
fn a_disk_that_another_program_claims_is_refused() {
    if let Err(missing) = can_partition(&[]) {
        skip!("{missing}");
    }
    let repo = filled();
    let image = Image::garbage(4 * MIB);
    let device = Loop::new(&image.path(), &[]).expect("a loop device");
    let exclusive = rustix::fs::OFlags::EXCL.bits() as i32;
    let claim = File::options().read(true).custom_flags(exclusive).open(&device.0).expect("the device");
    is_refused(&repo, &image, &device.0, "is in use by another program");
    drop(claim);
    repo.run(&["restore", "latest", &device.0]).refuses("exists and may hold data");
    repo.run(&["restore", "latest", &device.0, "--force"]).exits(0);
}

#[test]
fn swap_is_refused() {
    if let Err(missing) = can_partition(&["mkswap", "swapon", "swapoff"]) {
        skip!("{missing}");
    }
    let repo = filled();
    let image = Image::blank(4 * MIB);
    tool(&["mkswap", "-q", &image.text()]);
    let device = Loop::new(&image.path(), &[]).expect("a loop device");
    // The lowest priority: nothing is swapped to it while the test runs.
    let on = tool_result(&["swapon", "-p", "0", &device.0]);
    if on.code != 0 {
        skip!("may not use swap: {}", on.err.trim());
    }
    struct Off<'a>(&'a str);
    impl Drop for Off<'_> {
        fn drop(&mut self) {
            tool_result(&["swapoff", self.0]);
        }
    }
    let off = Off(&device.0);
    is_refused(&repo, &image, &device.0, &format!("is in use as swap ({})", device.0));
    drop(off);
    repo.run(&["restore", "latest", &device.0, "--force"]).exits(0);
}
