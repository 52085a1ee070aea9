//! One small volume, changed by hand into what no driver at hand makes: dirty, torn, encrypted, with bad clusters.

use std::io;

use super::image::{Files, Image, noise, prose, tools_or_skip};
use super::told::Told;
use super::{MIB, browse, find, read_node};
use saveos_engine::fs::{Extent, FsError, ntfs};
use saveos_engine::read::ReadAt;

/// Where record `number` lies, in an image whose MFT starts in one piece.
pub(crate) fn record_at(bytes: &[u8], number: u64) -> usize {
    let cluster = 512 * usize::from(bytes[13]);
    let mft = u64::from_le_bytes(bytes[48..56].try_into().unwrap()) as usize;
    mft * cluster + 1024 * number as usize
}

/// Where the first attribute of a kind lies in a record.
pub(crate) fn attribute_at(bytes: &[u8], record: usize, kind: u32) -> usize {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut at = record + usize::from(u16::from_le_bytes(bytes[record + 20..record + 22].try_into().unwrap()));
    while word(at) != kind {
        assert_ne!(word(at), 0xFFFF_FFFF, "no attribute {kind:#x}");
        at += word(at + 4) as usize;
    }
    at
}

/// A small volume with a few files, and their contents.
pub(crate) fn small() -> (Vec<u8>, Files) {
    let image = Image::format(4 * MIB as u64, 1024);
    let mounted = image.mount();
    let mut files = Files::new();
    mounted.write(&mut files, "data.bin", noise(1, 100_000));
    mounted.fragment(&mut files, ["left.bin", "right.bin"], 1024, 400);
    mounted.compress_directory("packed");
    mounted.write(&mut files, "packed/prose.txt", prose(100_000));
    for number in 0..40 {
        mounted.write(&mut files, &format!("packed/entry number {number}"), vec![number; 10]);
    }
    std::fs::write(mounted.at("data.bin:stream"), noise(2, 5000)).unwrap();
    std::os::unix::fs::symlink("data.bin", mounted.at("link")).unwrap();
    files.insert("link".into(), b"data.bin".to_vec());
    std::fs::write(mounted.at("hiberfil.sys"), noise(9, 8192)).unwrap();
    files.insert("hiberfil.sys".into(), noise(9, 8192));
    std::fs::write(mounted.at("pagefile.sys"), noise(10, 65_536)).unwrap();
    files.insert("pagefile.sys".into(), noise(10, 65_536));
    drop(mounted);
    (image.bytes(), files)
}

fn doubts_of(bytes: &Vec<u8>) -> String {
    Told::by_surveying(bytes).doubts.join("\n")
}

#[test]
fn what_makes_a_volume_untrustworthy_is_a_doubt() {
    if !tools_or_skip("doubts") {
        return;
    }
    let (clean, _) = small();
    assert_eq!(doubts_of(&clean), "");

    let mut dirty = clean.clone();
    let flags = attribute_at(&clean, record_at(&clean, 3), 0x70) + 24 + 10;
    dirty[flags] |= 1;
    assert!(doubts_of(&dirty).contains("marked dirty"));

    let mut open_log = clean.clone();
    let told = Told::by_surveying(&clean);
    // The log is all ones after ntfs-3g: the largest piece of META that is.
    let log = told
        .meta
        .iter()
        .find(|at| at.len > 4096 && clean[at.start as usize..at.end() as usize].iter().all(|b| *b == 0xFF));
    open_log[log.unwrap().start as usize + 5000] = 0;
    assert!(doubts_of(&open_log).contains("$LogFile is dirty"));

    let mut asleep = clean.clone();
    let id = find(&*browse(&clean), "hiberfil.sys").id.0;
    let at = told.files.iter().find(|file| file.id == id).unwrap().runs[0].1.start as usize;
    asleep[at..at + 4].copy_from_slice(b"HIBR");
    assert!(doubts_of(&asleep).contains("hibernated"));
    // A Windows that sleeps wakes up with its page file as it was.
    assert!(!told.left_out.is_empty() && Told::by_surveying(&asleep).left_out.is_empty());

    let data = find(&*browse(&clean), "data.bin").id.0;
    let mut bad = clean.clone();
    bad[record_at(&clean, data)..][..4].copy_from_slice(b"BAAD");
    assert!(doubts_of(&bad).contains(&format!("MFT record {data}: marked BAAD")));
    let mut torn = clean.clone();
    torn[record_at(&clean, data) + 510] ^= 1;
    assert!(doubts_of(&torn).contains("torn"));
    let told = Told::by_surveying(&torn);
    assert!(told.files.iter().all(|file| file.id != data), "a torn record claims nothing");
    assert!(!ntfs::check(&torn).unwrap().is_sound());

    let mut no_first = clean.clone();
    no_first[record_at(&clean, 0)] = 0;
    assert!(doubts_of(&no_first).contains("mirror is used"));

    let mut newer = clean.clone();
    newer[attribute_at(&clean, record_at(&clean, 3), 0x70) + 24 + 9] = 9;
    let mut told = Told::default();
    assert!(matches!(ntfs::survey(&newer, &mut told), Err(FsError::Unsupported(_))));
    let cut = clean[..clean.len() / 2].to_vec();
    assert!(matches!(ntfs::survey(&cut, &mut told), Err(FsError::Unusable(_))));
}

