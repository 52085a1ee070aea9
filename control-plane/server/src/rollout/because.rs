//! Why a rollout does what it does: a kind that a program reads, the numbers it was decided by, and words for people.

use super::policy::{RingIndex, Share};
use saveos_protocol::id::DeviceId;
use saveos_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Boxes of one hardware, or all.
type Whose = Option<u16>;

/// A reason with its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each number stands in the words below")]
pub enum Because {
    /// Nothing was tried yet.
    First,
    /// What a box of this release stored does not read back.
    Damaged { device: DeviceId },
    /// More attempts failed than usual.
    Failures { hardware: Whose, failed: u32, of: u32, evidence: f64, enough: f64 },
    /// More boxes fell silent in their trial than usual.
    Silence { hardware: Whose, lost: u32, of: u32, evidence: f64, enough: f64 },
    /// More boxes than usual could not install it.
    NotInstalled { failed: u32, of: u32, evidence: f64, enough: f64 },
    /// A person said so.
    ByHand { by: String },
    /// Boxes are silent in their trial: it would be halted if they were lost.
    Suspected { silent: u32, lost: u32, of: u32 },
    /// Boxes cannot fetch it.
    Hindered { boxes: u32, of: u32 },
    /// The ring has members that were not offered it yet.
    Offering {
        offered: u32,
        waiting: u32,
        away: u32,
        /// Of those that wait.
        #[serde(default)]
        closed: u32,
        until: Timestamp,
    },
    /// Boxes of one hardware have not run it for long enough.
    Soaking { hardware: u16, soaked: u32, needed: u32 },
    /// Too few attempts to be sure.
    Unsure { failed: u32, of: u32, at_most: f64, worst: Share },
    /// Backups fail on more boxes than beside.
    Backups { bad: u32, of: u32, other_bad: u32, other_of: u32, chance: f64 },
    /// A person has to agree to the next ring.
    Approval { ring: RingIndex },
    /// Every ring is through, and boxes never came to an end.
    Unfinished { boxes: u32 },
    /// The ring showed what it had to.
    Shown { failed: u32, of: u32, at_most: f64 },
}

impl Because {
    /// In words, with the names of the hardware by its numbers.
    pub fn worded<'a>(&'a self, names: &'a [String]) -> impl fmt::Display + 'a {
        Worded(self, names)
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Worded(self, &[]).fmt(f)
    }
}

struct Worded<'a>(&'a Because, &'a [String]);

impl fmt::Display for Worded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.1;
        match self.0 {
            Because::First => write!(f, "nothing was tried yet"),
            Because::Damaged { device } => write!(f, "what {device} stored with this release does not read back"),
            Because::Failures { hardware, failed, of, evidence, enough } => {
                write!(f, "it failed on {failed} of {of} boxes{} that started it: ", Of(*hardware, names))?;
                write!(f, "{evidence:.0} times likelier with a bad release, {enough:.0} is enough")
            }
            Because::Silence { hardware, lost, of, evidence, enough } => {
                write!(f, "{lost} of {of} boxes{} that started it fell silent: ", Of(*hardware, names))?;
                write!(f, "{evidence:.0} times likelier with a bad release, {enough:.0} is enough")
            }
            Because::NotInstalled { failed, of, evidence, enough } => {
                write!(f, "{failed} of {of} boxes that were offered it could not install it: ")?;
                write!(f, "{evidence:.0} times likelier with a bad bundle, {enough:.0} is enough")
            }
            Because::ByHand { by } => write!(f, "{by} said so"),
            Because::Suspected { silent, lost, of } => {
                write!(
                    f,
                    "{silent} of {of} boxes are silent in their trial and {lost} are lost: it is seen first whether they return"
                )
            }
            Because::Hindered { boxes, of } => write!(f, "{boxes} of {of} boxes cannot fetch or read it"),
            Because::Offering { offered, waiting, away, closed, until } => {
                write!(f, "{offered} boxes of the ring were offered it, {waiting} will be until {until}")?;
                if *closed > 0 {
                    write!(f, " ({closed} of them not before their restart window)")?;
                }
                write!(f, ", {away} cannot be reached")
            }
            Because::Soaking { hardware, soaked, needed } => {
                write!(f, "{soaked} of {needed} boxes{} have run it for long enough", Of(Some(*hardware), names))
            }
            Because::Unsure { failed, of, at_most, worst } => write!(
                f,
                "{failed} of {of} attempts failed: up to {:.1} % may, and {:.1} % is the most that is accepted",
                at_most * 100.0,
                worst.as_rate() * 100.0
            ),
            Because::Backups { bad, of, other_bad, other_of, chance } => write!(
                f,
                "backups failed on {bad} of {of} boxes with it and on {other_bad} of {other_of} without: by chance in {:.2} %",
                chance * 100.0
            ),
            Because::Approval { ring } => write!(f, "a person has to agree to ring {}", ring.0 + 1),
            Because::Unfinished { boxes } => {
                write!(f, "{boxes} boxes were offered it 90 days ago or earlier, and neither confirmed it nor failed")
            }
            Because::Shown { failed, of, at_most } => {
                write!(
                    f,
                    "{failed} of {of} attempts failed, with 95 % confidence no more than {:.1} % do",
                    at_most * 100.0
                )
            }
        }
    }
}

/// Boxes of which hardware; by its number where it has no name.
struct Of<'a>(Whose, &'a [String]);

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.map(|number| (number, self.1.get(usize::from(number)))) {
            Some((_, Some(name))) => write!(f, " of {name}"),
            Some((number, None)) => write!(f, " of hardware {number}"),
            None => Ok(()),
        }
    }
}
