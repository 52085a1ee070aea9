//! Writes a FAT32 stick once, front to back: files lie in one piece each, the allocation table follows, the boot sector is the last
//! write. A stick that was pulled in the middle has no file system instead of half of one.
//!
//! After Microsoft, "FAT32 File System Specification", version 1.03, 2000. In front of it an MBR with one partition at 1 MiB, as
//! cameras, televisions and every computer read it.

use super::names;
use saveos_engine::restore::target::{FileTarget, Target};
use std::io;

/// Where the partition begins, and what its clusters are aligned to.
const ALIGN: u64 = 1 << 20;
/// Less than this and it would not be FAT32.
const LEAST: u64 = 64 << 20;
/// Sectors before the first table, at least.
const RESERVED: u64 = 32;
/// The end of a chain.
const END: u32 = 0x0fff_ffff;
/// Clusters of FAT32 are numbered from here.
const FIRST: u32 = 2;
const LABEL: &[u8; 11] = b"SAVEOS     ";

/// A stick that is being written.
pub(super) struct Stick<'t> {
    target: &'t FileTarget,
    sector: u64,
    cluster: u64,
    /// Of the partition.
    sectors: u64,
    reserved: u64,
    table_sectors: u64,
    clusters: u32,
    next: u32,
    /// The last cluster of each chain, in order.
    ends: Vec<u32>,
    id: [u8; 4],
}

/// A file or folder that lies on the stick.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Zero: it has no bytes.
    pub(super) first: u32,
    pub(super) len: u32,
}

fn small() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the stick is too small")
}

