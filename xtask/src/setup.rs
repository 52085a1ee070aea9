//! Installs what is missing on Debian or Ubuntu, by package name, and says what and why.

use crate::shell::{has, output, run, succeeds};
use anyhow::bail;

/// A program that must be there, and the package that has it.
type Need = (&'static str, &'static str);

/// To run a control plane and ask it.
const FLEET: &[Need] = &[("mosquitto", "mosquitto"), ("curl", "curl")];

/// To build: aws-lc and SQLite are C.
const BUILD: &[Need] = &[("cc", "gcc"), ("cmake", "cmake"), ("make", "make")];

/// To make filesystems and check them.
const FILESYSTEMS: &[Need] = &[
    ("mke2fs", "e2fsprogs"),
    ("mkfs.fat", "dosfstools"),
    ("mkfs.exfat", "exfatprogs"),
    ("mkntfs", "ntfs-3g"),
    ("sgdisk", "gdisk"),
    ("sfdisk", "fdisk"),
    ("mcopy", "mtools"),
    ("partclone.ext4", "partclone"),
    ("mkswap", "util-linux"),
    ("losetup", "mount"),
    ("mount.exfat-fuse", "exfat-fuse"),
];

/// To read what we serve, and to look at ourselves from outside.
const TESTS: &[Need] = &[
    ("qemu-img", "qemu-utils"),
    ("nbdinfo", "libnbd-bin"),
    ("nbdkit", "nbdkit"),
    ("strace", "strace"),
    ("python3", "python3"),
    ("setfattr", "attr"),
    ("ddrescuelog", "gddrescue"),
    ("systemd-analyze", "systemd"),
    ("redis-server", "redis-server"),
    ("haproxy", "haproxy"),
    ("age", "age"),
];

/// Not in every release; tests that want it say so and are skipped.
const OPTIONAL: &[Need] = &[("fusefat", "fusefat")];

/// What we are compared with.
const PEERS: &[Need] = &[
    ("restic", "restic"),
    ("borg", "borgbackup"),
    ("zstd", "zstd"),
    ("openssl", "openssl"),
    ("b3sum", "b3sum"),
    ("time", "time"),
    ("nbdkit", "nbdkit"),
    ("nbdfuse", "libnbd-bin"),
    ("fusermount3", "fuse3"),
];

/// Everything.
pub(crate) fn everything() -> anyhow::Result<()> {
    for_tests()?;
    for_bench()
}

/// What `demo` needs: the files it backs up are those that git knows.
pub(crate) fn for_demo() -> anyhow::Result<()> {
    install(&[BUILD, FILESYSTEMS, FLEET, &[("git", "git")]].concat())
}

/// What `test` needs.
pub(crate) fn for_tests() -> anyhow::Result<()> {
    install(&[BUILD, FILESYSTEMS, FLEET, TESTS, &[("git", "git")]].concat())?;
    for_python()?;
    // Its programs are on nobody's path.
    let servers = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    if !servers.into_iter().any(|release| release.path().join("bin/postgres").exists()) {
        install_packages(&["postgresql"])?;
    }
    for (program, package) in OPTIONAL.iter().filter(|(program, _)| !has(program)) {
        if let Err(error) = install_packages(&[package]) {
            println!("going on without {program}: {error}");
        }
    }
    Ok(())
}

/// What the ceremony of a release is tested with.
pub(crate) fn for_releases() -> anyhow::Result<()> {
    install(&[
        ("mksquashfs", "squashfs-tools"),
        ("rauc", "rauc"),
        ("openssl", "openssl"),
        ("softhsm2-util", "softhsm2"),
        ("strace", "strace"),
    ])
}

/// What `bench engine` needs.
pub(crate) fn for_bench() -> anyhow::Result<()> {
    install(&[BUILD, FILESYSTEMS, PEERS].concat())
}

/// What building for aarch64 needs besides a compiler for Rust.
pub(crate) fn for_cross() -> anyhow::Result<()> {
    install(&[
        ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
        ("aarch64-linux-gnu-objdump", "binutils-aarch64-linux-gnu"),
    ])?;
    if !std::path::Path::new("/usr/aarch64-linux-gnu/include/stdio.h").exists() {
        install_packages(&["libc6-dev-arm64-cross"])?;
    }
    Ok(())
}

/// What making the image of the control plane needs, on bases that are made here.
pub(crate) fn for_containers() -> anyhow::Result<()> {
    install(&[("buildah", "buildah"), ("mmdebstrap", "mmdebstrap")])?;
    for_debian()
}

/// What signs Debian's packages, also on Ubuntu.
fn for_debian() -> anyhow::Result<()> {
    match std::path::Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists() {
        true => Ok(()),
        false => install_packages(&["debian-archive-keyring"]),
    }
}

/// What making an image needs, and starting it.
pub(crate) fn for_images() -> anyhow::Result<()> {
    install(FLEET)?;
    install(&[
        ("mmdebstrap", "mmdebstrap"),
        ("genimage", "genimage"),
        ("mcopy", "mtools"),
        ("mkfs.vfat", "dosfstools"),
        ("mke2fs", "e2fsprogs"),
        ("mksquashfs", "squashfs-tools"),
        ("veritysetup", "cryptsetup-bin"),
        ("rauc", "rauc"),
        ("mkimage", "u-boot-tools"),
        ("dtc", "device-tree-compiler"),
        ("cpio", "cpio"),
        ("depmod", "kmod"),
        ("sfdisk", "fdisk"),
        ("zstd", "zstd"),
        ("openssl", "openssl"),
        ("systemd-sysusers", "systemd"),
        ("qemu-system-aarch64", "qemu-system-arm"),
    ])?;
    for_debian()?;
    // No program: the boot loader of the virtual machine.
    if !std::path::Path::new("/usr/lib/u-boot/qemu_arm64/u-boot.bin").exists() {
        install_packages(&["u-boot-qemu"])?;
    }
    Ok(())
}

/// A browser, and what its tests make disks with.
pub(crate) fn for_browser() -> anyhow::Result<()> {
    install(&[FLEET, FILESYSTEMS, &[("chromium", "chromium"), ("python3", "python3")]].concat())
}

fn for_python() -> anyhow::Result<()> {
    if succeeds("python3", &["-c", "import venv, ensurepip"]) { Ok(()) } else { install_packages(&["python3-venv"]) }
}

/// Packages of Python in a folder of their own.
pub(crate) fn python_packages(folder: &std::path::Path, packages: &[&str]) -> anyhow::Result<()> {
    for_python()?;
    run("python3", &["-m", "venv", &folder.to_string_lossy()])?;
    let python = folder.join("bin/python");
    run(&python.to_string_lossy(), &[&["-m", "pip", "install", "--quiet"], packages].concat())
}

fn install(needs: &[Need]) -> anyhow::Result<()> {
    let mut missing: Vec<&str> =
        needs.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() { Ok(()) } else { install_packages(&missing) }
}

fn install_packages(packages: &[&str]) -> anyhow::Result<()> {
    if !has("apt-get") {
        bail!("these packages are missing, and this system has no apt-get: {}", packages.join(" "));
    }
    println!("installing with apt: {}", packages.join(" "));
    let is_root = output("id", &["-u"])?.trim() == "0";
    let apt = |arguments: &[&str]| {
        let environment = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", "Acquire::Retries=5"];
        let words: Vec<&str> = if is_root { environment.to_vec() } else { [&["sudo"], &environment[..]].concat() };
        run(words[0], &[&words[1..], arguments].concat())
    };
    apt(&["update"])?;
    apt(&[&["install", "--no-install-recommends"], packages].concat())
}
