//! A whole backup of one file of a million extents, each a block of noise: what the pipeline holds, not only the layout.

use crate::ext::Ext;
use saveos_engine::backup::{self, DEFAULT_LEVEL, Flow, Options};
use saveos_engine::read::ReadAt;
use saveos_engine::repository::{Parts, Repository, init};
use saveos_engine::seal::{Keys, Suite};
use saveos_engine::snapshot::{SourceKind, State, WriterId};
use saveos_engine::source::Source;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) fn giant(_: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (storage, id, root) = init(&folder.path().join("repository")).expect("an empty folder");
    let keys = Keys::derive(&root, id);
    let parts = Parts { storage: Arc::new(storage), keys, suite: Suite::for_this_cpu(), locks: None, lease: None };
    let repository = Repository::assemble(parts, &folder.path().join("index")).expect("a new repository opens");
    let source: Arc<dyn Source> = Arc::new(Computed(Ext::of_one_giant()));
    let options = Options {
        writer: WriterId([1; 16]),
        name: "giant".to_owned(),
        tags: Vec::new(),
        time: 0,
        boot: "bench".to_owned(),
        uptime: 0,
        live: false,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        level: DEFAULT_LEVEL,
        limit_read: None,
        scratch: folder.path(),
        elapsed: &|| Duration::ZERO,
    };
    let begun = Instant::now();
    let (_, snapshot) = backup::run(&repository, &source, &options, &|_| Flow::Continue).expect("room for a backup");
    assert_eq!(snapshot.state, State::Complete);
    println!(
        "backup of one file of a million extents: {} MiB read, {} MiB stored, {:.1} s",
        snapshot.summary.bytes_read >> 20,
        snapshot.summary.bytes_stored >> 20,
        begun.elapsed().as_secs_f64()
    );
}

struct Computed(Ext);

impl ReadAt for Computed {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buf)
    }
}

impl Source for Computed {
    fn kind(&self) -> SourceKind {
        SourceKind::Image
    }

    fn sector_size(&self) -> u32 {
        512
    }
}
