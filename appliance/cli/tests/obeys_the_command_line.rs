//! The command line is a contract: exit codes, JSON, names of snapshots, secrets, and everything that must be refused.

#[path = "support/support.rs"]
mod support;

use serde_json::Value;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{
    Image, Kind, Mount, Ran, Repo, can, noise, read, saveos, skip, text, tool, tool_result, write, write_at,
};

const MIB: u64 = 1 << 20;

fn small_disk(seed: u64) -> Image {
    let image = Image::blank(2 * MIB);
    write_at(&image.path(), 4096, &noise(seed, 300_000));
    image
}

fn ids(repo: &Repo) -> Vec<String> {
    let objects = repo.json(&["snapshots"]).exits(0).objects();
    assert!(objects.iter().all(|object| object["type"] == "snapshot"));
    objects.iter().map(|object| object["id"].as_str().expect("an id").to_owned()).collect()
}

fn run(words: &[&str]) -> Ran {
    Ran::of(saveos().args(words))
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for words in [
        &[][..],
        &["nonsense"],
        &["init"],
        &["backup"],
        &["backup", "/dev/null"],
        &["snapshots"],
        &["restore", "latest", "--repo", "/r"],
        &["restore", "latest", "t", "--repo", "/r", "--partition", "first"],
        &["verify", "--repo", "/r", "--sample", "0%"],
        &["verify", "--repo", "/r", "--sample", "many"],
        &["snapshots", "--repo", "/r", "--key-file", "a", "--words-file", "b"],
        &["forget", "--repo", "/r"],
        &["forget", "--repo", "/r", "--dry-run"],
        &["forget", "--repo", "/r", "a-snapshot", "--keep-last", "1"],
        &["forget", "--repo", "/r", "--keep-last", "-1"],
        &["backup", "x", "--repo", "/r", "--limit-read", "0"],
        &["backup", "x", "--repo", "/r", "--limit-read=-3"],
        &["backup", "x", "--repo", "/r", "--limit-read", "nan"],
        &["completions", "no-shell"],
    ] {
        let ran = run(words);
        assert_eq!(ran.code, 2, "{words:?}: {}", ran.err);
        assert!(!ran.err.is_empty() && ran.out.is_empty(), "{words:?}");
    }
}

#[test]
fn help_version_completions_and_man_are_printed() {
    assert!(run(&["--help"]).exits(0).text().contains("Exit codes: 0 complete, 1 failed, 2 usage, 3 partial"));
    assert!(run(&["--version"]).exits(0).text().starts_with("saveos "));
    for command in
        ["init", "backup", "snapshots", "show", "restore", "files", "view", "verify", "forget", "prune", "key"]
    {
        assert!(run(&[command, "--help"]).exits(0).text().contains("Usage: saveos"), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).exits(0).text().contains("restore"), "{shell}");
    }
}

#[test]
fn the_manual_has_every_option_of_every_command() {
    let manual = run(&["man"]).exits(0).text().replace("\\-", "-");
    for option in
        ["--limit-read", "--keep-daily", "--socket", "--partition", "--new-passphrase-file", "--fsck", "SAVEOS_REPO"]
    {
        assert!(manual.contains(option), "{option} is not in the manual");
    }
    let home = tempfile::tempdir().expect("a scratch folder");
    run(&["man", text(home.path())]).exits(0);
    for page in ["saveos", "saveos-backup", "saveos-files-cp", "saveos-key-escrow-new", "saveos-repair-index"] {
        let alone = String::from_utf8(read(&home.path().join(format!("{page}.1")))).expect("text");
        assert!(alone.contains(&format!(".TH {page} ")), "{page}");
    }
    let help = run(&["--help"]).exits(0);
    for command in ["completions", "man"] {
        assert!(help.text().lines().any(|line| line.trim_start().starts_with(command)), "{command} is hidden");
    }
}

