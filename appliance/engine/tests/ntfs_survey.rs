//! Every allocated byte of an NTFS volume has an owner, every file reads back, and nothing hostile gets through.
//!
//! Images are made and filled by ntfs-3g, and counted by ntfsinfo and partclone: other readers of the same format.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop at once")]
#![allow(clippy::disallowed_methods, reason = "nothing a test writes has to survive a power cut")]

#[path = "ntfs_survey/hostile.rs"]
mod hostile;
#[path = "ntfs_survey/image.rs"]
mod image;
#[path = "ntfs_survey/told.rs"]
mod told;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use image::{Files, Image, Mounted, noise, prose, run, tools_or_skip};
use saveos_engine::fs::{Extent, FsError, LeftOut, Node, NodeKind, Tree, ntfs};
use told::Told;

const MIB: usize = 1 << 20;

/// The tree as path to content; directories and links are checked by the way they are walked.
fn read_tree(tree: &dyn Tree) -> Files {
    let mut files = Files::new();
    let mut todo = vec![(String::new(), tree.root().unwrap())];
    while let Some((path, directory)) = todo.pop() {
        tree.list(&directory, &mut |entry| {
            let path = format!("{path}{}", String::from_utf8(entry.name).unwrap());
            match entry.node.kind {
                NodeKind::Directory => todo.push((path + "/", entry.node)),
                _ => {
                    files.insert(path, read_node(tree, &entry.node));
                }
            }
            true
        })
        .unwrap();
    }
    files
}

fn read_node(tree: &dyn Tree, node: &Node) -> Vec<u8> {
    let mut content = Vec::new();
    // An odd length crosses units, clusters and fragments at every place.
    let mut buf = vec![0; 70_001];
    loop {
        match tree.read(node, content.len() as u64, &mut buf).unwrap() {
            0 => break,
            len => content.extend_from_slice(&buf[..len]),
        }
    }
    assert_eq!(content.len() as u64, node.size);
    content
}

fn find(tree: &dyn Tree, path: &str) -> Node {
    path.split('/').fold(tree.root().unwrap(), |directory, name| {
        tree.lookup(&directory, name.as_bytes()).unwrap().unwrap_or_else(|| panic!("no {name} of {path}"))
    })
}

fn browse(bytes: &[u8]) -> Box<dyn Tree> {
    ntfs::browse(Arc::new(bytes.to_vec())).unwrap()
}

/// Of the volume: bytes per cluster, clusters, and free clusters as ntfsinfo counts them.
fn counted_by_ntfsinfo(image: &Image) -> (u64, u64, u64) {
    let text = run(Command::new("ntfsinfo").arg("-m").arg(image.path()));
    let field = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split(':').nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap()
    };
    (field("Cluster Size"), field("Volume Size in Clusters"), field("Free Clusters"))
}

fn assert_survey_is_whole(image: &Image) -> Told {
    let bytes = image.bytes();
    let told = Told::by_surveying(&bytes);
    assert_eq!(told.doubts, Vec::<String>::new());
    told.assert_claims_are_disjoint();
    let (cluster, clusters, free) = counted_by_ntfsinfo(image);
    let end = cluster * clusters;
    assert_eq!(told.differences(end), [], "allocated and owned differ");
    let used: u64 = told.in_use().iter().map(|extent| extent.end().min(end).saturating_sub(extent.start)).sum();
    assert_eq!(used / cluster, clusters - free);
    // Behind the last cluster all is allocated, and only the backup boot sector is known.
    let len = bytes.len() as u64;
    assert_eq!(told.in_use().last().unwrap().end(), len);
    assert!(told.meta.contains(&Extent::new(len - 512, 512)));

    let structure = ntfs::check(&bytes).unwrap();
    assert_eq!(structure.complaints, Vec::<String>::new());
    assert_eq!((structure.used, structure.owned), (clusters - free, clusters - free));
    told
}

