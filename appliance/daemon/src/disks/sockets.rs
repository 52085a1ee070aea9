//! The disks of this machine, as `/sys/block` shows them. The kernel's word that something changed is answered by a look; without
//! one there is a look every half minute.
//!
//! | no source | because |
//! |---|---|
//! | what has no `device` | made of other devices (loop, md, LVM, zram) |
//! | size 0 | a reader without a medium |
//! | `hidden`, boot parts of an eMMC, other kinds than disks | not for people |
//! | where the system or the data lies | the box would back itself up |

use super::uevents::Uevents;
use super::{Change, Said, identify};
use saveos_protocol::fact::Bus;
use saveos_protocol::text::Mark;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two looks when nobody said anything.
const EVERY: Duration = Duration::from_secs(30);
/// A disk that could not be opened is tried again: its node or its permissions come a moment after it.
const AGAIN: Duration = Duration::from_secs(2);
/// And told after so many times.
const TOLD: u32 = 5;
/// From then on it is tried at every look only: a busy box takes its time to give a node its permissions, but not a minute.
const EAGER: u32 = 30;

/// Counts up with every disk that appears, so that another one under the same name is not taken for it.
type Seen = (String, u64);

/// What is plugged in.
pub(crate) struct Sockets {
    sys: PathBuf,
    dev: PathBuf,
    own: BTreeSet<String>,
    uevents: Option<Uevents>,
    next: Instant,
    here: BTreeMap<String, Seen>,
    refused: BTreeMap<String, Refused>,
}

/// A disk that could not be opened.
struct Refused {
    seen: Seen,
    tries: u32,
    /// Not before, however often the kernel wakes us: while a box starts, it does all the time.
    again: Instant,
}

impl Sockets {
    /// `own`: paths whose disks are the box's own, beside the root.
    pub(super) fn new(sys: &Path, dev: &Path, own: &[&Path]) -> Sockets {
        let uevents = Uevents::open()
            .inspect_err(|error| tracing::warn!(%error, "the kernel does not say when disks come: slower"))
            .ok();
        let root = Path::new("/");
        let devices = own.iter().chain([&root]).filter_map(|path| std::fs::metadata(path).ok());
        let mut names = BTreeSet::new();
        for device in devices.map(|metadata| metadata.dev()) {
            let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
            disks_below(&sys.join("dev/block").join(number), &mut names, 0);
        }
        let (sys, dev) = (sys.to_owned(), dev.to_owned());
        let (here, refused) = (BTreeMap::new(), BTreeMap::new());
        Sockets { sys, dev, own: names, uevents, next: Instant::now(), here, refused }
    }

    pub(super) fn look(&mut self, anew: bool) -> Change {
        let woke = self.uevents.as_ref().is_some_and(Uevents::woke);
        if !woke && !anew && Instant::now() < self.next {
            return Change::default();
        }
        if anew {
            self.refused.clear();
        }
        self.next = Instant::now() + if self.uevents.is_some() { EVERY } else { AGAIN };
        let now = self.disks();
        let mut change = Change::default();
        self.here.retain(|name, seen| {
            let stays = now.get(name) == Some(seen);
            if !stays {
                change.went.push(self.dev.join(name.as_str()));
            }
            stays
        });
        self.refused.retain(|name, refused| now.get(name) == Some(&refused.seen));
        for (name, seen) in now {
            let before = self.refused.get(&name);
            let tries = before.map_or(0, |refused| refused.tries);
            if self.here.contains_key(&name) || before.is_some_and(|refused| refused.again > Instant::now()) {
                continue;
            }
            match identify(&self.dev.join(&name), self.said(&name)) {
                Ok(found) => {
                    self.refused.remove(&name);
                    self.here.insert(name, seen);
                    change.came.push(found);
                }
                Err(error) => {
                    let again = Instant::now() + if tries + 1 < EAGER { AGAIN } else { EVERY };
                    self.next = self.next.min(again);
                    if tries + 1 == TOLD {
                        tracing::warn!(name, error = &error as &dyn std::error::Error, "a disk cannot be opened");
                    }
                    self.refused.insert(name, Refused { seen, tries: tries + 1, again });
                }
            }
        }
        change
    }

    fn disks(&self) -> BTreeMap<String, Seen> {
        let Ok(entries) = std::fs::read_dir(self.sys.join("block")) else { return BTreeMap::new() };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter(|name| !self.own.contains(name))
            .filter_map(|name| Some((name.clone(), self.seen(&name)?)))
            .collect()
    }

