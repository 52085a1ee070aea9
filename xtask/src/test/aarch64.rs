//! Appliances seal with the instructions that their processors have for it: looks for them in `saveos` built for aarch64. Without
//! them one would encrypt at a twentieth of the speed and nobody would know why.

use super::tally::Tally;
use crate::cross;
use crate::shell::each_line;
use anyhow::bail;
use std::collections::BTreeMap;

/// Functions that must hold them: of bulk data, and of records and key slots.
const MUST_USE_AES: &[&str] = &["aes_gcm_enc_kernel", "aes_gcm_dec_kernel", "aes::armv8"];

/// Builds and looks; skipped where nothing can be built.
pub(super) fn uses_aes(tally: &mut Tally) -> anyhow::Result<()> {
    let folder = match cross::build(&["saveos"], "cross")? {
        Ok(folder) => folder,
        Err(why) => {
            tally.line(&format!("SKIPPED: {why}"));
            return Ok(());
        }
    };
    let program = folder.join("saveos");
    let (mut function, mut found) = (String::new(), BTreeMap::new());
    each_line("aarch64-linux-gnu-objdump", &["-d", "-C", &program.to_string_lossy()], &[], &mut |line| {
        if let Some((_, name)) = line.split_once(" <").filter(|(_, name)| name.ends_with(">:")) {
            name.trim_end_matches(">:").clone_into(&mut function);
        } else if line.split('\t').any(|word| word.trim() == "aese") {
            *found.entry(function.clone()).or_insert(0u32) += 1;
        }
    })?;
    for wanted in MUST_USE_AES {
        let count: u32 = found.iter().filter(|(name, _)| name.contains(wanted)).map(|(_, count)| count).sum();
        if count == 0 {
            bail!("no AES instruction in {wanted} of {}", program.display());
        }
        println!("{count} AES instructions in {wanted}");
    }
    tally.passed();
    Ok(())
}