#[test]
fn bytes_past_the_valid_length_are_raw_and_read_as_zeros() {
    if !tools_or_skip("valid length") {
        return;
    }
    let (mut bytes, files) = small();
    let node = find(&*browse(&bytes), "data.bin");
    let valid = 50_001usize;
    let data = attribute_at(&bytes, record_at(&bytes, node.id.0), 0x80);
    bytes[data + 56..data + 64].copy_from_slice(&(valid as u64).to_le_bytes());
    let told = Told::by_surveying(&bytes);
    assert_eq!(told.doubts, Vec::<String>::new());
    let file = told.files.iter().find(|file| file.id == node.id.0).unwrap();
    assert_eq!(file.runs.iter().map(|(_, extent)| extent.len as usize).sum::<usize>(), valid);
    let cut = file.runs.last().unwrap().1.end();
    assert!(told.raw.iter().any(|extent| extent.start == cut && extent.len as usize == 98 * 1024 - valid));
    let mut expected = files["data.bin"].clone();
    expected[valid..].fill(0);
    assert!(read_node(&*browse(&bytes), &node) == expected);
}

#[test]
fn sectors_behind_the_volume_are_allocated_and_nobodys() {
    if !tools_or_skip("a partition larger than its volume") {
        return;
    }
    let (mut bytes, _) = small();
    let volume = bytes.len() as u64;
    bytes.extend(noise(7, 100_000));
    let told = Told::by_surveying(&bytes);
    assert_eq!(told.doubts, Vec::<String>::new());
    assert_eq!(told.in_use().last().unwrap().end(), volume + 100_000);
    assert_eq!(told.claims().last(), Some(&Extent::new(volume - 512, 512)));
}

#[test]
fn encrypted_files_are_surveyed_as_stored_and_never_read() {
    if !tools_or_skip("encrypted files") {
        return;
    }
    let (mut bytes, files) = small();
    let node = find(&*browse(&bytes), "data.bin");
    let data = attribute_at(&bytes, record_at(&bytes, node.id.0), 0x80);
    bytes[data + 13] |= 0x40;
    let told = Told::by_surveying(&bytes);
    let file = told.files.iter().find(|file| file.id == node.id.0).unwrap();
    // Whole clusters: where the cipher text ends is not the file's length.
    assert_eq!(file.runs.iter().map(|(_, extent)| extent.len).sum::<u64>(), 98 * 1024);
    assert!(told.content(&bytes, node.id.0, 98 * 1024)[..100_000] == files["data.bin"]);
    assert!(matches!(browse(&bytes).read(&node, 0, &mut [0; 10]), Err(FsError::Unsupported(_))));
}

#[test]
fn compressed_files_are_surveyed_as_stored() {
    if !tools_or_skip("compressed files") {
        return;
    }
    let (bytes, files) = small();
    let node = find(&*browse(&bytes), "packed/prose.txt");
    let told = Told::by_surveying(&bytes);
    let file = told.files.iter().find(|file| file.id == node.id.0).unwrap();
    let stored: u64 = file.runs.iter().map(|(_, extent)| extent.len).sum();
    assert!(stored < files["packed/prose.txt"].len() as u64 * 3 / 4, "{stored} bytes are not compressed");
    // Stored offsets run on where the file itself has holes.
    let mut next = 0;
    for (logical, extent) in &file.runs {
        assert_eq!(*logical, next);
        next += extent.len;
    }
}

