//! Two copies on a raw partition, so that one of them is whole whenever the power goes.
//!
//! A change writes the older copy, flushes, writes the other, flushes. A cut before the first flush leaves the other copy, which
//! holds what was; after it, the first holds what is. At rest both say the same, so that one may rot. The boot script writes the
//! older copy alone: it counts one try.

use crate::copy::{COPY_SIZE, Copy, Damage};
use crate::state::BootState;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Where the copies lie in the partition. A MiB apart: flash erases no two of them together.
pub const OFFSETS: [u64; 2] = [0, 1 << 20];

/// What holds the copies: the partition, or what a test puts in its place.
pub trait Disk {
    /// Fills `bytes` from `offset`.
    ///
    /// # Errors
    /// As the disk says.
    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// As the disk says.
    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Returns when all that was written is on the medium.
    ///
    /// # Errors
    /// As the disk says.
    fn flush(&mut self) -> io::Result<()>;
}

impl Disk for File {
    fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }

    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Why the state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk failed.
    #[error("could not {0} the boot state")]
    Io(&'static str, #[source] io::Error),
    /// Both copies are damaged: the boot script starts with what it takes for granted.
    #[error("both copies of the boot state are damaged: {0}; {1}")]
    Damaged(Damage, Damage),
}

/// The two copies.
#[derive(Debug)]
pub struct Store<D> {
    disk: D,
}

impl<D: Disk> Store<D> {
    /// On a disk.
    pub const fn on(disk: D) -> Store<D> {
        Store { disk }
    }

    fn copies(&self) -> Result<[Result<Copy, Damage>; 2], StoreError> {
        let read = |offset| {
            let mut bytes = vec![0; COPY_SIZE];
            self.disk.read(&mut bytes, offset).map_err(|error| StoreError::Io("read", error))?;
            Ok(Copy::decode(&bytes))
        };
        Ok([read(OFFSETS[0])?, read(OFFSETS[1])?])
    }

    /// The newest copy.
    ///
    /// # Errors
    /// When the disk fails, or both copies are damaged.
    pub fn load(&self) -> Result<BootState, StoreError> {
        match self.copies()? {
            [Ok(one), Ok(two)] => Ok(if two.sequence > one.sequence { two.state } else { one.state }),
            [Ok(copy), Err(_)] | [Err(_), Ok(copy)] => Ok(copy.state),
            [Err(one), Err(two)] => Err(StoreError::Damaged(one, two)),
        }
    }

    /// Writes a state, when it differs from what both copies say.
    ///
    /// # Errors
    /// When the disk fails: then the state is what it was, or what it should be.
    pub fn save(&mut self, state: BootState) -> Result<(), StoreError> {
        let copies = self.copies()?;
        if copies.iter().all(|copy| copy.as_ref().is_ok_and(|copy| copy.state == state)) {
            return Ok(());
        }
        let [one, two] = copies.map(|copy| copy.ok().map(|copy| copy.sequence));
        let bytes = Copy { sequence: one.max(two).map_or(1, |newest| newest.wrapping_add(1)), state }.encode();
        // What is damaged is older than anything.
        for offset in if one <= two { OFFSETS } else { [OFFSETS[1], OFFSETS[0]] } {
            self.disk.write(&bytes, offset).map_err(|error| StoreError::Io("write", error))?;
            self.disk.flush().map_err(|error| StoreError::Io("flush", error))?;
        }
        Ok(())
    }

    /// Loads, changes, saves. Damage to both copies is repaired from what the boot script takes for granted.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn change(&mut self, change: impl FnOnce(&mut BootState)) -> Result<(), StoreError> {
        let mut state = match self.load() {
            Err(StoreError::Damaged(..)) => BootState::default(),
            other => other?,
        };
        change(&mut state);
        self.save(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::tests::any_state;
    use crate::state::Slot;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    const SIZE: usize = (1 << 20) + COPY_SIZE;
    /// What a disk writes whole.
    const SECTOR: usize = 512;

    /// Everything that was written, in order; `None` is a flush.
    type Log = Rc<RefCell<Vec<Option<(Vec<u8>, u64)>>>>;

    struct Recorded {
        bytes: Vec<u8>,
        log: Log,
        flushes: bool,
    }

    impl Disk for Recorded {
        fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
            bytes.copy_from_slice(&self.bytes[offset as usize..offset as usize + bytes.len()]);
            Ok(())
        }

        fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
            self.bytes[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
            self.log.borrow_mut().push(Some((bytes.to_vec(), offset)));
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            if self.flushes {
                self.log.borrow_mut().push(None);
            }
            Ok(())
        }
    }

