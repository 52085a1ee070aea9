//! Partition tables: GPT (the primary, else the backup), MBR with its chain of logical partitions, or none.
//!
//! Whatever the table says, the result is a list of disjoint partitions inside the disk, in order. Where the table
//! contradicts itself the space is one untrusted partition, which is read raw. An old table must not win over a newer one:
//! it would call bytes free that somebody uses. So a GPT counts as the kernel counts it, behind a protective MBR, and where
//! only a part of the evidence is left its partitions are parsed and read as a whole.

use crate::chunk::hex;
use crate::fs;
use crate::le::{array_at, u8_at, u32_at, u64_at};
use crate::read::ReadAt;

/// Which table a disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// GUID partition table.
    Gpt,
    /// Master boot record.
    Mbr,
    /// A filesystem right on the disk.
    Superfloppy,
    /// Nothing we know.
    None,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, as the system counts; none where the whole disk is meant.
    pub number: Option<u32>,
    /// Device offset.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// Its name in the table, or its type.
    pub name: String,
    /// False where entries overlap or leave the disk.
    pub trusted: bool,
    /// Why the table may be an old one: then all of the partition is read, whatever its filesystem calls free.
    pub doubt: Option<&'static str>,
}

/// What the table says.
#[derive(Debug)]
pub struct Table {
    /// Its kind.
    pub kind: TableKind,
    /// The disk's own id: GPT GUID or MBR signature.
    pub identity: String,
    /// Disjoint, in order.
    pub partitions: Vec<Partition>,
    /// What was odd.
    pub notes: Vec<String>,
}

/// GPT tables hold 128 entries; more than this is an attack on our memory.
const MAX_GPT_ENTRIES: u32 = 4096;
/// Logical partitions: Linux stops far earlier.
const MAX_LOGICAL: usize = 256;

/// Reads the table. Never fails: a disk without a readable table is one region.
pub fn read(disk: &dyn ReadAt, sector_size: u32) -> Table {
    let mut notes = Vec::new();
    let boot = disk.read_vec(0, 512).unwrap_or_default();
    let gpt = [u64::from(sector_size), 512, 4096].into_iter().find_map(|sector| find_gpt(disk, sector));
    let says = FirstSector::of(disk, &boot);
    match gpt {
        Some(gpt) if says != FirstSector::OtherUse => return from_gpt(disk, gpt, says, notes),
        Some(_) => {
            notes.push("an old GPT is on this disk; its first sector was given to something else since".to_owned())
        }
        None => {}
    }
    let has_signature = boot.get(510..) == Some(&[0x55, 0xaa]);
    if has_signature && !looks_like_boot_sector(disk) {
        let sector = if sector_size == 4096 { 4096 } else { 512 };
        let found = read_mbr(disk, &boot, sector, &mut notes);
        if !found.is_empty() {
            let identity = format!("mbr:{}", hex(boot.get(440..444).unwrap_or_default()));
            let partitions = settle(found, disk.len(), None, &mut notes);
            return Table { kind: TableKind::Mbr, identity, partitions, notes };
        }
    }
    let kind = match super::identify::identify(disk) {
        super::identify::Filesystem::Unknown => TableKind::None,
        _ => TableKind::Superfloppy,
    };
    Table { kind, identity: format!("size:{}", disk.len()), partitions: vec![whole(disk, true)], notes }
}

/// What the first sector says about a GPT.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstSector {
    /// A protective MBR: there is one.
    Protective,
    /// Nothing: blank, unreadable, or boot code without a table.
    Silent,
    /// A table of its own, or a filesystem.
    OtherUse,
}

impl FirstSector {
    fn of(disk: &dyn ReadAt, boot: &[u8]) -> FirstSector {
        let entries = if boot.get(510..) == Some(&[0x55, 0xaa]) { mbr_entries(boot) } else { Vec::new() };
        match () {
            () if entries.iter().any(|entry| entry.kind == 0xee) => FirstSector::Protective,
            () if looks_like_boot_sector(disk) || entries.iter().any(|entry| entry.kind != 0) => FirstSector::OtherUse,
            () => FirstSector::Silent,
        }
    }
}

