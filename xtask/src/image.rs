//! Makes the appliance's image and its update bundles from `images/`, and starts them on a bench.

mod board;
mod sbom;

use crate::cross;
use crate::setup;
use crate::shell::{build_programs, output, quiet, root, run as shell};
use crate::test::tally::Tally;
use anyhow::{Context, bail};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What an appliance runs of ours.
pub(crate) const PROGRAMS: &[&str] = &["saveos-daemon", "saveos", "saveos-bootctl"];

/// The machine that can be started anywhere.
const VIRTUAL: &str = "qemu";

/// What it is made for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Boxes: small, and as fast as it can be.
    Release,
    /// A bench: quick to make, not too slow where it is emulated.
    Bench,
    /// The smoke test: with programs that another suite builds anyway.
    Smoke,
}

/// Where an image and what belongs to it are made.
struct Workshop {
    machine: String,
    folder: PathBuf,
    /// The date of everything in it: that of the commit.
    date: String,
    version: String,
    purpose: Purpose,
    /// Keys that are not those of the bench: `authority.pem`, `signer.pem`, `signer.key`, `release-root.json`.
    given: Option<PathBuf>,
}

/// Systems for a bench, by what was done to them: name, version, change.
const RELEASES: &[(&str, &str, &str)] = &[
    ("good", "2.0.0", "mkdir -p usr/share/saveos && echo 2 >usr/share/saveos/generation"),
    ("panics", "3.0.0", "rm usr/lib/systemd/systemd"),
    ("daemonless", "3.1.0", "rm usr/bin/saveosd"),
    ("crashes", "3.2.0", "rm usr/bin/saveosd; ln -s /usr/bin/false usr/bin/saveosd"),
    ("rotten", "3.3.0", "true"),
    ("blind", "3.4.0", "rm usr/lib/modules/*/kernel/drivers/usb/storage/*"),
    (
        "hangs",
        "3.5.0",
        "printf '%s\\n' '[Unit]' DefaultDependencies=no '[Service]' 'ExecStart=/usr/bin/sh -c \"sleep 45; kill -SEGV 1\"' \
         >etc/systemd/system/hang.service; ln -s ../hang.service etc/systemd/system/sysinit.target.wants/",
    ),
];

/// `cargo xtask image`.
pub(crate) fn run(words: &[&str]) -> anyhow::Result<()> {
    let (machine, keys) = match words {
        [] => ("qemu", None),
        ["--machine", machine] => (*machine, None),
        ["--machine", machine, "--keys", folder] => (*machine, Some(Path::new(*folder))),
        other => bail!("image does not know `{}`", other.join(" ")),
    };
    let mut workshop = Workshop::open(machine, Purpose::Release)?;
    workshop.given = keys.map(Path::to_owned);
    workshop.make()?;
    println!("made in {}", workshop.folder.display());
    Ok(())
}

/// What people get, with these keys: a new box believes their root, and its RAUC their authority. The folder in which it is.
pub(crate) fn release(machine: &str, keys: &Path) -> anyhow::Result<PathBuf> {
    let mut workshop = Workshop::open(machine, Purpose::Release)?;
    workshop.given = Some(keys.to_owned());
    workshop.make()?;
    Ok(workshop.folder)
}

/// `cargo xtask hil`.
pub(crate) fn hil(words: &[&str]) -> anyhow::Result<()> {
    let (machine, words) = match words {
        ["--machine", machine, words @ ..] => (*machine, words),
        words => (VIRTUAL, words),
    };
    let workshop = Workshop::open(machine, Purpose::Bench)?;
    workshop.make()?;
    workshop.make_for_bench()?;
    build_control_plane()?;
    workshop.start(words)
}

/// The quick scenarios, on a new box: it starts, and it backs up a disk that is plugged in. `enrol` needs more time than they have with
/// programs that nobody optimised.
pub(crate) fn smoke(tally: &mut Tally) -> anyhow::Result<()> {
    if output("id", &["-u"])?.trim() != "0" {
        tally.line("SKIPPED: an image holds files of root");
        return Ok(());
    }
    let workshop = Workshop::open(VIRTUAL, Purpose::Smoke)?;
    let from = workshop.make()?;
    let made = workshop.checksum()?;
    workshop.assemble(&from)?;
    if workshop.checksum()? != made {
        bail!("the same packages and programs gave another image the second time");
    }
    tally.passed();
    workshop.make_environment()?;
    for scenario in ["boot_ready", "usb_backup"] {
        workshop.start(&[scenario])?;
        tally.passed();
    }
    let workshop = Workshop::open("rpi4", Purpose::Smoke)?;
    workshop.make()?;
    board::check_rpi4(&workshop.folder)?;
    tally.passed();
    Ok(())
}

