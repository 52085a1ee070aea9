//! The virtual bench: a box that QEMU emulates, from its boot loader on, with a log of everything that it writes.

use crate::bench::{Ability, Bench, Bus};
use crate::block_log::{self, Entry};
use crate::console::Console;
use crate::file_server::{self, Served};
use crate::qmp::Qmp;
use anyhow::{Context, bail};
use saveos_hal::sim::Seen;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How QEMU's network of the guest calls the loopback of this machine.
const HOST: &str = "10.0.2.2";

/// Debian's U-Boot for QEMU's `virt` machine (package u-boot-qemu).
const U_BOOT: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";

/// A box in QEMU.
pub(crate) struct VirtualBench {
    folder: tempfile::TempDir,
    disk: PathBuf,
    /// It starts in 1970.
    timeless: bool,
    /// Connected while it is off.
    sata: Option<PathBuf>,
    environment: PathBuf,
    running: Option<Running>,
}

struct Running {
    qemu: Child,
    console: Console,
    qmp: Qmp,
}

impl Running {
    /// Connects a disk by USB.
    fn plug(&mut self, disk: &serde_json::Value) -> anyhow::Result<()> {
        self.qmp.ask("blockdev-add", disk)?;
        let device =
            json!({ "driver": "usb-storage", "bus": "xhci.0", "drive": "usb0", "id": "usbdisk", "serial": "USB0001" });
        self.qmp.ask("device_add", &device).map(drop)
    }
}

impl VirtualBench {
    /// `environment` is U-Boot's, in a flash of its own.
    pub(crate) fn new(environment: PathBuf) -> anyhow::Result<VirtualBench> {
        let folder = tempfile::tempdir()?;
        Ok(VirtualBench {
            disk: folder.path().join("disk.img"),
            sata: None,
            timeless: false,
            folder,
            environment,
            running: None,
        })
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
    fn neighbour(&self) -> anyhow::Result<Box<dyn Bench>> {
        Ok(Box::new(VirtualBench::new(self.environment.clone())?))
    }

    fn name(&self) -> String {
        "virtual".to_owned()
    }

    fn lacks(&self, _ability: Ability) -> Option<String> {
        None
    }

    fn flash(&mut self, image: &Path) -> anyhow::Result<()> {
        self.power_off()?;
        self.sata = None;
        // A copy with its holes.
        let copied = Command::new("cp").arg("--sparse=always").arg(image).arg(&self.disk).status()?;
        if !copied.success() {
            bail!("could not copy {}", image.display());
        }
        Ok(())
    }

    fn enlarge_system_disk(&mut self, by: u64) -> anyhow::Result<bool> {
        let disk = std::fs::OpenOptions::new().write(true).open(self.system_disk()?)?;
        disk.set_len(disk.metadata()?.len() + by)?;
        Ok(true)
    }

    fn power_on(&mut self) -> anyhow::Result<()> {
        if self.running.is_some() {
            bail!("it is on");
        }
        let log = self.path("written.log");
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
        let mut qemu = Command::new("qemu-system-aarch64");
        if let Some(image) = &self.sata {
            qemu.args(["-device", "ahci,id=ahci", "-blockdev"])
                .arg(format!("driver=file,filename={},node-name=sata0", image.display()))
                .args(["-device", "ide-hd,bus=ahci.0,drive=sata0,serial=SATA0001"]);
        }
        if std::mem::take(&mut self.timeless) {
            qemu.args(["-rtc", "base=1970-01-01T00:00:00"]);
        }
        let mut qemu = qemu
            .args("-M virt -cpu cortex-a76 -accel tcg,thread=multi,tb-size=256 -smp 2 -m 768 -display none".split(' '))
            .args(["-nodefaults", "-bios", U_BOOT, "-drive"])
            .arg(format!("if=pflash,unit=1,format=raw,file={}", flash.display()))
            .arg("-chardev")
            .arg(format!("socket,id=con,path={},server=on,wait=on", console.display()))
            .args(["-serial", "chardev:con", "-qmp"])
            .arg(format!("unix:{},server=on,wait=off", monitor.display()))
            .arg("-blockdev")
            .arg(format!("driver=file,filename={},node-name=file0", self.disk.display()))
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

    fn forget_the_time(&mut self) {
        self.timeless = true;
    }

    fn power_off(&mut self) -> anyhow::Result<()> {
        if let Some(mut running) = self.running.take() {
            // `quit` closes the disk files; what the guest had not flushed is in them all the same. A cut that loses what was
            // not flushed is replayed from the log.
            if running.qmp.ask("quit", &json!({})).is_err() {
                running.qemu.kill()?;
            }
            running.qemu.wait()?;
        }
        Ok(())
    }

    fn plug(&mut self, bus: Bus, image: &Path) -> anyhow::Result<()> {
        match (bus, &mut self.running) {
            (Bus::Sata, None) => self.sata = Some(image.to_owned()),
            (Bus::Usb, Some(running)) => {
                running.plug(&json!({ "driver": "file", "filename": image, "node-name": "usb0" }))?;
            }
            _ => bail!("a {bus:?} disk cannot be connected now"),
        }
        Ok(())
    }

    fn plug_slow(&mut self, image: &Path, rate: u64) -> anyhow::Result<()> {
        let running = self.running.as_mut().context("it is off")?;
        let group = json!({ "qom-type": "throttle-group", "id": "slow", "limits": { "bps-total": rate } });
        running.qmp.ask("object-add", &group)?;
        let file = json!({ "driver": "file", "filename": image });
        running.plug(&json!({ "driver": "throttle", "throttle-group": "slow", "file": file, "node-name": "usb0" }))
    }

    fn unplug(&mut self) -> anyhow::Result<()> {
        let running = self.running.as_mut().context("it is off")?;
        running.qmp.ask("device_del", &json!({ "id": "usbdisk" }))?;
        // The guest lets go of it in its own time; then its file may be closed.
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = running.qmp.ask("blockdev-del", &json!({ "node-name": "usb0" })) {
            if Instant::now() > deadline {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn panel(&mut self) -> anyhow::Result<Seen> {
        let patience = Duration::from_secs(30);
        let console = self.console()?;
        console.ask("saveosd panel --json", patience).or_else(|error| {
            let log = console.run("journalctl -u saveosd --no-pager --quiet -n 30 | cut -c1-300", patience)?;
            Err(error.context(log))
        })
    }

    fn press(&mut self, held: Duration) -> anyhow::Result<()> {
        let command = format!("saveosd panel --press {}", held.as_millis());
        self.console()?.run(&command, Duration::from_secs(30)).map(drop)
    }

    fn host(&self) -> String {
        HOST.to_owned()
    }

    fn address(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }

    fn console(&mut self) -> anyhow::Result<&mut Console> {
        self.running.as_mut().map(|running| &mut running.console).context("it is off")
    }

    fn system_disk(&mut self) -> anyhow::Result<&Path> {
        if self.running.is_some() {
            bail!("it is on");
        }
        Ok(&self.disk)
    }

    fn written(&mut self) -> anyhow::Result<Vec<Entry>> {
        block_log::read(&self.path("written.log"))
    }

    fn serve(&mut self, place: &Path) -> anyhow::Result<(String, Arc<Served>)> {
        let (port, served) = file_server::serve(place.to_owned(), self.address())?;
        Ok((format!("http://{HOST}:{port}/"), served))
    }
}

impl Drop for VirtualBench {
    fn drop(&mut self) {
        let _ = self.power_off();
    }
}
