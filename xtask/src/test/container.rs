//! Really builds `Dockerfile.prod`, on bases made of Debian's packages and this machine's compiler, and starts what came of it from its
//! unpacked files: it is healthy, it is nobody who may do more, it carries no secret, and it is small.

use crate::container;
use crate::setup;
use crate::shell::{output, quiet, root, run, succeeds};
use anyhow::{Context, bail, ensure};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Of the files of the image. Three quarters are Debian's.
const MOST_MIB: u64 = 250;
/// As that of the bases which the Dockerfile names, on whatever machine this is.
const SUITE: &str = "bookworm";
const TAG: &str = "localhost/saveos-server:test";
/// Nobody, as the image says.
const USER: &str = "10001";

pub(super) fn check() -> anyhow::Result<()> {
    setup::for_containers()?;
    let folder = root().join("target/container");
    // What was left of a run that was cut off.
    Storage::at(&folder).remove()?;
    std::fs::create_dir_all(&folder)?;
    let storage = Storage::at(&folder);
    let outcome = made(&storage).and_then(|()| looked_at(&storage));
    storage.remove()?;
    outcome
}

/// Where images are, away from those of whoever uses this machine.
struct Storage {
    folder: PathBuf,
    options: Vec<String>,
}

impl Storage {
    fn at(folder: &Path) -> Storage {
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let options = ["--root".to_owned(), path("storage"), "--runroot".to_owned(), path("run")];
        Storage { folder: folder.to_owned(), options: options.to_vec() }
    }

    fn options(&self) -> Vec<&str> {
        self.options.iter().map(String::as_str).collect()
    }

    fn buildah(&self, words: &[&str]) -> anyhow::Result<String> {
        output("buildah", &[&self.options()[..], words].concat()).map(|text| text.trim().to_owned())
    }

    fn remove(&self) -> anyhow::Result<()> {
        if self.folder.exists() {
            // Mounted files end with their containers.
            let _ = self.buildah(&["rm", "--all"]);
            quiet("rm", &["-rf", &self.folder.to_string_lossy()])?;
        }
        Ok(())
    }

    /// An image of one archive, by a file of build steps of its own.
    fn image(&self, name: &str, archive: &str, steps: &str) -> anyhow::Result<()> {
        let context = self.folder.to_string_lossy().into_owned();
        let file = self.folder.join(format!("{name}.dockerfile"));
        std::fs::File::create(&file)?.write_all(format!("FROM scratch\nADD {archive} /\n{steps}").as_bytes())?;
        let tag = format!("localhost/{name}");
        let how = ["build", "--isolation", "chroot", "--file", &file.to_string_lossy(), "--tag", &tag, &context];
        run("buildah", &[&self.options()[..], &how].concat())
    }
}

fn made(storage: &Storage) -> anyhow::Result<()> {
    let path = |name: &str| storage.folder.join(name).to_string_lossy().into_owned();
    let mirror = std::env::var("DEBIAN_MIRROR").unwrap_or_else(|_| "http://deb.debian.org/debian".to_owned());
    let from = format!("deb {mirror} {SUITE} main");
    run("mmdebstrap", &["--quiet", "--variant=apt", SUITE, &path("base.tar"), &from])?;
    let tools = "--include=gcc,libc6-dev,make,ca-certificates";
    run("mmdebstrap", &["--quiet", "--variant=apt", tools, SUITE, &path("builder.tar"), &from])?;
    // The compiler of this machine, without what is only read by people.
    let sysroot = output("rustc", &["--print", "sysroot"])?;
    let sysroot = sysroot.trim();
    run(
        "tar",
        &["-C", sysroot, "-cf", &path("rust.tar"), "--exclude=share", "--exclude=*.html", "bin", "lib", "libexec"],
    )?;
    storage.image("base", "base.tar", "")?;
    storage.image("builder", "builder.tar", "ADD rust.tar /usr/local/\n")?;
    // Crates that are here are not fetched once more.
    run("cargo", &["fetch", "--locked"])?;
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")))?;
    let volume = format!("{home}:/cargo");
    crate::dashboard::build()?;
    let more = ["--volume", &volume, "--build-arg", "CARGO_HOME=/cargo", "--build-arg", "CARGO_NET_OFFLINE=true"];
    let bases = ["--build-arg", "BUILDER=localhost/builder", "--build-arg", "BASE=localhost/base"];
    container::build(&storage.options(), TAG, &[&more[..], &bases].concat())
}