/// Whoever wraps us needs to know how long it takes, and whether it goes on.
#[test]
fn progress_counts_down() {
    let (repo, disk) = (Repo::new(), Image::blank(12 * MIB));
    write_at(&disk.path(), 0, &noise(8, 12 << 20));
    let objects = repo.json(&["backup", &disk.text(), "--limit-read", "2"]).exits(0).objects();
    let progress: Vec<&Value> = objects.iter().filter(|object| object["type"] == "progress").collect();
    let left: Vec<u64> = progress.iter().map(|object| object["seconds_left"].as_u64().expect("a number")).collect();
    // A machine that is busy elsewhere for a second makes it longer for once; over six seconds it counts down.
    assert!(left.len() >= 2 && left[0] > left[left.len() - 1], "{left:?}");
    assert!(progress.iter().all(|object| object["total"] == 12 * MIB && object["done"].as_u64() <= Some(12 * MIB)));
    let rates = progress.iter().map(|object| object["bytes_per_second"].as_u64().expect("a number"));
    assert!(rates.clone().all(|rate| rate > MIB / 2 && rate < 4 * MIB), "{:?}", rates.collect::<Vec<_>>());
}

/// A person at a terminal is asked for the passphrase, which does not show, and sees a bar.
#[test]
fn a_terminal_gets_a_prompt_and_a_bar() {
    use std::io::{Read, Write};
    if let Err(missing) = can(&["script", "stty"]) {
        skip!("{missing}");
    }
    let (home, repo, _) = passphrase_repo();
    let disk = Image::blank(8 * MIB);
    write_at(&disk.path(), 0, &noise(9, 8 << 20));
    let process = home.path().join("process");
    let words = "stty cols 120 rows 30; echo $$ > \"$PROCESS\"; exec \"$SAVEOS\" backup \"$DISK\" --limit-read 8";
    let mut script = Command::new("script")
        .args(["-q", "-e", "-f", "-c", words, "/dev/null"])
        .env("PROCESS", &process)
        .env("SAVEOS", env!("CARGO_BIN_EXE_saveos"))
        .env("DISK", disk.path())
        .env("SAVEOS_REPO", &repo)
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .env_remove("SAVEOS_PASSPHRASE")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("script starts");
    let (mut screen, mut bytes) = (String::new(), [0; 4096]);
    let mut out = script.stdout.take().expect("a pipe");
    while !screen.contains("passphrase: ") {
        let read = out.read(&mut bytes).expect("it can be read");
        assert!(read > 0, "it ended without asking: {screen}");
        screen.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    // It sleeps when it waits for the answer, and has silenced the terminal by then.
    let process = String::from_utf8(read(&process)).expect("a number");
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", process.trim())).unwrap_or_default();
    let begun = std::time::Instant::now();
    while !state().contains(") S ") {
        assert!(begun.elapsed().as_secs() < 20, "it never waits: {}", state());
        std::thread::yield_now();
    }
    let mut keyboard = script.stdin.take().expect("a pipe");
    keyboard.write_all(b"correct horse\n").expect("it reads");
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).expect("it can be read");
    screen.push_str(&String::from_utf8_lossy(&rest));
    assert!(script.wait().expect("it ends").success(), "{screen}");
    assert!(!screen.contains("correct horse"), "the passphrase shows: {screen}");
    assert!(screen.contains("/8.00 MiB") && screen.contains("MiB/s") && screen.contains(" left"), "no bar: {screen}");
    assert!(screen.contains(" complete: ") && screen.contains(" 8.00 MiB new"), "{screen}");
}

