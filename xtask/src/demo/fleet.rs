//! A box, its control plane and a disk, with the real programs: the box is claimed by its code, backs up what is plugged in, the
//! control plane knows; then the box dies and its disk opens with the words.
//!
//! Everything is below `target/demo-fleet`; a second run goes on with what is there.

use super::api::Api;
use super::engine::{Demo, same, text};
use crate::setup;
use crate::shell::{build_programs, output, root, run};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What follows the story.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Everything stops; for CI.
    Stop,
    /// Everything stays until Ctrl-C.
    StayUp,
}

/// How long a step may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The story.
pub(super) fn tell(then: Then) -> anyhow::Result<()> {
    setup::for_demo()?;
    crate::dashboard::build()?;
    build_programs()?;
    let folder = root().join("target/demo-fleet");
    std::fs::create_dir_all(folder.join("disks"))?;
    let mut story = Story { bin: root().join("target/debug"), folder, server: None, daemon: None };
    let api = story.start_server()?;
    story.start_daemon(&api)?;
    let device = story.claim(&api)?;
    story.confirm_words()?;
    let disk = story.back_up_first(&api, &device)?;
    story.back_up_again(&api, &device, &disk)?;
    story.ask_for_a_backup(&api, &device, &disk)?;
    story.show(&api)?;
    if then == Then::StayUp {
        let shown = read_json(&story.path("shown.json"))?;
        println!("\nThe control plane is at {} and stays up; Ctrl-C ends it.", api.server);
        println!("Open it in a browser and sign in as {} with {}", word(&shown["email"])?, word(&shown["password"])?);
        println!("(its certificate is its own: {}).", api.authority.display());
        println!("Put disk images into {} and ask:", story.path("disks").display());
        println!(
            "  curl --cacert {} -H \"authorization: Bearer $(cat {})\" {}/api/v1/appliances",
            api.authority.display(),
            story.path("token").display(),
            api.server
        );
        if let Some(server) = &mut story.server {
            server.0.wait()?;
        }
        return Ok(());
    }
    story.daemon = None; // the box dies
    story.open_the_dead_box()?;
    println!("\nEvery step was checked.");
    Ok(())
}

struct Story {
    bin: PathBuf,
    folder: PathBuf,
    server: Option<Running>,
    daemon: Option<Running>,
}

/// A process that ends with the story: asked first, so that it can leave things well.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let id = self.0.id().to_string();
        // It may have ended by itself; whatever happens, it is waited for.
        let _ = Command::new("kill").arg(&id).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

impl Story {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn start_server(&mut self) -> anyhow::Result<Api> {
        let (data, shown) = (self.path("control-plane"), self.path("shown.json"));
        let program = text(&self.bin.join("saveos-server"));
        if !data.join("config.json").exists() {
            println!("- set up a control plane");
            let ports = free_ports()?.map(|port| port.to_string());
            let said = output(
                &program,
                &[
                    "init",
                    "--json",
                    "--data",
                    &text(&data),
                    "--host",
                    "localhost",
                    "--bind",
                    "127.0.0.1",
                    "--organisation",
                    "Demo",
                    "--admin",
                    "admin@example.org",
                    "--https-port",
                    &ports[0],
                    "--mqtt-port",
                    &ports[1],
                ],
            )?;
            write_private(&shown, &said)?;
        }
        println!("- start it, with its broker");
        self.server = Some(self.start("saveos-server", &["run", "--data", &text(&data)])?);
        let config = read_json(&data.join("config.json"))?;
        let server = format!("https://localhost:{}", config["https_port"]);
        let mut api = Api { server, authority: data.join("authority.pem"), token: String::new() };
        until("the control plane is ready", || {
            if let Some(ended) = self.server.as_mut().and_then(|server| server.0.try_wait().transpose()) {
                bail!("the control plane ended with {}: {}", ended?, self.path("saveos-server.log").display());
            }
            Ok(api.ask("/readyz", None).ok())
        })?;
        let shown = read_json(&shown)?;
        let login = json!({ "email": shown["email"], "password": shown["password"] });
        api.token = word(&api.ask("/api/v1/login", Some(&login))?["token"])?;
        write_private(&self.path("token"), &api.token)?;
        Ok(api)
    }

    fn start_daemon(&mut self, api: &Api) -> anyhow::Result<()> {
        println!("- switch a box on");
        let (data, disks, socket) = (self.path("box"), self.path("disks"), self.path("socket"));
        // On a box the journal has its log; here it is a file.
        let journal = self.path("journal");
        write_private(&journal, &format!("#!/bin/sh\nexec cat '{}'\n", text(&self.path("saveosd.log"))))?;
        run("chmod", &["700", &text(&journal)])?;
        self.daemon = Some(self.start(
            "saveosd",
            &[
                "run",
                "--data",
                &text(&data),
                "--disks-dir",
                &text(&disks),
                "--socket",
                &text(&socket),
                "--server",
                &api.server,
                "--server-authority",
                &text(&api.authority),
                "--journalctl",
                &text(&journal),
            ],
        )?);
        until("the box answers", || Ok(self.box_says(&["status"]).ok())).map(drop)
    }

