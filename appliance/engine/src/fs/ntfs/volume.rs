//! An opened volume: geometry, the MFT, and what `$Volume` says about version and cleanness.
//!
//! A version we do not know is refused; a dirty flag is only remembered, whoever opened the volume decides.

use std::sync::Arc;

use super::attribute::{VOLUME_INFORMATION, Value};
use super::boot::Geometry;
use super::mft::{Held, Mft, find};
use crate::fs::FsError;
use crate::le::{u8_at, u16_at};
use crate::read::ReadAt;

/// Records with a fixed number.
pub(super) const MFT: u64 = 0;
pub(super) const MFT_MIRROR: u64 = 1;
pub(super) const LOG_FILE: u64 = 2;
pub(super) const VOLUME: u64 = 3;
pub(super) const ROOT: u64 = 5;
pub(super) const BITMAP_FILE: u64 = 6;
pub(super) const BAD_CLUSTERS: u64 = 8;
pub(super) const UPCASE: u64 = 10;
pub(super) const EXTEND: u64 = 11;
/// Records below belong to the filesystem.
pub(super) const FIRST_USER: u64 = 16;

/// Set while Windows has the volume mounted, and after it went away without saying so.
const DIRTY: u16 = 0x0001;

/// A volume whose MFT was found.
pub(super) struct Volume<'d> {
    pub(super) disk: Arc<dyn ReadAt + 'd>,
    pub(super) geometry: Geometry,
    pub(super) mft: Mft<'d>,
    /// What did not fit together while opening.
    pub(super) doubts: Vec<String>,
    /// The dirty flag.
    pub(super) dirty: bool,
}

impl<'d> Volume<'d> {
    /// Reads the boot sector, finds the MFT, and refuses versions after 3.1.
    pub(super) fn open(disk: Arc<dyn ReadAt + 'd>) -> Result<Self, FsError> {
        let boot = disk.read_vec(0, 512).map_err(|source| FsError::Read { at: 0, source })?;
        let geometry = Geometry::parse(&boot, disk.len())?;
        let mut doubts = Vec::new();
        let mft = Mft::open(Arc::clone(&disk), geometry, &mut doubts)?;
        let mut volume = Self { disk, geometry, mft, doubts, dirty: false };
        volume.read_information()?;
        Ok(volume)
    }

    /// One record, repaired.
    pub(super) fn held(&self, number: u64) -> Result<Held, FsError> {
        self.mft.held(number)
    }

    /// Reads bytes of the volume.
    pub(super) fn read(&self, at: u64, buf: &mut [u8]) -> Result<(), FsError> {
        self.disk.read_at(at, buf).map_err(|source| FsError::Read { at, source })
    }

    fn read_information(&mut self) -> Result<(), FsError> {
        match self.information() {
            Ok((major, minor, flags)) => {
                if !matches!((major, minor), (1, _) | (3, 0 | 1)) {
                    return Err(FsError::Unsupported(format!("NTFS version {major}.{minor}")));
                }
                self.dirty = flags & DIRTY != 0;
            }
            Err(cause) => self.doubts.push(format!("$Volume: {cause}")),
        }
        Ok(())
    }

    fn information(&self) -> Result<(u8, u8, u16), FsError> {
        let held = self.held(VOLUME)?;
        let found = find(&held.record()?, |attribute| attribute.kind == VOLUME_INFORMATION);
        let value = match found.map(|attribute| attribute.value) {
            Some(Value::Resident(value)) => value,
            _ => &[],
        };
        let fields = || Some((u8_at(value, 8)?, u8_at(value, 9)?, u16_at(value, 10)?));
        fields().ok_or_else(|| FsError::Damaged("there is no volume information".into()))
    }
}
