//! Tells the layout who owns which clusters of the volume.
//!
//! Allocated is what `$Bitmap` says, minus clusters known to be bad, plus what lies outside it. Owners come from the
//! MFT: structures are META; user streams are FILE up to their valid length, RAW behind it; page files keep a header.

use std::sync::Arc;

use super::attribute::{Attribute, DATA, FILE_NAME, FileName, Value};
use super::bitmap::{self, Clusters};
use super::record::Record;
use super::runs::Run;
use super::stream::Stream;
use super::volume::{BAD_CLUSTERS, EXTEND, FIRST_USER, ROOT, Volume};
use super::walk::{self, Visitor};
use super::{boot, journal, names};
use crate::fs::{Doubt, Extent, FileId, FsError, LeftOut, Survey};
use crate::read::ReadAt;

/// The first doubts tell a person what is wrong; a million of them fill the memory.
const MAX_DOUBTS: u64 = 100;
/// `$Extend` has a handful of directories below it.
const MAX_EXTEND_DIRECTORIES: usize = 64;
/// Boot sector and boot code, whatever `$Boot` claims.
const BOOT_AREA: u64 = 8192;
/// What is kept of a page file.
const PAGING_HEADER: u64 = 4096;
/// Extents of page files that wait: Windows makes them in a few; what is behind is read.
const MAX_PAGING: usize = 4096;

/// Surveys the whole volume.
pub(super) fn run(disk: Arc<dyn ReadAt + '_>, out: &mut dyn Survey) -> Result<(), FsError> {
    let volume = Volume::open(disk)?;
    let mut surveyor = Surveyor {
        volume: &volume,
        out,
        doubts: 0,
        file: File::default(),
        cut: Cut::default(),
        extend_directories: vec![EXTEND],
        paging: Vec::new(),
        hibernated: false,
    };
    for doubt in &volume.doubts {
        surveyor.doubt(doubt.clone());
    }
    surveyor.tell_dirt();
    surveyor.tell_outside()?;
    surveyor.tell_allocated()?;
    walk::all(&volume, &mut surveyor)?;
    surveyor.tell_paging()?;
    if let Some(untold) = surveyor.doubts.checked_sub(MAX_DOUBTS).filter(|untold| *untold > 0) {
        surveyor.out.doubt(Doubt(format!("{untold} more doubts like these")));
    }
    Ok(())
}

struct Surveyor<'v, 'd, 'o> {
    volume: &'v Volume<'d>,
    out: &'o mut dyn Survey,
    doubts: u64,
    file: File,
    cut: Cut,
    /// `$Extend` and directories in it: their files are the filesystem's own.
    extend_directories: Vec<u64>,
    /// Pages of page files: whether they may be left out is known only when the file of a sleeping Windows was met.
    paging: Vec<(LeftOut, Extent)>,
    hibernated: bool,
}

/// The file whose attributes arrive.
#[derive(Default)]
struct File {
    number: u64,
    directory: bool,
    system: bool,
    role: Role,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Role {
    #[default]
    Ordinary,
    Paging(LeftOut),
    Hibernation,
}

/// The stream whose runs arrive, and the extent that may still grow.
#[derive(Default)]
struct Cut {
    rule: Rule,
    stored: u64,
    begun: bool,
    grown: Option<(Owner, u64, Extent)>,
}

/// How runs become extents.
#[derive(Clone, Copy, Default)]
enum Rule {
    /// Clusters known to be bad belong to nobody.
    #[default]
    Nobody,
    Meta,
    /// A file up to this length; what is behind belongs to the owner named.
    Until(u64, Owner),
    /// Compressed or encrypted: what is stored is the content, in the order it is stored.
    Stored,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Meta,
    File,
    Raw,
    LeftOut(LeftOut),
}

impl Surveyor<'_, '_, '_> {
    fn doubt(&mut self, text: String) {
        self.doubts += 1;
        if self.doubts <= MAX_DOUBTS {
            self.out.doubt(Doubt(text));
        }
    }

    fn tell_dirt(&mut self) {
        if self.volume.dirty {
            self.doubt("the volume is marked dirty, so $LogFile may be dirty too: every free block is read too".into());
        }
        match journal::dirt(self.volume) {
            Ok(None) => {}
            Ok(Some(why)) => self.doubt(format!("$LogFile is dirty ({why}): every free block is read too")),
            Err(cause) => self.doubt(format!("$LogFile: {cause}")),
        }
    }