#[test]
fn bad_clusters_are_neither_allocated_nor_owned() {
    if !tools_or_skip("bad clusters") {
        return;
    }
    let (mut bytes, _) = small();
    let before = Told::by_surveying(&bytes);
    // Two clusters from the middle of a file are made bad: its run list keeps them, the survey must not read them.
    let node = find(&*browse(&bytes), "data.bin");
    let lcn = before.files.iter().find(|file| file.id == node.id.0).unwrap().runs[0].1.start / 1024;
    let clusters = (bytes.len() / 1024 - 1) as u64;
    let record = record_at(&bytes, 8);
    let mut bad = attribute_at(&bytes, record, 0x80);
    bad += u32::from_le_bytes(bytes[bad + 4..bad + 8].try_into().unwrap()) as usize;
    let pairs = bad + usize::from(u16::from_le_bytes(bytes[bad + 32..bad + 34].try_into().unwrap()));
    let word = |value: u64| (value as u16).to_le_bytes();
    let rest = clusters - lcn - 2;
    let list = [&[0x02][..], &word(lcn), &[0x22], &word(2), &word(lcn), &[0x02], &word(rest), &[0]].concat();
    // Shorten nothing: the attribute grows into the unused rest of the record, end marker behind it.
    let len = (pairs - bad + list.len()).next_multiple_of(8);
    assert!(bad + len + 8 <= record + 510, "the patch reaches the end of the first sector, where its guard lies");
    bytes[pairs..pairs + list.len()].copy_from_slice(&list);
    bytes[bad + 4..bad + 8].copy_from_slice(&(len as u32).to_le_bytes());
    bytes[bad + len..bad + len + 4].copy_from_slice(&[0xFF; 4]);
    bytes[record + 24..record + 28].copy_from_slice(&((bad + len + 8 - record) as u32).to_le_bytes());
    let after = Told::by_surveying(&bytes);
    assert_eq!(after.doubts, Vec::<String>::new());
    assert!(after.notes.iter().any(|note| note.starts_with("2 clusters are listed as bad")), "{:?}", after.notes);
    let total = |told: &Told| told.in_use().iter().map(|extent| extent.len).sum::<u64>();
    assert_eq!(total(&before) - total(&after), 2048);
    assert!(!ntfs::check(&bytes).unwrap().is_sound(), "the structure check sees the second owner");
}

/// An image with a stretch that cannot be read.
struct Scratched {
    bytes: Vec<u8>,
    scratch: Extent,
}

impl ReadAt for Scratched {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        if offset < self.scratch.end() && offset + buf.len() as u64 > self.scratch.start {
            return Err(io::Error::other("a scratch"));
        }
        self.bytes.read_at(offset, buf)
    }
}

#[test]
fn a_sector_that_cannot_be_read_costs_one_file() {
    if !tools_or_skip("unreadable sectors") {
        return;
    }
    let (bytes, _) = small();
    let before = Told::by_surveying(&bytes);
    let node = find(&*browse(&bytes), "data.bin");
    let scratch = Extent::new(record_at(&bytes, node.id.0) as u64, 512);
    let told = Told::by_surveying(&Scratched { bytes: bytes.clone(), scratch });
    assert_eq!(told.doubts.len(), 1, "{:?}", told.doubts);
    assert!(told.doubts[0].starts_with(&format!("MFT record {}: could not read", node.id.0)));
    let others = before.files.iter().filter(|file| file.id != node.id.0).count();
    assert_eq!(told.files.len(), others);
}

#[test]
fn a_bitmap_that_cannot_be_read_makes_all_allocated() {
    if !tools_or_skip("unreadable bitmap") {
        return;
    }
    let (bytes, _) = small();
    let data = attribute_at(&bytes, record_at(&bytes, 6), 0x80);
    let pairs = data + usize::from(u16::from_le_bytes(bytes[data + 32..data + 34].try_into().unwrap()));
    let width = usize::from(bytes[pairs] >> 4);
    let lcn = bytes[pairs + 2..pairs + 2 + width].iter().rev().fold(0, |lcn, byte| lcn << 8 | u64::from(*byte));
    let len = bytes.len() as u64;
    let told = Told::by_surveying(&Scratched { bytes, scratch: Extent::new(lcn * 1024, 512) });
    assert!(told.doubts[0].starts_with("$Bitmap: could not read"), "{:?}", told.doubts);
    assert_eq!(told.in_use(), [Extent::new(0, len)]);
}
