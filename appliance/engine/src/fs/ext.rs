//! ext, to be read without mounting.
