//! `cargo xtask demo`: shows the product. `demo` alone shows a box and its control plane, `demo engine` the engine.

mod api;
mod engine;
mod fleet;

use anyhow::bail;

/// What to show, and whether to stay up.
pub(crate) fn run(words: &[&str]) -> anyhow::Result<()> {
    match words {
        [] => fleet::tell(fleet::Then::StayUp),
        ["--once"] => fleet::tell(fleet::Then::Stop),
        ["engine"] => engine::tell(),
        other => bail!("`demo {}`: `demo`, `demo --once` or `demo engine` is expected", other.join(" ")),
    }
}
