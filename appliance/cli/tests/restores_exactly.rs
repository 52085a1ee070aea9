//! Every allocated byte comes back, on every disk we can make with other people's tools, judged by those tools.
//!
//! For each disk: backed up twice (the second stores nothing), restored to a file, to standard output, by partition and onto
//! a damaged copy. Partclone says which bytes are in use, the filesystem's own checker and driver look at what came back,
//! and each of these judges is shown damage, to prove that it would see any.

#[path = "support/support.rs"]
mod support;

mod restores {
    pub(crate) mod expect;
}

use restores::expect::{Seen, restores_exactly, sees_damage};
use support::{Disk, Image, Kind, Ran, Repo, can, noise, read, saveos, skip, text, tool, write_at};

const MIB: u64 = 1 << 20;

/// Formats an image full of garbage, so that a block that is wrongly left out cannot pass for zeros, fills it, and judges it.
macro_rules! filesystem {
    ($name:ident, $kind:expr, $mib:expr, $mkfs:expr, $seen:expr) => {
        #[test]
        fn $name() {
            if let Err(missing) = can($kind.tools()) {
                skip!("{missing}");
            }
            let image = Image::garbage($mib * MIB);
            image.format($kind, $mkfs);
            restores_exactly(&Disk::whole(image, $kind), $seen);
        }
    };
}

filesystem!(ext2_of_1k_blocks, Kind::Ext, 24, "mke2fs -q -F -E nodiscard -t ext2 -b 1024", Seen::Parsed);
filesystem!(ext2_of_4k_blocks, Kind::Ext, 24, "mke2fs -q -F -E nodiscard -t ext2 -b 4096", Seen::Parsed);
filesystem!(ext3_of_2k_blocks, Kind::Ext, 24, "mke2fs -q -F -E nodiscard -t ext3 -b 2048", Seen::Parsed);
filesystem!(ext4_of_1k_blocks, Kind::Ext, 24, "mke2fs -q -F -E nodiscard -t ext4 -b 1024", Seen::Parsed);
filesystem!(ext4_of_4k_blocks, Kind::Ext, 24, "mke2fs -q -F -E nodiscard -t ext4 -b 4096", Seen::Parsed);
filesystem!(
    ext4_without_journal,
    Kind::Ext,
    24,
    "mke2fs -q -F -E nodiscard -t ext4 -b 2048 -O ^has_journal",
    Seen::Parsed
);
filesystem!(
    ext4_of_64_bits,
    Kind::Ext,
    24,
    "mke2fs -q -F -E nodiscard -t ext4 -b 4096 -O 64bit,metadata_csum",
    Seen::Parsed
);
filesystem!(
    ext4_of_32_bits_without_checksums,
    Kind::Ext,
    24,
    "mke2fs -q -F -E nodiscard -t ext4 -O ^64bit,^metadata_csum",
    Seen::Parsed
);
filesystem!(
    ext4_with_inline_data,
    Kind::Ext,
    24,
    "mke2fs -q -F -E nodiscard -t ext4 -I 512 -O inline_data",
    Seen::Parsed
);
filesystem!(
    ext4_with_meta_bg,
    Kind::Ext,
    24,
    "mke2fs -q -F -E nodiscard -t ext4 -b 1024 -O meta_bg,^resize_inode",
    Seen::Parsed
);
filesystem!(
    ext4_with_bigalloc_is_read_whole,
    Kind::Ext,
    24,
    "mke2fs -q -F -E nodiscard -t ext4 -O bigalloc -C 16384",
    Seen::Raw
);
filesystem!(ntfs_of_512_byte_clusters, Kind::Ntfs, 24, "mkntfs -F -Q -q -c 512", Seen::Parsed);
filesystem!(ntfs_of_4k_clusters, Kind::Ntfs, 24, "mkntfs -F -Q -q -c 4096", Seen::Parsed);
filesystem!(ntfs_of_64k_clusters, Kind::Ntfs, 64, "mkntfs -F -Q -q -c 65536", Seen::Parsed);
filesystem!(fat12, Kind::Fat, 6, "mkfs.fat -F 12", Seen::Parsed);
filesystem!(fat16, Kind::Fat, 16, "mkfs.fat -F 16", Seen::Parsed);
filesystem!(fat32, Kind::Fat, 36, "mkfs.fat -F 32 -s 1", Seen::Parsed);
filesystem!(exfat_stick, Kind::Exfat, 24, "mkfs.exfat", Seen::Parsed);
filesystem!(exfat_of_64k_clusters, Kind::Exfat, 48, "mkfs.exfat -c 64K", Seen::Parsed);

