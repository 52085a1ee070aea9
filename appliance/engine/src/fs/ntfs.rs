//! ntfs, to be read without mounting.
