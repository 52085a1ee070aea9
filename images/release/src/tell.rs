//! What `saveos-release` says to those who sign and publish: on standard error what a person reads, on standard output what a program does.

use saveos_release::key::Sign;
use saveos_release::{Document, Found, Published, ROLES, Standing, hex, id};
use serde_json::json;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use tough::schema::{Root, Signed, Target};

/// The public half of a key: what others need to count its signatures.
pub(crate) fn public(key: &dyn Sign) -> anyhow::Result<()> {
    let public = key.tuf_key();
    eprintln!("key {}", hex(&id(&public)?));
    println!("{}", serde_json::to_string(&public)?);
    Ok(())
}

/// What somebody signs.
pub(crate) fn document(document: &Document) {
    match document {
        Document::Root(root) => {
            eprintln!("Root {}, until {}:", root.signed.version, root.signed.expires);
            for role in ROLES {
                let Some(holders) = root.signed.roles.get(&role) else { continue };
                let keys: Vec<String> = holders.keyids.iter().map(|id| short(&hex(id))).collect();
                eprintln!("  {role}: {} of {} keys: {}", holders.threshold, keys.len(), keys.join(", "));
            }
        }
        Document::Targets(targets) => {
            eprintln!("Targets {}, until {}:", targets.signed.version, targets.signed.expires);
            let mut all: Vec<_> = targets.signed.targets.iter().collect();
            all.sort_by_key(|(name, _)| name.raw().to_owned());
            for (name, target) in all {
                eprintln!(
                    "  {}  {} bytes  sha256 {}{}",
                    name.raw(),
                    target.length,
                    hex(&target.hashes.sha256),
                    said(target)
                );
            }
        }
    }
}

fn said(target: &Target) -> String {
    let text = |name: &str| target.custom.get(name).map(ToString::to_string);
    let epoch = text("security_epoch").map(|epoch| format!("  security epoch {epoch}"));
    let root_hash = text("root_hash").map(|hash| format!("  root hash {hash}"));
    let from = text("from").map(|from| format!("  from {from}"));
    let notes = text("notes").map(|notes| format!("  {notes}"));
    [epoch, root_hash, from, notes].into_iter().flatten().collect()
}

/// Asks whether that is to be signed.
pub(crate) fn agrees() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("nobody can be asked whether this is to be signed; --yes signs without");
    }
    eprint!("Sign it? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Who signed, who is missing.
pub(crate) fn standings(about: &Document, standings: &[Standing], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(standings)?);
        return Ok(());
    }
    document(about);
    for standing in standings {
        let (signed, threshold) = (standing.signed.len(), standing.threshold);
        println!("by root {}: {signed} of {threshold} signatures", standing.root);
        standing.signed.iter().for_each(|id| println!("  signed   {id}"));
        standing.missing.iter().for_each(|id| println!("  missing  {id}"));
    }
    Ok(())
}

/// What boxes read from now on.
pub(crate) fn published(published: &Published, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(published)?);
        return Ok(());
    }
    let Published { root, targets, snapshot, timestamp, expires, added } = published;
    added.iter().for_each(|name| println!("added {name}"));
    println!("root {root}, targets {targets}, snapshot {snapshot}, timestamp {timestamp}, fresh until {expires}");
    Ok(())
}

/// What is published, and whether something ends before `soon`.
pub(crate) fn status(
    root: &Signed<Root>,
    found: &Found,
    soon: jiff::Timestamp,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let (root, targets) = (&root.signed, &found.targets.signed);
    let (snapshot, timestamp) = (&found.snapshot.signed, &found.timestamp.signed);
    let roles = [
        ("root", root.version, root.expires),
        ("targets", targets.version, targets.expires),
        ("snapshot", snapshot.version, snapshot.expires),
        ("timestamp", timestamp.version, timestamp.expires),
    ];
    let mut names: Vec<&str> = targets.targets.keys().map(|name| name.raw()).collect();
    names.sort_unstable();
    if json {
        let role = |(role, version, expires): &(&str, std::num::NonZeroU64, jiff::Timestamp)| json!({ "role": role, "version": version, "expires": expires, "soon": *expires <= soon });
        println!("{}", json!({ "roles": roles.iter().map(role).collect::<Vec<_>>(), "targets": names }));
    } else {
        for (role, version, expires) in &roles {
            let note = if *expires <= soon { "  SOON OUT OF DATE" } else { "" };
            println!("{role} {version}, until {expires}{note}");
        }
        names.iter().for_each(|name| println!("  {name}"));
    }
    let late = roles.iter().any(|(.., expires)| *expires <= soon);
    Ok(if late { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn short(id: &str) -> String {
    id.chars().take(12).collect()
}
