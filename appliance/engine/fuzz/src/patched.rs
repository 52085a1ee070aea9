//! A real filesystem image with a few bytes changed: inputs are patches, so the fuzzer spends its time on structure and not
//! on inventing superblocks.

use saveos_engine::files;
use saveos_engine::fs::NodeKind;
use saveos_engine::layout::Layout;
use saveos_engine::read::Window;
use std::sync::{Arc, OnceLock};

/// Applies patches of the form `offset u24, length u8, bytes` to the base image.
fn patch(base: &[u8], mut input: &[u8]) -> Vec<u8> {
    let mut image = base.to_vec();
    while let Some((head, rest)) = input.split_first_chunk::<4>() {
        let at = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize % image.len();
        let len = (head[3] as usize % 64 + 1).min(rest.len()).min(image.len() - at);
        image[at..at + len].copy_from_slice(&rest[..len]);
        input = &rest[len..];
    }
    image
}

/// Surveys the patched image as a disk, and walks the files of whatever was found.
pub fn survey(base: &'static [u8], cache: &OnceLock<Vec<u8>>, input: &[u8]) {
    let base = cache.get_or_init(|| zstd::decode_all(base).expect("the base image is in the tree"));
    let image = Arc::new(patch(base, input));
    let layout = Layout::survey(&image, 512, &std::env::temp_dir()).expect("scratch files work");
    let mut end = 0;
    for piece in layout.pieces() {
        let piece = piece.expect("scratch files work");
        assert!(piece.rule.is_some() || piece.len() <= 256 * 1024, "a piece larger than a chunk");
        assert!(piece.start() >= end || piece.start() == end || end == 0 || piece.start() >= end, "pieces out of order");
        end = piece.start();
        for extent in &piece.extents {
            assert!(extent.len > 0 && extent.end() <= image.len() as u64, "a piece outside of the disk");
        }
    }
    for region in &layout.regions {
        let window = Window::new(Arc::clone(&image), region.start, region.len);
        let Ok(tree) = files::browse(Arc::new(window), region.filesystem) else { continue };
        let Ok(root) = tree.root() else { continue };
        let mut todo = vec![root];
        let mut buffer = vec![0; 4096];
        for _ in 0..64 {
            let Some(node) = todo.pop() else { break };
            let _ = tree.read(&node, 0, &mut buffer);
            if node.kind == NodeKind::Directory {
                let mut seen = 0;
                let _ = tree.list(&node, &mut |entry| {
                    todo.push(entry.node);
                    seen += 1;
                    seen < 64
                });
            }
        }
    }
}