/// Files of every sort that the driver can make.
fn fill(mounted: &Mounted<'_>, cluster: usize) -> Files {
    let mut files = Files::new();
    mounted.write(&mut files, "empty", Vec::new());
    mounted.write(&mut files, "resident.txt", b"in the record".to_vec());
    mounted.write(&mut files, "Ünïcödé 😀 名前.txt", b"a name".to_vec());
    mounted.write(&mut files, "big.bin", noise(1, 3 * MIB + 77));
    mounted.write(&mut files, "slack.bin", noise(2, cluster.max(2048) + 1));
    mounted.fragment(&mut files, ["left.bin", "right.bin"], cluster, (4 * MIB / cluster).clamp(20, 900));
    std::fs::create_dir(mounted.at("many")).unwrap();
    for number in 0..1500 {
        let content = if number % 50 == 0 { noise(number, 3000) } else { Vec::new() };
        mounted.write(&mut files, &format!("many/a rather long name of a file {number}.dat"), content);
    }
    for number in (0..1500).step_by(3) {
        let path = format!("many/a rather long name of a file {number}.dat");
        std::fs::remove_file(mounted.at(&path)).unwrap();
        files.remove(&path);
    }
    let mut sparse = noise(3, 5000);
    sparse.resize(3 * MIB, 0);
    let file = std::fs::File::create(mounted.at("sparse.bin")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &sparse[..5000], 0).unwrap();
    file.set_len(3 * MIB as u64).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"island", MIB as u64 + 17).unwrap();
    sparse[MIB + 17..MIB + 23].copy_from_slice(b"island");
    files.insert("sparse.bin".into(), sparse);
    std::fs::hard_link(mounted.at("big.bin"), mounted.at("many/linked.bin")).unwrap();
    files.insert("many/linked.bin".into(), files["big.bin"].clone());
    std::os::unix::fs::symlink("many/linked.bin", mounted.at("link")).unwrap();
    files.insert("link".into(), b"many/linked.bin".to_vec());
    std::fs::write(mounted.at("resident.txt:small"), b"a stream").unwrap();
    std::fs::write(mounted.at("resident.txt:large"), noise(4, 100_000)).unwrap();
    if cluster <= 4096 {
        mounted.compress_directory("packed");
        mounted.write(&mut files, "packed/prose.txt", prose(700_000));
        mounted.write(&mut files, "packed/noise.bin", noise(5, 300_000));
        mounted.write(&mut files, "packed/zeros.bin", vec![0; 300_000]);
        mounted.write(&mut files, "packed/mixed.bin", [prose(100_000), noise(6, 100_000), vec![0; 100_000]].concat());
    }
    files
}

fn whole_volume(cluster: usize) {
    if !tools_or_skip(&format!("whole volume, clusters of {cluster}")) {
        return;
    }
    let image = Image::format(48 * MIB as u64, cluster as u64);
    assert_survey_is_whole(&image);
    let files = fill(&image.mount(), cluster);
    let told = assert_survey_is_whole(&image);
    let bytes = image.bytes();
    let tree = browse(&bytes);

    let found = read_tree(&*tree);
    assert_eq!(found.keys().collect::<Vec<_>>(), files.keys().collect::<Vec<_>>());
    for (path, content) in &files {
        assert!(found[path] == *content, "{path} reads differently");
    }

    // The same content once more, from the runs that the layout will cut.
    for path in ["big.bin", "slack.bin", "left.bin", "right.bin", "sparse.bin"] {
        let node = find(&*tree, path);
        let content = told.content(&bytes, node.id.0, node.size as usize);
        assert!(content == files[path], "{path} surveys differently");
    }
    let slack = find(&*tree, "slack.bin").id.0;
    let end = told.files.iter().find(|file| file.id == slack).unwrap().runs.last().unwrap().1.end();
    assert!(told.raw.contains(&Extent::new(end, cluster as u64 - 1)), "slack is RAW and starts at end of file");

    assert_eq!(read_node(&*tree, &find(&*tree, "RESIDENT.TXT:Small")), b"a stream");
    assert_eq!(read_node(&*tree, &find(&*tree, "resident.txt:large")), noise(4, 100_000));
    assert_eq!(find(&*tree, "BIG.bin").id, find(&*tree, "many/linked.bin").id);
    assert_eq!(find(&*tree, "link").kind, NodeKind::Symlink);
    assert!(tree.lookup(&tree.root().unwrap(), b"no such").unwrap().is_none());
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
        - find(&*tree, "big.bin").modified;
    assert!((0..600).contains(&age), "modified {age} s ago");
}

