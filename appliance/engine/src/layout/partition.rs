//! Partition tables: GPT (the primary, else the backup), MBR with its chain of logical partitions, or none.
//!
//! Whatever the table says, the result is a list of disjoint partitions inside the disk, in order. Where the table
//! contradicts itself the space is one untrusted partition, which is read raw.

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
    let sizes = [u64::from(sector_size), 512, 4096];
    for sector in sizes {
        if let Some((identity, found)) = read_gpt(disk, sector, &mut notes) {
            let partitions = settle(found, disk.len(), &mut notes);
            return Table { kind: TableKind::Gpt, identity: format!("gpt:{identity}"), partitions, notes };
        }
    }
    let boot = disk.read_vec(0, 512).unwrap_or_default();
    let looks_like_boot_sector = fs::ntfs::probe(disk) || fs::exfat::probe(disk) || fs::fat::probe(disk);
    let has_signature = boot.get(510..) == Some(&[0x55, 0xaa]);
    if has_signature && !looks_like_boot_sector {
        let sector = if sector_size == 4096 { 4096 } else { 512 };
        let found = read_mbr(disk, &boot, sector, &mut notes);
        if !found.is_empty() {
            let identity = format!("mbr:{}", hex(boot.get(440..444).unwrap_or_default()));
            return Table { kind: TableKind::Mbr, identity, partitions: settle(found, disk.len(), &mut notes), notes };
        }
    }
    let whole = Partition { number: None, start: 0, len: disk.len(), name: String::new(), trusted: true };
    let kind = match super::identify::identify(disk) {
        super::identify::Filesystem::Unknown => TableKind::None,
        _ => TableKind::Superfloppy,
    };
    Table { kind, identity: format!("size:{}", disk.len()), partitions: vec![whole], notes }
}

struct Found {
    number: u32,
    start: u64,
    len: u64,
    name: String,
}

fn read_gpt(disk: &dyn ReadAt, sector: u64, notes: &mut Vec<String>) -> Option<(String, Vec<Found>)> {
    if let Some(table) = gpt_at(disk, sector, sector) {
        return Some(table);
    }
    let backup = (disk.len() / sector).checked_sub(1)? * sector;
    let table = gpt_at(disk, backup, sector)?;
    notes.push("the primary partition table is damaged: the backup at the end of the disk was used".to_owned());
    Some(table)
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
fn settle(mut found: Vec<Found>, size: u64, notes: &mut Vec<String>) -> Vec<Partition> {
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
                trusted: part.start + part.len <= size,
            }),
        }
    }
    partitions
}
