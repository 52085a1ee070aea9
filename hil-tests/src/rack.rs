//! A place of a rack: a real board, its power, its console, and the disks that are switched between it and this machine. What each
//! program that switches does is its own business; a bench calls it and looks at what follows.

mod place;

use crate::bench::{Ability, Bench, Bus};
use crate::block_log::Entry;
use crate::console::Console;
use crate::file_server::{self, Served};
use anyhow::{Context, bail, ensure};
use place::{Place, Switched};
use rustix::fs::{FlockOperation, flock};
use rustix::termios::{OptionalActions, Termios, speed, tcgetattr, tcsetattr};
use saveos_hal::sim::Seen;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A disk appears so long after it was switched.
const APPEARS: Duration = Duration::from_secs(20);
/// A board whose capacitors are empty starts anew.
const DARK: Duration = Duration::from_secs(2);
/// A program that switches something.
const SWITCHES: Duration = Duration::from_secs(30);

/// A board.
pub(crate) struct RackBench {
    name: String,
    place: Place,
    dark: Duration,
    console: Option<Console>,
    /// Where its system disk is now.
    system: PathBuf,
    /// Nobody else uses the place as long as this is open.
    _lease: File,
}

impl RackBench {
    /// A place in the file `racks`.
    pub(crate) fn new(racks: &Path, name: &str) -> anyhow::Result<RackBench> {
        let text = std::fs::read_to_string(racks).with_context(|| format!("could not read {}", racks.display()))?;
        let place = place::read(&text, name).with_context(|| racks.display().to_string())?;
        RackBench::at(name, place, &std::env::temp_dir(), DARK)
    }

    fn at(name: &str, place: Place, leases: &Path, dark: Duration) -> anyhow::Result<RackBench> {
        let lease = leases.join(format!("saveos-rack-{name}.lock"));
        let lease = File::options().create(true).append(true).open(lease)?;
        flock(&lease, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("{name} is somebody else's now"))?;
        let system = place.system.as_ref().map(|switched| switched.disk.clone()).unwrap_or_default();
        let mut bench = RackBench { name: name.to_owned(), place, dark, console: None, system, _lease: lease };
        // Whatever ran there before.
        bench.power_off()?;
        Ok(bench)
    }

    fn is_on(&self) -> bool {
        self.console.is_some()
    }

    /// Has a disk here, and nothing of it in use.
    fn fetch(&self, switched: &Switched) -> anyhow::Result<()> {
        call(&switched.here)?;
        let deadline = Instant::now() + APPEARS;
        // A reader of cards is a disk before there is a card in it.
        while File::open(&switched.disk)
            .and_then(|mut disk| std::io::Seek::seek(&mut disk, std::io::SeekFrom::End(0)))
            .unwrap_or(0)
            == 0
        {
            ensure!(Instant::now() < deadline, "{} does not appear", switched.disk.display());
            std::thread::sleep(Duration::from_millis(100));
        }
        place::is_free(&switched.disk, &std::fs::read_to_string("/proc/self/mounts")?)
    }

    fn write(&self, switched: &Switched, image: &Path) -> anyhow::Result<()> {
        self.fetch(switched)?;
        let mut from = File::open(image).with_context(|| image.display().to_string())?;
        let mut to = File::options().write(true).open(&switched.disk)?;
        let room = std::io::Seek::seek(&mut to, std::io::SeekFrom::End(0))?;
        let size = from.metadata()?.len();
        ensure!(room >= size, "{} has {room} bytes, the image {size}", switched.disk.display());
        std::io::Seek::rewind(&mut to)?;
        std::io::copy(&mut from, &mut to)?;
        // It is pulled a moment later.
        to.sync_all()?;
        Ok(())
    }
}

/// Runs a program that switches something.
fn call(words: &[String]) -> anyhow::Result<()> {
    let (program, rest) = words.split_first().context("a program")?;
    // What hangs would hold the rack for ever.
    let output = Command::new("timeout").arg(SWITCHES.as_secs().to_string()).arg(program).args(rest).output();
    let output = output.with_context(|| format!("could not start {program}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{} ended with {}: {}", words.join(" "), output.status, String::from_utf8_lossy(&said).trim());
    }
    Ok(())
}

