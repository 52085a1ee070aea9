//! What the kernel says of disks: which is part of which, who has mounted, swapped on or mapped them, what they are called.
//!
//! Reads `/sys` and `/proc` below a root, so that a test can show it another machine. Opens no disk and writes nothing.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Levels of LUKS, LVM and md that are followed down to the disks below.
const MAX_LEVELS: u32 = 8;

/// A device as the kernel numbers it: `8:1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(String);

impl Number {
    pub(crate) fn of(device: u64) -> Number {
        Number(format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device)))
    }

    /// Whether it stands for no disk: overlay, btrfs and network mounts have such numbers.
    fn is_anonymous(&self) -> bool {
        self.0.starts_with("0:")
    }
}

/// One line of `/proc/self/mountinfo`.
pub(crate) struct Mount {
    pub(crate) device: Number,
    pub(crate) at: String,
    source: PathBuf,
    options: String,
    pub(crate) read_only: bool,
}

impl Mount {
    fn parse(line: &str) -> Option<Mount> {
        let mut words = line.split(' ');
        let device = Number(words.nth(2)?.to_owned());
        let at = unescape(words.nth(1)?);
        let per_mount = words.next()?;
        let mut last = line.rsplit(' ');
        let (per_filesystem, source) = (last.next()?, unescape(last.next()?));
        let has_ro = |options: &str| options.split(',').any(|option| option == "ro");
        let read_only = has_ro(per_filesystem) || (has_ro(per_mount) && per_filesystem.is_empty());
        Some(Mount { device, at, source: source.into(), options: unescape(per_filesystem), read_only })
    }

    /// Whether a FUSE driver serves this file: it has no device of its own, and the mount names the file.
    pub(crate) fn is_of(&self, image: &Metadata) -> bool {
        self.source.is_absolute() && same_file(&self.source, image)
    }
}

/// Blanks, tabs, line ends and backslashes are octal in mountinfo.
fn unescape(word: &str) -> String {
    word.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

fn same_file(path: &Path, metadata: &Metadata) -> bool {
    std::fs::metadata(path).is_ok_and(|other| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino()))
}

/// The kernel's view, below a root.
pub(crate) struct System {
    root: PathBuf,
}

impl System {
    /// The machine this runs on.
    pub(crate) fn running() -> System {
        System { root: PathBuf::from("/") }
    }

    /// Another machine, whose `sys` and `proc` lie in this folder.
    #[cfg(test)]
    pub(crate) fn below(root: &Path) -> System {
        System { root: root.to_owned() }
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }

    /// Everything that this process sees mounted.
    pub(crate) fn mounts(&self) -> Vec<Mount> {
        self.text("proc/self/mountinfo").lines().filter_map(Mount::parse).collect()
    }

    /// The mount of an image by a FUSE driver.
    pub(crate) fn mount_of(&self, image: &Metadata) -> Option<Mount> {
        self.mounts().into_iter().find(|mount| mount.is_of(image))
    }

    /// Devices and files in use as swap.
    pub(crate) fn swaps(&self) -> Vec<String> {
        let table = self.text("proc/swaps");
        table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(unescape).collect()
    }

    /// The devices that the running system lives on. Its root may be an overlay, whose layers and kernel arguments tell.
    pub(crate) fn root_devices(&self) -> Vec<Number> {
        let mut devices = Vec::new();
        for mount in self.mounts().iter().filter(|mount| mount.at == "/") {
            devices.extend(self.devices_of(mount));
            let layers = mount.options.split(',').filter_map(|option| {
                let (name, value) = option.split_once('=')?;
                matches!(name, "lowerdir" | "upperdir" | "workdir").then_some(value)
            });
            for layer in layers.flat_map(|value| value.split(':')) {
                devices.extend(
                    std::fs::metadata(self.root.join(layer.trim_start_matches('/'))).map(|m| Number::of(m.dev())),
                );
            }
        }
        let arguments = self.text("proc/cmdline");
        let named = arguments.split_whitespace().filter_map(|word| word.strip_prefix("root="));
        devices.extend(named.filter_map(|name| self.number_of_name(name)));
        devices.retain(|device| !device.is_anonymous());
        devices
    }

    /// The device of a mount; btrfs and overlays have none of their own, and name theirs.
    pub(crate) fn devices_of(&self, mount: &Mount) -> Vec<Number> {
        if !mount.device.is_anonymous() {
            return vec![mount.device.clone()];
        }
        mount.source.to_str().and_then(|source| self.number_of_name(source)).into_iter().collect()
    }

