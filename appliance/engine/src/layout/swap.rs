//! Linux swap: its header says how many pages are nobody's data; everything else is kept, so the restored partition is swap
//! again. Ten bytes of magic are no proof: a header that does not fit, or a second signature, and the partition is read.

use crate::fs::{Extent, FsError, LeftOut, Survey};
use crate::le::u32_at;
use crate::read::ReadAt;

/// The page size of every appliance and PC; the magic lies at the end of the first page.
const PAGE: u64 = 4096;
/// Version and `last_page` lie behind 1 KiB for boot code (`union swap_header` of the kernel).
const INFO: u64 = 1024;
/// The only version there is.
const VERSION: u32 = 1;

/// Whether this is a header whose pages may be left out.
pub(super) fn probe(disk: &dyn ReadAt) -> bool {
    let mut magic = [0; 10];
    disk.read_at(PAGE - 10, &mut magic).is_ok() && &magic == b"SWAPSPACE2"
}

/// Leaves out pages 1 to `last_page`.
pub(super) fn survey(disk: &dyn ReadAt, out: &mut dyn Survey) -> Result<(), FsError> {
    let info = disk.read_vec(INFO, 12).map_err(|source| FsError::Read { at: INFO, source })?;
    let (version, last_page) = (u32_at(&info, 0), u32_at(&info, 4).map_or(0, u64::from));
    let end = (last_page + 1) * PAGE;
    if version != Some(VERSION) || last_page == 0 || end > disk.len() {
        return Err(FsError::Unusable("the header of the swap space does not fit the partition".to_owned()));
    }
    if let Some(other) = second_signature(disk) {
        return Err(FsError::Unusable(format!("swap and {other} at once: one of the two is old")));
    }
    out.allocated(Extent::new(0, disk.len()))?;
    out.meta(Extent::new(0, PAGE))?;
    out.left_out(LeftOut::SwapPages, Extent::new(PAGE, end - PAGE))
}

/// Formats that keep the bytes where swap has its magic: their partitions may still show an old one.
fn second_signature(disk: &dyn ReadAt) -> Option<&'static str> {
    let has = |offset: u64, magic: &[u8]| {
        let mut found = vec![0; magic.len()];
        disk.read_at(offset, &mut found).is_ok() && found == magic
    };
    // The first of the four ZFS labels has its uberblocks behind 128 KiB, each 1 KiB or more, in either byte order.
    let uberblock = |at: u64| has(at, &0x00ba_b10c_u64.to_le_bytes()) || has(at, &0x00ba_b10c_u64.to_be_bytes());
    match () {
        () if crate::fs::ext::probe(disk) => Some("ext"),
        () if crate::fs::fat::probe(disk) => Some("FAT"),
        () if has(0, b"XFSB") => Some("XFS"),
        () if has(0x1_0040, b"_BHRfS_M") => Some("btrfs"),
        () if has(4096 + 24, &BCACHE) => Some("bcache"),
        () if (0..128).any(|slot| uberblock((128 + slot) * 1024)) => Some("ZFS"),
        () => None,
    }
}

/// Magic of a bcache superblock, 24 bytes into the sector at 4 KiB.
const BCACHE: [u8; 16] =
    [0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81];

#[cfg(test)]
mod tests {
    use crate::layout::Layout;
    use crate::layout::identify::Filesystem;

    fn swap(pages: u64, last_page: u32) -> Vec<u8> {
        let mut disk = vec![0xaa; (pages * 4096) as usize];
        disk[..4096].fill(0);
        disk[1024..1028].copy_from_slice(&1u32.to_le_bytes());
        disk[1028..1032].copy_from_slice(&last_page.to_le_bytes());
        disk[4086..4096].copy_from_slice(b"SWAPSPACE2");
        disk
    }

    fn region(disk: &Vec<u8>) -> crate::layout::Region {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::survey(disk, 512, folder.path()).unwrap();
        assert_eq!(layout.regions.len(), 1);
        layout.regions.into_iter().next().unwrap()
    }

    #[test]
    fn pages_within_the_header_s_count_are_left_out_and_what_follows_is_kept() {
        let region = region(&swap(100, 59));
        assert_eq!(region.filesystem, Filesystem::Swap);
        assert_eq!((region.bytes.left_out, region.bytes.raw, region.bytes.meta), (59 * 4096, 40 * 4096, 4096));
        assert!(region.doubts.is_empty());
    }

    #[test]
    fn a_header_that_does_not_fit_leaves_nothing_out() {
        let mut old = swap(100, 59);
        old[1024] = 0;
        let mut bcache = swap(100, 59);
        bcache[4120..4136].copy_from_slice(&super::BCACHE);
        for disk in [swap(100, 100), swap(100, 0), old, bcache] {
            let region = region(&disk);
            assert_eq!((region.bytes.left_out, region.bytes.free), (0, 0));
            assert_eq!(region.doubts.len(), 1, "{:?}", region.doubts);
        }
    }
}
