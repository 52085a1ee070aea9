//! What can be seen of an image whose board is not here: its table, what its boot partition holds, and what its boot loader will find.

use crate::shell::{output, root};
use anyhow::{Context, ensure};
use serde_json::Value;
use std::path::Path;

/// Partitions of every machine, in their order.
const PARTITIONS: [&str; 8] = ["boot", "bootstate", "kernel-a", "root-a", "kernel-b", "root-b", "config", "data"];
const SECTOR: u64 = 512;

/// Looks at the Raspberry Pi's in `folder`.
pub(super) fn check_rpi4(folder: &Path) -> anyhow::Result<()> {
    let disk = folder.join("disk.img");
    let boot = partitions(&disk)?;
    early_boards_see_it(&disk, boot)?;
    let image = format!("{}@@{}", disk.display(), boot * SECTOR);
    let listed = output("mdir", &["-b", "-i", &image, "::"])?;
    let mut files: Vec<&str> = listed.lines().map(|line| line.trim_start_matches("::/")).collect();
    files.sort_unstable();
    let expected = ["bcm2711-rpi-4-b.dtb", "boot.scr", "config.txt", "fixup4.dat", "start4.elf", "u-boot.bin"];
    ensure!(files == expected, "the boot partition holds {files:?}");
    let config = output("mtype", &["-i", &image, "::/config.txt"])?;
    for (key, what) in [("kernel", "u-boot.bin"), ("device_tree", "bcm2711-rpi-4-b.dtb")] {
        ensure!(config.lines().any(|line| line == format!("{key}={what}")), "the firmware is not told its {key}");
    }
    script_is_ours(&image, &folder.join("boot.scr"))?;
    slot_fits(&folder.join("first/kernel.img"))?;
    let tree = folder.join("root");
    let rauc = std::fs::read_to_string(tree.join("etc/rauc/system.conf"))?;
    ensure!(rauc.lines().any(|line| line == "compatible=saveos-rpi4"), "it would take a bundle of another machine");
    let shell = tree.join("etc/systemd/system/bench-shell.service");
    ensure!(!shell.exists(), "whoever has its serial port would be root");
    ensure!(!tree.join("usr/lib/raspi-firmware").exists(), "each slot carries what the boot partition holds");
    Ok(())
}

/// Where the boot partition begins, in sectors.
fn partitions(disk: &Path) -> anyhow::Result<u64> {
    let table: Value = serde_json::from_str(&output("sfdisk", &["--json", &disk.to_string_lossy()])?)?;
    let table = &table["partitiontable"];
    let all = table["partitions"].as_array().context("partitions")?;
    let names: Vec<&str> = all.iter().filter_map(|one| one["name"].as_str()).collect();
    ensure!(table["label"] == "gpt" && names == PARTITIONS, "{} of {names:?}", table["label"]);
    for one in all {
        let start = one["start"].as_u64().context("a start")?;
        // As cards erase, so that a write to one partition never takes a part of another with it.
        ensure!((start * SECTOR).is_multiple_of(4 << 20), "{} begins at {start}", one["name"]);
    }
    all[0]["start"].as_u64().context("a start")
}

/// The table of old that the chip of early boards reads: the boot partition, as FAT.
fn early_boards_see_it(disk: &Path, boot: u64) -> anyhow::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut sector = [0; SECTOR as usize];
    std::fs::File::open(disk)?.read_exact_at(&mut sector, 0)?;
    ensure!(sector[510..] == [0x55, 0xaa], "no table of old");
    let entries = sector[446..510].chunks_exact(16);
    let starts = entries
        .filter(|entry| entry[4] == 0x0c)
        .map(|entry| u64::from(u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]])));
    ensure!(starts.collect::<Vec<_>>() == [boot], "an early board finds no boot partition at {boot}");
    Ok(())
}

/// A script of U-Boot: a header of 64 bytes, the length of the text and a zero, then the text.
fn script_is_ours(image: &str, copy: &Path) -> anyhow::Result<()> {
    output("mcopy", &["-o", "-i", image, "::/boot.scr", &copy.to_string_lossy()])?;
    let script = std::fs::read(copy)?;
    let images = root().join("images");
    let text = [std::fs::read(images.join("rpi4/boot.cmd"))?, std::fs::read(images.join("boot/boot.cmd"))?].concat();
    ensure!(script.get(72..) == Some(&text), "the boot script is another one");
    let told = output("dumpimage", &["-l", &copy.to_string_lossy()])?;
    ensure!(told.contains("AArch64 Linux Script"), "{told}");
    Ok(())
}

/// What the boot script starts: a kernel where this machine has memory, and an initramfs, each with its sum.
fn slot_fits(kernel: &Path) -> anyhow::Result<()> {
    let told = output("dumpimage", &["-l", &kernel.to_string_lossy()])?;
    for wanted in
        ["Load Address: 0x00200000", "Default Configuration: 'c'", "Hash algo:    crc32", "Type:         RAMDisk Image"]
    {
        ensure!(told.contains(wanted), "`{wanted}` is not in {told}");
    }
    // Without these it does not find its own disk.
    let initramfs = kernel.with_file_name("initramfs.cpio");
    let part = ["-T", "flat_dt", "-p", "1", "-o", &initramfs.to_string_lossy(), &kernel.to_string_lossy()];
    output("dumpimage", &part)?;
    let files = output("sh", &["-ec", "cpio --quiet -t <\"$1\"", "sh", &initramfs.to_string_lossy()])?;
    std::fs::remove_file(&initramfs)?;
    for wanted in ["init", "modules/sdhci-iproc.ko", "modules/gpio-regulator.ko", "bin/saveos-bootctl"] {
        ensure!(files.lines().any(|file| file == wanted), "{wanted} is not in the initramfs");
    }
    let size = std::fs::metadata(kernel)?.len();
    ensure!(size < 64 << 20, "{size} bytes are more than a slot has");
    // Unpacked at 2 MiB; the slot itself is read to 256 MiB, which nothing may reach.
    ensure!((2 << 20) + size < 256 << 20, "the kernel would be unpacked over its own slot");
    Ok(())
}
