//! Which targets are in use. They are refused whatever the caller insists on, by name, model and serial.
//!
//! The tables of the kernel say why a disk is in use. They show one mount namespace, so in the end the kernel itself is asked
//! for the disk alone (`O_EXCL`): what anybody has mounted, mapped or swapped on is not given.

use super::TargetError;
use crate::system::{Number, System};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The device a folder lies on.
pub(super) fn device_of(system: &System, folder: &Path) -> Option<Number> {
    std::fs::metadata(folder).ok().and_then(|metadata| system.device_under(&metadata))
}

/// The system's disk, mounted disks, swap and the repository's disk are never targets, nor are other partitions of them.
pub(super) fn refuse_disk(
    system: &System,
    path: &Path,
    target: &Number,
    repository: Option<&Number>,
) -> Result<(), TargetError> {
    let refuse = |why: String| Err(protected(system, path, target, why));
    if system.root_devices().iter().any(|device| system.share_a_disk(target, device)) {
        return refuse("holds the running system".to_owned());
    }
    if repository.is_some_and(|device| system.share_a_disk(target, device)) {
        return refuse("holds the repository".to_owned());
    }
    for mount in system.mounts() {
        let devices = system.devices_of(&mount);
        if devices.iter().any(|device| system.sits_on(device, target)) {
            return refuse(format!("is mounted at {}", mount.at));
        }
        if devices.iter().any(|device| system.share_a_disk(target, device)) {
            return refuse(format!("is on a disk that is mounted at {}", mount.at));
        }
    }
    for swap in system.swaps() {
        if system.number_of_name(&swap).is_some_and(|device| system.share_a_disk(target, &device)) {
            return refuse(format!("is in use as swap ({swap})"));
        }
    }
    Ok(())
}

/// Opens a disk to write, for us alone.
pub(super) fn claim(system: &System, path: &Path, target: &Number) -> Result<File, TargetError> {
    let exclusive = rustix::fs::OFlags::EXCL.bits() as i32;
    let refused = |source: io::Error| match rustix::io::Errno::from_io_error(&source) {
        Some(rustix::io::Errno::BUSY) => {
            let holders = system.holders(target);
            let by = if holders.is_empty() { "another program".to_owned() } else { holders.join(", ") };
            protected(system, path, target, format!("is in use by {by}"))
        }
        _ => TargetError::Io { path: path.to_owned(), source },
    };
    if let Some(disk) = system.disk_of_partition(target) {
        // A claim on a partition does not look at its neighbours; one on the disk does.
        File::options().read(true).custom_flags(exclusive).open(disk).map_err(refused)?;
    }
    File::options().read(true).write(true).custom_flags(exclusive).open(path).map_err(refused)
}

/// A file of the repository, or one that backs a loop device or a mount in use, is no target.
pub(super) fn refuse_file(
    system: &System,
    path: &Path,
    metadata: &Metadata,
    repository: &Path,
) -> Result<(), TargetError> {
    let refuse = |why: String| Err(TargetError::Protected { what: path.display().to_string(), why });
    refuse_repository(path, path, repository)?;
    if let Some((device, _)) = system.loops_of(metadata).first() {
        return refuse(format!("is in use by {device}"));
    }
    if let Some(mount) = system.mount_of(metadata) {
        return refuse(format!("is mounted at {}", mount.at));
    }
    Ok(())
}

/// What lies, or would come to lie, in the repository's folder is no target.
pub(super) fn refuse_repository(path: &Path, place: &Path, repository: &Path) -> Result<(), TargetError> {
    let absolute = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if !absolute(place).starts_with(absolute(repository)) {
        return Ok(());
    }
    Err(TargetError::Protected { what: path.display().to_string(), why: "belongs to the repository".to_owned() })
}