#[test]
fn every_command_speaks_json() {
    let (repo, disk) = (Repo::new(), small_disk(1));
    let first = repo.backup(&disk.path(), "disk");
    assert_eq!(
        repo.json(&["backup", &disk.text(), "--tag", "a", "--tag", "b"]).exits(0).last("summary")["sequence"],
        2
    );
    let id = first["snapshot"].as_str().expect("an id");
    let shown = repo.json(&["show", id]).exits(0).last("snapshot");
    assert_eq!((&shown["id"], &shown["name"]), (&first["snapshot"], &Value::from("disk")));
    let listed = repo.json(&["snapshots"]).exits(0).last("snapshot");
    assert_eq!((&listed["tags"], &listed["name"]), (&serde_json::json!(["a", "b"]), &Value::from("disk.img")));
    assert_eq!(repo.json(&["verify"]).exits(0).last("verified")["problems"], 0);
    assert_eq!(repo.json(&["verify", "--sample", "5%"]).exits(0).last("verified")["problems"], 0);
    let restored = repo.json(&["restore", id, text(&repo.beside("out"))]).exits(0).last("restored");
    assert_eq!(restored["hole_bytes"], 0);
    Ran::of(saveos().args(["plan", &disk.text(), "--json"])).exits(0).last("layout");
    assert_eq!(repo.json(&["forget", "--keep-last", "1", "--dry-run"]).exits(0).last("forgotten")["dry_run"], true);
    assert_eq!(ids(&repo).len(), 2);
    repo.json(&["forget", id]).exits(0).last("forgotten");
    assert_eq!(ids(&repo).len(), 1);
    assert_eq!(repo.json(&["prune", "--dry-run"]).exits(0).last("pruned")["dry_run"], true);
    repo.json(&["prune"]).exits(0).last("pruned");
    repo.json(&["key", "list"]).exits(0).last("slot");
    repo.json(&["repair", "index"]).exits(0).last("repaired");
    assert_eq!(repo.json(&["repair", "snapshots"]).exits(0).objects(), Vec::<Value>::new());
    repo.json(&["show", "nothing"]).exits(1).last("error");
    assert!(
        repo.run(&["show", id, "--map"]).code == 1
            && repo.run(&["show", "latest", "--map"]).exits(0).text().contains("+")
    );
}

#[test]
fn snapshots_are_named_by_id_prefix_or_latest() {
    let (repo, disk) = (Repo::new(), small_disk(2));
    // Ids are hashes: with 17 of them two begin with the same digit.
    for n in 0..17 {
        write_at(&disk.path(), 8192, &noise(n, 100));
        repo.backup(&disk.path(), "disk");
    }
    let ids = ids(&repo);
    let latest = ids.last().expect("17 snapshots");
    let id_of = |wanted: &str| repo.json(&["show", wanted]).exits(0).last("snapshot")["id"].clone();
    assert_eq!(id_of("latest"), latest.as_str());
    assert_eq!(id_of(latest), latest.as_str());
    let is_unique = |prefix: &str| ids.iter().filter(|id| id.starts_with(prefix)).count() == 1;
    let unique = (1..64).map(|len| &ids[3][..len]).find(|prefix| is_unique(prefix)).expect("ids differ");
    assert_eq!(id_of(unique), ids[3].as_str());
    let shared = ids.iter().map(|id| &id[..1]).find(|digit| !is_unique(digit)).expect("17 ids, 16 digits");
    repo.run(&["show", shared]).refuses("");
    for missing in ["", "0123456789abcdef0123", "LATEST!", "../x"] {
        assert_eq!(repo.run(&["show", missing]).code, 1, "{missing:?}");
    }
    let empty = Repo::new();
    assert_eq!(empty.run(&["show", "latest"]).code, 1);
    assert!(empty.run(&["snapshots"]).exits(0).text().contains("no snapshots yet"));
}

/// A repository that opens with a passphrase.
fn passphrase_repo() -> (tempfile::TempDir, PathBuf, String) {
    let home = tempfile::tempdir().expect("a scratch folder");
    let repo = home.path().join("repo");
    let made = Ran::of(saveos().args(["init", text(&repo), "--json"]).env("SAVEOS_PASSPHRASE", "correct horse"));
    let words = made.exits(0).last("init")["words"].as_str().expect("words").to_owned();
    assert_eq!(words.split(' ').count(), 24);
    (home, repo, words)
}

