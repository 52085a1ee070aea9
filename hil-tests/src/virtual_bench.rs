//! The virtual bench: a box that QEMU emulates, from its boot loader on, with a log of everything that it writes.

use crate::bench::{Ability, Bench};
use crate::block_log::{self, Entry};
use crate::console::Console;
use crate::file_server;
use crate::qmp::Qmp;
use anyhow::{Context, bail};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Debian's U-Boot for QEMU's `virt` machine (package u-boot-qemu).
const U_BOOT: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";

/// A box in QEMU.
pub(crate) struct VirtualBench {
    folder: tempfile::TempDir,
    environment: PathBuf,
    running: Option<Running>,
}

struct Running {
    qemu: Child,
    console: Console,
    qmp: Qmp,
}

impl VirtualBench {
    /// `environment` is U-Boot's, in a flash of its own.
    pub(crate) fn new(environment: PathBuf) -> anyhow::Result<VirtualBench> {
        Ok(VirtualBench { folder: tempfile::tempdir()?, environment, running: None })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Connects to a socket that QEMU is about to make.
    fn connect(qemu: &mut Child, path: &Path) -> anyhow::Result<UnixStream> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > deadline => return Err(error).context("QEMU opens no socket"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
            if let Some(status) = qemu.try_wait()? {
                bail!("QEMU ended with {status}");
            }
        }
    }
}

impl Bench for VirtualBench {
    fn name(&self) -> String {
        "virtual".to_owned()
    }

    fn lacks(&self, _ability: Ability) -> Option<String> {
        None
    }

    fn flash(&mut self, image: &Path) -> anyhow::Result<()> {
        self.power_off()?;
        let disk = self.path("disk.img");
        // A copy with its holes.
        let copied = Command::new("cp").arg("--sparse=always").arg(image).arg(&disk).status()?;
        if !copied.success() {
            bail!("could not copy {}", image.display());
        }
        Ok(())
    }

    fn power_on(&mut self) -> anyhow::Result<()> {
        if self.running.is_some() {
            bail!("it is on");
        }
        let (disk, log) = (self.path("disk.img"), self.path("written.log"));
        let (console, monitor) = (self.path("console"), self.path("qmp"));
        let flash = self.path("flash.img");
        if !flash.exists() {
            std::fs::copy(&self.environment, &flash)?;
            std::fs::OpenOptions::new().write(true).open(&flash)?.set_len(64 << 20)?;
        }
        // The log grows as it needs; QEMU wants to see an end.
        std::fs::File::create(&log)?.set_len(4 << 30)?;
        for socket in [&console, &monitor] {
            let _ = std::fs::remove_file(socket);
        }
        let mut qemu = Command::new("qemu-system-aarch64")
            .args("-M virt -cpu cortex-a76 -accel tcg,thread=multi,tb-size=256 -smp 2 -m 768 -display none".split(' '))
            .args(["-nodefaults", "-bios", U_BOOT, "-drive"])
            .arg(format!("if=pflash,unit=1,format=raw,file={}", flash.display()))
            .arg("-chardev")
            .arg(format!("socket,id=con,path={},server=on,wait=on", console.display()))
            .args(["-serial", "chardev:con", "-qmp"])
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .arg("-blockdev")
            .arg(format!("driver=file,filename={},node-name=file0", disk.display()))
            .arg("-blockdev")
            .arg(format!("driver=file,filename={},node-name=log0", log.display()))
            .args(["-blockdev", "driver=blklogwrites,file=file0,log=log0,log-sector-size=512,node-name=disk0"])
            .args(["-device", "virtio-blk-pci,drive=disk0,serial=saveos0"])
            .args(["-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,romfile="])
            .args(["-device", "virtio-rng-pci", "-device", "qemu-xhci,id=xhci"])
            .args(["-device", "i6300esb", "-action", "watchdog=reset"])
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(self.path("qemu.log"))?)
            .spawn()
            .context("could not start qemu-system-aarch64")?;
        let console = Self::connect(&mut qemu, &console)?;
        let qmp = Qmp::on(Self::connect(&mut qemu, &monitor)?)?;
        let console = Console::on(console.try_clone()?, console);
        self.running = Some(Running { qemu, console, qmp });
        Ok(())
    }

    fn power_off(&mut self) -> anyhow::Result<()> {
        if let Some(mut running) = self.running.take() {
            // `quit` closes the disk files; what the guest had not flushed is in them all the same. A cut that loses what was
            // not flushed is replayed from the log.
            if running.qmp.ask("quit", &serde_json::json!({})).is_err() {
                running.qemu.kill()?;
            }
            running.qemu.wait()?;
        }
        Ok(())
    }

    fn console(&mut self) -> anyhow::Result<&mut Console> {
        self.running.as_mut().map(|running| &mut running.console).context("it is off")
    }

    fn system_disk(&mut self) -> anyhow::Result<&Path> {
        if self.running.is_some() {
            bail!("it is on");
        }
        Ok(Box::leak(self.path("disk.img").into_boxed_path()))
    }

    fn written(&mut self) -> anyhow::Result<Vec<Entry>> {
        block_log::read(&self.path("written.log"))
    }

    fn serve(&mut self, file: &Path) -> anyhow::Result<String> {
        // How QEMU's network of the guest calls the loopback of this machine.
        Ok(format!("http://10.0.2.2:{}/", file_server::serve(file.to_owned())?))
    }
}

impl Drop for VirtualBench {
    fn drop(&mut self) {
        let _ = self.power_off();
    }
}
