//! The ring engine: how a release reaches a fleet in rings that stop by themselves.
//!
//! ```text
//!            ┌────────── what boxes report ──────────┐
//! log ─fold─▶ Rollout ─decide─▶ open a ring │ halt │ finish │ wait, and for what
//!                    └─offer──▶ which boxes now
//! ```
//!
//! Pure: the log, the boxes and the time go in, a decision with its evidence comes out. The same log gives the same decisions.
//! Membership of a ring is computed from a salt and never stored. Asks no clock, no database and no network.

mod back;
mod because;
mod log;
mod offer;
mod place;
mod plan;
mod policy;
mod route;
pub mod statistics;
mod tally;

pub use back::{WayBack, way_back};
pub use because::Because;
pub use log::{Attempt, Entry, Event, Opened, Recalled, Rollout, Stage, Stratum};
pub use offer::{Candidate, Hours, Offer, Reach, Wish, offer};
pub use place::{Place, Salt, edges};
pub use plan::{Action, Beside, Decision, Grounds, decide, replay, tick};
pub use policy::{Policy, PolicyFault, Ring, RingIndex, Share};
pub use route::{Routes, Step, Way, steps};
