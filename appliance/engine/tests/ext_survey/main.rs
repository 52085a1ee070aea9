//! ext2, ext3 and ext4 against the tools that made them: mke2fs and the kernel write, dumpe2fs and e2fsck judge.

#![expect(clippy::disallowed_methods, reason = "files of a test need no durability")]

mod collect;
mod hostile;
mod image;
mod journal;
mod matrix;
