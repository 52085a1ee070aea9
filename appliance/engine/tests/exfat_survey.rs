//! Every allocated byte of an exFAT volume has an owner, every file reads back, and nothing hostile gets through.
//!
//! Images are made by mkfs.exfat and filled by the FUSE driver; dump.exfat, fsck.exfat and partclone judge them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop at once")]
#![allow(clippy::disallowed_methods, reason = "nothing a test writes has to survive a power cut")]

#[path = "exfat_survey/handmade.rs"]
mod handmade;
#[path = "exfat_survey/hostile.rs"]
mod hostile;
#[path = "ntfs_survey/image.rs"]
#[expect(dead_code, reason = "made for NTFS; the rest of it serves here too")]
mod image;
#[path = "fat_survey/support.rs"]
mod support;
#[path = "ntfs_survey/told.rs"]
#[expect(dead_code, reason = "made for NTFS; the rest of it serves here too")]
mod told;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::{noise, run};
use saveos_engine::fs::{Extent, NodeKind, exfat, fat, ntfs};
use saveos_engine::read::ReadAt;
use support::{Disk, Files, assert_runs_hold, assert_same, assert_whole, find, read_tree, tools_or_skip, used_in};
use told::Told;

const MIB: u64 = 1 << 20;
const TOOLS: [&str; 6] = ["mkfs.exfat", "dump.exfat", "fsck.exfat", "mount.exfat-fuse", "losetup", "umount"];
/// The driver writes large clusters slowly, and clears every new directory.
const MAX_WRITTEN: usize = 1 << 20;
/// How long a mount may take on a busy machine.
const MOUNT_DEADLINE: Duration = Duration::from_secs(20);

/// An image in a directory of its own.
struct Image {
    home: tempfile::TempDir,
    sector: u64,
}

impl Image {
    fn format(len: u64, cluster: u64) -> Self {
        let image = Self { home: tempfile::tempdir().unwrap(), sector: 512 };
        File::create(image.path()).unwrap().set_len(len).unwrap();
        run(Command::new("mkfs.exfat").args(["-c", &cluster.to_string()]).arg(image.path()));
        image
    }

    /// Formats a device of other sectors than files have.
    fn with_sectors(len: u64, cluster: u64, sector: u64) -> Self {
        let image = Self { home: tempfile::tempdir().unwrap(), sector };
        File::create(image.path()).unwrap().set_len(len).unwrap();
        let device = image.attach();
        let formatted = Command::new("mkfs.exfat").args(["-c", &cluster.to_string(), &device]).output();
        run(Command::new("losetup").args(["-d", &device]));
        assert!(formatted.unwrap().status.success());
        image
    }

    fn attach(&self) -> String {
        let sector = self.sector.to_string();
        let device = run(Command::new("losetup").args(["-b", &sector, "-f", "--show"]).arg(self.path()));
        device.trim().to_string()
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("image")
    }

    fn disk(&self) -> Arc<Disk> {
        Arc::new(Disk::open(&self.path()))
    }

    /// The driver wants a block device.
    fn mount(&self) -> Mounted {
        let root = self.home.path().join("mounted");
        std::fs::create_dir_all(&root).unwrap();
        let device = self.attach();
        let driver = Command::new("mount.exfat-fuse")
            .args(["-d", &device])
            .arg(&root)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mounted = Mounted { root, device, driver };
        let deadline = Instant::now() + MOUNT_DEADLINE;
        let wanted = mounted.root.to_str().unwrap().to_string();
        while !std::fs::read_to_string("/proc/mounts").unwrap().contains(&wanted) {
            assert!(Instant::now() < deadline, "the driver did not mount");
            std::thread::sleep(Duration::from_millis(5));
        }
        mounted
    }
}

/// A mounted image; unmounting waits until the driver has written everything.
struct Mounted {
    root: PathBuf,
    device: String,
    driver: Child,
}

