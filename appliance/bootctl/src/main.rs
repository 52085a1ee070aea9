//! `saveos-bootctl`: RAUC's custom boot backend, what the initramfs marks a slot with, and what makes the state of a new image.

use saveos_bootctl::{BootState, Slot, Store, StoreError, Wipe};
use std::fs::{File, OpenOptions};
use std::process::ExitCode;

const HELP: &str = "\
Which of the two system slots starts.

saveos-bootctl [--file PATH] COMMAND      PATH: /dev/saveos/bootstate, unless it is said

  status                     all that is remembered
  get-primary                the slot that starts next
  set-primary A|B            start this slot next: in trial, unless it proved itself last
  get-state A|B              good or bad
  set-state A|B good|bad     it proved itself, or must not start
  get-current                the slot that runs
  revive                     from a rescue: one more try for the slot that proved itself last
  set-wipe none|network|pairing|everything
                             the next start erases that, and takes this back when it is done
  init                       the state of a new box: A holds a system, B none

Exit: 0 done, 1 failed, 2 not understood.
";

const PARTITION: &str = "/dev/saveos/bootstate";

enum Failure {
    Usage(String),
    Failed(String),
}

impl Failure {
    fn of(error: &dyn std::error::Error) -> Failure {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Failure::Failed(text)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::of(&error)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (path, command) = match words.as_slice() {
        ["--file", path, command @ ..] => (*path, command),
        command => (PARTITION, command),
    };
    match run(path, command) {
        Ok(answer) => {
            print!("{answer}");
            ExitCode::SUCCESS
        }
        Err(Failure::Usage(what)) => {
            eprintln!("saveos-bootctl: {what}\n\n{HELP}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(why)) => {
            eprintln!("saveos-bootctl: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &str, command: &[&str]) -> Result<String, Failure> {
    let line = |text: &dyn std::fmt::Display| Ok(format!("{text}\n"));
    match command {
        ["-h" | "--help" | "help"] => Ok(HELP.to_owned()),
        ["--version"] => line(&format!("saveos-bootctl {}", env!("CARGO_PKG_VERSION"))),
        ["status"] => Ok(told(&open(path)?.load()?)),
        ["get-primary"] => match open(path)?.load()?.primary() {
            Some(slot) => line(&slot),
            None => Err(Failure::Failed("no slot is bootable: the next start is a rescue".to_owned())),
        },
        ["set-primary", slot] => change(path, slot, BootState::set_primary),
        ["get-state", slot] => {
            let left = open(path)?.load()?.left(known(slot)?);
            line(&if left > 0 { "good" } else { "bad" })
        }
        ["set-state", slot, "good"] => change(path, slot, BootState::mark_good),
        ["set-state", slot, "bad"] => change(path, slot, BootState::mark_bad),
        ["get-current"] => line(&current()?),
        ["revive"] => {
            open(path)?.change(BootState::revive)?;
            Ok(String::new())
        }
        ["set-wipe", level] => {
            let known = [("none", Wipe::None), ("network", Wipe::Network), ("pairing", Wipe::Pairing)];
            let known = known.into_iter().chain([("everything", Wipe::Everything)]).find(|(name, _)| name == level);
            let (_, level) = known.ok_or_else(|| Failure::Usage(format!("`{level}` cannot be erased")))?;
            open(path)?.change(|state| state.wipe = level)?;
            Ok(String::new())
        }
        ["init"] => {
            open(path)?.save(BootState::factory())?;
            Ok(String::new())
        }
        [] => Err(Failure::Usage("what shall it do?".to_owned())),
        other => Err(Failure::Usage(format!("no command `{}`", other.join(" ")))),
    }
}

/// Opens the partition for this process alone: RAUC and the health gate may both be about to change it.
fn open(path: &str) -> Result<Store<File>, Failure> {
    let open = || {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        file.lock()?;
        Ok(file)
    };
    open().map(Store::on).map_err(|error: std::io::Error| Failure::Failed(format!("could not open {path}: {error}")))
}

fn known(slot: &str) -> Result<Slot, Failure> {
    slot.parse().map_err(|()| Failure::Usage(format!("`{slot}` is no slot: A or B")))
}

fn change(path: &str, slot: &str, change: fn(&mut BootState, Slot)) -> Result<String, Failure> {
    let slot = known(slot)?;
    open(path)?.change(|state| change(state, slot))?;
    Ok(String::new())
}

/// As the boot script told the kernel.
fn current() -> Result<Slot, Failure> {
    let line = std::fs::read_to_string("/proc/cmdline").map_err(|error| Failure::of(&error))?;
    saveos_bootctl::running_slot(&line)
        .ok_or_else(|| Failure::Failed("this system was not started from a slot".to_owned()))
}

fn told(state: &BootState) -> String {
    let slot = |slot: Slot| match (state.left(slot), state.trial == Some(slot)) {
        (0, _) => "bad".to_owned(),
        (left, true) => format!("in trial, tries left: {left}"),
        _ if state.confirmed == slot => "good, proved itself last".to_owned(),
        _ => "good".to_owned(),
    };
    let boots = state.boots();
    let rescue = if boots.rescue { ", to be repaired" } else { "" };
    let wipe = match state.wipe {
        Wipe::None => "",
        Wipe::Network => "erase  settings and network\n",
        Wipe::Pairing => "erase  settings and owner\n",
        Wipe::Everything => "erase  everything\n",
    };
    format!("A      {}\nB      {}\nnext   {}{rescue}\n{wipe}", slot(Slot::A), slot(Slot::B), boots.slot)
}
