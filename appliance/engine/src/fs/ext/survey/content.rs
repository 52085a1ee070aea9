//! Regular files: which of their blocks are content, which are only reserved, and which hold swap pages.

use std::ops::Range;

use super::Telling;
use crate::fs::ext::inode::Inode;
use crate::fs::ext::map::{Found, Run};
use crate::fs::{Extent, FileId, FsError, LeftOut};
use crate::le::u32_at;
use crate::read::ReadAt;

/// Swap pages as x86 and almost everyone else has them; the header fills the first.
const SWAP_PAGE: u64 = 4096;
const SWAP_MAGIC: &[u8; 10] = b"SWAPSPACE2";
/// mkswap makes nothing smaller.
const SMALLEST_SWAP: u64 = 10 * SWAP_PAGE;

impl<R: ReadAt> Telling<'_, R> {
    /// Tells one file. Its content ends at the end of file and skips reserved blocks; those are raw.
    pub(super) fn file(&mut self, inode: &Inode, bytes: &[u8]) -> Result<(), FsError> {
        let mut file = File { id: FileId(u64::from(inode.number)), size: inode.size, swap: 0..0, begun: false };
        if let Some(pages) = self.swap_pages(inode, bytes) {
            file.swap = pages;
        }
        self.walk(inode, |telling, found| match found {
            Found::Run(run) => telling.content(&mut file, run),
            _ => Ok(()),
        })?;
        if file.begun { self.out.file_end() } else { Ok(()) }
    }

    /// Cuts a run where its nature changes: around swap pages and at the end of file.
    fn content(&mut self, file: &mut File, run: &Run) -> Result<(), FsError> {
        let device = self.fs.sb.bytes(run.physical, run.len);
        let start = run.logical * self.fs.sb.block_size;
        let end = start + device.len;
        let mut at = start;
        while at < end {
            let cut = [file.swap.start, file.swap.end, file.size].into_iter().filter(|cut| *cut > at).min();
            let next = cut.unwrap_or(end).min(end);
            let extent = Extent::new(device.start + (at - start), next - at);
            if file.swap.contains(&at) {
                self.out.left_out(LeftOut::SwapPages, extent)?;
            } else if !run.written || at >= file.size {
                self.out.raw(extent)?;
            } else {
                if !file.begun {
                    self.out.file_begin(file.id)?;
                    file.begun = true;
                }
                self.out.file_run(at, extent)?;
            }
            at = next;
        }
        Ok(())
    }

    /// The pages behind the header of an active swap file. Only files that `swapon` takes without a warning are looked
    /// at, because each look is a seek: owned by root and made of whole pages. A hibernated system replaces the magic,
    /// and its image is kept.
    fn swap_pages(&self, inode: &Inode, bytes: &[u8]) -> Option<Range<u64>> {
        if inode.uid != 0 || inode.size < SMALLEST_SWAP || !inode.size.is_multiple_of(SWAP_PAGE) {
            return None;
        }
        let mut header = vec![0; SWAP_PAGE as usize];
        self.fs.read_content(inode, bytes, 0, &mut header).ok()?;
        let (version, last_page) = (u32_at(&header, 1024)?, u64::from(u32_at(&header, 1028)?));
        let end = (last_page + 1) * SWAP_PAGE;
        let is_swap = header.ends_with(SWAP_MAGIC) && version == 1 && last_page > 0 && end <= inode.size;
        is_swap.then_some(SWAP_PAGE..end)
    }
}

struct File {
    id: FileId,
    size: u64,
    /// Bytes of the file that are left out.
    swap: Range<u64>,
    begun: bool,
}
