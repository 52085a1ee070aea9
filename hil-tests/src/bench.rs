//! What a scenario may do to a box, whatever holds the box: a virtual machine or a rack. A bench that cannot do something says why,
//! and the scenario is counted as skipped for that reason.

use crate::console::Console;
use crate::file_server::Served;
use saveos_hal::sim::Seen;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What not every bench can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ability {
    /// A shell as root on the console.
    Shell,
    /// Reads the system disk of a box that is off, and changes it.
    SystemDisk,
    /// Everything that was written to the system disk, in order.
    BlockLog,
    /// Takes the battery from the clock.
    Clock,
    /// Sees lights and display.
    Panel,
    /// Has more boxes of the same kind.
    Neighbours,
}

/// How a customer's disk is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bus {
    /// Plugged in and pulled at any time.
    Usb,
    /// Connected while the box is off.
    Sata,
}

/// A place with one box.
pub(crate) trait Bench {
    /// A bench of the same kind with another box.
    fn neighbour(&self) -> anyhow::Result<Box<dyn Bench>>;
    /// As it is called in the report.
    fn name(&self) -> String;
    /// Why it cannot do something, if it cannot.
    fn lacks(&self, ability: Ability) -> Option<String>;
    /// Writes an image to the system disk of the box, which is off.
    fn flash(&mut self, image: &Path) -> anyhow::Result<()>;
    /// Makes the system disk of a box that is off so much larger; whether this bench can.
    fn enlarge_system_disk(&mut self, by: u64) -> anyhow::Result<bool>;
    /// Switches the power on.
    fn power_on(&mut self) -> anyhow::Result<()>;
    /// Lets its clock say 1970 at the next power on, as one whose battery is empty.
    fn forget_the_time(&mut self);
    /// Cuts the power.
    fn power_off(&mut self) -> anyhow::Result<()>;
    /// Connects a disk.
    fn plug(&mut self, bus: Bus, image: &Path) -> anyhow::Result<()>;
    /// Connects a disk by USB that gives only so many bytes a second.
    fn plug_slow(&mut self, image: &Path, rate: u64) -> anyhow::Result<()>;
    /// Pulls the disk, whatever the box does with it.
    fn unplug(&mut self) -> anyhow::Result<()>;
    /// What its panel shows.
    fn panel(&mut self) -> anyhow::Result<Seen>;
    /// Holds its button for so long.
    fn press(&mut self, held: Duration) -> anyhow::Result<()>;
    /// How the box calls this machine.
    fn host(&self) -> String;
    /// The address of this machine at which it is reached so.
    fn address(&self) -> IpAddr;
    /// The console since power on.
    fn console(&mut self) -> anyhow::Result<&mut Console>;
    /// The system disk of a box that is off.
    fn system_disk(&mut self) -> anyhow::Result<&Path>;
    /// What was written to the system disk since power on.
    fn written(&mut self) -> anyhow::Result<Vec<crate::block_log::Entry>>;
    /// Gives a file or a folder to the box: the address under which it fetches it, and what becomes of that.
    fn serve(&mut self, place: &Path) -> anyhow::Result<(String, Arc<Served>)>;
}