#[test]
fn clusters_of_512_bytes() {
    whole_volume(512);
}

#[test]
fn clusters_of_1_kib() {
    whole_volume(1024);
}

#[test]
fn clusters_of_4_kib() {
    whole_volume(4096);
}

#[test]
fn clusters_of_64_kib() {
    whole_volume(65536);
}

#[test]
fn clusters_of_2_mib() {
    if !tools_or_skip("clusters of 2 MiB") {
        return;
    }
    let image = Image::format(120 * MIB as u64, 2 * MIB as u64);
    let mut files = Files::new();
    let mounted = image.mount();
    mounted.write(&mut files, "a", noise(1, 5 * MIB));
    mounted.write(&mut files, "b", noise(2, 12_345));
    drop(mounted);
    assert_survey_is_whole(&image);
    assert_eq!(read_tree(&*browse(&image.bytes())), files);
}

#[test]
fn records_of_4_kib_on_4_kib_sectors() {
    if !tools_or_skip("records of 4 KiB") {
        return;
    }
    let image = Image::format(24 * MIB as u64, 4096);
    run(Command::new("mkntfs").args(["-F", "-Q", "-s", "4096", "-c", "4096"]).arg(image.path()));
    let told = Told::by_surveying(&image.bytes());
    assert_eq!(told.doubts, Vec::<String>::new());
    told.assert_claims_are_disjoint();
    assert!(ntfs::check(&image.bytes()).unwrap().is_sound());
    assert!(read_tree(&*browse(&image.bytes())).is_empty());
}

#[test]
fn partclone_finds_the_same_blocks_used() {
    if !tools_or_skip("partclone") || !std::path::Path::new("/usr/sbin/partclone.ntfs").exists() {
        eprintln!("SKIPPED: partclone_finds_the_same_blocks_used: needs partclone.ntfs");
        return;
    }
    let image = Image::format(32 * MIB as u64, 4096);
    let mounted = image.mount();
    let mut files = Files::new();
    mounted.write(&mut files, "big.bin", noise(1, 3 * MIB + 77));
    mounted.fragment(&mut files, ["left.bin", "right.bin"], 4096, 200);
    std::fs::remove_file(mounted.at("left.bin")).unwrap();
    drop(mounted);
    let (cluster, clusters, _) = counted_by_ntfsinfo(&image);
    let map = image.path().with_extension("map");
    run(Command::new("partclone.ntfs")
        .args(["-D", "-q", "-L", "/dev/null", "--offset_domain=0", "-s"])
        .arg(image.path())
        .arg("-o")
        .arg(&map));
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let text = std::fs::read_to_string(&map).unwrap();
    let used: Vec<Extent> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(2) == Some(&"+"))
        .map(|fields| Extent::new(number(fields[0]).unwrap(), number(fields[1]).unwrap()))
        .filter(|extent| extent.start < cluster * clusters)
        .collect();
    let told = Told::by_surveying(&image.bytes());
    let ours: Vec<Extent> = told.in_use().into_iter().filter(|extent| extent.start < cluster * clusters).collect();
    assert_eq!(ours, used);
}

#[test]
fn a_crowded_file_keeps_its_parts_in_many_records() {
    if !tools_or_skip("attribute lists") {
        return;
    }
    let image = Image::format(24 * MIB as u64, 512);
    let mounted = image.mount();
    let mut files = Files::new();
    mounted.scatter(&mut files, 5000, 1000);
    mounted.write(&mut files, "named", Vec::new());
    for number in 0..60 {
        let path = format!("the {number}th of many names that one file has in this directory");
        std::fs::hard_link(mounted.at("named"), mounted.at(&path)).unwrap();
        files.insert(path, Vec::new());
    }
    mounted.write_until_full(&mut files, "crowded.bin");
    drop(mounted);
    let told = assert_survey_is_whole(&image);
    let bytes = image.bytes();
    let extensions = ntfs::check(&bytes).unwrap().extensions;
    assert!(extensions > 15, "{extensions} extension records only");
    let tree = browse(&bytes);
    assert!(read_tree(&*tree) == files);
    let node = find(&*tree, "crowded.bin");
    let stream = told.files.iter().find(|file| file.id == node.id.0).unwrap();
    assert!(stream.runs.len() > 500, "{} fragments only", stream.runs.len());
    assert!(told.content(&bytes, node.id.0, node.size as usize) == files["crowded.bin"]);
}

