//! The layout of huge filesystems: every piece is made and counted, in order of the device.

use crate::ext::{Ext, GIANT_EXTENTS};
use crate::ntfs::{GIANT_RUNS, Ntfs, RUNS_PER_FILE};
use saveos_engine::layout::Layout;
use saveos_engine::read::ReadAt;
use std::time::Instant;

pub(crate) fn ext(part: u64) {
    let disk = Ext::of_many_files(65_536 / part);
    let files = disk.files();
    survey("ext4", &disk, files, files * 3);
}

pub(crate) fn ext_giant(_: u64) {
    survey("ext4", &Ext::of_one_giant(), 1, GIANT_EXTENTS);
}

pub(crate) fn ntfs(part: u64) {
    let files = 10_000_000 / part;
    survey("NTFS", &Ntfs { files }, files + 1, files * RUNS_PER_FILE + GIANT_RUNS);
}

fn survey(filesystem: &str, disk: &dyn ReadAt, files: u64, least: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let begun = Instant::now();
    let layout = Layout::survey(disk, 512, folder.path()).expect("scratch files work");
    for region in &layout.regions {
        assert!(region.doubts.is_empty(), "the computed disk is sound: {:?}", region.doubts);
    }
    let surveyed = begun.elapsed();
    let (mut pieces, mut extents, mut last) = (0u64, 0u64, 0);
    for piece in layout.pieces() {
        let piece = piece.expect("scratch files work");
        assert!(piece.start() >= last, "pieces come in order of the device");
        last = piece.start();
        pieces += 1;
        extents += piece.extents.len() as u64;
    }
    assert!(extents >= least, "{extents} extents of {least}");
    println!(
        "{filesystem} of {} GiB, {files} files: {pieces} pieces with {extents} extents; survey {:.1} s, all pieces in order {:.1} s",
        disk.len() >> 30,
        surveyed.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
    );
}
