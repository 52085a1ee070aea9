//! Real ext4 images, made by mke2fs from a folder: no mount, no root.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// An ext4 image of `mebibytes` with these files.
pub(crate) fn image(mebibytes: u64, files: &[(&str, &[u8])]) -> Arc<Vec<u8>> {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let folder = scratch.path().join("files");
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder above")).expect("a scratch folder");
        put(&path, bytes);
    }
    let image = scratch.path().join("image");
    std::fs::File::create(&image).and_then(|file| file.set_len(mebibytes << 20)).expect("a scratch file");
    let arguments = ["-q", "-F", "-t", "ext4", "-b", "4096", "-d"];
    run(Command::new("mke2fs").args(arguments).arg(&folder).arg(&image));
    Arc::new(std::fs::read(&image).expect("the image was just made"))
}

/// Where the `block`-th 4 KiB of a file lie on the image, by debugfs: a second opinion, not ours.
pub(crate) fn place_of(image: &[u8], path: &str, block: u64) -> u64 {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let file = scratch.path().join("image");
    put(&file, image);
    let told = run(Command::new("debugfs").arg("-R").arg(format!("bmap {path} {block}")).arg(&file));
    told.trim().parse::<u64>().unwrap_or_else(|_| panic!("debugfs said {told}")) * 4096
}

/// The same image after one more file was written to it.
pub(crate) fn with_another_file(image: &[u8], name: &str, bytes: &[u8]) -> Arc<Vec<u8>> {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let file = scratch.path().join("file");
    put(&file, bytes);
    edited(image, &format!("write {} {name}", file.display()))
}

/// The same image after a command of debugfs, checksums included.
pub(crate) fn edited(image: &[u8], command: &str) -> Arc<Vec<u8>> {
    let scratch = tempfile::tempdir().expect("a scratch folder");
    let disk = scratch.path().join("image");
    put(&disk, image);
    run(Command::new("debugfs").args(["-w", "-R", command]).arg(&disk));
    Arc::new(std::fs::read(&disk).expect("the image is still there"))
}

fn put(path: &Path, bytes: &[u8]) {
    let mut file = std::fs::File::create(path).expect("a scratch file");
    std::io::Write::write_all(&mut file, bytes).expect("room in the scratch folder");
}

fn run(command: &mut Command) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let done = command.env("PATH", format!("{path}:/usr/sbin:/sbin")).output();
    let done = done.unwrap_or_else(|error| panic!("{command:?} (package e2fsprogs): {error}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}
