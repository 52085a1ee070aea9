//! The HTTP bodies.

use super::proof::Proof;
use crate::hex::{CommandKey, DeviceKey, Nonce};
use crate::id::DeviceId;
use crate::limits;
use crate::message::{Message, V1};
use crate::shadow::{Escrow, Hardware, Uplink};
use crate::text::{Pem, Release, Text};
use crate::time::Timestamp;
use crate::unit::{Days, Seconds};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A nonce to sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Challenge {
    /// Major version.
    pub v: V1,
    /// Good for one request.
    pub nonce: Nonce,
    /// By the server's clock: until then.
    pub exp: Timestamp,
    /// The server's time.
    pub ts: Timestamp,
}

/// Asks for a certificate; sent again, with the next nonce, until somebody has typed the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnrolRequest {
    /// Major version.
    pub v: V1,
    /// The key; its hash is the claim code.
    pub key: DeviceKey,
    /// The signing request with that key. Its common name is the box's name, made on the box at its first start: streams are
    /// signed with it before anybody has claimed the box. The server refuses a name that belongs to another key.
    pub csr: Pem,
    /// That the key is in the box.
    pub proof: Proof,
    /// What the box is.
    pub hardware: Hardware,
    /// What runs on it.
    pub firmware: Release,
}

/// What the server says to that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "answer", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one a reply")]
pub enum EnrolReply {
    /// Nobody has typed the code yet.
    Waiting {
        /// Major version.
        v: V1,
        /// For the next request.
        nonce: Nonce,
        /// Not sooner than this.
        #[serde(rename = "wait_s")]
        wait: Seconds,
    },
    /// Welcome.
    Issued(Enrolment),
    /// No.
    Refused(Refused),
}

/// No, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// Major version.
    pub v: V1,
    /// For the box.
    pub reason: Refusal,
    /// For a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Text>,
}

/// All that a box trusts from now on. It is kept as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Enrolment {
    /// Major version.
    pub v: V1,
    /// The box's name, and its certificate's common name.
    pub device: DeviceId,
    /// The server's time.
    pub ts: Timestamp,
    /// Whose it is now, for the panel.
    pub owner: Text,
    /// The certificates, the box's own first.
    pub certificates: Pem,
    /// The authorities that brokers and server are signed by.
    pub authorities: Pem,
    /// Where to report, and which authorities are pinned.
    pub uplink: Uplink,
    /// Who may give orders that destroy: pinned for good.
    pub command_key: CommandKey,
    /// What no order removes.
    pub floor: Floor,
    /// Whom the root key is sealed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escrow: Option<Escrow>,
}

/// What prune keeps of every disk, whatever the policy and whoever signs: counted by sequence and uptime, not by a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Floor {
    /// So many of the last complete snapshots.
    pub last_complete: u32,
    /// And all of so many days.
    #[serde(rename = "keep_days")]
    pub keep: Days,
}

impl Default for Floor {
    /// A week of daily backups to notice, and two weeks in which nothing goes at all.
    fn default() -> Floor {
        Floor { last_complete: 7, keep: Days::from(14) }
    }
}

/// Asks for the next certificate, with the same key. Works with an expired certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenewRequest {
    /// Major version.
    pub v: V1,
    /// The box's name.
    pub device: DeviceId,
    /// The signing request with the key the server knows.
    pub csr: Pem,
    /// That the key is in the box.
    pub proof: Proof,
}

/// What the server says to that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum RenewReply {
    /// Here it is.
    Issued(Renewal),
    /// No. The box keeps what it has and goes on backing up.
    Refused(Refused),
}

/// The next certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Renewal {
    /// Major version.
    pub v: V1,
    /// The certificates, the box's own first.
    pub certificates: Pem,
    /// The authorities: only those that are pinned count.
    pub authorities: Pem,
    /// The server's time.
    pub ts: Timestamp,
}

crate::word::words! { open
    /// Why there is no certificate.
    Refusal {
        /// The claim is too old: type the code again.
        ClaimExpired = "claim_expired",
        /// The code was used up.
        ClaimUsed = "claim_used",
        /// Too many wrong codes: wait.
        TooManyTries = "too_many_tries",
        /// The nonce is not ours or was used.
        NonceUnknown = "nonce_unknown",
        /// The nonce is too old.
        NonceExpired = "nonce_expired",
        /// The key did not sign the nonce.
        ProofWrong = "proof_wrong",
        /// The signing request is damaged or not signed by its key.
        CsrDamaged = "csr_damaged",
        /// The signing request holds another key.
        OtherKey = "other_key",
        /// The signing request asks for a name that is not the box's.
        ForeignName = "foreign_name",
        /// The signing request asks to be an authority.
        AsksForAuthority = "asks_for_authority",
        /// The signing request asks for more names or uses.
        AsksForMore = "asks_for_more",
        /// The key is not on P-256.
        WrongCurve = "wrong_curve",
        /// No such device.
        UnknownDevice = "unknown_device",
        /// The certificate was revoked: enrol again, with a person.
        Revoked = "revoked",
    }
}

impl Refusal {
    /// Whether to ask again by oneself: with a new nonce, or later.
    pub const fn is_transient(self) -> bool {
        match self {
            Refusal::TooManyTries | Refusal::NonceUnknown | Refusal::NonceExpired => true,
            Refusal::ClaimExpired
            | Refusal::ClaimUsed
            | Refusal::ProofWrong
            | Refusal::CsrDamaged
            | Refusal::OtherKey
            | Refusal::ForeignName
            | Refusal::AsksForAuthority
            | Refusal::AsksForMore
            | Refusal::WrongCurve
            | Refusal::UnknownDevice
            | Refusal::Revoked
            | Refusal::Unknown => false,
        }
    }
}

impl std::error::Error for Refusal {}

macro_rules! bodies {
    ($($type:ty = $name:literal;)*) => {$(
        impl Message for $type {
            const NAME: &'static str = $name;
            const LIMIT: usize = limits::ENROLMENT;
        }
    )*};
}

bodies! {
    Challenge = "challenge";
    EnrolRequest = "enrol-request";
    EnrolReply = "enrol-reply";
    Enrolment = "enrolment";
    RenewRequest = "renew-request";
    RenewReply = "renew-reply";
}
