//! Receivers for what a survey tells.

use std::collections::BTreeMap;

use saveos_engine::fs::{Doubt, Extent, FileId, FsError, LeftOut, Survey};

/// Keeps everything.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) allocated: Vec<Extent>,
    pub(crate) claims: Vec<Extent>,
    pub(crate) raw: Vec<Extent>,
    pub(crate) left_out: Vec<(LeftOut, Extent)>,
    pub(crate) files: BTreeMap<FileId, Vec<(u64, Extent)>>,
    pub(crate) doubts: Vec<Doubt>,
    pub(crate) notes: Vec<String>,
    open: Option<FileId>,
}

impl Survey for Collected {
    fn allocated(&mut self, extent: Extent) -> Result<(), FsError> {
        assert!(extent.len > 0);
        self.allocated.push(extent);
        Ok(())
    }
    fn meta(&mut self, extent: Extent) -> Result<(), FsError> {
        assert!(extent.len > 0);
        self.claims.push(extent);
        Ok(())
    }
    fn raw(&mut self, extent: Extent) -> Result<(), FsError> {
        self.raw.push(extent);
        self.claims.push(extent);
        Ok(())
    }
    fn left_out(&mut self, rule: LeftOut, extent: Extent) -> Result<(), FsError> {
        self.left_out.push((rule, extent));
        self.claims.push(extent);
        Ok(())
    }
    fn file_begin(&mut self, file: FileId) -> Result<(), FsError> {
        assert_eq!(self.open.replace(file), None, "a file was begun inside another");
        assert!(self.files.insert(file, Vec::new()).is_none(), "a file was told twice");
        Ok(())
    }
    fn file_run(&mut self, logical: u64, extent: Extent) -> Result<(), FsError> {
        let file = self.open.expect("a run belongs to an open file");
        let runs = self.files.entry(file).or_default();
        assert!(runs.last().is_none_or(|(at, last)| at + last.len <= logical), "a file went back");
        assert!(extent.len > 0);
        runs.push((logical, extent));
        self.claims.push(extent);
        Ok(())
    }
    fn file_end(&mut self) -> Result<(), FsError> {
        assert!(self.open.take().is_some(), "no file was open");
        Ok(())
    }
    fn doubt(&mut self, doubt: Doubt) {
        self.doubts.push(doubt);
    }
    fn note(&mut self, text: String) {
        self.notes.push(text);
    }
}

/// Only counts: for inputs that may tell nonsense.
#[derive(Default)]
pub(crate) struct Counted {
    pub(crate) calls: u64,
    pub(crate) doubts: u64,
}

impl Counted {
    fn call(&mut self) -> Result<(), FsError> {
        self.calls += 1;
        Ok(())
    }
}

impl Survey for Counted {
    fn allocated(&mut self, _: Extent) -> Result<(), FsError> {
        self.call()
    }
    fn meta(&mut self, _: Extent) -> Result<(), FsError> {
        self.call()
    }
    fn raw(&mut self, _: Extent) -> Result<(), FsError> {
        self.call()
    }
    fn left_out(&mut self, _: LeftOut, _: Extent) -> Result<(), FsError> {
        self.call()
    }
    fn file_begin(&mut self, _: FileId) -> Result<(), FsError> {
        self.call()
    }
    fn file_run(&mut self, _: u64, _: Extent) -> Result<(), FsError> {
        self.call()
    }
    fn file_end(&mut self) -> Result<(), FsError> {
        self.call()
    }
    fn doubt(&mut self, _: Doubt) {
        self.doubts += 1;
    }
    fn note(&mut self, _: String) {}
}

/// Sorts extents and joins those that touch or overlap.
pub(crate) fn union(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.sort_unstable();
    let mut joined: Vec<Extent> = Vec::new();
    for extent in extents {
        match joined.last_mut() {
            Some(last) if last.end() >= extent.start => last.len = last.end().max(extent.end()) - last.start,
            _ => joined.push(extent),
        }
    }
    joined
}

/// Pairs of extents that share a byte.
pub(crate) fn overlaps(mut extents: Vec<Extent>) -> Vec<(Extent, Extent)> {
    extents.sort_unstable();
    extents.windows(2).filter(|pair| pair[0].end() > pair[1].start).map(|pair| (pair[0], pair[1])).collect()
}

/// What only one of the two covers: `(only in a, extent)`.
pub(crate) fn difference(a: &[Extent], b: &[Extent]) -> Vec<(bool, Extent)> {
    let mut edges: Vec<(u64, i32, i32)> = Vec::new();
    for extent in union(a.to_vec()) {
        edges.extend([(extent.start, 1, 0), (extent.end(), -1, 0)]);
    }
    for extent in union(b.to_vec()) {
        edges.extend([(extent.start, 0, 1), (extent.end(), 0, -1)]);
    }
    edges.sort_unstable();
    let (mut in_a, mut in_b) = (0, 0);
    let mut found = Vec::new();
    for (n, (at, da, db)) in edges.iter().enumerate() {
        (in_a, in_b) = (in_a + da, in_b + db);
        let next = edges.get(n + 1).map_or(*at, |edge| edge.0);
        if in_a != in_b && next > *at {
            found.push((in_a > in_b, Extent::new(*at, next - at)));
        }
    }
    found
}