/// A terminal that changes nothing, at the speed of the console.
fn raw(port: &File) -> anyhow::Result<()> {
    let mut settings: Termios = tcgetattr(port)?;
    settings.make_raw();
    settings.set_speed(speed::B115200)?;
    Ok(tcsetattr(port, OptionalActions::Flush, &settings)?)
}

impl Bench for RackBench {
    fn neighbour(&self) -> anyhow::Result<Box<dyn Bench>> {
        bail!("a place has one board")
    }

    fn name(&self) -> String {
        format!("rack:{}", self.name)
    }

    fn lacks(&self, ability: Ability) -> Option<String> {
        let why = match ability {
            Ability::Shell => return None,
            Ability::SystemDisk if self.place.system.is_some() => return None,
            Ability::SystemDisk => "its system disk cannot be switched",
            Ability::BlockLog => "nobody writes down what a board writes",
            Ability::Clock => "nobody takes its battery out",
            Ability::Panel => "nobody looks at its lights",
            Ability::Neighbours => "a place has one board",
        };
        Some(why.to_owned())
    }

    fn flash(&mut self, image: &Path) -> anyhow::Result<()> {
        self.power_off()?;
        let system = self.place.system.clone().context("its system disk cannot be switched")?;
        self.write(&system, image)?;
        call(&system.to_box)
    }

    fn enlarge_system_disk(&mut self, _by: u64) -> anyhow::Result<bool> {
        Ok(false)
    }

    fn power_on(&mut self) -> anyhow::Result<()> {
        ensure!(!self.is_on(), "it is on");
        if let Some(system) = &self.place.system {
            call(&system.to_box)?;
        }
        // Before it says anything.
        let port = File::options().read(true).write(true).open(&self.place.serial);
        let port = port.with_context(|| format!("could not open {}", self.place.serial.display()))?;
        raw(&port)?;
        let console = Console::on(port.try_clone()?, port);
        call(&self.place.power.words(true))?;
        self.console = Some(console);
        Ok(())
    }

    fn forget_the_time(&mut self) {}

    fn power_off(&mut self) -> anyhow::Result<()> {
        call(&self.place.power.words(false))?;
        self.console = None;
        std::thread::sleep(self.dark);
        Ok(())
    }

    fn plug(&mut self, bus: Bus, image: &Path) -> anyhow::Result<()> {
        ensure!(bus == Bus::Usb && self.is_on(), "a {bus:?} disk cannot be connected now");
        let stick = self.place.stick.clone().context("the place has no disk to plug in")?;
        self.write(&stick, image)?;
        call(&stick.to_box)
    }

    fn plug_slow(&mut self, _image: &Path, _rate: u64) -> anyhow::Result<()> {
        bail!("a disk of a rack is as fast as it is")
    }

    fn unplug(&mut self) -> anyhow::Result<()> {
        let stick = self.place.stick.clone().context("the place has no disk to pull")?;
        self.fetch(&stick)
    }

    fn panel(&mut self) -> anyhow::Result<Seen> {
        bail!("nobody looks at its lights")
    }

    fn press(&mut self, _held: Duration) -> anyhow::Result<()> {
        bail!("nobody presses its button")
    }

    fn host(&self) -> String {
        self.place.address.to_string()
    }

    fn address(&self) -> std::net::IpAddr {
        self.place.address
    }

    fn console(&mut self) -> anyhow::Result<&mut Console> {
        self.console.as_mut().context("it is off")
    }

    fn system_disk(&mut self) -> anyhow::Result<&Path> {
        ensure!(!self.is_on(), "it is on");
        let system = self.place.system.clone().context("its system disk cannot be switched")?;
        self.fetch(&system)?;
        Ok(&self.system)
    }

    fn written(&mut self) -> anyhow::Result<Vec<Entry>> {
        bail!("nobody writes down what a board writes")
    }

    fn serve(&mut self, place: &Path) -> anyhow::Result<(String, Arc<Served>)> {
        let (port, served) = file_server::serve(place.to_owned(), self.place.address)?;
        let host = std::net::SocketAddr::new(self.place.address, port);
        Ok((format!("http://{host}/"), served))
    }
}

impl Drop for RackBench {
    fn drop(&mut self) {
        // The next one begins with that as well.
        let _ = call(&self.place.power.words(false));
    }
}

#[cfg(test)]
mod tests;