    fn empty() -> Vec<u8> {
        vec![0; SIZE]
    }

    fn read(bytes: Vec<u8>) -> Result<BootState, StoreError> {
        Store::on(Recorded { bytes, log: Log::default(), flushes: true }).load()
    }

    /// The disk before a change, and what the change wrote.
    fn change(before: &[u8], state: BootState, flushes: bool) -> Vec<Option<(Vec<u8>, u64)>> {
        let log = Log::default();
        Store::on(Recorded { bytes: before.to_vec(), log: Rc::clone(&log), flushes }).save(state).expect("it works");
        log.take()
    }

    fn saved(before: &[u8], state: BootState) -> Vec<u8> {
        let mut disk = before.to_vec();
        for (bytes, offset) in change(before, state, true).into_iter().flatten() {
            disk[offset as usize..offset as usize + bytes.len()].copy_from_slice(&bytes);
        }
        disk
    }

    /// What may lie on a disk whose power went: all that was flushed, and any sectors of what was not. `kept` chooses.
    fn after_a_cut(before: &[u8], log: &[Option<(Vec<u8>, u64)>], kept: &mut impl FnMut() -> bool) -> Vec<u8> {
        let flushed = log.iter().rposition(Option::is_none).map_or(0, |last| last + 1);
        let mut disk = before.to_vec();
        for (index, entry) in log.iter().enumerate() {
            let Some((bytes, offset)) = entry else { continue };
            for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                if index < flushed || kept() {
                    let at = *offset as usize + number * SECTOR;
                    disk[at..at + sector.len()].copy_from_slice(sector);
                }
            }
        }
        disk
    }

    proptest! {
        /// Whenever the power goes, the state is the old one or the new one: never another, never none.
        #[test]
        fn survives_power_cuts(old in any_state(), new in any_state(), cut in 0..5usize, seed: u64) {
            let before = saved(&empty(), old);
            let log = change(&before, new, true);
            let mut random = seed | 1;
            let mut kept = || { random ^= random << 13; random ^= random >> 7; random ^= random << 17; random & 1 == 1 };
            let disk = after_a_cut(&before, &log[..cut.min(log.len())], &mut kept);
            let found = read(disk).expect("one copy is whole");
            prop_assert!(found == old || found == new);
            if cut >= 2 { prop_assert_eq!(found, new, "it was flushed"); }
        }

        #[test]
        fn one_copy_may_rot(state in any_state(), at in 0..COPY_SIZE, second: bool) {
            let mut disk = saved(&saved(&empty(), BootState::factory()), state);
            disk[OFFSETS[usize::from(second)] as usize + at] ^= 0x40;
            prop_assert_eq!(read(disk).expect("the other is whole"), state);
        }
    }

    #[test]
    fn without_its_flushes_a_cut_can_take_both_copies() {
        let before = saved(&empty(), BootState::factory());
        let new = BootState { trial: Some(Slot::B), left: [3, 3], first: Slot::B, ..BootState::factory() };
        let log = change(&before, new, false);
        // The sector that changed of neither copy came, but a later one did of both: the checksum lies in the first.
        let mut sectors = 0;
        let torn = after_a_cut(&before, &log, &mut || {
            sectors += 1;
            sectors % (COPY_SIZE / SECTOR) != 1
        });
        assert_eq!(read(torn).expect("the rest is zeros in both"), BootState::factory());
        // As a disk with small sectors would tear it.
        let mut torn = before;
        for (bytes, offset) in log.into_iter().flatten() {
            torn[offset as usize..offset as usize + 40].copy_from_slice(&bytes[..40]);
        }
        assert!(matches!(read(torn), Err(StoreError::Damaged(..))));
    }

    #[test]
    fn what_is_already_so_is_not_written() {
        let before = saved(&empty(), BootState::factory());
        assert_eq!(change(&before, BootState::factory(), true), []);
    }

    #[test]
    fn two_damaged_copies_are_told_and_repaired_by_the_next_change() {
        assert!(matches!(read(empty()), Err(StoreError::Damaged(..))));
        let log = Log::default();
        let mut store = Store::on(Recorded { bytes: empty(), log, flushes: true });
        store.change(|state| state.mark_bad(Slot::B)).expect("it is repaired");
        assert_eq!(store.load().expect("whole").left, [3, 0]);
    }
}