impl Mounted {
    fn write(&self, files: &mut Files, path: &str, content: Vec<u8>) {
        let at = self.root.join(path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(at, &content).unwrap();
        files.insert(path.into(), content);
    }

    /// Two files that grow in turns.
    fn interleave(&self, files: &mut Files, paths: [&str; 2], piece: usize, pieces: usize) {
        let content = noise(9, piece * pieces);
        let open = paths.map(|path| File::create(self.root.join(path)).unwrap());
        for (index, part) in content.chunks(piece).enumerate() {
            open.iter().for_each(|file| file.write_all_at(part, (index * piece) as u64).unwrap());
        }
        files.extend(paths.map(|path| (path.to_string(), content.clone())));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let umounted = Command::new("umount").arg(&self.root).status();
        if !umounted.as_ref().is_ok_and(|status| status.success()) {
            // Best effort: a driver that is not mounted would be waited for for ever.
            let _ = self.driver.kill();
        }
        let ended = self.driver.wait();
        let detached = Command::new("losetup").args(["-d", &self.device]).status();
        if !std::thread::panicking() {
            assert!(umounted.unwrap().success() && ended.unwrap().success() && detached.unwrap().success());
        }
    }
}

/// True when the driver can be used; says so loudly when not.
fn driver_or_skip(test: &str) -> bool {
    if !tools_or_skip(test, &TOOLS) {
        return false;
    }
    let usable = rustix::process::geteuid().is_root()
        && Path::new("/dev/fuse").exists()
        && Command::new("losetup").arg("-f").output().is_ok_and(|output| output.status.success());
    if !usable {
        eprintln!("SKIPPED: {test}: needs root, /dev/fuse and a loop device");
    }
    usable
}

/// What dump.exfat counts: the heap, bytes per cluster, clusters in use.
fn counted_by_dump(path: &Path) -> (Extent, u64, u64) {
    let text = run(Command::new("dump.exfat").arg(path));
    let field = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
        line.split_whitespace().last().unwrap().parse().unwrap()
    };
    let (cluster, clusters) = (field("Cluster size:"), field("Total Clusters:"));
    let start = field("Cluster Heap Offset") << field("Sector Size Bits:");
    (Extent::new(start, clusters * cluster), cluster, clusters - field("Free Clusters:"))
}

fn survey(disk: &dyn ReadAt) -> Told {
    let mut told = Told::default();
    exfat::survey(disk, &mut told).unwrap();
    told
}

fn assert_survey_is_whole(image: &Image) -> Told {
    run(Command::new("fsck.exfat").arg("-n").arg(image.path()));
    let disk = image.disk();
    assert!(exfat::probe(&disk) && !fat::probe(&disk) && !ntfs::probe(&disk));
    let told = survey(&disk);
    let (heap, cluster, used) = counted_by_dump(&image.path());
    assert_whole(&told, heap, disk.len());
    assert_eq!(used_in(&told, heap) / cluster, used);
    assert_eq!(told.notes, Vec::<String>::new());
    told
}

/// Files of every sort that the driver can make.
fn fill(mounted: &Mounted, cluster: usize) -> Files {
    let mut files = Files::new();
    mounted.write(&mut files, "empty", Vec::new());
    mounted.write(&mut files, "whole.bin", noise(1, cluster.min(MAX_WRITTEN)));
    mounted.write(&mut files, "slack.bin", noise(2, cluster.min(MAX_WRITTEN) + 1));
    mounted.write(&mut files, "Ünïcödé 😀 名前.txt", b"a name".to_vec());
    mounted.write(&mut files, &"long name ".repeat(25), b"250 units".to_vec());
    if cluster > MAX_WRITTEN {
        mounted.write(&mut files, "deep/x/end.bin", noise(3, 777));
        return files;
    }
    mounted.write(&mut files, "deep/x/y/Z/a directory/end.bin", noise(3, 777));
    let pieces = ((2 << 20) / cluster).clamp(2, 200);
    mounted.interleave(&mut files, ["left.bin", "right.bin"], cluster, pieces);
    if cluster <= 65536 {
        for number in 0..150 {
            let path = format!("many/a rather long name of a file {number}.dat");
            mounted.write(&mut files, &path, noise(number, 10 * number as usize));
        }
        for number in (0..150).step_by(3) {
            let path = format!("many/a rather long name of a file {number}.dat");
            std::fs::remove_file(mounted.root.join(&path)).unwrap();
            files.remove(&path);
        }
    }
    files
}

