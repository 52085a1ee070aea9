//! Puts a release on this machine as processes of its own: `releases/TAG/saveos-server` over the folder `data`, each part as often as
//! the environment says, replaced one after another. For people who look at an installation in parts without a container engine.

use super::cut_over::Place;
use crate::environment::{Environment, Part, Ports, Tag};
use crate::shell::{output, run, succeeds};
use anyhow::{Context, bail, ensure};
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A process that does not end in that time is killed. The server itself ends what it has begun within ten.
const END: Duration = Duration::from_secs(20);
/// One that is not ready in that time never will be: a worker that must wait for the lease of one that died is within 35.
const READY: Duration = Duration::from_secs(60);

/// Processes of one folder.
pub(super) struct Processes {
    environment: Environment,
    ports: Ports,
    folder: PathBuf,
    began: Instant,
}

impl Processes {
    /// In the folder that SAVEOS_DEPLOY_FOLDER names, or `target/local`.
    pub(super) fn new(environment: &Environment, ports: &Ports) -> Processes {
        let usual = || crate::shell::root().join("target/local");
        Processes {
            environment: environment.clone(),
            ports: ports.clone(),
            folder: std::env::var_os("SAVEOS_DEPLOY_FOLDER").map_or_else(usual, PathBuf::from),
            began: Instant::now(),
        }
    }

    fn program(&self, tag: &Tag) -> PathBuf {
        self.folder.join("releases").join(tag.to_string()).join("saveos-server")
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).to_string_lossy().into_owned()
    }

    /// Ends what runs under that name, if it does.
    fn end(&self, name: &str) -> anyhow::Result<()> {
        let file = self.at("run").join(name);
        let Ok(text) = std::fs::read_to_string(&file) else { return Ok(()) };
        let (pid, born) = text.trim().split_once(' ').context("a pid and when it was born")?;
        let runs = || life(pid).is_ok_and(|(state, now)| now == born && !["Z", "X"].contains(&state.as_str()));
        if runs() {
            // It may have ended by itself meanwhile, which is seen below.
            succeeds("kill", &["-TERM", pid]);
            let end = Instant::now() + END;
            while runs() {
                if Instant::now() > end {
                    succeeds("kill", &["-KILL", pid]);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(std::fs::remove_file(file)?)
    }

    /// Starts the `number`th process of a part, and waits until it is ready.
    fn begin(&self, part: Part, number: u16, tag: &Tag) -> anyhow::Result<()> {
        let name = format!("{part}-{number}");
        let metrics = format!("127.0.0.1:{}", self.ports.metrics + self.before(part) + number - 1);
        let log = self.at("log").join(format!("{name}.log"));
        let mut command = Command::new(self.program(tag));
        command.args(["run", "--role", &part.to_string(), "--replica", &name, "--metrics", &metrics]);
        command.args(["--data", &self.text("data"), "--state", &self.text("state")]);
        if part == Part::Api {
            command.args(["--https-port", &(self.ports.api + number - 1).to_string()]);
        }
        let to = File::options().create(true).append(true).open(&log)?;
        let started = to.metadata()?.len();
        // A group of its own: it goes on when whoever deployed it goes home.
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(to)
            .process_group(0)
            .spawn()
            .with_context(|| format!("could not start {}", self.program(tag).display()))?;
        let pid = child.id().to_string();
        // Also of one that ended at once: it is not reaped yet, and why it did is told below.
        let (_, born) = life(&pid)?;
        writeln!(File::create(self.at("run").join(&name))?, "{pid} {born}")?;
        let said = || {
            let text = std::fs::read(&log).unwrap_or_default();
            let new = String::from_utf8_lossy(text.get(started as usize..).unwrap_or_default()).into_owned();
            new.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
        };
        let end = Instant::now() + READY;
        let program = self.program(tag).to_string_lossy().into_owned();
        while !succeeds(&program, &["probe", "--at", &metrics]) {
            if let Some(status) = child.try_wait()? {
                bail!("{name} ended with {status}: {}", said());
            }
            if Instant::now() > end {
                bail!("{name} is not ready after {} s: {}", READY.as_secs(), said());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        println!("{name} of {tag} is ready");
        Ok(())
    }

    /// How many processes have their port of metrics before this part.
    fn before(&self, part: Part) -> u16 {
        Part::ALL.iter().take_while(|one| **one != part).map(|one| self.environment.count(*one)).sum()
    }
}

/// The state of a process, and when it was started, in ticks since the machine was: a number that no other process of that id has
/// (proc_pid_stat(5)).
fn life(pid: &str) -> anyhow::Result<(String, String)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name, which may hold anything.
    let mut fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let state = fields.next().context("a state")?;
    Ok((state.to_owned(), fields.nth(18).context("a time")?.to_owned()))
}

impl Place for Processes {
    fn serves(&mut self) -> anyhow::Result<Vec<Tag>> {
        match std::fs::read_to_string(self.at("serves")) {
            Ok(text) => Ok(vec![text.trim().parse()?]),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn migrate(&mut self, tag: &Tag) -> anyhow::Result<()> {
        let program = self.program(tag);
        ensure!(program.exists(), "there is no {}", program.display());
        for folder in ["run", "log", "state"] {
            std::fs::create_dir_all(self.at(folder))?;
        }
        output(&program.to_string_lossy(), &["migrate", "--data", &self.text("data")]).map(drop)
    }

    fn replace(&mut self, part: Part, tag: &Tag) -> anyhow::Result<()> {
        for number in 1..=self.environment.count(part) {
            self.end(&format!("{part}-{number}"))?;
            self.begin(part, number, tag)?;
        }
        Ok(())
    }

    fn write_down(&mut self, words: &[String]) -> anyhow::Result<()> {
        let serves = self.serves()?.into_iter().next().context("nothing serves")?;
        let data = ["--data".to_owned(), self.text("data")];
        let words: Vec<&str> = words.iter().chain(&data).map(String::as_str).collect();
        output(&self.program(&serves).to_string_lossy(), &words).map(drop)
    }

    fn settle(&mut self, tag: &Tag) -> anyhow::Result<()> {
        let new = self.at("serves.new");
        let mut file = File::create(&new)?;
        writeln!(file, "{tag}")?;
        file.sync_all()?;
        run("mv", &[&new.to_string_lossy(), &self.text("serves")])
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}