    fn claim(&self, api: &Api) -> anyhow::Result<String> {
        let status = self.box_says(&["status"])?;
        let device = word(&status["device"])?;
        if status["owner"].is_null() {
            let code = word(&status["claim_code"])?;
            println!("- type the code that it shows: {code}");
            let shown = read_json(&self.path("shown.json"))?;
            let customer = json!({ "parent": shown["organisation"], "kind": "customer", "name": "A bakery" });
            let customer = api.ask("/api/v1/nodes", Some(&customer))?["id"].clone();
            let site = json!({ "parent": customer, "kind": "site", "name": "Main street" });
            let site = api.ask("/api/v1/nodes", Some(&site))?["id"].clone();
            api.ask("/api/v1/claims", Some(&json!({ "code": code, "site": site, "name": "The box below the till" })))?;
        }
        until("the control plane hears the box", || {
            let seen = api.ask(&format!("/api/v1/appliances/{device}"), None).ok();
            Ok(seen.filter(|seen| seen["presence"] == "online" && seen["applied"] == seen["desired"]))
        })?;
        Ok(device)
    }

    /// A person copies the words from the panel and proves to have them.
    fn confirm_words(&self) -> anyhow::Result<()> {
        if self.box_says(&["status"])?["recoverable"] == true {
            return Ok(());
        }
        println!("- write the 24 words down and confirm two of them");
        let shown = self.box_says(&["words"])?;
        let phrase = word(&shown["words"])?;
        write_private(&self.path("words"), &phrase)?;
        let words: Vec<&str> = phrase.split(' ').collect();
        let asked =
            |at: usize| shown["confirm"][at].as_u64().and_then(|number| words.get(number as usize - 1).copied());
        let (first, second) = asked(0).zip(asked(1)).context("two words are asked back")?;
        self.box_says(&["confirm", first, second]).map(drop)
    }

    fn back_up_first(&self, api: &Api, device: &str) -> anyhow::Result<String> {
        let plugged = self.path("disks/till.img");
        if !plugged.exists() {
            println!("- plug a disk in: GPT with FAT, ext4 and NTFS");
            if !self.path("disk.img").exists() {
                Demo::of_disks(self.folder.clone()).make_disk()?;
            }
            plug(&self.path("disk.img"), &plugged)?;
        }
        let mut seen = false;
        let disk = until("its first recovery point", || {
            let appliance = api.ask(&format!("/api/v1/appliances/{device}"), None)?;
            if let Some(job) = appliance["heartbeat"].get("job") {
                println!("    {} {} %", job["work"], job["percent"]);
                seen = true;
            }
            let plugged = appliance["disks"].as_array().into_iter().flatten().find(|disk| disk["gone_ms"].is_null());
            Ok(plugged.filter(|disk| !disk["newest_ms"].is_null()).map(|disk| disk["id"].clone()))
        })?;
        let protected = until("it is protected, and proven, and its store has room", || {
            let appliance = api.ask(&format!("/api/v1/appliances/{device}"), None)?;
            let roomy = appliance["stores"][0]["free_bytes"].is_u64();
            Ok((appliance["protected"] == true && roomy).then_some(appliance))
        })?;
        let reasons: Vec<&Value> =
            protected["disks"].as_array().into_iter().flatten().map(|disk| &disk["not_protected"]).collect();
        if reasons.iter().any(|reasons| **reasons != json!([])) {
            bail!("it counts as protected and is not: {protected}");
        }
        until("the box says what it is, with the disk in it", || {
            let said = api.ask(&format!("/api/v1/appliances/{device}/reported"), None)?;
            let disks = said["reported"]["disks"]["shown"].as_array().cloned().unwrap_or_default();
            Ok(disks.into_iter().find(|row| row["disk"] == disk && row["present"] == true))
        })?;
        api.ask(&format!("/api/v1/appliances/{device}/logs"), Some(&json!({})))?;
        until("it brings its log, which somebody asked for", || {
            let logs = api.ask(&format!("/api/v1/appliances/{device}/logs"), None)?;
            let ended = api.ask(&format!("/api/v1/appliances/{device}/commands"), None)?;
            let came = logs["items"][0]["bytes"].as_u64().is_some_and(|bytes| bytes > 0);
            Ok((came && ended["items"][0]["state"]["state"] == "succeeded").then_some(()))
        })?;
        if !seen {
            println!("    (the backup was over before anybody could watch it)");
        }
        word(&disk)
    }

