//! ext, to be read without mounting.
use super::{FsError, Survey};
use crate::read::ReadAt;
/// Whether this is it.
pub fn probe(_disk: &dyn ReadAt) -> bool {
    false
}
/// Tells all.
pub fn survey(_disk: &dyn ReadAt, _out: &mut dyn Survey) -> Result<(), FsError> {
    Err(FsError::Unsupported(String::new()))
}
/// Files.
pub fn browse(_disk: std::sync::Arc<dyn ReadAt>) -> Result<Box<dyn super::Tree>, FsError> {
    Err(FsError::Unsupported(String::new()))
}
