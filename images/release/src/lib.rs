//! A release repository: bundles, and the signed metadata that says which of them are releases. What is written is what The Update
//! Framework specifies (`https://theupdateframework.github.io/specification/latest/`).
//!
//! People sign two documents, each with keys that a machine on a network never sees: the root (`ceremony`) and the targets (`draft`). A
//! machine signs the other two when it publishes (`publish`). docs/RELEASING.md tells it in order.

mod bench;
mod bundle;
mod ceremony;
mod document;
mod draft;
mod error;
pub mod key;
mod provenance;
mod publish;
mod store;

pub use bench::{Edition, Keys, make_root, publish};
pub use bundle::{Bundle, Offered, file_of, sha256};
pub use ceremony::{Holders, ROLES, check_root, draft_root};
pub use document::{Document, KeyId, Standing, hex, id};
pub use draft::draft_targets;
pub use error::ReleaseError;
pub use provenance::{Built, statement};
pub use publish::{Found, Online, Published, Roots, find, publish as publish_signed};
pub use store::Store;

/// Waits for one thing, on this thread.
pub fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a thread that waits needs only memory and a few handles").block_on(work)
}