    fn back_up_again(&self, api: &Api, device: &str, disk: &str) -> anyhow::Result<()> {
        println!("- a day of work; the disk is plugged in again");
        let before = self.points(api, device)?;
        let plugged = self.path("disks/till.img");
        std::fs::remove_file(&plugged)?;
        until("the control plane knows that it is gone", || {
            let appliance = api.ask(&format!("/api/v1/appliances/{device}"), None)?;
            let gone = appliance["disks"].as_array().into_iter().flatten().find(|row| row["id"] == disk);
            Ok(gone.filter(|row| !row["gone_ms"].is_null()).cloned())
        })?;
        Demo::of_disks(self.folder.clone()).change_files()?;
        plug(&self.path("disk.img"), &plugged)?;
        until("another recovery point", || Ok((self.points(api, device)? > before).then_some(()))).map(drop)
    }

    fn ask_for_a_backup(&self, api: &Api, device: &str, disk: &str) -> anyhow::Result<()> {
        println!("- ask for a backup from afar");
        let path = format!("/api/v1/appliances/{device}/commands");
        let id = api.ask(&path, Some(&json!({ "type": "start_backup", "args": { "disk": disk } })))?["id"].clone();
        until("the command has ended well", || {
            let commands = api.ask(&path, None)?;
            let own = commands["items"].as_array().into_iter().flatten().find(|command| command["id"] == id);
            Ok(own.filter(|command| command["state"]["state"] == "succeeded").cloned())
        })
        .map(drop)
    }

    fn points(&self, api: &Api, device: &str) -> anyhow::Result<usize> {
        let points = api.ask(&format!("/api/v1/appliances/{device}/recovery-points?limit=500"), None)?;
        Ok(points["items"].as_array().map_or(0, Vec::len))
    }

    fn show(&self, api: &Api) -> anyhow::Result<()> {
        println!("\nwhat the control plane knows:");
        let list = api.ask("/api/v1/appliances", None)?;
        for appliance in list["items"].as_array().into_iter().flatten() {
            println!("  {}  {}  protected: {}", appliance["name"], appliance["presence"], appliance["protected"]);
            let device = word(&appliance["id"])?;
            let points = api.ask(&format!("/api/v1/appliances/{device}/recovery-points"), None)?;
            for store in appliance["stores"].as_array().into_iter().flatten() {
                println!("    store: {} of {} bytes free", store["free_bytes"], store["size_bytes"]);
            }
            for point in points["items"].as_array().into_iter().flatten() {
                let summary = &point["summary"];
                println!("    {}  {}  {} bytes new", point["taken_ms"], point["state"], summary["bytes_new"]);
            }
        }
        Ok(())
    }

    /// Any Linux, the box's data and the words.
    fn open_the_dead_box(&self) -> anyhow::Result<()> {
        println!("\n- the box is dead: its disk is opened with the words, elsewhere");
        let (repository, words) = (text(&self.path("box/repository")), text(&self.path("words")));
        let restored = self.path("restored.img");
        let program = text(&self.bin.join("saveos"));
        let mut arguments = vec!["restore", "latest"];
        let target = text(&restored);
        arguments.extend([target.as_str(), "--repo", &repository, "--words-file", &words, "--force"]);
        output(&program, &arguments)?;
        let said = same(&self.path("disks/till.img"), &restored)?;
        std::fs::remove_file(&restored)?;
        println!("  {said}");
        Ok(())
    }

    fn start(&self, program: &str, arguments: &[&str]) -> anyhow::Result<Running> {
        let log = self.path(&format!("{program}.log"));
        let log = std::fs::File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(self.bin.join(program));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(Running(command.spawn().with_context(|| format!("could not start {program}"))?))
    }

    fn box_says(&self, question: &[&str]) -> anyhow::Result<Value> {
        let socket = text(&self.path("socket"));
        let asked = [question, &["--json", "--socket", &socket]].concat();
        let for_everybody = ["status", "jobs", "disks"].contains(&question[0]);
        let program = if for_everybody { "saveos" } else { "saveosd" };
        Ok(serde_json::from_str(&output(&text(&self.bin.join(program)), &asked)?)?)
    }
}

/// The image appears whole, as a disk does.
fn plug(image: &Path, socket: &Path) -> anyhow::Result<()> {
    let draft = image.with_extension("plug");
    std::fs::copy(image, &draft)?;
    run("mv", &[&text(&draft), &text(socket)])
}

fn until<T>(what: &str, mut look: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            println!("  {what}: after {:.1} s", begun.elapsed().as_secs_f64());
            return Ok(found);
        }
        if begun.elapsed() > PATIENCE {
            bail!("never: {what}; the logs are in target/demo-fleet");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn word(value: &Value) -> anyhow::Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("a text is expected, not {value}"))
}

fn read_json(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(std::io::Write::write_all(&mut file, text.as_bytes())?)
}

fn free_ports() -> anyhow::Result<[u16; 2]> {
    let (one, other) = (std::net::TcpListener::bind("127.0.0.1:0")?, std::net::TcpListener::bind("127.0.0.1:0")?);
    Ok([one.local_addr()?.port(), other.local_addr()?.port()])
}
