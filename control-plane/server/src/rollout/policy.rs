//! What a person decides about a rollout before it begins: its rings, and what each must show.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which ring, from the first on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RingIndex(pub u8);

/// A part of a fleet or of a number of attempts, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Share(#[schemars(range(max = 1_000_000))] u32);

impl Share {
    /// Everything.
    pub const ALL: Share = Share(1_000_000);

    /// More than all is all.
    pub const fn millionths(count: u32) -> Share {
        Share(if count < Self::ALL.0 { count } else { Self::ALL.0 })
    }

    /// More than all is all.
    pub const fn percent(count: u32) -> Share {
        Share::millionths(count.saturating_mul(10_000))
    }

    /// From 0 to 1.
    pub fn as_rate(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ALL.0)
    }

    /// So many of `count`, rounded up.
    pub fn of(self, count: u32) -> u32 {
        let part = (u64::from(count) * u64::from(self.0)).div_ceil(u64::from(Self::ALL.0));
        u32::try_from(part).unwrap_or(count)
    }

    /// The highest place that is within it.
    pub(super) fn last_rank(self) -> u64 {
        // The product is below 2^84, and what is shifted out leaves 64 bits for everything but all.
        let end = (u128::from(self.0) << 64) / u128::from(Self::ALL.0);
        u64::try_from(end.saturating_sub(1)).unwrap_or(u64::MAX)
    }
}

/// A part of the fleet that is offered the release at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    /// What people call it.
    pub name: String,
    /// How much of the fleet runs the release after it, the rings before among it.
    pub up_to: Share,
    /// So many boxes of each hardware are in it at least, and must have run the release for `soak`.
    pub minimum: u32,
    /// Its offers are spread over so long a time.
    #[serde(rename = "spread_s", with = "seconds")]
    #[schemars(with = "u64")]
    pub spread: Duration,
    /// So long a box must have run the release before it counts for the next ring.
    #[serde(rename = "soak_s", with = "seconds")]
    #[schemars(with = "u64")]
    pub soak: Duration,
    /// The next ring opens when we are 95 % sure that no more than this share of attempts fails.
    pub worst: Share,
    /// A person must agree before it opens.
    pub approval: bool,
    /// Boxes with this tag are in it and in no other, whatever their place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

/// How a release reaches the fleet. What boxes beyond the open rings do is what the release is compared with, so a last ring of
/// a few per cent is a hold-back group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RolloutPolicy")]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// In the order in which they open.
    pub rings: Vec<Ring>,
    /// A good release fails on this share of boxes all the same: worn flash, a cut of power.
    pub usual_failures: Share,
    /// This share of boxes is unplugged while it tries a release.
    pub usual_silence: Share,
    /// How often a release that is no worse than usual may be halted by mistake.
    pub false_halts: Share,
    /// Boxes that may be between an offer and a verdict, for the sake of the line that serves the bundles.
    pub in_flight: u32,
    /// A box that is silent for so long in its trial is waited for: nobody else is offered the release if it were lost.
    #[serde(rename = "suspected_after_s", with = "seconds")]
    #[schemars(with = "u64")]
    pub suspected_after: Duration,
    /// A box that is silent for so long in its trial counts as lost, until it speaks again.
    #[serde(rename = "lost_after_s", with = "seconds")]
    #[schemars(with = "u64")]
    pub lost_after: Duration,
    /// It cannot wait: boxes are offered it, and restart into it, also outside their restart windows.
    #[serde(default)]
    pub at_once: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        let hours = |count: u64| Duration::from_secs(count * 3600);
        let ring = |name: &str, percent, minimum, spread, worst| Ring {
            name: name.to_owned(),
            up_to: Share::percent(percent),
            minimum,
            spread: hours(spread),
            soak: hours(48),
            worst: Share::percent(worst),
            approval: false,
            tag: None,
        };
        Policy {
            rings: vec![
                ring("canary", 1, 5, 24, 10),
                ring("early", 10, 10, 12, 5),
                ring("half", 50, 10, 24, 3),
                ring("most", 95, 10, 24, 3),
                ring("hold-back", 100, 0, 12, 3),
            ],
            usual_failures: Share::millionths(5_000),
            usual_silence: Share::millionths(3_000),
            false_halts: Share::millionths(9_500),
            in_flight: 2_000,
            suspected_after: Duration::from_secs(30 * 60),
            lost_after: hours(2),
            at_once: false,
        }
    }
}

/// Why a policy makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// None, or more than anybody can follow.
    #[error("a rollout has 1 to {max} rings, not {0}", max = Policy::MOST_RINGS)]
    Rings(usize),
    /// A ring would hold nobody, or the last one not everybody.
    #[error("ring {0} does not hold more of the fleet than the one before, or the last one not all of it")]
    Order(String),
    /// A name that tells nobody which ring is meant.
    #[error("ring `{0}` needs a name of its own, of 1 to 32 letters")]
    Name(String),
    /// A tag that no box can have, or one of two rings.
    #[error("the tag of ring `{0}` needs 1 to 40 bytes without commas and control characters, and belongs to one ring")]
    Tag(String),
    /// A rate at which nothing can be told.
    #[error("{0} must be above 0 and at most a fifth")]
    Rate(&'static str),
    /// The worst that a ring accepts is what is usual.
    #[error("ring {0} accepts no more failures than are usual: it would wait for ever")]
    Worst(String),
    /// Nothing could begin.
    #[error("in_flight is 0: nothing could begin")]
    NothingInFlight,
    /// The two times of silence.
    #[error("a box is lost no sooner than it is suspected, and neither at once")]
    Silence,
}

