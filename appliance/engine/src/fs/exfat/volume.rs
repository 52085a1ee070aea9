//! Opens a volume: boot region, table, and what the root directory says of bitmap and upper-case table.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::boot::Geometry;
use super::directory::{self, Found};
use crate::fs::FsError;
use crate::fs::fat::table::{Table, Width};
use crate::fs::fat::volume::{Place, Volume};
use crate::read::ReadAt;

/// What lies in the root directory besides files.
#[derive(Default)]
pub(super) struct System {
    /// First cluster and bytes.
    pub(super) bitmap: Option<(u32, u64)>,
    /// First cluster, bytes, checksum.
    pub(super) upcase: Option<(u32, u64, u32)>,
}

/// What all readers of a volume need.
pub(super) fn open<'d>(disk: Arc<dyn ReadAt + 'd>, geometry: &Geometry) -> Volume<'d> {
    let table = Table::new(disk.clone(), Width::ThirtyTwo, vec![geometry.fat.start], geometry.heap.clusters);
    Volume { disk, heap: geometry.heap, table }
}

/// Looks for bitmap and upper-case table; what is damaged around them is somebody else's to tell.
pub(super) fn system(volume: &Volume<'_>, root: u32) -> Result<System, FsError> {
    let mut system = System::default();
    directory::each(volume, Place::Chain(root), directory::MAX_BYTES, &mut |found| {
        match found {
            Found::Bitmap { first, len } => system.bitmap = system.bitmap.or(Some((first, len))),
            Found::Upcase { first, len, checksum } => system.upcase = system.upcase.or(Some((first, len, checksum))),
            Found::File(_) | Found::Flaw(_) => {}
        }
        let all = system.bitmap.is_some() && system.upcase.is_some();
        Ok(if all { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(system)
}
