//! The committed JSON Schemas are those of the types. `SAVEOS_WRITE_SCHEMA=1 cargo test -p saveos-protocol --test
//! schema_is_current` writes them.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schema")
}

#[test]
fn the_committed_schemas_are_those_of_the_types() {
    let write = std::env::var_os("SAVEOS_WRITE_SCHEMA").is_some();
    for (name, schema) in saveos_protocol::schema::all() {
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).expect("a schema is JSON"));
        let path = folder().join(format!("{name}.json"));
        if write {
            let mut file = std::fs::File::create(&path).expect("a schema can be written");
            file.write_all(text.as_bytes()).expect("a schema can be written");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "schema/{name}.json is stale: see the head of this file");
    }
}

#[test]
fn no_schema_is_left_over() {
    let names: BTreeSet<String> =
        saveos_protocol::schema::all().into_iter().map(|(name, _)| format!("{name}.json")).collect();
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .expect("schema is there")
        .map(|entry| entry.expect("a folder can be listed").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(files, names);
}