fn looks_like_boot_sector(disk: &dyn ReadAt) -> bool {
    fs::ntfs::probe(disk) || fs::exfat::probe(disk) || fs::fat::probe(disk)
}

fn whole(disk: &dyn ReadAt, trusted: bool) -> Partition {
    Partition { number: None, start: 0, len: disk.len(), name: String::new(), trusted, doubt: None }
}

fn from_gpt(disk: &dyn ReadAt, gpt: Gpt, says: FirstSector, mut notes: Vec<String>) -> Table {
    let identity = format!("gpt:{}", gpt.identity);
    // A filesystem over the whole disk and a table below it: one of the two is old.
    let contradicted =
        says == FirstSector::Silent && !matches!(super::identify::identify(disk), super::identify::Filesystem::Unknown);
    if contradicted {
        notes.push("a GPT and a filesystem over the whole disk contradict each other".to_owned());
        return Table { kind: TableKind::Gpt, identity, partitions: vec![whole(disk, false)], notes };
    }
    let doubt = match (gpt.copy, says) {
        (Copy::Backup, _) => Some("the primary partition table is damaged and the backup may be older"),
        (Copy::Primary, FirstSector::Silent) => Some("no protective MBR announces this partition table"),
        (Copy::Primary, _) => None,
    };
    if gpt.copy == Copy::Backup {
        notes.push("the primary partition table is damaged: the backup at the end of the disk was used".to_owned());
    }
    let partitions = settle(gpt.found, disk.len(), doubt, &mut notes);
    Table { kind: TableKind::Gpt, identity, partitions, notes }
}

struct Found {
    number: u32,
    start: u64,
    len: u64,
    name: String,
}

/// Which copy of a GPT was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copy {
    Primary,
    Backup,
}

struct Gpt {
    identity: String,
    found: Vec<Found>,
    copy: Copy,
}

fn find_gpt(disk: &dyn ReadAt, sector: u64) -> Option<Gpt> {
    let read = |at: u64, copy: Copy| gpt_at(disk, at, sector).map(|(identity, found)| Gpt { identity, found, copy });
    let last = (disk.len() / sector).checked_sub(1)? * sector;
    read(sector, Copy::Primary).or_else(|| read(last, Copy::Backup))
}

fn gpt_at(disk: &dyn ReadAt, at: u64, sector: u64) -> Option<(String, Vec<Found>)> {
    let header = disk.read_vec(at, 512).ok()?;
    let header_len = u32_at(&header, 12)? as usize;
    if !header.starts_with(b"EFI PART") || !(92..=512).contains(&header_len) || u64_at(&header, 24)? != at / sector {
        return None;
    }
    let mut blanked = header.get(..header_len)?.to_vec();
    blanked.get_mut(16..20)?.fill(0);
    if crc32fast::hash(&blanked) != u32_at(&header, 16)? {
        return None;
    }
    let (lba, count, size) = (u64_at(&header, 72)?, u32_at(&header, 80)?, u32_at(&header, 84)?);
    if count > MAX_GPT_ENTRIES || !(128..=4096).contains(&size) {
        return None;
    }
    let entries = disk.read_vec(lba.checked_mul(sector)?, (count * size) as usize).ok()?;
    if crc32fast::hash(&entries) != u32_at(&header, 88)? {
        return None;
    }
    let mut found = Vec::new();
    for (number, entry) in (1..).zip(entries.chunks_exact(size as usize)) {
        if entry.get(..16)? == [0; 16] {
            continue;
        }
        let (first, last) = (u64_at(entry, 32)?, u64_at(entry, 40)?);
        let name: Vec<u16> = entry.get(56..128)?.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        let name = String::from_utf16_lossy(&name);
        found.push(Found {
            number,
            start: first.saturating_mul(sector),
            len: last.saturating_add(1).saturating_sub(first).saturating_mul(sector),
            name: name.trim_end_matches('\0').to_owned(),
        });
    }
    Some((guid(&array_at(&header, 56)?), found))
}