#[test]
fn repository_and_passphrase_come_from_the_environment_or_a_file() {
    let (home, repo, _) = passphrase_repo();
    let list = || {
        let mut command = saveos();
        command.args(["snapshots"]);
        command
    };
    Ran::of(list().env("SAVEOS_REPO", &repo).env("SAVEOS_PASSPHRASE", "correct horse")).exits(0);
    let file = home.path().join("passphrase");
    write(&file, b"correct horse\nand a second line\n");
    Ran::of(list().arg("--repo").arg(&repo).arg("--passphrase-file").arg(&file)).exits(0);
    // The file is what was asked for, whatever the environment says.
    let both =
        Ran::of(list().env("SAVEOS_REPO", &repo).env("SAVEOS_PASSPHRASE", "no").arg("--passphrase-file").arg(&file));
    both.exits(0);
    for wrong in ["", "wrong horse", "correct horse "] {
        let ran = Ran::of(list().env("SAVEOS_REPO", &repo).env("SAVEOS_PASSPHRASE", wrong)).exits(1);
        assert!(!ran.err.contains("correct"), "{}", ran.err);
    }
    Ran::of(list().env("SAVEOS_REPO", &repo)).refuses("SAVEOS_PASSPHRASE");
    Ran::of(list().env("SAVEOS_REPO", &repo).args(["--passphrase-file", "/no/such/file"])).refuses("/no/such/file");
    Ran::of(list().env("SAVEOS_REPO", home.path().join("nothing")).env("SAVEOS_PASSPHRASE", "x")).exits(1);
    Ran::of(list().env("SAVEOS_REPO", home.path()).env("SAVEOS_PASSPHRASE", "x")).exits(1);
    let named = home.path().join("named by the environment");
    Ran::of(saveos().arg("init").env("SAVEOS_REPO", &named).env("SAVEOS_PASSPHRASE", "x")).exits(0);
    assert!(named.join("saveos.json").exists());
    // A repository is not made over something else, or with nothing to protect it.
    Ran::of(saveos().args(["init", text(&repo)]).env("SAVEOS_PASSPHRASE", "x")).exits(1);
    Ran::of(saveos().args(["init", text(home.path())]).env("SAVEOS_PASSPHRASE", "x")).exits(1);
    Ran::of(saveos().args(["init", text(&home.path().join("empty"))]).env("SAVEOS_PASSPHRASE", "")).refuses("empty");
    Ran::of(list().env("SAVEOS_REPO", &repo).env("SAVEOS_PASSPHRASE", "correct horse")).exits(0);
}

