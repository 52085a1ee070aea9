//! Every feature mix that mke2fs makes: owners cover exactly what is allocated, and every file reads as the kernel
//! reads it.

use saveos_engine::fs::{Extent, LeftOut, ext};

use super::collect::{Collected, difference, overlaps};
use super::image::{Files, Held, Image, Nodes, can_mount, fill, held, held_by, noise, run, shared, used};

fn check(mebibytes: u64, mkfs: &str) {
    if !can_mount() {
        return;
    }
    let image = Image::make(mebibytes, mkfs);
    let expected = {
        let mounted = image.mount("");
        fill(&mounted.at);
        held(&mounted.at)
    };
    assert_read_like(&image, &expected, mkfs);
}

/// For features that this kernel may not write: mke2fs fills the image itself.
fn check_made_whole(mebibytes: u64, mkfs: &str) {
    let source = tempfile::tempdir().expect("a scratch directory");
    fill(source.path());
    let mut expected = held(source.path());
    expected.insert("lost+found".into(), Held::Directory);
    let image = Image::make_from(mebibytes, mkfs, source.path());
    assert_read_like(&image, &expected, mkfs);
}

fn assert_read_like(image: &Image, expected: &Files, mkfs: &str) {
    let told = assert_told_exactly(image, mkfs);
    let bytes = image.bytes();
    let tree = ext::browse(shared(bytes.clone())).expect("a readable filesystem");
    let (found, nodes) = held_by(tree.as_ref());
    assert_same(expected, &found, mkfs);
    assert_runs_hold_the_content(&told, &bytes, &found, &nodes);
    assert_eq!(told.left_out.iter().map(|(_, extent)| extent.len).sum::<u64>(), 111 * 4096, "{mkfs}");
    assert!(told.left_out.iter().all(|(rule, _)| *rule == LeftOut::SwapPages));
}

/// Claims lie in what is allocated, never overlap, leave nothing over, and agree with dumpe2fs.
fn assert_told_exactly(image: &Image, what: &str) -> Collected {
    let mut told = Collected::default();
    ext::survey(&image.bytes(), &mut told).expect("a readable filesystem");
    assert_eq!(told.doubts, [], "{what}");
    assert_eq!(overlaps(told.claims.clone()), [], "{what}");
    let used = used(image);
    assert_eq!(difference(&told.allocated, &used), [], "{what}: allocated against dumpe2fs");
    assert_eq!(difference(&told.claims, &used), [], "{what}: claimed against dumpe2fs");
    told
}

fn assert_same(expected: &Files, found: &Files, what: &str) {
    let differing: Vec<_> = expected
        .keys()
        .chain(found.keys())
        .filter(|path| expected.get(*path) != found.get(*path))
        .map(|path| (path, expected.get(path), found.get(path)))
        .take(5)
        .collect();
    assert!(differing.is_empty(), "{what}: {differing:?}");
}

/// The bytes under a file's runs are its content; what no run covers is zero.
fn assert_runs_hold_the_content(told: &Collected, bytes: &[u8], found: &Files, nodes: &Nodes) {
    for (path, expected) in found {
        let Held::File(expected) = expected else { continue };
        let node = &nodes[path];
        if path.ends_with("swap") {
            continue;
        }
        let mut content = vec![0; expected.len()];
        for (logical, extent) in told.files.get(&node.id).into_iter().flatten() {
            assert!(logical + extent.len <= node.size, "{path:?}: a run past the end of file");
            let Some(part) = content.get_mut(*logical as usize..) else { continue };
            let from = &bytes[extent.start as usize..extent.end() as usize];
            part.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        }
        let is_inline = !told.files.contains_key(&node.id) && expected.len() < 256;
        assert!(is_inline || content == *expected, "{path:?}: runs do not hold the content");
    }
}

