//! fat, to be read without mounting.
