//! Names of things: a prefix that says what it names and a ULID, so a log line explains itself and rows sort by age.
//!
//! Lower-case and strict: one name has one spelling, because a device's name is also its certificate's common name, its
//! MQTT user and a topic level. Makes no names by itself: the time and the random bytes are arguments.

use crate::time::Timestamp;
use std::fmt;
use std::str::FromStr;

/// Crockford's alphabet: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 128 bits at 5 bits a character, rounded up.
const LENGTH: usize = 26;

/// 48 bits of Unix milliseconds, then 80 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Ulid(u128);

impl Ulid {
    fn from_parts(at: Timestamp, random: [u8; 10]) -> Ulid {
        let mut bytes = [0; 16];
        bytes[6..].copy_from_slice(&random);
        // A timestamp has 53 bits: the mask only matters after the year 10889.
        Ulid((u128::from(at.as_millis() & 0xFFFF_FFFF_FFFF) << 80) | u128::from_be_bytes(bytes))
    }

    fn at(self) -> Timestamp {
        Timestamp::saturating((self.0 >> 80) as u64)
    }

    fn print(self) -> [u8; LENGTH] {
        std::array::from_fn(|at| ALPHABET[(self.0 >> (5 * (LENGTH - 1 - at))) as usize & 31])
    }

    fn parse(text: &[u8]) -> Option<Ulid> {
        // 26 characters hold 130 bits: the first may only use three of its five.
        if text.len() != LENGTH || text[0] > b'7' {
            return None;
        }
        let digit = |byte: &u8| ALPHABET.iter().position(|symbol| symbol == byte);
        text.iter().try_fold(0u128, |value, byte| Some((value << 5) | digit(byte)? as u128)).map(Ulid)
    }
}

/// A text is not the name it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {what}: `{prefix}` and 26 lower-case Crockford characters are expected")]
pub struct NotAnId {
    what: &'static str,
    prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// What every such name begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Ten bytes from the kernel make it; 80 random bits never repeat in practice.
            pub fn from_parts(at: Timestamp, random: [u8; 10]) -> Self {
                $name(Ulid::from_parts(at, random))
            }

            /// When it was made, by its maker's clock: good for sorting, not for proof.
            pub fn made_at(self) -> Timestamp {
                self.0.at()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                self.0.print().iter().try_for_each(|&byte| fmt::Write::write_char(f, char::from(byte)))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let ulid = text.strip_prefix($prefix).and_then(|rest| Ulid::parse(rest.as_bytes()));
                ulid.map($name).ok_or(NotAnId { what: $what, prefix: $prefix })
            }
        }

        crate::word::as_text!($name, concat!("^", $prefix, "[0-7][0-9a-hjkmnp-tv-z]{25}$"), $prefix.len() + LENGTH);
    )*};
}

ids! {
    /// An appliance. The issuer signs no other common name than this one.
    DeviceId "d-" "a device id";
    /// A service provider or a self-hosting owner: the top of the tree.
    OrganisationId "o-" "an organisation id";
    /// A customer of an organisation.
    CustomerId "c-" "a customer id";
    /// A place of a customer.
    SiteId "s-" "a site id";
    /// A disk, named by the appliance that first saw it; the identity beside it lets the server join two names.
    DiskId "disk-" "a disk id";
    /// A line of numbered facts: born with an outbox file, ends with it.
    StreamId "stream-" "a stream id";
    /// A command to one appliance.
    CommandId "cmd-" "a command id";
    /// A job on an appliance.
    JobId "job-" "a job id";
    /// A recovery point as the control plane counts it.
    RecoveryPointId "point-" "a recovery point id";
    /// An alert.
    AlertId "alert-" "an alert id";
    /// A way on which alerts are told.
    AlertRouteId "route-" "an alert route id";
    /// What one way tells at once.
    NoticeId "notice-" "a notice id";
    /// Quiet that somebody asked for.
    SilenceId "silence-" "a silence id";
    /// A person.
    UserId "user-" "a user id";
    /// An API token; not its secret.
    TokenId "token-" "a token id";
    /// A claim of an appliance that waits for its box.
    ClaimId "claim-" "a claim id";
    /// A release on its way through the fleet.
    RolloutId "rollout-" "a rollout id";
    /// A node of the control plane.
    NodeId "node-" "a node id";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_device_id_has_the_one_form_that_the_issuer_signs() {
        let id = DeviceId::from_parts(Timestamp::saturating(1_772_366_400_000), [0xAB; 10]);
        assert_eq!(id.to_string(), "d-01kjmma2g0nentqaxbnentqaxb");
        assert_eq!(id.made_at(), Timestamp::saturating(1_772_366_400_000));
    }

    #[test]
    fn a_name_has_one_spelling() {
        let text = "d-01kjmma2g0nentqaxbnentqaxb";
        assert!(text.parse::<DeviceId>().is_ok());
        for wrong in [
            "d-01KJMMA2G0NENTQAXBNENTQAXB",
            "o-01kjmma2g0nentqaxbnentqaxb",
            "d-81kjmma2g0nentqaxbnentqaxb",
            "d-0lkjmma2g0nentqaxbnentqaxb",
            "d-01kjmma2g0nentqaxbnentqax",
            "d-01kjmma2g0nentqaxbnentqaxb ",
            "d-01kjmma2g0nentqaxbnentqaxbb",
            "d-+",
            "d-#",
            "cp",
            "d-",
            "",
        ] {
            assert!(wrong.parse::<DeviceId>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_id_is_read_again(at in 0u64..(1 << 48), random: [u8; 10]) {
            let id = StreamId::from_parts(Timestamp::saturating(at), random);
            prop_assert_eq!(id.to_string().parse::<StreamId>(), Ok(id));
            prop_assert_eq!(id.made_at().as_millis(), at);
        }

        #[test]
        fn ids_sort_as_their_text_does(left in 0u64..(1 << 48), right in 0u64..(1 << 48), a: [u8; 10], b: [u8; 10]) {
            let (left, right) = (
                JobId::from_parts(Timestamp::saturating(left), a),
                JobId::from_parts(Timestamp::saturating(right), b),
            );
            prop_assert_eq!(left.cmp(&right), left.to_string().cmp(&right.to_string()));
        }

        #[test]
        fn what_parses_prints_as_it_came(text in "d-[0-9a-z]{26}") {
            if let Ok(id) = text.parse::<DeviceId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
