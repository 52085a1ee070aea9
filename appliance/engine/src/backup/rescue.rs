//! The second pass over what could not be read: smaller and smaller reads find the good bytes between bad sectors, and the
//! files they hurt are named. The first pass skipped ahead, so everything healthy is stored before a dying disk is stressed.

use super::assemble::{Assembled, LISTED, store_segment};
use super::piece::{Rewritten, Worker};
use super::{BackupError, Counters, Flow, Run, batch};
use crate::fs::{Extent, FileId};
use crate::read::Window;
use crate::repository::store::Sealer;
use crate::segment::{self, Builder, Cause, Content, Entry, Run as PieceRun};
use crate::snapshot::{HoleNote, SegmentRef};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Reads every unreadable piece again, sector by sector where needed, and puts better segments in the place of the first ones.
pub(super) fn second_pass(run: &Run<'_>, assembled: &mut Assembled) -> Result<(), BackupError> {
    let unreadable = std::mem::take(&mut assembled.unreadable);
    if unreadable.is_empty() {
        return Ok(());
    }
    let rewritten = Rewritten::default();
    let mut worker = Worker::new(run, &rewritten);
    let mut sealer = Sealer::new(run.options.level);
    let mut hurt: BTreeMap<u64, Vec<Extent>> = BTreeMap::new();
    let mut better: HashMap<usize, Vec<SegmentRef>> = HashMap::new();
    for (position, window, bytes) in unreadable {
        let entries = segment::decode(&bytes).expect("this run encoded it");
        let mut builder = Builder::new(window);
        let rows = better.entry(position).or_default();
        for entry in entries {
            let entry = match entry.content {
                Content::Hole(Cause::Unreadable) => narrow(run, &mut worker, entry)?,
                _ => entry,
            };
            note_holes(&entry, assembled, &mut hurt);
            // Good sectors between bad ones take more words than one hole: what was one segment may be several now.
            if builder.encoded_len() >= segment::SPLIT {
                let full = std::mem::replace(&mut builder, Builder::new(window));
                rows.push(store_segment(run, window, &full.finish(), &mut sealer)?);
            }
            builder.push(&entry);
            if (run.observe)(run.progress()) == Flow::Stop {
                return Err(BackupError::Stopped);
            }
        }
        rows.push(store_segment(run, window, &builder.finish(), &mut sealer)?);
    }
    let first_ones = std::mem::take(&mut assembled.segments).into_iter().enumerate();
    assembled.segments =
        first_ones.flat_map(|(position, row)| better.remove(&position).unwrap_or_else(|| vec![row])).collect();
    name_files(run, assembled, &hurt);
    Ok(())
}

/// Halves a piece until single sectors are good or bad.
fn narrow(run: &Run<'_>, worker: &mut Worker<'_>, entry: Entry) -> Result<Entry, BackupError> {
    let mut plain = Vec::new();
    let mut good: Vec<(usize, usize)> = Vec::new();
    for &extent in &entry.extents {
        let base = plain.len();
        plain.resize(base + extent.len as usize, 0);
        read_halving(run, extent, &mut plain[base..], &mut |at, len| {
            let at = base + at;
            match good.last_mut() {
                Some(last) if last.0 + last.1 == at => last.1 += len,
                _ => good.push((at, len)),
            }
        })?;
    }
    worker.store_rescued(entry.class, entry.extents, &plain, &good)
}

