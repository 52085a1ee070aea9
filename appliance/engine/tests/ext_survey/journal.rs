//! Journals left behind by a kernel that never unmounted, against what e2fsck makes of them.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use saveos_engine::fs::ext::{self, Ext};
use saveos_engine::fs::{Extent, FsError, Tree};
use saveos_engine::read::ReadAt;

use super::collect::{Collected, difference, overlaps};
use super::image::{Image, can_mount, content, held, held_by, noise, run, settle, shared, used};

/// Writes with fsync and hands back the image as a pulled plug would leave it, with what the kernel showed then.
fn pulled_plug(mkfs: &str, options: &str, work: impl Fn(&Path)) -> (Image, Vec<u8>) {
    let image = Image::make(32, mkfs);
    let mounted = image.mount(options);
    work(&mounted.at);
    let bytes = image.bytes();
    drop(mounted);
    (image, bytes)
}

fn fsynced(path: &Path, bytes: &[u8]) {
    let mut file = File::create(path).expect("a file");
    file.write_all(bytes).and_then(|()| file.sync_all()).expect("a write");
}

/// Creates, overwrites, removes; small journals wrap, removed directories are revoked, magic numbers are escaped.
fn busy(root: &Path) {
    for round in 0..12u64 {
        let directory = root.join(format!("round-{round}"));
        fs::create_dir(&directory).expect("a directory");
        for n in 0..12u64 {
            fsynced(&directory.join(format!("file-{n}")), &noise(round * 100 + n, 30_000));
        }
        let mut magic = noise(round, 20_000);
        magic.chunks_mut(1024).for_each(|block| block[..4].copy_from_slice(&0xC03B_3998u32.to_be_bytes()));
        fsynced(&root.join(format!("magic-{round}")), &magic);
        if round % 3 == 2 {
            fs::remove_dir_all(root.join(format!("round-{}", round - 1))).expect("a directory to remove");
            // Reuses the blocks of the removed directory for data, which makes the kernel revoke them.
            fsynced(&root.join(format!("reuse-{round}")), &noise(round, 400_000));
        }
    }
}

/// The replayed view is, block for block, what `e2fsck -E journal_only` writes; its files are those the kernel showed.
fn check(mkfs: &str, options: &str) {
    if !can_mount() {
        return;
    }
    let (image, bytes) = pulled_plug(mkfs, options, busy);
    let what = format!("{mkfs} / {options}");
    let expected = {
        let mounted = image.mount("");
        held(&mounted.at)
    };

    let view = ext::replayed(&bytes).expect("a readable filesystem");
    assert_eq!(view.doubts(), [], "{what}");
    assert!(view.transactions() > 0 && view.blocks() > 0, "{what}: nothing was replayed");
    let mut told = Collected::default();
    ext::survey(&bytes, &mut told).expect("a readable filesystem");
    assert_eq!(told.doubts, [], "{what}");
    assert_eq!(overlaps(told.claims.clone()), [], "{what}");
    assert!(told.notes.iter().any(|note| note.starts_with("journal replayed: ")), "{:?}", told.notes);
    let tree = ext::browse(shared(bytes.clone())).expect("a readable filesystem");
    assert!(held_by(tree.as_ref()).0 == expected, "{what}: other files than the kernel's");

    fs::write(image.path(), &bytes).expect("the image as it was");
    let used_as_it_lies = used(&image);
    run("e2fsck", &["-p", "-E", "journal_only", image.text()]);
    assert_same_blocks(&view, &image.bytes(), &what);
    // Claims describe the replayed state; the disk as it lies may only add to what is allocated.
    let used = used(&image);
    assert_eq!(difference(&told.claims, &used), [], "{what}: claims against dumpe2fs");
    let either = [used, used_as_it_lies].concat();
    assert_eq!(difference(&told.allocated, &either), [], "{what}: allocated against dumpe2fs");
}