macro_rules! matrix {
    ($($name:ident: $mebibytes:literal, $mkfs:literal;)*) => {
        $(#[test] fn $name() { check($mebibytes, $mkfs); })*
    };
}

matrix! {
    ext2_with_1k_blocks: 48, "-t ext2 -b 1024";
    ext2_with_2k_blocks: 48, "-t ext2 -b 2048 -I 128";
    ext2_with_4k_blocks_and_no_features: 48, "-t ext2 -b 4096 -O none,filetype";
    ext2_of_revision_0: 48, "-t ext2 -b 1024 -r 0";
    ext3_with_1k_blocks: 48, "-t ext3 -b 1024";
    ext3_with_4k_blocks_and_small_inodes: 48, "-t ext3 -b 4096 -I 128";
    ext4_with_1k_blocks: 48, "-t ext4 -b 1024";
    ext4_with_2k_blocks: 48, "-t ext4 -b 2048";
    ext4_with_4k_blocks: 136, "-t ext4 -b 4096";
    ext4_with_32_bits: 48, "-t ext4 -b 4096 -O ^64bit";
    ext4_with_32_bits_and_checksums: 48, "-t ext4 -b 1024 -O ^64bit,metadata_csum";
    ext4_without_checksums: 48, "-t ext4 -b 1024 -O ^metadata_csum,^uninit_bg";
    ext4_with_descriptor_checksums: 48, "-t ext4 -b 1024 -O ^metadata_csum,uninit_bg";
    ext4_with_descriptor_checksums_and_32_bits: 48, "-t ext4 -b 4096 -g 4096 -O ^metadata_csum,^64bit,uninit_bg";
    ext4_with_meta_groups: 48, "-t ext4 -b 1024 -g 1024 -O meta_bg,^resize_inode";
    ext4_with_inline_data: 48, "-t ext4 -b 4096 -O inline_data -I 256";
    ext4_with_inline_data_and_1k_blocks: 48, "-t ext4 -b 1024 -O inline_data -I 512";
    ext4_with_an_orphan_file: 48, "-t ext4 -b 4096 -O orphan_file";
    ext4_without_flex_groups: 48, "-t ext4 -b 1024 -O ^flex_bg";
    ext4_with_two_backups: 48, "-t ext4 -b 1024 -O sparse_super2";
    ext4_with_backups_everywhere: 48, "-t ext4 -b 1024 -O ^sparse_super,^resize_inode";
    ext4_without_journal: 48, "-t ext4 -b 4096 -O ^has_journal";
    ext4_with_large_attributes_and_mmp: 48, "-t ext4 -b 4096 -O ea_inode,mmp,large_dir,metadata_csum_seed";
    ext4_with_block_maps: 48, "-t ext4 -b 1024 -O ^extents,^64bit";
    ext4_with_lazy_groups: 160, "-t ext4 -b 4096 -g 4096 -E lazy_itable_init=1,lazy_journal_init=1";
}

#[test]
fn ext4_with_quota() {
    check_made_whole(48, "-t ext4 -b 4096 -O quota,project");
}

#[test]
fn ext2_made_whole() {
    check_made_whole(48, "-t ext2 -b 1024");
}

#[test]
fn ext4_made_whole() {
    check_made_whole(48, "-t ext4 -b 2048 -O ^flex_bg,^64bit");
}

#[test]
fn ext4_after_growing() {
    check_resized(24, 100, "-t ext4 -b 1024");
}

#[test]
fn ext4_after_growing_into_meta_groups() {
    check_resized(24, 100, "-t ext4 -b 1024 -g 1024 -O meta_bg,^resize_inode");
}

#[test]
fn ext4_after_shrinking() {
    check_resized(100, 48, "-t ext4 -b 1024");
}

fn check_resized(from: u64, to: u64, mkfs: &str) {
    if !can_mount() {
        return;
    }
    let image = Image::make(from, mkfs);
    run("resize2fs", &["-f", image.text(), &format!("{to}M")]);
    let expected = {
        let mounted = image.mount("");
        fill(&mounted.at);
        held(&mounted.at)
    };
    let file = std::fs::OpenOptions::new().write(true).open(image.path()).expect("the image");
    file.set_len(to << 20).expect("the new length");
    assert_read_like(&image, &expected, mkfs);
}

/// The only allocated blocks without an owner: attributes shared across groups, and blocks known to be bad.
#[test]
fn attributes_shared_across_groups_and_bad_blocks_are_left_to_raw() {
    if !can_mount() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let list = scratch.path().join("bad");
    std::fs::write(&list, "30001\n30002\n").expect("a file");
    let image = Image::make(64, &format!("-t ext4 -b 1024 -g 1024 -l {}", list.display()));
    {
        let mounted = image.mount("");
        for n in 0..8 {
            let path = mounted.at.join(format!("directory-{n}"));
            std::fs::create_dir(&path).expect("a directory");
            for name in ["a", "b"] {
                let path = path.join(name);
                std::fs::write(&path, b"x").expect("a file");
                rustix::fs::setxattr(&path, "user.same", &noise(1, 700), rustix::fs::XattrFlags::empty())
                    .expect("an attribute");
            }
        }
    }
    let mut told = Collected::default();
    ext::survey(&image.bytes(), &mut told).expect("a readable filesystem");
    assert_eq!(told.doubts, []);
    assert_eq!(overlaps(told.claims.clone()), []);
    let left = difference(&told.claims, &used(&image));
    assert!(left.contains(&(false, Extent::new(30001 * 1024, 2048))), "{left:?}");
    assert!(left.len() == 2 && left.iter().all(|(ours, extent)| !ours && extent.len <= 2048), "{left:?}");
}

#[test]
fn a_plug_pulled_without_journal_is_doubt() {
    if !can_mount() {
        return;
    }
    let image = Image::make(16, "-t ext2 -b 1024");
    let mounted = image.mount("");
    let bytes = image.bytes();
    drop(mounted);
    let mut told = Collected::default();
    ext::survey(&bytes, &mut told).expect("a readable filesystem");
    assert_eq!(told.doubts.len(), 1, "{:?}", told.doubts);
    told = Collected::default();
    ext::survey(&image.bytes(), &mut told).expect("a readable filesystem");
    assert_eq!(told.doubts, []);
}

#[test]
fn bytes_behind_the_filesystem_are_allocated_and_unclaimed() {
    let image = Image::make(8, "-t ext4 -b 1024");
    let mut bytes = image.bytes();
    let end = bytes.len() as u64;
    bytes.extend(noise(1, 10_000));
    let mut told = Collected::default();
    ext::survey(&bytes, &mut told).expect("a readable filesystem");
    assert_eq!(told.doubts, []);
    assert!(told.allocated.contains(&Extent::new(end, 10_000)));
    assert!(told.claims.iter().all(|claim| claim.end() <= end));
}

#[test]
fn a_cut_off_filesystem_is_doubted_not_refused() {
    let image = Image::make(32, "-t ext4 -b 1024");
    let mut bytes = image.bytes();
    bytes.truncate(20 << 20);
    let mut told = Collected::default();
    ext::survey(&bytes, &mut told).expect("a readable filesystem");
    assert!(!told.doubts.is_empty());
}

#[test]
fn unknown_layouts_are_refused() {
    for mkfs in ["-t ext4 -b 4096 -O bigalloc -C 16384", "-b 4096 -O journal_dev", "-t ext4 -b 65536"] {
        let image = Image::make(64, mkfs);
        let mut told = Collected::default();
        let refused = ext::survey(&image.bytes(), &mut told);
        assert!(matches!(refused, Err(saveos_engine::fs::FsError::Unsupported(_))), "{mkfs}: {refused:?}");
        assert!(told.claims.is_empty());
    }
    assert!(!ext::probe(&vec![0u8; 4096]));
    assert!(ext::probe(&Image::make(8, "-t ext2").bytes()));
}

#[test]
fn one_wrong_byte_in_a_checksummed_structure_is_doubt() {
    let image = Image::make(16, "-t ext4 -b 1024 -O metadata_csum -g 8192 -N 256");
    let good = image.bytes();
    let text = run("dumpe2fs", &[image.text()]);
    let block_of = |name: &str| -> usize {
        let line = text.lines().find(|line| line.contains(name)).expect("dumpe2fs names it");
        let rest = line.split(name).nth(1).expect("text behind the name");
        rest.split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse().ok()).expect("a block number")
    };
    let places = [
        ("superblock", 1024 + 0x30),
        ("descriptor", 2048 + 0xC),
        ("block bitmap", block_of("Block bitmap at ") * 1024 + 700),
        ("inode bitmap", block_of("Inode bitmap at ") * 1024 + 10),
        ("root inode", block_of("Inode table at ") * 1024 + 256 + 0x8),
    ];
    for (what, at) in places {
        let mut bytes = good.clone();
        bytes[at] ^= 0x40;
        let mut told = Collected::default();
        ext::survey(&bytes, &mut told).expect("a readable filesystem");
        assert!(!told.doubts.is_empty(), "{what}");
    }
}
