//! A snapshot in the control plane's words. Names of files stay here.

use saveos_engine::layout::Region;
use saveos_engine::layout::identify::Filesystem;
use saveos_engine::seal::RepositoryId;
use saveos_engine::segment::Cause;
use saveos_engine::snapshot::{self, Snapshot, SnapshotId, State};
use saveos_protocol::fact::{BackupSummary, HoleCause, HoleNote, Note, PartitionUse, SnapshotState};
use saveos_protocol::hex;
use saveos_protocol::text::{Mark, Text};
use saveos_protocol::unit::{Bytes, Count};
use std::collections::BTreeSet;

/// What a backup has to say.
pub(crate) fn summary(repository: RepositoryId, id: SnapshotId, snapshot: &Snapshot) -> BackupSummary {
    let told = &snapshot.summary;
    let notes = told.regions.iter().flat_map(|region| {
        region.doubts.iter().chain(&region.notes).map(|text| Note {
            partition: region.partition.map(Count::from),
            filesystem: Mark::cut(&region.filesystem.to_string()),
            text: Text::cut(text),
        })
    });
    BackupSummary {
        snapshot: hex::SnapshotId(id.0),
        previous: snapshot.previous.map(|id| hex::SnapshotId(id.0)),
        repository: hex::RepositoryId(repository.0),
        writer: hex::WriterId(snapshot.writer.0),
        sequence: Count::saturating(snapshot.sequence),
        state: match snapshot.state {
            State::Complete => SnapshotState::Complete,
            State::Partial => SnapshotState::Partial,
            State::Torn => SnapshotState::Torn,
            State::Live => SnapshotState::Live,
        },
        bytes_read: Bytes::saturating(told.bytes_read),
        bytes_new: Bytes::saturating(told.bytes_new),
        bytes_stored: Bytes::saturating(told.bytes_stored),
        hole_bytes: Bytes::saturating(told.hole_bytes),
        holes: told
            .holes
            .iter()
            .map(|hole| HoleNote {
                start_bytes: Bytes::saturating(hole.start),
                length_bytes: Bytes::saturating(hole.len),
                cause: match hole.cause {
                    Cause::Unreadable => HoleCause::Unreadable,
                    Cause::Lost => HoleCause::Lost,
                },
            })
            .collect(),
        hole_files: Some(Count::saturating(files_in(&told.holes))),
        used: told.regions.iter().filter_map(used).collect(),
        left_out_bytes: Bytes::saturating(told.left_out_bytes),
        notes: notes.collect(),
    }
}

/// One that is not understood, or doubted, is all used: that tells nothing. A disk without a table is its own partition 0, as
/// where it is identified.
fn used(region: &Region) -> Option<PartitionUse> {
    let partition = Count::from(region.partition.unwrap_or(0));
    let parsed = matches!(region.filesystem, Filesystem::Ext | Filesystem::Ntfs | Filesystem::Fat | Filesystem::Exfat);
    let known = parsed && region.doubts.is_empty();
    known.then(|| PartitionUse {
        partition,
        used_bytes: Bytes::saturating(region.len.saturating_sub(region.bytes.free)),
    })
}

/// A file that lies in many holes is one file; what lies in none that is known is not counted.
fn files_in(holes: &[snapshot::HoleNote]) -> u64 {
    holes.iter().filter_map(|hole| hole.file.as_deref()).collect::<BTreeSet<_>>().len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(filesystem: Filesystem, partition: Option<u32>) -> Region {
        let mut region = Region {
            partition,
            start: 1 << 20,
            len: 100 << 20,
            filesystem,
            name: String::new(),
            doubts: Vec::new(),
            more_doubts: 0,
            notes: Vec::new(),
            bytes: Default::default(),
        };
        region.bytes.free = 30 << 20;
        region
    }

    #[test]
    fn only_a_file_system_that_was_read_says_how_full_it_is() {
        let told = used(&region(Filesystem::Ext, Some(2))).expect("it was read");
        assert_eq!((told.partition.get(), told.used_bytes.get()), (2, 70 << 20));
        let alone = used(&region(Filesystem::Fat, None)).expect("a stick without a table");
        assert_eq!(alone.partition, Count::ZERO);
        for other in [Filesystem::Gap, Filesystem::Swap, Filesystem::Btrfs, Filesystem::Unknown] {
            assert_eq!(used(&region(other, Some(2))), None, "{other}");
        }
        let mut doubted = region(Filesystem::Ntfs, Some(1));
        doubted.doubts.push("a run lies behind the end".to_owned());
        assert_eq!(used(&doubted), None, "it was read whole");
    }

    #[test]
    fn a_file_in_two_holes_is_one_file() {
        let hole = |file: Option<&str>| snapshot::HoleNote {
            start: 0,
            len: 512,
            cause: Cause::Unreadable,
            file: file.map(str::to_owned),
        };
        let holes = [hole(Some("1:/a")), hole(None), hole(Some("1:/a")), hole(Some("2:/a"))];
        assert_eq!(files_in(&holes), 2);
    }
}
