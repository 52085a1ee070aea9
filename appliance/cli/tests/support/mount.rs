//! Mounts that always end: by the kernel over a loop device, or by a FUSE driver that is waited for.

use super::run::text;
use super::{Kind, tool, tool_result};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a mount or its end may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// A mounted image.
pub(crate) struct Mount {
    pub(crate) at: PathBuf,
    _home: tempfile::TempDir,
    driver: Option<Child>,
    loop_device: Option<String>,
}

impl Mount {
    /// Mounts to write.
    pub(crate) fn writable(kind: Kind, image: &Path) -> Mount {
        Mount::try_new(kind, image, "rw").unwrap_or_else(|error| panic!("{error}"))
    }

    /// Mounts to read.
    pub(crate) fn readable(kind: Kind, image: &Path) -> Result<Mount, String> {
        Mount::try_new(kind, image, "ro")
    }

    /// Mounts.
    pub(crate) fn try_new(kind: Kind, image: &Path, options: &str) -> Result<Mount, String> {
        let home = tempfile::tempdir().map_err(|error| error.to_string())?;
        let at = home.path().join("mnt");
        std::fs::create_dir(&at).map_err(|error| error.to_string())?;
        let mut mount = Mount { at, _home: home, driver: None, loop_device: None };
        // One loop device at a time: two `losetup -f` may see the same free one.
        match kind {
            Kind::Ext => {
                let device = attach(image, &[])?;
                mount.loop_device = Some(device.clone());
                let ran = tool_result(&["mount", "-t", "ext4", "-o", options, &device, text(&mount.at)]);
                if ran.code != 0 {
                    return Err(ran.err);
                }
            }
            Kind::Ntfs => {
                let options = format!("{options},no_detach,compression,streams_interface=xattr,efs_raw");
                let options = options.trim_end_matches(",efs_raw");
                mount.drive(Command::new("ntfs-3g").args(["-o", options]).arg(image).arg(mount.at.clone()))?;
            }
            Kind::Exfat => {
                let device = attach(image, &[])?;
                mount.loop_device = Some(device.clone());
                let at = mount.at.clone();
                mount.drive(Command::new("mount.exfat-fuse").args(["-d", "-o", options, &device]).arg(at))?;
            }
            // Slow, so filesystems are filled by mtools; this is for what only a mount shows.
            Kind::Fat => {
                let options = if options == "rw" { "rw+" } else { "ro" };
                mount.drive(
                    Command::new("fusefat").args(["-f", "-s", "-o", options]).arg(image).arg(mount.at.clone()),
                )?;
            }
        }
        Ok(mount)
    }

    /// Starts a driver in the foreground and waits until it serves.
    fn drive(&mut self, command: &mut Command) -> Result<(), String> {
        let driver = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let driver = self.driver.insert(driver.map_err(|error| error.to_string())?);
        let begun = Instant::now();
        while !is_mounted(&self.at) {
            if let Some(status) = driver.try_wait().map_err(|error| error.to_string())? {
                self.driver = None;
                return Err(format!("the driver ended: {status}"));
            }
            assert!(begun.elapsed() < DEADLINE, "the driver does not mount");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let begun = Instant::now();
        while is_mounted(&self.at) && begun.elapsed() < DEADLINE {
            if tool_result(&["umount", text(&self.at)]).code != 0 {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        if is_mounted(&self.at) {
            tool_result(&["umount", "-l", text(&self.at)]);
        }
        if let Some(driver) = &mut self.driver {
            let _ = driver.wait(); // it writes until it ends
        }
        if let Some(device) = &self.loop_device {
            detach(device);
        }
    }
}

/// A loop device over an image, detached with it.
pub(crate) struct Loop(pub(crate) String);

impl Loop {
    pub(crate) fn new(image: &Path, options: &[&str]) -> Result<Loop, String> {
        attach(image, options).map(Loop)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        detach(&self.0);
    }
}

fn attach(image: &Path, options: &[&str]) -> Result<String, String> {
    let words = [&["losetup", "-f", "--show"], options, &[text(image)]].concat();
    // Somebody else may take the free device between the question and the answer.
    for _ in 0..50 {
        let ran = tool_result(&words);
        if ran.code == 0 {
            return Ok(ran.text().trim().to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err("no loop device".to_owned())
}

/// Detaches, and waits until the kernel has let go of the file.
fn detach(device: &str) {
    let backing = format!("/sys/block/{}/loop/backing_file", device.trim_start_matches("/dev/"));
    let file = std::fs::read_to_string(&backing).unwrap_or_default();
    tool_result(&["losetup", "-d", device]);
    let begun = Instant::now();
    while std::fs::read_to_string(&backing).is_ok_and(|now| now == file) && begun.elapsed() < DEADLINE {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_mounted(at: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(4) == at.to_str())
}

/// Used by tests that mount by hand.
pub(crate) fn unmount(at: &Path) {
    tool(&["umount", text(at)]);
}