fn guid(bytes: &[u8; 16]) -> String {
    let mut mixed = *bytes;
    mixed[..4].reverse();
    mixed[4..6].reverse();
    mixed[6..8].reverse();
    let text = hex(&mixed);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

fn read_mbr(disk: &dyn ReadAt, boot: &[u8], sector: u64, notes: &mut Vec<String>) -> Vec<Found> {
    let mut found = Vec::new();
    for (number, entry) in (1..).zip(mbr_entries(boot)) {
        match entry.kind {
            0 => {}
            0xee => notes.push("a protective MBR without a GPT that can be read".to_owned()),
            0x05 | 0x0f | 0x85 => read_logical(disk, entry.first * sector, sector, &mut found, notes),
            kind => found.push(Found {
                number,
                start: entry.first * sector,
                len: entry.count * sector,
                name: format!("type {kind:02x}"),
            }),
        }
    }
    found
}

struct MbrEntry {
    kind: u8,
    first: u64,
    count: u64,
}

/// The four entries, or none when the flags or sizes show that these bytes are boot code.
fn mbr_entries(boot: &[u8]) -> Vec<MbrEntry> {
    let mut entries = Vec::new();
    for at in (446..510).step_by(16) {
        let (Some(flag), Some(kind)) = (u8_at(boot, at), u8_at(boot, at + 4)) else { return Vec::new() };
        let (Some(first), Some(count)) = (u32_at(boot, at + 8), u32_at(boot, at + 12)) else { return Vec::new() };
        if flag & 0x7f != 0 {
            return Vec::new();
        }
        let kind = if first == 0 || count == 0 { 0 } else { kind };
        entries.push(MbrEntry { kind, first: first.into(), count: count.into() });
    }
    entries
}

/// Follows the chain of extended boot records: each names one logical partition and the next record.
fn read_logical(disk: &dyn ReadAt, base: u64, sector: u64, found: &mut Vec<Found>, notes: &mut Vec<String>) {
    let mut at = base;
    let mut visited = std::collections::BTreeSet::new();
    for number in 5.. {
        if !visited.insert(at) || visited.len() > MAX_LOGICAL {
            notes.push("the chain of logical partitions loops or has no end".to_owned());
            return;
        }
        let Ok(record) = disk.read_vec(at, 512) else {
            notes.push(format!("the extended boot record at byte {at} cannot be read"));
            return;
        };
        if record.get(510..) != Some(&[0x55, 0xaa]) {
            return;
        }
        let mut next = None;
        for entry in mbr_entries(&record).into_iter().take(2) {
            match entry.kind {
                0 => {}
                0x05 | 0x0f | 0x85 => next = Some(base + entry.first * sector),
                kind => found.push(Found {
                    number,
                    start: at + entry.first * sector,
                    len: entry.count * sector,
                    name: format!("type {kind:02x}"),
                }),
            }
        }
        match next {
            Some(offset) => at = offset,
            None => return,
        }
    }
}

/// Sorts entries, cuts them to the disk, and joins those that overlap into one untrusted partition.
fn settle(mut found: Vec<Found>, size: u64, doubt: Option<&'static str>, notes: &mut Vec<String>) -> Vec<Partition> {
    found.sort_by_key(|part| (part.start, part.len));
    let mut partitions: Vec<Partition> = Vec::new();
    for part in found {
        if part.start >= size || part.len == 0 {
            notes.push(format!("partition {} lies outside of the disk", part.number));
            continue;
        }
        let end = part.start.saturating_add(part.len);
        if end > size {
            notes.push(format!("partition {} reaches past the end of the disk", part.number));
        }
        let end = end.min(size);
        match partitions.last_mut() {
            Some(last) if part.start < last.start + last.len => {
                notes.push(format!("partition {} overlaps the one before it", part.number));
                last.len = last.len.max(end - last.start);
                last.trusted = false;
            }
            _ => partitions.push(Partition {
                number: Some(part.number),
                start: part.start,
                len: end - part.start,
                name: part.name,
                trusted: part.start.saturating_add(part.len) <= size,
                doubt,
            }),
        }
    }
    partitions
}