#[test]
fn keys_come_and_go() {
    let (home, repo, words) = passphrase_repo();
    let at = |name: &str| home.path().join(name);
    let path = |name: &str| text(&at(name)).to_owned();
    let key = |words: &[&str], variables: &[(&str, &str)]| {
        let mut command = saveos();
        command.args(words).arg("--json").env("SAVEOS_REPO", &repo);
        command.envs(variables.iter().copied());
        Ran::of(&mut command)
    };
    let opens = |words: &[&str]| key(&[&["snapshots"], words].concat(), &[]).code == 0;
    const FIRST: (&str, &str) = ("SAVEOS_PASSPHRASE", "correct horse");
    let slot_of = |ran: Ran| ran.exits(0).last("added")["slot"].as_str().expect("a slot").to_owned();
    write(&at("words"), words.as_bytes());
    assert!(opens(&["--words-file", &path("words")]));
    write(&at("wrong words"), words.replace(' ', "  ").replacen(&words[..3], "zoo", 1).as_bytes());
    assert!(!opens(&["--words-file", &path("wrong words")]));

    let device = slot_of(key(&["key", "add", "--device", &path("device"), "--label", "box"], &[FIRST]));
    assert!(opens(&["--key-file", &path("device")]));
    assert_eq!(std::fs::metadata(at("device")).expect("the key file").permissions().mode() & 0o777, 0o600);
    key(&["key", "add", "--device", &path("device")], &[FIRST]).exits(1); // never overwritten
    assert!(opens(&["--key-file", &path("device")]));

    let made = key(&["key", "escrow", "new", &path("private")], &[]).exits(0).last("escrow");
    assert_eq!(key(&["key", "escrow", "show", &path("private")], &[]).exits(0).last("escrow"), made);
    let public = made["public"].as_str().expect("a public key").to_owned();
    slot_of(key(&["key", "add", "--escrow", &public], &[FIRST]));
    assert!(opens(&["--escrow-file", &path("private")]));

    let more = key(&["key", "add", "--words", "--key-file", &path("device")], &[]).exits(0);
    write(&at("more words"), more.objects()[0]["words"].as_str().expect("words").as_bytes());
    assert!(opens(&["--words-file", &path("more words")]));

    let second = slot_of(key(&["key", "add"], &[FIRST, ("SAVEOS_NEW_PASSPHRASE", "battery staple")]));
    let passes = |passphrase: &str| key(&["snapshots"], &[("SAVEOS_PASSPHRASE", passphrase)]).code == 0;
    assert!(passes("battery staple") && passes("correct horse"));
    key(&["key", "remove", &second], &[("SAVEOS_PASSPHRASE", "nobody")]).exits(1);
    key(&["key", "remove", &second], &[FIRST]).exits(0).last("removed");
    assert!(!passes("battery staple") && passes("correct horse"));
    key(&["key", "remove", "no-such-slot"], &[FIRST]).exits(1);
    key(&["key", "remove", "../saveos.json"], &[FIRST]).exits(1);
    key(&["key", "remove", &device, "--key-file", &path("device")], &[]).exits(0);
    assert!(!opens(&["--key-file", &path("device")]));

    key(&["key", "recover"], &[("SAVEOS_NEW_PASSPHRASE", "x")]).exits(1);
    slot_of(key(&["key", "recover", "--words-file", &path("words")], &[("SAVEOS_NEW_PASSPHRASE", "by words")]));
    slot_of(key(&["key", "recover", "--escrow-file", &path("private")], &[("SAVEOS_NEW_PASSPHRASE", "by escrow")]));
    assert!(passes("by words") && passes("by escrow"));
    assert!(repo.join("saveos.json").exists());
    // The last way in stays.
    let slots: Vec<Value> = key(&["key", "list"], &[]).exits(0).objects();
    let (mine, others): (Vec<_>, Vec<_>) = slots.iter().partition(|slot| slot["label"] == "recovery words");
    let remove = |slot: &Value| {
        key(&["key", "remove", slot["slot"].as_str().expect("a name"), "--words-file", &path("words")], &[])
    };
    others.into_iter().for_each(|slot| drop(remove(slot).exits(0)));
    remove(mine[0]).exits(1);
    assert!(opens(&["--words-file", &path("words")]));
}

#[test]
fn what_is_no_disk_is_refused() {
    let (repo, home) = (Repo::new(), tempfile::tempdir().expect("a scratch folder"));
    let at = |name: &str| home.path().join(name);
    write(&at("empty"), b"");
    tool(&["mkfifo", text(&at("fifo"))]);
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("a socket");
    for (path, words) in [
        (home.path().to_owned(), "a directory"),
        (at("fifo"), "a FIFO"),
        (at("socket"), "a socket"),
        (at("empty"), "is empty"),
        (at("missing"), "could not open"),
        ("/dev/null".into(), "a character device"),
    ] {
        for arguments in [&["backup", text(&path)][..], &["plan", text(&path)]] {
            // A FIFO has no writer: whoever opens it waits for ever.
            let mut command = Command::new("timeout");
            command.arg("20").arg(env!("CARGO_BIN_EXE_saveos")).args(arguments).env_remove("SAVEOS_REPO");
            if arguments[0] == "backup" {
                command.arg("--repo").arg(repo.path()).arg("--key-file").arg(repo.key());
            }
            Ran::of(&mut command).refuses(words);
        }
    }
    assert!(ids(&repo).is_empty());
}