impl Policy {
    /// More are hard to follow.
    pub const MOST_RINGS: usize = 12;

    /// Whether a rollout can go by it.
    pub fn check(&self) -> Result<(), PolicyFault> {
        if self.rings.is_empty() || self.rings.len() > Self::MOST_RINGS {
            return Err(PolicyFault::Rings(self.rings.len()));
        }
        let mut before = Share(0);
        for (at, ring) in self.rings.iter().enumerate() {
            let length = ring.name.trim().chars().count();
            let is_known = self.rings[..at].iter().any(|other| other.name == ring.name);
            if length == 0 || length > 32 || ring.name.contains(char::is_control) || is_known {
                return Err(PolicyFault::Name(ring.name.chars().take(32).flat_map(char::escape_debug).collect()));
            }
            if let Some(tag) = &ring.tag {
                let is_known = self.rings[..at].iter().any(|other| other.tag == ring.tag);
                let is_wrong = |letter: char| letter == ',' || letter.is_control();
                if tag.trim() != tag || tag.is_empty() || tag.len() > 40 || tag.contains(is_wrong) || is_known {
                    return Err(PolicyFault::Tag(ring.name.clone()));
                }
            }
            if ring.up_to <= before {
                return Err(PolicyFault::Order(ring.name.clone()));
            }
            if ring.worst <= self.usual_failures {
                return Err(PolicyFault::Worst(ring.name.clone()));
            }
            before = ring.up_to;
        }
        if before != Share::ALL {
            return Err(PolicyFault::Order(self.rings.last().map(|ring| ring.name.clone()).unwrap_or_default()));
        }
        let fifth = Share::percent(20);
        for (rate, name) in [
            (self.usual_failures, "usual_failures"),
            (self.usual_silence, "usual_silence"),
            (self.false_halts, "false_halts"),
        ] {
            if rate == Share(0) || rate > fifth {
                return Err(PolicyFault::Rate(name));
            }
        }
        if self.in_flight == 0 {
            return Err(PolicyFault::NothingInFlight);
        }
        if self.suspected_after.is_zero() || self.lost_after < self.suspected_after {
            return Err(PolicyFault::Silence);
        }
        Ok(())
    }

    /// A ring that exists.
    pub fn ring(&self, index: RingIndex) -> Option<&Ring> {
        self.rings.get(usize::from(index.0))
    }
}

mod seconds {
    //! Durations as whole seconds, as their keys say.
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(time.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_policy_makes_sense_and_reads_back_as_it_was_written() {
        let policy = Policy::default();
        assert_eq!(policy.check(), Ok(()));
        let text = serde_json::to_string(&policy).expect("JSON");
        assert_eq!(serde_json::from_str::<Policy>(&text).expect("a policy"), policy);
        assert!(serde_json::from_str::<Policy>(&text.replacen("in_flight", "inflight", 1)).is_err());
    }

    #[test]
    fn each_fault_is_told() {
        type Spoil = fn(&mut Policy);
        let faults: [(Spoil, PolicyFault); 12] = [
            (|p| p.rings.clear(), PolicyFault::Rings(0)),
            (|p| p.rings[1].name = " ".into(), PolicyFault::Name(" ".into())),
            (|p| p.rings[1].name = "canary".into(), PolicyFault::Name("canary".into())),
            (|p| p.rings[1].name = "a\nb".into(), PolicyFault::Name("a\\nb".into())),
            (|p| p.rings[1].tag = Some("a,b".into()), PolicyFault::Tag("early".into())),
            (
                |p| p.rings.iter_mut().take(2).for_each(|ring| ring.tag = Some("lab".into())),
                PolicyFault::Tag("early".into()),
            ),
            (|p| p.rings[1].up_to = Share::percent(1), PolicyFault::Order("early".into())),
            (|p| p.rings[4].up_to = Share::percent(99), PolicyFault::Order("hold-back".into())),
            (|p| p.rings[2].worst = Share::millionths(5_000), PolicyFault::Worst("half".into())),
            (|p| p.usual_silence = Share(0), PolicyFault::Rate("usual_silence")),
            (|p| p.in_flight = 0, PolicyFault::NothingInFlight),
            (|p| p.lost_after = Duration::from_secs(60), PolicyFault::Silence),
        ];
        for (spoil, fault) in faults {
            let mut policy = Policy::default();
            spoil(&mut policy);
            assert_eq!(policy.check(), Err(fault));
        }
    }

    #[test]
    fn a_share_is_rounded_up_and_ends_where_it_should() {
        assert_eq!(Share::percent(1).of(1), 1);
        assert_eq!(Share::percent(1).of(250), 3);
        assert_eq!(Share::ALL.of(u32::MAX), u32::MAX);
        assert_eq!(Share::ALL.last_rank(), u64::MAX);
        assert_eq!(Share::percent(50).last_rank(), u64::MAX / 2);
    }
}
