//! Verify: reads back what is stored and proves it, down to the filesystem's own checker on a restored copy.
//!
//! Every problem is a value that names the pack, chunk or snapshot. A repository with problems still opens and restores
//! what is whole.

pub mod fsck;
mod references;

use crate::chunk::ChunkId;
use crate::pack::read::{Nature, ReadBuffers, scrub};
use crate::repository::{Repository, RepositoryError, checkpoint, dead};
use crate::seal::PackId;
use crate::snapshot::{Snapshot, SnapshotId};
use crate::storage::Area;
use references::{Loss, Positions, References};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What to read.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Part of all chunks to read, 0 to 1. The rest is checked for being there.
    pub sample: f64,
    /// Moves the sample, so that repeated runs read different chunks.
    pub seed: u64,
    /// Threads.
    pub workers: usize,
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// Where: `pack …`, `snapshot …`.
    pub place: String,
    /// What.
    pub what: String,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Snapshots looked at.
    pub snapshots: usize,
    /// Packs looked at.
    pub packs: usize,
    /// Chunks read and proven.
    pub chunks: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Everything wrong.
    pub problems: Vec<Problem>,
    /// Snapshots that cannot be restored whole.
    pub affected: Vec<SnapshotId>,
    /// Packs that open and do not hold what they should. `Repository::set_aside` makes later backups store it anew.
    pub damaged: Vec<PackId>,
}

/// Called with bytes read so far, and about how many there are.
pub type Observer<'a> = dyn Fn(u64, u64) + Sync + 'a;

/// Verifies all snapshots, or only those given, and the packs.
pub fn run(
    repository: &Repository,
    only: Option<&(SnapshotId, Snapshot)>,
    options: &Options,
    observe: &Observer<'_>,
) -> Result<Report, RepositoryError> {
    let mut report = Report::default();
    let (all, damaged) = repository.snapshots()?;
    let snapshots: Vec<&(SnapshotId, Snapshot)> = match only {
        Some(one) => vec![one],
        None => {
            report.problems.extend(damaged.iter().map(|error| problem("snapshot", error)));
            let (_, lists) = dead::read_all(repository.storage(), repository.keys())?;
            let (_, checkpoints) = checkpoint::list(repository.storage(), repository.keys())?;
            report.problems.extend(lists.iter().map(|error| problem("dead list", error)));
            report.problems.extend(checkpoints.iter().map(|error| problem("checkpoint", error)));
            all.iter().collect()
        }
    };
    // After the snapshots: a backup beside us may have committed since the index was opened.
    let refresh = repository.index().catch_up(repository.storage(), repository.keys())?;
    for error in &refresh.unreadable {
        report.problems.push(problem(&format!("pack {}", error.pack.hex()), &error.fault));
    }
    let mut references = References::of(repository, *options);
    let mut walked = Vec::new();
    for (id, snapshot) in &snapshots {
        report.snapshots += 1;
        match references.snapshot(snapshot) {
            Ok(lost) => walked.push((*id, snapshot, lost)),
            Err(error) => {
                report.problems.push(problem(&format!("snapshot {id}"), &error));
                report.affected.push(*id);
            }
        }
    }
    let packs: Vec<PackId> = match only {
        Some(_) => references.wanted.packs().collect(),
        // Packs that are listed as dead and that nothing needs may be deleted while we look.
        None => {
            let needed = |pack: &PackId| !repository.index().is_absent(pack) || references.wanted.has(pack);
            repository.index().packs().into_iter().filter(needed).collect()
        }
    };
    report.packs = packs.len();
    let wanted = only.map(|_| &references.wanted);
    let total = bytes_to_read(repository, &packs, wanted, options)?;
    let bad = read_packs(repository, &packs, wanted, options, &|done| observe(done.min(total), total), &mut report);
    observe(total, total);
    for (id, snapshot, lost) in walked {
        let what = match lost {
            Some(lost) => lost.to_string(),
            None => match references.hurt_by(&bad, snapshot)? {
                Some(chunk) => Loss::Chunk(chunk).to_string(),
                None => continue,
            },
        };
        report.affected.push(id);
        report.problems.push(Problem { place: format!("snapshot {id}"), what });
    }
    Ok(report)
}

fn problem(place: &str, error: &dyn std::error::Error) -> Problem {
    let mut what = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        what = format!("{what}: {inner}");
        cause = inner.source();
    }
    Problem { place: place.to_owned(), what }
}

