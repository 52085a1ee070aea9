//! Every allocated byte of a FAT volume has an owner, every file reads back, and nothing hostile gets through.
//!
//! Images are made by mkfs.fat and filled by mtools; fsck.fat and partclone count them: other readers of the format.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop at once")]
#![allow(clippy::disallowed_methods, reason = "nothing a test writes has to survive a power cut")]

#[path = "fat_survey/hostile.rs"]
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
use std::process::Command;
use std::sync::Arc;

use image::{noise, run};
use saveos_engine::fs::{Extent, NodeKind, exfat, fat, ntfs};
use saveos_engine::read::ReadAt;
use support::{Disk, Files, assert_runs_hold, assert_same, assert_whole, find, read_tree, tools_or_skip, used_in};
use told::Told;

const MIB: usize = 1 << 20;
/// Larger images stay sparse.
const MAX_FILLED: usize = 64 * MIB;
const TOOLS: [&str; 6] = ["mkfs.fat", "fsck.fat", "mcopy", "mdel", "mmd", "mattrib"];

/// An image in a directory of its own.
struct Image {
    home: tempfile::TempDir,
}

impl Image {
    fn format(len: u64, options: &[&str]) -> Self {
        let image = Self { home: tempfile::tempdir().unwrap() };
        File::create(image.path()).unwrap().set_len(len).unwrap();
        run(Command::new("mkfs.fat").args(options).arg(image.path()));
        image
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("image")
    }

    fn disk(&self) -> Arc<Disk> {
        Arc::new(Disk::open(&self.path()))
    }

    /// One of the mtools; paths in the image begin with `::`.
    fn mtool(&self, tool: &str, arguments: &[String]) {
        let mut command = Command::new(tool);
        // Old tools judge the geometry of disks, which images do not have.
        command.env("MTOOLS_SKIP_CHECK", "1").env("LC_ALL", "C.UTF-8");
        run(command.arg("-i").arg(self.path()).args(arguments));
    }

    /// Writes files in one go and remembers what was written.
    fn put(&self, files: &mut Files, new: Files) {
        let staging = self.home.path().join("staging");
        for (path, content) in &new {
            let path = staging.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let mut arguments = vec!["-s".to_string(), "-m".into(), "-D".into(), "s".into()];
        let mut tops: Vec<_> = std::fs::read_dir(&staging).unwrap().map(|entry| entry.unwrap().path()).collect();
        tops.sort();
        arguments.extend(tops.iter().map(|path| path.to_str().unwrap().to_string()));
        arguments.push("::/".into());
        self.mtool("mcopy", &arguments);
        std::fs::remove_dir_all(&staging).unwrap();
        files.extend(new);
    }

    fn delete(&self, files: &mut Files, gone: &dyn Fn(&str) -> bool) {
        let paths: Vec<String> = files.keys().filter(|path| gone(path)).cloned().collect();
        self.mtool("mdel", &paths.iter().map(|path| format!("::/{path}")).collect::<Vec<_>>());
        files.retain(|path, _| !gone(path));
    }
}

/// What fsck.fat counts: the heap, bytes per cluster, clusters in use. It fails when it finds anything wrong.
fn counted_by_fsck(path: &Path) -> (Extent, u64, u64) {
    let text = run(Command::new("fsck.fat").args(["-n", "-v"]).arg(path));
    let field = |words: &str, at: usize| -> u64 {
        let line = text.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("no {words}: {text}"));
        line.split_whitespace().nth(at).unwrap().parse().unwrap()
    };
    let cluster = field("bytes per cluster", 0);
    let heap = Extent::new(field("Data area starts at byte", 5), field("data clusters", 0) * cluster);
    let last = text.lines().last().unwrap();
    let used = last.rsplit(", ").next().unwrap().split('/').next().unwrap().parse().unwrap();
    (heap, cluster, used)
}

fn survey(disk: &dyn ReadAt) -> Told {
    let mut told = Told::default();
    fat::survey(disk, &mut told).unwrap();
    told
}

