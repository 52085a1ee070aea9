#![no_main]
//! Hostile records: the sealed frame, and the JSON that an authentic one holds.

use libfuzzer_sys::fuzz_target;
use saveos_engine::record::{RecordKind, open};
use saveos_engine::seal::{Keys, RepositoryId, RootKey};
use saveos_engine::snapshot::Snapshot;

fuzz_target!(|input: &[u8]| {
    let keys = Keys::derive(&RootKey::from_bytes([1; 32]), RepositoryId([2; 16]));
    assert!(open(&keys, RecordKind::Snapshot, input).is_err(), "nobody guesses a sealed record");
    if let Ok(snapshot) = serde_json_from(input) {
        let _ = saveos_engine::retention::plan(&[(saveos_engine::snapshot::SnapshotId([0; 32]), snapshot)], &Default::default(), 0);
    }
});

fn serde_json_from(input: &[u8]) -> Result<Snapshot, saveos_engine::record::NotJson> {
    saveos_engine::record::parse(input)
}