    /// The device that a file or folder lies on.
    pub(crate) fn device_under(&self, metadata: &Metadata) -> Option<Number> {
        let number = Number::of(metadata.dev());
        if !number.is_anonymous() {
            return Some(number);
        }
        self.mounts().iter().filter(|mount| mount.device == number).flat_map(|mount| self.devices_of(mount)).next()
    }

    /// `/dev/sda2`, `UUID=…`, `PARTUUID=…`, `LABEL=…`.
    pub(crate) fn number_of_name(&self, name: &str) -> Option<Number> {
        let path = match name.split_once('=') {
            Some((kind @ ("UUID" | "PARTUUID" | "LABEL" | "PARTLABEL"), value)) => {
                self.root.join(format!("dev/disk/by-{}/{}", kind.to_lowercase(), value.trim_matches('"')))
            }
            _ => self.root.join(name.strip_prefix("/dev/").map(|name| format!("dev/{name}"))?),
        };
        let base = std::fs::canonicalize(&path).unwrap_or(path);
        let known = base.file_name().map(|name| self.text(&format!("sys/class/block/{}/dev", name.to_string_lossy())));
        match known.filter(|number| !number.is_empty()) {
            Some(number) => Some(Number(number.trim().to_owned())),
            None => {
                let metadata =
                    std::fs::metadata(base).ok().filter(|metadata| metadata.file_type().is_block_device())?;
                Some(Number::of(metadata.rdev()))
            }
        }
    }

    /// The folder of a device: that of a partition lies in that of its disk.
    fn folder(&self, device: &Number) -> Option<PathBuf> {
        std::fs::canonicalize(self.root.join(format!("sys/dev/block/{}", device.0))).ok()
    }

    /// The folder of the disk that a device is, or is a partition of.
    fn whole(&self, device: &Number) -> Option<PathBuf> {
        let folder = self.folder(device)?;
        if folder.join("partition").exists() { folder.parent().map(Path::to_owned) } else { Some(folder) }
    }

    /// Whether a device is this one, a partition of it, or sits on it through LUKS, LVM or md.
    pub(crate) fn sits_on(&self, device: &Number, disk: &Number) -> bool {
        device == disk || self.folder(disk).is_some_and(|disk| self.reaches(device, &disk, 0))
    }

    fn reaches(&self, device: &Number, disk: &Path, level: u32) -> bool {
        let Some(folder) = self.folder(device) else { return false };
        folder.starts_with(disk)
            || (level < MAX_LEVELS && slaves(&folder).iter().any(|below| self.reaches(below, disk, level + 1)))
    }

    /// Whether two devices have a disk in common: then writing to one may destroy the other.
    pub(crate) fn share_a_disk(&self, one: &Number, other: &Number) -> bool {
        one == other || !self.disks_under(one).is_disjoint(&self.disks_under(other))
    }

    /// The whole disks a device consists of, with those it passes through on the way.
    fn disks_under(&self, device: &Number) -> BTreeSet<PathBuf> {
        let (mut disks, mut level) = (BTreeSet::new(), vec![device.clone()]);
        for _ in 0..MAX_LEVELS {
            let folders: Vec<PathBuf> = level.iter().filter_map(|device| self.folder(device)).collect();
            disks.extend(level.iter().filter_map(|device| self.whole(device)));
            level = folders.iter().flat_map(|folder| slaves(folder)).collect();
        }
        disks
    }

    /// What is mapped onto a device or a partition of it: `dm-0 (vg-root)`.
    pub(crate) fn holders(&self, device: &Number) -> Vec<String> {
        let Some(folder) = self.folder(device) else { return Vec::new() };
        let partitions = names_in(&folder).into_iter().map(|name| folder.join(name));
        let mut holders: Vec<String> = [folder.clone()]
            .into_iter()
            .chain(partitions.filter(|inside| inside.join("partition").exists()))
            .flat_map(|folder| names_in(&folder.join("holders")))
            .collect();
        holders.sort();
        holders.dedup();
        let shown = holders.into_iter().map(|name| {
            let mapped = self.text(&format!("sys/class/block/{name}/dm/name"));
            if mapped.is_empty() { name } else { format!("{name} ({})", mapped.trim()) }
        });
        shown.collect()
    }

    /// The device node of the disk that a partition is on.
    pub(crate) fn disk_of_partition(&self, device: &Number) -> Option<PathBuf> {
        let (folder, whole) = (self.folder(device)?, self.whole(device)?);
        (folder != whole).then(|| whole.file_name().map(|name| self.root.join("dev").join(name))).flatten()
    }

