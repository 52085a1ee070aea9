//! The rules, without a disk: a slot that is new is tried a few times, one that proved itself is not counted at all.
//!
//! Counting every boot, as U-Boot's own boot limit does, turns three power cuts into a downgrade of a healthy box. So tries are
//! counted in a trial only; what rots later is found by the initramfs, which marks the slot bad.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How often a slot in trial is started.
pub const TRIES: u8 = 3;

/// One of the two places for a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub enum Slot {
    A,
    B,
}

impl Slot {
    /// The one that is not this.
    #[must_use]
    pub const fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Slot::A => "A",
            Slot::B => "B",
        })
    }
}

impl FromStr for Slot {
    type Err = ();

    fn from_str(text: &str) -> Result<Slot, ()> {
        match text {
            "A" => Ok(Slot::A),
            "B" => Ok(Slot::B),
            _ => Err(()),
        }
    }
}

/// What the next start erases, before anything is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wipe {
    /// Nothing.
    #[default]
    None,
    /// Network and local settings.
    Network,
    /// Whom it belongs to: it can be claimed anew. Backups stay.
    Pairing,
    /// Everything, backups included.
    Everything,
}

impl Wipe {
    /// All of them, by level.
    pub const LEVELS: [Wipe; 4] = [Wipe::None, Wipe::Network, Wipe::Pairing, Wipe::Everything];

    /// As it is written down: 0 to 3.
    #[must_use]
    pub const fn level(self) -> u8 {
        match self {
            Wipe::None => 0,
            Wipe::Network => 1,
            Wipe::Pairing => 2,
            Wipe::Everything => 3,
        }
    }
}

/// All that is remembered between two starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BootState {
    /// Which slot is looked at first.
    pub first: Slot,
    /// Tries left, of A and of B, 0 to 9. Of a slot that is not in trial: 0 is bad, anything else is good.
    pub left: [u8; 2],
    /// The slot whose tries are counted.
    pub trial: Option<Slot>,
    /// The slot that proved itself last: what a rescue starts from.
    pub confirmed: Slot,
    /// What the next start erases.
    pub wipe: Wipe,
}

impl Default for BootState {
    fn default() -> Self {
        BootState { first: Slot::A, left: [TRIES; 2], trial: None, confirmed: Slot::A, wipe: Wipe::None }
    }
}

/// What the boot script does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boots {
    /// It starts this slot,
    pub slot: Slot,
    /// to be repaired, for no slot is bootable,
    pub rescue: bool,
    /// after it wrote this down.
    pub writes: Option<BootState>,
}

impl BootState {
    /// A box as it leaves the factory: A holds a system, B none.
    #[must_use]
    pub fn factory() -> BootState {
        BootState { left: [TRIES, 0], ..BootState::default() }
    }

    /// Tries left of a slot.
    #[must_use]
    pub const fn left(&self, slot: Slot) -> u8 {
        self.left[slot as usize]
    }

    fn set_left(&mut self, slot: Slot, left: u8) {
        self.left[slot as usize] = left;
    }

    /// What the next start does.
    #[must_use]
    pub fn boots(&self) -> Boots {
        match self.primary() {
            Some(slot) if self.trial == Some(slot) => {
                let mut after = *self;
                after.set_left(slot, self.left(slot) - 1);
                Boots { slot, rescue: false, writes: Some(after) }
            }
            Some(slot) => Boots { slot, rescue: false, writes: None },
            None => Boots { slot: self.confirmed, rescue: true, writes: None },
        }
    }

    /// The slot that starts next, if one can.
    #[must_use]
    pub fn primary(&self) -> Option<Slot> {
        [self.first, self.first.other()].into_iter().find(|slot| self.left(*slot) > 0)
    }

    /// Makes a slot the next to start: in trial, unless it is the one that proved itself last.
    pub fn set_primary(&mut self, slot: Slot) {
        self.first = slot;
        let proven = slot == self.confirmed && self.left(slot) > 0;
        self.trial = if proven { None } else { Some(slot) };
        self.set_left(slot, TRIES);
    }

    /// A slot proved itself. A trial of the other that is used up is over.
    pub fn mark_good(&mut self, slot: Slot) {
        let awaited = self.trial == Some(slot.other()) && self.left(slot.other()) > 0;
        self.confirmed = slot;
        self.set_left(slot, TRIES);
        if !awaited {
            self.first = slot;
            self.trial = None;
        }
    }

