//! Promise: what is not parsed is read whole, and the summary says why. Invariant 4 of ARCHITECTURE.md.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use saveos_engine::layout::identify::Filesystem;
use saveos_engine::snapshot::{Snapshot, State};
use saveos_engine::storage::recorded::Sabotage;
use std::sync::Arc;
use support::disk::{Disk, noise};
use support::ext;
use tempfile::TempDir;

const LEN: usize = 1 << 20;

/// Backs a disk up, insists on getting every byte back, and returns what the snapshot says.
fn exact(image: Vec<u8>) -> Snapshot {
    let (storage, index) = (support::fresh_medium(Sabotage::None), TempDir::new().unwrap());
    let repository = support::open(&storage, index.path()).unwrap();
    let image = Arc::new(image);
    let (_, snapshot) = support::back_up(&repository, &Disk::healthy(&image), "disk").unwrap();
    assert_eq!(snapshot.state, State::Complete);
    assert!(support::restored(&repository, &snapshot).unwrap() == *image, "a byte is missing");
    snapshot
}

#[test]
fn doubt_reads_more() {
    // Deleted data lies in the free blocks. Where all is well it is nobody's, and where one field lies it is read.
    let well = ext::image(8, &[("a file", &noise(1, 300_000))]);
    let mut dirty = well.to_vec();
    for block in dirty.chunks_exact_mut(4096).filter(|block| block.iter().all(|&byte| byte == 0)) {
        block[..8].copy_from_slice(b"deleted!");
    }
    let (storage, index) = (support::fresh_medium(Sabotage::None), TempDir::new().unwrap());
    let repository = support::open(&storage, index.path()).unwrap();
    let (_, sane) = support::back_up(&repository, &Disk::healthy(&Arc::new(dirty.clone())), "disk").unwrap();
    let sane = &sane.summary.regions[0];
    assert_eq!(sane.doubts, Vec::<String>::new());
    assert!(sane.bytes.free > 0);

    dirty[1024 + 0x60] ^= 0x80; // an incompatible feature that nobody knows
    dirty[1024 + 0x63] |= 0x40;
    let doubted = exact(dirty);
    let doubted = &doubted.summary.regions[0];
    assert!(!doubted.doubts.is_empty(), "nothing says why all was read");
    assert_eq!((doubted.bytes.free, doubted.bytes.raw), (0, 8 << 20));
}

#[test]
fn what_is_not_parsed_is_named_with_the_reason_and_read_whole() {
    let md = [0xfc, 0x4e, 0x2b, 0xa9];
    let cases: [(Filesystem, usize, &[u8], &str); 11] = [
        (Filesystem::Luks, 0, b"LUKS\xba\xbe", "LUKS"),
        (Filesystem::Bitlocker, 3, b"-FVE-FS-", "BitLocker"),
        (Filesystem::Lvm, 512, b"LABELONE", "LVM"),
        (Filesystem::Md, 0, &md, "RAID"),
        (Filesystem::Md, 4096, &md, "RAID"),
        (Filesystem::Md, LEN - 8192, &md, "RAID"),
        (Filesystem::Md, LEN - 0x10000, &md, "RAID"),
        (Filesystem::Xfs, 0, b"XFSB", "XFS"),
        (Filesystem::Btrfs, 0x10040, b"_BHRfS_M", "btrfs"),
        (Filesystem::Apfs, 32, b"NXSB", "APFS"),
        (Filesystem::Unknown, 0, b"whatever", "no filesystem we know"),
    ];
    for (filesystem, at, magic, reason) in cases {
        let mut image = noise(filesystem as u64, LEN);
        image[at..at + magic.len()].copy_from_slice(magic);
        let snapshot = exact(image);
        let [region] = &snapshot.summary.regions[..] else { panic!("{:?}", snapshot.summary.regions) };
        assert_eq!((region.filesystem, region.bytes.raw), (filesystem, LEN as u64));
        assert!(region.doubts[0].contains(reason), "{filesystem}: {:?}", region.doubts);
        let told = serde_json::to_value(&snapshot.summary).unwrap();
        assert_eq!(told["regions"][0]["filesystem"], filesystem.name());
    }
}