#[test]
fn targets_in_use_are_refused() {
    let (repo, disk) = (Repo::new(), small_disk(3));
    repo.backup(&disk.path(), "disk");
    let restore = |target: &str| repo.run(&["restore", "latest", target]);
    let force = |target: &str| repo.run(&["restore", "latest", target, "--force"]);
    let file = repo.beside("file");
    write(&file, b"precious");
    restore(text(&file)).refuses("--force");
    assert_eq!(read(&file), b"precious");
    restore(text(&repo.beside(""))).refuses("a directory");
    force("/dev/null").exits(1);
    restore(text(&repo.beside("no/folder/here"))).exits(1);
    repo.run(&["restore", "latest", text(&repo.beside("new")), "--partition", "7"]).refuses("no partition 7");
    assert!(!repo.beside("new").exists());
    // The repository's own files, by any name.
    let config = repo.path().join("saveos.json");
    let before = read(&config);
    std::os::unix::fs::symlink(&config, repo.beside("link")).expect("a link");
    std::fs::hard_link(&config, repo.beside("hard link")).expect("a link");
    force(text(&config)).refuses("belongs to the repository");
    force(text(&repo.beside("link"))).refuses("belongs to the repository");
    restore(text(&repo.path().join("packs/new"))).refuses("belongs to the repository");
    restore(text(&repo.path().join("new"))).refuses("belongs to the repository");
    assert_eq!(read(&config), before);
    // A file that is in use as a disk.
    if let Err(missing) = can(Kind::Ext.tools()) {
        skip!("{missing}");
    }
    // A disk that is too small is not begun.
    let small = Image::garbage(MIB);
    {
        let device = support::Loop::new(&small.path(), &[]).expect("a loop device");
        let before = small.bytes();
        force(&device.0).refuses("the restore needs 2097152");
        assert!(small.bytes() == before);
    }
    let image = Image::blank(96 * MIB);
    tool(&["mke2fs", "-q", "-F", "-t", "ext4", &image.text()]);
    let mount = Mount::writable(Kind::Ext, &image.path());
    force(&image.text()).refuses("refused, even with --force");
    let device = tool(&["losetup", "-j", &image.text(), "-O", "NAME", "-n"]).trim().to_owned();
    force(&device).refuses("is mounted at");
    force(&device).refuses("refused, even with --force");
    // A disk cannot back itself up into itself.
    let inside = mount.at.join("repo");
    let key = repo.key();
    Ran::of(saveos().args(["init", text(&inside), "--key-file", text(&key)])).exits(0);
    for source in [&image.text(), &device] {
        let words = ["backup", source, "--live", "--repo", text(&inside), "--key-file", text(&key)];
        Ran::of(saveos().args(words)).refuses("cannot contain itself");
    }
    drop(mount);
    // The same file with --force when nobody uses it.
    force(&image.text()).exits(0);
    assert!(read(&image.path())[..2 << 20] == disk.bytes());
}

/// Runs as a user who may not open the disk: the refusal has to come from us, and if it did not, nothing would be written.
#[test]
fn the_system_disk_is_refused() {
    if let Err(missing) = can(&["setpriv"]) {
        skip!("{missing}");
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).expect("a root");
    let device = root.rsplit(' ').nth(1).expect("a source").to_owned();
    let Ok(metadata) = std::fs::metadata(&device) else { skip!("the root device {device} has no name here") };
    if !metadata.file_type().is_block_device() || metadata.mode() & 0o007 != 0 || metadata.uid() != 0 {
        skip!("the root device {device} is no disk that only root writes");
    }
    let (repo, disk) = (Repo::new(), small_disk(4));
    repo.backup(&disk.path(), "disk");
    tool(&["chmod", "-R", "a+rwX", text(&repo.beside(""))]);
    let binary = repo.beside("saveos");
    std::fs::copy(env!("CARGO_BIN_EXE_saveos"), &binary).expect("space");
    tool(&["chmod", "a+rx", text(&binary)]);
    for force in [&[][..], &["--force"]] {
        let user = ["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"];
        let words = [&["setpriv"], &user[..], &[text(&binary), "restore", "latest", &device], force].concat();
        let repository = ["--repo", text(&repo.path()), "--key-file", text(&repo.key())].map(str::to_owned);
        let words: Vec<&str> = words.into_iter().chain(repository.iter().map(String::as_str)).collect();
        tool_result(&words).refuses("holds the running system");
    }
}