    /// The boot area, and everything behind the last cluster, of which only the backup boot sector is known.
    fn tell_outside(&mut self) -> Result<(), FsError> {
        let volume = self.volume;
        let geometry = &volume.geometry;
        let len = volume.disk.len();
        self.out.allocated(Extent::new(0, BOOT_AREA.min(len)))?;
        let end = geometry.clustered();
        if end < len {
            self.out.allocated(Extent::new(end, len - end))?;
        }
        let backup = Extent::new(geometry.backup, geometry.sector);
        let mut sector = vec![0; geometry.sector as usize];
        if backup.end() <= len && volume.read(backup.start, &mut sector).is_ok() && boot::is_ntfs(&sector) {
            self.out.meta(backup)?;
        }
        Ok(())
    }

    fn tell_allocated(&mut self) -> Result<(), FsError> {
        let bits = bitmap::open(self.volume).map_err(|cause| FsError::Unusable(format!("$Bitmap: {cause}")))?;
        let bad = self.bad_clusters();
        let cluster = self.volume.geometry.cluster;
        bitmap::each(self.volume, &bits, &mut |start, len, clusters| {
            if let Clusters::Unknown(cause) = clusters {
                self.doubt(format!("$Bitmap: {cause}"));
            }
            each_good(&bad, start, len, &mut |start, len| {
                self.out.allocated(Extent::new(start * cluster, len * cluster))
            })
        })
    }

    /// The runs of `$BadClus:$Bad`, sorted. The stream is as long as the volume and maps each bad cluster to itself.
    fn bad_clusters(&mut self) -> Vec<(u64, u64)> {
        let name: Vec<u8> = "$Bad".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let stream = match Stream::open(self.volume, BAD_CLUSTERS, DATA, &name) {
            Ok(stream) => stream,
            Err(cause) => {
                self.doubt(format!("$BadClus: {cause}"));
                return Vec::new();
            }
        };
        let mut bad = Vec::new();
        for run in stream.runs() {
            match run.lcn() {
                Some(lcn) if lcn == run.vcn => bad.push((lcn, run.len)),
                Some(_) => self.doubt("$BadClus: a bad cluster is not mapped to itself".into()),
                None => {}
            }
        }
        if !bad.is_empty() {
            let count: u64 = bad.iter().map(|(_, len)| len).sum();
            self.out.note(format!("{count} clusters are listed as bad in $BadClus and are not read"));
        }
        bad
    }

    /// Where a stream of this attribute goes.
    fn rule(&self, attribute: &Attribute<'_>) -> Rule {
        let Value::Mapped(mapping) = attribute.value else { return Rule::Nobody };
        if self.file.number == BAD_CLUSTERS && attribute.kind == DATA && names::is(attribute.name, "$Bad") {
            return Rule::Nobody;
        }
        if self.file.system || attribute.kind != DATA {
            return Rule::Meta;
        }
        if let (Role::Paging(rule), []) = (self.file.role, attribute.name) {
            return Rule::Until(PAGING_HEADER.min(mapping.sizes.data), Owner::LeftOut(rule));
        }
        if attribute.is_compressed() || attribute.is_encrypted() {
            return Rule::Stored;
        }
        Rule::Until(mapping.sizes.data.min(mapping.sizes.initialized), Owner::Raw)
    }

    /// Adds bytes to an owner, joined with those before where possible.
    fn give(&mut self, owner: Owner, logical: u64, extent: Extent) -> Result<(), FsError> {
        if extent.len == 0 {
            return Ok(());
        }
        if let Some((last, from, grown)) = &mut self.cut.grown {
            let follows = owner != Owner::File || from.checked_add(grown.len) == Some(logical);
            if *last == owner && grown.end() == extent.start && follows {
                grown.len += extent.len;
                return Ok(());
            }
        }
        self.flush()?;
        self.cut.grown = Some((owner, logical, extent));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FsError> {
        let Some((owner, logical, extent)) = self.cut.grown.take() else { return Ok(()) };
        // Behind the cut no byte is the file's any more, so it ends before others are told.
        if owner != Owner::File {
            self.end_file()?;
        }
        match owner {
            Owner::Meta => self.out.meta(extent),
            Owner::Raw => self.out.raw(extent),
            Owner::LeftOut(rule) if self.paging.len() < MAX_PAGING => {
                self.paging.push((rule, extent));
                Ok(())
            }
            Owner::LeftOut(_) => self.out.raw(extent),
            Owner::File => {
                if !self.cut.begun {
                    self.out.file_begin(FileId(self.file.number))?;
                    self.cut.begun = true;
                }
                self.out.file_run(logical, extent)
            }
        }
    }

    /// A sleeping Windows wakes up with its page files as they were; one that was shut down begins them anew.
    fn tell_paging(&mut self) -> Result<(), FsError> {
        for (rule, extent) in std::mem::take(&mut self.paging) {
            if self.hibernated { self.out.raw(extent)? } else { self.out.left_out(rule, extent)? }
        }
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), FsError> {
        if std::mem::take(&mut self.cut.begun) { self.out.file_end() } else { Ok(()) }
    }

    fn look_at_name(&mut self, name: &FileName<'_>) {
        if self.extend_directories.contains(&name.parent) {
            self.file.system = true;
            if self.file.directory && self.extend_directories.len() < MAX_EXTEND_DIRECTORIES {
                self.extend_directories.push(self.file.number);
            }
        }
        if name.parent == ROOT && !self.file.directory {
            self.file.role = match () {
                () if names::is_ignoring_case(name.name, "pagefile.sys") => Role::Paging(LeftOut::Pagefile),
                () if names::is_ignoring_case(name.name, "swapfile.sys") => Role::Paging(LeftOut::Swapfile),
                () if names::is_ignoring_case(name.name, "hiberfil.sys") => Role::Hibernation,
                () => self.file.role,
            };
        }
    }

    /// Windows that sleeps on disk will go on with a volume as it remembers it, not as it lies.
    fn look_at_hibernation(&mut self, head: &[u8]) {
        if matches!(head.get(..4), Some(b"hibr" | b"HIBR")) {
            self.hibernated = true;
            self.doubt("Windows is hibernated on this volume: every free block and page file is read too".into());
        }
    }
}

impl Visitor for Surveyor<'_, '_, '_> {
    fn file(&mut self, number: u64, record: &Record<'_>) -> Result<(), FsError> {
        self.file = File { number, directory: record.directory, system: number < FIRST_USER, role: Role::Ordinary };
        Ok(())
    }

