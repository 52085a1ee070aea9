//! `saveos-slots`: what root does for the daemon, which may not touch the system's disk. One order in a file names one of six deeds;
//! the answer is a file that only root writes. A daemon that somebody took over can install what is signed and have the box reset,
//! settings and all; nothing else.

mod bundle;

use bundle::{Bundle, Image};
use saveos_bootctl::{Answer, BootState, Order, Slot, Store, Verb, running_slot};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
Does what the daemon asks for about the two system slots: looks, installs, arms, keeps or abandons one, or has the next start erase.

saveos-slots [OPTION VALUE]...

  --order FILE        what to do; taken away before it is done   [/run/saveos/slots.json]
  --answer FILE       how it ended                               [/run/saveos-slots/answer.json]
  --bundle FILE       what is installed                          [/data/saveos/update/bundle.raucb]
  --slots DIR         bootstate and the slots' partitions        [/dev/saveos]
  --rauc COMMAND      installs and knows what is signed          [rauc]
  --last-words FILE   of a system that was tried before: taken away when another is armed   [/data/trial.log]
  --cmdline FILE      of the kernel: which slot runs             [/proc/cmdline]

Exit: 0 answered, 1 not, 2 not understood.
";

/// Why a deed was not done.
struct Failure {
    text: String,
    /// The same bundle fails again.
    hopeless: bool,
}

impl<E: std::fmt::Display> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { text: error.to_string(), hopeless: false }
    }
}

struct Places {
    order: PathBuf,
    answer: PathBuf,
    bundle: PathBuf,
    slots: PathBuf,
    rauc: String,
    last_words: PathBuf,
    cmdline: PathBuf,
}

impl Places {
    fn of(mut words: impl Iterator<Item = String>) -> Option<Places> {
        let mut places = Places {
            order: "/run/saveos/slots.json".into(),
            answer: "/run/saveos-slots/answer.json".into(),
            bundle: "/data/saveos/update/bundle.raucb".into(),
            slots: "/dev/saveos".into(),
            rauc: "rauc".to_owned(),
            last_words: "/data/trial.log".into(),
            cmdline: "/proc/cmdline".into(),
        };
        while let Some(option) = words.next() {
            let value = words.next()?;
            match option.as_str() {
                "--order" => places.order = value.into(),
                "--answer" => places.answer = value.into(),
                "--bundle" => places.bundle = value.into(),
                "--slots" => places.slots = value.into(),
                "--rauc" => places.rauc = value,
                "--last-words" => places.last_words = value.into(),
                "--cmdline" => places.cmdline = value.into(),
                _ => return None,
            }
        }
        Some(places)
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    if words.peek().is_some_and(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let Some(places) = Places::of(words) else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    match answer(&places) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("saveos-slots: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer(places: &Places) -> std::io::Result<()> {
    let order = read_order(&places.order)?;
    let slot = running_slot(&std::fs::read_to_string(&places.cmdline)?);
    let slot = slot.ok_or_else(|| std::io::Error::other("this system was not started from a slot"))?;
    let failure = carry_out(order.verb, slot, places).err();
    if let Some(failure) = &failure {
        eprintln!("saveos-slots: {:?} failed: {}", order.verb, failure.text);
    }
    let state = open(places)?.load().map_err(std::io::Error::other)?;
    let answer = Answer {
        id: order.id,
        hopeless: failure.as_ref().is_some_and(|failure| failure.hopeless),
        failed: failure.map(|failure| failure.text),
        current: slot,
        on_trial: state.trial == Some(slot),
    };
    let new = places.answer.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(&answer)?)?;
    rustix::fs::rename(&new, &places.answer)?;
    Ok(())
}

/// The file lies in a folder of the daemon's: no link is followed, and no more is read than an order is long. It goes first, so that
/// an order that cannot be carried out is not carried out for ever.
fn read_order(path: &Path) -> std::io::Result<Order> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    std::fs::remove_file(path)?;
    let mut json = Vec::new();
    file?.take(1024).read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

fn open(places: &Places) -> std::io::Result<Store<File>> {
    let file = File::options().read(true).write(true).open(places.slots.join("bootstate"))?;
    file.lock()?;
    Ok(Store::on(file))
}

fn carry_out(verb: Verb, current: Slot, places: &Places) -> Result<(), Failure> {
    let state = open(places)?.load()?;
    let other = current.other();
    match verb {
        Verb::Look => Ok(()),
        Verb::Install if state.trial == Some(current) => {
            Err("the running system is on trial: the other slot is what it would go back to".into())
        }
        Verb::Install => install(other, places),
        Verb::Arm => match std::fs::remove_file(&places.last_words) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => change(places, |state| state.set_primary(other)),
        },
        Verb::Keep => change(places, |state| state.mark_good(current)),
        Verb::Abandon if state.left(other) == 0 => Err("there is no other system to go back to".into()),
        Verb::Abandon => change(places, |state| state.mark_bad(current)),
        Verb::Wipe(_) if state.trial == Some(current) => {
            Err("the running system is on trial, and what it was before it must still be known".into())
        }
        Verb::Wipe(level) => change(places, |state| state.wipe = level),
    }
}

fn change(places: &Places, change: impl FnOnce(&mut BootState)) -> Result<(), Failure> {
    open(places)?.change(change)?;
    Ok(())
}

/// What is signed is looked at before anything is written; what was written is read back before anything starts from it.
fn install(slot: Slot, places: &Places) -> Result<(), Failure> {
    let hopeless = |text: String| Failure { text, hopeless: true };
    let bundle = Bundle::read(&places.rauc, &places.bundle).map_err(hopeless)?;
    let suffix = if slot == Slot::A { "a" } else { "b" };
    let device = |image: &Image| match image.class.as_str() {
        "kernel" => Ok(places.slots.join(format!("kernel-{suffix}"))),
        "rootfs" => Ok(places.slots.join(format!("root-{suffix}"))),
        class => Err(hopeless(format!("the bundle brings an image for `{class}`"))),
    };
    let devices: Vec<PathBuf> = bundle.images.iter().map(device).collect::<Result<_, _>>()?;
    let output = Command::new(&places.rauc).arg("install").arg(&places.bundle).output()?;
    if !output.status.success() {
        return Err(format!("rauc install failed: {}", bundle::last_line(&output.stderr)).into());
    }
    for (image, device) in bundle.images.iter().zip(&devices) {
        image.assert_written(device)?;
    }
    Ok(())
}
