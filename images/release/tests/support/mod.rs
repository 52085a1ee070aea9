//! Holders, their keys, and bundles that RAUC made, in a folder that goes away: what every test of the ceremony begins with.
#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod bucket;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tough::{RepositoryLoader, TargetName};

/// A folder in which everything of a ceremony lies.
pub(crate) struct Workshop {
    folder: tempfile::TempDir,
    /// Added to every run.
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// What a run said.
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) ok: bool,
}

/// Three who sign roots and releases, two machines.
pub(crate) const KEYS: [&str; 8] = ["anna", "bela", "cleo", "dora", "emil", "fritz", "snapshot", "timestamp"];

/// `None`, and a line for the count of what was left out, where a program is missing.
pub(crate) fn workshop() -> Option<Workshop> {
    for program in ["rauc", "mksquashfs", "openssl", "softhsm2-util"] {
        if Command::new(program).arg("--version").output().is_err() {
            println!("SKIPPED: no {program}");
            return None;
        }
    }
    let workshop = Workshop { folder: tempfile::tempdir().expect("a folder"), variables: Vec::new() };
    script("keys.sh", &[&workshop.path("signers")]);
    for key in KEYS {
        workshop.key(key);
    }
    Some(workshop)
}

impl Workshop {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the program in the folder, so that names are short.
    pub(crate) fn run(&self, line: &str) -> Said {
        self.run_words(&line.split_whitespace().collect::<Vec<_>>())
    }

    pub(crate) fn run_words(&self, words: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_saveos-release"));
        command.args(words).current_dir(self.folder.path()).envs(self.variables.iter().cloned());
        let Output { status, stdout, stderr } = command.output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Said { out: text(stdout), err: text(stderr), ok: status.success() }
    }

    /// Runs it, and it works; what it printed.
    pub(crate) fn does(&self, line: &str) -> String {
        let said = self.run(line);
        assert!(said.ok, "{line}: {}{}", said.out, said.err);
        said.out
    }

    /// Runs it, and it refuses, for a reason.
    pub(crate) fn refuses(&self, line: &str, why: &str) {
        let said = self.run(line);
        assert!(!said.ok, "{line} worked");
        assert!(said.err.contains(why), "{line}: {}", said.err);
    }

    pub(crate) fn put(&self, name: &str, text: &str) {
        use std::io::Write;
        let written = std::fs::File::create(self.path(name)).and_then(|mut file| file.write_all(text.as_bytes()));
        written.expect("a file");
    }

    /// A key in a file, and its public half beside it.
    pub(crate) fn key(&self, name: &str) {
        let public = self.does(&format!("key new {name}.pem"));
        self.put(&format!("{name}.pub"), &public);
    }

    /// The first root: two of three for roots and for releases, signed.
    pub(crate) fn root(&self) {
        self.does(
            "root --root-key anna.pub --root-key bela.pub --root-key cleo.pub --root-threshold 2 --targets-key dora.pub \
             --targets-key emil.pub --targets-key fritz.pub --snapshot-key snapshot.pub --timestamp-key timestamp.pub 1.json",
        );
        self.does("sign --yes --key anna.pem 1.json");
        self.does("sign --yes --key cleo.pem 1.json");
    }

    /// A bundle that RAUC made and signed.
    pub(crate) fn bundle(&self, release: &str) {
        let slot = self.path(&format!("slot-{release}"));
        std::fs::create_dir(&slot).expect("a folder");
        self.put(&format!("slot-{release}/kernel.img"), release);
        // Longer than a page after it was packed, and different every time, as a build is.
        let noise = Command::new("head").args(["-c", "65536", "/dev/urandom"]).output().expect("it runs").stdout;
        let digits: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
        self.put(&format!("slot-{release}/root.img"), &digits);
        // As `images/build/slot.sh` leaves it.
        self.put(&format!("slot-{release}/root.hash"), &format!("{}\n", "ab".repeat(32)));
        let signers = self.path("signers");
        let (signer, key, authority) =
            (signers.join("signer.pem"), signers.join("signer.key"), signers.join("authority.pem"));
        let bundle = self.path(&format!("{release}.raucb"));
        script("bundle.sh", &["saveos-qemu".as_ref(), release.as_ref(), &slot, &signer, &key, &authority, &bundle]);
    }

    /// Drafts the next release and lets two sign it: `targets-RELEASE.json`.
    pub(crate) fn release(&self, release: &str, at: Option<&str>, more: &str) {
        self.bundle(release);
        let at = at.map_or(String::new(), |at| format!("--at {at}"));
        self.does(&format!(
            "draft {at} --root 1.json --bundle {release}.raucb --keyring signers/authority.pem {more} targets-{release}.json"
        ));
        for key in ["dora", "fritz"] {
            self.does(&format!("sign --yes --root 1.json --key {key}.pem targets-{release}.json"));
        }
    }

    /// Publishes with the keys of the machines.
    pub(crate) fn online(&self, command: &str, to: &str, root: &str, more: &str) -> String {
        format!("{command} --to {to} --root {root} --snapshot-key snapshot.pem --timestamp-key timestamp.pem {more}")
    }

    /// What a client that was shipped with a root finds at an address: names of targets, each fetched whole.
    pub(crate) fn client(&self, root: &str, base: &str) -> Result<Vec<String>, String> {
        let root = std::fs::read(self.path(root)).expect("a root");
        let at = |folder| format!("{base}/{folder}/").parse().expect("a URL");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let repository = RepositoryLoader::new(&root, at("metadata"), at("targets"));
            let repository = repository.load().await.map_err(|error| error.to_string())?;
            let mut names = Vec::new();
            for name in repository.targets().signed.targets.keys() {
                let into = tempfile::tempdir().expect("a folder");
                let saved = repository.save_target(name, into.path(), tough::Prefix::None).await;
                saved.map_err(|error| error.to_string())?;
                names.push(TargetName::raw(name).to_owned());
            }
            names.sort();
            Ok(names)
        })
    }

    /// The same in a folder.
    pub(crate) fn client_of_folder(&self, root: &str, folder: &str) -> Result<Vec<String>, String> {
        self.client(root, &format!("file://{}", self.path(folder).display()))
    }
}

fn script(name: &str, arguments: &[&Path]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../build").join(name);
    let out = Command::new(script).args(arguments).output().expect("it runs");
    assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
}
