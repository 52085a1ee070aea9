//! Runs the real binary and other tools.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// How a command ended and what it said.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
    what: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Ran {
        let what = format!("{command:?}");
        let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
        Ran::from(output, what)
    }

    pub(crate) fn from(output: Output, what: String) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            what,
        }
    }

    /// Insists on an exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Ran {
        assert_eq!(
            self.code,
            code,
            "{}\n{}{}",
            self.what,
            String::from_utf8_lossy(&self.out[..self.out.len().min(4000)]),
            self.err
        );
        self
    }

    /// Insists on exit code 1 and these words on standard error.
    #[track_caller]
    pub(crate) fn refuses(self, words: &str) -> Ran {
        let ran = self.exits(1);
        assert!(ran.err.contains(words), "{}: {words:?} not in {:?}", ran.what, ran.err);
        assert!(ran.err.starts_with("error: ") || ran.err.contains("\nerror: "), "{}", ran.err);
        ran
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).expect("text")
    }

    /// Every line of standard output is one JSON object.
    #[track_caller]
    pub(crate) fn objects(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let objects: Vec<Value> = self.text().lines().map(parse).collect();
        assert!(objects.iter().all(|object: &Value| object["type"].is_string()), "{objects:?}");
        objects
    }

    /// The last JSON object, which has this type.
    #[track_caller]
    pub(crate) fn last(&self, kind: &str) -> Value {
        let last = self.objects().pop().unwrap_or_else(|| panic!("{} printed nothing: {}", self.what, self.err));
        assert_eq!(last["type"], kind, "{last}");
        last
    }
}

/// `saveos` with no secret and no repository in its environment.
pub(crate) fn saveos() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saveos"));
    command.env_remove("SAVEOS_REPO").env_remove("SAVEOS_PASSPHRASE").env_remove("SAVEOS_NEW_PASSPHRASE");
    command.stdin(Stdio::null());
    command
}

/// A repository that opens with a device key: a passphrase would cost each command the time of Argon2.
pub(crate) struct Repo {
    home: tempfile::TempDir,
}

impl Repo {
    pub(crate) fn new() -> Repo {
        let repo = Repo { home: tempfile::tempdir().expect("a scratch folder") };
        super::write(&repo.key(), "5a".repeat(32).as_bytes());
        let made = Ran::of(saveos().arg("init").arg(repo.path()).arg("--key-file").arg(repo.key())).exits(0);
        assert!(made.text().contains("24 words"));
        repo
    }

    /// The repository's folder.
    pub(crate) fn path(&self) -> PathBuf {
        self.home.path().join("repo")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.home.path().join("key")
    }

    /// A name for a file beside the repository.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A command on this repository.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = saveos();
        command.args(arguments).arg("--repo").arg(self.path()).arg("--key-file").arg(self.key());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Runs with `--json`.
    pub(crate) fn json(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).arg("--json"))
    }

    /// Backs up; the summary.
    #[track_caller]
    pub(crate) fn backup(&self, source: &Path, name: &str) -> Value {
        let ran = self.json(&["backup", text(source), "--name", name]).exits(0);
        let summary = ran.last("summary");
        assert_eq!(summary["state"], "complete", "{summary}");
        assert_eq!(summary["snapshot"].as_str().map(str::len), Some(64));
        summary
    }

    /// Bytes of all packs.
    pub(crate) fn pack_bytes(&self) -> u64 {
        fn size(folder: &Path) -> u64 {
            let entries = std::fs::read_dir(folder).expect("a folder").flatten();
            entries
                .map(|entry| match entry.metadata().expect("metadata") {
                    metadata if metadata.is_dir() => size(&entry.path()),
                    metadata => metadata.len(),
                })
                .sum()
        }
        size(&self.path().join("packs"))
    }
}

/// A path as an argument; the paths of tests are text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// Whether the test runs as root and these tools are installed; says what is missing.
pub(crate) fn can(tools: &[&str]) -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root".to_owned());
    }
    let there =
        |tool: &str| ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].iter().any(|at| Path::new(at).join(tool).exists());
    let missing: Vec<_> = tools.iter().filter(|tool| !tool.starts_with('/') && !there(tool)).collect();
    let nodes: Vec<_> = tools.iter().filter(|node| node.starts_with('/') && !Path::new(node).exists()).collect();
    if missing.is_empty() && nodes.is_empty() { Ok(()) } else { Err(format!("needs {missing:?} {nodes:?}")) }
}

/// Runs another tool, which must succeed.
#[track_caller]
pub(crate) fn tool(words: &[&str]) -> String {
    let ran = tool_result(words);
    assert_eq!(ran.code, 0, "{words:?}\n{}{}", String::from_utf8_lossy(&ran.out), ran.err);
    String::from_utf8_lossy(&ran.out).into_owned()
}

/// Runs another tool.
pub(crate) fn tool_result(words: &[&str]) -> Ran {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).env("LC_ALL", "C").env("MTOOLS_SKIP_CHECK", "1");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    Ran::of(&mut command)
}