#[test]
fn a_fragmented_mft_is_followed() {
    if !tools_or_skip("fragmented MFT") {
        return;
    }
    let image = Image::format(24 * MIB as u64, 1024);
    let mounted = image.mount();
    let mut files = Files::new();
    mounted.scatter(&mut files, 4000, 2000);
    for number in 0..5000 {
        if !mounted.try_write(&mut files, &format!("late {number}"), b"x".to_vec()) {
            break;
        }
    }
    drop(mounted);
    let told = assert_survey_is_whole(&image);
    let bytes = image.bytes();
    assert!(read_tree(&*browse(&bytes)) == files);
    let list = attribute_at(&bytes, record_at(&bytes, 0), 0x20);
    assert!(list > 0 && told.meta.len() > 100, "the MFT has a list and {} pieces", told.meta.len());
}

#[test]
fn page_files_keep_only_their_header() {
    if !tools_or_skip("page files") {
        return;
    }
    let image = Image::format(24 * MIB as u64, 1024);
    let mounted = image.mount();
    let mut files = Files::new();
    std::fs::create_dir(mounted.at("sub")).unwrap();
    mounted.write(&mut files, "PageFile.SYS", noise(1, 2 * MIB));
    mounted.write(&mut files, "swapfile.sys", noise(2, MIB));
    mounted.write(&mut files, "sub/pagefile.sys", noise(3, MIB));
    mounted.write(&mut files, "hiberfil.sys", noise(4, MIB));
    drop(mounted);
    let told = assert_survey_is_whole(&image);
    let bytes = image.bytes();
    let tree = browse(&bytes);
    let mut lengths = BTreeMap::new();
    for (rule, extent) in &told.left_out {
        *lengths.entry(*rule).or_insert(0) += extent.len as usize;
    }
    assert_eq!(lengths, [(LeftOut::Pagefile, 2 * MIB - 4096), (LeftOut::Swapfile, MIB - 4096)].into());
    for (path, kept) in
        [("pagefile.sys", 4096), ("swapfile.sys", 4096), ("sub/pagefile.sys", MIB), ("hiberfil.sys", MIB)]
    {
        let id = find(&*tree, path).id.0;
        let file = told.files.iter().find(|file| file.id == id).unwrap();
        assert_eq!(file.runs.iter().map(|(_, extent)| extent.len as usize).sum::<usize>(), kept, "{path}");
    }
}

/// Where record `number` lies, in an image whose MFT starts in one piece.
fn record_at(bytes: &[u8], number: u64) -> usize {
    let cluster = 512 * usize::from(bytes[13]);
    let mft = u64::from_le_bytes(bytes[48..56].try_into().unwrap()) as usize;
    mft * cluster + 1024 * number as usize
}

/// Where the first attribute of a kind lies in a record.
fn attribute_at(bytes: &[u8], record: usize, kind: u32) -> usize {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut at = record + usize::from(u16::from_le_bytes(bytes[record + 20..record + 22].try_into().unwrap()));
    while word(at) != kind {
        assert_ne!(word(at), 0xFFFF_FFFF, "no attribute {kind:#x}");
        at += word(at + 4) as usize;
    }
    at
}

/// A small volume with a few files, and their contents.
fn small() -> (Vec<u8>, Files) {
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
    assert!(bad + 8 + list.len() < record + 510, "the patch stays inside the first sector");
    // Shorten nothing: the attribute grows into the unused rest of the record, end marker behind it.
    let len = (pairs - bad + list.len()).next_multiple_of(8);
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
