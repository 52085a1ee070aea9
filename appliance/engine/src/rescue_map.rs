//! A snapshot as a ddrescue map: what was read, what is bad, what was never tried. Another tool, or a lab, can go on from it.
//!
//! Format after the GNU ddrescue manual, "Mapfile structure": position, size, status (`+` read, `-` bad, `?` not tried).

use crate::backup::holes_of;
use crate::fs::Extent;
use crate::pack::read::ReadBuffers;
use crate::repository::{Repository, RepositoryError};
use crate::segment::Content;
use crate::snapshot::Snapshot;
use std::fmt::Write;

/// The map's text.
pub fn of(repository: &Repository, snapshot: &Snapshot) -> Result<String, RepositoryError> {
    let mut buffers = ReadBuffers::default();
    let mut parts: Vec<(Extent, char)> = Vec::new();
    for row in repository.read_segment_list(snapshot)? {
        for entry in repository.read_segment(&row.segment, &mut buffers)? {
            if !matches!(entry.content, Content::LeftOut(_) | Content::Hole(_)) {
                parts.extend(entry.extents.iter().map(|&extent| (extent, '+')));
            }
            parts.extend(holes_of(&entry).into_iter().map(|(_, extent)| (extent, '-')));
        }
    }
    Ok(text(parts, snapshot.source.size))
}

fn text(mut parts: Vec<(Extent, char)>, size: u64) -> String {
    // A hole inside a piece that was read comes after it and cuts it.
    parts.sort_by_key(|(extent, status)| (*status != '-', extent.start));
    let mut bad: Vec<Extent> = Vec::new();
    let mut good: Vec<Extent> = Vec::new();
    for (extent, status) in parts {
        match status {
            '-' => bad.push(extent),
            _ => good.push(extent),
        }
    }
    let mut edges: Vec<u64> =
        [0, size].into_iter().chain(bad.iter().chain(&good).flat_map(|e| [e.start, e.end()])).collect();
    edges.sort_unstable();
    edges.dedup();
    let mut text = String::from(
        "# Mapfile. Created by saveos\n# current_pos  current_status  current_pass\n0x00000000     +               1\n#      pos        size  status\n",
    );
    let mut line: Option<(u64, u64, char)> = None;
    let (mut next_bad, mut next_good) = (0, 0);
    for pair in edges.windows(2) {
        let (start, end) = (pair[0], pair[1]);
        let covers = |list: &[Extent], next: &mut usize| {
            while list.get(*next).is_some_and(|extent| extent.end() <= start) {
                *next += 1;
            }
            list.get(*next).is_some_and(|extent| extent.start <= start)
        };
        let status = match (covers(&bad, &mut next_bad), covers(&good, &mut next_good)) {
            (true, _) => '-',
            (_, true) => '+',
            _ => '?',
        };
        match &mut line {
            Some((_, until, same)) if *same == status => *until = end,
            _ => {
                flush(&mut text, line.replace((start, end, status)));
            }
        }
    }
    flush(&mut text, line);
    text
}

fn flush(text: &mut String, line: Option<(u64, u64, char)>) {
    if let Some((start, end, status)) = line {
        let _ = writeln!(text, "0x{start:08X}  0x{:08X}  {status}", end - start); // a String takes everything
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_cut_what_was_read() {
        let text = text(vec![(Extent::new(0, 4096), '+'), (Extent::new(512, 512), '-')], 8192);
        let lines: Vec<&str> = text.lines().skip(4).collect();
        assert_eq!(
            lines,
            [
                "0x00000000  0x00000200  +",
                "0x00000200  0x00000200  -",
                "0x00000400  0x00000C00  +",
                "0x00001000  0x00001000  ?"
            ]
        );
    }
}
