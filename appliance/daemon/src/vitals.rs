//! How the board does: how busy it is, how much of its memory is taken, how warm it is. Told with each heartbeat.

use crate::machine;
use saveos_protocol::unit::{Celsius, Percent};
use std::fs;
use std::path::Path;

/// Remembers the look before: the kernel counts ticks since boot.
#[derive(Default)]
pub(crate) struct Vitals(Option<Ticks>);

/// What there is to say; a board that does not count something says nothing of it.
pub(crate) struct Look {
    pub(crate) busy: Option<Percent>,
    pub(crate) memory_used: Option<Percent>,
    pub(crate) board: Option<Celsius>,
}

/// Of all processors together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl Vitals {
    pub(crate) fn look(&mut self) -> Look {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let ticks = ticks(&text("/proc/stat"));
        let busy = self.0.zip(ticks).and_then(|(before, now)| busy_between(before, now));
        self.0 = ticks;
        let memory = text("/proc/meminfo");
        Look { busy, memory_used: memory_used(&memory), board: hottest(Path::new("/sys/class/thermal")) }
    }
}

/// `cpu user nice system idle iowait irq softirq steal guest guest_nice`, see proc_stat(5). A guest's ticks are in user's, too,
/// and what waits for a disk is not busy.
fn ticks(stat: &str) -> Option<Ticks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let counts: Vec<u64> = line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    let all = counts.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
    let idle = counts.get(3)?.saturating_add(*counts.get(4)?);
    Some(Ticks { busy: all.saturating_sub(idle), all })
}

/// None when no tick has passed; the kernel's count of idle ticks may also step back.
fn busy_between(before: Ticks, now: Ticks) -> Option<Percent> {
    let all = now.all.checked_sub(before.all).filter(|ticks| *ticks > 0)?;
    Some(Percent::of(now.busy.saturating_sub(before.busy), all))
}

fn memory_used(meminfo: &str) -> Option<Percent> {
    let all = machine::kibibytes(meminfo, "MemTotal:").filter(|all| *all > 0)?;
    let free = machine::kibibytes(meminfo, "MemAvailable:")?;
    Some(Percent::of(all.saturating_sub(free), all))
}

/// Zones tell thousandths of a degree.
fn hottest(zones: &Path) -> Option<Celsius> {
    let of = |zone: fs::DirEntry| fs::read_to_string(zone.path().join("temp")).ok()?.trim().parse::<i32>().ok();
    let degrees = fs::read_dir(zones).ok()?.flatten().filter_map(of).max()? / 1000;
    i16::try_from(degrees).ok().map(Celsius)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_neither_idle_nor_waits_for_a_disk() {
        let at = |text: &str| ticks(text).expect("ticks");
        let before = at("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n");
        assert_eq!(before, Ticks { busy: 200, all: 1000 });
        let now = at("cpu  125 0 105 720 140 3 4 3 60 0\n");
        assert_eq!(busy_between(before, now), Percent::new(40));
        assert_eq!(busy_between(before, before), None);
        assert_eq!(busy_between(now, before), None);
        for other in ["", "cpu", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8"] {
            assert_eq!(ticks(other), None, "{other}");
        }
    }

    #[test]
    fn memory_that_is_available_is_not_used() {
        assert_eq!(memory_used("MemTotal: 1000 kB\nMemFree: 10 kB\nMemAvailable: 750 kB\n"), Percent::new(25));
        assert_eq!(memory_used("MemTotal: 0 kB\nMemAvailable: 0 kB\n"), None);
        assert_eq!(memory_used("MemTotal: 1000 kB\n"), None);
    }

    #[test]
    fn the_hottest_zone_counts() {
        let folder = tempfile::tempdir().expect("room");
        assert_eq!(hottest(folder.path()), None);
        for (zone, temp) in [("thermal_zone0", "48312\n"), ("thermal_zone1", "61000\n"), ("cooling_device0", "")] {
            fs::create_dir(folder.path().join(zone)).expect("room");
            crate::files::tests::put(&folder.path().join(zone).join("temp"), temp.as_bytes());
        }
        assert_eq!(hottest(folder.path()), Some(Celsius(61)));
    }

    #[test]
    fn this_machine_says_how_it_does() {
        let mut vitals = Vitals::default();
        assert_eq!(vitals.look().busy, None);
        let look = vitals.look();
        assert!(look.memory_used.is_some_and(|used| used.get() > 0));
    }
}