    /// A slot must not start: it is about to be written, or it cannot be read.
    pub fn mark_bad(&mut self, slot: Slot) {
        self.set_left(slot, 0);
        self.first = slot.other();
        if self.trial == Some(slot) {
            self.trial = None;
        }
    }

    /// No slot could start, and time went by: the one that proved itself last gets one more try.
    pub fn revive(&mut self) {
        if self.primary().is_none() {
            self.first = self.confirmed;
            self.trial = Some(self.confirmed);
            self.set_left(self.confirmed, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Starts until the state no longer changes; the slots in the order they were started.
    fn starts(mut state: BootState) -> (Vec<Slot>, BootState) {
        let mut slots = Vec::new();
        loop {
            let boots = state.boots();
            slots.push(boots.slot);
            let Some(after) = boots.writes else { return (slots, state) };
            state = after;
        }
    }

    #[test]
    fn a_committed_slot_starts_for_ever_and_nothing_is_written() {
        let boots = BootState::factory().boots();
        assert_eq!(boots, Boots { slot: Slot::A, rescue: false, writes: None });
    }

    #[test]
    fn a_bad_update_is_tried_three_times_and_the_old_system_is_back() {
        let mut state = BootState::factory();
        state.mark_bad(Slot::B);
        state.set_primary(Slot::B);
        let (slots, mut state) = starts(state);
        assert_eq!(slots, [Slot::B, Slot::B, Slot::B, Slot::A]);
        state.mark_good(Slot::A);
        assert_eq!(state, BootState { left: [TRIES, 0], ..BootState::default() }, "and its traces are gone");
    }

    #[test]
    fn a_good_update_stays_and_the_old_one_waits() {
        let mut state = BootState::factory();
        state.set_primary(Slot::B);
        state = state.boots().writes.expect("a try is counted");
        assert_eq!(state.left(Slot::B), TRIES - 1);
        state.mark_good(Slot::B);
        assert_eq!(state.boots(), Boots { slot: Slot::B, rescue: false, writes: None });
        state.mark_bad(Slot::B);
        assert_eq!(state.boots().slot, Slot::A, "it rotted later");
    }

    #[test]
    fn the_running_slot_may_be_called_good_while_another_waits_for_its_trial() {
        let mut state = BootState::factory();
        state.set_primary(Slot::B);
        state.mark_good(Slot::A);
        assert_eq!((state.boots().slot, state.trial), (Slot::B, Some(Slot::B)));
    }

    #[test]
    fn a_rollback_to_what_proved_itself_last_needs_no_trial() {
        let mut state = BootState::factory();
        state.set_primary(Slot::B);
        state.set_primary(Slot::A);
        assert_eq!(state.boots(), Boots { slot: Slot::A, rescue: false, writes: None });
    }

    #[test]
    fn with_two_bad_slots_the_last_good_one_starts_to_be_repaired() {
        let state = BootState { left: [0, 0], confirmed: Slot::B, ..BootState::default() };
        assert_eq!(state.boots(), Boots { slot: Slot::B, rescue: true, writes: None });
        let mut revived = state;
        revived.revive();
        let (slots, rest) = starts(revived);
        assert_eq!((slots, rest.boots().rescue), (vec![Slot::B, Slot::B], true), "one try, then a rescue again");
        revived.mark_good(Slot::B);
        assert_eq!(revived.boots(), Boots { slot: Slot::B, rescue: false, writes: None });
    }

    proptest! {
        /// Whatever was done: starting again and again ends, within the tries of one slot, at a slot that is not counted.
        #[test]
        fn every_state_comes_to_rest(changes in prop::collection::vec((0..4u8, prop::bool::ANY), 0..12)) {
            let mut state = BootState::factory();
            for (change, second) in changes {
                let slot = if second { Slot::B } else { Slot::A };
                match change {
                    0 => state.set_primary(slot),
                    1 => state.mark_good(slot),
                    2 => state.mark_bad(slot),
                    _ => state = state.boots().writes.unwrap_or(state),
                }
                prop_assert!(state.trial.is_none_or(|slot| slot == state.first), "what is tried is what starts");
                let (slots, rest) = starts(state);
                prop_assert!(slots.len() <= 1 + usize::from(TRIES));
                prop_assert!(rest.boots().rescue == (rest.left == [0, 0]));
            }
        }
    }
}
