//! Enrolment and renewal over HTTPS: how a box that nobody knows becomes one of the fleet, and stays it.
//!
//! ```text
//! box: key pair ─▶ claim code, shown ─▶ a person types it in the dashboard
//! box ──POST challenge──▶ nonce
//! box ──POST enrol {csr, nonce, proof}──▶ waiting {next nonce, wait} … until claimed ──▶ issued {certificates, pins}
//! box ──POST renew {device, csr, nonce, proof}──▶ issued: also with an expired certificate, never with a revoked one
//! ```
//!
//! The code alone enrols nobody: it names a key, and only that key can sign the nonce.

mod body;
mod claim;
mod proof;

pub use body::{
    Challenge, EnrolReply, EnrolRequest, Enrolment, Floor, Refusal, Refused, RenewReply, RenewRequest, Renewal,
};
pub use claim::{ClaimCode, NotAClaimCode};
pub use proof::Proof;
