//! An update that proves itself, then one that does not; afterwards the power is cut at each of the writes of all that, and torn in
//! the middle of each write that decides: what the next start takes must be a whole system.

use super::{ready, update};
use crate::bench::Bench;
use crate::block_log::Entry;
use crate::disk::{BootStateIn, partition};
use anyhow::{Context, bail, ensure};
use saveos_bootctl::{Slot, Store};
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What a disk writes whole.
const SECTOR: usize = 512;

pub(super) fn run(bench: &mut dyn Bench, images: &Path) -> anyhow::Result<String> {
    let disk = images.join("disk.img");
    bench.flash(&disk)?;
    bench.power_on()?;
    let first = ready(bench, "A")?;
    let install = update::install(bench, &images.join("good.raucb"))?;
    let into = update::restart_into(bench, "B")?;
    update::confirm(bench)?;
    update::install(bench, &images.join("panics.raucb"))?;
    let back = update::restart_into(bench, "B")?;
    let console = bench.console()?;
    let tries = console.text().matches("SAVEOS-BOOT slot=A").count() - 1;
    ensure!(tries == 3, "the bad system was tried {tries} times");
    update::confirm(bench)?;
    bench.power_off()?;
    let log = bench.written()?;
    let copy = bench.system_disk()?.with_extension("cut");
    let swept = Sweep::over(&disk, &copy, images)?.all(&log)?;
    let [first, install, into, back] = [first, install, into, back].map(|time| time.as_secs_f64());
    Ok(format!(
        "ready {first:.1} s, install {install:.1} s, restart {into:.1} s, back after 3 tries {back:.1} s; {swept}"
    ))
}

/// A copy of the disk on which the writes are done again, one by one.
struct Sweep {
    copy: File,
    bootstate: Range<u64>,
    /// Where kernel and root of A and of B lie.
    slots: [[Range<u64>; 2]; 2],
    /// The systems that were ever installed.
    systems: Vec<System>,
    /// What lies in the slots, while nothing was written there: the number of a system, or half of one.
    held: [Option<Option<usize>>; 2],
    states: usize,
    bad: Vec<String>,
}

/// Kernel and root: lengths and checksums.
struct System {
    parts: [(u64, u32); 2],
    works: bool,
}

impl Sweep {
    fn over(disk: &Path, copy: &Path, images: &Path) -> anyhow::Result<Sweep> {
        std::fs::copy(disk, copy)?;
        let slot = |kernel, root| Ok::<_, anyhow::Error>([partition(disk, kernel)?, partition(disk, root)?]);
        let part = |name: &str, file: &str| -> anyhow::Result<(u64, u32)> {
            let path = images.join(name).join(file);
            let bytes = std::fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
            Ok((bytes.len() as u64, crc32fast::hash(&bytes)))
        };
        let systems = [("first", true), ("good", true), ("panics", false)]
            .map(|(name, works)| Ok(System { parts: [part(name, "kernel.img")?, part(name, "root.img")?], works }));
        Ok(Sweep {
            copy: OpenOptions::new().read(true).write(true).open(copy)?,
            bootstate: partition(disk, "bootstate")?,
            slots: [slot("kernel-a", "root-a")?, slot("kernel-b", "root-b")?],
            systems: systems.into_iter().collect::<anyhow::Result<_>>()?,
            held: [None, None],
            states: 0,
            bad: Vec::new(),
        })
    }

    fn all(mut self, log: &[Entry]) -> anyhow::Result<String> {
        self.judge(|| "before the first write".to_owned())?;
        let writes: Vec<(usize, &Entry)> = log.iter().enumerate().filter(|(_, one)| !one.bytes.is_empty()).collect();
        for (number, entry) in &writes {
            if self.bootstate.contains(&entry.at) {
                for torn in (SECTOR..entry.bytes.len()).step_by(SECTOR) {
                    self.copy.write_all_at(&entry.bytes[..torn], entry.at)?;
                    self.judge(|| format!("{torn} bytes into write {number}"))?;
                }
            }
            self.copy.write_all_at(&entry.bytes, entry.at)?;
            for (slot, ranges) in self.slots.iter().enumerate() {
                if ranges.iter().any(|range| range.contains(&entry.at)) {
                    self.held[slot] = None;
                }
            }
            self.judge(|| format!("after write {number}"))?;
        }
        let (states, flushes) = (self.states, log.iter().filter(|entry| entry.flush).count());
        if !self.bad.is_empty() {
            self.bad.truncate(5);
            bail!("of {states} cuts of power some leave no system: {:#?}", self.bad);
        }
        Ok(format!("{} writes, {flushes} flushes: {states} cuts, and each starts a whole system", writes.len()))
    }

    /// Starts, as the boot script does, until it comes to rest: each slot that is started must be whole, the last one must work.
    fn judge(&mut self, when: impl Fn() -> String) -> anyhow::Result<()> {
        self.states += 1;
        let mut state =
            Store::on(BootStateIn { image: &self.copy, at: self.bootstate.start }).load().unwrap_or_default();
        loop {
            let boots = state.boots();
            let held = self.held(boots.slot)?;
            let works = held.map(|system| self.systems[system].works);
            if boots.rescue || works.is_none() || (boots.writes.is_none() && works == Some(false)) {
                self.bad.push(format!("{}: {boots:?} holds {held:?}", when()));
                return Ok(());
            }
            match boots.writes {
                Some(after) => state = after,
                None => return Ok(()),
            }
        }
    }

    /// The system in a slot, if it is whole.
    fn held(&mut self, slot: Slot) -> anyhow::Result<Option<usize>> {
        let index = slot as usize;
        if let Some(held) = self.held[index] {
            return Ok(held);
        }
        let ranges = &self.slots[index];
        let holds = |system: &System| -> anyhow::Result<bool> {
            for (range, (length, checksum)) in ranges.iter().zip(system.parts) {
                let mut bytes = vec![0; usize::try_from(length)?];
                self.copy.read_exact_at(&mut bytes, range.start)?;
                if crc32fast::hash(&bytes) != checksum {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let mut held = None;
        for (number, system) in self.systems.iter().enumerate() {
            if held.is_none() && holds(system)? {
                held = Some(number);
            }
        }
        self.held[index] = Some(held);
        Ok(held)
    }
}
