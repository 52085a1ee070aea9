//! An index of 30 million chunks: memory and reads of each look-up, in the order of storing and in none, and what it costs to
//! open it again.

use saveos_engine::chunk::ChunkId;
use saveos_engine::index::Index;
use saveos_engine::pack::build::{OpenPack, PackFile};
use saveos_engine::seal::{Bound, Keys, Kind, RepositoryId, RootKey, Suite};
use saveos_engine::storage::Storage;
use saveos_engine::storage::local::Local;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

const CHUNKS_PER_PACK: u64 = 65_536;

pub(crate) fn measure(part: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let chunks = 30_000_000 / part;
    let keys = Keys::derive(&RootKey::from_bytes([1; 32]), RepositoryId([2; 16]));
    let storage = Local::create(&folder.path().join("repository")).expect("an empty folder");
    let index_folder = folder.path().join("index");
    insert(chunks, &storage, &keys, &index_folder);

    let begun = Instant::now();
    let (index, refresh) = Index::open(&index_folder, &storage, &keys).expect("the index that was written");
    let (memory, known) = index.memory();
    println!(
        "  opened again in {:.2} s ({} of its packs read anew): {known} chunks, {:.2} bytes of RAM a chunk",
        begun.elapsed().as_secs_f64(),
        refresh.added,
        memory as f64 / known as f64
    );
    assert_eq!(refresh.added, 0, "an index that is whole is believed to be");
    assert!(memory as f64 / known as f64 <= 2.0, "more than 2 bytes of RAM a chunk");

    let count = 1_000_000.min(chunks);
    let look_up = Look { index: &index, storage: &storage, keys: &keys };
    let absent = look_up.all("absent", (0..count).map(|n| chunks + n), false);
    let in_order = look_up.all("present, in the order of storing", 0..count, true);
    assert!(absent <= 0.02 && in_order <= 0.02, "more than 0.02 reads a chunk");
    // Nobody stores in this order: it shows the price of the worst, one run and one table for each.
    let scattered = look_up.all("present, in no order", (0..count / 10).map(|n| n * 7_368_787 % chunks), true);
    assert!(scattered <= 3.0, "more than 3 reads a chunk in no order");
}

fn id(n: u64) -> ChunkId {
    ChunkId(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

fn insert(chunks: u64, storage: &dyn Storage, keys: &Keys, folder: &Path) {
    let (index, _) = Index::open(folder, storage, keys).expect("a new index");
    let begun = Instant::now();
    for first in (0..chunks).step_by(CHUNKS_PER_PACK as usize) {
        let pack = OpenPack::new(keys, Suite::for_this_cpu(), Kind::Data);
        let mut file = PackFile::create(storage, &pack).expect("room for the packs");
        for n in first..(first + CHUNKS_PER_PACK).min(chunks) {
            let bound = Bound { slot: pack.draw(1), chunk: id(n), plain_len: 1, codec: 0 };
            let mut sealed = vec![n as u8];
            pack.seal(&bound, &mut sealed);
            file.append(&bound, &sealed).expect("room for the packs");
        }
        let (id, kind, size, ids) = file.finish(&pack).and_then(|done| done.commit()).expect("room for the packs");
        index.insert_pack(id, kind, size, &ids).expect("room for the index");
    }
    index.flush().expect("room for the index");
    println!("index: {chunks} chunks stored and inserted in {:.0} s", begun.elapsed().as_secs_f64());
}

struct Look<'a> {
    index: &'a Index,
    storage: &'a dyn Storage,
    keys: &'a Keys,
}

impl Look<'_> {
    /// Looks all of them up and returns the reads for each.
    fn all(&self, what: &str, chunks: impl Iterator<Item = u64>, present: bool) -> f64 {
        let reads = || {
            let reads = &self.index.reads;
            reads.runs.load(Ordering::Relaxed) + reads.tables.load(Ordering::Relaxed)
        };
        let (before, begun, mut count) = (reads(), Instant::now(), 0u64);
        for n in chunks {
            let found = self.index.locate(self.storage, self.keys, &id(n)).expect("a readable index");
            assert_eq!(found.is_some(), present, "chunk {n}");
            count += 1;
        }
        let each = (reads() - before) as f64 / count as f64;
        println!(
            "  {what}: {each:.4} reads and {:.1} µs a look-up",
            begun.elapsed().as_secs_f64() * 1e6 / count as f64
        );
        each
    }
}
