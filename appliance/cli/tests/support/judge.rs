//! Judges that share no code with us: partclone says which bytes are in use, each filesystem's checker says whether it is whole.

use super::run::text;
use super::{Kind, Ran, read, tool, tool_result, write_at};
use std::path::Path;

/// What the checker of a filesystem is called.
pub(crate) type Tool = &'static [&'static str];

/// Byte ranges with whether they are in use, in order, covering the whole image.
pub(crate) struct UsedMap(Vec<(u64, u64, bool)>);

impl UsedMap {
    /// Asks partclone. What its map does not speak of (the backup boot sector of NTFS) counts as used.
    pub(crate) fn of(kind: Kind, image: &Path) -> UsedMap {
        if kind == Kind::Fat
            && let Some(map) = UsedMap::of_fat12(&read(image))
        {
            return map;
        }
        let name = match kind {
            Kind::Ext => "partclone.extfs",
            Kind::Ntfs => "partclone.ntfs",
            Kind::Fat => "partclone.fat",
            Kind::Exfat => "partclone.exfat",
        };
        let map = tempfile::NamedTempFile::new().expect("a scratch file");
        tool(&[name, "-D", "-q", "-s", text(image), "-O", text(map.path()), "-L", "/dev/null"]);
        let listing = String::from_utf8(read(map.path())).expect("text");
        let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).expect("a number");
        let rows = listing.lines().filter(|line| line.starts_with("0x"));
        let mut ranges = Vec::new();
        let mut at = 0;
        for row in rows.skip(1) {
            let words: Vec<&str> = row.split_whitespace().collect();
            let (start, len, used) = (number(words[0]), number(words[1]), words[2] == "+");
            if start > at {
                ranges.push((at, start - at, true));
            }
            ranges.push((start, len, used));
            at = start + len;
        }
        let len = std::fs::metadata(image).expect("the image").len();
        ranges.retain(|range| range.0 < len);
        if let Some(last) = ranges.last_mut() {
            last.1 = last.1.min(len - last.0);
        }
        ranges.push((at.min(len), len - at.min(len), true));
        UsedMap(ranges)
    }

    /// Partclone 0.3.23 counts the clusters of FAT12 from the wrong byte.
    fn of_fat12(bytes: &[u8]) -> Option<UsedMap> {
        let short = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let (sector, cluster) = (short(11), usize::from(bytes[13]) * short(11));
        let (fat, fat_sectors) = (short(14) * sector, short(22));
        let heap = fat + usize::from(bytes[16]) * fat_sectors * sector + short(17) * 32;
        let count = (bytes.len() - heap) / cluster;
        if fat_sectors == 0 || count >= 4085 {
            return None;
        }
        let is_used = |n: usize| short(fat + n * 3 / 2) >> (n % 2 * 4) & 0xfff != 0;
        let clusters = (2..count + 2).map(|n| ((heap + (n - 2) * cluster) as u64, cluster as u64, is_used(n)));
        let end = heap + count * cluster;
        let rest = (end as u64, (bytes.len() - end) as u64, true);
        Some(UsedMap([(0, heap as u64, true)].into_iter().chain(clusters).chain([rest]).collect()))
    }

    pub(crate) fn bytes(&self, used: bool) -> u64 {
        self.0.iter().filter(|range| range.2 == used).map(|range| range.1).sum()
    }

    pub(crate) fn ranges(&self, used: bool) -> impl Iterator<Item = std::ops::Range<usize>> {
        let ranges = self.0.iter().filter(move |range| range.2 == used);
        ranges.map(|range| range.0 as usize..(range.0 + range.1) as usize)
    }

    /// The first used byte that differs.
    pub(crate) fn first_difference(&self, source: &[u8], restored: &[u8]) -> Option<usize> {
        if source.len() != restored.len() {
            return Some(source.len().min(restored.len()));
        }
        self.ranges(true).find_map(|range| first_difference(source, restored, range))
    }

    /// Bytes of free blocks that are not zero.
    pub(crate) fn dirty(&self, bytes: &[u8]) -> u64 {
        let blocks = self.ranges(false).flat_map(|range| bytes[range].chunks(512));
        blocks.filter(|block| block.iter().any(|&byte| byte != 0)).map(|block| block.len() as u64).sum()
    }
}

/// Where two byte strings first differ within a range.
pub(crate) fn first_difference(a: &[u8], b: &[u8], range: std::ops::Range<usize>) -> Option<usize> {
    if a[range.clone()] == b[range.clone()] {
        return None;
    }
    range.clone().find(|&at| a[at] != b[at])
}

/// Runs the filesystem's checker, which must not write. NTFS has none here; its driver judges it.
pub(crate) fn check(kind: Kind, image: &Path) -> Option<Ran> {
    let words: Tool = match kind {
        Kind::Ext => &["e2fsck", "-fn"],
        Kind::Fat => &["fsck.fat", "-n"],
        Kind::Exfat => &["fsck.exfat", "-n"],
        Kind::Ntfs => return None,
    };
    Some(tool_result(&[words, &[text(image)]].concat()))
}

/// Overwrites structure: part of an inode table, of the MFT, of a FAT; of exFAT's bitmap and its root directory.
pub(crate) fn damage(kind: Kind, image: &Path) {
    let bytes = read(image);
    let short = |at: usize| u64::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let long = |at: usize| u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")));
    match kind {
        Kind::Ext => {
            let listing = tool(&["dumpe2fs", text(image)]);
            let number = |line: &str, after: &str| -> u64 {
                let rest = line.split(after).nth(1).expect("the words");
                let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
                digits.parse().expect("a number")
            };
            let find = |words: &str| listing.lines().find(|line| line.contains(words)).expect("dumpe2fs names it");
            let block = number(find("Block size:"), "Block size:");
            let table = number(find("Inode table at "), "Inode table at ");
            // From inode 2, the root, on.
            let inode = number(find("Inode size:"), "Inode size:");
            write_at(image, table * block + inode, &[0xa5; 8192]);
        }
        Kind::Ntfs => {
            let mut mft = u64::from_le_bytes(bytes[48..56].try_into().expect("8 bytes"));
            mft *= short(11) * u64::from(bytes[13].max(1));
            if bytes[13] > 128 {
                mft = u64::from_le_bytes(bytes[48..56].try_into().expect("8 bytes"))
                    * (short(11) << (256 - u64::from(bytes[13])));
            }
            write_at(image, mft + 64 * 1024, &[0xa5; 8192]);
        }
        Kind::Fat => {
            let fat = short(14) * short(11);
            write_at(image, fat + 64, &[0xa5; 256]);
        }
        Kind::Exfat => {
            let (sector, cluster) = (1u64 << bytes[108], 1u64 << (bytes[108] + bytes[109]));
            let heap = long(88) * sector;
            write_at(image, heap, &[0xa5; 64]);
            let root = heap + (long(96) - 2) * cluster;
            write_at(image, root + 3 * 32, &[0xa5; 256]);
        }
    }
}