#[test]
fn every_judge_sees_damage() {
    let cases = [
        (Kind::Ext, "mke2fs -q -F -t ext4 -b 4096"),
        (Kind::Ntfs, "mkntfs -F -Q -q -c 4096"),
        (Kind::Fat, "mkfs.fat -F 32 -s 1"),
        (Kind::Exfat, "mkfs.exfat"),
    ];
    for (kind, mkfs) in cases {
        if let Err(missing) = can(kind.tools()) {
            eprintln!("SKIPPED: {kind:?} {missing}");
            continue;
        }
        let image = Image::blank(36 * MIB);
        image.format(kind, mkfs);
        sees_damage(kind, &image);
    }
}

/// A disk of garbage with a partition table that sfdisk made.
fn partitioned(mib: u64, script: &str) -> Image {
    let image = Image::garbage(mib * MIB);
    sfdisk(&image.text(), script);
    image
}

fn sfdisk(target: &str, script: &str) {
    use std::io::Write;
    let mut command = std::process::Command::new("/usr/sbin/sfdisk");
    let words = ["--quiet", "--no-reread", "--no-tell-kernel", target];
    let mut child = command.args(words).stdin(std::process::Stdio::piped()).spawn().expect("sfdisk");
    child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("sfdisk reads");
    assert!(child.wait().expect("sfdisk ends").success(), "{script}");
}

fn formatted(kind: Kind, mib: u64, mkfs: &str) -> Image {
    let image = Image::garbage(mib * MIB);
    image.format(kind, mkfs);
    image
}

fn tools_of(kinds: &[Kind]) -> Result<(), String> {
    can(&["sfdisk"]).and_then(|()| kinds.iter().try_for_each(|kind| can(kind.tools())))
}

#[test]
fn restore_is_exact_on_gpt_with_esp_ext4_ntfs_and_swap() {
    if let Err(missing) = tools_of(&[Kind::Fat, Kind::Ext, Kind::Ntfs]) {
        skip!("{missing}");
    }
    let script = "label: gpt\nfirst-lba: 34\n\
        start=2048, size=65536, type=uefi, name=\"EFI system\"\n\
        start=67584, size=65536, type=linux\n\
        start=133120, size=16384, type=swap\n\
        start=151552, size=81920, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7\n";
    let image = partitioned(120, script);
    // Boot code in the gap, and something in the last gap: both come back.
    write_at(&image.path(), 0, &noise(1, 440));
    write_at(&image.path(), 1_000_000, &noise(2, 1000));
    write_at(&image.path(), 118 * MIB, b"between the last partition and the backup table");
    let mut disk = Disk { image, parts: Vec::new() };
    disk.put(1, MIB, Kind::Fat, &formatted(Kind::Fat, 32, "mkfs.fat -F 16"));
    disk.put(2, 33 * MIB, Kind::Ext, &formatted(Kind::Ext, 32, "mke2fs -q -F -E nodiscard -t ext4"));
    disk.put(4, 74 * MIB, Kind::Ntfs, &formatted(Kind::Ntfs, 40, "mkntfs -F -Q -q"));
    let swap = disk.image.beside("swap");
    std::fs::File::create(&swap).and_then(|file| file.set_len(8 * MIB)).expect("a file");
    tool(&["mkswap", "-q", "-L", "pages", text(&swap)]);
    write_at(&swap, 100_000, &noise(3, 500_000));
    write_at(&disk.image.path(), 65 * MIB, &read(&swap));
    restores_exactly(&disk, Seen::Parsed);
    let repo = Repo::new();
    let summary = repo.backup(&disk.image.path(), "disk");
    assert_eq!(summary["left_out_bytes"], 8 * MIB - 4096);
    repo.run(&["restore", "latest", text(&repo.beside("swap")), "--partition", "3"]).exits(0);
    let restored = read(&repo.beside("swap"));
    assert!(restored[..4096] == read(&swap)[..4096] && restored[4096..].iter().all(|&byte| byte == 0));
    assert!(tool(&["swaplabel", text(&repo.beside("swap"))]).contains("pages"));
}

