//! ext2, ext3 and ext4 against the tools that made them: mke2fs and the kernel write, dumpe2fs and e2fsck judge.

mod collect;
mod hostile;
mod image;
mod journal;
mod matrix;
