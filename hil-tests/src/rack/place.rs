//! A place of a rack: what is connected to a board there, and the programs that switch it. People write it down in a TOML file:
//!
//! ```toml
//! [pi4-1]
//! serial = "/dev/serial/by-path/pci-0000:00:14.0-usb-0:2:1.0-port0"
//! address = "192.0.2.10"                                # how the box calls this machine
//! power = { uhubctl = { hub = "1-1.4", port = 2 } }
//!
//! [pi4-1.system]                                        # the disk that it starts from
//! disk = "/dev/disk/by-id/usb-Linux_Aut_sdmux_HS-SD_MMC_1234-0:0"
//! here = ["usbsdmux", "/dev/usb-sd-mux/id-1234", "host"]
//! box = ["usbsdmux", "/dev/usb-sd-mux/id-1234", "dut"]
//!
//! [pi4-1.stick]                                         # a customer's disk
//! disk = "/dev/disk/by-id/usb-Generic_STORAGE_DEVICE_000000-0:0"
//! here = ["usbrelay", "HW348_1=0"]
//! box = ["usbrelay", "HW348_1=1"]
//! ```

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A board and what is around it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// Its serial console, at 115,200 baud.
    pub(super) serial: PathBuf,
    /// How the box calls this machine.
    pub(super) address: std::net::IpAddr,
    pub(super) power: Power,
    /// None: it starts from what it has, and nobody writes it.
    pub(super) system: Option<Switched>,
    /// None: no disk is plugged in.
    pub(super) stick: Option<Switched>,
}

/// What feeds the board.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Power {
    /// A port of a USB hub that switches its ports one by one.
    Uhubctl(Port),
    /// Programs of a relay or of a power strip.
    Relay(Relay),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Port {
    hub: String,
    port: u8,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Relay {
    on: Vec<String>,
    off: Vec<String>,
}

/// A disk that is connected to this machine or to the box.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Switched {
    /// As this machine calls it, while it is here: by a name that no other disk has.
    pub(super) disk: PathBuf,
    pub(super) here: Vec<String>,
    #[serde(rename = "box")]
    pub(super) to_box: Vec<String>,
}

impl Power {
    /// The program that switches it.
    pub(super) fn words(&self, on: bool) -> Vec<String> {
        match self {
            Power::Uhubctl(Port { hub, port }) => {
                let action = if on { "on" } else { "off" };
                // Some hubs feed a port a little longer: two more tries.
                ["uhubctl", "--location", hub, "--ports", &port.to_string(), "--action", action, "--repeat", "3"]
                    .map(str::to_owned)
                    .into()
            }
            Power::Relay(relay) => if on { &relay.on } else { &relay.off }.clone(),
        }
    }
}

/// What each name in `racks.toml` is.
pub(super) fn read(text: &str, name: &str) -> anyhow::Result<Place> {
    let mut all: BTreeMap<String, Place> = toml::from_str(text)?;
    let known = all.keys().cloned().collect::<Vec<_>>().join(", ");
    let place = all.remove(name).with_context(|| format!("no place `{name}`: {known}"))?;
    place.judge().with_context(|| format!("the place `{name}`"))?;
    Ok(place)
}

impl Place {
    fn judge(&self) -> anyhow::Result<()> {
        let disks = [&self.system, &self.stick].map(Option::as_ref);
        for switched in disks.into_iter().flatten() {
            // `sda` is another disk tomorrow, and images are written to this one.
            ensure!(
                switched.disk.starts_with("/dev/disk/by-id") || switched.disk.starts_with("/dev/disk/by-path"),
                "{} is a name that another disk may get: take one of /dev/disk/by-id or by-path",
                switched.disk.display()
            );
        }
        let relay = match &self.power {
            Power::Relay(Relay { on, off }) => vec![on, off],
            Power::Uhubctl(_) => Vec::new(),
        };
        let switches = disks.into_iter().flatten().flat_map(|one| [&one.here, &one.to_box]);
        if relay.into_iter().chain(switches).any(Vec::is_empty) {
            bail!("a switch without a program");
        }
        if let [Some(system), Some(stick)] = disks {
            ensure!(system.disk != stick.disk, "one disk is both its own and a customer's");
        }
        Ok(())
    }
}

/// Refused, when something of it is mounted here: a person has a stick of his own in this machine.
pub(super) fn is_free(disk: &Path, mounts: &str) -> anyhow::Result<()> {
    let real = disk.canonicalize().with_context(|| format!("{} is not here", disk.display()))?;
    let name = real.to_string_lossy().into_owned();
    let of_it = |source: &str| {
        // `sdb1` is a part of `sdb`, and so is `mmcblk0p1` of `mmcblk0`.
        source.strip_prefix(&name).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'p'))
    };
    match mounts.lines().find(|line| line.split(' ').next().is_some_and(of_it)) {
        Some(line) => bail!("{name} is in use: {line}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("place.rs");

    /// The example above is one.
    fn example() -> String {
        let lines = EXAMPLE.lines().skip_while(|line| *line != "//! ```toml").skip(1);
        let lines = lines.take_while(|line| *line != "//! ```");
        lines.map(|line| line.trim_start_matches("//!").trim_start()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_documented_place_is_read() {
        let place = read(&example(), "pi4-1").expect("a place");
        let words = place.power.words(false).join(" ");
        assert_eq!(words, "uhubctl --location 1-1.4 --ports 2 --action off --repeat 3");
        assert_eq!(place.system.expect("a disk").to_box[2], "dut");
    }

    #[test]
    fn what_would_write_to_the_wrong_disk_is_refused() {
        let refused = |from: &str, to: &str| {
            let text = example().replace(from, to);
            assert_ne!(text, example(), "{from}");
            format!("{:#}", read(&text, "pi4-1").expect_err("it is refused"))
        };
        let sda = refused("/dev/disk/by-id/usb-Generic_STORAGE_DEVICE_000000-0:0", "/dev/sda");
        assert!(sda.contains("another disk may get"), "{sda}");
        let twice = refused("usb-Generic_STORAGE_DEVICE_000000-0:0", "usb-Linux_Aut_sdmux_HS-SD_MMC_1234-0:0");
        assert!(twice.contains("both its own"), "{twice}");
        assert!(refused("[\"usbrelay\", \"HW348_1=0\"]", "[]").contains("without a program"));
        assert!(refused("serial =", "cereal =").contains("cereal"));
        let missing = format!("{:#}", read(&example(), "pi5").expect_err("there is none"));
        assert!(missing.contains("no place `pi5`: pi4-1"), "{missing}");
    }

    #[test]
    fn a_disk_that_somebody_uses_is_not_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = folder.path().canonicalize().expect("it is there").join("sdx");
        std::fs::File::create(&disk).expect("room");
        let line = |end: &str| format!("/dev/other / ext4 rw 0 0\n{}{end} /media/stick vfat rw 0 0\n", disk.display());
        for used in ["", "1", "p2"] {
            assert!(is_free(&disk, &line(used)).is_err(), "{used}");
        }
        assert!(is_free(&disk, &line("y1")).is_ok() && is_free(&disk, "").is_ok());
        assert!(is_free(&folder.path().join("away"), "").is_err());
    }
}
