//! `saveos-release`: keys, the ceremony of the root, and releases from draft to publication.

mod arguments;
mod tell;

use anyhow::{Context, bail};
use arguments::{Arguments, Bundle, Command, Draft, KeyCommand, Online, Root};
use clap::Parser;
use saveos_release::key::{self, read_public};
use saveos_release::{
    Document, Holders, Offered, Roots, Store, check_root, draft_root, draft_targets, file_of, find, wait,
};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tough::schema::Signed;

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Key(KeyCommand::New { file }) => {
            key::make(&file)?;
            tell::public(&*key::open(&file.to_string_lossy())?)?;
        }
        Command::Key(KeyCommand::Show { key }) => tell::public(&*key::open(&key)?)?,
        Command::Bench { keys, days, file } => {
            let expires = after_days(jiff::Timestamp::now(), days)?;
            saveos_release::make_root(&saveos_release::Keys::make(&keys)?, 1, expires, &file)?;
        }
        Command::Root(root) => draft_a_root(root)?,
        Command::Draft(draft) => draft_a_release(draft)?,
        Command::Provenance(built) => println!("{:#}", built.statement()?),
        Command::Sign { key, root, yes, file } => sign(&key, &root, yes, &file)?,
        Command::Collect { file, copies } => {
            let mut document = Document::read(&file)?;
            for copy in copies {
                document.collect(Document::read(&copy)?).with_context(|| format!("{}", copy.display()))?;
            }
            put(&file, &document.bytes())?;
        }
        Command::Check { root, json, file } => return check(&root, json, &file),
        Command::Publish { online, files, targets } => {
            let Document::Targets(targets) = Document::read(&targets)? else {
                bail!("only targets metadata is published")
            };
            let files: Vec<Vec<Offered>> =
                files.iter().map(|file| file_of(&targets.signed, file)).collect::<Result<_, _>>()?;
            publish(&online, Some(targets), &files.concat())?;
        }
        Command::Refresh { online } => publish(&online, None, &[])?,
        Command::Status { at, root, within, json } => {
            let roots = read_roots(&root)?;
            let found = wait(find(&Store::open(&at)?, &roots))?;
            let found = found.with_context(|| format!("nothing is published at {at}"))?;
            return tell::status(roots.newest(), &found, after_days(jiff::Timestamp::now(), within)?, json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn draft_a_root(root: Root) -> anyhow::Result<()> {
    let mut roles = Vec::new();
    for (role, keys, threshold) in root.roles() {
        if keys.is_empty() {
            continue;
        }
        let keys = keys.iter().map(|file| read_public(file)).collect::<Result<Vec<_>, _>>()?;
        roles.push((role, Holders { keys, threshold }));
    }
    let after = root.after.as_deref().map(read_root).transpose()?;
    let expires = after_days(jiff::Timestamp::now(), root.days)?;
    let drafted = Document::Root(draft_root(after.as_ref(), &roles, expires)?);
    make(&root.file, &drafted.bytes())?;
    tell::document(&drafted);
    eprintln!("Next: every holder of a root key signs it (`saveos-release sign`).");
    Ok(())
}

fn draft_a_release(draft: Draft) -> anyhow::Result<()> {
    let published = match &draft.at {
        Some(at) => wait(find(&Store::open(at)?, &read_roots(&draft.root)?))?.map(|found| found.targets),
        None => None,
    };
    let mut offered = Vec::new();
    if let Some(mut bundle) = draft.bundle.as_ref().map(Bundle::read).transpose()? {
        if let Some(lowest) = draft.bundle.as_ref().and_then(|bundle| bundle.minimum_previous.as_deref()) {
            bundle.from.extend(since(lowest, published.as_ref(), &bundle.compatible)?);
        }
        offered = bundle.offered()?;
    }
    if offered.is_empty() && draft.withdraw.is_empty() && published.is_none() {
        bail!("there is nothing to sign: --bundle adds a release");
    }
    let expires = after_days(jiff::Timestamp::now(), draft.days)?;
    let drafted = Document::Targets(draft_targets(published.as_ref(), &offered, &draft.withdraw, expires)?);
    make(&draft.file, &drafted.bytes())?;
    tell::document(&drafted);
    eprintln!("Next: holders of targets keys sign it (`saveos-release sign`).");
    Ok(())
}

/// A release and all published ones whose names say that they are later.
fn since(
    lowest: &str,
    published: Option<&Signed<tough::schema::Targets>>,
    compatible: &str,
) -> anyhow::Result<Vec<String>> {
    let order = |release: &str| {
        semver::Version::parse(release).with_context(|| {
            format!("`{release}` has no order (semantic versions have); name each release with --from")
        })
    };
    let least = order(lowest)?;
    let mut later = vec![lowest.to_owned()];
    for target in published.into_iter().flat_map(|published| published.signed.targets.values()) {
        let said = |name: &str| target.custom.get(name).and_then(|value| value.as_str());
        let (Some(release), true) = (said("release"), said("compatible") == Some(compatible)) else { continue };
        if release != lowest && order(release)? > least {
            later.push(release.to_owned());
        }
    }
    later.sort();
    Ok(later)
}

fn sign(key: &str, roots: &[PathBuf], yes: bool, file: &Path) -> anyhow::Result<()> {
    let mut document = Document::read(file)?;
    tell::document(&document);
    if !yes && !tell::agrees()? {
        bail!("not signed");
    }
    let roots = roots.iter().map(|root| read_root(root)).collect::<Result<Vec<_>, _>>()?;
    let id = document.sign(&*key::open(key)?, &roots.iter().map(|root| &root.signed).collect::<Vec<_>>())?;
    put(file, &document.bytes())?;
    eprintln!("Signed by {}.", saveos_release::hex(&id));
    Ok(())
}

fn check(roots: &[PathBuf], json: bool, file: &Path) -> anyhow::Result<ExitCode> {
    let document = Document::read(file)?;
    let mut roots = roots.iter().map(|root| read_root(root)).collect::<Result<Vec<_>, _>>()?;
    if let Document::Root(root) = &document {
        roots.push(root.clone());
    }
    if roots.is_empty() {
        bail!("targets are checked by a root: --root FILE");
    }
    let standings = roots.iter().map(|root| document.standing(&root.signed)).collect::<Result<Vec<_>, _>>()?;
    tell::standings(&document, &standings, json)?;
    if let (Document::Root(root), [after, _]) = (&document, &roots[..]) {
        check_root(root, Some(after))?;
    }
    let enough = standings.iter().all(saveos_release::Standing::is_enough);
    Ok(if enough { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn publish(
    online: &Online,
    targets: Option<Signed<tough::schema::Targets>>,
    offered: &[Offered],
) -> anyhow::Result<()> {
    let (snapshot, timestamp) = (key::open(&online.snapshot_key)?, key::open(&online.timestamp_key)?);
    let now = jiff::Timestamp::now();
    let fresh_for = after_days(now, online.days)?.duration_since(now);
    let with = saveos_release::Online { snapshot: &*snapshot, timestamp: &*timestamp, now, fresh_for };
    let (store, roots) = (Store::make(&online.to)?, read_roots(&online.root)?);
    let published = wait(saveos_release::publish_signed(&store, &roots, targets, offered, &with))?;
    tell::published(&published, online.json)
}

fn read_root(file: &Path) -> anyhow::Result<Signed<tough::schema::Root>> {
    match Document::read(file)? {
        Document::Root(root) => Ok(root),
        Document::Targets(_) => bail!("{} is targets metadata, not a root", file.display()),
    }
}

fn read_roots(files: &[PathBuf]) -> anyhow::Result<Roots> {
    let roots = files.iter().map(|file| read_root(file)).collect::<Result<Vec<_>, _>>()?;
    Roots::new(roots).context("no root is given")
}

fn after_days(now: jiff::Timestamp, days: u16) -> anyhow::Result<jiff::Timestamp> {
    let then = now.checked_add(jiff::SignedDuration::from_hours(i64::from(days) * 24))?;
    Ok(jiff::Timestamp::from_second(then.as_second())?)
}

/// A new file: a draft that people signed is not written over.
fn make(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let file = std::fs::File::options().write(true).create_new(true).mode(0o644).open(path);
    let mut file = file.with_context(|| format!("could not make {}", path.display()))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(|| format!("could not write {}", path.display()))
}

/// In place of what was there: a cut leaves the one or the other, never half of the signatures.
fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut name = path.file_name().context("a file has a name")?.to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("could not remove {}", new.display()));
        }
        _ => make(&new, bytes)?,
    }
    rename(&new, path).with_context(|| format!("could not replace {}", path.display()))
}

#[expect(clippy::disallowed_methods, reason = "the file that is renamed is on the disk; the folder follows")]
fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::rename(from, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}
