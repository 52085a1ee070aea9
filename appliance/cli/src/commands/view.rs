//! `saveos view`: a snapshot as a read-only NBD export, until Ctrl-C.

use crate::args::Repo;
use crate::output::{Exit, Output, complain};
use crate::{progress, session};
use anyhow::Context;
use saveos_engine::lease::LeaseKind;
use saveos_engine::view::{SnapshotDisk, nbd};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Connections at a time: QEMU opens one, nbdcopy four.
const CONNECTIONS: usize = 16;

pub(crate) fn run(wanted: &str, repo: &Repo, socket: &Path, out: &Output) -> anyhow::Result<Exit> {
    let repository = session::open(repo, LeaseKind::Reader, out)?;
    let (id, snapshot) = repository.find_snapshot(wanted)?;
    let disk = Arc::new(SnapshotDisk::open(repository, &snapshot, &session::scratch(&repo.repo))?);
    let listener = listen(socket).with_context(|| format!("could not make the socket {}", socket.display()))?;
    let _remove = Remove(socket);
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    progress::catch_interrupts()?;
    out.note(&format!(
        "serving {} on nbd+unix:///?socket={}; Ctrl-C ends it",
        &id.to_string()[..12],
        socket.display()
    ))?;
    out.object(&serde_json::json!({"type": "serving", "snapshot": id, "socket": socket}))?;
    let busy = Arc::new(());
    while !progress::interrupted() {
        match listener.accept() {
            Ok((mut stream, _)) if Arc::strong_count(&busy) <= CONNECTIONS => {
                stream.set_nonblocking(false)?;
                let (disk, slot) = (Arc::clone(&disk), Arc::clone(&busy));
                std::thread::spawn(move || {
                    if let Err(error) = nbd::serve(&*disk, &mut stream) {
                        complain(&format!("warning: a client was cut off: {error}"));
                    }
                    drop(slot);
                });
            }
            Ok(_) => {} // dropped: too many at once
            Err(wait) if wait.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(20)),
            Err(other) => return Err(other.into()),
        }
    }
    Ok(Exit::Complete)
}

/// Binds. A socket that a killed server left behind, which nobody answers, gives way.
fn listen(socket: &Path) -> std::io::Result<UnixListener> {
    let bound = UnixListener::bind(socket);
    let Err(in_use) = &bound else { return bound };
    let is_socket = std::fs::symlink_metadata(socket).is_ok_and(|metadata| metadata.file_type().is_socket());
    if in_use.kind() != ErrorKind::AddrInUse || !is_socket {
        return bound;
    }
    match UnixStream::connect(socket) {
        Err(refused) if refused.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(socket)?;
            UnixListener::bind(socket)
        }
        _ => bound,
    }
}

struct Remove<'a>(&'a Path);

impl Drop for Remove<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0); // best effort: a stale socket harms nobody
    }
}