/// What there is to read: of whole packs their files tell, of some of their chunks only their tables.
fn bytes_to_read(
    repository: &Repository,
    packs: &[PackId],
    wanted: Option<&Positions>,
    options: &Options,
) -> Result<u64, RepositoryError> {
    let all: u64 = match wanted {
        None => {
            let names: HashSet<String> = packs.iter().map(PackId::hex).collect();
            let files = repository.storage().list(Area::Packs)?;
            files.iter().filter(|file| names.contains(&file.name)).map(|file| file.size).sum()
        }
        Some(wanted) => {
            let bytes_of = |id: PackId| {
                // One that cannot be opened is a problem that reading it names.
                let pack = repository.index().open_pack(repository.storage(), repository.keys(), id).ok()?;
                let rows = pack.rows().enumerate().filter(|(position, _)| wanted.contains(&id, *position));
                Some(rows.map(|(_, row)| u64::from(row.stored_len)).sum::<u64>())
            };
            wanted.packs().filter_map(bytes_of).sum()
        }
    };
    Ok((all as f64 * options.sample.min(1.0)) as u64)
}

/// Reads chunks of packs with several threads. Returns the damaged ones.
fn read_packs(
    repository: &Repository,
    packs: &[PackId],
    wanted: Option<&Positions>,
    options: &Options,
    observe: &(dyn Fn(u64) + Sync),
    report: &mut Report,
) -> HashSet<ChunkId> {
    let next = AtomicUsize::new(0);
    let (chunks, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let found = Mutex::new((Vec::new(), HashSet::new(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..options.workers.max(1) {
            scope.spawn(|| {
                let mut buffers = ReadBuffers::default();
                let mut plain = Vec::new();
                while let Some(id) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (problems, bad, whole) =
                        read_pack(repository, *id, wanted, options, &mut buffers, &mut plain, &|len| {
                            chunks.fetch_add(1, Ordering::Relaxed);
                            observe(bytes.fetch_add(len, Ordering::Relaxed) + len);
                        });
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.0.extend(problems);
                    found.1.extend(bad);
                    found.2.extend((!whole).then_some(*id));
                }
            });
        }
    });
    let (problems, bad, damaged) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.damaged = damaged;
    report.damaged.sort_unstable();
    report.problems.extend(problems);
    report.chunks = chunks.into_inner();
    report.bytes = bytes.into_inner();
    bad
}

fn read_pack(
    repository: &Repository,
    id: PackId,
    wanted: Option<&Positions>,
    options: &Options,
    buffers: &mut ReadBuffers,
    plain: &mut Vec<u8>,
    count: &dyn Fn(u64),
) -> (Vec<Problem>, Vec<ChunkId>, bool) {
    let place = format!("pack {}", id.hex());
    let (mut problems, mut bad, mut whole) = (Vec::new(), Vec::new(), true);
    let pack = match crate::pack::read::PackReader::open(repository.storage(), repository.keys(), id) {
        Ok(pack) => pack,
        // Nobody refers to a pack that does not open.
        Err(error) => return (vec![problem(&place, &error.fault)], bad, true),
    };
    for (position, row) in pack.rows().enumerate() {
        let chosen = wanted.is_none_or(|wanted| wanted.contains(&id, position)) && in_sample(&row.chunk, options);
        if !chosen {
            continue;
        }
        match pack.read_chunk(repository.keys(), &row, buffers, plain) {
            Ok(()) => count(row.stored_len.into()),
            Err(error) => {
                problems.push(problem(&place, &error.fault));
                whole &= error.fault.nature() == Nature::Refused;
                bad.push(row.chunk);
            }
        }
    }
    // The rest of the file: header, table and both trailers, so a scrub without a key would find nothing either.
    let reads_all = options.sample >= 1.0 && wanted.is_none() && problems.is_empty();
    if reads_all && let Err(error) = scrub(repository.storage(), id) {
        problems.push(problem(&place, &error.fault));
        whole &= matches!(error.fault.nature(), Nature::Refused | Nature::Gone);
    }
    (problems, bad, whole)
}

/// Chunk ids are uniform, so a threshold on them is a sample.
fn in_sample(chunk: &ChunkId, options: &Options) -> bool {
    let number = u64::from_le_bytes(*chunk.0.last_chunk().expect("an id has 32 bytes"));
    let moved = number.wrapping_add(options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    options.sample >= 1.0 || (moved as f64) < options.sample * u64::MAX as f64
}