#[test]
fn mbr_with_logical_partitions() {
    if let Err(missing) = tools_of(&[Kind::Fat, Kind::Ext]) {
        skip!("{missing}");
    }
    let script = "label: dos\n\
        start=63, size=16384, type=c\n\
        start=18432, size=120000, type=5\n\
        start=20480, size=49152, type=83\n\
        start=71680, size=49152, type=83\n";
    let mut disk = Disk { image: partitioned(72, script), parts: Vec::new() };
    disk.put(1, 63 * 512, Kind::Fat, &formatted(Kind::Fat, 8, "mkfs.fat -F 16 -s 1"));
    disk.put(5, 10 * MIB, Kind::Ext, &formatted(Kind::Ext, 24, "mke2fs -q -F -E nodiscard -t ext2 -b 1024"));
    disk.put(6, 35 * MIB, Kind::Ext, &formatted(Kind::Ext, 24, "mke2fs -q -F -E nodiscard -t ext4 -b 1024"));
    restores_exactly(&disk, Seen::Parsed);
}

#[test]
fn gpt_of_4k_sectors() {
    if let Err(missing) = tools_of(&[Kind::Ext]).and_then(|()| can(&["losetup"])) {
        skip!("{missing}");
    }
    let image = Image::garbage(48 * MIB);
    {
        let device = support::Loop::new(&image.path(), &["--sector-size", "4096"]).expect("a loop device");
        sfdisk(&device.0, "label: gpt\nstart=256, size=8192, type=linux\n");
    }
    assert_eq!(&image.bytes()[4096..4104], b"EFI PART");
    let mut disk = Disk { image, parts: Vec::new() };
    disk.put(1, MIB, Kind::Ext, &formatted(Kind::Ext, 32, "mke2fs -q -F -E nodiscard -t ext4 -b 4096"));
    restores_exactly(&disk, Seen::Parsed);
}

#[test]
fn gpt_with_a_broken_primary_table() {
    if let Err(missing) = tools_of(&[Kind::Ext]) {
        skip!("{missing}");
    }
    let image = partitioned(40, "label: gpt\nstart=2048, size=65536, type=linux\n");
    write_at(&image.path(), 512, &noise(4, 2048));
    let mut disk = Disk { image, parts: Vec::new() };
    disk.put(1, MIB, Kind::Ext, &formatted(Kind::Ext, 32, "mke2fs -q -F -E nodiscard -t ext4 -b 1024"));
    // The backup may be older than the disk's last table: its partitions are parsed, and read as a whole.
    restores_exactly(&disk, Seen::Raw);
    let plan = Ran::of(saveos().args(["plan", &disk.image.text()])).exits(0);
    assert!(plan.text().contains("the primary partition table is damaged"), "{}", plan.text());
}

/// An MBR entry: type, first sector, count.
fn mbr(image: &Image, entries: &[(u8, u32, u32)]) {
    write_at(&image.path(), 510, &[0x55, 0xaa]);
    for (at, (kind, first, count)) in (446..).step_by(16).zip(entries) {
        let entry = [&[0, 0, 0, 0, *kind, 0, 0, 0], &first.to_le_bytes()[..], &count.to_le_bytes()[..]].concat();
        write_at(&image.path(), at, &entry);
    }
}