fn assert_survey_is_whole(image: &Image) -> Told {
    let disk = image.disk();
    assert!(fat::probe(&disk) && !exfat::probe(&disk) && !ntfs::probe(&disk));
    let told = survey(&disk);
    let (heap, cluster, used) = counted_by_fsck(&image.path());
    assert_whole(&told, heap, disk.len());
    assert_eq!(used_in(&told, heap) / cluster, used);
    assert!(told.meta.iter().any(|extent| extent.start == 0));
    assert_eq!(told.notes, Vec::<String>::new());
    told
}

/// Small files with gaps between them, and large ones that fill the gaps.
fn fill(image: &Image, len: usize, cluster: usize) -> Files {
    let mut files = Files::new();
    let unit = (len.min(MAX_FILLED) / 400).max(cluster);
    let small = |number: usize| (format!("small/a file with a rather long name {number}.dat"), noise(7, unit));
    image.put(&mut files, (0..60).map(small).collect());
    image.delete(&mut files, &|path| path.trim_end_matches(".dat").ends_with(['1', '3', '4', '7', '9']));
    // FAT32 remembers where to go on, so gaps are used again only when the end is reached. Where that is far, they stay.
    let (heap, cluster_bytes, used) = counted_by_fsck(&image.path());
    let filler = (heap.len - used * cluster_bytes) as usize - 50 * unit.next_multiple_of(cluster);
    if len <= MAX_FILLED {
        image.put(&mut files, [("filler.bin".into(), vec![0x5A; filler])].into());
    }
    let deep = "DEEP/lower.txt/a directory with a long name/Ünïcödé 名前/x/y/z/end.bin";
    image.put(
        &mut files,
        [
            ("empty".into(), Vec::new()),
            ("SHORT.TXT".into(), b"a short name".to_vec()),
            ("lower.txt".into(), b"a short name in lower case".to_vec()),
            ("Ünïcödé 名前 ß.txt".into(), noise(2, 10)),
            (format!("{}.end", "long".repeat(60)), noise(3, 3 * unit + 1)),
            ("whole.bin".into(), noise(4, 4 * cluster)),
            ("split.bin".into(), noise(5, 25 * unit + 77)),
            (deep.into(), noise(6, cluster + 1)),
        ]
        .into(),
    );
    files
}

fn whole_volume(len: usize, options: &[&str], cluster: usize) {
    if !tools_or_skip(&format!("whole volume {options:?}"), &TOOLS) {
        return;
    }
    let image = Image::format(len as u64, options);
    assert_survey_is_whole(&image);
    let files = fill(&image, len, cluster);
    let told = assert_survey_is_whole(&image);
    let disk = image.disk();
    let tree = fat::browse(disk.clone()).unwrap();
    assert_same(&read_tree(&*tree), &files);
    assert_runs_hold(&told, &disk, &*tree, &files);

    let split = find(&*tree, "split.bin");
    let runs = told.files.iter().map(|file| file.runs.len()).max().unwrap();
    assert!(runs > 3 || len > MAX_FILLED, "{runs} fragments only");
    let end = told.files.iter().find(|file| file.id == split.id.0).unwrap().runs.last().unwrap().1.end();
    assert!(told.raw.iter().any(|extent| extent.start == end), "slack is RAW and starts at end of file");
    assert_eq!(find(&*tree, "SPLIT.Bin").id, split.id);
    assert_eq!(find(&*tree, "ünïCÖDÉ 名前 ß.TXT").size, 10);
    assert_eq!(find(&*tree, "LONGLO~1.END").size, find(&*tree, &format!("{}.end", "LONG".repeat(60))).size);
    assert_eq!(find(&*tree, "deep").kind, NodeKind::Directory);
    assert!(tree.lookup(&tree.root().unwrap(), b"no such").unwrap().is_none());
    // mtools keep local time, and tests run in any zone.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((split.modified - now).abs() < 26 * 3600, "modified {}", split.modified);
}

#[test]
fn fat12_of_every_cluster_size() {
    for (per_cluster, mib) in [(1, 1), (2, 3), (8, 12), (128, 30)] {
        let per_cluster = format!("{per_cluster}");
        let cluster = 512 * per_cluster.parse::<usize>().unwrap();
        whole_volume(mib * MIB, &["-F", "12", "-s", &per_cluster], cluster);
    }
}