    /// The loop devices that a file backs: path and number.
    pub(crate) fn loops_of(&self, metadata: &Metadata) -> Vec<(String, Number)> {
        let backed = names_in(&self.root.join("sys/block")).into_iter().filter_map(|name| {
            let file = std::fs::read_to_string(self.root.join(format!("sys/block/{name}/loop/backing_file"))).ok()?;
            let number = self.text(&format!("sys/block/{name}/dev"));
            same_file(Path::new(file.trim_end_matches('\n')), metadata)
                .then(|| (format!("/dev/{name}"), Number(number.trim().to_owned())))
        });
        backed.collect()
    }

    /// `/dev/sdb1 (SanDisk Ultra, serial 4C53…, 31 GB)`: enough to tell two disks on a desk apart.
    pub(crate) fn describe(&self, path: &Path, device: &Number) -> String {
        let (folder, whole) = (self.folder(device), self.whole(device));
        let first = |names: &[&str]| {
            let values = names.iter().filter_map(|name| value(&whole.as_ref()?.join(name)));
            values.into_iter().next()
        };
        let vendor = first(&["device/vendor"]).filter(|vendor| vendor != "ATA" && !vendor.starts_with("0x"));
        let model = first(&["device/model", "device/name", "dm/name"]);
        let model: Vec<String> = vendor.into_iter().chain(model).collect();
        let serial = first(&["serial", "device/serial", "device/vpd_pg80", "device/wwid", "wwid"]);
        let backing = first(&["loop/backing_file"]);
        let sectors = folder.and_then(|folder| value(&folder.join("size"))).and_then(|size| size.parse::<u64>().ok());
        let facts = [
            (!model.is_empty()).then(|| model.join(" ")),
            serial.map(|serial| format!("serial {serial}")),
            backing.map(|file| format!("loop over {file}")),
            sectors.map(|sectors| format!("{} bytes", sectors * 512)),
        ];
        let facts: Vec<String> = facts.into_iter().flatten().collect();
        if facts.is_empty() { path.display().to_string() } else { format!("{} ({})", path.display(), facts.join(", ")) }
    }
}

/// A sysfs file as a person reads it. A VPD page is binary: four bytes of header come before its text.
fn value(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let is_page = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vpd_pg"));
    let text = String::from_utf8_lossy(bytes.get(if is_page { 4 } else { 0 }..)?).into_owned();
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned();
    (!text.is_empty()).then_some(text)
}

