//! `$LogFile`: says whether Windows closed it, from its restart pages. Records are never replayed.
//!
//! Clean is only what we fully recognise: a closed log of a known version, or the all-ones that other drivers leave.

use super::attribute::DATA;
use super::record::repair;
use super::stream::Stream;
use super::volume::{LOG_FILE, Volume};
use crate::fs::FsError;
use crate::le::{u16_at, u32_at, u64_at};

/// Reaches both restart pages for every page size in use.
const HEAD: u64 = 64 << 10;
const PAGE_SIZES: std::ops::RangeInclusive<usize> = 512..=32768;
/// Where the second restart page is when the first cannot tell.
const USUAL_PAGE: usize = 4096;

/// Of the restart area: nobody has the log open.
const NO_CLIENT: u16 = 0xFFFF;
/// Of the restart area: closed in order.
const VOLUME_IS_CLEAN: u16 = 0x0002;
/// Windows 8 and later write version 2 while mounted and go back to 1.1 when they unmount.
const CLOSED_VERSION: u16 = 1;

/// Why the log counts as dirty; `None` when it is clean.
pub(super) fn dirt(volume: &Volume<'_>) -> Result<Option<String>, FsError> {
    let log = Stream::open(volume, LOG_FILE, DATA, &[])?;
    let mut head = vec![0; log.size().min(HEAD) as usize];
    log.read(volume, 0, &mut head)?;
    Ok(judge(&head).err().map(str::to_owned))
}

fn judge(head: &[u8]) -> Result<(), &'static str> {
    if !head.is_empty() && head.iter().all(|byte| *byte == 0xFF) {
        return Ok(());
    }
    let page = u32_at(head, 16).map_or(0, |size| size as usize);
    let page = if PAGE_SIZES.contains(&page) && page.is_power_of_two() { page } else { USUAL_PAGE };
    let pages = [head.get(..page), head.get(page..2 * page)];
    let newest = pages.into_iter().flatten().filter_map(Restart::parse).max_by_key(|restart| restart.lsn);
    let newest = newest.ok_or("it has no restart page")?;
    if newest.version != CLOSED_VERSION {
        return Err("its version is that of a mounted volume");
    }
    if newest.clients != NO_CLIENT && newest.flags & VOLUME_IS_CLEAN == 0 {
        return Err("it was not closed");
    }
    Ok(())
}

struct Restart {
    lsn: u64,
    version: u16,
    clients: u16,
    flags: u16,
}

impl Restart {
    fn parse(page: &[u8]) -> Option<Self> {
        let mut page = page.to_vec();
        repair(&mut page, b"RSTR").ok()?;
        let area = usize::from(u16_at(&page, 24)?);
        Some(Self {
            lsn: u64_at(&page, area)?,
            version: u16_at(&page, 28)?,
            clients: u16_at(&page, area + 12)?,
            flags: u16_at(&page, area + 14)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(lsn: u64, version: u16, clients: u16, flags: u16) -> Vec<u8> {
        let mut page = vec![0; 4096];
        page[..4].copy_from_slice(b"RSTR");
        page[4..8].copy_from_slice(&[30, 0, 9, 0]);
        page[16..20].copy_from_slice(&4096u32.to_le_bytes());
        page[24] = 64;
        page[28..30].copy_from_slice(&version.to_le_bytes());
        page[64..72].copy_from_slice(&lsn.to_le_bytes());
        page[76..78].copy_from_slice(&clients.to_le_bytes());
        page[78..80].copy_from_slice(&flags.to_le_bytes());
        page
    }

    #[test]
    fn only_a_log_that_was_closed_is_clean() {
        let two = |first: Vec<u8>, second: Vec<u8>| judge(&[first, second, vec![0; 8192]].concat()).is_ok();
        assert!(judge(&[0xFF; 65536]).is_ok());
        assert!(two(page(5, 1, NO_CLIENT, 0), page(4, 1, 0, 0)));
        assert!(two(page(5, 1, 0, 2), page(4, 1, 0, 0)));
        assert!(!two(page(5, 1, 0, 0), page(4, 1, NO_CLIENT, 2)));
        assert!(!two(page(4, 1, NO_CLIENT, 2), page(5, 1, 0, 0)));
        assert!(!two(page(5, 2, NO_CLIENT, 2), page(4, 2, NO_CLIENT, 2)));
        assert!(two(vec![0; 4096], page(4, 1, NO_CLIENT, 2)));
        assert!(!two(vec![0; 4096], vec![0; 4096]));
        assert!(judge(&[]).is_err());
    }
}
