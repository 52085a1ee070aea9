//! Every allocated byte of an NTFS volume has an owner, every file reads back, and nothing hostile gets through.
//!
//! Images are made and filled by ntfs-3g, and counted by ntfsinfo and partclone: other readers of the same format.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop at once")]
#![allow(clippy::disallowed_methods, reason = "nothing a test writes has to survive a power cut")]

#[path = "ntfs_survey/hostile.rs"]
mod hostile;
#[path = "ntfs_survey/image.rs"]
mod image;
#[path = "ntfs_survey/patched.rs"]
mod patched;
#[path = "ntfs_survey/told.rs"]
mod told;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use image::{Files, Image, Mounted, noise, prose, run, tools_or_skip};
use patched::{attribute_at, record_at};
use saveos_engine::fs::{Extent, LeftOut, Node, NodeKind, Tree, ntfs};
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
    for size in [512, 1024, 4096, 65536] {
        let image = Image::format(32 * MIB as u64, size);
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
        assert!(used.len() >= 3, "clusters of {size} bytes: {used:?}");
        assert_eq!(ours, used, "clusters of {size} bytes");
    }
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