    /// `None` for what is no disk, or has no medium.
    fn seen(&self, name: &str) -> Option<Seen> {
        let folder = self.sys.join("block").join(name);
        let is = |file: &str, text: &str| read(&folder.join(file)).is_some_and(|found| found == text);
        // SCSI kinds: 0 a disk, 14 a simpler one.
        let kind = read(&folder.join("device/type")).filter(|kind| kind.parse::<u32>().is_ok());
        let odd = kind.is_some_and(|kind| kind != "0" && kind != "14");
        let part_of_mmc = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
        if !folder.join("device").exists() || is("hidden", "1") || odd || part_of_mmc || name.starts_with("fd") {
            return None;
        }
        let sectors: u64 = read(&folder.join("size"))?.parse().ok().filter(|sectors| *sectors > 0)?;
        Some((read(&folder.join("diskseq")).unwrap_or_default(), sectors))
    }

    fn said(&self, name: &str) -> Said {
        let folder = self.sys.join("block").join(name);
        let place = std::fs::canonicalize(&folder).unwrap_or_default();
        let is_on = |part: &str| place.iter().any(|name| name.to_string_lossy().starts_with(part));
        let bus = match () {
            () if is_on("usb") => Bus::Usb,
            () if is_on("mmc_host") => Bus::Mmc,
            () if is_on("nvme") => Bus::Nvme,
            () if is_on("virtio") => Bus::Virtio,
            () if is_on("ata") => Bus::Sata,
            () => Bus::Unknown,
        };
        let first = |files: &[&str]| files.iter().find_map(|file| read(&folder.join(file)));
        // The disk's own number before the one of its adapter, which may be the same for all of them.
        let serial = page_80(&folder.join("device/vpd_pg80"))
            .or_else(|| first(&["serial", "device/serial"]))
            .or_else(|| place.ancestors().skip(1).take(12).find_map(|above| read(&above.join("serial"))));
        let vendor = first(&["device/vendor"]).filter(|vendor| vendor != "ATA" && !vendor.starts_with("0x"));
        let model = first(&["device/model", "device/name"]);
        let model: Vec<String> = vendor.into_iter().chain(model).collect();
        Said { serial: serial.and_then(|text| Mark::cut(&text)), model: Mark::cut(&model.join(" ")), bus }
    }
}

/// The disks that a device consists of: itself, the one it is a partition of, or those below it.
fn disks_below(device: &Path, names: &mut BTreeSet<String>, depth: u32) {
    let Ok(place) = std::fs::canonicalize(device) else { return };
    let disk = if place.join("partition").exists() { place.parent().unwrap_or(&place) } else { &place };
    if let Some(name) = disk.file_name().and_then(|name| name.to_str()) {
        names.insert(name.to_owned());
    }
    let Ok(slaves) = std::fs::read_dir(place.join("slaves")) else { return };
    for slave in slaves.flatten().filter(|_| depth < 8) {
        disks_below(&slave.path(), names, depth + 1);
    }
}

