//! What is signed of a bundle, as RAUC says it, and whether a slot holds that.

use crate::Failure;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// A box has two kinds of slots; a bundle of many more images is none for it.
const MOST: usize = 8;

/// The images that a bundle brings.
pub(crate) struct Bundle {
    pub(crate) images: Vec<Image>,
}

/// One of them.
pub(crate) struct Image {
    pub(crate) class: String,
    sha256: String,
    size: u64,
}

impl Bundle {
    /// Asks RAUC, which refuses what nobody signed whom it trusts.
    pub(crate) fn read(rauc: &str, bundle: &Path) -> Result<Bundle, String> {
        let output = Command::new(rauc).args(["info", "--output-format=shell"]).arg(bundle).output();
        let output = output.map_err(|error| format!("rauc could not be asked: {error}"))?;
        if !output.status.success() {
            return Err(format!("the bundle is refused: {}", last_line(&output.stderr)));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Bundle::of(&text).ok_or_else(|| "rauc says of the bundle what is not understood".to_owned())
    }

    fn of(text: &str) -> Option<Bundle> {
        let said: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name, value.trim_matches('\'')))
            .collect();
        let count: usize = said.get("RAUC_MF_IMAGES")?.parse().ok()?;
        let image = |at: usize| {
            let say = |what: &str| said.get(format!("RAUC_IMAGE_{what}_{at}").as_str());
            Some(Image {
                class: (*say("CLASS")?).to_owned(),
                sha256: (*say("DIGEST")?).to_owned(),
                size: say("SIZE")?.parse().ok()?,
            })
        };
        if !(1..=MOST).contains(&count) {
            return None;
        }
        Some(Bundle { images: (0..count).map(image).collect::<Option<_>>()? })
    }
}

/// What a program said last before it failed.
pub(crate) fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

impl Image {
    /// Reads it back from the disk, not from what the kernel remembers of writing it.
    pub(crate) fn assert_written(&self, device: &Path) -> Result<(), Failure> {
        let file = File::open(device).map_err(|error| format!("{} cannot be read back: {error}", device.display()))?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        let mut hash = Sha256::new();
        let mut left = file.take(self.size);
        let mut block = vec![0; 1 << 20];
        loop {
            match left.read(&mut block)? {
                0 => break,
                count => hash.update(&block[..count]),
            }
        }
        let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if found == self.sha256 {
            return Ok(());
        }
        Err(format!("{} holds something else than was written to it", device.display()).into())
    }
}
