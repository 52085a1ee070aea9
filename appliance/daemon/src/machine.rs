//! The board and what runs on it, as the system describes them.

use saveos_protocol::shadow::Hardware;
use saveos_protocol::text::{Mark, Release};
use saveos_protocol::unit::Bytes;

/// The release of this daemon.
pub(crate) fn release() -> Release {
    env!("CARGO_PKG_VERSION").parse().expect("our version is one")
}

/// By the device tree of an ARM board, or the DMI of a PC.
pub(crate) fn hardware() -> Hardware {
    const DMI: &str = "/sys/class/dmi/id";
    let model = read("/proc/device-tree/model").or_else(|| read(&format!("{DMI}/product_name")));
    let serial = read("/proc/device-tree/serial-number").or_else(|| read(&format!("{DMI}/product_serial")));
    let unknown = || "unknown".parse().expect("a mark");
    Hardware { model: model.unwrap_or_else(unknown), serial, memory_bytes: Bytes::saturating(memory()) }
}

/// Whether there is such a program: at its path, or where the daemon and its checkers look for one.
pub(crate) fn has(program: &str) -> bool {
    let folders = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    std::path::Path::new(program).is_absolute() && std::path::Path::new(program).exists()
        || folders.iter().any(|folder| std::path::Path::new(folder).join(program).is_file())
}

fn read(path: &str) -> Option<Mark> {
    Mark::cut(&std::fs::read_to_string(path).ok()?)
}

fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    kibibytes(&text, "MemTotal:").unwrap_or(0).saturating_mul(1024)
}

/// A line of `/proc/meminfo`.
pub(crate) fn kibibytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
