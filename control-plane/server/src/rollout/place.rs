//! Where a box stands in a rollout: two numbers from a keyed hash of its name, so that nobody stores them and anybody who has the
//! salt can compute them again. `openssl mac -digest SHA256 -macopt hexkey:SALT HMAC` over the name of the box gives them:
//! bytes 0–7 are its rank, bytes 8–15 its start, both big-endian.
//!
//! A ring takes the lowest ranks of **each** hardware, so a ring of one per cent cannot miss a board revision. Where it ends in
//! each is found once, when the ring opens, and kept in the log; a wider ring ends later and loses nobody.

use super::log::Stratum;
use super::policy::Ring;
use aws_lc_rs::hmac;
use saveos_protocol::id::DeviceId;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Of one rollout, so that it is not always the same customers who come first.
#[derive(Clone, Debug)]
pub struct Salt(hmac::Key);

/// Where a box stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The lower, the earlier its ring.
    pub rank: u64,
    /// The lower, the earlier in its ring.
    pub start: u64,
}

impl Salt {
    /// From 32 random bytes.
    pub fn new(bytes: &[u8; 32]) -> Salt {
        Salt(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Where `device` stands.
    pub fn place(&self, device: DeviceId) -> Place {
        let mut name = String::with_capacity(32);
        // Writing to a string does not fail.
        let _ = write!(name, "{device}");
        let tag = hmac::sign(&self.0, name.as_bytes());
        let number = |from: usize| {
            let bytes = tag.as_ref().get(from..from + 8).and_then(|bytes| bytes.try_into().ok());
            u64::from_be_bytes(bytes.expect("a tag of HMAC-SHA256 has 32 bytes"))
        };
        Place { rank: number(0), start: number(8) }
    }
}

/// Where `ring` ends in each hardware: its share of the boxes of each, exactly, and no fewer than its minimum or half of
/// them.
pub fn edges(ring: &Ring, fleet: impl IntoIterator<Item = (u16, Place)>) -> Vec<Stratum> {
    let mut ranks: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    for (hardware, place) in fleet {
        ranks.entry(hardware).or_default().push(place.rank);
    }
    let stratum = |(hardware, mut ranks): (u16, Vec<u64>)| {
        let boxes = u32::try_from(ranks.len()).unwrap_or(u32::MAX);
        // Never more than half of them for the sake of the minimum: three boxes are no reason to try it on all three.
        let members = ring.up_to.of(boxes).max(ring.minimum.min(boxes.div_ceil(2)));
        let last = match members as usize {
            0 => 0,
            all if all >= ranks.len() => u64::MAX,
            some => *ranks.select_nth_unstable(some - 1).1,
        };
        Stratum { hardware, last, members }
    };
    ranks.into_iter().map(stratum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::policy::{Policy, Share};
    use saveos_protocol::time::Timestamp;

    fn devices(count: u64) -> Vec<DeviceId> {
        let name = |at: u64| {
            let mut random = [0; 10];
            random[2..].copy_from_slice(&at.to_be_bytes());
            DeviceId::from_parts(Timestamp::saturating(1_800_000_000_000), random)
        };
        (0..count).map(name).collect()
    }

    #[test]
    fn a_place_is_what_the_documented_command_gives() {
        let device: DeviceId = "d-01k00000000000000000000000".parse().expect("a name");
        let place = Salt::new(&[7; 32]).place(device);
        assert_eq!(place, Place { rank: 0xA0E7_3117_2BD7_3880, start: 0x6FCD_57C3_54B6_7235 });
    }

    #[test]
    fn each_hardware_gives_its_exact_share_and_its_minimum_and_a_wider_ring_loses_nobody() {
        let salt = Salt::new(&[1; 32]);
        let fleet: Vec<(u16, Place)> = devices(10_000)
            .iter()
            .zip(0u16..)
            .map(|(&id, at)| (u16::from(at.is_multiple_of(100)), salt.place(id)))
            .collect();
        let rings = Policy::default().rings;
        let within = |strata: &[Stratum], box_: &(u16, Place)| {
            strata.iter().any(|stratum| stratum.hardware == box_.0 && box_.1.rank <= stratum.last)
        };
        let mut before = Vec::new();
        for (ring, expected) in rings.iter().zip([[99, 5], [990, 10], [4950, 50], [9405, 95], [9900, 100]]) {
            let strata = edges(ring, fleet.iter().copied());
            for (stratum, expected) in strata.iter().zip(expected) {
                let members = fleet.iter().filter(|box_| box_.0 == stratum.hardware && within(&strata, box_)).count();
                assert_eq!(
                    (members, stratum.members),
                    (expected, expected as u32),
                    "{} {}",
                    ring.name,
                    stratum.hardware
                );
            }
            assert!(fleet.iter().filter(|box_| within(&before, box_)).all(|box_| within(&strata, box_)));
            before = strata;
        }
    }

    #[test]
    fn a_ring_of_an_unknown_hardware_is_its_plain_share() {
        let salt = Salt::new(&[2; 32]);
        let boxes = devices(20_000);
        let last = Share::percent(10).last_rank();
        let inside = boxes.iter().filter(|&&id| salt.place(id).rank <= last).count();
        // Six standard deviations of a binomial: 6 × √(20000 × 0.1 × 0.9) = 255.
        assert!((1_745..=2_255).contains(&inside), "{inside}");
    }
}
