//! What a release gives away: `firmware` makes it for a machine, `tag` says which release a commit is, `draft` lays everything into a draft
//! that nobody sees before people with keys have signed.

use crate::image;
use crate::shell::{output, quiet, root, run};
use crate::version::{current, git};
use anyhow::{Context, ensure};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where it is laid.
fn folder() -> PathBuf {
    root().join("target/release-files")
}

/// Keys as the environment has them, and the names of files in which images are made with them.
const KEYS: &[(&str, &str)] = &[
    ("SAVEOS_BUNDLE_KEY", "signer.key"),
    ("SAVEOS_BUNDLE_CERTIFICATE", "signer.pem"),
    ("SAVEOS_BUNDLE_AUTHORITY", "authority.pem"),
    ("SAVEOS_RELEASE_ROOT", "release-root.json"),
];

/// Image, bundle and bill of materials of a machine.
pub(super) fn firmware(machine: &str) -> anyhow::Result<()> {
    let keys = Keys::of(&|name| std::env::var(name).ok(), &root().join("target/release-keys"))?;
    let version = current(&root())?;
    let made = image::release(machine, &keys.0)?;
    drop(keys);
    std::fs::create_dir_all(folder())?;
    let name = format!("saveos-{machine}-{version}");
    let to = |kind: &str| folder().join(format!("{name}.{kind}")).to_string_lossy().into_owned();
    let from = |name: &str| made.join(name).to_string_lossy().into_owned();
    quiet("zstd", &["--quiet", "--force", "-T0", "-12", &from("disk.img"), "-o", &to("img.zst")])?;
    for kind in ["raucb", "cdx.json"] {
        std::fs::copy(from(&format!("{name}.{kind}")), to(kind))?;
    }
    println!("laid into {}", folder().display());
    Ok(())
}

/// Files that only we read, gone when images are made.
struct Keys(PathBuf);

impl Keys {
    fn of(environment: &dyn Fn(&str) -> Option<String>, folder: &Path) -> anyhow::Result<Keys> {
        let given = |name: &str| environment(name).filter(|text| !text.trim().is_empty());
        let texts = KEYS.iter().map(|(name, _)| given(name).with_context(|| format!("{name} is not set")));
        let texts: Vec<String> = texts.collect::<anyhow::Result<_>>()?;
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let keys = Keys(folder.to_owned());
        for ((_, file), text) in KEYS.iter().zip(texts) {
            let mut file = File::options().create_new(true).write(true).mode(0o600).open(folder.join(file))?;
            writeln!(file, "{}", text.trim_end())?;
        }
        Ok(keys)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Which release the commit is; an error if it is none.
pub(super) fn tag(root: &Path) -> anyhow::Result<String> {
    let version = current(root)?;
    let tags = git(root, &["tag", "--points-at", "HEAD"])?;
    let wanted = format!("v{version}");
    ensure!(tags.lines().any(|tag| tag == wanted), "this commit is not tagged {wanted}: push the tag with it");
    Ok(format!("version={version}\nprerelease={}\n", version.is_prerelease()))
}

/// A draft with everything that was laid there, and the checksums of it all.
pub(super) fn draft() -> anyhow::Result<()> {
    let folder = folder();
    checksums(&folder)?;
    let (version, notes) = (current(&root())?, folder.join("notes"));
    File::create(&notes)?.write_all(super::notes_of(&root())?.as_bytes())?;
    let mut words = vec!["release".to_owned(), "create".to_owned(), format!("v{version}"), "--draft".to_owned()];
    words.extend(["--verify-tag".to_owned(), "--title".to_owned(), format!("SaveOS {version}")]);
    words.extend(["--notes-file".to_owned(), notes.to_string_lossy().into_owned()]);
    if version.is_prerelease() {
        words.push("--prerelease".to_owned());
    }
    words.extend(names(&folder)?.iter().map(|name| folder.join(name).to_string_lossy().into_owned()));
    run("gh", &words.iter().map(String::as_str).collect::<Vec<_>>())?;
    println!("Next: its holders sign it (docs/RELEASING.md), and one of them makes it public");
    Ok(())
}

/// Files that are given away, sorted.
fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("nothing was made: {}", folder.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<anyhow::Result<Vec<_>>>()?;
    names.retain(|name| name != "notes");
    names.sort();
    ensure!(names.iter().any(|name| name.ends_with(".raucb")), "there is no bundle in {}", folder.display());
    Ok(names)
}

fn checksums(folder: &Path) -> anyhow::Result<()> {
    let sums = folder.join("SHA256SUMS");
    if sums.exists() {
        std::fs::remove_file(&sums)?;
    }
    let names = names(folder)?;
    let words = ["-c", "cd \"$1\" && shift && sha256sum -- \"$@\"", "sh", &folder.to_string_lossy()];
    let text = output("sh", &[&words[..], &names.iter().map(String::as_str).collect::<Vec<_>>()].concat())?;
    Ok(File::create(&sums)?.write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn keys_are_in_files_of_ours_for_as_long_as_they_are_needed() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("keys");
        let all = |name: &str| Some(format!("{name}\n"));
        let keys = Keys::of(&all, &place).expect("room");
        let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&place), mode(&place.join("signer.key"))), (0o700, 0o600));
        assert_eq!(std::fs::read_to_string(place.join("signer.pem")).expect("readable"), "SAVEOS_BUNDLE_CERTIFICATE\n");
        drop(keys);
        assert!(!place.exists());
        let some = |name: &str| (name != "SAVEOS_BUNDLE_KEY").then(|| "x".to_owned());
        assert!(Keys::of(&some, &place).err().expect("no key").to_string().contains("SAVEOS_BUNDLE_KEY is not set"));
        assert!(Keys::of(&|_| Some(" ".to_owned()), &place).is_err(), "a secret that nobody set is empty");
        assert!(!place.exists());
    }

    #[test]
    fn checksums_are_those_of_everything_but_themselves() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(checksums(folder.path()).is_err(), "no bundle");
        for name in ["b.raucb", "a.img.zst", "notes"] {
            File::create(folder.path().join(name)).and_then(|mut file| file.write_all(b"")).expect("room");
        }
        checksums(folder.path()).expect("checksums");
        // Twice, as when it is made again.
        checksums(folder.path()).expect("checksums");
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let text = std::fs::read_to_string(folder.path().join("SHA256SUMS")).expect("readable");
        assert_eq!(text, format!("{empty}  a.img.zst\n{empty}  b.raucb\n"));
    }
}