fn whole_volume(len: u64, cluster: u64) {
    if !driver_or_skip(&format!("whole volume, clusters of {cluster}")) {
        return;
    }
    fill_and_read(&Image::format(len, cluster), cluster);
}

fn fill_and_read(image: &Image, cluster: u64) {
    assert_survey_is_whole(image);
    let files = fill(&image.mount(), cluster as usize);
    let told = assert_survey_is_whole(image);
    let disk = image.disk();
    let tree = exfat::browse(disk.clone()).unwrap();
    assert_same(&read_tree(&*tree), &files);
    assert_runs_hold(&told, &disk, &*tree, &files);

    let runs_of = |path: &str| {
        let id = find(&*tree, path).id.0;
        told.files.iter().find(|file| file.id == id).unwrap().runs.clone()
    };
    assert!(cluster as usize > MAX_WRITTEN || runs_of("left.bin").len() > 1, "the driver did not interleave");
    let end = runs_of("slack.bin").last().unwrap().1.end();
    assert!(
        told.raw.contains(&Extent::new(end, cluster - find(&*tree, "slack.bin").size % cluster)),
        "slack is RAW and starts at end of file"
    );
    assert_eq!(find(&*tree, "SLACK.Bin").id, find(&*tree, "slack.bin").id);
    assert_eq!(find(&*tree, "ünïCÖDÉ 😀 名前.TXT").size, 6);
    assert_eq!(find(&*tree, "DEEP/X").kind, NodeKind::Directory);
    assert!(tree.lookup(&tree.root().unwrap(), b"no such").unwrap().is_none());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((find(&*tree, "slack.bin").modified - now).abs() < 26 * 3600);
}

#[test]
fn clusters_of_512_bytes() {
    whole_volume(16 * MIB, 512);
}

#[test]
fn clusters_of_4_kib() {
    whole_volume(40 * MIB, 4 << 10);
}

#[test]
fn clusters_of_32_kib() {
    whole_volume(64 * MIB, 32 << 10);
}

#[test]
fn clusters_of_1_mib() {
    whole_volume(100 * MIB, 1 << 20);
}

#[test]
fn clusters_of_32_mib() {
    whole_volume(1200 * MIB, 32 << 20);
}

#[test]
fn sectors_of_4_kib() {
    if driver_or_skip("sectors_of_4_kib") {
        fill_and_read(&Image::with_sectors(48 * MIB, 8 << 10, 4096), 8 << 10);
    }
}

#[test]
fn a_bitmap_beside_the_fat() {
    if !driver_or_skip("a_bitmap_beside_the_fat") {
        return;
    }
    let image = Image::format(32 * MIB, 4096);
    run(Command::new("mkfs.exfat").args(["-c", "4096", "--pack-bitmap"]).arg(image.path()));
    fill_and_read(&image, 4096);
}

#[test]
fn partclone_finds_the_same_blocks_used() {
    let test = "partclone_finds_the_same_blocks_used";
    if !driver_or_skip(test) || !tools_or_skip(test, &["partclone.exfat"]) {
        return;
    }
    let image = Image::format(16 * MIB, 4096);
    fill(&image.mount(), 4096);
    let (heap, _, _) = counted_by_dump(&image.path());
    let used = support::used_by_partclone("partclone.exfat", &image.path(), heap);
    assert_eq!(support::cut(survey(&image.disk()).in_use(), heap), used);
}

#[test]
fn the_backup_boot_region_is_enough() {
    if !driver_or_skip("the_backup_boot_region_is_enough") {
        return;
    }
    let image = Image::format(16 * MIB, 4096);
    let files = fill(&image.mount(), 4096);
    let whole = survey(&image.disk());
    File::options().write(true).open(image.path()).unwrap().write_all_at(&[0x77; 100], 80).unwrap();
    let disk = image.disk();
    assert!(exfat::probe(&disk));
    let told = survey(&disk);
    assert_eq!(told.doubts, ["the main boot region is damaged; the backup was used"]);
    assert_eq!(told.claims(), whole.claims());
    assert_same(&read_tree(&*exfat::browse(disk).unwrap()), &files);
}