fn read_halving(
    run: &Run<'_>,
    extent: Extent,
    out: &mut [u8],
    good: &mut dyn FnMut(usize, usize),
) -> Result<(), BackupError> {
    let sector = u64::from(run.source.sector_size());
    let mut todo = vec![extent];
    let mut bytes = Vec::new();
    while let Some(part) = todo.pop() {
        bytes.clear();
        Counters::add(&run.counters.read, part.len);
        let at = (part.start - extent.start) as usize;
        match batch::read_exact(&**run.source, part, &mut bytes) {
            Ok(()) => {
                out[at..at + bytes.len()].copy_from_slice(&bytes);
                good(at, bytes.len());
            }
            Err(_) if run.source.is_gone() => return Err(BackupError::Gone { at: part.start }),
            Err(_) => {
                // Split at a sector boundary near the middle; a part inside one sector is bad.
                let middle = (part.start + part.len / 2).next_multiple_of(sector);
                let middle = if middle >= part.end() { (part.end() - 1) / sector * sector } else { middle };
                if middle > part.start {
                    todo.push(Extent::new(middle, part.end() - middle));
                    todo.push(Extent::new(part.start, middle - part.start));
                }
            }
        }
    }
    Ok(())
}

fn note_holes(entry: &Entry, assembled: &mut Assembled, hurt: &mut BTreeMap<u64, Vec<Extent>>) {
    let start = entry.extents.first().map_or(0, |extent| extent.start);
    for (cause, extent) in holes_of(entry) {
        assembled.hole_bytes += extent.len;
        hurt.entry(start).or_default().push(extent);
        if assembled.holes.len() < LISTED {
            assembled.holes.push(HoleNote { start: extent.start, len: extent.len, cause, file: None });
        }
    }
}

/// The device ranges that are missing in a piece.
pub(crate) fn holes_of(entry: &Entry) -> Vec<(Cause, Extent)> {
    let runs = match &entry.content {
        Content::Hole(cause) => return entry.extents.iter().map(|&extent| (*cause, extent)).collect(),
        Content::Runs { runs, .. } => runs,
        Content::Zeros | Content::Chunk(_) | Content::LeftOut(_) => return Vec::new(),
    };
    let mut found = Vec::new();
    let mut at = 0;
    for run in runs {
        let len = u64::from(run.len());
        if let PieceRun::Hole(cause, _) = run {
            found.extend(device_ranges(&entry.extents, at, len).into_iter().map(|extent| (*cause, extent)));
        }
        at += len;
    }
    found
}

/// Where `len` bytes at `at` of a piece lie on the device.
pub(crate) fn device_ranges(extents: &[Extent], mut at: u64, mut len: u64) -> Vec<Extent> {
    let mut ranges = Vec::new();
    for extent in extents {
        if at >= extent.len {
            at -= extent.len;
            continue;
        }
        let take = len.min(extent.len - at);
        if take == 0 {
            break;
        }
        ranges.push(Extent::new(extent.start + at, take));
        len -= take;
        at = 0;
    }
    ranges
}

/// Looks up the paths of damaged files. Best effort: a filesystem too damaged to browse leaves ranges without names.
fn name_files(run: &Run<'_>, assembled: &mut Assembled, hurt: &BTreeMap<u64, Vec<Extent>>) {
    let mut wanted: HashMap<(u16, FileId), Vec<Extent>> = HashMap::new();
    for (start, extents) in hurt {
        if let Some(file) = assembled.damaged.get(start) {
            wanted.entry(*file).or_default().extend(extents);
        }
    }
    for (number, region) in run.layout.regions.iter().enumerate() {
        let ids: Vec<FileId> = wanted.keys().filter(|(at, _)| usize::from(*at) == number).map(|(_, id)| *id).collect();
        if ids.is_empty() {
            continue;
        }
        let window = Window::new(Arc::clone(run.source), region.start, region.len);
        let Ok(names) = crate::files::names_of(Arc::new(window), region.filesystem, &ids) else { continue };
        for (id, path) in names {
            let extents = wanted.get(&(number as u16, id)).map_or(&[][..], Vec::as_slice);
            for hole in
                assembled.holes.iter_mut().filter(|hole| extents.iter().any(|extent| extent.start == hole.start))
            {
                hole.file = Some(match region.partition {
                    Some(partition) => format!("{partition}:{path}"),
                    None => path.clone(),
                });
            }
        }
    }
}
