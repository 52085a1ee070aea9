//! Damage, at random and on purpose: nothing may panic, loop, or take memory without bound.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::find;
use super::image::tools_or_skip;
use super::patched::{attribute_at, record_at, small};
use super::told::Told;
use saveos_engine::fs::{Node, NodeKind, Tree, ntfs};

/// Per damaged image; a sane one takes a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

struct Rng(u64);

impl Rng {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % below
    }
}

/// Survey, check, walk and read; what comes of it does not matter.
fn use_it(bytes: Vec<u8>) {
    let started = Instant::now();
    let mut told = Told::default();
    let _ = ntfs::survey(&bytes, &mut told);
    let _ = ntfs::check(&bytes);
    if let Ok(tree) = ntfs::browse(Arc::new(bytes)) {
        let mut todo: Vec<Node> = tree.root().into_iter().collect();
        let mut steps = 0;
        while let Some(node) = todo.pop().filter(|_| steps < 300) {
            steps += 1;
            if node.kind == NodeKind::Directory {
                let _ = tree.list(&node, &mut |entry| {
                    todo.push(entry.node);
                    todo.len() < 1000
                });
                let _ = tree.lookup(&node, b"data.bin:stream");
            } else {
                let mut buf = [0; 5000];
                for offset in [0, 4096, node.size / 2, node.size.saturating_sub(9), u64::MAX - 3] {
                    let _ = tree.read(&node, offset, &mut buf);
                }
            }
        }
    }
    assert!(started.elapsed() < PATIENCE, "took {:?}", started.elapsed());
}

#[test]
fn damage_at_random_never_panics() {
    if !tools_or_skip("damage at random") {
        return;
    }
    let (clean, _) = small();
    let told = Told::by_surveying(&clean);
    // The log is never parsed beyond its head, so damage is better spent elsewhere.
    let targets: Vec<_> = told.meta.iter().filter(|at| clean[at.start as usize] != 0xFF).collect();
    let records: Vec<usize> = (0..100).map(|number| record_at(&clean, number)).collect();
    let mut rng = Rng(0x5EED);
    for _ in 0..3000 {
        let mut bytes = clean.clone();
        for _ in 0..=rng.next(12) {
            let at = match rng.next(8) {
                0 => rng.next(90),
                1..=5 => {
                    // Headers and attributes of records, away from the guards, so that the damage is looked at.
                    let record = records[rng.next(records.len())];
                    record + [rng.next(510), rng.next(400)][rng.next(2)]
                }
                _ => {
                    let target = targets[rng.next(targets.len())];
                    target.start as usize + rng.next(target.len as usize)
                }
            };
            bytes[at] = match rng.next(4) {
                0 => 0xFF,
                1 => 0,
                2 => bytes[at] ^ 1 << rng.next(8),
                _ => rng.next(256) as u8,
            };
        }
        use_it(bytes);
    }
}

#[test]
fn a_list_that_names_its_own_record_ends() {
    if !tools_or_skip("own record") {
        return;
    }
    let (clean, _) = small();
    let tree = ntfs::browse(Arc::new(clean.clone())).unwrap();
    let node = find(&*tree, "left.bin");
    let record = record_at(&clean, node.id.0);
    let list = attribute_at(&clean, record, 0x20);
    // Every entry of the list names the file itself, then its neighbour, then a record that is not there.
    assert_eq!(clean[list + 8], 1, "ntfs-3g keeps lists in clusters");
    let pairs = list + usize::from(u16::from_le_bytes(clean[list + 32..list + 34].try_into().unwrap()));
    let width = usize::from(clean[pairs] >> 4);
    assert_eq!(clean[pairs] & 15, 1);
    let lcn = clean[pairs + 2..pairs + 2 + width].iter().rev().fold(0, |lcn, byte| lcn << 8 | usize::from(*byte));
    let len = u64::from_le_bytes(clean[list + 48..list + 56].try_into().unwrap()) as usize;
    for number in [node.id.0, node.id.0 + 1, 0, 1 << 40] {
        let mut bytes = clean.clone();
        let mut at = lcn * 1024;
        while at + 26 < lcn * 1024 + len {
            bytes[at + 16..at + 22].copy_from_slice(&number.to_le_bytes()[..6]);
            at += usize::from(bytes[at + 4]);
        }
        let told = Told::by_surveying(&bytes);
        assert!(!told.doubts.is_empty());
        use_it(bytes);
    }
}

#[test]
fn an_endless_volume_in_the_boot_sector_is_refused() {
    let mut boot = vec![0u8; 4096];
    boot[3..11].copy_from_slice(b"NTFS    ");
    boot[11..14].copy_from_slice(&[0, 2, 8]);
    boot[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
    boot[64] = 0xF6;
    assert!(ntfs::probe(&boot));
    use_it(boot.clone());
    assert!(ntfs::survey(&boot, &mut Told::default()).is_err());
    assert!(!ntfs::probe(&vec![0u8; 100]));
    let tree: Result<Box<dyn Tree>, _> = ntfs::browse(Arc::new(Vec::new()));
    assert!(tree.is_err());
}
