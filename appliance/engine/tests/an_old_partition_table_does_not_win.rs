//! A disk changes its use and the old partition table stays behind: it must not decide which bytes are free.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use saveos_engine::layout::Layout;
use saveos_engine::layout::partition::TableKind;
use std::path::Path;
use std::process::Command;

const SECTOR: usize = 512;

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A GPT disk with one empty ext4 partition from 16 MiB: most of its blocks are free.
fn gpt_disk(folder: &Path) -> Vec<u8> {
    let (disk, part) = (folder.join("disk"), folder.join("part"));
    let (disk_name, part_name) = (disk.to_str().unwrap(), part.to_str().unwrap());
    std::fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    std::fs::File::create(&part).unwrap().set_len(40 << 20).unwrap();
    run("sgdisk", &["--new=1:32768:114687", disk_name]);
    run("mke2fs", &["-q", "-t", "ext4", part_name]);
    let mut bytes = std::fs::read(&disk).unwrap();
    bytes[16 << 20..56 << 20].copy_from_slice(&std::fs::read(&part).unwrap());
    bytes
}

/// A table with one Linux partition over almost the whole disk, as an image written over the old disk has it.
fn write_mbr(disk: &mut [u8]) {
    disk[..SECTOR].fill(0);
    disk[446 + 4] = 0x83;
    disk[446 + 8..446 + 12].copy_from_slice(&2048u32.to_le_bytes());
    disk[446 + 12..446 + 16].copy_from_slice(&120_000u32.to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
}

fn survey(disk: &Vec<u8>) -> Layout {
    let scratch = tempfile::tempdir().unwrap();
    Layout::survey(disk, 512, scratch.path()).unwrap()
}

fn free(layout: &Layout) -> u64 {
    layout.regions.iter().map(|region| region.bytes.free).sum()
}

#[test]
fn a_gpt_behind_its_protective_mbr_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let layout = survey(&gpt_disk(folder.path()));
    assert_eq!(layout.table, TableKind::Gpt);
    assert!(free(&layout) > 30 << 20, "the empty partition's free blocks are not read");
}

#[test]
fn a_newer_mbr_beats_both_copies_of_an_old_gpt() {
    let folder = tempfile::tempdir().unwrap();
    let whole = gpt_disk(folder.path());
    let mut without_primary = whole.clone();
    without_primary[SECTOR..34 * SECTOR].fill(0);
    for mut disk in [whole, without_primary] {
        write_mbr(&mut disk);
        let layout = survey(&disk);
        assert_eq!(layout.table, TableKind::Mbr);
        assert_eq!(free(&layout), 0, "the old ext4 inside the new partition decides nothing");
        assert!(layout.regions[0].notes.iter().any(|note| note.contains("old GPT")), "{:?}", layout.regions[0].notes);
    }
}

#[test]
fn a_filesystem_over_the_whole_disk_beats_an_old_gpt() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = gpt_disk(folder.path());
    let stick = folder.path().join("stick");
    std::fs::File::create(&stick).unwrap().set_len(64 << 20).unwrap();
    run("mkfs.fat", &["-F", "32", stick.to_str().unwrap()]);
    // What mkfs wrote, and the backup table where it always was.
    let tail = disk.len() - 33 * SECTOR;
    disk[..tail].copy_from_slice(&std::fs::read(&stick).unwrap()[..tail]);
    assert_eq!(survey(&disk).table, TableKind::Superfloppy);
}

#[test]
fn a_backup_table_alone_frees_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = gpt_disk(folder.path());
    disk[SECTOR..2 * SECTOR].fill(0);
    let layout = survey(&disk);
    assert_eq!((layout.table, free(&layout)), (TableKind::Gpt, 0));
    assert!(layout.regions.iter().any(|region| region.bytes.file + region.bytes.meta > 0), "it is parsed all the same");
}

#[test]
fn a_table_and_a_whole_disk_filesystem_without_a_first_sector_are_read_raw() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = gpt_disk(folder.path());
    let other = folder.path().join("other");
    std::fs::File::create(&other).unwrap().set_len(60 << 20).unwrap();
    run("mke2fs", &["-q", "-t", "ext4", other.to_str().unwrap()]);
    let other = std::fs::read(&other).unwrap();
    disk[..other.len()].copy_from_slice(&other);
    let layout = survey(&disk);
    assert_eq!(free(&layout), 0);
    assert!(layout.regions[0].doubts[0].contains("contradicts"), "{:?}", layout.regions[0].doubts);
}