#[test]
fn fat16_of_every_cluster_size() {
    for (per_cluster, mib) in [(1, 5), (4, 20), (16, 40)] {
        let per_cluster = format!("{per_cluster}");
        let cluster = 512 * per_cluster.parse::<usize>().unwrap();
        whole_volume(mib * MIB, &["-F", "16", "-s", &per_cluster], cluster);
    }
}

#[test]
fn fat32_of_every_cluster_size() {
    for (per_cluster, mib) in [(1, 36), (8, 280), (128, 4400)] {
        let per_cluster = format!("{per_cluster}");
        let cluster = 512 * per_cluster.parse::<usize>().unwrap();
        whole_volume(mib * MIB, &["-F", "32", "-s", &per_cluster], cluster);
    }
}

/// mtools cannot fill volumes with such sectors. Where all parts are multiples of eight sectors of 512 bytes, only the
/// numbers in the boot sector differ.
fn enlarge_sectors(image: &Image, wide: bool) {
    let mut boot = image.disk().read_vec(0, 512).unwrap();
    let info = image.disk().read_vec(512, 512).unwrap();
    let disk = File::options().write(true).open(image.path()).unwrap();
    boot[11..13].copy_from_slice(&4096u16.to_le_bytes());
    boot[13] /= 8;
    // A rest of less than a large sector falls off the end.
    for (at, may_have_rest) in [(14, false), (19, true), (22, false)] {
        let field = u16::from_le_bytes([boot[at], boot[at + 1]]);
        assert!(field.is_multiple_of(8) || may_have_rest, "field at {at}");
        boot[at..at + 2].copy_from_slice(&(field / 8).to_le_bytes());
    }
    for (at, may_have_rest) in if wide { &[(32, true), (36, false)][..] } else { &[(32, true)] } {
        let field = u32::from_le_bytes(boot[*at..at + 4].try_into().unwrap());
        assert!(field.is_multiple_of(8) || *may_have_rest, "field at {at}");
        boot[*at..at + 4].copy_from_slice(&(field / 8).to_le_bytes());
    }
    disk.write_all_at(&boot, 0).unwrap();
    if wide {
        disk.write_all_at(&info, 4096).unwrap();
        disk.write_all_at(&boot, 6 * 4096).unwrap();
    }
}

#[test]
fn sectors_of_4_kib() {
    if !tools_or_skip("sectors_of_4_kib", &TOOLS) {
        return;
    }
    for (width, mib) in [("12", 12), ("16", 40), ("32", 280)] {
        let image = Image::format((mib * MIB) as u64, &["-F", width, "-s", "8", "-R", "64"]);
        let files = fill(&image, mib * MIB, 4096);
        enlarge_sectors(&image, width == "32");
        let told = assert_survey_is_whole(&image);
        let disk = image.disk();
        let tree = fat::browse(disk.clone()).unwrap();
        assert_same(&read_tree(&*tree), &files);
        assert_runs_hold(&told, &disk, &*tree, &files);
        let image = Image::format((2 * mib * MIB) as u64, &["-F", width, "-S", "4096", "-s", "2"]);
        assert_survey_is_whole(&image);
    }
}

#[test]
fn a_single_fat() {
    whole_volume(36 * MIB, &["-F", "32", "-f", "1", "-s", "1", "-R", "8"], 512);
}

#[test]
fn a_volume_smaller_than_its_partition_has_its_rest_read() {
    if !tools_or_skip("a larger partition", &TOOLS) {
        return;
    }
    let image = Image::format(10 * MIB as u64 + 3 * 512, &["-F", "16", "-s", "4", "-a"]);
    File::options().write(true).open(image.path()).unwrap().set_len(11 * MIB as u64 + 100).unwrap();
    assert_survey_is_whole(&image);
}

