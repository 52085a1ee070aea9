//! Threat: chunks, segments and snapshots that lie, sealed with the right keys: only a bug or a stolen key makes them. Reading
//! them is an error in bounded memory, verify finds them, and the honest snapshot beside them still restores.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use saveos_engine::chunk::{ChunkId, Codec, Compressor};
use saveos_engine::fs::Extent;
use saveos_engine::pack::build::{OpenPack, PackFile};
use saveos_engine::pack::format::Row;
use saveos_engine::record::{self, RecordKind};
use saveos_engine::repository::store::{Packer, Sealer, storing};
use saveos_engine::repository::{Repository, RepositoryError};
use saveos_engine::seal::{Bound, Kind, Suite};
use saveos_engine::segment::{Builder, Class, Content, Entry, Run};
use saveos_engine::snapshot::{SegmentRef, Snapshot, encode_list};
use saveos_engine::storage::recorded::{RecordedStorage, Sabotage};
use saveos_engine::verify;
use std::sync::Arc;
use support::disk::noise;
use tempfile::TempDir;

/// One chunk that lies, sealed with the right key: only a bug or a stolen key makes such a thing.
struct Lie {
    what: &'static str,
    codec: u8,
    plain_len: u32,
    stored: Vec<u8>,
}

fn lies() -> Vec<Lie> {
    let mut bomb = Vec::new();
    assert_eq!(Compressor::new(19).compress(&vec![0; 64 << 20], &mut bomb), Codec::Zstd);
    assert!(bomb.len() < 200_000);
    vec![
        Lie { what: "a bomb that says 4 KiB", codec: 1, plain_len: 4096, stored: bomb.clone() },
        Lie { what: "a bomb that says 64 MiB", codec: 1, plain_len: 64 << 20, stored: bomb },
        Lie { what: "4 GiB", codec: 1, plain_len: u32::MAX, stored: vec![1; 40] },
        Lie { what: "no frame", codec: 1, plain_len: 4096, stored: noise(1, 100) },
        Lie { what: "an unknown codec", codec: 9, plain_len: 4096, stored: vec![1; 4096] },
        Lie { what: "a length that is not there", codec: 0, plain_len: 4096, stored: vec![1; 4095] },
        Lie { what: "other bytes than its id", codec: 0, plain_len: 4096, stored: vec![1; 4096] },
        Lie { what: "nothing", codec: 0, plain_len: 0, stored: Vec::new() },
    ]
}

#[test]
fn chunks_that_lie_are_refused_without_filling_memory() {
    for lie in lies() {
        let chunk = ChunkId([0x42; 32]);
        let Lie { what, codec, plain_len, stored } = lie;
        let row = Row { chunk, slot: 0, offset: 0, stored_len: 0, plain_len, codec };
        let forged = |packer: &Packer<'_>| seal_unproven(packer.repository(), &row, &stored);
        assert_refused(what, forged, Content::Chunk(chunk));
    }
}

/// A pack with one chunk that nobody proved.
fn seal_unproven(repository: &Repository, row: &Row, stored: &[u8]) {
    let pack = OpenPack::new(repository.keys(), Suite::for_this_cpu(), Kind::Data);
    let slot = pack.draw(stored.len());
    let bound = Bound { slot, chunk: row.chunk, plain_len: row.plain_len, codec: row.codec };
    let mut sealed = stored.to_vec();
    pack.seal(&bound, &mut sealed);
    let mut file = PackFile::create(repository.storage(), &pack).unwrap();
    file.append(&bound, &sealed).unwrap();
    let (id, kind, size, chunks) = file.finish(&pack).unwrap().commit().unwrap();
    repository.index().insert_pack(id, kind, size, &chunks).unwrap();
}

#[test]
fn slices_that_reach_outside_are_refused() {
    let bytes = noise(5, 4096);
    let chunk = support::keys().chunk_id(&bytes);
    let store = |packer: &Packer<'_>| {
        packer.store(Kind::Data, chunk, &bytes, &mut Sealer::new(1)).unwrap();
    };
    let slice = |offset, len| Content::Runs { piece: chunk, runs: vec![Run::Slice { chunk, offset, len }] };
    assert_refused("a slice past the end", store, slice(1, 4096));
    assert_refused("a slice that begins far away", store, slice(u32::MAX - 4096, 4096));
    assert_refused("zeros where there were bytes", store, Content::Runs { piece: chunk, runs: vec![Run::Zeros(4096)] });
    let twice = vec![Run::Slice { chunk, offset: 0, len: 2048 }, Run::Slice { chunk, offset: 0, len: 2048 }];
    assert_refused("slices of another piece", store, Content::Runs { piece: chunk, runs: twice });
    assert_refused("a chunk nobody has", store, Content::Chunk(ChunkId([9; 32])));
}

/// A snapshot of one 4 KiB piece with this content restores with an error; verify or the restore names it; the honest one
/// beside it still restores.
fn assert_refused(what: &str, store: impl Fn(&Packer<'_>), content: Content) {
    let storage = support::fresh_medium(Sabotage::None);
    let index = TempDir::new().unwrap();
    let repository = support::open(&storage, index.path()).unwrap();
    let disk = support::disk::image(1, 1);
    let honest = support::snapshot_of(&repository, &disk, "nas");
    let (_, snapshot) = repository.find_snapshot(&honest.to_string()).unwrap();
    let extents = vec![Extent::new(0, 4096)];
    let forged =
        forge(&storage, &repository, snapshot, &store, &Entry { class: Class::Raw, extents, content: content.clone() });
    assert!(support::restored(&repository, &forged).is_err(), "{what} restored");
    let good = repository.find_snapshot(&honest.to_string()).unwrap().1;
    assert!(support::restored(&repository, &good).unwrap() == *disk, "{what} hurt another snapshot");
    let options = verify::Options { sample: 1.0, seed: 0, workers: 1 };
    let report = verify::run(&repository, None, &options, &|_, _| ()).unwrap();
    let only_the_forged = report.affected.len() == 1 && report.affected[0] != honest;
    assert!(only_the_forged, "{what}: verify found {:?}", report.problems);
}

fn forge(
    storage: &Arc<RecordedStorage>,
    repository: &Repository,
    like: Snapshot,
    store: &impl Fn(&Packer<'_>),
    entry: &Entry,
) -> Snapshot {
    let mut builder = Builder::new(0);
    builder.push(entry);
    let segment = builder.finish();
    let keys = repository.keys();
    let row = SegmentRef { window: 0, segment: keys.chunk_id(&segment) };
    let list = encode_list(&[row]);
    let list_id = keys.chunk_id(&list);
    storing(repository, None, |packer| {
        store(packer);
        let mut sealer = Sealer::new(1);
        packer.store(Kind::Metadata, row.segment, &segment, &mut sealer)?;
        packer.store(Kind::Metadata, list_id, &list, &mut sealer)?;
        Ok::<_, RepositoryError>(())
    })
    .unwrap();
    let forged = Snapshot { segment_lists: vec![list_id], segments: 1, sequence: like.sequence + 1, ..like };
    record::write(&**storage, keys, RecordKind::Snapshot, &forged).unwrap();
    forged
}
