//! Time of the operations every chunk goes through: hash, compress, seal, look up. `cargo bench -p saveos-engine`.

#![expect(missing_docs, reason = "the macros of criterion write a public function")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use saveos_engine::chunk::{ChunkId, Compressor, DATA_MAX};
use saveos_engine::index::run::{self, Position, RunEntry};
use saveos_engine::seal::{Bound, Keys, Kind, PackId, RepositoryId, RootKey, Suite};
use std::hint::black_box;

fn keys() -> Keys {
    Keys::derive(&RootKey::from_bytes([1; 32]), RepositoryId([2; 16]))
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

fn chunk(bench: &mut Criterion) {
    let keys = keys();
    let text = "words that come again and again, and some that do not ".repeat(DATA_MAX / 50);
    let inputs = [("noise", noise(DATA_MAX)), ("text", text.as_bytes()[..DATA_MAX].to_vec())];
    let mut group = bench.benchmark_group("chunk");
    group.throughput(Throughput::Bytes(DATA_MAX as u64));
    for (name, bytes) in &inputs {
        group.bench_with_input(BenchmarkId::new("hash", name), bytes, |b, bytes| {
            b.iter(|| keys.chunk_id(black_box(bytes)))
        });
        let mut compressor = Compressor::new(saveos_engine::backup::DEFAULT_LEVEL);
        let mut out = Vec::new();
        group.bench_with_input(BenchmarkId::new("compress", name), bytes, |b, bytes| {
            b.iter(|| {
                out.clear();
                compressor.compress(black_box(bytes), &mut out)
            });
        });
    }
    group.finish();
}

fn seal(bench: &mut Criterion) {
    let plain = noise(DATA_MAX);
    let mut group = bench.benchmark_group("seal");
    group.throughput(Throughput::Bytes(DATA_MAX as u64));
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let pack = keys().pack(PackId([3; 24]), suite, Kind::Data);
        let bound = Bound { slot: 0, chunk: ChunkId([4; 32]), plain_len: DATA_MAX as u32, codec: 0 };
        group.bench_function(format!("{suite:?}"), |b| {
            let mut sealed = plain.clone();
            b.iter(|| {
                sealed.truncate(DATA_MAX);
                // The key is thrown away with the bench: repeating a nonce reveals nothing here.
                pack.seal_chunk(&bound, black_box(&mut sealed), 0);
            });
        });
    }
    group.finish();
}

fn index(bench: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let entry = |n: u64| RunEntry {
        prefix: *blake3::hash(&n.to_le_bytes()).as_bytes().first_chunk().expect("a hash has 32 bytes"),
        position: Position { pack: n as u32, slot: 0 },
    };
    let mut entries: Vec<RunEntry> = (0..1_000_000).map(entry).collect();
    entries.sort_unstable();
    let run =
        run::write(&folder.path().join("run"), "run", 1_000_000, entries.into_iter().map(Ok)).expect("room for 24 MB");
    let mut n = 0;
    bench.bench_function("index/absent", |b| {
        b.iter(|| {
            n += 1;
            run.may_hold(&entry(1_000_000 + n).prefix)
        });
    });
    bench.bench_function("index/present", |b| {
        b.iter(|| {
            n += 1;
            run.find(&entry(n % 1_000_000).prefix).expect("the run is readable").len()
        });
    });
}

criterion_group!(benches, chunk, seal, index);
criterion_main!(benches);
