//! Keeps what a survey tells, and holds it against the rules of the contract.

use saveos_engine::fs::{Doubt, Extent, FileId, FsError, LeftOut, Survey, ntfs};
use saveos_engine::read::ReadAt;

/// One stream as it was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    pub(crate) id: u64,
    pub(crate) runs: Vec<(u64, Extent)>,
}

/// Everything a survey told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) allocated: Vec<Extent>,
    pub(crate) meta: Vec<Extent>,
    pub(crate) raw: Vec<Extent>,
    pub(crate) left_out: Vec<(LeftOut, Extent)>,
    pub(crate) files: Vec<Stream>,
    pub(crate) doubts: Vec<String>,
    pub(crate) notes: Vec<String>,
    open: Option<Stream>,
}

impl Told {
    pub(crate) fn by_surveying(image: &dyn ReadAt) -> Self {
        let mut told = Told::default();
        ntfs::survey(image, &mut told).unwrap();
        assert!(told.open.is_none());
        told
    }

    /// All claims, sorted.
    pub(crate) fn claims(&self) -> Vec<Extent> {
        let runs = self.files.iter().flat_map(|file| file.runs.iter().map(|(_, extent)| *extent));
        let left_out = self.left_out.iter().map(|(_, extent)| *extent);
        let mut claims: Vec<_> = self.meta.iter().chain(&self.raw).copied().chain(runs).chain(left_out).collect();
        claims.sort();
        claims
    }

    /// Allocated bytes, sorted and joined.
    pub(crate) fn in_use(&self) -> Vec<Extent> {
        joined(self.allocated.clone())
    }

    /// Allocated bytes below `end` that nobody claims, and claims that are not allocated.
    pub(crate) fn differences(&self, end: u64) -> Vec<Extent> {
        let below = |extents: Vec<Extent>| -> Vec<Extent> {
            let cut = |extent: Extent| Extent::new(extent.start, extent.end().min(end).saturating_sub(extent.start));
            extents.into_iter().map(cut).filter(|extent| extent.len > 0).collect()
        };
        let (used, claimed) = (below(self.in_use()), below(joined(self.claims())));
        let only = |these: &[Extent], those: &[Extent]| -> Vec<Extent> {
            these.iter().filter(|extent| !those.contains(extent)).copied().collect()
        };
        [only(&used, &claimed), only(&claimed, &used)].concat()
    }

    pub(crate) fn assert_claims_are_disjoint(&self) {
        for pair in self.claims().windows(2) {
            assert!(pair[0].end() <= pair[1].start, "{pair:?} overlap");
        }
    }

    /// Content of the first stream of a file, as its runs give it.
    pub(crate) fn content(&self, image: &[u8], id: u64, len: usize) -> Vec<u8> {
        let mut content = vec![0; len];
        if let Some(file) = self.files.iter().find(|file| file.id == id) {
            for (logical, extent) in &file.runs {
                let (at, from) = (*logical as usize, extent.start as usize);
                content[at..at + extent.len as usize].copy_from_slice(&image[from..from + extent.len as usize]);
            }
        }
        content
    }
}

fn joined(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.sort();
    let mut joined: Vec<Extent> = Vec::new();
    for extent in extents.into_iter().filter(|extent| extent.len > 0) {
        match joined.last_mut() {
            Some(last) if extent.start <= last.end() => last.len = last.len.max(extent.end() - last.start),
            _ => joined.push(extent),
        }
    }
    joined
}

impl Survey for Told {
    fn allocated(&mut self, extent: Extent) -> Result<(), FsError> {
        self.allocated.push(extent);
        Ok(())
    }
    fn meta(&mut self, extent: Extent) -> Result<(), FsError> {
        self.meta.push(extent);
        Ok(())
    }
    fn raw(&mut self, extent: Extent) -> Result<(), FsError> {
        self.raw.push(extent);
        Ok(())
    }
    fn left_out(&mut self, rule: LeftOut, extent: Extent) -> Result<(), FsError> {
        self.left_out.push((rule, extent));
        Ok(())
    }
    fn file_begin(&mut self, file: FileId) -> Result<(), FsError> {
        assert!(self.open.is_none(), "a file begins inside another");
        self.open = Some(Stream { id: file.0, runs: Vec::new() });
        Ok(())
    }
    fn file_run(&mut self, logical: u64, extent: Extent) -> Result<(), FsError> {
        let open = self.open.as_mut().expect("a run outside a file");
        if let Some((at, last)) = open.runs.last() {
            assert!(logical >= at + last.len, "a file goes back");
            assert!(logical > at + last.len || extent.start != last.end(), "runs are not joined");
        }
        assert!(extent.len > 0);
        open.runs.push((logical, extent));
        Ok(())
    }
    fn file_end(&mut self) -> Result<(), FsError> {
        self.files.push(self.open.take().expect("an end without a file"));
        Ok(())
    }
    fn doubt(&mut self, doubt: Doubt) {
        self.doubts.push(doubt.0);
    }
    fn note(&mut self, text: String) {
        self.notes.push(text);
    }
}
