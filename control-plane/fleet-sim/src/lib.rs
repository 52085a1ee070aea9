//! Simulated appliances: everything a box says to its control plane, without a disk behind it, many in one process.
//!
//! ```text
//! Identity ─enrol─▶ Enrolment ─connect─▶ session: birth, facts from the outbox, heartbeats
//!                                        tell(body) ─▶ outbox + ledger
//! ```
//!
//! Must stay true: a box here keeps the rules of the real one (a fact stays until `dn/ack`, a stream is signed, a want is
//! obeyed), and the ledger holds every fact that was ever told, so that a database can be compared with it row by row.

mod ail;
mod enrol;
mod identity;
mod outbox;
mod session;
pub mod smoke;
mod update;

pub use ail::{Ails, dying_disk};
pub use enrol::{EnrolError, Place, enrol, renew};
pub use identity::Identity;
pub use outbox::{Entry, Level};
pub use session::{Appliance, Told};
pub use update::Fate;