/// Names that try to move the cursor, to hide, or to leave the folder they are copied to.
#[test]
fn hostile_names_are_shown_and_kept_inside() {
    if let Err(missing) = can(Kind::Ext.tools()).and_then(|()| can(&["debugfs"])) {
        skip!("{missing}");
    }
    let image = Image::blank(16 * MIB);
    tool(&["mke2fs", "-q", "-F", "-t", "ext2", "-b", "1024", &image.text()]);
    {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let mount = Mount::writable(Kind::Ext, &image.path());
        let name = |bytes: &[u8]| mount.at.join(OsStr::from_bytes(bytes));
        write(&name(b"clear\x1b[2J"), b"1");
        write(&name(b"line\nbreak"), b"2");
        write(&name(b"not utf-8 \xff\xfe"), b"3");
        write(&name("turn\u{202e}around".as_bytes()), b"4");
        std::fs::create_dir(name(b"dir")).expect("a directory");
        write(&name(b"dir/QQQQ-escaped"), b"outside 1");
        write(&name(b"dir/WW"), b"outside 2");
        std::os::unix::fs::symlink("/etc", name(b"dir/a link out")).expect("a link");
        std::os::unix::fs::symlink("../../../../tmp", name(b"dir/link")).expect("a link");
        write(&name(b"dir/fine"), b"fine");
    }
    // On the disk the names become what no kernel would make: `../x-escaped` and `..`.
    let mut bytes = image.bytes();
    let at = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).rposition(|found| found == what).expect("the name");
    let place = at(&bytes, b"QQQQ-escaped");
    bytes[place..place + 4].copy_from_slice(b"../x");
    let place = at(&bytes, b"\x02\x01WW") + 2;
    bytes[place..place + 2].copy_from_slice(b"..");
    write(&image.path(), &bytes);

    let repo = Repo::new();
    repo.backup(&image.path(), "hostile");
    let listing = repo.run(&["files", "ls", "latest"]).exits(0);
    let shown = listing.text();
    assert!(!shown.contains('\x1b') && !shown.contains('\u{202e}'), "{shown:?}");
    for escaped in ["clear\\u{1b}[2J", "line\\nbreak", "not utf-8 \\xff\\xfe", "turn\\u{202e}around"] {
        assert!(shown.contains(escaped), "{escaped} in {shown}");
    }
    let objects = repo.json(&["files", "ls", "latest", "/"]).exits(0).objects();
    let hex: Vec<&str> = objects.iter().filter_map(|object| object["name_hex"].as_str()).collect();
    assert_eq!(hex, ["6e6f74207574662d3820fffe"]);
    assert!(objects.iter().any(|object| object["name"] == "clear\u{1b}[2J" && object["size"] == 1));

    let home = tempfile::tempdir().expect("a scratch folder");
    let out = home.path().join("out");
    std::fs::create_dir(&out).expect("a folder");
    let copied = repo.json(&["files", "cp", "latest", "/", text(&out)]).exits(3).last("copied");
    // `..` is the parent wherever it stands; the other is told, and hides nobody else.
    assert_eq!(copied["failed"].as_array().map(Vec::len), Some(1), "{copied}");
    assert!(copied["failed"][0].as_str().is_some_and(|told| told.contains("a name that cannot be one")), "{copied}");
    assert!(repo.run(&["files", "ls", "latest", "dir"]).exits(3).text().contains("fine"));
    let beside: Vec<_> = std::fs::read_dir(home.path()).expect("a folder").flatten().collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
    assert_eq!(read(&out.join("files/dir/fine")), b"fine");
    assert_eq!(std::fs::read_link(out.join("files/dir/a link out")).expect("a link"), Path::new("/etc"));
    assert!(!out.join("files/x-escaped").exists());
    for path in ["dir/../dir/fine", "dir/../../etc/passwd", "dir/link/x", "dir/a link out/passwd", "missing"] {
        assert_eq!(repo.run(&["files", "cp", "latest", path, "-"]).code, 1, "{path}");
    }
    assert_eq!(repo.run(&["files", "cp", "latest", "/dir/fine", "-"]).exits(0).out, b"fine");
    assert_eq!(repo.run(&["files", "cp", "latest", "dir", "-"]).code, 1, "a directory has no stream");
    // An existing link in the destination is not written through.
    let trap = home.path().join("trap");
    std::fs::create_dir(&trap).expect("a folder");
    std::os::unix::fs::symlink(home.path().join("stolen"), trap.join("fine")).expect("a link");
    assert_eq!(repo.run(&["files", "cp", "latest", "dir/fine", text(&trap)]).code, 1);
    assert!(!home.path().join("stolen").exists());
}