fn looked_at(storage: &Storage) -> anyhow::Result<()> {
    let says: serde_json::Value = serde_json::from_str(&storage.buildah(&["inspect", "--type", "image", TAG])?)?;
    let config = &says["Docker"]["config"];
    ensure!(config["User"] == format!("{USER}:{USER}"), "it runs as {}", config["User"]);
    let health: Vec<&str> = words(&config["Healthcheck"]["Test"]);
    ensure!(health == ["CMD", "saveos-server", "probe"], "{health:?}");
    let environment = words(&config["Env"]);
    ensure!(environment.iter().all(|one| one.starts_with("PATH=")), "more than a path: {environment:?}");
    // What was done to make it is in it as well, for everybody to read.
    let history = says["Docker"]["history"].to_string();
    ensure!(["PASSWORD", "SECRET", "TOKEN"].iter().all(|word| !history.contains(word)), "{history}");

    let container = storage.buildah(&["from", TAG])?;
    let files = PathBuf::from(storage.buildah(&["mount", &container])?);
    let size = output("du", &["--summarize", "--block-size=1M", &files.to_string_lossy()])?;
    let size: u64 = size.split_whitespace().next().context("a size")?.parse()?;
    println!("the files of the image: {size} MiB");
    ensure!(size <= MOST_MIB, "{size} MiB are more than {MOST_MIB}");
    for gone in ["build", "usr/local/cargo", "usr/bin/cc", "root/.cargo"] {
        ensure!(!files.join(gone).exists(), "{gone} is in it");
    }
    runs(&files)
}

/// An installation in it, begun, asked and ended as an engine does.
fn runs(files: &Path) -> anyhow::Result<()> {
    let own = |words: &[&str]| {
        let mut command = Command::new("chroot");
        command.args([
            "--userspec",
            &format!("{USER}:{USER}"),
            &files.to_string_lossy(),
            "/usr/local/bin/saveos-server",
        ]);
        // As from the image: nothing of ours is in its environment.
        command.args(words).env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    };
    let ports: Vec<String> = (0..3).map(|_| free_port()).collect::<anyhow::Result<_>>()?;
    let init = ["init", "--json", "--host", "localhost", "--bind", "127.0.0.1", "--organisation", "A test"];
    let rest = ["--admin", "admin@example.org", "--https-port", &ports[0], "--mqtt-port", &ports[1]];
    let done = own(&[&init[..], &rest].concat()).output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let metrics = format!("127.0.0.1:{}", ports[2]);
    let mut process = Ended(own(&["run", "--metrics", &metrics]).stdin(Stdio::null()).spawn()?);
    let end = Instant::now() + Duration::from_secs(30);
    while !own(&["probe", "--at", &metrics]).stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
        if Instant::now() > end {
            bail!("it is not healthy after 30 s");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id()))?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:")).context("a user")?;
    ensure!(users.split_whitespace().all(|user| user == USER), "it runs as{users}");
    println!("healthy as user {USER}");
    let pid = process.0.id().to_string();
    ensure!(succeeds("kill", &["-TERM", &pid]), "it ended by itself");
    ensure!(process.0.wait()?.success(), "it did not end well");
    Ok(())
}

/// A process that does not outlive the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn words(list: &serde_json::Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(serde_json::Value::as_str).collect()
}

fn free_port() -> anyhow::Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string())
}
