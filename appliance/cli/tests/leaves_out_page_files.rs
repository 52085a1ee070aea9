//! What Windows pages out is nobody's data: the page files come back with their header and their length, and the summary
//! names what was left out. The snapshot is complete all the same.

#[path = "support/support.rs"]
mod support;

use support::{Image, Kind, Mount, Repo, can, noise, read, settle, skip, text, tool, write};

const MIB: u64 = 1 << 20;

#[test]
fn page_files_come_back_empty_and_all_else_whole() {
    if let Err(missing) = can(Kind::Ntfs.tools()) {
        skip!("{missing}");
    }
    let image = Image::blank(24 * MIB);
    tool(&["mkntfs", "-F", "-Q", "-q", "-c", "4096", &image.text()]);
    let files =
        [("pagefile.sys", 1, 3 * MIB), ("swapfile.sys", 2, 2 * MIB), ("precious", 3, MIB), ("hiberfil", 4, MIB)];
    {
        let mount = Mount::writable(Kind::Ntfs, &image.path());
        for (name, seed, len) in files {
            write(&mount.at.join(name), &noise(seed, len as usize));
        }
        settle(&mount.at);
    }
    let repo = Repo::new();
    let summary = repo.backup(&image.path(), "windows");
    assert_eq!(summary["left_out_bytes"], 5 * MIB - 2 * 4096);
    let notes = summary["left_out"].as_array().expect("a list");
    for (rule, bytes) in [("pagefile", 3 * MIB - 4096), ("swapfile", 2 * MIB - 4096)] {
        let mine = notes.iter().filter(|note| note["rule"] == rule);
        assert_eq!(mine.map(|note| note["len"].as_u64().expect("a number")).sum::<u64>(), bytes, "{rule}: {notes:?}");
    }

    let restored = repo.beside("restored");
    let told = repo.json(&["restore", "latest", text(&restored)]).exits(0).last("restored");
    assert_eq!(told["left_out_bytes"], 5 * MIB - 2 * 4096);
    let mount = Mount::readable(Kind::Ntfs, &restored).expect("the restored volume mounts");
    for (name, seed, len) in files {
        let (found, mut expected) = (read(&mount.at.join(name)), noise(seed, len as usize));
        if name.ends_with("file.sys") {
            expected[4096..].fill(0);
        }
        assert!(found == expected, "{name}");
    }
}