    fn resident(&mut self, attribute: &Attribute<'_>, value: &[u8]) -> Result<(), FsError> {
        match (attribute.kind, FileName::parse(value)) {
            (FILE_NAME, Some(name)) => self.look_at_name(&name),
            (DATA, _) if self.file.role == Role::Hibernation => self.look_at_hibernation(value),
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, attribute: &Attribute<'_>) -> Result<(), FsError> {
        self.cut = Cut { rule: self.rule(attribute), ..Cut::default() };
        Ok(())
    }

    fn run(&mut self, run: Run) -> Result<(), FsError> {
        let Some(lcn) = run.lcn() else { return Ok(()) };
        let cluster = self.volume.geometry.cluster;
        let extent = Extent::new(lcn * cluster, run.len * cluster);
        let Some(logical) = run.vcn.checked_mul(cluster).filter(|logical| logical.checked_add(extent.len).is_some())
        else {
            return self.flaw(format!("MFT record {}: a stream is longer than it can be", self.file.number));
        };
        if self.file.role == Role::Hibernation && logical == 0 {
            let mut head = vec![0; self.volume.geometry.sector as usize];
            if self.volume.read(extent.start, &mut head).is_ok() {
                self.look_at_hibernation(&head);
            }
        }
        match self.cut.rule {
            Rule::Nobody => Ok(()),
            Rule::Meta => self.give(Owner::Meta, logical, extent),
            Rule::Stored => {
                let stored = self.cut.stored;
                self.cut.stored = stored.saturating_add(extent.len);
                self.give(Owner::File, stored, extent)
            }
            Rule::Until(end, behind) => {
                let inside = end.saturating_sub(logical).min(extent.len);
                self.give(Owner::File, logical, Extent::new(extent.start, inside))?;
                let rest = Extent::new(extent.start + inside, extent.len - inside);
                self.give(behind, logical + inside, rest)
            }
        }
    }

    fn end(&mut self) -> Result<(), FsError> {
        self.flush()?;
        self.end_file()
    }

    fn flaw(&mut self, flaw: String) -> Result<(), FsError> {
        self.doubt(flaw);
        Ok(())
    }
}

/// Calls `each` for the parts of `len` clusters at `start` that are not bad.
fn each_good(
    bad: &[(u64, u64)],
    start: u64,
    len: u64,
    each: &mut dyn FnMut(u64, u64) -> Result<(), FsError>,
) -> Result<(), FsError> {
    let end = start + len;
    let mut here = start;
    let first = bad.partition_point(|(at, len)| at + len <= start);
    for (at, len) in bad.get(first..).unwrap_or_default().iter().take_while(|(at, _)| *at < end) {
        if *at > here {
            each(here, at - here)?;
        }
        here = at + len;
    }
    if here < end { each(here, end - here) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_clusters_are_cut_out() {
        let cut = |start, len| {
            let mut good = Vec::new();
            each_good(&[(5, 2), (10, 1)], start, len, &mut |start, len| {
                good.push((start, len));
                Ok(())
            })
            .unwrap();
            good
        };
        assert_eq!(cut(0, 20), [(0, 5), (7, 3), (11, 9)]);
        assert_eq!(cut(6, 4), [(7, 3)]);
        assert_eq!(cut(5, 2), []);
        assert_eq!(cut(11, 1), [(11, 1)]);
    }
}
