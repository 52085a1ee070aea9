//! Leases: who is using the repository. One writer, one sweeper, many readers; the kernel frees them when a process dies,
//! so nobody ever clears a lock by hand. FORMAT.md §9.

use crate::chunk::hex;
use crate::seal::random_bytes;
use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// What a process does with the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseKind {
    /// Backs up.
    Writer,
    /// Prunes, forgets, repairs, changes keys.
    Sweeper,
    /// Restores, verifies, lists.
    Reader,
}

impl LeaseKind {
    const fn name(self) -> &'static str {
        match self {
            LeaseKind::Writer => "writer",
            LeaseKind::Sweeper => "sweeper",
            LeaseKind::Reader => "reader",
        }
    }
}

/// Why no lease was given.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else has it.
    #[error("the repository is in use: {holder}")]
    Held {
        /// `writer, process 123 (boot …)`.
        holder: String,
    },
    /// The lock files could not be used.
    #[error("could not use the lease file {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A lease. Ends when dropped, or with its process.
#[derive(Debug)]
pub struct Lease {
    // The locks live as long as these files are open.
    _own: File,
    _gate: Option<File>,
    path: PathBuf,
    name: String,
    kind: LeaseKind,
    boot: String,
}

/// Takes a lease in the folder `locks`. `boot` names this boot of the machine, for the words of a refusal.
pub fn take(locks: &Path, kind: LeaseKind, boot: &str) -> Result<Lease, LeaseError> {
    let gate = match kind {
        LeaseKind::Reader => None,
        LeaseKind::Writer | LeaseKind::Sweeper => Some(pass_gate(&locks.join(kind.name()), kind, boot)?),
    };
    let name = format!("{}-{}", kind.name(), hex(&random_bytes::<8>()));
    let path = locks.join(&name);
    let io = |source| LeaseError::Io { path: path.clone(), source };
    // Locked under a name no other process looks at, then shown: a lease that is listed is always held.
    let hidden = locks.join(format!(".{name}"));
    let mut own = File::options().write(true).create_new(true).open(&hidden).map_err(io)?;
    own.lock().map_err(io)?;
    write_who(&mut own, boot).map_err(io)?;
    #[expect(clippy::disallowed_methods, reason = "leases mean nothing after a power cut")]
    fs::rename(&hidden, &path).map_err(io)?;
    Ok(Lease { _own: own, _gate: gate, path, name, kind, boot: boot.to_owned() })
}

fn pass_gate(path: &Path, kind: LeaseKind, boot: &str) -> Result<File, LeaseError> {
    let io = |source| LeaseError::Io { path: path.to_owned(), source };
    let mut gate = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
    match gate.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Best effort: the holder may be just writing it.
            let _ = Read::by_ref(&mut gate).take(200).read_to_string(&mut text);
            let who = if text.is_empty() { "another process".to_owned() } else { text };
            return Err(LeaseError::Held { holder: format!("{}, {who}", kind.name()) });
        }
        Err(TryLockError::Error(source)) => return Err(io(source)),
    }
    gate.set_len(0).map_err(io)?;
    write_who(&mut gate, boot).map_err(io)?;
    Ok(gate)
}

/// The text is for people and the lock is what counts: on a full disk a restore and a prune go on without it.
fn write_who(file: &mut File, boot: &str) -> io::Result<()> {
    match file.write_all(describe(boot).as_bytes()) {
        Err(full) if full.kind() == io::ErrorKind::StorageFull => Ok(()),
        other => other,
    }
}

fn describe(boot: &str) -> String {
    format!("process {} (boot {boot})", std::process::id())
}

impl Lease {
    /// Its name: what a dead list waits for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its holder does.
    pub fn kind(&self) -> LeaseKind {
        self.kind
    }

    /// Another lease of the same repository.
    pub fn beside(&self, kind: LeaseKind) -> Result<Lease, LeaseError> {
        take(self.path.parent().expect("a lease lies in a folder"), kind, &self.boot)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Best effort: `held` removes the files of the dead.
        let _ = fs::remove_file(&self.path);
    }
}

/// Names of all leases that are held now. Files of dead processes are removed.
pub fn held(locks: &Path) -> Result<BTreeSet<String>, LeaseError> {
    let io = |source| LeaseError::Io { path: locks.to_owned(), source };
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(locks).map_err(io)? {
        let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        if !name.trim_start_matches('.').contains('-') {
            continue; // the gates themselves
        }
        let path = locks.join(&name);
        let file = match File::open(&path) {
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(io)?,
        };
        match file.try_lock() {
            Ok(()) if name.starts_with('.') => {} // between its creation and its lock: not shown yet
            Ok(()) => drop(fs::remove_file(&path)), // best effort, as above
            Err(TryLockError::WouldBlock) => drop(names.insert(name.trim_start_matches('.').to_owned())),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
    }
    Ok(names)
}

/// Whether nobody holds a lease of this kind now.
pub fn is_free(locks: &Path, kind: LeaseKind) -> Result<bool, LeaseError> {
    Ok(!held(locks)?.iter().any(|name| name.starts_with(kind.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let first = take(folder.path(), LeaseKind::Writer, "b1").unwrap();
        let refused = take(folder.path(), LeaseKind::Writer, "b1").unwrap_err().to_string();
        assert!(refused.contains(&format!("writer, process {} (boot b1)", std::process::id())), "{refused}");
        take(folder.path(), LeaseKind::Sweeper, "b1").unwrap();
        drop(first);
        take(folder.path(), LeaseKind::Writer, "b1").unwrap();
    }

    #[test]
    fn leases_of_the_dead_are_not_held() {
        let folder = tempfile::tempdir().unwrap();
        let reader = take(folder.path(), LeaseKind::Reader, "b1").unwrap();
        fs::File::create(folder.path().join("reader-0011223344556677")).unwrap();
        assert_eq!(held(folder.path()).unwrap(), BTreeSet::from([reader.name().to_owned()]));
        assert!(!folder.path().join("reader-0011223344556677").exists());
        drop(reader);
        assert!(held(folder.path()).unwrap().is_empty());
    }
}