fn slaves(folder: &Path) -> Vec<Number> {
    let below = folder.join("slaves");
    let numbers = names_in(&below).into_iter().filter_map(|name| value(&below.join(name).join("dev")));
    numbers.map(Number).collect()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write;

    /// A machine made of files.
    pub(crate) struct Fake {
        root: tempfile::TempDir,
    }

    impl Fake {
        pub(crate) fn new() -> Fake {
            Fake { root: tempfile::tempdir().expect("a scratch folder") }
        }

        pub(crate) fn system(&self) -> System {
            System::below(self.root.path())
        }

        pub(crate) fn file(&self, path: &str, content: &[u8]) {
            let path = self.root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            std::fs::File::create(path).and_then(|mut file| file.write_all(content)).expect("a file");
        }

        pub(crate) fn link(&self, path: &str, target: &str) {
            let path = self.root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            std::os::unix::fs::symlink(self.root.path().join(target), path).expect("a link");
        }

        /// A block device in the folder of its bus, as sysfs has it.
        pub(crate) fn device(&self, folder: &str, number: &str, sectors: u64, more: &[(&str, &[u8])]) {
            let name = folder.rsplit('/').next().expect("a name");
            self.file(&format!("{folder}/dev"), format!("{number}\n").as_bytes());
            self.file(&format!("{folder}/size"), format!("{sectors}\n").as_bytes());
            more.iter().for_each(|(path, content)| self.file(&format!("{folder}/{path}"), content));
            self.link(&format!("sys/dev/block/{number}"), folder);
            self.link(&format!("sys/class/block/{name}"), folder);
        }

        /// A mapping of one device onto others.
        pub(crate) fn mapped(&self, name: &str, number: &str, mapped: &str, below: &[&str]) {
            let folder = format!("sys/devices/virtual/block/{name}");
            self.device(&folder, number, 2048, &[("dm/name", mapped.as_bytes())]);
            for slave in below {
                let inside = slave.rsplit('/').next().expect("a name");
                self.link(&format!("{folder}/slaves/{inside}"), slave);
                self.link(&format!("{slave}/holders/{name}"), &folder);
            }
        }
    }

    pub(crate) fn number(text: &str) -> Number {
        Number(text.to_owned())
    }

    const SDA: &str = "sys/devices/pci0000:00/ata1/host0/target0:0:0/0:0:0:0/block/sda";

    fn described(folder: &str, more: &[(&str, &[u8])]) -> String {
        let fake = Fake::new();
        fake.device(folder, "8:0", 2048, more);
        fake.system().describe(Path::new("/dev/x"), &number("8:0"))
    }

    #[test]
    fn a_sata_disk_has_its_serial_in_a_vpd_page() {
        let page: &[u8] = b"\0\x80\0\x10     S3Z9NB0K1234";
        let facts: &[(&str, &[u8])] =
            &[("device/vendor", b"ATA     \n"), ("device/model", b"Samsung SSD 860 \n"), ("device/vpd_pg80", page)];
        assert_eq!(described(SDA, facts), "/dev/x (Samsung SSD 860, serial S3Z9NB0K1234, 1048576 bytes)");
    }

    #[test]
    fn a_usb_stick_may_have_a_wwid_alone() {
        let facts: &[(&str, &[u8])] = &[
            ("device/vendor", b"SanDisk \n"),
            ("device/model", b"Ultra Fit       \n"),
            ("device/vpd_pg80", b"\0\x80\0\0"),
            ("device/wwid", b"t10.SanDisk Ultra Fit 4C530001\n"),
        ];
        let shown = "/dev/x (SanDisk Ultra Fit, serial t10.SanDisk Ultra Fit 4C530001, 1048576 bytes)";
        assert_eq!(described("sys/devices/pci0000:00/usb1/host2/block/sdb", facts), shown);
    }

    #[test]
    fn nvme_virtio_and_loop_devices_are_named() {
        let nvme: &[(&str, &[u8])] = &[("device/model", b"KXG50ZNV512G\n"), ("device/serial", b"  28AS10\n")];
        let shown = "/dev/x (KXG50ZNV512G, serial 28AS10, 1048576 bytes)";
        assert_eq!(described("sys/devices/pci0000:00/nvme/nvme0/nvme0n1", nvme), shown);
        let virtio: &[(&str, &[u8])] = &[("serial", b"disk-7"), ("device/vendor", b"0x1af4\n")];
        assert_eq!(described("sys/devices/virtio0/block/vda", virtio), "/dev/x (serial disk-7, 1048576 bytes)");
        let image: &[(&str, &[u8])] = &[("loop/backing_file", b"/srv/disk.img\n")];
        let shown = "/dev/x (loop over /srv/disk.img, 1048576 bytes)";
        assert_eq!(described("sys/devices/virtual/block/loop0", image), shown);
    }

    #[test]
    fn a_partition_is_called_by_its_disk() {
        let fake = Fake::new();
        fake.device(SDA, "8:0", 4096, &[("device/model", b"WD Red\n"), ("device/serial", b"WX11\n")]);
        fake.device(&format!("{SDA}/sda1"), "8:1", 2048, &[("partition", b"1\n")]);
        let shown = fake.system().describe(Path::new("/dev/sda1"), &number("8:1"));
        assert_eq!(shown, "/dev/sda1 (WD Red, serial WX11, 1048576 bytes)");
    }

    #[test]
    fn what_is_unknown_is_called_by_its_path() {
        assert_eq!(Fake::new().system().describe(Path::new("/dev/x"), &number("9:9")), "/dev/x");
    }

    #[test]
    fn partitions_and_mappings_share_their_disk() {
        let (fake, sdb) = (Fake::new(), "sys/devices/usb/block/sdb");
        fake.device(SDA, "8:0", 4096, &[]);
        fake.device(&format!("{SDA}/sda1"), "8:1", 1024, &[("partition", b"1\n")]);
        fake.device(&format!("{SDA}/sda2"), "8:2", 1024, &[("partition", b"2\n")]);
        fake.device(sdb, "8:16", 4096, &[]);
        fake.mapped("dm-0", "253:0", "vg-root", &[&format!("{SDA}/sda2")]);
        let system = fake.system();
        let share = |one: &str, other: &str| {
            let both =
                [system.share_a_disk(&number(one), &number(other)), system.share_a_disk(&number(other), &number(one))];
            assert_eq!(both[0], both[1], "{one} {other}");
            both[0]
        };
        assert!(share("8:1", "8:2") && share("8:0", "8:2") && share("8:1", "253:0") && share("8:0", "253:0"));
        assert!(!share("8:16", "8:0") && !share("8:16", "253:0"));
        assert!(system.sits_on(&number("253:0"), &number("8:2")) && !system.sits_on(&number("253:0"), &number("8:1")));
        assert_eq!(system.holders(&number("8:2")), ["dm-0 (vg-root)"]);
        assert_eq!(system.holders(&number("8:0")), ["dm-0 (vg-root)"]);
        assert!(system.holders(&number("8:1")).is_empty());
    }
}
