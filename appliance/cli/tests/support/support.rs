//! What the end-to-end tests share: the real binary, disk images made by other people's tools, and judges that are not ours.
//!
//! Everything a test makes lies in a temporary folder and is unmounted and removed with it. A missing tool or right makes a
//! test say `SKIPPED: …` and end; nothing else may end it early.

#![allow(dead_code, unused_imports, unused_macros, reason = "every test file uses another part")]

mod disk;
mod image;
mod judge;
mod mount;
mod run;
mod tree;

pub(crate) use disk::{Disk, Part};
pub(crate) use image::{Image, Kind, fill, noise, read, settle, write, write_at};
pub(crate) use judge::{UsedMap, check, damage, first_difference};
pub(crate) use mount::{Loop, Mount};
pub(crate) use run::{Ran, Repo, can, saveos, text, tool, tool_result};
pub(crate) use tree::{Tree, below, contents, tree_of};

/// Ends the test, loudly.
macro_rules! skip {
    ($($reason:tt)*) => {{
        eprintln!("SKIPPED: {}", format_args!($($reason)*));
        return;
    }};
}
pub(crate) use skip;