fn assert_same_blocks(view: &impl ReadAt, judged: &[u8], what: &str) {
    let view = view.read_vec(0, judged.len()).expect("the view is readable");
    let text_magic = 0xC03B_3998u32.to_be_bytes();
    let differing: Vec<usize> = view
        .chunks(1024)
        .zip(judged.chunks(1024))
        .enumerate()
        // e2fsck marks both superblocks as recovered: the filesystem's and the journal's.
        .filter(|(n, (a, b))| a != b && *n != 1 && !a.starts_with(&[&text_magic[..], &[0, 0, 0, 4]].concat()))
        .map(|(n, _)| n)
        .collect();
    assert_eq!(differing, [0usize; 0], "{what}: KiB that differ from e2fsck's replay");
}

#[test]
fn an_ordered_journal_is_replayed_as_e2fsck_does() {
    check("-t ext4 -b 4096", "data=ordered");
}

#[test]
fn a_data_journal_is_replayed_as_e2fsck_does() {
    check("-t ext4 -b 1024 -J size=4", "data=journal");
}

#[test]
fn a_journal_with_escaped_blocks_and_4k_blocks_is_replayed() {
    check("-t ext4 -b 4096 -J size=8", "data=journal");
}

#[test]
fn a_journal_without_checksums_is_replayed() {
    check("-t ext4 -b 1024 -O ^metadata_csum,^64bit -J size=4", "data=journal");
}

#[test]
fn a_journal_with_64_bits_and_without_checksums_is_replayed() {
    check("-t ext4 -b 1024 -O ^metadata_csum,64bit -J size=4", "data=ordered");
}

#[test]
fn an_asynchronous_journal_is_replayed() {
    check("-t ext4 -b 1024 -J size=4", "data=writeback,journal_async_commit,journal_checksum");
}

#[test]
fn a_journal_that_sums_transactions_is_replayed() {
    check("-t ext4 -b 1024 -O ^metadata_csum -J size=4", "data=writeback,journal_async_commit,journal_checksum");
}

/// No kernel writes these any more, but debugfs does.
#[test]
fn a_journal_with_checksums_of_version_2_is_replayed() {
    for (features, version) in [("64bit", 2), ("^64bit", 2), ("64bit", 3), ("^64bit", 3)] {
        let image = Image::make(16, &format!("-t ext4 -b 1024 -O metadata_csum,{features}"));
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let (blocks, script) = (scratch.path().join("blocks"), scratch.path().join("script"));
        let mut logged = noise(3, 3 * 1024);
        logged[1024..1028].copy_from_slice(&0xC03B_3998u32.to_be_bytes());
        fs::write(&blocks, &logged).expect("a file");
        let blocks = blocks.display();
        let steps = format!(
            "jo -c -v {version}\njw -b 9000-9002 {blocks}\njc\njo\njw -r 9001\njc\njo\njw -b 9005-9007 {blocks}\njc\n"
        );
        fs::write(&script, steps).expect("a file");
        run("debugfs", &["-w", "-f", &script.display().to_string(), image.text()]);
        let bytes = image.bytes();
        let view = ext::replayed(&bytes).expect("a readable filesystem");
        let what = format!("{features}, version {version}");
        let summed = run("dumpe2fs", &["-h", image.text()]).contains(&format!("journal_checksum_v{version}"));
        assert!(summed, "{what}");
        assert_eq!(view.doubts(), [], "{what}");
        assert_eq!((view.transactions(), view.blocks()), (3, 5), "{what}");
        run("e2fsck", &["-p", "-E", "journal_only", image.text()]);
        assert_same_blocks(&view, &image.bytes(), &what);
    }
}

#[test]
fn an_ext3_journal_is_replayed() {
    check("-t ext3 -b 1024 -J size=4", "data=ordered");
}

#[test]
fn fsynced_files_are_there_only_because_of_the_replay() {
    if !can_mount() {
        return;
    }
    let (_image, bytes) =
        pulled_plug("-t ext4 -b 4096", "", |root| fsynced(&root.join("precious"), &noise(5, 700_000)));
    let find = |tree: &dyn Tree| -> Option<Vec<u8>> {
        let root = tree.root().expect("a root");
        let node = tree.lookup(&root, b"precious").expect("a listing")?;
        Some(content(tree, &node))
    };
    let without = Ext::open(bytes.clone()).expect("a readable filesystem");
    assert_eq!(find(&without).map(|bytes| bytes.len()), None);
    let with = ext::browse(shared(bytes)).expect("a readable filesystem");
    assert!(find(with.as_ref()) == Some(noise(5, 700_000)));
}

