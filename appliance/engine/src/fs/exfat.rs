//! exfat, to be read without mounting.