fn protected(system: &System, path: &Path, target: &Number, why: String) -> TargetError {
    TargetError::Protected { what: system.describe(path, target), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::tests::{Fake, number};

    /// The system's NVMe disk, a SATA disk with a repository, and a USB stick with nothing on it.
    fn machine(mounts: &str) -> Fake {
        let fake = Fake::new();
        let (nvme, sda, sdb) =
            ("sys/devices/pci/nvme0/nvme0n1", "sys/devices/pci/ata1/block/sda", "sys/devices/pci/usb1/block/sdb");
        fake.device(nvme, "259:0", 4096, &[("device/model", b"KXG50\n"), ("device/serial", b"28AS10\n")]);
        fake.device(&format!("{nvme}/nvme0n1p1"), "259:1", 1024, &[("partition", b"1\n")]);
        fake.device(&format!("{nvme}/nvme0n1p2"), "259:2", 1024, &[("partition", b"2\n")]);
        fake.device(sda, "8:0", 4096, &[("device/model", b"WD Red\n"), ("device/serial", b"WX11\n")]);
        fake.device(&format!("{sda}/sda1"), "8:1", 1024, &[("partition", b"1\n")]);
        fake.device(&format!("{sda}/sda2"), "8:2", 1024, &[("partition", b"2\n")]);
        fake.device(sdb, "8:16", 4096, &[]);
        fake.file("proc/self/mountinfo", mounts.as_bytes());
        fake
    }

    fn refused(fake: &Fake, target: &str) -> Option<String> {
        let repository = number("8:1");
        let refused = refuse_disk(&fake.system(), Path::new("/dev/target"), &number(target), Some(&repository));
        refused.err().map(|error| error.to_string())
    }

    /// The whole disk and each partition, also the one that nothing uses.
    #[track_caller]
    fn only_the_stick_is_free(fake: &Fake) {
        for target in ["259:0", "259:1", "259:2"] {
            let said = refused(fake, target).unwrap_or_else(|| panic!("{target} was not refused"));
            assert!(said.contains("refused, even with --force: /dev/target (KXG50, serial 28AS10, "), "{said}");
            assert!(said.ends_with("holds the running system"), "{said}");
        }
        for target in ["8:0", "8:1", "8:2"] {
            let said = refused(fake, target).unwrap_or_else(|| panic!("{target} was not refused"));
            assert!(said.contains("(WD Red, serial WX11, ") && said.ends_with("holds the repository"), "{said}");
        }
        assert_eq!(refused(fake, "8:16"), None);
    }

    #[test]
    fn the_system_disk_is_found_by_its_mount() {
        only_the_stick_is_free(&machine("1 0 259:2 / / rw - ext4 /dev/nvme0n1p2 rw\n"));
    }

    #[test]
    fn the_system_disk_is_found_under_btrfs() {
        only_the_stick_is_free(&machine("1 0 0:25 /@ / rw - btrfs /dev/nvme0n1p2 rw,subvol=/@\n"));
    }

    #[test]
    fn the_system_disk_is_found_under_an_overlay() {
        let overlay = "1 0 0:30 / / rw - overlay overlay rw,lowerdir=/gone,upperdir=/gone/too\n";
        for argument in ["root=/dev/nvme0n1p2", "root=PARTUUID=ab-02"] {
            let fake = machine(overlay);
            fake.file("dev/nvme0n1p2", b"");
            fake.link("dev/disk/by-partuuid/ab-02", "dev/nvme0n1p2");
            fake.file("proc/cmdline", format!("quiet {argument} rw\n").as_bytes());
            only_the_stick_is_free(&fake);
        }
    }

    #[test]
    fn the_system_disk_is_found_under_lvm() {
        let fake = machine("1 0 253:0 / / rw - ext4 /dev/mapper/vg-root rw\n");
        fake.mapped("dm-0", "253:0", "vg-root", &["sys/devices/pci/nvme0/nvme0n1/nvme0n1p2"]);
        only_the_stick_is_free(&fake);
    }

    #[test]
    fn swap_and_neighbours_of_mounts_are_refused() {
        let fake = machine("1 0 8:16 / /mnt/my\\040stick ro - vfat /dev/sdb ro\n");
        assert!(refused(&fake, "8:16").is_some_and(|said| said.ends_with("is mounted at /mnt/my stick")));
        fake.file("proc/swaps", b"Filename Type Size Used Priority\n/dev/nvme0n1p1 partition 1 0 -2\n");
        for target in ["259:0", "259:1", "259:2"] {
            assert!(refused(&fake, target).is_some_and(|said| said.ends_with("is in use as swap (/dev/nvme0n1p1)")));
        }
        let fake = machine("1 0 259:1 / /boot rw - vfat /dev/nvme0n1p1 rw\n");
        assert!(refused(&fake, "259:1").is_some_and(|said| said.ends_with("is mounted at /boot")));
        assert!(refused(&fake, "259:2").is_some_and(|said| said.ends_with("is on a disk that is mounted at /boot")));
    }
}
