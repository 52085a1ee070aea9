//! Since when each cell is heard, and what was missed: silence of a box counts only while somebody listened where it talks.

use super::Cell;
use saveos_protocol::time::Timestamp;
use std::collections::BTreeMap;

/// One cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ear {
    /// Whether somebody hears it now.
    pub(crate) connected: bool,
    /// The last time in which nobody did.
    pub(crate) deaf: Option<(Timestamp, Timestamp)>,
}

/// All cells that were ever heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ears(BTreeMap<Cell, Ear>);

impl Ears {
    pub(crate) fn set(&mut self, cell: &Cell, ear: Ear) {
        self.0.insert(cell.clone(), ear);
    }

    /// Whoever spoke last says nothing any more.
    pub(crate) fn forget(&mut self) {
        self.0.values_mut().for_each(|ear| ear.connected = false);
    }

    pub(crate) fn of(&self, cell: &str) -> Ear {
        self.0.iter().find(|(name, _)| name.as_str() == cell).map_or_else(Ear::default, |(_, ear)| *ear)
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = (&Cell, Ear)> {
        self.0.iter().map(|(cell, ear)| (cell, *ear))
    }

    /// Whether there is one, and each is heard: what is decided by silence waits until then.
    pub(crate) fn hear_all(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(|ear| ear.connected)
    }

    /// The time without ears in a cell; while nobody hears it, it goes on.
    pub(crate) fn deaf(&self, cell: &str, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        match self.of(cell) {
            Ear { connected: true, deaf } => deaf,
            Ear { connected: false, deaf } => Some((deaf.map_or(now, |(from, _)| from), now)),
        }
    }
}

#[cfg(test)]
impl From<Ear> for Ears {
    fn from(ear: Ear) -> Ears {
        Ears([(Cell::main(), ear)].into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::saturating(seconds * 1000)
    }

    #[test]
    fn one_cell_that_is_deaf_excuses_its_own_boxes_and_no_others() {
        let north: Cell = "north".parse().expect("a name");
        let mut ears = Ears::from(Ear { connected: true, deaf: None });
        assert!(ears.hear_all());
        ears.set(&north, Ear { connected: false, deaf: Some((at(100), at(110))) });
        assert!(!ears.hear_all() && !Ears::default().hear_all());
        assert_eq!(ears.deaf("main", at(500)), None);
        assert_eq!(ears.deaf("north", at(500)), Some((at(100), at(500))), "it goes on");
        assert_eq!(ears.deaf("of nobody", at(500)), Some((at(500), at(500))), "nothing is known to have been missed");
    }
}