/// What stands beside a bench. In a tree that is tested as a whole, it is built.
fn build_control_plane() -> anyhow::Result<()> {
    crate::dashboard::build()?;
    build_programs()
}

/// Changes one bit in the middle.
fn rot(image: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().read(true).write(true).open(image)?;
    let (at, mut byte) = (file.metadata()?.len() / 3, [0]);
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1], at)?;
    Ok(())
}

/// From what an image is made.
struct Inputs {
    /// Debian's packages, unpacked.
    archive: PathBuf,
    /// The folder of our programs.
    programs: PathBuf,
}

impl Workshop {
    fn open(machine: &str, purpose: Purpose) -> anyhow::Result<Workshop> {
        let definition = root().join("images").join(machine);
        if !definition.join("genimage.cfg").is_file() {
            bail!("no machine `{machine}`: there is no {}", definition.display());
        }
        if output("id", &["-u"])?.trim() != "0" {
            bail!("an image holds files of root: run this as root");
        }
        setup::for_images()?;
        let folder = root().join("target/image").join(machine);
        std::fs::create_dir_all(&folder)?;
        let date = output("git", &["log", "-1", "--format=%ct"])?.trim().to_owned();
        let version = std::fs::read_to_string(root().join("VERSION"))?.trim().to_owned();
        Ok(Workshop { machine: machine.to_owned(), folder, date, version, purpose, given: None })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs a script of `images/build`.
    fn script(&self, name: &str, arguments: &[&Path]) -> anyhow::Result<()> {
        let script = root().join("images/build").join(name);
        let keyring = self.keys()?.join("authority.pem");
        let mut command = Command::new(&script);
        command.args(arguments).env("SAVEOS_KEYRING", keyring);
        command.env("SAVEOS_RELEASE_ROOT", self.release_root());
        if self.purpose != Purpose::Release {
            command.env("SAVEOS_ZSTD", "3");
        }
        // A box that QEMU emulates is on a bench, whatever it is made for.
        if self.purpose == Purpose::Bench || self.machine == VIRTUAL {
            command.env("SAVEOS_BENCH", "1");
        }
        println!("$ {name} {}", arguments.last().map_or(String::new(), |last| last.display().to_string()));
        let status = command.status().with_context(|| format!("could not start {}", script.display()))?;
        if status.success() { Ok(()) } else { bail!("{name} ended with {status}") }
    }

    fn keys(&self) -> anyhow::Result<PathBuf> {
        if let Some(folder) = &self.given {
            return Ok(folder.clone());
        }
        let folder = root().join("target/image/keys");
        quiet(&root().join("images/build/keys.sh").to_string_lossy(), &[&folder.to_string_lossy()])?;
        Ok(folder)
    }

    /// Whose signatures make a release for this image: keys of the bench.
    fn release_keys(&self) -> anyhow::Result<()> {
        let (keys, file) = (root().join("target/image/keys/release"), self.release_root());
        if file.is_file() {
            return Ok(());
        }
        let release = ["run", "--locked", "--quiet", "-p", "saveos-release", "--", "bench", "--days", "7300", "--keys"];
        let (keys, file) = (keys.to_string_lossy(), file.to_string_lossy());
        shell("cargo", &[&release[..], &[&keys, &file]].concat())
    }

    fn release_root(&self) -> PathBuf {
        let folder = self.given.clone().unwrap_or_else(|| root().join("target/image/keys"));
        folder.join("release-root.json")
    }

    /// Debian's packages, fetched once for each list of them.
    fn packages(&self) -> anyhow::Result<PathBuf> {
        let (list, own) =
            (root().join("images/rootfs/packages"), root().join("images").join(&self.machine).join("packages"));
        // What machines have in common is fetched once for all of them.
        let name = if own.is_file() { format!("packages-{}", self.machine) } else { "packages".to_owned() };
        let at = |end: &str| root().join("target/image").join(format!("{name}.{end}"));
        let (archive, of) = (at("tar"), at("of"));
        let lists: Vec<&Path> = [&list, &own].into_iter().filter(|path| path.is_file()).map(PathBuf::as_path).collect();
        let mut wanted = String::new();
        for list in &lists {
            wanted.push_str(&std::fs::read_to_string(list)?);
        }
        if !archive.is_file() || std::fs::read_to_string(&of).ok().as_ref() != Some(&wanted) {
            self.script("fetch.sh", &[&lists[..], &[&archive]].concat())?;
            std::fs::File::create(&of)?.write_all(wanted.as_bytes())?;
        }
        Ok(archive)
    }

    /// The image of a new box, and the bundle that updates another to it; from what they are made.
    fn make(&self) -> anyhow::Result<Inputs> {
        let profile = match self.purpose {
            Purpose::Release => "release",
            Purpose::Bench => "box",
            Purpose::Smoke => "cross",
        };
        let programs = match cross::build(PROGRAMS, profile)? {
            Ok(folder) => folder,
            Err(why) => bail!(why),
        };
        let archive = self.packages()?;
        self.keys()?;
        self.release_keys()?;
        let name = |kind: &str| format!("saveos-{}-{}.{kind}", self.machine, self.version);
        sbom::write(&archive, &self.version, &self.path(&name("cdx.json")))?;
        shell("cargo", &["build", "--locked", "--quiet", "-p", "saveos-bootctl"])?;
        let from = Inputs { archive, programs };
        self.assemble(&from)?;
        self.bundle("first", &self.version, &name("raucb"))?;
        Ok(from)
    }

    /// The disk of a new box.
    fn assemble(&self, from: &Inputs) -> anyhow::Result<()> {
        let tree = self.path("root");
        self.script("rootfs.sh", &[&from.archive, &from.programs, Path::new(&self.machine), &tree])?;
        self.slot("first", &tree, &self.version)?;
        let bootctl = root().join("target/debug/saveos-bootctl");
        let machine = Path::new(&self.machine);
        let (slot, boot) = (self.path("first"), self.path("root.boot"));
        self.script("disk.sh", &[machine, &slot, &boot, &bootctl, Path::new(&self.date), &self.path("disk.img")])
    }

    fn checksum(&self) -> anyhow::Result<String> {
        output("sha256sum", &[&self.path("disk.img").to_string_lossy()])
    }

    fn slot(&self, name: &str, tree: &Path, version: &str) -> anyhow::Result<()> {
        let (version, date, machine) = (Path::new(version), Path::new(&self.date), Path::new(&self.machine));
        self.script("slot.sh", &[tree, version, date, machine, &self.path(name)])
    }

    fn bundle(&self, slot: &str, version: &str, name: &str) -> anyhow::Result<()> {
        let keys = self.keys()?;
        let compatible = format!("saveos-{}", self.machine);
        let (certificate, key, keyring) =
            (keys.join("signer.pem"), keys.join("signer.key"), keys.join("authority.pem"));
        let (slot, bundle) = (self.path(slot), self.path(name));
        let words = [Path::new(&compatible), Path::new(version), &slot, &certificate, &key, &keyring, &bundle];
        self.script("bundle.sh", &words)
    }

    /// Starts scenarios on the virtual bench.
    fn start(&self, words: &[&str]) -> anyhow::Result<()> {
        let folder = self.folder.to_string_lossy().into_owned();
        let bench = ["run", "--locked", "--quiet", "-p", "saveos-hil", "--", "--images", &folder];
        shell("cargo", &[&bench[..], words].concat())
    }

    /// U-Boot's environment: which disk, at which addresses.
    fn make_environment(&self) -> anyhow::Result<()> {
        let environment = self.path("uboot-env.bin");
        let text = root().join("images/qemu/uboot.env");
        quiet("mkenvimage", &["-s", "0x40000", "-o", &environment.to_string_lossy(), &text.to_string_lossy()])
    }

    /// What a bench starts besides: a system that works, and one that does not.
    fn make_for_bench(&self) -> anyhow::Result<()> {
        if self.machine == VIRTUAL {
            self.make_environment()?;
        }
        let tree = self.path("root");
        for (name, version, change) in RELEASES {
            let changed = self.path(&format!("root-{name}"));
            let (from, to) = (tree.to_string_lossy(), changed.to_string_lossy());
            // Links to the same files: a change makes new ones or takes a link away.
            quiet(
                "sh",
                &["-ec", "rm -rf \"$2\"; cp -al \"$1\" \"$2\"; cd \"$2\"; eval \"$3\"", "sh", &from, &to, change],
            )?;
            quiet("ln", &["-sf", &format!("{from}.kernel"), &format!("{to}.kernel")])?;
            self.slot(name, &changed, version)?;
            if *name == "rotten" {
                // As flash does it that forgets: signed, written, read back, and wrong when it starts.
                rot(&self.path("rotten/root.img"))?;
            }
            self.bundle(name, version, &format!("{name}.raucb"))?;
            std::fs::remove_dir_all(&changed)?;
        }
        Ok(())
    }
}