impl<'t> Stick<'t> {
    /// Takes away what says that something else is there.
    pub(super) fn begin(target: &'t FileTarget, size: u64, sector: u32, id: [u8; 4]) -> io::Result<Stick<'t>> {
        let sector = u64::from(sector);
        if size < LEAST || !(512..=4096).contains(&sector) {
            return Err(small());
        }
        let sectors = ((size - 2 * ALIGN) / sector).min(u64::from(u32::MAX));
        let bytes = sectors * sector;
        let cluster = match bytes >> 20 {
            0..=260 => sector,
            261..=8_192 => 4 << 10,
            8_193..=16_384 => 8 << 10,
            16_385..=32_768 => 16 << 10,
            _ => 32 << 10,
        };
        let most = (sectors - RESERVED) / (cluster / sector);
        let table_sectors = ((most + 2) * 4).div_ceil(sector);
        let before = (RESERVED + 2 * table_sectors) * sector;
        let reserved = RESERVED + (before.next_multiple_of(ALIGN) - before) / sector;
        let data = sectors.checked_sub(reserved + 2 * table_sectors).ok_or_else(small)?;
        let clusters = u32::try_from(data / (cluster / sector)).map_err(|_| small())?.min(0x0fff_fff4);
        let stick = Stick {
            target,
            sector,
            cluster,
            sectors,
            reserved,
            table_sectors,
            clusters,
            next: FIRST,
            ends: Vec::new(),
            id,
        };
        let zeros = vec![0; ALIGN as usize];
        target.write_at(0, &zeros)?;
        target.write_at(ALIGN, &zeros[..(RESERVED * sector) as usize])?;
        // A second GPT would lie here.
        target.write_at(size - ALIGN, &zeros)?;
        Ok(stick)
    }

    /// What fits.
    pub(super) fn free(&self) -> u64 {
        u64::from(self.clusters - (self.next - FIRST)) * self.cluster
    }

    /// What a file of so many bytes takes.
    pub(super) fn takes(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(self.cluster)
    }

    fn at(&self, cluster: u32) -> u64 {
        let data = ALIGN + (self.reserved + 2 * self.table_sectors) * self.sector;
        data + u64::from(cluster - FIRST) * self.cluster
    }

    /// A chain of clusters in one piece; 0 for no bytes.
    fn allocate(&mut self, bytes: u64) -> io::Result<u32> {
        let count = u32::try_from(bytes.div_ceil(self.cluster)).map_err(|_| small())?;
        if count > self.clusters - (self.next - FIRST) {
            return Err(small());
        }
        if count == 0 {
            return Ok(0);
        }
        let first = self.next;
        self.next += count;
        self.ends.push(self.next - 1);
        Ok(first)
    }

    /// Writes a file, as `more` gives it; empty is its end.
    pub(super) fn file<E: From<io::Error>>(
        &mut self,
        mut more: impl FnMut(u64) -> Result<Vec<u8>, E>,
    ) -> Result<Place, E> {
        let (begin, room) = (self.at(self.next), self.free());
        let mut len = 0;
        loop {
            let bytes = more(len)?;
            if bytes.is_empty() {
                break;
            }
            if len + bytes.len() as u64 > room {
                return Err(small().into());
            }
            self.target.write_at(begin + len, &bytes)?;
            len += bytes.len() as u64;
        }
        let first = self.allocate(len)?;
        Ok(Place { first, len: u32::try_from(len).map_err(|_| small())? })
    }

    /// Room for a folder with so many entries.
    pub(super) fn folder(&mut self, entries: usize) -> io::Result<Place> {
        let len = (entries as u64 * 32).max(self.cluster);
        Ok(Place { first: self.allocate(len)?, len: u32::try_from(len).map_err(|_| small())? })
    }

    /// Writes its entries; what is left of its room is empty.
    pub(super) fn fill(&self, folder: Place, mut entries: Vec<u8>) -> io::Result<()> {
        entries.resize(self.takes(u64::from(folder.len)) as usize, 0);
        self.target.write_at(self.at(folder.first), &entries)
    }

    /// The tables, then what makes them a file system, each on the stick before the next.
    pub(super) fn finish(self) -> io::Result<()> {
        for copy in 0..2 {
            self.write_table(ALIGN + (self.reserved + copy * self.table_sectors) * self.sector)?;
        }
        self.target.sync()?;
        let sector = self.sector as usize;
        let (boot, info) = (self.boot_sector(), self.info_sector());
        for copy in [6, 0] {
            self.target.write_at(ALIGN + (copy + 1) * self.sector, &info)?;
            self.target.write_at(ALIGN + copy * self.sector, &boot)?;
        }
        self.target.sync()?;
        let mut table = vec![0; sector];
        table[440..444].copy_from_slice(&self.id);
        // No CHS address: the largest one stands for that.
        table[446..454].copy_from_slice(&[0, 0xfe, 0xff, 0xff, 0x0c, 0xfe, 0xff, 0xff]);
        table[454..458].copy_from_slice(&self.first_sector().to_le_bytes());
        table[458..462].copy_from_slice(&(self.sectors as u32).to_le_bytes());
        table[510..512].copy_from_slice(&[0x55, 0xaa]);
        self.target.write_at(0, &table)?;
        self.target.sync()
    }

    fn first_sector(&self) -> u32 {
        (ALIGN / self.sector) as u32
    }

    fn write_table(&self, at: u64) -> io::Result<()> {
        let (mut ends, mut written) = (self.ends.iter().copied().peekable(), 0);
        let len = self.table_sectors * self.sector;
        while written < len {
            let piece = (len - written).min(1 << 20);
            let entries = (written / 4) as u32..((written + piece) / 4) as u32;
            let entry = |cluster: u32| match cluster {
                0 => 0x0fff_fff8,
                1 => END,
                free if free >= self.next => 0,
                last if ends.next_if_eq(&last).is_some() => END,
                other => other + 1,
            };
            let bytes: Vec<u8> = entries.map(entry).flat_map(u32::to_le_bytes).collect();
            self.target.write_at(at + written, &bytes)?;
            written += piece;
        }
        Ok(())
    }

    fn boot_sector(&self) -> Vec<u8> {
        let mut boot = vec![0; self.sector as usize];
        let mut put = |at: usize, bytes: &[u8]| boot[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &[0xeb, 0x58, 0x90]);
        put(3, b"SAVEOS  ");
        put(11, &(self.sector as u16).to_le_bytes());
        put(13, &[(self.cluster / self.sector) as u8]);
        put(14, &(self.reserved as u16).to_le_bytes());
        put(16, &[2]);
        put(21, &[0xf8]);
        put(24, &63u16.to_le_bytes());
        put(26, &255u16.to_le_bytes());
        put(28, &self.first_sector().to_le_bytes());
        put(32, &(self.sectors as u32).to_le_bytes());
        put(36, &(self.table_sectors as u32).to_le_bytes());
        // The root begins at the first cluster; the information lies in sector 1, a copy of both at 6.
        put(44, &FIRST.to_le_bytes());
        put(48, &1u16.to_le_bytes());
        put(50, &6u16.to_le_bytes());
        put(64, &[0x80, 0, 0x29]);
        put(67, &self.id);
        put(71, LABEL);
        put(82, b"FAT32   ");
        put(510, &[0x55, 0xaa]);
        boot
    }

    fn info_sector(&self) -> Vec<u8> {
        let mut info = vec![0; self.sector as usize];
        let mut put = |at: usize, number: u32| info[at..at + 4].copy_from_slice(&number.to_le_bytes());
        put(0, 0x4161_5252);
        put(484, 0x6141_7272);
        put(488, self.clusters - (self.next - FIRST));
        put(492, self.next);
        put(508, 0xaa55_0000);
        info
    }
}

/// Entries of a folder.
pub(super) struct Entries {
    bytes: Vec<u8>,
    count: u32,
}

impl Entries {
    /// The root has a label; others lead to themselves and to what is above.
    pub(super) fn of(own: Place, above: Option<Place>) -> Entries {
        let mut entries = Entries { bytes: Vec::new(), count: 0 };
        match above {
            None => entries.short(LABEL, 0x08, 0, Place { first: 0, len: 0 }),
            Some(above) => {
                let first = if above.first == FIRST { 0 } else { above.first };
                entries.short(b".          ", 0x10, 0, Place { first: own.first, len: 0 });
                entries.short(b"..         ", 0x10, 0, Place { first, len: 0 });
            }
        }
        entries
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// A name of any length, before it a short one that no other of the folder has: readers of today show the long one.
    pub(super) fn add(&mut self, name: &str, is_folder: bool, modified: i64, place: Place) {
        self.count += 1;
        let suffix: String = name.rsplit_once('.').map_or("", |(_, suffix)| suffix).to_uppercase();
        let suffix: String = suffix.chars().filter(char::is_ascii_alphanumeric).take(3).collect();
        let short = format!("{:06X}~1{suffix:<3}", self.count);
        let Ok(short) = <[u8; 11]>::try_from(short.as_bytes()) else { return };
        let checksum = short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let mut units: Vec<u16> = name.encode_utf16().collect();
        let parts = units.len().div_ceil(13);
        if !units.len().is_multiple_of(13) {
            units.push(0);
            units.resize(parts * 13, 0xffff);
        }
        for (number, part) in units.chunks(13).enumerate().rev() {
            let mut entry = [0; 32];
            entry[0] = (number as u8 + 1) | if number + 1 == parts { 0x40 } else { 0 };
            (entry[11], entry[13]) = (0x0f, checksum);
            let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
            for (at, unit) in places.zip(part) {
                entry[at..at + 2].copy_from_slice(&unit.to_le_bytes());
            }
            self.bytes.extend(entry);
        }
        let place = if is_folder { Place { len: 0, ..place } } else { place };
        self.short(&short, if is_folder { 0x10 } else { 0x20 }, modified, place);
    }

    fn short(&mut self, name: &[u8; 11], attributes: u8, modified: i64, place: Place) {
        let (date, time) = names::time(modified);
        let mut entry = [0; 32];
        let mut put = |at: usize, bytes: &[u8]| entry[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, name);
        put(11, &[attributes]);
        put(14, &time.to_le_bytes());
        put(16, &date.to_le_bytes());
        put(18, &date.to_le_bytes());
        put(20, &((place.first >> 16) as u16).to_le_bytes());
        put(22, &time.to_le_bytes());
        put(24, &date.to_le_bytes());
        put(26, &(place.first as u16).to_le_bytes());
        put(28, &place.len.to_le_bytes());
        self.bytes.extend(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use saveos_engine::files;
    use saveos_engine::layout::identify::{Filesystem, identify};
    use saveos_engine::layout::partition;
    use saveos_engine::read::Window;
    use saveos_engine::restore::target::Overwrite;
    use saveos_engine::source::DiskSource;
    use std::sync::Arc;

    /// A stick with a file of three bytes in a folder, and what our reader finds on it.
    fn made(mebibytes: u64, sector: u32) -> (tempfile::TempDir, Vec<u8>, u64) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stick.img");
        let size = mebibytes << 20;
        std::fs::File::create(&path).and_then(|file| file.set_len(size)).expect("room");
        let target =
            FileTarget::open(&path, size, &folder.path().join("repository"), Overwrite::Allow).expect("a target");
        let mut stick = Stick::begin(&target, size, sector, [1, 2, 3, 4]).expect("it fits");
        let root = stick.folder(20).expect("room");
        let inside = stick.folder(2000).expect("room");
        let mut left = vec![b"abc".to_vec()];
        let file = stick.file(|_| Ok::<_, io::Error>(left.pop().unwrap_or_default())).expect("room");
        let free = stick.free();
        let mut entries = Entries::of(inside, Some(root));
        entries.add("Ein Name, der länger ist als dreizehn.text", false, 1_774_728_058, file);
        stick.fill(inside, entries.into_bytes()).expect("room");
        let mut entries = Entries::of(root, None);
        entries.add("folder", true, 0, inside);
        stick.fill(root, entries.into_bytes()).expect("room");
        stick.finish().expect("room");

        let disk = Arc::new(DiskSource::open(&path).expect("a disk"));
        let table = partition::read(&*disk, sector);
        let window = Arc::new(Window::new(disk, table.partitions[0].start, table.partitions[0].len));
        assert_eq!(identify(&*window), Filesystem::Fat);
        let tree = files::browse(window, Filesystem::Fat).expect("FAT");
        let node =
            files::find(&*tree, "folder/Ein Name, der länger ist als dreizehn.text".as_bytes()).expect("it is there");
        assert_eq!(node.modified, 1_774_728_058);
        let mut bytes = Vec::new();
        files::copy::stream(&*tree, &node, "it", &mut bytes).expect("readable");
        (folder, bytes, free)
    }

    #[test]
    fn sticks_of_all_sizes_are_read_back() {
        for mebibytes in [64, 65, 300, 9 << 10, 20 << 10, 40 << 10, 3 << 20] {
            let (_folder, bytes, free) = made(mebibytes, 512);
            assert_eq!(bytes, b"abc", "{mebibytes} MiB");
            assert!(free > (mebibytes << 20).min(2 << 40) * 9 / 10, "{mebibytes} MiB: {free}");
        }
    }

    #[test]
    fn the_checker_of_linux_finds_nothing_wrong() {
        for mebibytes in [64, 300] {
            let (folder, ..) = made(mebibytes, 512);
            let bytes = std::fs::read(folder.path().join("stick.img")).expect("an image");
            let part = folder.path().join("part");
            crate::files::tests::put(&part, &bytes[ALIGN as usize..bytes.len() - ALIGN as usize]);
            let judged =
                std::process::Command::new("fsck.fat").arg("-nv").arg(&part).output().expect("it is installed");
            let said = String::from_utf8_lossy(&judged.stdout).into_owned();
            assert!(judged.status.success() && said.contains("2 FATs, 32 bit entries"), "{mebibytes} MiB: {said}");
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_a_stick_that_was_pulled_is_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stick.img");
        let size = 64 << 20;
        std::fs::File::create(&path).and_then(|file| file.set_len(size)).expect("room");
        let target =
            FileTarget::open(&path, size, &folder.path().join("repository"), Overwrite::Allow).expect("a target");
        assert!(Stick::begin(&target, LEAST - 1, 512, [0; 4]).is_err());
        let mut stick = Stick::begin(&target, size, 512, [0; 4]).expect("it fits");
        let endless = stick.file(|_| Ok::<_, io::Error>(vec![7; 1 << 20]));
        assert_eq!(endless.map(|_| ()).map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
        drop(stick);
        let disk = Arc::new(DiskSource::open(&path).expect("a disk"));
        assert_eq!(partition::read(&*disk, 512).kind, partition::TableKind::None);
        assert_eq!(identify(&Window::new(disk, ALIGN, size - ALIGN)), Filesystem::Unknown);
    }
}