#[test]
fn partclone_finds_the_same_blocks_used() {
    let tools = [&TOOLS[..], &["partclone.fat"]].concat();
    if !tools_or_skip("partclone_finds_the_same_blocks_used", &tools) {
        return;
    }
    // Not FAT12: partclone counts half as many clusters again as fsck.fat does.
    for (len, width, cluster) in [(10, "16", 1024), (40, "32", 512)] {
        let image = Image::format((len * MIB) as u64, &["-F", width, "-s", &format!("{}", cluster / 512)]);
        fill(&image, len * MIB, cluster);
        let (heap, _, _) = counted_by_fsck(&image.path());
        let used = support::used_by_partclone("partclone.fat", &image.path(), heap);
        assert_eq!(support::cut(survey(&image.disk()).in_use(), heap), used, "FAT{width}");
    }
}

#[test]
fn many_entries_make_a_directory_of_many_fragments() {
    if !tools_or_skip("many entries", &TOOLS) {
        return;
    }
    let image = Image::format(40 * MIB as u64, &["-F", "32", "-s", "1"]);
    let mut files = Files::new();
    for turn in 0..3 {
        let name = |number| (format!("many/turn {turn} file number {number} of many"), noise(number, 600));
        image.put(&mut files, (0..80).map(name).collect());
        let name = |number| (format!("other {turn} file number {number} of many"), Vec::new());
        image.put(&mut files, (0..20).map(name).collect());
    }
    let told = assert_survey_is_whole(&image);
    assert!(told.meta.len() > 5, "{} pieces of directories", told.meta.len());
    assert_same(&read_tree(&*fat::browse(image.disk()).unwrap()), &files);
}

#[test]
fn bad_clusters_are_left_alone_and_lost_chains_are_read() {
    if !tools_or_skip("bad clusters", &TOOLS) {
        return;
    }
    for (width, mark, end) in [("16", 0xFFF7u32, 0xFFFFu32), ("32", 0x0FFF_FFF7, 0x0FFF_FFFF)] {
        let image = Image::format(
            36 * MIB as u64,
            &["-F", width, "-s", "1"].map(|text| if width == "16" && text == "1" { "4" } else { text }),
        );
        let (heap, cluster, used) = counted_by_fsck(&image.path());
        let disk = File::options().write(true).read(true).open(image.path()).unwrap();
        let bytes = image.disk().read_vec(0, 512).unwrap();
        let reserved = u64::from(u16::from_le_bytes([bytes[14], bytes[15]])) * 512;
        let copy = (heap.start - reserved - if width == "16" { 512 * 32 } else { 0 }) / 2;
        let size = if width == "16" { 2 } else { 4 };
        for start in [reserved, reserved + copy] {
            for (entry, value) in [(100, mark), (101, mark), (200, 201), (201, end)] {
                disk.write_all_at(&value.to_le_bytes()[..size as usize], start + entry * size).unwrap();
            }
        }
        let told = survey(&image.disk());
        assert_eq!(told.doubts, Vec::<String>::new());
        assert!(told.notes[0].starts_with("2 clusters are marked bad"), "{:?}", told.notes);
        assert_eq!(used_in(&told, heap) / cluster, used + 2);
        let lost = Extent::new(heap.start + 198 * cluster, 2 * cluster);
        assert!(told.in_use().contains(&lost));
        assert!(told.claims().iter().all(|claim| claim.end() <= lost.start || claim.start >= lost.end()));
    }
}

#[test]
fn other_disks_are_not_fat() {
    let mut mbr = vec![0u8; MIB];
    mbr[..3].copy_from_slice(&[0xEB, 0x63, 0x90]);
    mbr[510..512].copy_from_slice(&[0x55, 0xAA]);
    assert!(!fat::probe(&mbr), "GRUB's boot code jumps too");
    assert!(!fat::probe(&vec![0u8; MIB]) && !fat::probe(&Vec::new()) && !fat::probe(&vec![0xFFu8; MIB]));
    for (tool, options) in [("mkntfs", &["-F", "-Q"][..]), ("mke2fs", &["-F", "-q"]), ("mkfs.exfat", &[])] {
        if !tools_or_skip("other_disks_are_not_fat", &[tool]) {
            continue;
        }
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("image");
        File::create(&path).unwrap().set_len(16 * MIB as u64).unwrap();
        run(Command::new(tool).args(options).arg(&path));
        assert!(!fat::probe(&std::fs::read(&path).unwrap()), "{tool}");
    }
}
