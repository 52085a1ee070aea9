//! A disk of several partitions, with what the test knows of each.

use super::{Image, Kind, read};
use std::io::Read;
use std::os::unix::fs::FileExt;

/// One filesystem on a disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) number: Option<u32>,
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) kind: Kind,
}

/// An image and the filesystems the test put on it.
pub(crate) struct Disk {
    pub(crate) image: Image,
    pub(crate) parts: Vec<Part>,
}

impl Disk {
    /// A filesystem right on the disk.
    pub(crate) fn whole(image: Image, kind: Kind) -> Disk {
        let len = image.len();
        Disk { image, parts: vec![Part { number: None, start: 0, len, kind }] }
    }

    /// Puts a filesystem image into a partition.
    pub(crate) fn put(&mut self, number: u32, start: u64, kind: Kind, filesystem: &Image) {
        let bytes = read(&filesystem.path());
        let file = std::fs::File::options().write(true).open(self.image.path()).expect("the image");
        file.write_all_at(&bytes, start).expect("space");
        self.parts.push(Part { number: Some(number), start, len: bytes.len() as u64, kind });
    }
}