#[test]
fn partitions_that_overlap_are_read_whole() {
    if let Err(missing) = tools_of(&[Kind::Ext]) {
        skip!("{missing}");
    }
    let image = Image::garbage(40 * MIB);
    mbr(&image, &[(0x83, 2048, 32 * 2048), (0x83, 16 * 2048, 20 * 2048)]);
    let mut disk = Disk { image, parts: Vec::new() };
    disk.put(1, MIB, Kind::Ext, &formatted(Kind::Ext, 32, "mke2fs -q -F -E nodiscard -t ext4 -b 1024"));
    disk.parts.clear(); // the space is one partition from the first's start to the second's end
    restores_exactly(&disk, Seen::Raw);
}

#[test]
fn a_partition_past_the_end_is_read_whole() {
    if let Err(missing) = tools_of(&[Kind::Ext]) {
        skip!("{missing}");
    }
    let image = Image::garbage(24 * MIB);
    mbr(&image, &[(0x83, 2048, 60 * 2048), (0x83, 500 * 2048, 2048)]);
    write_at(
        &image.path(),
        MIB,
        &formatted(Kind::Ext, 60, "mke2fs -q -F -E nodiscard -t ext4 -b 1024").bytes()[..23 << 20],
    );
    restores_exactly(&Disk { image, parts: Vec::new() }, Seen::Raw);
}

#[test]
fn a_protective_mbr_without_gpt() {
    let image = Image::blank(8 * MIB + 512);
    mbr(&image, &[(0xee, 1, u32::MAX)]);
    write_at(&image.path(), 3 * MIB, &noise(5, 100_000));
    restores_exactly(&Disk { image, parts: Vec::new() }, Seen::Raw);
}

#[test]
fn an_empty_disk() {
    restores_exactly(&Disk { image: Image::blank(16 * MIB), parts: Vec::new() }, Seen::Raw);
}

#[test]
fn a_luks_container() {
    let image = Image::blank(4 * MIB);
    write_at(&image.path(), 0, &noise(6, 4 << 20));
    write_at(&image.path(), 0, b"LUKS\xba\xbe\x00\x02");
    let repo = Repo::new();
    let summary = repo.backup(&image.path(), "luks");
    assert_eq!(summary["regions"][0]["filesystem"], "luks");
    restores_exactly(&Disk { image, parts: Vec::new() }, Seen::Raw);
}

#[test]
fn random_bytes_of_an_odd_length() {
    for len in [1usize, 511, 4097, (5 << 20) + 777] {
        let image = Image::blank(len as u64);
        write_at(&image.path(), 0, &noise(len as u64, len));
        restores_exactly(&Disk { image, parts: Vec::new() }, Seen::Raw);
    }
}

/// A disk that is a device, read past the page cache, restored to another device.
#[test]
fn from_device_to_device() {
    if let Err(missing) = tools_of(&[Kind::Ext]) {
        skip!("{missing}");
    }
    let image = partitioned(40, "label: gpt\nstart=2048, size=65536, type=linux\n");
    let mut disk = Disk { image, parts: Vec::new() };
    disk.put(1, MIB, Kind::Ext, &formatted(Kind::Ext, 32, "mke2fs -q -F -E nodiscard -t ext4"));
    let target = Image::garbage(40 * MIB);
    let repo = Repo::new();
    {
        let from = support::Loop::new(&disk.image.path(), &["--read-only"]).expect("a loop device");
        let to = support::Loop::new(&target.path(), &[]).expect("a loop device");
        let from = std::path::PathBuf::from(&from.0);
        assert_eq!(repo.backup(&from, "disk")["bytes_new"].as_u64().map(|new| new > 0), Some(true));
        repo.run(&["restore", "latest", &to.0]).refuses("--force");
        repo.run(&["restore", "latest", &to.0, "--force"]).exits(0);
    }
    restores::expect::same_used_bytes(&disk, &target.bytes());
    // The image of a device is the device: its bytes are stored already.
    assert_eq!(repo.backup(&disk.image.path(), "disk")["bytes_new"], 0);
}
