//! Whether a box takes a desired document: all of it or nothing. The one place where that is decided.

use super::desired::{Desired, DesiredFault};
use super::weaken::{Weakening, weakens};
use crate::hex::{CommandKey, Digest};
use crate::id::DeviceId;
use crate::sign::{Received, SignatureFault};
use crate::time::Timestamp;
use crate::unit::DesiredVersion;

/// What becomes of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "matched at once, never kept")]
pub enum Admission {
    /// It is in force from now on; it is persisted before it acts.
    Apply(Desired),
    /// Not newer than the one in force. Retained documents come again with every subscription.
    Old,
    /// It makes no sense: an error of its section, and the one before stays.
    Faulty(DesiredFault),
    /// It weakens and is not signed as it must be: a fact (`policy_refused`), and the one before stays, whole.
    Refused {
        /// What it would weaken.
        weakenings: Vec<Weakening>,
        /// What its signature lacks.
        fault: SignatureFault,
    },
}

/// Decides. `now` is `None` while the box does not know the time: then nothing that needs a signature is taken.
pub fn admit(
    current: &Desired,
    received: Received<Desired>,
    device: DeviceId,
    key: &CommandKey,
    now: Option<Timestamp>,
) -> Admission {
    decide(current, received, |received| received.verify(device, key, now))
}

/// Decides again on a document that was refused, now that a signed command (`Action::ApplyDesired`) names it.
pub fn approve(current: &Desired, received: Received<Desired>, ver: DesiredVersion, sha256: Digest) -> Admission {
    decide(current, received, |received| {
        let meant = received.document().ver == ver && received.digest() == Some(sha256);
        if meant { Ok(()) } else { Err(SignatureFault::Wrong) }
    })
}

fn decide(
    current: &Desired,
    received: Received<Desired>,
    proof: impl FnOnce(&Received<Desired>) -> Result<(), SignatureFault>,
) -> Admission {
    let new = received.document();
    if new.ver <= current.ver {
        return Admission::Old;
    }
    if let Err(fault) = new.check() {
        return Admission::Faulty(fault);
    }
    let weakenings = weakens(current, new);
    if !weakenings.is_empty()
        && let Err(fault) = proof(&received)
    {
        return Admission::Refused { weakenings, fault };
    }
    Admission::Apply(received.into_document())
}
