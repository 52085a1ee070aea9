//! A PostgreSQL of our own: on a free port, in a folder that is thrown away, ended by its folder. Also what `cargo xtask test cluster`
//! starts; so nothing but the standard library is used here.

use super::ports::free_port;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The server. It ends when this is dropped.
pub(crate) struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
}

impl Postgres {
    /// Starts one on the new folder `folder`; `None` where none is installed.
    pub(crate) fn start(folder: &Path) -> io::Result<Option<Postgres>> {
        let Some(programs) = programs() else { return Ok(None) };
        std::fs::create_dir(folder)?;
        if is_root() {
            // It runs as nobody who could do harm, and refuses to run as root.
            ended(Command::new("chown").arg("postgres").arg(folder))?;
        }
        let port = free_port();
        let server = Postgres { programs, folder: folder.to_owned(), port };
        let words = ["--auth=trust", "--username=saveos", "--locale=C", "--encoding=UTF8", "--no-instructions"];
        ended(server.program("initdb").args(words))?;
        server.begin()?;
        Ok(Some(server))
    }

    /// The database that every server has: to make others in.
    pub(crate) fn url(&self) -> String {
        format!("postgresql://saveos@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it again.
    pub(crate) fn begin(&self) -> io::Result<()> {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c max_connections=400",
            self.port,
            self.folder.display()
        );
        let log = self.folder.join("log");
        ended(self.program("pg_ctl").args(["start", "--wait", "--silent", "-o", &options]).arg("--log").arg(log))
    }

    /// Ends it: connections break, and what was committed is there.
    pub(crate) fn end(&self) -> io::Result<()> {
        ended(self.program("pg_ctl").args(["stop", "--mode=fast", "--wait", "--silent"]))
    }

    fn program(&self, name: &str) -> Command {
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(self.programs.join(name));
            command
        } else {
            Command::new(self.programs.join(name))
        };
        command.arg("-D").arg(self.folder.join("data")).current_dir("/").env("LC_ALL", "C");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It may have been ended already.
        let _ = ended(self.program("pg_ctl").args(["stop", "--mode=immediate", "--silent"]));
    }
}

/// Where Debian keeps them, the newest release last.
fn programs() -> Option<PathBuf> {
    let releases = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> = releases.flatten().map(|release| release.path().join("bin")).collect();
    found.retain(|folder| folder.join("postgres").exists());
    found.sort();
    found.pop()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|ourselves| ourselves.uid() == 0)
}

fn ended(command: &mut Command) -> io::Result<()> {
    // Into a file and not a pipe: the server keeps it open, and whoever reads a pipe to its end waits for the server's.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let (mut child, until) = (status, Instant::now() + Duration::from_secs(60));
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(io::Error::other(format!("{command:?} ended with {status}"))),
            None if Instant::now() > until => return Err(io::Error::other(format!("{command:?} does not end"))),
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