/// A line of a file; `None` when it says nothing.
fn read(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// SCSI's page of the unit's serial number (SPC-4, 7.8.16): four bytes, then ASCII.
fn page_80(path: &Path) -> Option<String> {
    let page = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(page.get(4..)?).trim_matches(['\0', ' ']).to_owned();
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir_all, remove_file};
    use std::os::unix::fs::symlink;

    /// A machine with one USB disk and the things beside it that are none.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Machine {
            let machine = Machine(tempfile::tempdir().expect("a folder"));
            create_dir_all(machine.at("sys/block")).expect("room");
            create_dir_all(machine.at("dev")).expect("room");
            machine
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn put(&self, path: &str, text: &[u8]) {
            let path = self.at(path);
            create_dir_all(path.parent().expect("a folder")).expect("room");
            crate::files::tests::put(&path, text);
        }

        /// A device at its place on a bus, with a node of 1 MiB.
        fn plug(&self, place: &str, name: &str, diskseq: &str) {
            let device = format!("sys/devices/{place}/block/{name}");
            self.put(&format!("{device}/size"), b"2048\n");
            self.put(&format!("{device}/diskseq"), diskseq.as_bytes());
            create_dir_all(self.at(&format!("sys/devices/{place}/x"))).expect("room");
            let _ = symlink(self.at(&format!("sys/devices/{place}")), self.at(&format!("{device}/device")));
            let _ = remove_file(self.at(&format!("sys/block/{name}")));
            symlink(self.at(&device), self.at(&format!("sys/block/{name}"))).expect("room");
            self.put(&format!("dev/{name}"), &[0; 1 << 20]);
        }

        fn watch(&self) -> Sockets {
            Sockets::new(&self.at("sys"), &self.at("dev"), &[])
        }
    }

    const USB: &str = "pci0/usb1/1-2/1-2:1.0/host3/target3:0:0/3:0:0:0";

    #[test]
    fn a_usb_disk_says_who_it_is_and_what_is_no_disk_says_nothing() {
        let machine = Machine::new();
        machine.plug(USB, "sda", "7");
        machine.put(&format!("sys/devices/{USB}/vendor"), b"WD      \n");
        machine.put(&format!("sys/devices/{USB}/model"), b"Elements 25A2   \n");
        machine.put("sys/devices/pci0/usb1/1-2/serial", b"575834314433\n");
        machine.plug("platform/mmc_host/mmc0/mmc0:0001", "mmcblk0boot0", "8");
        machine.plug("pci0/ata1/host0/target0:0:0/0:0:0:0", "sr0", "9");
        machine.put("sys/devices/pci0/ata1/host0/target0:0:0/0:0:0:0/type", b"5\n");
        machine.put("sys/block/loop0/size", b"2048\n");
        let mut watch = machine.watch();
        let came = watch.look(false).came;
        let words = |found: &super::super::Found| {
            let text = |mark: &Option<Mark>| mark.as_ref().map(ToString::to_string).unwrap_or_default();
            (found.bus, text(&found.identity.serial), text(&found.identity.model), found.size)
        };
        let wanted = (Bus::Usb, "575834314433".to_owned(), "WD Elements 25A2".to_owned(), 1 << 20);
        assert_eq!(came.iter().map(words).collect::<Vec<_>>(), [wanted]);
        // The disk's own number is better than that of its adapter.
        machine.put(&format!("sys/devices/{USB}/vpd_pg80"), b"\0\x80\0\x08WX41D312");
        assert_eq!(watch.said("sda").serial, Mark::cut("WX41D312"));
    }

    #[test]
    fn another_disk_under_the_same_name_is_another_disk() {
        let machine = Machine::new();
        machine.plug(USB, "sda", "7");
        let mut watch = machine.watch();
        assert_eq!(watch.look(true).came.len(), 1);
        assert_eq!(watch.look(true), Change::default());
        machine.put(&format!("sys/devices/{USB}/block/sda/diskseq"), b"8");
        let change = watch.look(true);
        assert_eq!((change.went.len(), change.came.len()), (1, 1));
        // Its medium is taken out.
        machine.put(&format!("sys/devices/{USB}/block/sda/size"), b"0");
        let change = watch.look(true);
        assert_eq!((change.went, change.came.len()), (vec![machine.at("dev/sda")], 0));
    }

    #[test]
    fn a_disk_whose_node_comes_later_is_found_then() {
        let machine = Machine::new();
        machine.plug(USB, "sda", "7");
        remove_file(machine.at("dev/sda")).expect("it was there");
        let mut watch = machine.watch();
        assert_eq!(watch.look(true), Change::default());
        assert!(watch.next <= Instant::now() + AGAIN, "not in half a minute");
        machine.put("dev/sda", &[0; 1 << 20]);
        let past = Instant::now();
        watch.next = past;
        watch.refused.get_mut("sda").expect("it was refused").again = past;
        assert_eq!(watch.look(false).came.len(), 1);
    }

    #[test]
    fn a_disk_is_not_given_up_because_the_kernel_says_much_while_its_node_is_awaited() {
        let machine = Machine::new();
        machine.plug(USB, "sda", "7");
        remove_file(machine.at("dev/sda")).expect("it was there");
        let mut watch = machine.watch();
        for _ in 0..100 {
            watch.next = Instant::now();
            watch.look(false);
        }
        let refused = watch.refused.get_mut("sda").expect("it was refused");
        assert_eq!(refused.tries, 1, "the storm lasted less than two seconds");
        (refused.tries, refused.again) = (20, Instant::now());
        watch.next = Instant::now();
        watch.look(false);
        assert!(watch.next <= Instant::now() + AGAIN, "after forty seconds it is still awaited");
        let refused = watch.refused.get_mut("sda").expect("it was refused");
        // However often it was tried, it is tried again.
        (refused.tries, refused.again) = (1000, Instant::now());
        machine.put("dev/sda", &[0; 1 << 20]);
        watch.next = Instant::now();
        assert_eq!(watch.look(false).came.len(), 1);
    }

    #[test]
    fn the_box_does_not_back_itself_up() {
        let machine = Machine::new();
        machine.plug("pci0/nvme/nvme0", "nvme0n1", "1");
        machine.put("sys/devices/pci0/nvme/nvme0/block/nvme0n1/nvme0n1p2/partition", b"2");
        // The data lies on LVM, which lies on its second partition.
        create_dir_all(machine.at("sys/devices/virtual/block/dm-0/slaves")).expect("room");
        let part = machine.at("sys/devices/pci0/nvme/nvme0/block/nvme0n1/nvme0n1p2");
        symlink(part, machine.at("sys/devices/virtual/block/dm-0/slaves/nvme0n1p2")).expect("room");
        let device = std::fs::metadata(machine.0.path()).expect("it is there").dev();
        let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        assert_eq!(machine.watch().look(true).came.len(), 1, "without data on it, it is a source");
        create_dir_all(machine.at("sys/dev/block")).expect("room");
        symlink(machine.at("sys/devices/virtual/block/dm-0"), machine.at("sys/dev/block").join(number)).expect("room");
        let mut watch = Sockets::new(&machine.at("sys"), &machine.at("dev"), &[machine.0.path()]);
        assert_eq!(watch.look(true), Change::default());
    }
}
