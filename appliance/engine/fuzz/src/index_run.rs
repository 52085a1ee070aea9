#![no_main]
//! Hostile runs of the index, as if their digest were right: what they say is a hint, and asking them never fails worse than by
//! an error.

use libfuzzer_sys::fuzz_target;
use saveos_engine::index::run::Run;
use std::io::Write;

fuzz_target!(|input: &[u8]| {
    let Ok(mut file) = tempfile::NamedTempFile::new_in("/dev/shm") else { return };
    // Filter and fences have to fit the count, else nothing more is read: most inputs get a head that does.
    let count = (input.len() / 24) as u64;
    let (words, fences) = ((count * 14).div_ceil(64).max(1), count.div_ceil(170));
    let numbers = [count, words, fences].map(u64::to_le_bytes).concat();
    let front: Vec<u8> = input.iter().copied().cycle().take(8 * (words + fences) as usize).collect();
    let head = if input.first().is_some_and(|byte| byte % 8 == 0) {
        Vec::new()
    } else {
        [&b"SVOSRUN2"[..], &numbers, &front].concat()
    };
    let body = if head.is_empty() { input } else { &input[..count as usize * 24] };
    if file.write_all(&[&head, body, &[0; 32][..]].concat()).is_err() {
        return;
    }
    let Ok(run) = Run::open(file.path(), "run") else { return };
    let known: Vec<_> = run.entries().into_iter().flatten().take(1000).flatten().collect();
    for entry in &known {
        let _ = run.may_hold(&entry.prefix);
        let _ = run.find(&entry.prefix);
    }
    let _ = run.find(&[0xff; 16]);
});