#[test]
fn damage_is_found_repaired_and_named() {
    let (repo, disk) = (Repo::new(), small_disk(5));
    repo.backup(&disk.path(), "disk");
    let packs = repo.path().join("packs");
    let find = |folder: &Path| -> Vec<PathBuf> {
        let inner = std::fs::read_dir(folder).expect("a folder").flatten();
        inner.flat_map(|entry| std::fs::read_dir(entry.path()).expect("a folder").flatten()).map(|e| e.path()).collect()
    };
    let largest = find(&packs).into_iter().max_by_key(|pack| std::fs::metadata(pack).expect("a pack").len());
    write_at(&largest.expect("a pack"), 100_000, &[0xff; 64]);
    let verified = repo.json(&["verify"]).exits(1);
    assert_ne!(verified.last("verified")["problems"], 0);
    repo.run(&["restore", "latest", text(&repo.beside("whole"))]).exits(1);
    assert_eq!(repo.run(&["restore", "latest", "-"]).code, 1);
    let repaired = repo.json(&["repair", "index"]).exits(3).last("repaired");
    assert_ne!(repaired["lost_chunks"], 0);
    repo.json(&["repair", "snapshots"]).exits(3).last("repaired");
    let out = repo.beside("with holes");
    let restored = repo.json(&["restore", "latest", text(&out)]).exits(3).last("restored");
    let holes = restored["hole_bytes"].as_u64().expect("a number");
    assert!(holes > 0 && holes < 2 * MIB, "{restored}");
    let (source, restored) = (disk.bytes(), read(&out));
    let wrong = source.iter().zip(&restored).filter(|(a, b)| a != b && **b != 0).count();
    assert_eq!(wrong, 0, "bytes that are neither right nor missing");
    assert_eq!(repo.run(&["restore", "latest", "-"]).code, 3);
    // The disk is still there: the next backup stores what was lost.
    repo.backup(&disk.path(), "disk");
    assert!(repo.run(&["restore", "latest", "-"]).exits(0).out == source);
}

/// A reader that goes away ends a listing quietly, and never with a panic.
#[test]
fn a_closed_pipe_is_no_panic() {
    let (repo, disk) = (Repo::new(), small_disk(6));
    repo.backup(&disk.path(), "disk");
    for arguments in
        [&["snapshots"][..], &["show", "latest"], &["show", "missing", "--json"], &["restore", "latest", "-"]]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = repo.command(arguments).stdout(writer).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    }
}