#[test]
fn files_deleted_while_open_keep_their_blocks_claimed() {
    if !can_mount() {
        return;
    }
    let image = Image::make(32, "-t ext4 -b 4096 -O orphan_file");
    let mounted = image.mount("");
    let path = mounted.at.join("open");
    fsynced(&path, &noise(1, 500_000));
    let open = File::open(&path).expect("a file");
    fs::remove_file(&path).expect("the file was just made");
    fsynced(&mounted.at.join("other"), b"commits the removal");
    settle(&mounted.at);
    let bytes = image.bytes();
    drop(open);
    drop(mounted);
    let mut told = Collected::default();
    ext::survey(&bytes, &mut told).expect("a readable filesystem");
    assert_eq!(told.doubts, []);
    let lens: Vec<u64> = told.files.values().map(|runs| runs.iter().map(|(_, extent)| extent.len).sum()).collect();
    assert!(lens.contains(&500_000), "{lens:?}");
    assert_eq!(difference(&told.claims, &told.allocated).into_iter().filter(|(claim, _)| *claim).count(), 0);
}

#[test]
fn fast_commits_are_doubt_only_until_they_are_replayed() {
    if !can_mount() {
        return;
    }
    let (image, bytes) = pulled_plug("-t ext4 -b 4096 -O fast_commit", "", |root| {
        fsynced(&root.join("first"), b"first");
        settle(root);
        for n in 0..5 {
            fsynced(&root.join("first"), &noise(n, 10_000));
        }
    });
    let view = ext::replayed(&bytes).expect("a readable filesystem");
    assert!(view.doubts().iter().any(|doubt| doubt.0.contains("fast commit")), "{:?}", view.doubts());
    let clean = ext::replayed(image.bytes()).expect("a readable filesystem");
    assert_eq!(clean.doubts(), []);
}

#[test]
fn a_damaged_journal_is_doubt() {
    if !can_mount() {
        return;
    }
    let (_image, bytes) = pulled_plug("-t ext4 -b 1024 -J size=4", "", busy);
    let magic = 0xC03B_3998u32.to_be_bytes();
    let record = |kind: u32| {
        let start = [&magic[..], &kind.to_be_bytes()].concat();
        let blocks = bytes.chunks(1024).enumerate().filter(move |(_, block)| block.starts_with(&start));
        blocks.map(|(n, _)| n * 1024).collect::<Vec<_>>()
    };
    let whole = ext::replayed(&bytes).expect("a readable filesystem").transactions();
    let mut doubted = 0;
    let mut damaged = bytes.clone();
    for at in record(4).into_iter().chain(record(1)).chain(record(2)) {
        damaged[at + 100] ^= 1;
        let view = ext::replayed(&damaged).expect("a readable filesystem");
        // Records from before the last checkpoint are nobody's business; all others are missed.
        assert!(view.transactions() == whole || !view.doubts().is_empty(), "record at {at}");
        doubted += usize::from(!view.doubts().is_empty());
        damaged[at + 100] ^= 1;
    }
    assert!(doubted >= 3, "{doubted}");
}

#[test]
fn the_view_reads_the_same_in_any_steps() -> Result<(), FsError> {
    if !can_mount() {
        return Ok(());
    }
    let (_image, bytes) = pulled_plug("-t ext4 -b 1024 -J size=4", "data=journal", busy);
    let view = ext::replayed(&bytes)?;
    let whole = view.read_vec(0, bytes.len()).expect("the view is readable");
    for Extent { start, len } in (0..bytes.len() as u64 - 9000).step_by(7919).map(|at| Extent::new(at, 1 + at % 8999)) {
        let part = view.read_vec(start, len as usize).expect("the view is readable");
        assert!(part == whole[start as usize..(start + len) as usize], "{start}+{len}");
    }
    assert!(view.read_vec(bytes.len() as u64 - 1, 2).is_err());
    Ok(())
}
