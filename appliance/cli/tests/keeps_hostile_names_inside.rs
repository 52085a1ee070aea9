//! Threat: names on FAT and NTFS that no system would make: they leave the folder they are copied to, or are no text. (Those of ext
//! are in `obeys_the_command_line.rs`.)

#[path = "support/support.rs"]
mod support;

use support::{Image, Kind, Mount, Repo, can, read, skip, text, tool, write};

const MIB: u64 = 1 << 20;

/// A name as these filesystems store it.
fn utf16(name: &str) -> Vec<u8> {
    name.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Changes a name wherever it is stored; it must be somewhere.
#[track_caller]
fn rename(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> = (0..bytes.len() - from.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "the name is on the disk");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
}

/// A disk with one name that leads out, one that is no text, and one that is fine.
fn hostile(kind: Kind) -> Image {
    let image = Image::blank(32 * MIB);
    let names = ["QQQQ-escaped", "ZZZZ-alone", "fine"];
    match kind {
        Kind::Fat => {
            tool(&["mkfs.fat", &image.text()]);
            for name in names {
                let file = image.beside(name);
                write(&file, b"content");
                tool(&["mcopy", "-i", &image.text(), text(&file), "::"]);
            }
        }
        _ => {
            tool(&["mkntfs", "-q", "-F", &image.text()]);
            let mount = Mount::writable(kind, &image.path());
            names.iter().for_each(|name| write(&mount.at.join(name), b"content"));
        }
    }
    let mut bytes = image.bytes();
    rename(&mut bytes, &utf16("QQQQ-"), &utf16("../x-"));
    // Half of a pair of surrogates.
    let lone = [&[0x00, 0xd8][..], &utf16("ZZZ-")].concat();
    rename(&mut bytes, &utf16("ZZZZ-"), &lone);
    write(&image.path(), &bytes);
    image
}

fn stays_inside(kind: Kind) {
    if let Err(missing) = can(kind.tools()) {
        skip!("{missing}");
    }
    let (repo, image) = (Repo::new(), hostile(kind));
    repo.backup(&image.path(), "hostile");
    let home = tempfile::tempdir().expect("a scratch folder");
    let out = home.path().join("out");
    std::fs::create_dir(&out).expect("a folder");
    let copied = repo.json(&["files", "cp", "latest", "/", text(&out)]).exits(3).last("copied");
    let failed: Vec<String> = copied["failed"].as_array().expect("a list").iter().map(ToString::to_string).collect();
    assert!(failed.iter().any(|told| told.contains("it would leave the destination")), "{copied}");
    let beside: Vec<_> = std::fs::read_dir(home.path()).expect("a folder").flatten().collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
    assert!(!out.join("x-escaped").exists() && !out.join("files/x-escaped").exists());
    assert_eq!(read(&out.join("files/fine")), b"content");
    // The other one is listed, in some spelling, and printing it harms no terminal.
    let listing = repo.run(&["files", "ls", "latest"]);
    let lone = listing.text().lines().filter(|line| line.contains("ZZZ-alone")).count();
    assert!(lone == 1 || failed.len() == 2, "{}\n{failed:?}", listing.text());
}

#[test]
fn a_fat_name_that_leads_out_is_told_and_not_followed() {
    stays_inside(Kind::Fat);
}

#[test]
fn an_ntfs_name_that_leads_out_is_told_and_not_followed() {
    stays_inside(Kind::Ntfs);
}
