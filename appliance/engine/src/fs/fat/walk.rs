//! Follows the clusters of one file, and ends however the chain is made.
//!
//! A chain that returns into itself is noticed after at most three times its length (Brent's way), without memory.

use super::table::{Link, Table};
use super::volume::{Heap, Place};
use crate::fs::FsError;

/// The clusters of one file, one after the other.
pub(in crate::fs) struct Walk<'t> {
    heap: Heap,
    way: Way<'t>,
    next: Option<u32>,
}

enum Way<'t> {
    Chain {
        table: &'t Table<'t>,
        /// A cluster that was passed; meeting it again means a loop.
        mark: u32,
        /// Steps since then, and steps until the mark is moved on.
        steps: u64,
        power: u64,
    },
    Contiguous {
        left: u64,
    },
}

impl<'t> Walk<'t> {
    pub(super) fn new(heap: Heap, table: &'t Table<'t>, place: Place) -> Self {
        match place {
            Place::Chain(first) => {
                Self { heap, way: Way::Chain { table, mark: first, steps: 0, power: 1 }, next: Some(first) }
            }
            Place::Contiguous(first, count) => {
                Self { heap, way: Way::Contiguous { left: count }, next: (count > 0).then_some(first) }
            }
        }
    }

    /// The next cluster, which exists and, in a chain, is in use. After an error there are no more.
    pub(in crate::fs) fn next(&mut self) -> Result<Option<u32>, FsError> {
        let Some(here) = self.next.take() else { return Ok(None) };
        if !self.heap.holds(here) {
            return Err(FsError::Damaged(format!("cluster {here} lies outside the volume")));
        }
        match &mut self.way {
            Way::Contiguous { left } => {
                *left = left.saturating_sub(1);
                self.next = here.checked_add(1).filter(|_| *left > 0);
            }
            Way::Chain { table, mark, steps, power } => match table.link(here)? {
                Link::End => {}
                Link::Next(next) => {
                    if next == *mark {
                        return Err(FsError::Damaged(format!("the chain returns to cluster {next}")));
                    }
                    *steps += 1;
                    if *steps == *power {
                        (*mark, *steps, *power) = (next, 0, power.saturating_mul(2));
                    }
                    self.next = Some(next);
                }
                Link::Free => return Err(FsError::Damaged(format!("the chain leads to the free cluster {here}"))),
                Link::Bad => return Err(FsError::Damaged(format!("the chain leads to the bad cluster {here}"))),
                Link::Reserved => {
                    return Err(FsError::Damaged(format!("what follows cluster {here} is a reserved number")));
                }
            },
        }
        Ok(Some(here))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::table::Width;
    use super::*;

    fn clusters(entries: &[u32], place: Place) -> (Vec<u32>, bool) {
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        let clusters = entries.len() as u32 - 2;
        let table = Table::new(Arc::new(bytes), Width::TwentyEight, vec![0], clusters);
        let mut walk = Walk::new(Heap { start: 0, cluster: 512, clusters }, &table, place);
        let mut seen = Vec::new();
        loop {
            match walk.next() {
                Ok(Some(cluster)) => seen.push(cluster),
                Ok(None) => return (seen, true),
                Err(_) => return (seen, false),
            }
        }
    }

    const END: u32 = 0x0FFF_FFFF;

    #[test]
    fn chains_end_where_they_end() {
        assert_eq!(clusters(&[0, 0, 4, END, 3], Place::Chain(2)), (vec![2, 4, 3], true));
        assert_eq!(clusters(&[0, 0, 4, END, 0], Place::Chain(2)), (vec![2], false));
        assert_eq!(clusters(&[0, 0, 9, END], Place::Chain(2)), (vec![2], false));
        assert_eq!(clusters(&[0, 0, END], Place::Chain(1)), (vec![], false));
        assert_eq!(clusters(&[0, 0, 0, 0, 0], Place::Contiguous(3, 2)), (vec![3, 4], true));
        assert_eq!(clusters(&[0, 0, 0, 0, 0], Place::Contiguous(3, 3)), (vec![3, 4], false));
        assert_eq!(clusters(&[0, 0, 0], Place::Contiguous(9, 0)), (vec![], true));
    }

    #[test]
    fn a_loop_costs_three_times_its_length() {
        for (tail, ring) in [(0, 1), (0, 2), (1, 1), (5, 100), (1000, 7), (0, 1000)] {
            let len = tail + ring;
            let mut entries: Vec<u32> = (1..len + 3).collect();
            entries[len as usize + 1] = tail + 2;
            let (seen, ended) = clusters(&entries, Place::Chain(2));
            assert!(!ended && seen.len() as u32 <= 3 * len, "{tail} {ring}: {}", seen.len());
        }
    }
}
